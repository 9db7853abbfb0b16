"""Numbers with what they count, as people read them."""

from __future__ import annotations

import math


def counted(number: float, one: str, many: str | None = None) -> str:
    """A number with its noun in the singular or plural, thousands apart.

    Args:
        one: what there is one of; with a verb where one follows (`row is`).
        many: what there are several of; None for the noun with an s (`query`: queries).

    Example:
        >>> counted(1, "row"), counted(12345, "query"), counted(0, "row is", "rows are")
        ('1 row', '12,345 queries', '0 rows are')
    """
    if many is None:
        many = f"{one[:-1]}ies" if one.endswith("y") and one[-2:-1] not in "aeiou" else f"{one}s"
    return f"{number:,} {one if number == 1 else many}"


def percent(share: float) -> str:
    """A share as people read it, rounded down: whole percents, but next to none and next to all are never 0 % or 100 %.

    Example:
            >>> percent(0), percent(0.005), percent(0.00001), percent(0.456), percent(0.9996), percent(1)
            ('0%', '0.5%', '<0.1%', '45%', '99.9%', '100%')
    """
    tenths = math.floor(round(1000 * share, 6))
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{tenths / 10:.1f}%" if 0 < tenths < 10 or 990 < tenths < 1000 else f"{tenths // 10}%"
