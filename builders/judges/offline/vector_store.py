"""Vectors of texts that were encoded before, on the disk, so that no text is encoded twice in a run.

They lie in a temporary database of SQLite, which nobody else sees and which is gone when the store is. What is kept is
bounded; beyond that the oldest go.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = dict[str, npt.NDArray[np.float32]]

logger = logging.getLogger(__name__)

_MOST_KEYS_PER_QUERY = 900  # SQLite's oldest limit on bound values is 999
_ROW_BYTES = 60
"""What SQLite needs for a vector besides its numbers: key, index, row."""
_DROPPED_SHARE = 0.1


class VectorStore:
    """Vectors by text, on the disk.

    Args:
        most_bytes: the largest the store may grow. 2 GB hold 1.3 million vectors of 384 numbers.

    Example:
        >>> store = VectorStore(2_000_000_000)
        >>> store.add("document", {"a text": vector})
        >>> store.find("document", ["a text", "another"])  # {"a text": vector}
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._is_broken, self._count = most_bytes, False, 0
        # A name of no letters is a temporary database in a file that is deleted while it is open.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._database.close)
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA page_size=65536")  # on small pages a third would stay empty
        self._database.execute(
            "CREATE TABLE vectors (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL)"
        )

    def find(self, side: str, texts: Sequence[str]) -> Vectors:
        """The vectors of those texts that are here, each of length (size of the model's vectors).

        Args:
            side: what they were encoded as; one text has another vector as a query.
        """
        import numpy as np

        if self._is_broken:
            return {}
        keys = {_key(side, text): text for text in texts}
        found: Vectors = {}
        wanted = list(keys)
        for start in range(0, len(wanted), _MOST_KEYS_PER_QUERY):
            part = wanted[start : start + _MOST_KEYS_PER_QUERY]
            query = f"SELECT key, vector FROM vectors WHERE key IN ({','.join('?' * len(part))})"  # noqa: S608 - ours
            for key, vector in self._database.execute(query, part):
                found[keys[key]] = np.frombuffer(vector, dtype=np.float32)
        return found

    def add(self, side: str, vectors: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Keep some vectors. Where the disk is full they are not kept, which is logged, and are encoded again."""
        if self._is_broken or not vectors:
            return
        size = next(iter(vectors.values())).nbytes + _ROW_BYTES
        most = max(1, self._most_bytes // size)
        records = [(_key(side, text), vector.astype("float32").tobytes()) for text, vector in vectors.items()]
        records = records[-most:]
        try:
            self._database.execute("BEGIN")
            self._make_room(len(records), most)
            added = self._database.executemany("INSERT OR IGNORE INTO vectors (key, vector) VALUES (?, ?)", records)
            self._count += added.rowcount
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._is_broken = True
            logger.warning("Vectors are not kept any more, so texts that come again are encoded again: %s", error)

    def _make_room(self, new: int, most: int) -> None:
        """Drop the oldest where there would be too many, some more than need be, so that it is not done each time."""
        if self._count + new > most:
            dropped = max(self._count + new - most, int(most * _DROPPED_SHARE))
            oldest = "SELECT number FROM vectors ORDER BY number LIMIT ?"
            gone = self._database.execute(f"DELETE FROM vectors WHERE number IN ({oldest})", (dropped,))  # noqa: S608
            self._count -= gone.rowcount


def _key(side: str, text: str) -> bytes:
    return hashlib.blake2b(f"{side}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
