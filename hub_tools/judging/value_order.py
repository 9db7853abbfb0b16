"""The order in which a later stage is asked: first the rows where most is likely found for what they cost.

A budget that ends early has then found the most. What a row is worth follows from what the stage before says of the
candidates that are left to ask about: the sum of its scores (0, .5 and 1 for labels), over their number and one more,
for the part of a prompt that is there however many it asks about. Rows are read band by band, the best first and in
the order of the source within a band, so that nothing is held but a number for each row.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, pairwise
from math import inf, nan
from typing import TypeVar

from hf_relabel.builders.cascade.combining import level
from hf_relabel.builders.cascade.rules import StageAnswers

T = TypeVar("T")

BANDS = 10
"""So often a source is read once more. Rows of one band are worth nearly the same."""
NOTHING = nan
"""The value of a row that nothing is left to ask about."""


def value_of_row(left: Sequence[int], before: StageAnswers) -> float:
    """What it is worth to ask about some candidates of a row.

    Args:
        left: their positions.
        before: what the stage before says of the row's candidates.
    """
    if not left:
        return NOTHING
    return sum(level(before[position]) for position in left if position in before) / (len(left) + 1)


def bands(values: array[float]) -> list[tuple[float, float]]:
    """Ranges of values, from and below, the highest first, that hold about equally many rows each."""
    import numpy as np

    found = np.frombuffer(values, dtype=np.float32) if values else np.empty(0, dtype=np.float32)
    ordered = np.sort(found[~np.isnan(found)])
    if not len(ordered):
        return []
    places = [len(ordered) * number // BANDS for number in range(1, BANDS)]
    cuts = sorted(set(ordered[places].tolist()) - {float(ordered[0])})
    return list(pairwise([-inf, *cuts, inf]))[::-1]


def of_band(items: Iterable[T], values: array[float], band: tuple[float, float]) -> Iterator[T]:
    """The items, one for each value, whose value lies in a band."""
    low, high = band
    return compress(items, (low <= value < high for value in values))
