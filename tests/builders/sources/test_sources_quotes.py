"""Quotes in CSV and TSV: lines are never joined by a quote that is part of a text."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.sources import open_source
from hf_relabel.builders.sources.tab_quoting import is_quoted

HEADER = "query\tpositive\tnegative\n"


def rows(path: Path) -> list[tuple[str, str, str]]:
    found = (numbered.row for numbered in open_source(path).rows())
    return [(row.query, row.positive_passages[0].text, row.negative_passages[0].text) for row in found]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(
    "lines",
    [
        ['q1\tp1\t"To be, he said.', "q2\tp2\tn2"],
        ['q1\tp1\t"n1', 'q2\tp2\tn2"', "q3\tp3\tn3"],
        ['"q1\tp1\tn1', 'q2\tp2\t"n2" and more'],
        ['q1\ta 5" screen\tn1', 'q2\tp2\t"a whole text"'],
        ['q1\t"a whole text"\tn1', "q2\tp2\tn2"],
        ['"""a\ta\t,"', "q2\tp2\tn2"],
        ['q1\t""\tn1', 'q2\tp2\t"', "q3\tp3\tn3"],
    ],
)
def test_lines_of_a_tsv_that_is_not_quoted_are_rows_with_their_quotes(tmp_path: Path, lines: list[str]) -> None:
    path = write(tmp_path / "t.tsv", HEADER + "\n".join(lines) + "\n")
    assert rows(path) == [tuple(line.split("\t")) for line in lines]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_tsv_that_a_csv_writer_wrote_is_read_as_written(tmp_path: Path, quoting: int, end: str) -> None:
    cells = [
        ("why?", 'He said "no", twice', "two\nlines"),
        ("tab\there", '"', "three\n\nlines, one blank"),
        ("q", "p", "n"),
        ('"all"', "p\n", "one\ttwo\nand\tthree\tfour\tfive"),
    ]
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([HEADER.strip().split("\t"), *cells])
    path = write(tmp_path / "t.tsv", text.getvalue())
    assert rows(path) == cells


def test_all_quoted_names_tell_that_all_is_quoted(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", '"query"\t"positive"\t"negative"\n"q"\t"p"\t"n"\n')
    assert rows(path) == [("q", "p", "n")]


def test_a_line_of_a_tsv_with_other_cells_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", HEADER + 'q\tp\t"n\nq\tp\n')
    with pytest.raises(BadRow, match=r"t\.tsv, row 2.*2 fields where the first line names 3.*quotes are part"):
        rows(path)


def test_a_file_without_names_is_told_of_them(tmp_path: Path) -> None:
    passage = " ".join(["word"] * 30)
    path = write(tmp_path / "triples.tsv", f"a query\t{passage}\t{passage} too\n" * 3)
    with pytest.raises(SourceError, match="the first line has to name the columns"):
        rows(path)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (['q1,p1,"n1', "q2,p2,n2", "q3,p3,n3"], "a quote that opens in the row of line 2 is never closed"),
        (["q0,p0,n0", 'q1,p1,"n1', 'q2,"p2",n2'], r"broken at line 4, in the row that begins in line 3"),
        (["q0,p0,n0", 'q1,p1,"n1', 'q2,p2,n2"'], r"opens in line 3 closes in line 4, with whole rows between"),
        (["q0,p0,n0", 'q1,"p1,n1', 'q2,p2",n2'], r"opens in line 3 closes in line 4, with whole rows between"),
    ],
)
def test_a_quote_that_swallows_lines_of_a_csv_is_named(tmp_path: Path, lines: list[str], told: str) -> None:
    path = write(tmp_path / "t.csv", "query,positive,negative\n" + "\n".join(lines) + "\n")
    with pytest.raises(SourceError, match=told):
        rows(path)


def test_texts_of_several_lines_with_commas_in_a_csv_are_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 'query,positive\nq,"one, two\nthree, four"\nr,"about\n3,000 people"\n')
    found = [numbered.row.positive_passages[0].text for numbered in open_source(path).rows()]
    assert found == ["one, two\nthree, four", "about\n3,000 people"]


def test_quoting_is_found_in_time_that_grows_with_the_lines() -> None:
    nasty = b'"' + b'a""' * 100_000 + b'\t"' * 10_000 + b"\n"
    assert not is_quoted(iter([b"a\tb\n", nasty]))
