"""Ways to go through a cascade, worked out on a pilot: rows of which every stage judged all candidates.

A policy takes some of the stages, in their order. Each hands on what it does not settle: below one threshold a
candidate stays a negative, from another on it is a false negative without asking anybody else, between the two the next
stage is asked. The last stage has one threshold. Judges that only give labels have 0, .5 and 1 for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]
    Numbers = npt.NDArray[np.int64]

HANDED_ON = (0.99, 0.95, 0.9, 0.8, 0.65)
"""Shares of the false negatives that a stage's lower threshold is tried at."""
ACCEPTED = (0.1, 0.25, 0.5)
"""Shares of the false negatives that a stage's upper threshold is tried at, besides none."""
FINAL = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Shares of the false negatives that the last threshold is tried at."""
_DOUBTED, _CALLED = 0.5, 1.0  # the levels of the labels worse and better


@dataclass(frozen=True, slots=True)
class PilotStage:
    """A stage as planning knows it.

    Attributes:
        scored: its judge has thresholds to set; else it has labels only.
        per_request: candidates that one of its requests asks about at most.
    """

    name: str
    scored: bool
    per_request: int = 1


@dataclass(frozen=True, slots=True)
class Pilot:
    """What every stage said of all candidates of some rows, as numbers.

    Attributes:
        stages: in the order of the cascade.
        rows: how many rows, those without candidates too.
        row: per candidate, the number of its row from 0 on, ascending.
        levels: per candidate and stage, its score, or 0, .5 and 1 for labels; NaN where there is no answer.
        truth: per candidate, whether it is a false negative; what stands where nobody said plays no part.
        weight: per candidate, how many its label stands for; 0 where it has none.
        request_cost, candidate_cost: per row and stage, US dollars of a request and of each candidate in it.
    """

    stages: tuple[PilotStage, ...]
    rows: int
    row: Numbers
    levels: Values
    truth: Flags
    weight: Values
    request_cost: Values
    candidate_cost: Values

    def of_rows(self, chosen: Sequence[int] | Numbers) -> Pilot:
        """The same of some rows, numbered anew in ascending order."""
        import numpy as np

        kept = np.unique(np.asarray(chosen, dtype=np.int64))
        inside = np.isin(self.row, kept)
        numbers = np.searchsorted(kept, self.row[inside])
        per_candidate = (self.levels[inside], self.truth[inside], self.weight[inside])
        return Pilot(
            self.stages, len(kept), numbers, *per_candidate, self.request_cost[kept], self.candidate_cost[kept]
        )

    def sums(self, values: Values | Flags) -> Values:
        """Per row, the sum over its candidates."""
        import numpy as np

        return np.bincount(self.row, values, self.rows).astype(np.float64)

    @property
    def labels(self) -> int:
        return int((self.weight > 0).sum())

    @property
    def relevant(self) -> Values:
        """Per row, its false negatives, as labels weigh them."""
        return self.sums(self.truth * self.weight)


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a policy: from `accepts` on a false negative, from `passes` on the next stage's business. Of the
    last stage they are the same."""

    stage: int
    passes: float
    accepts: float = inf


@dataclass(frozen=True, slots=True)
class Policy:
    """Stages with their thresholds."""

    steps: tuple[Step, ...]

    def found(self, pilot: Pilot) -> tuple[Flags, list[Flags]]:
        """Per candidate whether it is called a false negative, and for each step whether it is asked."""
        import numpy as np

        left = np.ones(len(pilot.row), dtype=bool)
        called, asked = np.zeros(len(pilot.row), dtype=bool), []
        for step in self.steps:
            level = pilot.levels[:, step.stage]
            asked.append(left)
            called |= left & (level >= step.accepts)  # no answer is neither
            left = left & (level >= step.passes) & (level < step.accepts)
        return called, asked


@dataclass(frozen=True, slots=True)
class Measured:
    """What a policy does to each row of a pilot, as labels weigh it.

    Attributes:
        hits, relabelled: false negatives among what is relabelled, and all of that. Rows of which more than the limit
            would be are left out.
        cost: US dollars.
        asked: candidates asked about, by step.
    """

    hits: Values
    relabelled: Values
    cost: Values
    asked: tuple[int, ...]

    @property
    def precision(self) -> float | None:
        """None where nothing is relabelled that has a label."""
        whole = float(self.relabelled.sum())
        return float(self.hits.sum()) / whole if whole else None


def measured(policy: Policy, pilot: Pilot, limit: int) -> Measured:
    """What a policy does to a pilot.

    Args:
        limit: rows of which more would be relabelled are left out.
    """
    import numpy as np

    called, asked = policy.found(pilot)
    kept = called & (pilot.sums(called) <= limit)[pilot.row]
    cost = np.zeros(pilot.rows)
    for step, of_step in zip(policy.steps, asked, strict=True):
        numbers, stage = pilot.sums(of_step), pilot.stages[step.stage]
        cost += np.ceil(numbers / stage.per_request) * pilot.request_cost[:, step.stage]
        cost += numbers * pilot.candidate_cost[:, step.stage]
    weighed = kept * pilot.weight
    totals = tuple(int(of_step.sum()) for of_step in asked)
    return Measured(pilot.sums(weighed * pilot.truth), pilot.sums(weighed), cost, totals)


def policies(pilot: Pilot) -> Iterator[Policy]:
    """Those worth a try, by where the false negatives of a pilot lie."""
    handing, last = [], []
    for number in range(len(pilot.stages)):
        handing.append(list(_handing_on(pilot, number)))
        last.append(list(_last(pilot, number)))
    for length in range(1, len(pilot.stages) + 1):
        for stages in combinations(range(len(pilot.stages)), length):
            for steps in product(*(handing[stage] for stage in stages[:-1]), last[stages[-1]]):
                yield Policy(steps)


def _handing_on(pilot: Pilot, stage: int) -> Iterator[Step]:
    if not pilot.stages[stage].scored:
        yield from (Step(stage, _DOUBTED), Step(stage, _CALLED), Step(stage, _DOUBTED, _CALLED))
        return
    for passes in _thresholds(pilot, stage, HANDED_ON):
        yield Step(stage, passes)
        yield from (Step(stage, passes, accepts) for accepts in _thresholds(pilot, stage, ACCEPTED) if accepts > passes)


def _last(pilot: Pilot, stage: int) -> list[Step]:
    found = _thresholds(pilot, stage, FINAL) if pilot.stages[stage].scored else [_CALLED]
    return [Step(stage, threshold, threshold) for threshold in found]


def _thresholds(pilot: Pilot, stage: int, shares: Sequence[float]) -> list[float]:
    """The scores at or above which such shares of the false negatives lie."""
    import numpy as np

    scores = pilot.levels[:, stage]
    inside = pilot.truth & (pilot.weight > 0) & ~np.isnan(scores)
    if not inside.any():
        return []
    order = np.argsort(-scores[inside], kind="stable")
    weights = pilot.weight[inside][order].cumsum()
    places = np.searchsorted(weights / weights[-1], np.array(shares) - 1e-9)
    return [float(score) for score in np.unique(scores[inside][order][places])]
