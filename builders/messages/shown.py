"""How a report is shown by `print` and at the end of a notebook's cell: as people read it, and on one screen."""

from __future__ import annotations

MOST_LINES = 24


class Shown:
    """Something with a `to_text`, which is its `repr` too. A dataclass takes it with `@dataclass(repr=False)`.

    Example:
            >>> class Report(Shown):
            ...     def to_text(self) -> str:
            ...         return "60 rows."
            >>> Report()
            60 rows.
    """

    __slots__ = ()

    def to_text(self) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        lines = self.to_text().splitlines()
        left_out = len(lines) - MOST_LINES
        if left_out <= 0:
            return "\n".join(lines)
        return "\n".join([*lines[:MOST_LINES], f"… {left_out} lines more: print(….to_text()) shows all."])
