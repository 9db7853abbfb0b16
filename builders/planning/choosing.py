"""Chooses a policy from a pilot, with a precision that holds on unseen rows.

The rows of the pilot are parted by chance. On the smaller part policies are laid out, those that another beats in
recall, cost and certainty at once are dropped, and the rest put into an order (Pareto Testing, arXiv 2210.07913). The
larger part tests them in that order, see hf_relabel.builders.planning.guarantee. Of those that are backed and whose
cost is within the budget the one with the highest recall is taken, or the cheapest that comes close to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.planning.estimating import Range, normal, ratio
from hf_relabel.builders.planning.guarantee import backed_in_order, chance_of_rows, effective, trials_needed
from hf_relabel.builders.planning.policy import Pilot, Policy, measured, policies

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

LEAST_ROWS = 30
LAID_OUT = 1 / 3
"""The part of the pilot on which policies are laid out. The rest tests them."""
NEARLY = 0.98
"""A cheaper policy is taken that finds this share of what the one with the highest recall finds."""
LIMIT = 7


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a plan.

    Attributes:
        precision: least share of false negatives among what is relabelled.
        confidence: that it holds on the whole set.
        budget: US dollars for the whole set; None for any.
        limit: rows of which more would be relabelled are left out, as `build --limit` does.
        candidates: of the whole set; None where the pilot is all there is.
        seed: another one parts the pilot otherwise.
    """

    precision: float = 0.95
    confidence: float = 0.95
    budget: float | None = None
    limit: int = LIMIT
    candidates: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("precision", "confidence"):
            if not 0 < (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name}: expected a number between 0 and 1, found {value!r}.")
        if self.limit < 1:
            raise ConfigError(f"limit: expected a whole number from 1, found {self.limit!r}.")


@dataclass(frozen=True, slots=True)
class Option:
    """A policy that is backed, with what it is expected to do. Recall and precision are those of the rows that tested
    it; recall counts what is relabelled, among all false negatives.

    Attributes:
        cost, cost_range: of the whole set, and its 95 % range.
        found: false negatives in the whole set that it relabels.
    """

    policy: Policy
    precision: float
    recall: float
    recall_range: Range
    cost: float
    cost_range: Range | None
    found: float

    @property
    def cost_each(self) -> float | None:
        """US dollars for each false negative that is found."""
        return self.cost / self.found if self.found else None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a pilot backs.

    Attributes:
        option: None where nothing is backed, or nothing within the budget.
        frontier: those that are backed and that no other beats in recall and cost, the cheapest first.
        rows, labels: of the pilot.
        rows_needed, labels_needed: so many in all would probably back a policy; None where one is backed
            already, or none looks precise enough for any number to do.
        cheapest: the least cost of a policy that is backed, where the budget is below it.
    """

    option: Option | None
    frontier: tuple[Option, ...]
    rows: int
    labels: int
    rows_needed: int | None = None
    labels_needed: int | None = None
    cheapest: float | None = None
    tested: int = 0


@dataclass(frozen=True, slots=True)
class _Tried:
    """A policy on the part of the pilot that lays out."""

    policy: Policy
    recall: float
    cost: float
    chance: float


def choose(pilot: Pilot, wanted: Wanted) -> Chosen:
    """The policy that a pilot backs.

    Raises:
        ConfigError: the pilot has fewer than 30 rows with candidates, or its labels are of one kind only.
    """
    _check(pilot)
    laying, testing = parted(pilot, wanted.seed)
    ordered = _laid_out(laying, wanted)

    def tested(each: _Tried) -> float:
        found = measured(each.policy, testing, wanted.limit)
        return chance_of_rows(found.hits, found.relabelled, wanted.precision)

    backed = [_option(each.policy, pilot, testing, wanted) for each in
              backed_in_order(ordered, tested, wanted.confidence)]  # fmt: skip
    within = [option for option in backed if wanted.budget is None or _upper(option) <= wanted.budget]
    rows = labels = None
    if not backed:
        rows, labels = _needed(ordered, pilot, wanted)
    return Chosen(
        option=_best(within),
        frontier=tuple(_frontier(backed)),
        rows=pilot.rows,
        labels=pilot.labels,
        rows_needed=rows,
        labels_needed=labels,
        cheapest=min(map(_upper, backed)) if backed and not within else None,
        tested=len(ordered),
    )


def _check(pilot: Pilot) -> None:
    if pilot.rows < LEAST_ROWS:
        raise ConfigError(
            f"A pilot needs at least {LEAST_ROWS} rows that all stages judged, this one has {pilot.rows}."
        )
    told = pilot.truth[pilot.weight > 0]
    if not told.any() or told.all():
        kind = "a false negative" if not told.any() else "anything else"
        raise ConfigError(f"A plan needs labels of both kinds; none of the {len(told)} is {kind}.")


def parted(pilot: Pilot, seed: int) -> tuple[Pilot, Pilot]:
    """The rows that lay policies out, and those that test them."""
    import numpy as np

    shuffled = np.random.default_rng(seed).permutation(pilot.rows)
    split = round(pilot.rows * LAID_OUT)
    return pilot.of_rows(shuffled[:split]), pilot.of_rows(shuffled[split:])


def _laid_out(laying: Pilot, wanted: Wanted) -> list[_Tried]:
    """Policies in the order in which they are tested: those first for which most speaks."""
    relevant = float(laying.relevant.sum())
    tried = []
    for policy in policies(laying):
        found = measured(policy, laying, wanted.limit)
        if (found.precision or 0) < wanted.precision:
            continue
        recall, chance = (
            float(found.hits.sum()) / relevant,
            chance_of_rows(found.hits, found.relabelled, wanted.precision),
        )
        tried.append(_Tried(policy, recall, float(found.cost.sum()), chance))
    return sorted(_undominated(tried), key=lambda each: each.chance)


def _undominated(tried: list[_Tried]) -> list[_Tried]:
    """Without those that another beats in recall, cost and certainty, or equals."""
    import numpy as np

    if not tried:
        return []
    values = np.array([(-each.recall, each.cost, each.chance) for each in tried])
    kept: list[int] = []
    for number in np.lexsort(values.T[::-1]):
        if not kept or not (values[kept] <= values[number]).all(axis=1).any():
            kept.append(int(number))
    return [tried[number] for number in kept]


def _option(policy: Policy, pilot: Pilot, testing: Pilot, wanted: Wanted) -> Option:
    import numpy as np

    found, whole = measured(policy, testing, wanted.limit), measured(policy, pilot, wanted.limit)
    relevant, candidates = testing.relevant, pilot.sums(np.ones(len(pilot.row)))
    total = wanted.candidates or len(pilot.row)
    cost = ratio(whole.cost.tolist(), candidates.tolist(), total)
    share = float(found.hits.sum() / relevant.sum()) if relevant.any() else 0.0
    per_candidate = float(relevant.sum() / max(testing.weight.sum(), 1e-12))
    return Option(
        policy=policy,
        precision=found.precision or 0.0,
        recall=share,
        recall_range=_share_range(found.hits, relevant, share),
        cost=cost.value,
        cost_range=cost.range(pilot.rows * total / len(pilot.row)),
        found=share * per_candidate * total,
    )


def _share_range(part: Values, whole: Values, share: float) -> Range:
    """Of a ratio of sums over rows, by its linearised variance."""
    if not whole.any():
        return 0.0, 1.0
    strays = part - share * whole
    half = normal(0.95) * sqrt(float((strays**2).sum()) * len(part) / (len(part) - 1)) / float(whole.sum())
    return max(0.0, share - half), min(1.0, share + half)


def _upper(option: Option) -> float:
    return option.cost if option.cost_range is None else option.cost_range[1]


def _best(options: list[Option]) -> Option | None:
    if not options:
        return None
    most = max(option.recall for option in options)
    return min((option for option in options if option.recall >= NEARLY * most), key=lambda option: option.cost)


def _frontier(options: list[Option]) -> list[Option]:
    kept: list[Option] = []
    for option in sorted(options, key=lambda option: (option.cost, -option.recall)):
        if not kept or option.recall > kept[-1].recall:
            kept.append(option)
    return kept


def _needed(ordered: list[_Tried], pilot: Pilot, wanted: Wanted) -> tuple[int | None, int | None]:
    """Rows, and labels of them, that would back the policy that needs fewest, by what the whole pilot says of it."""
    fewest = None
    for each in ordered:
        found = measured(each.policy, pilot, wanted.limit)
        trials = trials_needed(found.precision or 0.0, wanted.precision, wanted.confidence)
        if trials is not None:
            needed = trials * pilot.rows / effective(found.relabelled)
            fewest = needed if fewest is None else min(fewest, needed)
    if fewest is None:
        return None, None
    rows = ceil(fewest / (1 - LAID_OUT))
    return rows, ceil(rows * pilot.labels / pilot.rows)
