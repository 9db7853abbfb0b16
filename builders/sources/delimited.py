"""Rows of CSV and TSV files. What is in them is text: an id 007 stays 007."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, count
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import orjson

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.sources.files import LONGEST_LINE, WHOLE_ROW, Record, SourceFile, bare_name, decompressed
from hf_relabel.builders.sources.tab_quoting import is_quoted

_LISTS = frozenset(
    [
        *("pos", "neg", "negatives", "positives", "docs", "documents", "passages", "candidates"),
        *("positive_passages", "negative_passages", "positive_ctxs", "hard_negative_ctxs", "labels", "scores"),
        *("pos_scores", "neg_scores"),
    ]
)
_NUMBERS = frozenset({"label", "score", "relevance", "margin", "labels", "scores"})
_REMEDY = "Give JSON lines or parquet instead: `frame.to_json('rows.jsonl', orient='records', lines=True)`."

_LONGEST_NAME = 15
"""Words. What is longer is a text, in a file whose first line names nothing."""
_PLAIN_REMEDY = (
    "Lines are rows here, and quotes are part of the text, since not the whole file is quoted. Write fields with a tab "
    "or a line end with a csv writer, or give JSON lines or parquet instead."
)


def read_delimited(file: SourceFile) -> Iterator[tuple[int, Record | BadRow]]:
    """The rows, numbered from 1 after the line of names: a field may hold line ends, so a row is not always a line.

    Lists are read where they are written as JSON (`["a", "b"]`), numbers only in columns of labels and scores. An
    empty cell is null. Tab-separated lines are rows as they stand, quotes and all, as MS MARCO's files want it, unless
    the whole file is quoted as csv writers do it (`tab_quoting`).

    Raises:
        SourceError: the file is not UTF-8, its quotes are broken, or its first line names no columns.
    """
    csv.field_size_limit(LONGEST_LINE)
    with decompressed(file) as stream:
        try:
            lines = _lines(file, stream)
            first = next(lines, "")
            delimiter = _delimiter(file, first)
            lines = chain([first], lines)
            unquoted = delimiter == "\t" and not _is_quoted(file)
            yield from _plain_rows(file, lines) if unquoted else _rows(file, lines, delimiter)
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{file.name}: text that is not UTF-8 (byte {error.object[error.start]:#04x}). Save it as UTF-8, such "
                "as by `iconv -f WINDOWS-1252 -t UTF-8`."
            ) from error


def _lines(file: SourceFile, stream: BinaryIO) -> Iterator[str]:
    encoding = "utf-8-sig"
    for number in count(1):
        line = stream.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise SourceError(f"{file.name}: line {number} is longer than {LONGEST_LINE // 2**20} MiB. {_REMEDY}")
        if not line:
            return
        yield line.decode(encoding)
        encoding = "utf-8"


def _is_quoted(file: SourceFile) -> bool:
    with decompressed(file) as stream:
        return is_quoted(iter(partial(stream.readline, LONGEST_LINE), b""))


def _plain_rows(file: SourceFile, lines: Iterator[str]) -> Iterator[tuple[int, Record | BadRow]]:
    header = _cells(next(lines))
    _check(file, header)
    rows = (cells for line in lines if (cells := _cells(line)))
    for number, cells in enumerate(rows, 1):
        yield number, _record(file, number, header, cells, _PLAIN_REMEDY)


def _cells(line: str) -> list[str]:
    line = line.removesuffix("\n").removesuffix("\r")
    return line.split("\t") if line else []


def _rows(file: SourceFile, lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, Record | BadRow]]:
    begun: list[str] = []
    reader = csv.reader(_kept(lines, begun), delimiter=delimiter, strict=True)
    number, line = 0, 1
    try:
        header = next(reader, [])
        _check(file, header)
        line = reader.line_num + 1
        begun.clear()
        for values in reader:
            if len(begun) > 1 and _are_rows(begun, delimiter, len(header)):
                raise SourceError(
                    f"{file.name}: the quote that opens in line {line} closes in line {reader.line_num}, with whole "
                    f"rows between. Double the quotes that are part of the text. {_REMEDY}"
                )
            if values:
                number += 1
                yield number, _record(file, number, header, values)
            line = reader.line_num + 1
            begun.clear()
    except csv.Error as error:
        raise SourceError(_broken(file, line, reader.line_num, str(error))) from error


def _kept(lines: Iterator[str], kept: list[str]) -> Iterator[str]:
    """The lines, each also put aside."""
    for line in lines:
        kept.append(line)
        yield line


def _are_rows(lines: Sequence[str], delimiter: str, columns: int) -> bool:
    """Whether the lines of one quoted cell look like rows of their own, by their delimiters: those of a text are
    followed by a blank or stand in a number."""
    delimiters = re.compile(rf"(?<!\d){delimiter}(?!\s)|(?<=\d){delimiter}(?![\s\d])" if delimiter != "\t" else "\t")
    return columns > 1 and all(len(delimiters.findall(line)) == columns - 1 for line in lines)


def _broken(file: SourceFile, begin: int, end: int, reason: str) -> str:
    if "unexpected end of data" in reason:
        found = f"a quote that opens in the row of line {begin} is never closed"
    else:
        since = f", in the row that begins in line {begin}" if begin != end else ""
        found = f"the quotes are broken at line {end}{since} ({reason})"
    return (
        f"{file.name}: {found}. A field that begins with a quote ends with one, and quotes inside it are doubled. "
        f"{_REMEDY}"
    )


def _delimiter(file: SourceFile, header: str) -> str:
    """A tab in TSV; in CSV a comma, unless the first line has none and another one."""
    if PurePosixPath(bare_name(file.name)).suffix == ".tsv":
        return "\t"
    return next((mark for mark in (",", "\t", ";") if mark in header), ",")


def _check(file: SourceFile, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        named = ", ".join(repr(name[:40]) for name in twice)
        raise SourceError(f"{file.name}: the first line names {named} twice. Rename one of them.")
    if texts := [name for name in header if len(name.split()) > _LONGEST_NAME]:
        raise SourceError(
            f"{file.name}: the first line has to name the columns, and holds {texts[0][:40]!r} … Put a line of names "
            "before it, such as `query`, `positive` and `negative`."
        )


def _record(
    file: SourceFile,
    number: int,
    header: list[str],
    values: list[str],
    remedy: str = "Put fields with a delimiter or a line end in double quotes.",
) -> Record | BadRow:
    if len(values) != len(header):
        found = f"{len(values)} fields where the first line names {len(header)}"
        return BadRow(file.name, number, WHOLE_ROW, found, remedy)
    record: Record = {}
    for name, value in zip(header, values, strict=True):
        try:
            record[name] = _value(name, value)
        except orjson.JSONDecodeError:
            return BadRow(file.name, number, name, "a list that is written as text and is not JSON", _REMEDY)
    return record


def _value(name: str, value: str) -> Any:
    if not value:
        return None  # Tables leave cells empty where there is nothing: no empty passage, as null in JSON.
    if name in _LISTS and value.lstrip().startswith("["):
        return orjson.loads(value)
    if name in _NUMBERS:
        try:
            return float(value) if not value.strip().lstrip("+-").isdigit() else int(value)
        except ValueError:
            return value
    return value
