"""The real sets with known false negatives, where they are at hand: in `shared/data` beside the repository, or in
`$HF_RELABEL_SHARED/data`. Tests that want them are soak tests: `make test` is the same with and without them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hf_relabel.hub_tools.commands.quickstart_command import read_truth

SHARED = Path(os.environ.get("HF_RELABEL_SHARED", Path(__file__).resolve().parents[2] / "shared")).absolute() / "data"
Test = TypeVar("Test", bound=Callable[..., Any])


def needs_shared_data(test: Test) -> Test:
    """Mark a test: part of `make soak`, and skipped where the sets are not."""
    missing = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real data sets are not in {SHARED}")
    return pytest.mark.soak(missing(test))


def truth_of(name: str) -> dict[str, set[str]]:
    """Known false negatives of a set, docids by query id."""
    return read_truth(SHARED / name / "truth.jsonl")
