"""Property tests draw few examples in `make test`, and ten times as many in `make soak`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import settings

TIMES = int(os.environ.get("HF_RELABEL_EXAMPLES", "1"))
Test = TypeVar("Test", bound=Callable[..., Any])


def drawn(number: int, **options: Any) -> Callable[[Test], Test]:
    """So many examples of Hypothesis for a test, or HF_RELABEL_EXAMPLES times as many, as in `make soak`."""

    def decorate(test: Test) -> Test:
        return pytest.mark.fuzz(settings(max_examples=number * TIMES, deadline=None, **options)(test))

    return decorate
