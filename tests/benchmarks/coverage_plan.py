"""Plans chosen from a pilot: is what they relabel as precise in the whole set as was wanted?

A population of rows whose false negatives lie together and whose judges err together, as those of one query do: a
similarity, a cheap judge that gives labels, and one that gives scores and costs most. In each repetition other rows are
the pilot, a plan is chosen, and its precision in the whole population is held against the wanted one. Where nothing is
backed nothing is relabelled, which holds it too and is counted apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
from tabulate import tabulate

from hf_relabel.builders.planning.choosing import LIMIT, Wanted, choose
from hf_relabel.builders.planning.policy import Pilot, PilotStage, measured

WANTED = 0.95
ROWS, CANDIDATES = 10_000, 10
STAGES = (PilotStage("similarity", True), PilotStage("accurate", True))
PRICES = (0.0, 0.01)
"""US dollars of a request that asks about one candidate."""
JUDGES = ("good", "rows misread", "large rows misread")


@cache
def population(judges: str) -> Pilot:
    """Good judges are precise from some score on. Of the other two nothing that they say is quite as precise as it was
    wanted to be, and where they err they err on a whole row: on rows of every size alike, or the more often the more
    of a row they call false negatives."""
    chance = np.random.default_rng(0)
    row = np.repeat(np.arange(ROWS), CANDIDATES)
    truth = chance.random(len(row)) < chance.beta(0.35, 1.4, ROWS)[row]
    ease = chance.normal(0, 0.8, ROWS)[row]  # rows are hard or easy for all judges alike
    levels = np.column_stack(
        [
            _logistic(2.2 * truth - 1.5 + 0.7 * ease + chance.normal(0, 1.0, len(row))).round(3),
            _logistic(5.5 * truth - 3.2 + 0.7 * ease + chance.normal(0, 1.0, len(row))).round(3),
        ]
    )
    if judges != "good":
        truth = levels[:, 1] > 0.5
        sizes = np.bincount(row, truth, ROWS) ** (judges == "large rows misread")
        misread = _misread(row, truth, sizes, chance)
        truth &= ~misread[row]
    costs = np.tile(PRICES, (ROWS, 1))
    return Pilot(STAGES, ROWS, row, levels, truth, np.ones(len(row)), costs, np.zeros_like(costs))


def _misread(row: np.ndarray, called: np.ndarray, odds: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Rows drawn by such odds until the precision of what is called, without rows over the limit, is below the wanted
    one."""
    sizes = np.bincount(row, called, ROWS)
    sizes[sizes > LIMIT] = 0
    order = np.argsort(chance.exponential(size=ROWS) / np.maximum(odds, 1e-9))
    wrong = sizes[order].cumsum() <= (1 - WANTED + 0.005) * sizes.sum()
    found = np.zeros(ROWS, dtype=bool)
    found[order[wrong]] = True
    return found


def _logistic(values: np.ndarray) -> np.ndarray:
    curve: np.ndarray = 1 / (1 + np.exp(-values))
    return curve


def held(judges: str, rows: int, repetitions: int, seed: int = 0) -> tuple[float, ...]:
    """How often the wanted precision is held and how often a policy is backed; of those that are, mean recall, how
    often its interval holds it, and the cost beside that of asking all judges everything."""
    found, chance = population(judges), np.random.default_rng(seed)
    everything = float((found.request_cost * CANDIDATES).sum())
    missed, recalls, inside, costs = 0, [], [], []
    for number in range(repetitions):
        pilot = found.of_rows(chance.choice(ROWS, rows, replace=False))
        option = choose(pilot, Wanted(WANTED, candidates=len(found.row), seed=number)).option
        if option is None:
            continue
        true = measured(option.policy, found, LIMIT)
        missed += (true.precision or 0.0) < WANTED
        recalls.append(float(true.hits.sum() / found.relevant.sum()))
        inside.append(option.recall_range[0] <= recalls[-1] <= option.recall_range[1])
        costs.append(float(true.cost.sum()) / everything)
    means = (float(np.mean(each)) if each else 0.0 for each in (recalls, inside, costs))
    return 1 - missed / repetitions, len(recalls) / repetitions, *means


def report(quick: bool) -> Iterator[str]:
    """The lines of the table."""
    grid = product(JUDGES, (400,) if quick else (400, 1000))
    lines = []
    for judges, rows in [*([] if quick else [(JUDGES[0], 150)]), *grid]:
        kept, any_backed, recall, inside, cost = held(judges, rows, 30 if quick else 200)
        lines.append(
            [judges, rows, f"{kept:.3f}", f"{any_backed:.2f}", f"{recall:.2f}", f"{inside:.2f}", f"{cost:.3f}"]
        )
    yield f"How often what a plan relabels has the wanted precision ({WANTED:g}, confidence .95), and what it finds:"
    yield ""
    headers = ["judges", "rows of the pilot", "held", "any plan", "recall then", "in its interval", "cost"]
    yield tabulate(lines, headers, tablefmt="github", disable_numparse=True)
