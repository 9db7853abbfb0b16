"""The real sets with known false negatives, where they are at hand: beside the repository, in `shared/data`."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_relabel.hub_tools.commands.quickstart_command import read_truth

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")


def truth_of(name: str) -> dict[str, set[str]]:
    """Known false negatives of a set, docids by query id."""
    return read_truth(SHARED / name / "truth.jsonl")
