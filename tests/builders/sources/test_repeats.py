"""Rows and query ids that a source has again: the same answer whether all fits into the memory or not."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.sources import Source, repeats
from hf_relabel.builders.sources.inspection import inspect
from hf_relabel.builders.sources.repeats import Repeats

TEXT = (Passage("d", "", "a text"),)

ROWS = st.lists(
    st.builds(
        lambda query_id, query, subset: Row(query_id, query, TEXT, (), subset),
        st.sampled_from(["q1", "q2", "é", "", "a longer one"]),
        st.sampled_from(["one", "two"]),
        st.sampled_from(["nq", "fever"]),
    ),
    max_size=60,
)


def by_looking_at_all(rows: Sequence[Row]) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Which rows are equal to an earlier one, and which of the others have the id of an earlier one."""
    repeated, named_again = [], []
    for number, row in enumerate(rows):
        before = rows[:number]
        if row in before:
            repeated.append((number, row.query_id))
        elif any((row.subset, row.query_id) == (other.subset, other.query_id) for other in before):
            named_again.append((number, row.query_id))
    return repeated, named_again


@given(ROWS, st.sampled_from([1, 7, 2**18]), st.sampled_from([2, 256]))
def test_it_finds_what_looking_at_all_rows_finds(rows: list[Row], held: int, parts: int) -> None:
    with pytest.MonkeyPatch.context() as patch, Repeats(3) as seen:
        patch.setattr(repeats, "_HELD_LINES", held)
        patch.setattr(repeats, "_PARTS", parts)
        for number, row in enumerate(rows):
            seen.add(NumberedRow(number, row))
        found = seen.found()
    for one, expected in zip(found, by_looking_at_all(rows), strict=True):
        assert (one.count, one.first) == (len(expected), expected[:3])


@dataclass
class Made(Source):
    """Rows that are made as they are read; every hundredth is the one before it."""

    count: int = 0

    def rows(self) -> Iterator[NumberedRow]:
        for number in range(self.count):
            named = number - 1 if number % 100 == 99 else number
            yield NumberedRow(number, Row(f"q{named}", f"query {named}", TEXT, (), "nq"))


def test_looking_at_more_rows_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_HELD_LINES", 256)
    monkeypatch.setattr(repeats, "_HELD_BYTES", 4096)

    def peak(rows: int) -> int:
        tracemalloc.start()
        try:
            found = inspect(Made(Path("made"), (), "tevatron", count=rows))
            assert found.findings["repeated-row"].count == rows // 100
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(1_000), peak(4_000)
    assert many - few < 3_000 * 10, f"{(many - few) / 3_000:.0f} bytes per row"


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, *_: Any) -> None: ...

        def tell(self) -> int:
            return 0

        def write(self, content: bytes) -> int:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(SourceError, match=r"no room in .*\(No space left on device\).*TMPDIR"):
        inspect(Made(Path("made"), (), "tevatron", count=3))
