"""The pointwise judge: one candidate at a time, and a probability instead of a verdict.

The model is asked whether the candidate is relevant and at least as good as the ground truth, and its score is the
probability of Yes against No in the first token of its reply. Rubric, query and ground truth come first and the
candidate last, so the prompts of a row begin alike and a server that caches prefixes reads them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from hf_relabel.builders.endpoint import Message, Reply, Request
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.prompted.base import PromptedJudge, row_digest
from hf_relabel.builders.judges.prompted.label_probability import (
    first_token,
    label_masses,
    label_named,
    without_thoughts,
)
from hf_relabel.builders.judges.prompted.prompt_files import template
from hf_relabel.builders.judges.prompted.reply_parsing import Unreadable, split_reasoning
from hf_relabel.builders.judges.protocols import JSON, Ask
from hf_relabel.builders.judges.settings import check_number, check_thresholds
from hf_relabel.builders.rows import Row

ANSWERS = {"yes": ("Yes",), "no": ("No",)}
TOP_LOGPROBS = 5
"""Alternatives asked for: the most that TGI gives."""
SCORE_DIGITS = 6
MAX_TOKENS = 2
"""The first may be white space."""
_THINKS = (
    "the model was still thinking when its tokens were used up: turn its thinking off (enable_thinking: false for its"
    " server in a job file), give it more (max_tokens), or use the judge `listwise`"
)


@dataclass(frozen=True, eq=False, kw_only=True)
class PointwiseJudge(PromptedJudge):
    """Scores each candidate by the probability of Yes.

    Example:
            judge("train.jsonl", PointwiseJudge(better=0.7), "journal.sqlite", endpoint="http://127.0.0.1:8080")

    For chat models a list as JSON is the better question: published figures (November 2026) are .682 nDCG@10 for
    `listwise` against .608 for the first token's P(yes) of the same model, at less cost. This judge is for models that
    are no chat models, and where a score is needed.

    Attributes:
        better, worse: scores from which a candidate is labelled so. They are not calibrated; see hf_relabel's audits.
        min_mass: least probability that Yes and No have together; below, the model is saying something else, and the
            reply counts as unparsable.
        max_tokens: of the reply. As it is, a model that could think first is told not to; with more it may, and the
            label is read after its thoughts.

    The other settings are those of `PromptedJudge`. A server that gives no logprobs is read by its words alone: Yes is
    better, No is irrelevant, and there is no score.

    Raises:
        ConfigError: a setting is out of its range.
    """

    prompt: str = "pointwise-v1"
    better: float = 0.5
    worse: float = 0.2
    min_mass: float = 0.1
    max_tokens: int = MAX_TOKENS

    kind = "pointwise"

    def __post_init__(self) -> None:
        PromptedJudge.__post_init__(self)
        check_thresholds(self.better, self.worse)
        check_number("min_mass", self.min_mass, 0, 1)
        check_number("max_tokens", self.max_tokens, MAX_TOKENS, 1_000_000, whole=True)

    def _family(self) -> str:
        return "pointwise"

    def settings(self) -> dict[str, JSON]:
        thresholds = {"better": float(self.better), "worse": float(self.worse), "min_mass": float(self.min_mass)}
        # As it always was it is not said, so that judges of before are found again.
        room = {} if self.max_tokens == MAX_TOKENS else {"max_tokens": self.max_tokens}
        return {**PromptedJudge.settings(self), **thresholds, **room}

    def asks(self, row: Row, positions: Sequence[int], *, constrained: bool) -> list[Ask]:
        """One prompt for each position. They differ after the ground truth only."""
        row, left_out = self.fitting(row)
        digest = row_digest(row)
        # All negatives decide on the key of the fences, so that it does not depend on which of them are asked about.
        shown = self.shown(row, range(len(row.negative_passages)), digest)
        system = _system_prompt(self.version, self.wording_of(row))
        user = template(f"{self.version}.user.jinja")
        asks = []
        for position in dict.fromkeys(positions):
            title, text = shown.negatives[position]
            content = user.render(key=shown.key, query=shown.query, positives=shown.positives, title=title, text=text)
            request = Request(
                messages=(Message("system", system), Message("user", content)),
                max_tokens=self.max_tokens,
                temperature=0.0,
                top_logprobs=TOP_LOGPROBS,
                thinking=False if self.max_tokens == MAX_TOKENS else None,
            )
            asks.append(Ask(request, (position,), shown.cut_of([position]), positives_left_out=left_out))
        return asks

    def read(self, ask: Ask, reply: Reply) -> dict[int, Judgement]:
        (position,) = ask.positions
        label, score, problem = self._said(reply)
        return {
            position: Judgement(
                label, score, problem, reply.prompt_tokens, reply.completion_tokens, cut=position in ask.cut
            )
        }

    def _said(self, reply: Reply) -> tuple[Label, float | None, str]:
        try:
            token = first_token(without_thoughts(reply.logprobs))
            text = split_reasoning(reply.text)[1]
        except Unreadable:
            return Label.UNPARSABLE, None, _THINKS
        if token is None:
            said = label_named(text, ANSWERS)
            if said is None:
                return Label.UNPARSABLE, None, "the reply is neither Yes nor No"
            return (Label.BETTER if said == "yes" else Label.IRRELEVANT), None, ""
        masses = label_masses(token, ANSWERS)
        mass = masses["yes"] + masses["no"]
        if mass <= 0 or mass < self.min_mass:
            began = token.text.strip()[:40]
            return Label.UNPARSABLE, None, f"Yes and No have a probability of {mass:.3f} together; it began {began!r}"
        score = round(masses["yes"] / mass, SCORE_DIGITS)
        label = Label.BETTER if score >= self.better else Label.WORSE if score >= self.worse else Label.IRRELEVANT
        return label, score, ""


@lru_cache(maxsize=64)
def _system_prompt(version: str, wording: str) -> str:
    return template(f"{version}.system.jinja").render(version=version, wording=wording)
