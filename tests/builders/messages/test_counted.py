"""Numbers with what they count."""

from __future__ import annotations

import pytest

from hf_relabel.builders.messages.counted import counted


@pytest.mark.parametrize(
    ("number", "names", "said"),
    [
        (1, ("row",), "1 row"),
        (0, ("row",), "0 rows"),
        (12345, ("query",), "12,345 queries"),
        (2, ("day",), "2 days"),
        (1, ("stratum", "strata"), "1 stratum"),
        (2, ("row is", "rows are"), "2 rows are"),
    ],
)
def test_one_is_singular_and_all_else_plural(number: int, names: tuple[str, ...], said: str) -> None:
    assert counted(number, *names) == said
