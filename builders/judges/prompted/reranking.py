"""A judge that asks a reranker behind a server (TEI, vLLM, Infinity, Jina, Cohere …): a score for each candidate.

The score is the probability that the server gives to the pair of query and candidate, or with `relative` how far that
lies above or below the one of the row's best ground truth, moved to [0, 1]: 0.5 is a tie. Nothing is calibrated: audit,
then `build --calibration`, before relabelling. The same model on this machine is the judge `cross-encoder`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hf_relabel.builders.endpoint import Message, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.prompted.listwise import evenly
from hf_relabel.builders.judges.protocols import JSON, Ask
from hf_relabel.builders.judges.settings import check_number, check_yes_or_no
from hf_relabel.builders.rows import Passage, Row, joined_text
from hf_relabel.builders.sources.subsets import subset_set

SCORE_DIGITS = 5
MOST_DOCUMENTS = 1_000
"""In one request, by Cohere's documentation; TEI takes 32 unless told otherwise, and its dialect splits."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RerankJudge:
    """Judges by a reranker's score.

    Example:
            judge("train.jsonl", RerankJudge(better=0.8), "journal.sqlite", endpoint="http://127.0.0.1:8080")

    Attributes:
        better, worse: scores from which a candidate is labelled so.
        relative: compare with the row's best ground truth instead of taking the score as it is.
        logits: the server gives logits, of which the sigmoid is taken (llama.cpp does; TEI with `raw_scores`).
        max_chars: a longer text is cut, and the judgement says so.
        candidates_per_request: texts scored at once, ground truths included.
        exempt_subsets: subsets that are not judged.

    Raises:
        ConfigError: a setting is out of its range.
    """

    better: float = 0.5
    worse: float = 0.2
    relative: bool = False
    logits: bool = False
    max_chars: int = 8000
    candidates_per_request: int = 32
    exempt_subsets: Iterable[str] = ("arguana",)

    kind = "rerank"
    reranks = True
    """Asks servers that score texts, and no others."""

    def __post_init__(self) -> None:
        check_number("better", self.better, 0, 1)
        check_number("worse", self.worse, 0, 1)
        if self.worse > self.better:
            raise ConfigError(f"worse: {self.worse} lies above better, {self.better}")
        check_yes_or_no("relative", self.relative)
        check_yes_or_no("logits", self.logits)
        check_number("max_chars", self.max_chars, 1, 10_000_000, whole=True)
        check_number("candidates_per_request", self.candidates_per_request, 1, MOST_DOCUMENTS, whole=True)
        object.__setattr__(self, "exempt_subsets", subset_set("exempt_subsets", self.exempt_subsets))

    def settings(self) -> dict[str, JSON]:
        return {
            "formula": ("relative" if self.relative else "probability") + ("/logits" if self.logits else ""),
            "better": float(self.better),
            "worse": float(self.worse),
            "max_chars": self.max_chars,
            **({} if self.relative else {"max_positives": 0}),  # the score is of query and candidate alone
        }

    def asks(self, row: Row, positions: Sequence[int], *, constrained: bool) -> list[Ask]:
        """One request for some candidates each; with `relative` the ground truths stand before them in each."""
        truth = row.positive_passages if self.relative else ()
        room = max(1, self.candidates_per_request - len(truth))
        query = row.query[: self.max_chars]
        whole_row = max(map(len, (row.query, *map(_text, truth)))) > self.max_chars
        asks = []
        for chunk in evenly(list(dict.fromkeys(positions)), room):
            texts = [_text(row.negative_passages[position]) for position in chunk]
            long = {position for position, text in zip(chunk, texts, strict=True) if len(text) > self.max_chars}
            documents = tuple(text[: self.max_chars] for text in (*map(_text, truth), *texts))
            request = Request((Message("user", query),), max_tokens=1, documents=documents)
            cut = frozenset(chunk) if whole_row else frozenset(long)
            asks.append(Ask(request, chunk, cut, ids=(*(-1 for _ in truth), *chunk)))
        return asks

    def read(self, ask: Ask, reply: Reply) -> dict[int, Judgement]:
        scores = _scores(reply.text, len(ask.ids))
        share = 1 / len(ask.positions)
        tokens = None if reply.prompt_tokens is None else reply.prompt_tokens * share
        truth = [score for score, position in zip(scores, ask.ids, strict=True) if position < 0]
        judged = {}
        for score, position in zip(scores, ask.ids, strict=True):
            if position >= 0:
                label, value, problem = self._said(score, truth)
                judged[position] = Judgement(label, value, problem, tokens, cut=position in ask.cut)
        return judged

    def _said(self, given: float | None, truth: Sequence[float | None]) -> tuple[Label, float | None, str]:
        values = [self._probability(score) for score in (given, *truth)]
        if None in values:
            outside = "a score lies outside [0, 1]: does the server give logits (logits: true)?"
            why = "the server gave no score" if None in (given, *truth) else outside
            return Label.UNPARSABLE, None, why
        score, *best = [value for value in values if value is not None]
        if self.relative and best:
            score = (1 + score - max(best)) / 2
        score = round(score, SCORE_DIGITS)
        label = Label.BETTER if score >= self.better else Label.WORSE if score >= self.worse else Label.IRRELEVANT
        return label, score, ""

    def _probability(self, score: float | None) -> float | None:
        if score is None:
            return None
        if self.logits:
            return 1 / (1 + math.exp(-max(-700.0, min(700.0, score))))
        return score if 0 <= score <= 1 else None


def _text(passage: Passage) -> str:
    return joined_text(passage.title, passage.text)


def _scores(text: str, count: int) -> list[float | None]:
    """A score for each text of the request, None where there is none, or nothing can be read."""
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return [None] * count
    if not isinstance(found, list) or len(found) != count:
        return [None] * count
    return [float(score) if type(score) in (int, float) and math.isfinite(score) else None for score in found]
