"""How far two yes/no raters agree beyond chance."""

from __future__ import annotations


def cohens_kappa(both: int, only_first: int, only_second: int, neither: int) -> float | None:
    """Cohen's kappa of two yes/no raters (Cohen 1960); None where chance alone would make them agree always."""
    total = both + only_first + only_second + neither
    if not total:
        return None
    first, second = (both + only_first) / total, (both + only_second) / total
    by_chance = first * second + (1 - first) * (1 - second)
    if by_chance == 1:
        return None
    return ((both + neither) / total - by_chance) / (1 - by_chance)
