"""JSON that is not one object per line: lists of rows, and objects that span lines. Read as a stream, with ijson."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.sources.files import LONGEST_LINE, WHOLE_ROW, Record, SourceFile, decompressed

ROWS_FIELDS = frozenset({"data", "rows", "examples", "records", "items", "instances", "train"})
"""Fields of one whole document that hold its rows."""
_EVENTS_LOOKED_AT = 10_000


def is_document(first_line: bytes) -> bool:
    """Whether a JSON file is no file of lines: it begins with a list, or its first line ends inside an object."""
    text = first_line.strip()
    if not text.startswith(b"{"):
        return text.startswith(b"[")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        # A character that is wrong is found before the end of the line.
        return error.pos >= len(error.doc)
    except (ValueError, RecursionError):
        return False
    return False


def read_document(file: SourceFile) -> Iterator[tuple[int, Record | BadRow]]:
    """The rows of a list, of the list in a field of one object (`data`, `rows` …), or objects one after another.

    Raises:
        SourceError: it is not JSON, is cut off, or one row is larger than `LONGEST_LINE`.
    """
    import ijson

    number = 0
    try:
        place = _place_of_rows(file)
        with decompressed(file) as stream:
            watched = _Watched(file, stream)
            for value in ijson.items(watched, place, multiple_values=True, use_float=True):
                watched.seen = 0
                number += 1
                yield number, value if isinstance(value, dict) else _no_row(file, number, value)
    except ijson.IncompleteJSONError as error:
        raise SourceError(
            f"{file.name}: the JSON ends, or is broken, after {number} rows ({_line(error)}). The copy may be "
            "incomplete; NaN and Infinity are no JSON."
        ) from error
    except ijson.JSONError as error:
        raise SourceError(f"{file.name}: not JSON after {number} rows. Give JSON lines. ({_line(error)})") from error


def _place_of_rows(file: SourceFile) -> str:
    """Where the rows are: "item" for a list, "data.item" for a field of an object, "" for the objects themselves."""
    import ijson

    with decompressed(file) as stream:
        field = ""
        for count, (prefix, event, value) in enumerate(ijson.parse(_Watched(file, stream), multiple_values=True)):
            if not prefix and event == "start_array":
                return "item"
            if not prefix and event == "map_key":
                field = value
            elif event == "start_map" and field in ROWS_FIELDS and prefix == f"{field}.item":
                return str(prefix)
            if (not prefix and event == "end_map") or count > _EVENTS_LOOKED_AT:
                break
    return ""


def _no_row(file: SourceFile, number: int, value: Any) -> BadRow:
    found = "a list" if isinstance(value, list) else f"a {type(value).__name__}"
    return BadRow(file.name, number, WHOLE_ROW, f"{found}, not a JSON object", "Give each row as an object.")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()


class _Watched:
    """A stream that is read in pieces, as long as there is a row now and then."""

    def __init__(self, file: SourceFile, stream: BinaryIO) -> None:
        self._file, self._stream, self._begun, self.seen = file, stream, False, 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if data and not self._begun:
            # The mark of byte order is no JSON.
            data, self._begun = data.removeprefix(codecs.BOM_UTF8) or self._stream.read(size), True
        self.seen += len(data)
        if self.seen > LONGEST_LINE + 2**20:
            raise SourceError(
                f"{self._file.name}: one JSON value is larger than {LONGEST_LINE // 2**20} MiB. If its rows are in a "
                "field, take them out: `jq -c '.field[]' file.json > rows.jsonl`."
            )
        return data
