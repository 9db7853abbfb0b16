"""The real sets with known false negatives, where they are at hand: beside the repository, in `shared/data`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")


def truth_of(name: str) -> dict[str, set[str]]:
    """Known false negatives of a set, docids by query id."""
    lines = (SHARED / name / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["query_id"]: set(line["false_negatives"]) for line in map(json.loads, lines)}
