"""How many requests in a row failed in one way."""

from __future__ import annotations

MOST_PLACES = 10_000
"""Beginnings and ends of rows that are remembered; then all are forgotten."""


class RowsOfFailures:
    """Rows of requests in the order in which they were *sent*: refusals come at once and answers take their time, so in
    the order of answers a server that refuses every other request begins with many refusals.

    Example:
            >>> rows = RowsOfFailures()
            >>> [rows.add(number, "refused") for number in (1, 3, 2)]
            [1, 1, 3]
    """

    def __init__(self) -> None:
        self._first: dict[tuple[str, int], int] = {}
        """Of the row that ends at a place."""
        self._last: dict[tuple[str, int], int] = {}
        """Of the row that begins at a place."""

    def add(self, number: int, kind: str) -> int:
        """The `number`-th request failed in this way. Returns the length of the row that it is a part of."""
        if len(self._first) > MOST_PLACES:
            self._first.clear()
            self._last.clear()
        first = self._first.pop((kind, number - 1), number)
        last = self._last.pop((kind, number + 1), number)
        self._first[kind, last] = first
        self._last[kind, first] = last
        return last - first + 1
