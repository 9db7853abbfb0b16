"""Judges by kind, as job files name them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.cross_encoder import CrossEncoderJudge
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.offline.student import StudentJudge
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.judges.prompted.ranking import RankingJudge
from hf_relabel.builders.judges.prompted.reranking import RerankJudge
from hf_relabel.builders.judges.prompted.spans import SpanJudge
from hf_relabel.builders.judges.protocols import BatchJudge, PromptJudge
from hf_relabel.builders.judges.settings import check_number
from hf_relabel.builders.messages.nearest import nearest_or_all
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.spelling import argument

JUDGES: dict[str, Callable[..., PromptJudge | BatchJudge]] = {
    "cross-encoder": CrossEncoderJudge,
    "listwise": ListwiseJudge,
    "pointwise": PointwiseJudge,
    "ranking": RankingJudge,
    "rerank": RerankJudge,
    "similarity": SimilarityJudge,
    "span": SpanJudge,
    "student": StudentJudge,
    "truth": TruthJudge,
}
"""What makes a judge of each kind. The parameters are its settings."""


ANSWER = "answer"
"""The judge of ARHN (arXiv 2604.11092), which stands for a judge of spans and one that ranks, in two orders."""

SAVED_REPLIES = "saved-replies"
"""A judge that asks nobody: it reads a file of replies that RLHN saved."""

ORDERED = ("listwise", "ranking")
"""Kinds that show candidates in an order, and can be asked in several."""

_NEEDED = {
    "student": f"{argument('model')}, the folder that `{{program}} student` wrote",
    "truth": f"{argument('file')}, which holds the known false negatives",
    SAVED_REPLIES: f"{argument('file')}, which holds the replies",
}
"""What a judge cannot do without."""


def make_judge(kind: str, **settings: Any) -> PromptJudge | BatchJudge:
    """A judge of that kind. Loads no model and opens no connection.

    Raises:
        ConfigError: no such kind, no such setting, one that is missing, or a value out of its range.
    """
    make = JUDGES.get(kind)
    if make is None:
        raise ConfigError(_no_kind(kind, JUDGES))
    if problems := list(judge_problems({"kind": kind, **settings})):
        raise ConfigError(" ".join(problems))
    try:
        made = make(**settings)
        if isinstance(made, SimilarityJudge):
            _ = made.thresholds  # before its model is fetched
        return made
    except ConfigError as error:
        raise ConfigError(f"Judge {kind}: {error}") from None


def kinds() -> list[str]:
    """All kinds that a job file may name."""
    return sorted({*JUDGES, ANSWER, SAVED_REPLIES})


def judge_problems(judge: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the names in one entry of a job file, a sentence each: its kind, a setting that it does not
    have, one that it lacks."""
    kind = str(judge.get("kind"))
    if kind not in kinds():
        yield _no_kind(kind, kinds())
        return
    valid, required = _settings_of(kind)
    for name in sorted(set(judge) - {"kind", *REPEATING} - set(valid)):
        yield f"A {kind} judge has no setting {name!r}.{nearest_or_all(name, valid, 'It has')}"
    if not set(required) <= set(judge):
        yield f"A {kind} judge needs {_NEEDED[kind].format(program=program())}."


def _no_kind(kind: str, known: Iterable[str]) -> str:
    return f"There is no judge of kind {kind!r}.{nearest_or_all(kind, sorted(known))}"


def _settings_of(kind: str) -> tuple[list[str], list[str]]:
    """Names of the settings of a kind, and those that must be given."""
    if kind == SAVED_REPLIES:
        return ["file", "name"], ["file"]
    makers = (SpanJudge, RankingJudge) if kind == ANSWER else (JUDGES[kind],)
    parameters = {name: each for make in makers for name, each in inspect.signature(make).parameters.items()}
    required = [name for name, each in parameters.items() if each.default is inspect.Parameter.empty]
    return [*parameters, *(REPEATING if kind in (ANSWER, *ORDERED) else [])], required


REPEATING = ("permutations", "samples")
"""Settings by which one entry stands for a judge that is asked several times."""
MOST_TIMES = 10
_SPAN_ONLY = frozenset({"max_span_chars"})
_RANKING_ONLY = frozenset(
    {
        *("candidates_per_prompt", "temperature", "seed", "reasoning", "max_thinking_chars"),
        *("max_positives", "max_positive_tokens"),
    }
)


def expanded(judge: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Kinds and settings of the judges that one entry of a job file stands for.

    An entry with `permutations` stands for the same judge in that many orders, one with `samples` for it with so many
    seeds, an `answer` judge for the `span` judge followed by the `ranking` judge in each order (2 unless said
    otherwise).

    Raises:
        ConfigError: several orders or samples of a judge that has none, or a number out of range.
    """
    settings = dict(judge)
    kind = settings.pop("kind")
    permutations = settings.pop("permutations", 2 if kind == ANSWER else 1)
    samples = settings.pop("samples", 1)
    for name, number in zip(REPEATING, (permutations, samples), strict=True):
        check_number(name, number, 1, MOST_TIMES, whole=True)
    if kind == ANSWER:
        spans = {name: value for name, value in settings.items() if name not in _RANKING_ONLY}
        ranking = {name: value for name, value in settings.items() if name not in _SPAN_ONLY}
        orders = expanded({"kind": "ranking", "permutations": permutations, "samples": samples, **ranking})
        return [("span", spans), *orders]
    if permutations == samples == 1:
        return [(kind, settings)]
    if kind not in ORDERED:
        name, why = ("samples", "says the same each time") if samples > 1 else ("permutations", "shows no list")
        raise ConfigError(f"{name}: a {kind} judge {why}; {' and '.join(ORDERED)} {'do not' if samples > 1 else 'do'}")
    several = []
    for sample, number in product(range(samples), range(permutations)):
        of_sample = {"seed": settings.get("seed", 0) + sample} if samples > 1 else {}
        of_order = {"permutation": number} if permutations > 1 else {}
        several.append((kind, {**settings, **of_sample, **of_order}))
    return several
