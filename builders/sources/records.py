"""Records kept in a temporary file, where a list of them would fill the memory."""

from __future__ import annotations

import tempfile
import weakref
from array import array
from typing import BinaryIO, cast

import orjson

from hf_relabel.builders.sources.files import Record


class StoredRecords:
    """A list of records in a temporary file; in memory only where each starts. The file goes with this object."""

    def __init__(self) -> None:
        self._file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed with this object
        self._starts = array("q", [0])
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def append(self, record: Record) -> None:
        content = orjson.dumps(record)
        self._file.seek(self._starts[-1])
        self._file.write(content)
        self._starts.append(self._starts[-1] + len(content))

    def __getitem__(self, position: int) -> Record:
        if not 0 <= position < len(self):
            raise IndexError(position)
        start, end = self._starts[position], self._starts[position + 1]
        self._file.seek(start)
        return cast(Record, orjson.loads(self._file.read(end - start)))
