"""Planning: what a job will take, worked out before any request is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hf_relabel.builders.cascade import Rule, first_candidates
from hf_relabel.builders.findings import free_findings
from hf_relabel.builders.judges.base import BatchJudge, PromptJudge
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources import Source

CHARACTERS_PER_TOKEN = 4.0
"""English text on the tokenizers of Llama, Qwen and GPT models; other languages need more tokens."""

ROWS_ESCALATED = 0.66
"""Share of rows that RLHN's stage 1 passes on (arXiv 2505.16967, Table 2)."""

CANDIDATES_ESCALATED = 0.15
"""Assumed share of candidates that stage 1 doubts: the paper gives none. 15 % is what the two audited sets that the
project is measured on hold; say your own where you know it."""

COMPLETION_TOKENS_PER_CANDIDATE = 40
"""Assumed length of a reply: a short line of reasoning per candidate."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one stage will take. Counts are exact for the first stage and estimates after it."""

    name: str
    judge: str
    rows: int
    candidates: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    hours: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StageToPlan:
    """A stage as planning sees it. Prices are US dollars per million tokens.

    Attributes:
        judge: None for saved replies, which cost nothing.
    """

    name: str
    judge: PromptJudge | BatchJudge | None
    rule: Rule
    price_prompt: float = 0.0
    price_completion: float = 0.0


@dataclass(slots=True)
class _Totals:
    rows: int = 0
    candidates: int = 0
    requests: int = 0
    characters: int = 0


def plan(
    source: Source,
    stages: Sequence[StageToPlan],
    *,
    tokens_per_second: float | None = None,
    escalated: float | None = None,
) -> list[StagePlan]:
    """Work out requests, tokens, cost and time of each stage from a dry run over the source.

    Args:
        tokens_per_second: tokens (prompt and completion) the servers of a stage get through; None leaves time out.
        escalated: share passed from stage to stage, of rows or of candidates as the stage's rule says; None takes
            `ROWS_ESCALATED` or `CANDIDATES_ESCALATED`.
    """
    totals = [_Totals() for _ in stages]
    for numbered in source.rows():
        for stage, total in zip(stages, totals, strict=True):
            _add_row(total, stage, numbered.row)
    plans = []
    share_of_requests, share_of_candidates = 1.0, 1.0
    for number, (stage, total) in enumerate(zip(stages, totals, strict=True)):
        if number:
            rule = stages[number - 1].rule
            share = escalated
            if share is None:
                share = ROWS_ESCALATED if rule.escalate == "row" else CANDIDATES_ESCALATED
            share_of_candidates *= share
            # Doubted candidates are spread over many rows, so requests shrink less than candidates do.
            share_of_requests *= share if rule.escalate == "row" else max(share, ROWS_ESCALATED)
        plans.append(_stage_plan(stage, total, share_of_requests, share_of_candidates, tokens_per_second))
    return plans


def _add_row(total: _Totals, stage: StageToPlan, row: Row) -> None:
    if stage.judge is None:
        return
    candidates = first_candidates(row, free_findings(row))
    if not candidates or stage.judge.exempt(row):
        return
    total.rows += 1
    total.candidates += len(candidates)
    asks = getattr(stage.judge, "asks", None)
    if asks is not None:
        for ask in asks(row, candidates, constrained=True):
            total.requests += 1
            total.characters += sum(len(message.content) for message in ask.request.messages)


def _stage_plan(
    stage: StageToPlan,
    total: _Totals,
    share_of_requests: float,
    share_of_candidates: float,
    tokens_per_second: float | None,
) -> StagePlan:
    asks_a_server = total.requests > 0
    candidates = round(total.candidates * share_of_candidates)
    # A prompt is mostly its candidates, so its length shrinks with them.
    prompt_tokens = round(total.characters * share_of_candidates / CHARACTERS_PER_TOKEN)
    completion_tokens = candidates * COMPLETION_TOKENS_PER_CANDIDATE if asks_a_server else 0
    priced = stage.price_prompt or stage.price_completion
    cost = (prompt_tokens * stage.price_prompt + completion_tokens * stage.price_completion) / 1e6 if priced else None
    hours = None
    if asks_a_server and tokens_per_second:
        hours = (prompt_tokens + completion_tokens) / tokens_per_second / 3600
    return StagePlan(
        name=stage.name,
        judge=stage.judge.kind if stage.judge is not None else "saved-replies",
        rows=round(total.rows * share_of_requests),
        candidates=candidates,
        requests=round(total.requests * share_of_requests),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost=cost,
        hours=hours,
    )
