"""Dollars in text."""

from __future__ import annotations

import pytest

from hf_relabel.builders.messages.dollars import dollars


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.00"), (0.00042, "0.00042"), (0.0099, "0.0099"), (0.01, "0.01"), (1234.5, "1,234.50")]
)
def test_what_is_less_than_a_cent_does_not_read_as_free(value: float, text: str) -> None:
    assert dollars(value) == text
