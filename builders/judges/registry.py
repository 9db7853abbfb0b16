"""Judges by kind, as job files name them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.base import BatchJudge, PromptJudge
from hf_relabel.builders.judges.cross_encoder import CrossEncoderJudge
from hf_relabel.builders.judges.listwise import ListwiseJudge
from hf_relabel.builders.judges.pointwise import PointwiseJudge
from hf_relabel.builders.judges.ranking import RankingJudge
from hf_relabel.builders.judges.settings import check_number
from hf_relabel.builders.judges.similarity import SimilarityJudge
from hf_relabel.builders.judges.spans import SpanJudge
from hf_relabel.builders.judges.student import StudentJudge
from hf_relabel.builders.judges.truth import TruthJudge

JUDGES: dict[str, Callable[..., PromptJudge | BatchJudge]] = {
    "cross-encoder": CrossEncoderJudge,
    "listwise": ListwiseJudge,
    "pointwise": PointwiseJudge,
    "ranking": RankingJudge,
    "similarity": SimilarityJudge,
    "span": SpanJudge,
    "student": StudentJudge,
    "truth": TruthJudge,
}
"""What makes a judge of each kind. The parameters are its settings."""


def make_judge(kind: str, **settings: Any) -> PromptJudge | BatchJudge:
    """A judge of that kind. Loads no model and opens no connection.

    Raises:
        ConfigError: no such kind, no such setting, or a value out of its range.
    """
    make = JUDGES.get(kind)
    if make is None:
        raise ConfigError(f"There is no judge of kind {kind!r}; there is {', '.join(sorted(JUDGES))}.")
    valid = list(inspect.signature(make).parameters)
    unknown = sorted(set(settings) - set(valid))
    if unknown:
        raise ConfigError(f"A {kind} judge has no setting {', '.join(unknown)}; it has {', '.join(valid)}.")
    try:
        return make(**settings)
    except ConfigError as error:
        raise ConfigError(f"Judge {kind}: {error}") from None


ANSWER = "answer"
"""The judge of ARHN (arXiv 2604.11092), which stands for a judge of spans and one that ranks, in two orders."""

ORDERED = ("listwise", "ranking")
"""Kinds that show candidates in an order, and can be asked in several."""

MOST_PERMUTATIONS = 10
_SPAN_ONLY = frozenset({"max_span_chars"})
_RANKING_ONLY = frozenset({"candidates_per_prompt", "temperature", "seed", "reasoning", "max_thinking_chars"})


def expanded(judge: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Kinds and settings of the judges that one entry of a job file stands for.

    An entry with `permutations` stands for the same judge in that many orders, an `answer` judge for the `span` judge
    followed by the `ranking` judge in each order (2 unless said otherwise).

    Raises:
        ConfigError: permutations of a judge that shows no order, or a number out of range.
    """
    settings = dict(judge)
    kind = settings.pop("kind")
    permutations = settings.pop("permutations", 2 if kind == ANSWER else 1)
    check_number("permutations", permutations, 1, MOST_PERMUTATIONS, whole=True)
    if kind == ANSWER:
        spans = {name: value for name, value in settings.items() if name not in _RANKING_ONLY}
        ranking = {name: value for name, value in settings.items() if name not in _SPAN_ONLY}
        orders = expanded({"kind": "ranking", "permutations": permutations, **ranking})
        return [("span", spans), *orders]
    if permutations == 1:
        return [(kind, settings)]
    if kind not in ORDERED:
        raise ConfigError(f"permutations: a {kind} judge shows no list; {' and '.join(ORDERED)} do")
    return [(kind, {**settings, "permutation": number}) for number in range(permutations)]
