"""Measures of a ranking, as trec_eval computes them: by pytrec_eval, which is trec_eval itself."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.evaluation.sets import Qrels, Run

_NAME = re.compile(r"(ndcg|map|recall|precision|mrr)(?:@([1-9]\d{0,5}))?")
_TREC = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}
_WHOLE = {"map": "map", "mrr": "recip_rank", "ndcg": "ndcg"}


def ranking_metrics(run: Run, qrels: Qrels, metrics: Sequence[str] = ("ndcg@10",)) -> dict[str, dict[str, float]]:
    """Measure a ranking, query by query.

    Documents are ordered by score, ties by docid, the greater first; scores are compared in single precision. A judged
    query that the run does not have counts 0 (trec_eval -c); a query that nobody judged is left out.

    Args:
        metrics: `ndcg@k`, `map`, `map@k`, `recall@k`, `precision@k`, `mrr`, `mrr@k`, `ndcg`.

    Returns:
        By query id: values in [0, 1] by name of the metric.

    Raises:
        ConfigError: a metric is not known, a score is no number, or a grade is no whole number.
    """
    import pytrec_eval

    wanted = {name: _parsed(name) for name in metrics}
    _check(run, qrels)
    judged = {query_id: dict(grades) for query_id, grades in qrels.items()}
    found = {query_id: dict(run[query_id]) for query_id in judged if run.get(query_id)}
    measures = {_measure(kind, depth) for kind, depth in wanted.values() if not (kind == "mrr" and depth)}
    values = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(found) if measures else {}
    cut = {
        depth: pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(
            {query_id: _first(scores, depth) for query_id, scores in found.items()}
        )
        for kind, depth in wanted.values()
        if kind == "mrr" and depth
    }
    result: dict[str, dict[str, float]] = {}
    for query_id in judged:
        line = result[query_id] = {}
        for name, (kind, depth) in wanted.items():
            if kind == "mrr" and depth:
                line[name] = cut[depth].get(query_id, {}).get("recip_rank", 0.0)
            else:
                line[name] = values.get(query_id, {}).get(_measure(kind, depth).replace(".", "_"), 0.0)
    return result


def mean_metrics(per_query: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The means over all queries, by name of the metric. No queries give no means."""
    names = list(next(iter(per_query.values()), {}))
    return {name: math.fsum(line[name] for line in per_query.values()) / len(per_query) for name in names}


def _parsed(name: str) -> tuple[str, int]:
    match = _NAME.fullmatch(name)
    if match is None or (match[2] is None and match[1] not in _WHOLE):
        raise ConfigError(
            f"There is no metric {name!r}. There are: ndcg@10, map, map@100, recall@100, precision@10, mrr and mrr@10,"
            " with any depth."
        )
    return match[1], int(match[2] or 0)


def _measure(kind: str, depth: int) -> str:
    return f"{_TREC[kind]}.{depth}" if depth else _WHOLE[kind]


def _first(scores: Mapping[str, float], depth: int) -> dict[str, float]:
    """The first documents of a ranking, as trec_eval orders it."""
    import numpy as np

    docids = sorted(scores, reverse=True)
    values = np.array([scores[docid] for docid in docids], dtype=np.float32)
    order = np.argsort(-values, kind="stable")[:depth]
    return {docids[place]: scores[docids[place]] for place in order.tolist()}


def _check(run: Run, qrels: Qrels) -> None:
    for query_id, scores in run.items():
        if not all(map(math.isfinite, scores.values())):
            raise ConfigError(f"A score of query {query_id!r} is no number: the run cannot be measured.")
    for query_id, grades in qrels.items():
        if not all(isinstance(grade, int) for grade in grades.values()):
            raise ConfigError(f"A grade of query {query_id!r} is no whole number.")
