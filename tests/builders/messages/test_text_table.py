"""Tables that fit a terminal."""

from __future__ import annotations

import os
import re

import pytest

from hf_relabel.builders.messages.text_table import text_table

PLAN = ["stage", "judge", "rows", "candidates", "requests", "prompt tokens", "completion tokens", "USD", "hours"]
JUDGE = "listwise meta-llama/Llama-3.1-70B-Instruct@0123456789ab"
LINE = ["stage-1", JUDGE, 680_000, 13_600_000, 680_000, 12_345_678_901, 123_456_789, "1,234.50", "100.2"]


def widest(table: str) -> int:
    return max(map(len, table.splitlines()))


def test_a_table_that_fits_is_left_as_it_is() -> None:
    assert text_table([{"config": "relabel", "rows": 60}]) == ("config      rows\n--------  ------\nrelabel       60")


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_a_wide_one_fits_and_no_number_is_broken(width: int) -> None:
    table = text_table([LINE], PLAN, width=width, intfmt=",")
    assert widest(table) <= width
    for number in ("680,000", "13,600,000", "12,345,678,901", "123,456,789"):
        assert number in table
    for word in " ".join(PLAN).split():
        assert word in table


def test_columns_that_go_below_stand_beside_the_first() -> None:
    blocks = text_table([LINE, ["stage-2", *LINE[1:]]], PLAN, width=80).split("\n\n")
    assert len(blocks) == 2
    for block in blocks:
        assert re.search("^stage-1 ", block, re.MULTILINE)
        assert re.search("^stage-2 ", block, re.MULTILINE)


def test_texts_wrap_between_words() -> None:
    table = text_table([[3, "rows without any negatives at all " * 3, "row 1"]], ["count", "found", "where"], width=50)
    assert widest(table) <= 50
    assert table.count("negatives") == 3


def test_the_width_is_that_of_the_terminal_else_80(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "\n\n" not in text_table([LINE], PLAN)
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size((0, 0)))
    assert widest(text_table([LINE], PLAN)) <= 80


def test_of_dicts_the_keys_are_the_headers_and_what_one_lacks_is_empty() -> None:
    assert text_table([{"a": 1}, {"a": 2, "b": "x"}]).splitlines() == ["  a  b", "---  ---", "  1", "  2  x"]
