"""Property tests draw few examples in `make test`, and ten times as many in `make soak` (see conftest.py)."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

TIMES = int(os.environ.get("HF_RELABEL_EXAMPLES", "1"))
PLAIN = 25
"""So many where a test names no number."""


def drawn(number: int, **options: Any) -> settings:
    """So many examples of Hypothesis for a test, or HF_RELABEL_EXAMPLES times as many, as in `make soak`."""
    return settings(max_examples=number * TIMES, deadline=None, **options)
