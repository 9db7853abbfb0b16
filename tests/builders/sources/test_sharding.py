"""A source in pieces: together they are the source, row by row, whatever it is made of."""

from __future__ import annotations

import gzip
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.judges.prompted.spans import SpanJudge
from hf_relabel.builders.quickstart import rows_path
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.builders.sources import pieces as sharding
from hf_relabel.builders.sources.piece_surveys import note_readings, repeated, row_hash, survey
from hf_relabel.builders.sources.pieces import Piece, PieceRows, can_be_cut, cuttable, pieces_of, placed
from hf_relabel.builders.sources.samples import Sample
from tests.examples import drawn


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "LEAST_BYTES", 1)


def record(number: int, text: str = "text", **more: Any) -> dict[str, Any]:
    return {
        "query_id": f"q{number}",
        "query": f"query {number}",
        "positive_passages": [{"docid": f"p{number}", "title": "", "text": f"positive {number}"}],
        "negative_passages": [{"docid": f"n{number}", "title": "t", "text": f"{text} {number}"}],
        "subset": "odd" if number % 2 else "even",
        **more,
    }


def lines_file(path: Path, records: list[Any], end: str = "\n") -> Path:
    path.write_text("\n".join(json.dumps(one) if not isinstance(one, str) else one for one in records) + end)
    return path


def rows_in_pieces(source: Source, wanted: int) -> list[Row]:
    # As other machines get it.
    sent = pickle.loads(pickle.dumps(source))
    return [numbered.row for piece in pieces_of(source, wanted) for numbered in PieceRows(sent, piece).rows()]


def rows_of(source: Source) -> list[Row]:
    return [numbered.row for numbered in source.rows()]


@pytest.mark.parametrize("wanted", [1, 2, 7, 1000])
@pytest.mark.parametrize("end", ["\n", "", "\n\n \n"])
def test_lines_are_cut_between_lines(tmp_path: Path, wanted: int, end: str) -> None:
    records = [record(number, "Ünïcode " * (number % 5)) for number in range(40)]
    source = open_source(lines_file(tmp_path / "rows.jsonl", records, end))
    assert rows_in_pieces(source, wanted) == rows_of(source)
    assert len(pieces_of(source, 7)) >= 6


@pytest.mark.parametrize("group", [1, 3, 1000])
@pytest.mark.parametrize("wanted", [1, 4, 9, 1000])
def test_parquet_is_cut_between_rows_and_within_row_groups(tmp_path: Path, wanted: int, group: int) -> None:
    pq.write_table(
        pa.Table.from_pylist([record(number) for number in range(50)]), tmp_path / "r.parquet", row_group_size=group
    )
    source = open_source(tmp_path / "r.parquet")
    assert rows_in_pieces(source, wanted) == rows_of(source)
    assert len(pieces_of(source, 9)) == 9


def test_a_folder_of_both_is_cut_in_order(tmp_path: Path) -> None:
    lines_file(tmp_path / "a.jsonl", [record(number) for number in range(30)])
    pq.write_table(pa.Table.from_pylist([record(number) for number in range(30, 90)]), tmp_path / "b.parquet")
    source = open_source(tmp_path)
    for wanted in (1, 2, 5, 50):
        assert rows_in_pieces(source, wanted) == rows_of(source)
    assert [piece.number for piece in pieces_of(source, 50)] == list(range(len(pieces_of(source, 50))))


def test_the_shipped_set_is_cut(tmp_path: Path) -> None:
    source = open_source(rows_path())
    assert rows_in_pieces(source, 5) == rows_of(source)


def test_relative_paths_are_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines_file(tmp_path / "rows.jsonl", [record(number) for number in range(9)])
    monkeypatch.chdir(tmp_path)
    source = open_source("rows.jsonl")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert len(rows_in_pieces(source, 3)) == 9


def test_what_cannot_be_cut_is_written_out_first(tmp_path: Path) -> None:
    path = lines_file(tmp_path / "rows.jsonl", [record(number) for number in range(20)])
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    triplets = [{"anchor": "q", "positive": "p", "negative": f"n{number}"} for number in range(5)]
    for source in (
        open_source(path, sample=Sample.total(7)),
        open_source(path, limit=7),
        open_source(packed),
        open_source(lines_file(tmp_path / "triplets.jsonl", triplets)),
    ):
        plain = cuttable(source, 4, tmp_path / "plain.jsonl")
        assert plain is not source
        assert can_be_cut(plain, 4)
        assert rows_in_pieces(plain, 4) == rows_of(source)
    source = open_source(path)
    assert cuttable(source, 4, tmp_path / "never-written.jsonl") is source


def test_only_rows_of_the_subset(tmp_path: Path) -> None:
    path = lines_file(tmp_path / "rows.jsonl", [record(number) for number in range(20)])
    source = open_source(path, subset="odd")
    assert rows_in_pieces(source, 6) == rows_of(source)
    surveys = [survey(source, piece) for piece in pieces_of(source, 6)]
    assert sum(one.rows for one in surveys) == 10
    note_readings(source, [one.reading for one in surveys])
    missing = open_source(path, subset=["odd", "none"])
    with pytest.raises(SourceError, match=r"no row is of the subset 'none'\. There are: 'even', 'odd'"):
        note_readings(missing, [survey(missing, piece).reading for piece in pieces_of(missing, 6)])


def test_skipped_rows_and_ignored_fields_are_counted_over_all_pieces(tmp_path: Path) -> None:
    records = [record(number) if number % 5 else {"query": 3} for number in range(20)]
    records[7]["extra"] = 1
    path = lines_file(tmp_path / "rows.jsonl", records)
    source, whole = open_source(path, skip_bad_rows=True), open_source(path, skip_bad_rows=True)
    assert rows_in_pieces(source, 4) == rows_of(whole)
    note_readings(source, [survey(source, piece).reading for piece in pieces_of(source, 4)])
    assert source.record() == whole.record()


def test_a_bad_row_is_told_by_its_line_in_the_file(tmp_path: Path) -> None:
    records: list[Any] = [record(number) for number in range(30)]
    records[22] = "{not json"
    source = open_source(lines_file(tmp_path / "rows.jsonl", records))
    with pytest.raises(BadRow) as whole:
        rows_of(source)
    found = []
    for piece in pieces_of(source, 5):
        try:
            survey(source, piece)
        except BadRow as bad:
            found.append(placed(bad, source, piece))
    assert [str(bad) for bad in found] == [str(whole.value)]
    assert found[0].number == 23


def test_rows_with_the_hash_of_an_earlier_piece_are_found(tmp_path: Path) -> None:
    same = [record(number % 7) for number in range(20)]
    source = open_source(lines_file(tmp_path / "rows.jsonl", same))
    surveys = [survey(source, piece) for piece in pieces_of(source, 5)]
    seen: set[int] = set()
    for one, later in zip(surveys, repeated(surveys), strict=True):
        own = {int(value) for value in one.hashes}
        assert {int(value) for value in later} == own & seen
        seen |= own
    assert repeated([]) == []


def test_only_rows_of_one_hash_can_share_a_journal_key() -> None:
    spans, wordings = SpanJudge().settings(), {"wordings": {}, "wording": "answer"}
    for settings in (spans, wordings):
        keys_of = JudgeIdentity("any", "model", None, settings).keys()
        row = Row("q", "query", (Passage("p", "", "positive"),), (Passage("n", "", "negative"),), "one")
        for other in (replace(row, subset="other"), replace(row, positive_passages=()), replace(row, query="other")):
            assert keys_of(row, [0]) != keys_of(other, [0]) or row_hash(row) == row_hash(other)


@drawn(20)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=30),
    wanted=st.integers(1, 40),
    blank=st.booleans(),
)
def test_any_lines_in_any_number_of_pieces(
    texts: list[str], wanted: int, blank: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    records = [record(number, text) for number, text in enumerate(texts)]
    lines = [json.dumps(one, ensure_ascii=False) for one in records]
    text = ("\n\n" if blank else "\r\n").join(lines)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8", newline="")
    source = open_source(folder / "rows.jsonl")
    assert rows_in_pieces(source, wanted) == rows_of(source)


def test_a_whole_file_is_a_piece_where_there_are_many_files(tmp_path: Path) -> None:
    for number in range(6):
        lines_file(tmp_path / f"{number}.jsonl", [record(number)])
    source = open_source(tmp_path)
    assert pieces_of(source, 4) == [Piece(number, number) for number in range(6)]
