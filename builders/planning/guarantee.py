"""Whether labelled rows back a precision, so that many ways of judging may be tried on the same rows.

A way of judging relabels a(i) candidates of row i, of which h(i) are false negatives. Candidates of one row are alike:
they are taken to be right or wrong all together, so that what counts is the effective number of rows, the sum of a(i)
squared over the sum of their squares (Kish). The test is the binomial one on as many trials with the observed share of
hits, which is the bound of Clopper and Pearson. What it takes for granted is that large rows err no more often than
small ones; rows of which very much would be relabelled, for which that is doubtful, are left out, as in the paper.
Without that, rows of 7 would each have to count as 1: for a precision of .95, 400 candidates without an error.

Many ways are tested in a fixed sequence (Learn then Test, arXiv 2110.01052): in an order that other rows gave, until
the first that is not backed. All before it are backed together, at the same confidence, so any of them may be taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

T = TypeVar("T")

POWER = 0.8
"""Chance that as many rows as are asked for back the precision, if it is what it looks like."""
_MOST_ROWS = 10_000_000


def effective(relabelled: Values) -> float:
    """How many rows that are alike in size these are worth."""
    squares = float((relabelled**2).sum())
    return float(relabelled.sum()) ** 2 / squares if squares else 0.0


def chance(hits: float, trials: float, wanted: float) -> float:
    """The chance of as many hits or more where their share is the wanted one at most. Numbers need not be whole."""
    from scipy.special import betainc

    return float(betainc(hits, trials - hits + 1, wanted)) if hits > 0 else 1.0


def chance_of_rows(hits: Values, relabelled: Values, wanted: float) -> float:
    """The chance of such rows, or better ones, where the precision is the wanted one at most.

    Args:
        hits, relabelled: per row, the false negatives among what is relabelled, and all of that.
    """
    trials = effective(relabelled)
    share = float(hits.sum()) / float(relabelled.sum()) if trials else 0.0
    return chance(min(round(share, 12), 1.0) * trials, trials, wanted)


def backed_in_order(ordered: Iterable[T], chance_of: Callable[[T], float], confidence: float) -> list[T]:
    """Those that are backed before the first that is not.

    Args:
        ordered: in an order that must not come from the rows that are tested.
        chance_of: its chance where the precision is too low, see `chance_of_rows`.
    """
    backed = []
    for each in ordered:
        if chance_of(each) > 1 - confidence:
            break
        backed.append(each)
    return backed


def trials_needed(share: float, wanted: float, confidence: float) -> int | None:
    """So many trials with this share of hits back the wanted one, four times out of five; None where no number does."""
    if share <= wanted:
        return None
    z = NormalDist().inv_cdf(POWER)

    def backs(trials: int) -> bool:
        hits = share * trials - z * math.sqrt(trials * share * (1 - share))
        return chance(max(hits, 0.0), trials, wanted) <= 1 - confidence

    high = 1
    while not backs(high):
        high *= 2
        if high > _MOST_ROWS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if backs(middle) else (middle, high)
    return high
