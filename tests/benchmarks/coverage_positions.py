"""Bias of position: how often a judge is called biased that is blind to places, and judges that are not.

In each draw rows have 4 or 16 candidates, of which more are relevant where there are few; lists of 16 are shown in
prompts of 16, or of 8. How likely a candidate is relevant differs from row to row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from tabulate import tabulate

from hf_relabel.builders.cascade.positions import PlaceCounts, PositionBias
from hf_relabel.builders.judgements import Judgement, Label

Leaning = Callable[[np.ndarray], np.ndarray]
"""How likely a judge is to call what stands at these places (from 1) of a prompt relevant though it is not."""

JUDGES: dict[str, Leaning] = {
    "blind to places": lambda places: np.full(len(places), 0.05),
    "first place .15 more": lambda places: 0.05 + 0.15 * (places == 1),
    "from .15 at the first down to .02": lambda places: np.linspace(0.15, 0.02, len(places)),
    "last places of long prompts .1 more": lambda places: 0.05 + 0.1 * (places > 12),
}


def measured(leaning: Leaning, rows: int, chance: np.random.Generator, *, most: int = 16) -> PositionBias:
    """What the test says of a judge in one draw."""
    counts = PlaceCounts()
    sizes = chance.choice([4, 16], rows)
    rates = chance.beta(2, np.where(sizes == 4, 2, 14))
    relevant, mistaken = chance.random((rows, 16)) < rates[:, None], chance.random((rows, 16))
    leans = {length: leaning(np.arange(1, length + 1)) for length in (4, 8, 16)}
    for row, size in enumerate(sizes.tolist()):
        said = {}
        for start in range(0, size, most):
            length = min(most, size - start)
            inside = slice(start, start + length)
            flags = relevant[row, inside] | (mistaken[row, inside] < leans[length])
            for place, flag in enumerate(flags.tolist(), 1):
                label = Label.BETTER if flag else Label.IRRELEVANT
                said[start + place] = Judgement(label, place=place, reply=16 * row + start)
        counts.add_row(said)
    return counts.result("judge")


def share_called_biased(leaning: Leaning, rows: int, draws: int, *, most: int = 16) -> float:
    chance = np.random.default_rng(rows)
    return float(np.mean([measured(leaning, rows, chance, most=most).is_biased for _ in range(draws)]))


def report(quick: bool) -> Iterator[str]:
    """The table, as lines."""
    draws, sizes = (50, (50, 200)) if quick else (400, (50, 200, 600))
    table = [
        [name, most, *(share_called_biased(leaning, rows, draws, most=most) for rows in sizes)]
        for name, leaning in JUDGES.items()
        for most in (16, 8)
    ]
    yield f"Called biased by place, share of {draws} draws (level .01)"
    yield tabulate(table, ["judge", "in a prompt", *(f"{rows:,} rows" for rows in sizes)], floatfmt=".3f")
