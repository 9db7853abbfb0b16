"""The judge of spans, stage 1 of ARHN (arXiv 2604.11092): what in this passage answers the query, in its own words?

It sees the query and one passage, not the ground truth, and quotes one contiguous span or says that there is none. A
quotation that is not in the passage counts as no answer at all: the model made it up. Spans are compared in Unicode's
NFC with white space collapsed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hf_relabel.builders.endpoint import Message, Reply, Request
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.prompted.base import PromptedJudge, row_digest
from hf_relabel.builders.judges.prompted.prompt_files import template
from hf_relabel.builders.judges.prompted.reply_parsing import MAX_RATIONALE_CHARS, Unreadable, answer_of, last_tagged
from hf_relabel.builders.judges.protocols import JSON, Ask
from hf_relabel.builders.judges.settings import check_number
from hf_relabel.builders.rows import Row

NO_ANSWER = "NO_ANSWER"
_NONE = re.compile(r"(?:[\"'.`*]*NO[_ ]ANSWER[\"'.`*]*)?", re.IGNORECASE)
_END = re.compile(r"^=== (\d{10}) end ===$", re.MULTILINE)


@dataclass(frozen=True, eq=False, kw_only=True)
class SpanJudge(PromptedJudge):
    """Labels a candidate `worse` where it quotes an answer (the quotation is the rationale), else `irrelevant`.

    Which candidates are better than the ground truth is for `RankingJudge` to say; the rule `arhn` joins the two.

    Example:
            judge("train.jsonl", SpanJudge(), "journal.sqlite", endpoint="http://127.0.0.1:8080")

    Attributes:
        max_span_chars: bound of the quotation in a constrained reply of llama.cpp.
        max_tokens: of the reply.

    The other settings are those of `PromptedJudge`.

    Raises:
        ConfigError: a setting is out of its range.
    """

    prompt: str = "span-v1"
    max_span_chars: int = 400
    max_tokens: int = 256

    kind = "span"

    def __post_init__(self) -> None:
        PromptedJudge.__post_init__(self)
        check_number("max_span_chars", self.max_span_chars, 1, 1900, whole=True)
        check_number("max_tokens", self.max_tokens, 1, 1_000_000, whole=True)

    def _family(self) -> str:
        return "span"

    def settings(self) -> dict[str, JSON]:
        bounds = {"max_span_chars": self.max_span_chars, "max_tokens": self.max_tokens}
        shared = PromptedJudge.settings(self)
        del shared["max_positive_tokens"]
        return {**shared, **bounds, "max_positives": 0}  # it is shown none

    def asks(self, row: Row, positions: Sequence[int], *, constrained: bool) -> list[Ask]:
        """One prompt for each position."""
        digest = row_digest(Row(row.query_id, row.query, (), ()))
        shown = self.shown(row, range(len(row.negative_passages)), digest, positives=False)
        system = _system_prompt(self.version, self.wording_of(row), constrained)
        user = template(f"{self.version}.user.jinja")
        asks = []
        for position in dict.fromkeys(positions):
            title, text = shown.negatives[position]
            content = user.render(key=shown.key, query=shown.query, title=title, text=text)
            request = Request(
                messages=(Message("system", system), Message("user", content)),
                max_tokens=self.max_tokens,
                temperature=0.0,
                json_schema=_schema(self.max_span_chars) if constrained else None,
            )
            asks.append(Ask(request, (position,), shown.cut_of([position])))
        return asks

    def read(self, ask: Ask, reply: Reply) -> dict[int, Judgement]:
        (position,) = ask.positions
        label, rationale = read_span(reply, _passage_of(ask), constrained=ask.request.json_schema is not None)
        return {
            position: Judgement(
                label, None, rationale, reply.prompt_tokens, reply.completion_tokens, cut=position in ask.cut
            )
        }


def _passage_of(ask: Ask) -> str:
    """The passage as the prompt shows it, title included: the last text of the prompt.

    No text holds the number of the fences, but any text may hold a fence with another number. What comes last is ours.
    """
    content = ask.request.messages[-1].content
    key = _END.findall(content)[-1]
    *_, passage, _ = content.split(f"=== {key} ")
    return passage.partition(" ===\n")[2]


def read_span(reply: Reply, passage: str, *, constrained: bool) -> tuple[Label, str]:
    """What a reply says of a passage: the label, and the quotation or what is wrong. Never raises.

    Args:
        passage: as the prompt shows it.
        constrained: see `parse_reply`.
    """
    try:
        span = _quoted(answer_of(reply.text, reply.finish_reason, constrained))
    except Unreadable as problem:
        return Label.UNPARSABLE, str(problem)
    if _NONE.fullmatch(span):
        return Label.IRRELEVANT, ""
    if plain(span) not in plain(passage):
        return Label.UNPARSABLE, "quotes what the passage does not say"
    return Label.WORSE, span[:MAX_RATIONALE_CHARS]


def plain(text: str) -> str:
    """In NFC, with white space collapsed."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _quoted(answer: dict[str, Any] | str) -> str:
    """The quotation, the last one where there are several between tags. Raises Unreadable."""
    if isinstance(answer, dict):
        span = answer.get("span")
        if not isinstance(span, str):
            raise Unreadable('the reply has no text "span"')
        return span.strip()
    span = last_tagged(answer, "span")
    if span is not None:
        return span
    # Only an answer that says nothing else: one that talks about NO_ANSWER may end either way.
    if answer and _NONE.fullmatch(answer):
        return NO_ANSWER
    raise Unreadable("the reply holds no whole quotation")


@lru_cache(maxsize=64)
def _system_prompt(version: str, wording: str, constrained: bool) -> str:
    return template(f"{version}.system.jinja").render(version=version, wording=wording, constrained=constrained)


@lru_cache(maxsize=16)
def _schema(max_span_chars: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"span": {"type": "string", "maxLength": max_span_chars}},
        "required": ["span"],
        "additionalProperties": False,
    }
