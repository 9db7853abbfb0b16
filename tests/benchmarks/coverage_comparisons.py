"""Comparisons of trained models: false positives of `compare` and `prune`, and what they find.

Differences of each query are heavy-tailed and mostly 0, as those of nDCG@10 are; each run has luck of its own on every
query, and luck that all queries of all sets share: its standard deviation, of the difference of two runs, is "run sd".
Beside the method that is used stands that of Welch and Satterthwaite, which a textbook would take.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import stats
from tabulate import tabulate

from hf_relabel.trainers.comparing.choosing import choose, differences_to
from hf_relabel.trainers.comparing.measurements import Measurements
from hf_relabel.trainers.evaluation.significance import MeanDifference, mean_difference

QUERY_SD, LUCK_SD = 0.15, 0.05
CHANGED = 0.5
"""Share of queries on which two systems differ at all."""
GAINS = (0.01, 0.02, 0.04)
ALPHA = 0.05

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the grid. `run_sd` is in the unit of the metric."""

    sets: int
    seeds: int
    run_sd: float
    queries: int = 300


GRID = (
    *(Cell(*each) for each in product((1, 2, 4, 7), (2, 3, 5), (0.0, 0.0025, 0.005, 0.01))),
    *(Cell(1, 2, 0.01, 3000), Cell(1, 3, 0.01, 3000), Cell(2, 2, 0.005, 20), Cell(2, 5, 0.0, 20)),
)
CHOICES = tuple(Cell(*each) for each in ((1, 2, 0.005), (1, 3, 0.005), (1, 5, 0.005), (4, 3, 0.01), (4, 5, 0.005)))
QUICK = (Cell(1, 3, 0.005), Cell(2, 2, 0.01), Cell(7, 2, 0.01), Cell(7, 5, 0.0))


def differences(cell: Cell, chance: np.random.Generator) -> list[Values]:
    """Of two systems that do not differ: a table (seeds, queries) for each set."""
    shape = (cell.seeds, cell.queries)
    luck = chance.normal(0, cell.run_sd, (cell.seeds, 1))
    found = []
    for _ in range(cell.sets):
        of_query = chance.standard_t(4, cell.queries) * QUERY_SD / 2**0.5  # its variance is 2
        own = chance.normal(0, LUCK_SD, shape)
        changed = (chance.random(cell.queries) < CHANGED) / CHANGED**0.5
        found.append(luck + (of_query + own) * changed)
    return found


def welch(found: MeanDifference) -> float:
    """The chance by one t quantile with the degrees of freedom of Welch and Satterthwaite."""
    assert found.seed_error is not None
    assert found.query_error is not None
    runs, queries = found.seed_error**2, found.query_error**2
    freedom = (runs + queries) ** 2 / (runs**2 / (found.seeds - 1) + queries**2 / (sum(found.queries) - 1))
    return float(2 * stats.t.sf(abs(found.difference) / (runs + queries) ** 0.5, freedom))


def drawn(cell: Cell, repetitions: int, seed: int = 0) -> list[MeanDifference]:
    """What is found in so many repetitions, where there is nothing to be found."""
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(repetitions):
        tables = differences(cell, chance)
        found.append(mean_difference(tables, [np.zeros_like(table) for table in tables]))
    return found


def false_positives(found: Sequence[MeanDifference]) -> float:
    return sum(each.p < ALPHA for each in found) / len(found)


def power(found: Sequence[MeanDifference], gain: float) -> float:
    """The share of repetitions in which a gain would be found, since it moves the bounds with the difference."""
    return sum(each.low is not None and each.low + gain > 0 for each in found) / len(found)


def wrong_choices(cell: Cell, repetitions: int, seed: int = 0) -> tuple[float, float]:
    """How often a technique is preferred to `remove-hn` that is no better, and how often any is to the baseline.

    For the first, all three techniques are 2 points better than the baseline; for the second, none is.
    """
    chance = np.random.default_rng(seed)
    names = ("original", "remove", "remove-hn", "relabel")
    wrong = [0, 0]
    for _ in range(repetitions):
        arms = [differences(cell, chance) for _ in names]
        for place, gain in enumerate((0.02, 0.0)):
            values = {
                f"set {number}": {
                    name: tables[number] / 2**0.5 + (gain if name != "original" else 0.0)
                    for name, tables in zip(names, arms, strict=True)
                }
                for number in range(cell.sets)
            }
            measured = Measurements("ndcg@10", tuple(range(cell.seeds)), (), values, dict.fromkeys(names, 0))
            found = differences_to("original", measured)
            if place:
                wrong[1] += any(each.is_better for each in found.values())
            else:
                wrong[0] += choose(found)[0] in ("relabel", "remove")
    return wrong[0] / repetitions, wrong[1] / repetitions


def report(quick: bool) -> Iterator[str]:
    repetitions = 150 if quick else 2000
    rows = []
    for cell in QUICK if quick else GRID:
        found = drawn(cell, repetitions)
        size = f"{cell.sets} x {cell.queries}"
        fired = sum(welch(each) < ALPHA for each in found) / repetitions
        found_gains = [f"{power(found, gain):.0%}" for gain in GAINS]
        rows.append(
            [size, cell.seeds, f"{100 * cell.run_sd:g}", f"{false_positives(found):.1%}", f"{fired:.1%}", *found_gains]
        )
    header = ["sets x queries", "seeds", "run sd", "false positives", "Welch's", *(f"finds +{g:.0%}" for g in GAINS)]
    yield f"The 5 % test, {repetitions} draws; run sd and gains in points of nDCG@10:\n"
    yield tabulate(rows, [name.replace("%", "") for name in header], tablefmt="github", disable_numparse=True)
    rows = []
    for cell in CHOICES[1:2] if quick else CHOICES:
        preferred, any_better = wrong_choices(cell, repetitions // 4)
        size = f"{cell.sets} x {cell.queries}"
        rows.append([size, cell.seeds, f"{100 * cell.run_sd:g}", f"{preferred:.1%}", f"{any_better:.1%}"])
    yield f"\nWhat `compare` concludes of three techniques that are equal, {repetitions // 4} draws:\n"
    header = ["sets x queries", "seeds", "run sd", "another preferred to remove-hn", "one called better than original"]
    yield tabulate(rows, header, tablefmt="github", disable_numparse=True)
