"""What a model reached on several sets: a line for each, and for the mean over each group that is there as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.cards.set_groups import complete_groups, counted_as, mean_name, mean_over, weights
from hf_relabel.trainers.evaluation.evaluator import Evaluation
from hf_relabel.trainers.evaluation.significance import MEANS, mean_interval

CONFIDENCE = 0.95


@dataclass(frozen=True)
class SummaryLine:
    """A set, or the mean over several.

    Attributes:
        name: of the set, or what the mean is of, such as `beir-14`.
        queries: of all sets of the line.
        metrics: means; over sets, the forums of CQADupStack count as one.
        interval: of the first metric, where other queries would put it; None where there is one query, or all have the
            same value. Those of sets hold together, in 95 of 100 cases, those of means each.
        sets: the number of sets of a mean; None for a set.
    """

    name: str
    queries: int
    metrics: Mapping[str, float]
    interval: tuple[float, float] | None
    sets: int | None = None

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        kind = {"set": self.name} if self.sets is None else {"mean_of": self.name, "sets": self.sets}
        return {**kind, "queries": self.queries, "metrics": dict(self.metrics), "interval": self.interval}


def summary(done: Sequence[Evaluation]) -> tuple[SummaryLine, ...]:
    """The lines: sets in their order, then the complete groups, then all sets where that is no group.

    Example:
            for line in summary([evaluate_model(model, data) for data in open_sets(["beir-15"])]):
                print(line.name, line.metrics["ndcg@10"], line.interval)
    """
    by_name = {each.measured.set.name: each for each in done}
    alone = 1 - (1 - CONFIDENCE) / len(by_name)
    lines = [_line(name, [each], alone) for name, each in by_name.items()]
    means = list(complete_groups(by_name).values())
    if len(by_name) > 1 and not any(set(sets) == set(by_name) for sets in means):
        means.append(tuple(by_name))
    return (*lines, *(_mean([by_name[name] for name in sets]) for sets in means))


def _mean(some: Sequence[Evaluation]) -> SummaryLine:
    names = [each.measured.set.name for each in some]
    return _line(mean_name(names), some, CONFIDENCE, sets=len(set(map(counted_as, names))))


def _line(name: str, some: Sequence[Evaluation], confidence: float, sets: int | None = None) -> SummaryLine:
    names = [each.measured.set.name for each in some]
    metrics = list(some[0].measured.metrics)
    means = {
        metric: mean_over(dict(zip(names, (each.measured.metrics[metric] for each in some), strict=True)))
        for metric in metrics
    }
    tables = [[[values[metrics[0]] for values in each.per_query.values()]] for each in some]
    interval = mean_interval(tables, confidence=confidence, weights=weights(names), within=MEANS)
    return SummaryLine(name, sum(len(each.per_query) for each in some), means, interval, sets)
