"""JSON that is not one object per line: lists of rows, and objects that span lines. Read as a stream, with ijson."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.sources.files import LONGEST_LINE, WHOLE_ROW, Record, SourceFile, decompressed
from hf_relabel.builders.sources.json_repair import may_be_cut, needs_repair, put_back, repaired
from hf_relabel.builders.sources.splits import split_of

ROWS_FIELDS = frozenset({"data", "rows", "examples", "records", "items", "instances", "train"})
"""Fields of one whole document that hold its rows."""
_EVENTS_LOOKED_AT = 10_000
# An object with both is a row, whatever lists it has.
_QUERY_FIELDS = frozenset({"query", "anchor", "question", "sentence1"})
_PASSAGE_FIELDS = re.compile(r"(hard_)?(pos|neg)(ative|itive)?s?([_-].*)?|passages?|documents?|answer|sentence2")
_DEEPEST = 100
"""Brackets in brackets. ijson keeps the path to each, so the memory grows with the square of the depth."""
# What is in quotes; group 1 is a string that goes on in the next block.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|("[^"\\]*+(?:\\.[^"\\]*+)*+\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def is_document(first_line: bytes) -> bool:
    """Whether a JSON file is no file of lines: it begins with a list, or its first line ends inside an object."""
    text = first_line.strip()
    if not text.startswith(b"{"):
        return text.startswith(b"[")
    try:
        return _holds_splits(json.loads(text))
    except json.JSONDecodeError as error:
        # A character that is wrong is found before the end of the line.
        return error.pos >= len(error.doc)
    except (ValueError, RecursionError):
        return False


def _holds_splits(value: dict[str, Any]) -> bool:
    """Whether one object on one line is a whole document, `{"train": [{...}], "test": [{...}]}`."""
    lists = (name for name, rows in value.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict))
    return not _is_row(list(value)) and any(split_of(name) is not None for name in lists)


def read_document(file: SourceFile) -> Iterator[tuple[int, Record | BadRow]]:
    """The rows of a list, of the list in a field of one object (`data`, `rows` …), or objects one after another.

    Raises:
        SourceError: it is not JSON, is cut off, or one row is larger than `LONGEST_LINE`.
    """
    import ijson

    number = 0
    place = _place_of_rows(file)
    with decompressed(file) as stream, _json_errors(file, lambda: number):
        watched = _Watched(file, stream)
        for value in ijson.items(watched, place, multiple_values=True, use_float=True):
            watched.seen = 0
            number += 1
            value = put_back(value) if watched.repaired else value
            yield number, value if isinstance(value, dict) else _no_row(file, number, value)


@contextmanager
def _json_errors(file: SourceFile, rows: Callable[[], int] = lambda: 0) -> Iterator[None]:
    import ijson

    try:
        yield
    except ijson.IncompleteJSONError as error:
        line = _line(error)
        if "integer overflow" in line:
            raise SourceError(
                f"{file.name}: a number after {rows()} rows has more than 64 bits. Write it in quotes, or give JSON "
                "lines."
            ) from error
        raise SourceError(
            f"{file.name}: the JSON ends, or is broken, after {rows()} rows ({line}). The copy may be incomplete."
        ) from error
    except ijson.JSONError as error:
        raise SourceError(f"{file.name}: not JSON after {rows()} rows. Give JSON lines. ({_line(error)})") from error


def splits_in(file: SourceFile) -> list[str]:
    """The fields of one object that hold the rows of a split each (`train`, `test` …); none where rows are elsewhere.

    Where there are some, all of the file is read to know them.

    Raises:
        SourceError: it is not JSON.
    """
    import ijson

    place = _place_of_rows(file)
    if split_of(place.removesuffix(".item")) is None:
        return []
    with decompressed(file) as stream, _json_errors(file):
        watched = _Watched(file, stream)
        found: dict[str, None] = {}
        depth, field = 0, ""
        for event, value in ijson.basic_parse(watched, multiple_values=True):
            if event == "map_key" and depth == 1:
                field = value
            elif event in ("start_map", "start_array"):
                if event == "start_map" and depth == 2 and split_of(field) is not None:
                    found[field] = None
                depth += 1
            elif event in ("end_map", "end_array"):
                depth, watched.seen = depth - 1, 0
    return list(found)


def _place_of_rows(file: SourceFile) -> str:
    """Where the rows are: "item" for a list, "data.item" for a field of an object, "" for the objects themselves."""
    if file.rows_field:
        return f"{file.rows_field}.item"
    with decompressed(file) as stream, _json_errors(file):
        return _place(_Watched(file, stream))


def _place(stream: _Watched) -> str:
    import ijson

    fields: list[str] = []
    lists: dict[str, None] = {}
    for prefix, event, value in islice(ijson.parse(stream, multiple_values=True), _EVENTS_LOOKED_AT):
        if not prefix and event == "start_array":
            return "item"
        if not prefix and event == "map_key":
            fields.append(value)
        elif event == "start_map" and fields and prefix == f"{fields[-1]}.item":
            lists[fields[-1]] = None
        elif not prefix and event == "end_map":
            break
    if _is_row(fields):
        return ""
    return next((f"{field}.item" for field in lists if field in ROWS_FIELDS or split_of(field) is not None), "")


def _is_row(fields: Sequence[str]) -> bool:
    return not _QUERY_FIELDS.isdisjoint(fields) and any(map(_PASSAGE_FIELDS.fullmatch, fields))


def _no_row(file: SourceFile, number: int, value: Any) -> BadRow:
    found = "a list" if isinstance(value, list) else f"a {type(value).__name__}"
    return BadRow(file.name, number, WHOLE_ROW, f"{found}, not a JSON object", "Give each row as an object.")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()


class _Watched:
    """A stream that is read in pieces, as long as there is a row now and then."""

    def __init__(self, file: SourceFile, stream: BinaryIO) -> None:
        self._file, self._stream, self._begun, self.seen = file, stream, False, 0
        self._depth, self._open_string = 0, b""
        self.repaired = False

    def read(self, size: int = -1) -> bytes:
        data = self._block(size)
        if data and not self._begun:
            # The mark of byte order is no JSON.
            data, self._begun = data.removeprefix(codecs.BOM_UTF8) or self._block(size), True
        self.seen += len(data)
        if self.seen > LONGEST_LINE + 2**20:
            raise SourceError(
                f"{self._file.name}: one JSON value is larger than {LONGEST_LINE // 2**20} MiB. If its rows are in a "
                "field, take them out: `jq -c '.field[]' file.json > rows.jsonl`."
            )
        if needs_repair(data):
            self.repaired = True
            fixed = repaired(data, self._open_string)
            self._check_depth(data)
            return fixed
        self._check_depth(data)
        return data

    def _block(self, size: int) -> bytes:
        """The next bytes, and some more where they end inside a number or an escape."""
        data = self._stream.read(size)
        more: list[bytes] = []
        while may_be_cut(more[-1] if more else data) and (byte := self._stream.read(1)):
            more.append(byte)
            if len(more) > LONGEST_LINE:
                break
        return data + b"".join(more)

    def _check_depth(self, data: bytes) -> None:
        text = _STRINGS.sub(rb"\1", self._open_string + data)
        bare, quote, string = text.partition(b'"')
        # Of a string that goes on, only whether its last character is half an escape matters.
        half = (len(string) - len(string.rstrip(b"\\"))) % 2
        self._open_string = quote + b"\\" * half
        for bracket in bare.translate(None, _NO_BRACKETS):
            self._depth += 1 if bracket in b"[{" else -1
            if self._depth > _DEEPEST:
                raise SourceError(
                    f"{self._file.name}: lists and objects lie more than {_DEEPEST} deep in each other, as no row does."
                )
