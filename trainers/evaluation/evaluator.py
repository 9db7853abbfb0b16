"""Evaluating a model on a set, at the end or within a training run of sentence-transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sentence_transformers import CrossEncoder
from sentence_transformers.base.evaluation import BaseEvaluator

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.extras import needs, require
from hf_relabel.cards.set_groups import mean_over
from hf_relabel.cards.training_report import Measured
from hf_relabel.trainers.evaluation.metrics.ranking import mean_metrics, ranking_metrics
from hf_relabel.trainers.evaluation.search import TOP_K, Progress, bm25, rerank, search
from hf_relabel.trainers.evaluation.sets import RetrievalSet, Run

METRICS = ("ndcg@10", "map@100", "recall@100", "mrr@10")
"""The first decides which step is best, where a dev set chooses it."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model reached on one set.

    Attributes:
        measured: the set and the means over its queries.
        per_query: values by query id and metric.
        run: the ranking that was measured.
    """

    measured: Measured
    per_query: Mapping[str, Mapping[str, float]]
    run: Run


@needs("evaluate", "Measuring a model")
@expects(data="RetrievalSet")
def evaluate_model(
    model: Any,
    data: RetrievalSet,
    *,
    metrics: Sequence[str] = METRICS,
    first_stage: Run | None = None,
    top_k: int = TOP_K,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Evaluation:
    """Search the set's corpus with a model, or rerank a first stage with a `CrossEncoder`, and measure the ranking.

    Example:
            model = SentenceTransformer("intfloat/e5-base-v2")
            print(evaluate_model(model, read_beir("beir/fiqa")).measured.metrics["ndcg@10"])

    Args:
        metrics: see `metrics.ranking.ranking_metrics`.
        first_stage: what a reranker reorders; None takes BM25's ranking. Other models have none.
        top_k: depth of the ranking.

    Raises:
        ConfigError: a metric is not known, or looks deeper than `top_k`; scores are no numbers.
    """
    _check_depth(metrics, top_k)
    if isinstance(model, CrossEncoder):
        run = rerank(model, data, bm25(data, top_k=top_k) if first_stage is None else first_stage, depth=top_k)
    else:
        run = search(model, data, top_k=top_k, batch_size=batch_size, progress=progress)
    return evaluate_run(run, data, metrics=metrics)


def evaluate_run(run: Run, data: RetrievalSet, *, metrics: Sequence[str] = METRICS) -> Evaluation:
    """Measure a ranking that is there already."""
    per_query = ranking_metrics(run, data.qrels, metrics)
    return Evaluation(Measured(set=data.about, metrics=mean_metrics(per_query)), per_query, run)


class RetrievalEvaluator(BaseEvaluator):  # type: ignore[misc]
    """Our evaluation as an evaluator of sentence-transformers: for `evaluator=` of any of its trainers.

    With several sets, the mean of the first metric over them decides which checkpoint is best
    (`load_best_model_at_end=True`, `metric_for_best_model="eval_ndcg@10"`). Figures of the sets that decided are too
    good: report those of others.

    Example:
            evaluator = RetrievalEvaluator([read_beir("beir/fiqa")])
            SentenceTransformerTrainer(model, args, train, loss=loss, evaluator=evaluator)

    Attributes:
        latest: what the last call measured, a line per set.
        evaluations: the same with the value of each query, without the rankings.
    """

    def __init__(
        self,
        sets: Sequence[RetrievalSet],
        *,
        metrics: Sequence[str] = METRICS,
        batch_size: int = 64,
        top_k: int = TOP_K,
    ) -> None:
        require("evaluate", what="RetrievalEvaluator")
        if not sets:
            raise ConfigError("There is no set to evaluate on.")
        names = [data.about.name for data in sets]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"Two sets to evaluate on are called {twice!r}. Give one of them another name.")
        super().__init__()
        _check_depth(metrics, top_k)
        self.sets, self.metrics, self.batch_size, self.top_k = tuple(sets), tuple(metrics), batch_size, top_k
        self.primary_metric = metrics[0]
        self.evaluations: tuple[Evaluation, ...] = ()
        self._first_stages: dict[str, Run] = {}

    @property
    def latest(self) -> tuple[Measured, ...]:
        return tuple(each.measured for each in self.evaluations)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """The means by `{metric}` over all sets and `{set}_{metric}` for each."""
        self.evaluations = tuple(replace(self._evaluate(model, data), run={}) for data in self.sets)
        values = {
            metric: mean_over({each.set.name: each.metrics[metric] for each in self.latest}) for metric in self.metrics
        }
        for each in self.latest:
            values |= {f"{each.set.name}_{metric}": value for metric, value in each.metrics.items()}
        return values

    def _evaluate(self, model: Any, data: RetrievalSet) -> Evaluation:
        first_stage = None
        if isinstance(model, CrossEncoder):  # the same one at each evaluation
            name = data.about.name
            first_stage = self._first_stages.get(name) or bm25(data, top_k=self.top_k)
            self._first_stages[name] = first_stage
        return evaluate_model(
            model,
            data,
            metrics=self.metrics,
            first_stage=first_stage,
            top_k=self.top_k,
            batch_size=self.batch_size,
        )


def _check_depth(metrics: Sequence[str], top_k: int) -> None:
    for metric in metrics:
        depth = metric.rpartition("@")[2]
        if depth.isdigit() and int(depth) > top_k:
            raise ConfigError(f"{metric} needs a ranking of {depth} documents, not {top_k}.")
