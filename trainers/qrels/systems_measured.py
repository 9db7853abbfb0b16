"""What more judgements do to the ranking of systems."""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hf_relabel.builders.qrels.collection import Grades
from hf_relabel.builders.qrels.pooling import Rankings
from hf_relabel.trainers.evaluation.metrics.ranking import ranking_metrics
from hf_relabel.trainers.evaluation.sets import Run
from hf_relabel.trainers.evaluation.significance import DIFFERENCES, MEANS, Range, mean_interval

METRIC, DEPTH = "ndcg@10", 10
Interval = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Value:
    """A mean over queries, and where other queries would put it; None where the values say nothing of others."""

    mean: float
    interval: Interval

    def __str__(self) -> str:
        bounds = "" if self.interval is None else " [{:.3f}, {:.3f}]".format(*self.interval)
        return f"{self.mean:.3f}{bounds}"


@dataclass(frozen=True, slots=True)
class System:
    """A system by the judgements before and after.

    Attributes:
        before, after: nDCG@10.
        change: of the same queries.
        judged_before, judged_after: the share of its first 10 documents that are judged.
        place_before, place_after: in the order of the systems by nDCG@10, from 1.
    """

    name: str
    before: Value
    after: Value
    change: Value
    judged_before: float
    judged_after: float
    place_before: int
    place_after: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    runs: Mapping[str, Run],
    rankings: Rankings,
    before: Grades,
    after: Grades,
    judged: Mapping[str, Some[str]],
) -> tuple[System, ...]:
    """Measure systems by both judgements, in the order of those after.

    Args:
        rankings: the first documents of each, see `trainers.qrels.systems.rankings`.
        before, after: grades by query; queries must be the same.
        judged: by query the docids that are judged after, relevant or not.
    """
    values = {name: (_per_query(run, before), _per_query(run, after)) for name, run in runs.items()}
    places = [_places({name: _mean(pair[which]) for name, pair in values.items()}) for which in (0, 1)]
    systems = [
        System(
            name=name,
            before=_value(old, MEANS),
            after=_value(new, MEANS),
            change=_value([late - early for early, late in zip(old, new, strict=True)], DIFFERENCES),
            judged_before=_judged_share(rankings[name], before),
            judged_after=_judged_share(rankings[name], judged),
            place_before=places[0][name],
            place_after=places[1][name],
        )
        for name, (old, new) in values.items()
    ]
    return tuple(sorted(systems, key=lambda each: each.place_after))


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's tau-b between two orders of the same systems; None for fewer than two, or where one has ties alone."""
    from scipy import stats

    found = float(stats.kendalltau(one, other).statistic) if len(one) > 1 else float("nan")
    return None if found != found else found


def _per_query(run: Run, grades: Grades) -> list[float]:
    return [line[METRIC] for line in ranking_metrics(run, grades, [METRIC]).values()]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _value(values: Sequence[float], within: Range) -> Value:
    return Value(_mean(values), mean_interval([[values]], within=within))


def _places(means: Mapping[str, float]) -> dict[str, int]:
    """From 1; equal ones share a place."""
    return {name: 1 + sum(other > mean for other in means.values()) for name, mean in means.items()}


def _judged_share(ranking: Mapping[str, Sequence[str]], judged: Mapping[str, Some[str]]) -> float:
    """Of the first documents, over all queries that the run has."""
    shares = [
        sum(docid in judged.get(query_id, ()) for docid in found[:DEPTH]) / len(found[:DEPTH])
        for query_id, found in ranking.items()
        if found
    ]
    return _mean(shares) if shares else 0.0
