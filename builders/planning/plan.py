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
from dataclasses import asdict, astuple, dataclass, field, replace
from heapq import heappush, heapreplace
from math import ceil, sqrt
from statistics import NormalDist
from typing import Any, TypeAlias

from hf_relabel.builders.cascade.rules import Rule, first_candidates
from hf_relabel.builders.judges.protocols import Ask, BatchJudge, PromptJudge
from hf_relabel.builders.messages.counted import counted as counted_as
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.rows import NumberedRow, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.findings import free_findings
from hf_relabel.builders.sources.samples import content_hash

CHARACTERS_PER_TOKEN = 4.0
"""English text on the tokenizers of Llama, Qwen and GPT models; other languages need more tokens."""

ROWS_ESCALATED = 0.66
"""Share of rows that RLHN's stage 1 passes on (arXiv 2505.16967, Table 2)."""

CANDIDATES_ESCALATED = 0.15
"""Assumed share of candidates that stage 1 doubts: the paper gives none. 15 % is what the two audited sets that the
project is measured on hold; say your own where you know it."""

COMPLETION_TOKENS_PER_CANDIDATE = 40
"""Assumed length of a reply: a short line of reasoning per candidate."""

SAMPLED_PROMPTS = 200
"""Prompts whose tokens are counted."""

CONFIDENCE = 0.95

REGRESSED_ROWS = 30
"""Totals are estimated by regression from so many rows on; with fewer it would fit itself to chance."""

SURE = 0.99
"""Confidence at which a probe that goes on until the cost is known well enough stops."""

Range = tuple[float, float]

PerStage: TypeAlias = float | Mapping[str, float] | None
"""A number for all stages, or one for each by its name."""


@dataclass(frozen=True, slots=True)
class StageToPlan:
    """A judge as planning sees it. Prices are US dollars per million tokens.

    Attributes:
        judge: None for saved replies, which cost nothing.
        rule: how its stage hands over to the next.
        beside: it is asked about the same candidates as the one before it, as another judge of the same stage.
        constrained: whether its servers follow a JSON schema, which shows in the prompts.
    """

    name: str
    judge: PromptJudge | BatchJudge | None
    rule: Rule
    price_prompt: float = 0.0
    price_completion: float = 0.0
    beside: bool = False
    constrained: bool = True


@dataclass(slots=True)
class Usage:
    """What a judge is asked about some rows, and what that took. Tokens are 0 where nobody told them; `texts` are those
    that an offline judge encodes, as often as they are there."""

    rows: float = 0
    candidates: float = 0
    requests: float = 0
    characters: float = 0
    prompt_tokens: float = 0
    completion_tokens: float = 0
    texts: float = 0

    def times(self, factor: float) -> Usage:
        return Usage(*(factor * value for value in astuple(self)))

    def add_asks(self, asks: Sequence[Ask]) -> None:
        self.requests += len(asks)
        self.characters += sum(len(message.content) for ask in asks for message in ask.request.messages)


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a source finds.

    Attributes:
        rows: all rows.
        candidates: those that the first stage judges.
        stages: one for each judge; of later stages as if they were handed what is assumed.
        sample: rows drawn by a hash of their content, so that their order plays no part; in the order of that hash.
        escalated: the share that was assumed to go on from stage to stage; None for that of the rule.
    """

    rows: int
    candidates: float
    stages: tuple[Usage, ...]
    sample: tuple[NumberedRow, ...]
    escalated: float | None = None

    def drawn(self, rows: int) -> tuple[NumberedRow, ...]:
        """So many rows of the sample, in the order of the source. A larger draw holds every smaller one."""
        return tuple(sorted(self.sample[:rows], key=lambda numbered: numbered.number))

    def scaled(self, rows: int) -> Survey:
        """The same for a source of so many rows like these."""
        factor = rows / self.rows if self.rows else 0.0
        stages = tuple(usage.times(factor) for usage in self.stages)
        return replace(self, rows=rows, candidates=self.candidates * factor, stages=stages)


@dataclass(frozen=True, slots=True)
class TokenSample:
    """Tokens of some prompts of a judge.

    Attributes:
        tokenizer: who counted them.
        characters, tokens: one number per prompt.
    """

    tokenizer: str
    characters: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProbedRow:
    """What a row of the sample took for real.

    Attributes:
        candidates: those that the first stage judges.
        stages: one for each judge.
    """

    candidates: int
    stages: tuple[Usage, ...]


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one judge will take.

    Attributes:
        cost: US dollars; None without prices.
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
        unreached: servers that could not be reached, each with the reason: their tokens are counted without them.
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
    unreached: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The sums, and a line for each judge."""
        cost = "" if self.cost is None else f", {self.cost:,.2f} USD"
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
        shares = [None if limits is None else _share_off(value, limits) for value, limits in measured]
        wider = _normal(confidence) / _normal(CONFIDENCE)
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


def _share_off(value: float, limits: Range) -> float:
    return (limits[1] - value) / value if value else 0.0


def _normal(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


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


# Counting


def survey_source(
    source: Source, stages: Sequence[StageToPlan], *, keep: int = 0, seed: int = 0, escalated: float | None = None
) -> Survey:
    """Read a source once: count what each judge would be asked, and draw a sample.

    Args:
        keep: rows in the sample, which are held.
        seed: another one draws other rows.
        escalated: see `plan`.
    """
    rows = candidates = 0
    totals, draws = [Usage() for _ in stages], [_Draws() for _ in stages]
    heap: list[tuple[int, int, NumberedRow]] = []  # the row with the largest hash, which goes first, on top
    for numbered in source.rows():
        row, value = numbered.row, content_hash(numbered.row, seed)
        asked = first_candidates_of(row, stages)
        rows += 1
        candidates += len(asked)
        _add_row(totals, stages, row, asked, draws, escalated)
        if len(heap) < keep:
            heappush(heap, (-value, -numbered.number, numbered))
        elif keep and (-value, -numbered.number) > heap[0][:2]:
            heapreplace(heap, (-value, -numbered.number, numbered))
    sample = tuple(numbered for *_, numbered in sorted(heap, reverse=True))
    return Survey(rows, candidates, tuple(totals), sample, escalated)


def first_candidates_of(row: Row, stages: Sequence[StageToPlan]) -> list[int]:
    """The candidates that the first stage judges; none of a row that some judge exempts."""
    if any(stage.judge is not None and stage.judge.exempt(row) for stage in stages):
        return []
    return first_candidates(row, free_findings(row))


def asks_of(stage: StageToPlan, row: Row, positions: Sequence[int]) -> list[Ask]:
    """The prompts of a judge about some candidates; none of a judge that asks no server."""
    asks = getattr(stage.judge, "asks", None)
    if asks is None or not positions:
        return []
    found: list[Ask] = asks(row, positions, constrained=stage.constrained)
    return found


def _texts_of(stage: StageToPlan, row: Row, positions: Sequence[int]) -> int:
    """How many texts a judge encodes to judge some candidates."""
    texts = getattr(stage.judge, "texts", None)
    return int(texts(row, positions)) if texts is not None else 0


def _add_row(
    totals: Sequence[Usage],
    stages: Sequence[StageToPlan],
    row: Row,
    asked: list[int],
    draws: Sequence[_Draws],
    escalated: float | None,
) -> None:
    for number, (stage, total) in enumerate(zip(stages, totals, strict=True)):
        if number and not stage.beside:
            asked = _passed_on(asked, stages[number - 1].rule, draws[number], escalated)
        if asked:
            total.rows += 1
            total.candidates += len(asked)
            total.add_asks(asks_of(stage, row, asked))
            total.texts += _texts_of(stage, row, asked)


class _Draws:
    """Numbers from 0 to 1 that are spread evenly however few are drawn: the fractions of multiples of the golden
    ratio. Chance would make small plans differ from what is assumed."""

    def __init__(self) -> None:
        self._drawn = {"rows": 0, "candidates": 0}

    def below(self, share: float, what: str) -> bool:
        self._drawn[what] += 1
        return self._drawn[what] * 0.6180339887498949 % 1 < share


def _passed_on(asked: list[int], rule: Rule, draws: _Draws, escalated: float | None) -> list[int]:
    """What a stage hands over, if it is as assumed. Doubted candidates lie together: not every row has one."""
    share = _share(rule, escalated)
    if not asked:
        return []
    if rule.escalate == "row":
        return asked if draws.below(share, "rows") else []
    of_rows = max(share, ROWS_ESCALATED)
    if not draws.below(of_rows, "rows"):
        return []
    return [position for position in asked if draws.below(share / of_rows, "candidates")]


def _share(rule: Rule, escalated: float | None) -> float:
    if escalated is not None:
        return escalated
    return ROWS_ESCALATED if rule.escalate == "row" else CANDIDATES_ESCALATED


# Estimating


@dataclass(frozen=True, slots=True)
class _Estimate:
    """A total, and by how much each unit of the sample strays from what it was expected to take; None for a total that
    is a guess."""

    value: float
    strays: tuple[float, ...] | None

    def __add__(self, other: _Estimate) -> _Estimate:
        if self.strays is None or other.strays is None:
            return _Estimate(self.value + other.value, None)
        return _Estimate(self.value + other.value, tuple(a + b for a, b in zip(self.strays, other.strays, strict=True)))

    def times(self, factor: float) -> _Estimate:
        strays = None if self.strays is None else tuple(factor * stray for stray in self.strays)
        return _Estimate(factor * self.value, strays)

    def range(self, population: float) -> Range | None:
        """Where the total over `population` units is, by the normal distribution, which is fair from about 30 units
        on. No width where the sample is everything."""
        strays = self.strays
        if strays is None or len(strays) < 2:
            return None
        left_out = max(0.0, 1 - len(strays) / population) if population else 0.0
        variance = sum(stray * stray for stray in strays) / (len(strays) - 1)
        half = _normal(CONFIDENCE) * population * sqrt(left_out * variance / len(strays))
        return max(0.0, self.value - half), self.value + half


def _ratio(of: Sequence[float], by: Sequence[float], total: float) -> _Estimate:
    """The total of `of`, when that of `by` is known."""
    ratio = sum(of) / sum(by) if sum(by) else 0.0
    return _Estimate(ratio * total, tuple(one - ratio * other for one, other in zip(of, by, strict=True)))


def _regressed(of: Sequence[float], by: Sequence[Sequence[float]], totals: Sequence[float]) -> _Estimate:
    """The total of `of` as a linear function of several numbers of each unit, whose totals are known.

    The first of them is taken for the variance of a unit, as in a ratio estimate; where it is 0 a unit takes nothing.
    Strays are those that each unit has when it is left out (the jackknife): what a function was fitted to strays less.
    """
    import numpy as np

    values, known = np.asarray(of, dtype=np.float64), np.asarray(by, dtype=np.float64)
    root = np.sqrt(np.divide(1.0, known[:, 0], out=np.zeros(len(known)), where=known[:, 0] > 0))
    scale = np.abs(known).max(axis=0)
    scale[scale == 0] = 1.0
    left, sizes, right = np.linalg.svd(known / scale * root[:, None], full_matrices=False)
    used = sizes > 1e-9 * max(sizes[0], 1e-300)
    weights = right[used].T @ (left[:, used].T @ (values * root) / sizes[used])
    strays = values - known / scale @ weights
    own = (left[:, used] ** 2).sum(axis=1)
    strays = strays / np.maximum(1 - own, 1 / len(values))
    return _Estimate(max(0.0, float(np.asarray(totals) / scale @ weights)), tuple(strays.tolist()))


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
    prompt, completion, cost = (_Estimate(0.0, (0.0,) * len(probed)) for _ in range(3))
    planned = []
    for number, stage in enumerate(stages):
        first = all(other.beside for other in stages[1 : number + 1])
        if probed:
            totals = _measured(survey, number, probed, counted[number], first)
        else:
            totals = _assumed(survey, stages, number, counted[number], first)
        spent = totals.prompt.times(stage.price_prompt / 1e6) + totals.completion.times(stage.price_completion / 1e6)
        speed, hourly = _of_stage(tokens_per_second, stage), _of_stage(price_hour, stage)
        if speed and hourly:
            spent += (totals.prompt + totals.completion).times(hourly / speed / 3600)
        planned.append(_stage_plan(stage, totals, spent, survey.rows, speed, hourly))
        prompt, completion, cost = prompt + totals.prompt, completion + totals.completion, cost + spent
    priced = any(stage.cost is not None for stage in planned)
    hours = [stage.hours for stage in planned if stage.hours is not None]
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
    )


@dataclass(frozen=True, slots=True)
class _Totals:
    """The estimates of one judge."""

    usage: Usage
    prompt: _Estimate
    completion: _Estimate
    prompt_range: Range | None
    completion_range: Range | None
    basis: dict[str, str]


def _assumed(
    survey: Survey, stages: Sequence[StageToPlan], number: int, counted: TokenSample | None, first: bool
) -> _Totals:
    """From what the prompts are and what replies mostly are."""
    total, rule = survey.stages[number], stages[number - 1].rule
    prompt = _Estimate(total.characters / CHARACTERS_PER_TOKEN, None)
    prompt_range, prompt_basis = None, _GUESSED_PROMPTS
    if counted is not None:
        by_prompt = _ratio(counted.tokens, counted.characters, total.characters)
        prompt = _Estimate(by_prompt.value, None)
        # How much there is to send to a later stage is not known, however well its tokens are.
        prompt_range = by_prompt.range(total.requests) if first else None
        prompt_basis = f"{counted.tokenizer}, {counted_as(len(counted.tokens), 'prompt')}"
    completion = _guessed_completion(total)
    passed_on = f"assumed: {_share(rule, survey.escalated):.0%} of {rule.escalate}s are passed on"
    basis = {
        "requests": "counted" if first else passed_on,
        "prompt_tokens": prompt_basis,
        "completion_tokens": _GUESSED_COMPLETIONS,
    }
    return _Totals(total, prompt, completion, prompt_range, None, basis if total.requests else {})


def _measured(
    survey: Survey, number: int, probed: Sequence[ProbedRow], counted: TokenSample | None, first: bool
) -> _Totals:
    """From what the probed rows took. The first stage is counted over all rows, and only its tokens are estimated."""
    usages = [row.stages[number] for row in probed]

    def total_of(values: Sequence[float]) -> _Estimate:
        if len(probed) < REGRESSED_ROWS:
            return _ratio(values, [float(row.candidates) for row in probed], survey.candidates)
        return _regressed(values, [_known_of(row) for row in probed], _known_of_all(survey))

    whole = survey.stages[number]
    if not first:
        rows, asked = ([getattr(usage, name) for usage in usages] for name in ("rows", "candidates"))
        requests, characters = ([getattr(usage, name) for usage in usages] for name in ("requests", "characters"))
        whole = Usage(*(total_of(values).value for values in (rows, asked, requests, characters)))
    prompts, prompt_basis = _prompts_of(usages, counted)
    characters = [usage.characters for usage in usages]
    prompt = _ratio(prompts, characters, whole.characters) if first else total_of(prompts)
    if prompt_basis == _GUESSED_PROMPTS:
        prompt = _Estimate(prompt.value, None)
    completion, completion_basis = (
        total_of([usage.completion_tokens for usage in usages]),
        f"{counted_as(len(usages), 'row')} probed",
    )
    if not any(usage.completion_tokens for usage in usages):
        completion = _guessed_completion(whole) if whole.requests else completion
        completion_basis = _GUESSED_COMPLETIONS
    basis = {
        "requests": "counted" if first else f"{counted_as(len(usages), 'row')} probed",
        "prompt_tokens": prompt_basis,
        "completion_tokens": completion_basis,
    }
    prompt_range, completion_range = prompt.range(survey.rows), completion.range(survey.rows)
    return _Totals(whole, prompt, completion, prompt_range, completion_range, basis if whole.requests else {})


def _known_of(row: ProbedRow) -> tuple[float, float, float]:
    """What is counted of every row: its candidates, whether it has any, the characters of its first prompts."""
    return float(row.candidates), float(row.candidates > 0), row.stages[0].characters


def _known_of_all(survey: Survey) -> tuple[float, float, float]:
    first = survey.stages[0]
    return survey.candidates, first.rows, first.characters


def _prompts_of(usages: Sequence[Usage], counted: TokenSample | None) -> tuple[list[float], str]:
    """Prompt tokens of the probed rows: what the servers reported, else what a tokenizer makes of the characters."""
    if any(usage.prompt_tokens for usage in usages):
        return [usage.prompt_tokens for usage in usages], f"{counted_as(len(usages), 'row')} probed"
    if counted is None or not sum(counted.characters):
        return [usage.characters / CHARACTERS_PER_TOKEN for usage in usages], _GUESSED_PROMPTS
    per_character = sum(counted.tokens) / sum(counted.characters)
    return [
        usage.characters * per_character for usage in usages
    ], f"{counted.tokenizer}, {counted_as(len(counted.tokens), 'prompt')}"


_GUESSED_PROMPTS = f"assumed: {CHARACTERS_PER_TOKEN:g} characters per token"
_GUESSED_COMPLETIONS = f"assumed: {COMPLETION_TOKENS_PER_CANDIDATE} tokens per candidate"


def _guessed_completion(total: Usage) -> _Estimate:
    return _Estimate(total.candidates * COMPLETION_TOKENS_PER_CANDIDATE if total.requests else 0.0, None)


def _stage_plan(
    stage: StageToPlan,
    totals: _Totals,
    spent: _Estimate,
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
    )
