"""Measures of a ranking, as trec_eval computes them: by pytrec_eval, which is trec_eval itself."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from operator import index

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.evaluation.sets import Qrels, Run

_NAME = re.compile(r"(ndcg|map|recall|precision|hit|mrr|rprec)(?:@([1-9]\d{0,5}))?")
_AT_DEPTH = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "hit": "success"}
_WHOLE = {"ndcg": "ndcg", "map": "map", "mrr": "recip_rank", "rprec": "Rprec"}
MAX_GRADE = 1_000
"""pytrec_eval 0.5.11 takes minutes over grades of a hundred thousand, and much higher ones crash it."""


def ranking_metrics(run: Run, qrels: Qrels, metrics: Sequence[str] = ("ndcg@10",)) -> dict[str, dict[str, float]]:
    """Measure a ranking, query by query.

    Documents are ordered by score, ties by docid, the greater first; scores are compared in single precision. A judged
    query that the run does not have counts 0 (trec_eval -c); a query that nobody judged is left out.

    Args:
        metrics: `ndcg@k`, `map@k`, `recall@k`, `precision@k`, `hit@k`, `mrr@k`, or of the whole ranking `ndcg`, `map`,
            `mrr`, `rprec` (precision at as many as are relevant). The gain of nDCG is the grade.

    Returns:
        By query id: values in [0, 1] by name of the metric.

    Raises:
        ConfigError: a metric is not known, a score is no number, a grade is no whole number or above `MAX_GRADE`, an
            id is no text, or pytrec_eval is not installed.
    """
    names = {metric: _parsed(metric) for metric in metrics}
    try:
        import pytrec_eval
    except ImportError:
        raise ConfigError("Measuring needs pytrec_eval: pip install 'hf-relabel[evaluate]'") from None
    _check_ids(qrels)
    judged = {query_id: _grades(query_id, grades) for query_id, grades in qrels.items()}
    found = {query_id: _scores(query_id, run[query_id]) for query_id in judged if run.get(query_id)}
    measures = {_measure(*name) for name in names.values()}
    values = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(found)
    keys = [(metric, _measure(*name).replace(".", "_"), _floor(*name)) for metric, name in names.items()]
    nothing = dict.fromkeys(names, 0.0)
    return {
        query_id: {metric: value if (value := line[key]) >= floor else 0.0 for metric, key, floor in keys}
        if (line := values.get(query_id))
        else dict(nothing)
        for query_id in judged
    }


def mean_metrics(per_query: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The means over all queries, by name of the metric. No queries give no means."""
    names = list(next(iter(per_query.values()), {}))
    return {name: math.fsum(line[name] for line in per_query.values()) / len(per_query) for name in names}


def _parsed(metric: str) -> tuple[str, int]:
    """The measure and the depth; 0 for the whole ranking."""
    match = _NAME.fullmatch(metric)
    if match is None or (match[2] is None and match[1] not in _WHOLE) or (match[2] and match[1] == "rprec"):
        raise ConfigError(
            f"There is no metric {metric!r}. There are ndcg@10, map@100, recall@100, precision@10, hit@10 and mrr@10,"
            " with any depth, and ndcg, map, mrr and rprec."
        )
    return match[1], int(match[2] or 0)


def _measure(kind: str, depth: int) -> str:
    """What trec_eval calls it. It has no reciprocal rank at a depth, see `_floor`."""
    return f"{_AT_DEPTH[kind]}.{depth}" if depth and kind in _AT_DEPTH else _WHOLE[kind]


def _floor(kind: str, depth: int) -> float:
    """The least value that counts: a reciprocal rank below 1/k is that of a document after the first k."""
    return 1.0 / depth if depth and kind == "mrr" else 0.0


def _grades(query_id: str, grades: Mapping[str, int]) -> dict[str, int]:
    """As trec_eval can take them. A negative grade is not relevant, like 0, but makes pytrec_eval 0.5.11 hang."""
    _check_ids(grades)
    try:
        plain = {docid: max(0, index(grade)) for docid, grade in grades.items()}
    except TypeError:
        raise ConfigError(f"A grade of query {query_id!r} is no whole number.") from None
    if max(plain.values(), default=0) > MAX_GRADE:
        raise ConfigError(f"A grade of query {query_id!r} is above {MAX_GRADE}.")
    return plain


def _scores(query_id: str, scores: Mapping[str, float]) -> dict[str, float]:
    """As trec_eval can take them: a dict of Python's own numbers, the same one where it is that already."""
    _check_ids(scores)
    plain = scores if isinstance(scores, dict) else dict(scores)
    try:
        # A sum of Python's floats is a float, and finite only where all its parts are.
        if type(total := sum(plain.values())) is float and math.isfinite(total):
            return plain
    except (TypeError, ArithmeticError, Warning):  # NumPy warns of a sum too large, which may be an error
        pass
    try:
        numbers = {docid: float(score) if isinstance(score, Real) else math.nan for docid, score in plain.items()}
    except OverflowError:
        numbers = {"": math.nan}
    if all(map(math.isfinite, numbers.values())):
        return numbers
    raise ConfigError(f"A score of query {query_id!r} is no number: the run cannot be measured.")


def _check_ids(ids: Iterable[str]) -> None:
    """pytrec_eval 0.5.11 crashes over an id that UTF-8 cannot hold, and takes one with a NUL for its first part."""
    try:
        joined = "".join(ids)
        if not joined.isascii():
            joined.encode()
    except (TypeError, UnicodeEncodeError):
        joined = "\0"
    if "\0" in joined:
        raise ConfigError("Ids of queries and documents must be texts that UTF-8 can hold, without NUL.")
