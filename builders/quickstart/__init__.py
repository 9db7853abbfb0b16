"""A small training set with known false negatives, for trying the whole job offline. See README.md beside it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def rows_path() -> Path:
    """The rows, one JSON object a line."""
    return Path(str(files(__name__) / "rows.jsonl"))


def truth_path() -> Path:
    """The known false negatives of each row, one JSON object a line."""
    return Path(str(files(__name__) / "truth.jsonl"))
