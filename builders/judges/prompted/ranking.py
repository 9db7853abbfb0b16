"""The judge that ranks, stage 2 of ARHN (arXiv 2604.11092): which of these texts answers most directly?

The ground truths and the candidates of a row are shown together, in an order that tells nothing, and the judge puts
them in order. A candidate above every ground truth is better than the ground truth; there is no threshold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hf_relabel.builders.endpoint import Message, Reply, Request
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.prompted.base import PromptedJudge, row_digest
from hf_relabel.builders.judges.prompted.listwise import MAX_CANDIDATES, MAX_THINKING_CHARS, evenly, shuffled
from hf_relabel.builders.judges.prompted.prompt_files import template
from hf_relabel.builders.judges.prompted.reply_parsing import Unreadable, answer_of, last_tagged, plain_ids
from hf_relabel.builders.judges.protocols import JSON, Ask
from hf_relabel.builders.judges.settings import check_number, check_yes_or_no
from hf_relabel.builders.rows import Row

MOST_POSITIVES = 5
"""Most ground truths in each prompt."""

NO_CANDIDATE = -1
SCORE_DIGITS = 6
_NUMBER = re.compile(r"[0-9]+")
_ORDER_TEXT = re.compile(r"(?:[0-9]{1,4}(?![0-9])|[\s\[\](),;>#]|[.-](?![0-9]))*")


@dataclass(frozen=True, eq=False, kw_only=True)
class RankingJudge(PromptedJudge):
    """Labels candidates that rank above all ground truths `better` and others `irrelevant`.

    The score is the share of the other texts of the prompt that a candidate ranks above, in [0, 1]. A row without
    ground truths gives scores only.

    Example:
            judge("train.jsonl", RankingJudge(), "journal.sqlite", endpoint="http://127.0.0.1:8080")

    Attributes:
        candidates_per_prompt: most candidates in a prompt, beside up to 5 ground truths; 25 texts together.
        permutation: see `ListwiseJudge`.
        temperature, max_tokens, seed, reasoning, max_thinking_chars: see `ListwiseJudge`.

    The other settings are those of `PromptedJudge`.

    Raises:
        ConfigError: a setting is out of its range.
    """

    prompt: str = "ranking-v1"
    max_positives: int = MOST_POSITIVES
    candidates_per_prompt: int = 16
    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int = 0
    permutation: int = 0
    reasoning: bool = False
    max_thinking_chars: int = MAX_THINKING_CHARS

    kind = "ranking"

    def __post_init__(self) -> None:
        PromptedJudge.__post_init__(self)
        check_number(
            "candidates_per_prompt", self.candidates_per_prompt, 1, MAX_CANDIDATES - MOST_POSITIVES, whole=True
        )
        check_number("max_positives", self.max_positives, 1, MOST_POSITIVES, whole=True)
        check_number("temperature", self.temperature, 0, 2)
        check_number("max_tokens", self.max_tokens, 1, 1_000_000, whole=True)
        check_number("seed", self.seed, 0, 2**63 - 1, whole=True)
        check_number("permutation", self.permutation, 0, 99, whole=True)
        check_number("max_thinking_chars", self.max_thinking_chars, 1, 1_000_000, whole=True)
        check_yes_or_no("reasoning", self.reasoning)

    def _family(self) -> str:
        return "ranking"

    def settings(self) -> dict[str, JSON]:
        return {
            **PromptedJudge.settings(self),
            "candidates_per_prompt": self.candidates_per_prompt,
            "temperature": float(self.temperature),
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "permutation": self.permutation,
            "reasoning": self.reasoning,
            "max_thinking_chars": self.max_thinking_chars,
        }

    def asks(self, row: Row, positions: Sequence[int], *, constrained: bool) -> list[Ask]:
        """Prompts that together cover each of `positions` exactly once, each with the ground truths."""
        row, left_out = self.fitting(row)
        digest = row_digest(row, str(self.seed))
        order = shuffled(row, positions, digest)
        truth = row.positive_passages
        shown = self.shown(row, order, digest)
        system = _system_prompt(self.version, self.wording_of(row), self.reasoning, constrained)
        user = template(f"{self.version}.user.jinja")
        asks = []
        for chunk in evenly(order, self.candidates_per_prompt):
            # Ground truths and candidates of this prompt as one list, so that one shuffle places them all.
            negatives = tuple(row.negative_passages[position] for position in chunk)
            together = Row(row.query_id, row.query, (), (*truth, *negatives))
            places = shuffled(together, range(len(truth) + len(chunk)), digest, self.permutation)
            ids = tuple(NO_CANDIDATE if place < len(truth) else chunk[place - len(truth)] for place in places)
            texts = [
                shown.positives[place] if place < len(truth) else shown.negatives[chunk[place - len(truth)]]
                for place in places
            ]
            numbered = [(number, *text) for number, text in enumerate(texts, 1)]
            content = user.render(key=shown.key, query=shown.query, texts=numbered)
            request = Request(
                messages=(Message("system", system), Message("user", content)),
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                seed=int.from_bytes(digest[:4], "big") & 0x7FFFFFFF,
                json_schema=_schema(len(ids), self.max_thinking_chars if self.reasoning else 0)
                if constrained
                else None,
            )
            asked = tuple(position for position in ids if position != NO_CANDIDATE)
            asks.append(Ask(request, asked, shown.cut_of(asked), ids, left_out))
        return asks

    def read(self, ask: Ask, reply: Reply) -> dict[int, Judgement]:
        order = read_order(reply, len(ask.ids), constrained=ask.request.json_schema is not None)
        ranks = {ask.ids[number - 1]: rank for rank, number in reversed(list(enumerate(order or ())))}
        share = 1 / len(ask.positions)
        prompt_tokens = None if reply.prompt_tokens is None else reply.prompt_tokens * share
        completion_tokens = None if reply.completion_tokens is None else reply.completion_tokens * share
        judgements = {}
        for place, position in enumerate(ask.positions, 1):
            label, score, problem = Label.UNPARSABLE, None, "gives no order of all texts that were shown"
            if order is not None:
                score = round((len(order) - 1 - ranks[position]) / max(1, len(order) - 1), SCORE_DIGITS)
                above = NO_CANDIDATE in ranks and ranks[position] < ranks[NO_CANDIDATE]
                label, problem = Label.BETTER if above else Label.IRRELEVANT, ""
            judgements[position] = Judgement(
                label, score, problem, prompt_tokens, completion_tokens, place=place, cut=position in ask.cut
            )
        return judgements


def read_order(reply: Reply, count: int, *, constrained: bool) -> list[int] | None:
    """The ids 1 to `count` in the order that a reply puts them in; None unless it names each exactly once.

    Never raises. Of several orders between tags the last counts, and none that a reply broke off in or after.

    Args:
        constrained: see `parse_reply`.
    """
    try:
        answer = answer_of(reply.text, reply.finish_reason, constrained)
    except Unreadable:
        return None
    found = _json_order(answer) if isinstance(answer, dict) else _text_order(answer)
    return found if found is not None and sorted(found) == list(range(1, count + 1)) else None


def _json_order(answer: dict[str, Any]) -> list[int] | None:
    order = answer.get("order")
    if not isinstance(order, list) or any(type(number) is not int for number in order):
        return None
    return order


def _text_order(answer: str) -> list[int] | None:
    content = plain_ids(last_tagged(answer, "order") or "")
    if not _ORDER_TEXT.fullmatch(content):
        return None  # words between the numbers may mean anything, and = is a tie
    return [int(number) for number in _NUMBER.findall(content)]


@lru_cache(maxsize=64)
def _system_prompt(version: str, wording: str, reasoning: bool, constrained: bool) -> str:
    return template(f"{version}.system.jinja").render(
        version=version, wording=wording, reasoning=reasoning, constrained=constrained
    )


@lru_cache(maxsize=256)
def _schema(count: int, max_thinking_chars: int) -> dict[str, Any]:
    ids = {"type": "integer", "enum": list(range(1, count + 1))}
    order = {"type": "array", "items": ids, "minItems": count, "maxItems": count}
    properties: dict[str, Any] = {"order": order}
    if max_thinking_chars:
        properties = {"thinking": {"type": "string", "maxLength": max_thinking_chars}, **properties}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
