"""Rows and query ids that a source has again: counted exactly, in as much memory for any number of rows.

Hashes are kept in the memory for as many rows as fit into 8 MB, and put into a file of the system's folder for
temporary files from there on, each lot in 256 parts by the hash of the query id. What is equal is in one part, and a
part is small enough to be sorted.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.sources.samples import content_hash

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Lines = npt.NDArray[np.uint64]
    """A line per row: hash of subset and query id, hash of all, number of the row, place of its query id."""

_COLUMNS = 4
_HELD_LINES = 2**18
_HELD_BYTES = 2**23
_PARTS = 256
_LENGTH_BYTES = 4
_ALL_BITS = 2**64 - 1


@dataclass
class Repeated:
    """How often something occurred again, and the first of those rows: number and query id."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)


class Repeats:
    """Told all rows in their order, it says which of them were there before. Close it, or use it in a `with`.

    Args:
        most: rows of each kind that are named.

    Raises:
        SourceError: there is no room for temporary files.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = array("Q")
        self._lots: list[tuple[int, Lines]] = []
        """Where each lot begins in the file, and in it, in lines, each part and the end."""
        self._ids, self._ids_put_away = bytearray(), 0
        self._lines_file: IO[bytes] = tempfile.SpooledTemporaryFile(_HELD_BYTES)  # noqa: SIM115
        self._ids_file: IO[bytes] = tempfile.SpooledTemporaryFile(_HELD_BYTES)  # noqa: SIM115

    def add(self, numbered: NumberedRow) -> None:
        row = numbered.row
        query_id = row.query_id.encode()
        # One id may name a query in each of two subsets.
        id_hash = hash((row.subset, row.query_id)) & _ALL_BITS
        self._held.extend((id_hash, content_hash(row), numbered.number, self._ids_put_away + len(self._ids)))
        self._ids += len(query_id).to_bytes(_LENGTH_BYTES, "little") + query_id
        if len(self._held) >= _HELD_LINES * _COLUMNS or len(self._ids) >= _HELD_BYTES:
            with _room():
                self._put_away()

    def found(self) -> tuple[Repeated, Repeated]:
        """The rows that are equal to an earlier one, and those whose query id an earlier, different row has."""
        rows, ids = _Counting(self._most), _Counting(self._most)
        with _room():
            self._put_away()
            for lines in self._parts():
                _count(lines, rows, ids)
            return self._named(rows), self._named(ids)

    def _put_away(self) -> None:
        import numpy as np

        lines = np.frombuffer(self._held, dtype=np.uint64).reshape(-1, _COLUMNS)
        lines = lines[np.argsort(lines[:, 0], kind="stable")]
        edges = np.arange(1, _PARTS, dtype=np.uint64) * np.uint64(2**64 // _PARTS)
        inside = np.searchsorted(lines[:, 0], edges)
        self._lots.append((self._lines_file.tell(), np.array([0, *inside, len(lines)], dtype=np.uint64)))
        self._lines_file.write(lines.tobytes())
        self._ids_file.write(self._ids)
        self._ids_put_away += len(self._ids)
        self._held, self._ids = array("Q"), bytearray()

    def _parts(self) -> Iterator[Lines]:
        import numpy as np

        if len(self._lots) == 1:
            yield self._read(0, 0, _PARTS)
            return
        for part in range(_PARTS):
            yield np.concatenate([self._read(lot, part, part + 1) for lot in range(len(self._lots))])

    def _read(self, lot: int, first: int, end: int) -> Lines:
        import numpy as np

        start, edges = self._lots[lot]
        self._lines_file.seek(start + int(edges[first]) * _COLUMNS * 8)
        content = self._lines_file.read(int(edges[end] - edges[first]) * _COLUMNS * 8)
        return np.frombuffer(content, dtype=np.uint64).reshape(-1, _COLUMNS)

    def _named(self, counting: _Counting) -> Repeated:
        return Repeated(counting.count, [(number, self._query_id(place)) for number, place in counting.first])

    def _query_id(self, place: int) -> str:
        self._ids_file.seek(place)
        length = int.from_bytes(self._ids_file.read(_LENGTH_BYTES), "little")
        return self._ids_file.read(length).decode()

    def close(self) -> None:
        self._lines_file.close()
        self._ids_file.close()

    def __enter__(self) -> Repeats:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class _Counting:
    """`first` holds numbers of rows with the places of their query ids."""

    most: int
    count: int = 0
    first: list[tuple[int, int]] = field(default_factory=list)

    def add(self, lines: Lines) -> None:
        self.count += len(lines)
        found = lines[lines[:, 2].argsort()[: self.most]]
        self.first = sorted([*self.first, *((int(number), int(place)) for _, _, number, place in found)])[: self.most]


def _count(lines: Lines, rows: _Counting, ids: _Counting) -> None:
    """Count in lines that hold all rows of each query id."""
    import numpy as np

    lines = lines[np.argsort(lines[:, 0], kind="stable")]
    is_later = _same_as_before(lines[:, 0])
    if not is_later.any():
        return
    # Only what has an id in common is looked at further.
    shared = is_later | np.append(is_later[1:], False)
    lines = lines[shared]
    lines = lines[np.lexsort((lines[:, 2], lines[:, 1], lines[:, 0]))]
    is_same_row = _same_as_before(lines[:, 0]) & _same_as_before(lines[:, 1])
    rows.add(lines[is_same_row])
    others = lines[~is_same_row]
    others = others[np.lexsort((others[:, 2], others[:, 0]))]
    ids.add(others[_same_as_before(others[:, 0])])


def _same_as_before(values: Any) -> Any:
    import numpy as np

    return np.concatenate([np.zeros(min(1, len(values)), dtype=bool), values[1:] == values[:-1]])


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"There is no room in {tempfile.gettempdir()} for what is noted of each row, 50 bytes or so"
            f" ({error.strerror}). Free some, or name another folder in the environment variable TMPDIR."
        ) from error
