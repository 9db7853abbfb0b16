"""What every run of a comparison measured: each arm trained with each seed, and measured on each set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.cards.set_groups import mean_over, weights
from hf_relabel.trainers.comparing.trials import LAST_STEP, Arm, Measure, Schedule, Trial, kept_in, outcome
from hf_relabel.trainers.evaluation.leaks import Shared, shared_queries, warn_of, without_queries
from hf_relabel.trainers.evaluation.search import TOP_K
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.evaluation.significance import DIFFERENCES, MeanDifference, interval_text, mean_difference
from hf_relabel.trainers.quiet import quiet_libraries

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = dict[str, dict[str, npt.NDArray[np.float64]]]

SEEDS = (0, 1, 2)
METRIC = "ndcg@10"
CONFIDENCE = 0.95
TOGETHER = "The intervals of the sets are wide enough for all of them to hold together in 95 of 100 cases."
LEAST_QUERIES = 2
"""Of a set: one query says nothing of others."""

Progress = Callable[[str, int, int], None]
"""Called with the name of a run, its number and how many there are, before it starts; and again at each of its steps,
with the step behind the name."""


@dataclass(frozen=True)
class Measuring:
    """How it is measured.

    Attributes:
        seeds: of the runs of each arm.
        folder: where runs and their models are kept; None keeps nothing.
        depth: documents of a ranking.
        device: torch device; None for the library's choice.
        keep_models: see `trials.Measure`.
        schedule: which step of each run is kept.
    """

    seeds: Sequence[int] = SEEDS
    metric: str = METRIC
    folder: str | Path | None = None
    depth: int = TOP_K
    device: str | None = None
    keep_models: bool = True
    progress: Progress | None = None
    schedule: Schedule = LAST_STEP

    def by(self, sets: Sequence[RetrievalSet]) -> Measure:
        return Measure(tuple(sets), self.metric, self.depth, self.device, self.keep_models and self.folder is not None)


@dataclass(frozen=True)
class OnSet:
    """An arm on one set: its mean, and the difference to the baseline with an interval that is wide enough for all
    sets to hold together (Bonferroni)."""

    mean: float
    difference: MeanDifference

    def text(self) -> dict[str, str]:
        """Columns of a table, in points."""
        found = self.difference
        return {
            "difference": f"{100 * found.difference:+.2f}",
            "interval": interval_text(found.low, found.high),
            "queries": f"{found.queries[0]:,}",
        }


@dataclass(frozen=True)
class Measurements:
    """What every run measured.

    Attributes:
        sets: without the queries that are trained on.
        values: by set, then by arm: shape (seeds, queries), the metric in [0, 1]. Queries are in one order for all.
        rows: by arm: how many rows it trained on.
        left_out: by set: how many of its queries are trained on, and so were left out.
    """

    metric: str
    seeds: tuple[int, ...]
    sets: tuple[RetrievalSet, ...]
    values: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]
    rows: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def mean(self, arm: str) -> float:
        """The mean over queries and seeds, then over sets; the forums of CQADupStack count as one set."""
        return mean_over({name: float(arms[arm].mean()) for name, arms in self.values.items()})

    def difference(self, arm: str, baseline: str) -> MeanDifference:
        """Of the means over all sets."""
        tables = list(self.values.values())
        shares = weights(list(self.values))
        ours, theirs = ([arms[each] for arms in tables] for each in (arm, baseline))
        return mean_difference(ours, theirs, weights=shares, within=DIFFERENCES)

    def difference_on(self, name: str, arm: str, baseline: str, *, confidence: float = 0.95) -> MeanDifference:
        """Of the means on one set."""
        arms = self.values[name]
        return mean_difference([arms[arm]], [arms[baseline]], confidence=confidence, within=DIFFERENCES)

    def by_set(self, arm: str, baseline: str) -> dict[str, OnSet]:
        """On each set, with intervals that hold together."""
        alone = 1 - (1 - CONFIDENCE) / len(self.values)
        return {
            name: OnSet(float(arms[arm].mean()), self.difference_on(name, arm, baseline, confidence=alone))
            for name, arms in self.values.items()
        }


def measure(arms: Sequence[Arm], sets: Sequence[RetrievalSet], how: Measuring | None = None) -> Measurements:
    """Train every arm with every seed, and measure it on every set, on the queries that no arm trains on.

    Args:
        arms: the first one has the queries of all others.

    Raises:
        ConfigError: no set, no seed, two arms or sets of one name, an arm that cannot be trained, or a set whose
            queries are trained on, or all but one.
    """
    how = how or Measuring()
    seeds, progress, by = how.seeds, how.progress, how.by(sets)
    _check(arms, sets, seeds)
    lines: dict[str, dict[str, list[Sequence[float]]]] = {data.about.name: {} for data in sets}
    rows: dict[str, int] = {}
    shared: Shared = {}
    with kept_in(how.folder) as runs, quiet_libraries():
        for place, (arm, seed) in enumerate((arm, seed) for arm in arms for seed in seeds):
            if progress is not None:
                progress(f"{arm.name}, seed {seed}", place, len(arms) * len(seeds))
            if seed == seeds[0]:
                data = arm.data()
            if place == 0:
                shared = queries_left_out(data.rows["query"], sets)
            tell = partial(_tell, progress, f"{arm.name}, seed {seed}", place, len(arms) * len(seeds))
            found = outcome(Trial(arm, data, seed, how.schedule), by, runs, tell=tell)
            rows[arm.name] = found.rows
            for name, values in found.values.items():
                lines[name].setdefault(arm.name, []).append(values)
    kept = tuple(without_queries(data, shared.get(data.about.name, ())) for data in sets)
    left_out = {name: len(keys) for name, keys in shared.items()}
    return Measurements(how.metric, tuple(seeds), kept, _tables(sets, lines, shared), rows, left_out)


def _tables(
    sets: Sequence[RetrievalSet], lines: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], shared: Shared
) -> Values:
    """By set and arm, the values of the queries that are not trained on."""
    import numpy as np

    tables: Values = {}
    for data in sets:
        name, gone = data.about.name, shared.get(data.about.name, frozenset())
        columns = [place for place, query_id in enumerate(data.qrels) if query_id not in gone]
        tables[name] = {arm: np.array(values)[:, columns] for arm, values in lines[name].items()}
    return tables


def _tell(progress: Progress | None, name: str, done: int, total: int, what: str) -> None:
    if progress is not None:
        progress(f"{name} ({what})", done, total)


def queries_left_out(queries: Iterable[str], sets: Sequence[RetrievalSet]) -> Shared:
    """The queries that are trained on, which is told.

    Raises:
        ConfigError: fewer than two of a set are left. Nothing has been trained by then.
    """
    shared = shared_queries(queries, sets)
    for data in sets:
        gone, count = len(shared.get(data.about.name, ())), len(data.qrels)
        if gone and count - gone < LEAST_QUERIES:
            raise ConfigError(
                f"{data.about.name}: {gone} of its {count} queries are in the rows that are trained on, which leaves"
                " nothing to measure on. Take a set whose queries the rows do not have."
            )
        if count < LEAST_QUERIES:
            raise ConfigError(
                f"{data.about.name} has one query, which says nothing of others. Leave it out, or take a larger set."
            )
    warn_of(shared, sets, "They are left out of what is measured.")
    return shared


def _check(arms: Sequence[Arm], sets: Sequence[RetrievalSet], seeds: Sequence[int]) -> None:
    if not sets:
        raise ConfigError(
            f"There is nothing to measure on: name a set with judgements of people, {argument('sets', ...)}."
        )
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError("Give one or more seeds, each once.")
    for what, names in (("configs", [arm.name for arm in arms]), ("sets", [data.about.name for data in sets])):
        if len(set(names)) < len(names):
            raise ConfigError(f"Two of the {what} to compare have one name: {', '.join(names)}.")
