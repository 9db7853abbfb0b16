"""How often a passage returns in the rows: what decides how much an error costs that becomes a positive.

Where each passage stands in one or two rows, relabelling gains though the judge is often wrong; where it stands in
tens of them, other rows show the model what the passage is, and the error unlearns it (`bench_zones_training`).
"""

from __future__ import annotations

import hashlib

from hf_relabel.builders.hashing import feed
from hf_relabel.builders.rows import Row

_BYTES = 8
_WHOLE = 1 << (8 * _BYTES)


class Reuse:
    """In how many places of the rows a passage stands, on average; its text counts, not its id.

    Exact up to `most` passages; beyond that of a sample of them, those with the smallest hashes (adaptive sampling,
    Flajolet 1990), so that memory is bounded. Of a sample of 10,000 the mean is off by a percent or two, and by more
    where a few passages stand in thousands of rows.
    """

    def __init__(self, most: int = 20_000) -> None:
        self._most, self._bound = most, _WHOLE
        self._counts: dict[int, int] = {}

    def add(self, row: Row) -> None:
        for passage in (*row.positive_passages, *row.negative_passages):
            digest = hashlib.blake2b(digest_size=_BYTES)
            feed(digest, passage.title, passage.text)
            found = int.from_bytes(digest.digest(), "big")
            if found < self._bound:
                self._counts[found] = self._counts.get(found, 0) + 1
        while len(self._counts) > self._most:
            self._bound //= 2
            self._counts = {key: count for key, count in self._counts.items() if key < self._bound}

    @property
    def mean(self) -> float | None:
        """None where no passage was seen."""
        return sum(self._counts.values()) / len(self._counts) if self._counts else None
