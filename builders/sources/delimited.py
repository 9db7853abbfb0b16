"""Rows of CSV and TSV files. What is in them is text: an id 007 stays 007."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import orjson

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.sources.files import LONGEST_LINE, WHOLE_ROW, Record, SourceFile, bare_name, decompressed

_LISTS = frozenset(
    [
        *("pos", "neg", "negatives", "positives", "docs", "documents", "passages", "candidates"),
        *("positive_passages", "negative_passages", "positive_ctxs", "hard_negative_ctxs", "labels", "scores"),
        *("pos_scores", "neg_scores"),
    ]
)
_NUMBERS = frozenset({"label", "score", "relevance", "margin", "labels", "scores"})
_REMEDY = "Give JSON lines or parquet instead: `frame.to_json('rows.jsonl', orient='records', lines=True)`."


def read_delimited(file: SourceFile) -> Iterator[tuple[int, Record | BadRow]]:
    """The rows with the number of the line that each begins in, under the names of the first line.

    Lists are read where they are written as JSON (`["a", "b"]`), numbers only in columns of labels and scores. An
    empty cell is null.

    Raises:
        SourceError: the file is not UTF-8, or its quotes are broken.
    """
    csv.field_size_limit(LONGEST_LINE)
    with decompressed(file) as stream:
        try:
            yield from _rows(file, _lines(stream))
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{file.name}: text that is not UTF-8 (byte {error.object[error.start]:#04x}). Save it as UTF-8, such "
                "as by `iconv -f WINDOWS-1252 -t UTF-8`."
            ) from error


def _lines(stream: BinaryIO) -> Iterator[str]:
    first = stream.readline(LONGEST_LINE).decode("utf-8-sig")
    yield first
    while line := stream.readline(LONGEST_LINE):
        yield line.decode()


def _rows(file: SourceFile, lines: Iterator[str]) -> Iterator[tuple[int, Record | BadRow]]:
    first = next(lines)
    reader = csv.reader(chain([first], lines), delimiter=_delimiter(file, first), strict=True)
    try:
        header = next(reader, [])
        _check(file, header)
        number = reader.line_num + 1
        for values in reader:
            if reader.line_num > number and any("\n" in value and "\t" in value for value in values):
                raise SourceError(
                    f"{file.name}: the quote that opens in line {number} closes in line {reader.line_num}, with whole "
                    f"rows between. Double the quotes that are part of the text. {_REMEDY}"
                )
            if values:
                yield number, _record(file, number, header, values)
            number = reader.line_num + 1
    except csv.Error as error:
        raise SourceError(
            f"{file.name}: the quotes are broken at line {reader.line_num} ({error}). A field that begins with a quote "
            f"ends with one, and quotes inside it are doubled. {_REMEDY}"
        ) from error


def _delimiter(file: SourceFile, header: str) -> str:
    """A tab in TSV; in CSV a comma, unless the first line has none and another one."""
    if PurePosixPath(bare_name(file.name)).suffix == ".tsv":
        return "\t"
    return next((mark for mark in (",", "\t", ";") if mark in header), ",")


def _check(file: SourceFile, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise SourceError(f"{file.name}: the first line names {', '.join(map(repr, twice))} twice. Rename one of them.")


def _record(file: SourceFile, number: int, header: list[str], values: list[str]) -> Record | BadRow:
    if len(values) != len(header):
        found = f"{len(values)} fields where the first line names {len(header)}"
        remedy = "Put fields with a delimiter or a line end in double quotes."
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
