"""Numbers with what they count, as people read them."""

from __future__ import annotations


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
