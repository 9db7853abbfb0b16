"""Measures of a ranking, bit for bit as trec_eval computes them.

All of them follow from the ranks of the relevant documents, so that only these are looked for: no ranking is sorted by
document, and nothing is converted for a library. The tests compare every value with pytrec_eval, which is trec_eval.
"""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from operator import index

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.evaluation.sets import Qrels, Run

_NAME = re.compile(r"(ndcg|map|recall|precision|hit|mrr|rprec)(?:@([1-9]\d{0,5}))?")
_WHOLE = ("ndcg", "map", "mrr", "rprec")
MAX_GRADE = 1_000
"""trec_eval's bindings take minutes over grades of a hundred thousand and crash over higher ones: with more than this
nobody could compare."""


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
        ConfigError: a metric is not known, a score is no number, a grade is no whole number or above `MAX_GRADE`, or an
            id is no text.
    """
    measures = [(metric, *_parsed(metric)) for metric in metrics]
    nothing = dict.fromkeys(metrics, 0.0)
    _check_ids(qrels)
    measured = {}
    for query_id, grades in qrels.items():
        relevant = _relevant(query_id, grades)
        scores = run.get(query_id)
        found = _found(query_id, scores, relevant) if scores else None
        measured[query_id] = (
            {metric: measure(found, depth) for metric, measure, depth in measures} if found else nothing.copy()
        )
    return measured


def mean_metrics(per_query: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The means over all queries, by name of the metric. No queries give no means."""
    names = list(next(iter(per_query.values()), {}))
    return {name: math.fsum(line[name] for line in per_query.values()) / len(per_query) for name in names}


@dataclass(frozen=True, slots=True)
class _Found:
    """The relevant documents of a query that a ranking has; there is at least one.

    Attributes:
        ranks: from 1, in order.
        gains: their grades, in the same order.
        ideal: grades of all relevant documents, the highest first.
    """

    ranks: list[int]
    gains: list[int]
    ideal: list[int]

    def within(self, depth: int) -> int:
        """How many are among the first `depth`; 0 for all."""
        return bisect_right(self.ranks, depth) if depth else len(self.ranks)


def _ndcg(found: _Found, depth: int) -> float:
    reached = ideal = 0.0
    # Added up one by one in the order of ranks, as trec_eval does: `sum` and `fsum` differ in the last digit.
    for rank, gain in zip(found.ranks[: found.within(depth)], found.gains, strict=False):
        reached += gain / math.log2(rank + 1)
    for rank, gain in enumerate(found.ideal[: depth or None], start=1):
        ideal += gain / math.log2(rank + 1)
    return reached / ideal


def _map(found: _Found, depth: int) -> float:
    total = 0.0
    for place, rank in enumerate(found.ranks[: found.within(depth)], start=1):
        total += place / rank
    return total / len(found.ideal)


def _recall(found: _Found, depth: int) -> float:
    return found.within(depth) / len(found.ideal)


def _precision(found: _Found, depth: int) -> float:
    return found.within(depth) / depth


def _hit(found: _Found, depth: int) -> float:
    return float(found.ranks[0] <= depth)


def _mrr(found: _Found, depth: int) -> float:
    return 1.0 / found.ranks[0] if not depth or found.ranks[0] <= depth else 0.0


def _rprec(found: _Found, depth: int) -> float:
    return found.within(len(found.ideal)) / len(found.ideal)


_MEASURES: dict[str, Callable[[_Found, int], float]] = {
    "ndcg": _ndcg,
    "map": _map,
    "recall": _recall,
    "precision": _precision,
    "hit": _hit,
    "mrr": _mrr,
    "rprec": _rprec,
}


def _parsed(metric: str) -> tuple[Callable[[_Found, int], float], int]:
    """The measure and the depth; 0 for the whole ranking."""
    match = _NAME.fullmatch(metric)
    if match is None or (match[2] is None and match[1] not in _WHOLE) or (match[2] and match[1] == "rprec"):
        raise ConfigError(
            f"There is no metric {metric!r}. There are ndcg@10, map@100, recall@100, precision@10, hit@10 and mrr@10,"
            " with any depth, and ndcg, map, mrr and rprec."
        )
    return _MEASURES[match[1]], int(match[2] or 0)


def _relevant(query_id: str, grades: Mapping[str, int]) -> dict[str, int]:
    """The relevant documents and their grades. A negative grade is not relevant, like 0."""
    _check_ids(grades)
    try:
        relevant = {docid: plain for docid, grade in grades.items() if (plain := index(grade)) > 0}
    except TypeError:
        raise ConfigError(f"A grade of query {query_id!r} is no whole number.") from None
    if relevant and max(relevant.values()) > MAX_GRADE:
        raise ConfigError(f"A grade of query {query_id!r} is above {MAX_GRADE}.")
    return relevant


def _found(query_id: str, scores: Mapping[str, float], relevant: Mapping[str, int]) -> _Found | None:
    """Where the relevant documents are in a ranking; None if none is there."""
    _check_ids(scores)
    singles = array("f", _numbers(query_id, scores))
    known = [docid for docid in relevant if docid in scores]
    if not known:
        return None
    ordered = sorted(singles)
    placed = []
    for docid, score in zip(known, array("f", [scores[docid] for docid in known]), strict=True):
        after = bisect_right(ordered, score)
        rank = len(ordered) - after + 1
        if after - bisect_left(ordered, score) > 1:
            rank += sum(other > docid for other, value in zip(scores, singles, strict=True) if value == score)
        placed.append((rank, relevant[docid]))
    placed.sort()
    ranks, gains = zip(*placed, strict=True)
    return _Found(list(ranks), list(gains), sorted(relevant.values(), reverse=True))


def _numbers(query_id: str, scores: Mapping[str, float]) -> list[float]:
    """The scores as Python's own numbers."""
    values = list(scores.values())
    try:
        # A sum of Python's floats is a float, and finite only where all its parts are.
        if type(total := sum(values)) is float and math.isfinite(total):
            return values
    except (TypeError, ArithmeticError, Warning):  # NumPy warns of a sum too large, which may be an error
        pass
    try:
        numbers = [float(score) if isinstance(score, Real) else math.nan for score in values]
    except OverflowError:
        numbers = [math.nan]
    if all(map(math.isfinite, numbers)):
        return numbers
    raise ConfigError(f"A score of query {query_id!r} is no number: the run cannot be measured.")


def _check_ids(ids: Iterable[str]) -> None:
    """What no file of trec_eval can hold is no id: an id that UTF-8 cannot hold, or with a NUL."""
    try:
        joined = "".join(ids)
        if not joined.isascii():
            joined.encode()
    except (TypeError, UnicodeEncodeError):
        joined = "\0"
    if "\0" in joined:
        raise ConfigError("Ids of queries and documents must be texts that UTF-8 can hold, without NUL.")
