"""Planning: what a job will take, worked out before most of its requests are sent.

Three things are kept apart, and each plan says which is which: what was counted over all rows (rows, candidates, first
prompts), what was measured on a sample of them (tokens, replies, escalation), and what is merely assumed.

Totals measured on a sample are ratio estimates (W. G. Cochran, Sampling Techniques, 3rd ed., chapter 6): what the
sampled rows took for each candidate or character they have, times the candidates or characters of all rows. From 30
rows on they are regression estimates (chapter 7): a linear function of a row's candidates and of the characters of its
first prompts is fitted to the sample and summed over all rows, of which both are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any

from hf_relabel.builders.messages.counted import counted as counted_as
from hf_relabel.builders.messages.dollars import dollars
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.planning.counting import ProbedRow, StageToPlan, Survey, TokenSample, survey_source
from hf_relabel.builders.planning.estimating import (
    BATCH_PRICE,
    CONFIDENCE,
    SURE,
    PerStage,
    Range,
    TokenEstimate,
    normal,
    share_off,
)
from hf_relabel.builders.planning.totals import Totals, assumed, measured
from hf_relabel.builders.sources import Source


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one judge will take.

    Attributes:
        cost: US dollars; None without prices.
        batch_cost: the same by batch files at a service; None where it is not paid for by tokens.
        hours: None where the speed is not known.
        prompt_tokens_range, completion_tokens_range, cost_range: where the totals are with 95 % confidence; None for
            what nobody measured.
        basis: for requests, prompt tokens and completion tokens, where the number comes from.
        asks_server: False of a judge that computes or reads here: no requests, nothing to pay.
        texts: that such a judge encodes at most (the same text is encoded once); None where it encodes none.
    """

    name: str
    judge: str
    rows: int
    candidates: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    hours: float | None
    prompt_tokens_range: Range | None = None
    completion_tokens_range: Range | None = None
    cost_range: Range | None = None
    basis: dict[str, str] = field(default_factory=dict)
    asks_server: bool = True
    texts: int | None = None
    batch_cost: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, repr=False)
class JobPlan(Shown):
    """What a whole job will take.

    Attributes:
        rows: of the source, or so many as the plan was scaled to.
        probed: rows that were judged for real to learn what the others will take.
        stages: one for each judge.
        cost_range: None where a part of the cost is assumed.
        batch_cost: with `batch` instead of `judge`, at services that charge half for it; None where none of it is paid
            for by tokens.
        unreached: servers that could not be reached, each with the reason: their tokens are counted without them.
        fitted: judges whose prompts are split or cut to fit what their servers take, in a sentence each.
    """

    rows: int
    probed: int
    stages: tuple[StagePlan, ...]
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    hours: float | None
    prompt_tokens_range: Range | None = None
    completion_tokens_range: Range | None = None
    cost_range: Range | None = None
    batch_cost: float | None = None
    unreached: tuple[str, ...] = ()
    fitted: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The sums, and a line for each judge."""
        cost = "" if self.cost is None else f", {dollars(self.cost)} USD"
        hours = "" if self.hours is None else f", {self.hours:,.1f} hours"
        sums = f"{self.prompt_tokens:,} prompt and {self.completion_tokens:,} completion tokens{cost}{hours}"
        lines = [
            f"{stage.name}, {stage.judge}: {counted_as(stage.rows, 'row')},"
            f" {counted_as(stage.candidates, 'candidate')}, {counted_as(stage.requests, 'request')}."
            for stage in self.stages
        ]
        return "\n".join([f"{counted_as(self.rows, 'row')}: {sums}.", *lines])

    def off(self, confidence: float = CONFIDENCE) -> float | None:
        """By what share the cost may be off, without prices the tokens; None where a part of it is assumed."""
        if self.cost is not None:
            measured = [(self.cost, self.cost_range)]
        else:
            measured = [
                (self.prompt_tokens, self.prompt_tokens_range),
                (self.completion_tokens, self.completion_tokens_range),
            ]
        shares = [None if limits is None else share_off(value, limits) for value, limits in measured]
        wider = normal(confidence) / normal(CONFIDENCE)
        return None if None in shares else wider * max(share for share in shares if share is not None)

    def rows_to_probe(self, within: float) -> int:
        """So many rows must be probed, as far as this plan can tell, for `off(SURE)` to come down to `within`."""
        off = self.off(SURE)
        if off is None or off <= within or not self.probed:
            return self.probed
        left_out = 1 / self.probed - 1 / self.rows  # the variance is in proportion to it
        return min(self.rows, ceil(1.1 / (1 / self.rows + left_out * (within / off) ** 2)))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan(
    source: Source,
    stages: Sequence[StageToPlan],
    *,
    tokens_per_second: PerStage = None,
    price_hour: PerStage = None,
    escalated: float | None = None,
) -> list[StagePlan]:
    """Work out requests, tokens, cost and time of each stage from a dry run over the source. Asks nobody.

    Args:
        tokens_per_second: tokens (prompt and completion) the servers of a stage get through, of all stages or by name;
            None leaves time out.
        price_hour: US dollars that the servers of a stage cost in an hour, for your own ones; needs the speed.
        escalated: share passed from stage to stage, of rows or of candidates as the stage's rule says; None takes
            `ROWS_ESCALATED` or `CANDIDATES_ESCALATED`.
    """
    survey = survey_source(source, stages, escalated=escalated)
    planned = make_plan(survey, stages, tokens_per_second=tokens_per_second, price_hour=price_hour)
    return list(planned.stages)


def _of_stage(values: PerStage, stage: StageToPlan) -> float | None:
    """What was given for a judge's stage; the judges of a stage that has several share it."""
    return values.get(stage.name.partition(" #")[0]) if isinstance(values, Mapping) else values


def make_plan(
    survey: Survey,
    stages: Sequence[StageToPlan],
    *,
    tokens: Sequence[TokenSample | None] = (),
    probed: Sequence[ProbedRow] = (),
    rows: int | None = None,
    tokens_per_second: PerStage = None,
    price_hour: PerStage = None,
) -> JobPlan:
    """The plan that follows from what is known.

    Args:
        tokens: per judge, tokens of some of its prompts; without them they are guessed from characters.
        probed: what rows of the sample took for real; without them replies and escalation are assumed.
        rows: scale to a source of so many rows like these. Ranges do not cover how much those may differ.
        tokens_per_second, price_hour: see `plan`.
    """
    if rows is not None:
        survey = survey.scaled(rows)
    counted = list(tokens) or [None] * len(stages)
    prompt, completion, cost = (TokenEstimate(0.0, (0.0,) * len(probed)) for _ in range(3))
    planned = []
    for number, stage in enumerate(stages):
        first = all(other.beside for other in stages[1 : number + 1])
        if probed:
            totals = measured(survey, number, probed, counted[number], first)
        else:
            totals = assumed(survey, stages, number, counted[number], first)
        if getattr(stage.judge, "reranks", False):
            totals = totals.without_replies(len(probed), survey.rows)
        spent = totals.prompt.times(stage.price_prompt / 1e6) + totals.completion.times(stage.price_completion / 1e6)
        speed, hourly = _of_stage(tokens_per_second, stage), _of_stage(price_hour, stage)
        if speed and hourly:
            spent += (totals.prompt + totals.completion).times(hourly / speed / 3600)
        planned.append(_stage_plan(stage, totals, spent, survey.rows, speed, hourly))
        prompt, completion, cost = prompt + totals.prompt, completion + totals.completion, cost + spent
    priced = any(stage.cost is not None for stage in planned)
    hours = [stage.hours for stage in planned if stage.hours is not None]
    by_batch = [stage.cost if stage.batch_cost is None else stage.batch_cost for stage in planned]
    batched = any(stage.batch_cost is not None for stage in planned)
    return JobPlan(
        rows=survey.rows,
        probed=len(probed),
        stages=tuple(planned),
        prompt_tokens=round(prompt.value),
        completion_tokens=round(completion.value),
        cost=cost.value if priced else None,
        hours=sum(hours) if hours else None,
        prompt_tokens_range=prompt.range(survey.rows),
        completion_tokens_range=completion.range(survey.rows),
        cost_range=cost.range(survey.rows) if priced else None,
        batch_cost=sum(part or 0.0 for part in by_batch) if batched else None,
    )


def _stage_plan(
    stage: StageToPlan,
    totals: Totals,
    spent: TokenEstimate,
    population: int,
    tokens_per_second: float | None,
    price_hour: float | None,
) -> StagePlan:
    usage = totals.usage
    priced = bool(stage.price_prompt or stage.price_completion or (tokens_per_second and price_hour))
    hours = None
    if usage.requests and tokens_per_second:
        hours = (totals.prompt.value + totals.completion.value) / tokens_per_second / 3600
    return StagePlan(
        name=stage.name,
        judge=stage.judge.kind if stage.judge is not None else "saved-replies",
        rows=round(usage.rows),
        candidates=round(usage.candidates),
        requests=round(usage.requests),
        prompt_tokens=round(totals.prompt.value),
        completion_tokens=round(totals.completion.value),
        cost=spent.value if priced else None,
        hours=hours,
        prompt_tokens_range=totals.prompt_range,
        completion_tokens_range=totals.completion_range,
        cost_range=spent.range(population) if priced else None,
        basis=totals.basis,
        asks_server=hasattr(stage.judge, "asks"),
        texts=round(usage.texts) or None,
        batch_cost=BATCH_PRICE * spent.value if priced and not price_hour else None,
    )
