"""Plans that ask the servers: how they count tokens and, on request, what a sample of the rows takes for real."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from hf_relabel.builders.cascade.judged_in_run import JudgedRow
from hf_relabel.builders.cascade.run_stages import run_settings
from hf_relabel.builders.cascade.verdicts import judged_rows
from hf_relabel.builders.endpoint import Endpoint, EndpointError, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.prompted.fitting_context import Fitted, fitted
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.builders.judges.protocols import BatchJudge, PromptJudge
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.planning.counting import (
    SAMPLED_PROMPTS,
    ProbedRow,
    StageToPlan,
    Survey,
    TokenSample,
    Usage,
    asks_of,
    first_candidates_of,
    survey_source,
)
from hf_relabel.builders.planning.estimating import PerStage
from hf_relabel.builders.planning.plan import JobPlan, make_plan
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.subsets import exempt_of
from hf_relabel.hub_tools.calls import progress_bars as bars
from hf_relabel.hub_tools.calls.coroutines import run_coroutine
from hf_relabel.hub_tools.calls.given import AnyJournal, AnySource, as_journal, as_source
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.endpoints.tokens import by_characters, token_counter
from hf_relabel.hub_tools.judging.adapting import info_of, room_of, sendings
from hf_relabel.hub_tools.judging.identities import identify
from hf_relabel.hub_tools.judging.run import judge_stages
from hf_relabel.hub_tools.judging.stage_report import Progress
from hf_relabel.hub_tools.judging.stages import Judges, Member, Servers, Stage, as_stages, exempt_subsets, is_batch

FIRST_PROBED = 50
"""Rows of the first round of a probe that goes on until the cost is known."""

ANSWER_SECONDS = 5.0
"""For a server to say who it is. A plan is worth having without."""

MOST_PROBED = 2_000
"""Rows such a probe judges at most, unless told otherwise. They are held in memory."""


def plan(
    source: AnySource,
    stages: Judges | Sequence[Judges],
    *,
    endpoint: Servers | Sequence[Servers] | None = None,
    model: str | None = None,
    limits: Limits | None = None,
    probe: int = 0,
    within: float | None = None,
    journal: AnyJournal | None = None,
    seed: int = 0,
    prompts: int = SAMPLED_PROMPTS,
    rows: int | None = None,
    tokens_per_second: PerStage = None,
    price_hour: PerStage = None,
    escalated: float | None = None,
    progress: Progress | bool | None = True,
) -> JobPlan:
    """Work out what judging a source will take, counting tokens as the servers do.

    Without a probe the servers are asked only who they are and how many tokens some prompts have; one that cannot be
    reached is done without.

    Example:
            from hf_relabel import Limits, plan

            prices = Limits(price_prompt=0.15, price_completion=0.6)  # US dollars per million tokens
            found = plan("train.jsonl", "listwise", endpoint="http://127.0.0.1:8080", limits=prices)
            print(found.prompt_tokens, found.cost)

            # judge as many rows for real as it takes to know the cost to 5 %; judging finds them in the journal
            plan("train.jsonl", "listwise", endpoint="http://127.0.0.1:8080", within=0.05, journal="journal.sqlite")

    Args:
        source, stages, endpoint, model, limits: as for `judge`.
        probe: judge so many rows for real, through all stages, to measure replies and escalation. 0 judges none.
        within: judge as many rows as it takes to know the cost to this share (0.05 for 5 %; without prices both kinds
            of tokens) with 99 % confidence, but no more than `probe` or 2,000.
        journal: where those judgements go, so that the run itself finds them; needed for a probe.
        seed: another one samples other rows.
        prompts: of each judge, how many prompts to count the tokens of.
        rows: scale to a source of so many rows like these.
        tokens_per_second: tokens (prompt and completion) the servers of a stage get through, of all stages or by name;
            None leaves time out.
        price_hour: US dollars that the servers of a stage cost in an hour, for your own ones; needs the speed.
        escalated: share passed from stage to stage; not together with a probe, which measures it.
        progress: while the sample is judged, as for `judge`.

    Raises:
        ConfigError: a probe has no journal, `escalated` is given beside it, or a number is for a stage that is not
            there.
        JudgingStopped, EndpointError: the sample cannot be judged. What was judged is in the journal.
        SourceError, BadRow: the source cannot be opened or read.
    """
    ready, opened = as_stages(stages, endpoint=endpoint, model=model, limits=limits), as_source(source)
    most = probe or (0 if within is None else MOST_PROBED)
    _check_probe(most, within, journal, escalated)
    _check_speeds(ready, tokens_per_second, price_hour)
    unreached = run_coroutine(_unreached(ready))
    to_plan = stages_to_plan(ready)
    survey = survey_source(opened, to_plan, keep=max(most, prompts), seed=seed, escalated=escalated)

    def planned(probing: int) -> JobPlan:
        probed: list[ProbedRow] = []
        if probing and journal is not None:
            sample = _some_of(opened, survey, probing, seed)
            with as_journal(journal) as kept, bars.judging(progress) as show:
                probed = _probe(sample, ready, to_plan, kept, show)
        missing = {} if probed else unreached
        tokens = run_coroutine(_count_tokens(survey, ready, to_plan, prompts, probed, missing))
        found = make_plan(
            survey,
            to_plan,
            tokens=tokens,
            probed=probed,
            rows=rows,
            tokens_per_second=tokens_per_second,
            price_hour=price_hour,
        )
        return replace(found, unreached=tuple(missing.values()), fitted=tuple(_fitted_notes(survey, to_plan)))

    return planned(most) if within is None else _until_known(planned, min(most, survey.rows), within)


plan_job = plan
"""The same, where `plan` names a plan."""


def _check_probe(most: int, within: float | None, journal: AnyJournal | None, escalated: float | None) -> None:
    if within is not None and not 0 < within < 1:
        raise ConfigError(f"within: expected a share between 0 and 1, such as 0.05, found {within!r}.")
    if most and journal is None:
        raise ConfigError("A probe judges rows for real and needs a journal to keep what they say.")
    if most and escalated is not None:
        raise ConfigError("A probe measures what goes on to the next stage: leave out either the probe or the share.")


def _check_speeds(stages: Sequence[Stage], tokens_per_second: PerStage, price_hour: PerStage) -> None:
    _check_stages(stages, tokens_per_second, "tokens per second")
    _check_stages(stages, price_hour, "price of an hour")
    if price_hour is not None and tokens_per_second is None:
        raise ConfigError("The price of an hour says nothing without the speed: give the tokens per second too.")


def _check_stages(stages: Sequence[Stage], values: PerStage, what: str) -> None:
    names = [stage.name for stage in stages]
    given = values if isinstance(values, Mapping) else dict.fromkeys(names, values)
    if unknown := sorted(given.keys() - set(names)):
        raise ConfigError(f"{what}: there is no stage {unknown[0]!r}. There are: {', '.join(names)}.")
    if bad := [value for value in given.values() if value is not None and not value > 0]:
        raise ConfigError(f"{what}: expected a number above 0, found {bad[0]!r}.")


def stages_to_plan(stages: Sequence[Stage]) -> list[StageToPlan]:
    """The judges of some stages as planning sees them, in the order and by the names of their reports."""
    planned = []
    for stage in stages:
        for number, member in enumerate(stage.members):
            planned.append(
                StageToPlan(
                    name=f"{stage.name} #{number + 1}" if stage.others else stage.name,
                    judge=_to_plan(member),
                    rule=stage.rule,
                    price_prompt=member.limits.price_prompt,
                    price_completion=member.limits.price_completion,
                    beside=number > 0,
                    constrained=all(endpoint.constrains for endpoint in member.endpoints),
                )
            )
    return planned


def _to_plan(member: Member) -> PromptJudge | BatchJudge | None:
    """The judge, with prompts that its servers have room for."""
    if isinstance(member.judge, SavedRepliesJudge):
        return None
    return member.judge if is_batch(member.judge) else fitted(member.judge, room_of(member.endpoints))


def _fitted_notes(survey: Survey, to_plan: Sequence[StageToPlan]) -> Iterator[str]:
    """For each judge whose prompts are split or cut to fit its servers, how many rows that is."""
    exempt = exempt_of(stage.judge for stage in to_plan)
    for stage in to_plan:
        if not isinstance(stage.judge, Fitted):
            continue
        rows = [numbered.row for numbered in survey.sample]
        asked = [(row, first_candidates_of(row, exempt)) for row in rows]
        long = [stage.judge.is_changed(row, of, constrained=stage.constrained) for row, of in asked if of]
        if any(long):
            yield (
                f"{stage.name}: its server takes {stage.judge.room.describe()}, prompt and reply together: the prompts"
                f" of {sum(long):,} of {counted(len(rows), 'sampled row')} are split, or cut where one candidate is too"
                " long."
            )


# Probing


def _until_known(planned: Callable[[int], JobPlan], most: int, within: float) -> JobPlan:
    """The plan after as many rows as it takes to know the cost to a share.

    Args:
        planned: the plan after so many rows; those probed before are in the journal.
        most: rows.
    """
    found = planned(min(FIRST_PROBED, most))
    while found.probed < (wanted := min(most, found.rows_to_probe(within))):
        found = planned(wanted)
    return found


@dataclass
class SomeRows(Source):
    """Some rows of a source, held."""

    kept: tuple[NumberedRow, ...] = ()
    seed: int = 0

    def rows(self) -> Iterator[NumberedRow]:
        return iter(self.kept)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"sample": {"total": len(self.kept), "seed": self.seed}}


def _some_of(source: Source, survey: Survey, rows: int, seed: int) -> SomeRows:
    given = {each.name: getattr(source, each.name) for each in fields(Source)}
    return SomeRows(**given, kept=survey.drawn(rows), seed=seed)


def _probe(
    sample: SomeRows,
    stages: Sequence[Stage],
    to_plan: Sequence[StageToPlan],
    journal: Journal,
    progress: Progress | None,
) -> list[ProbedRow]:
    """Judge the sample, then read in the journal what each of its rows took, which it may have known before."""
    run_stages = [identify(stage, journal) for stage in stages]
    judge_stages(sample, stages, run_stages, journal, retry_failed=False, progress=progress)
    run = run_settings(sample, run_stages, exempt_subsets(stages))  # not recorded: a probe is no run to build from
    return [_usage_of(judged, to_plan) for judged in judged_rows(sample, journal, run)]


def _usage_of(judged: JudgedRow, to_plan: Sequence[StageToPlan]) -> ProbedRow:
    row = judged.numbered.row
    pairs = [pair for view in judged.views for pair in zip(view.keys, view.said, strict=True)]
    usages = [Usage() for _ in to_plan]
    for stage, usage, (keys, said) in zip(to_plan, usages, pairs, strict=False):
        # The same text twice is asked once.
        positions = list({key: position for position, key in reversed(keys.items())}.values())
        if not positions:
            continue
        usage.rows, usage.candidates = 1, len(positions)
        usage.add_asks(asks_of(stage, row, positions))
        answers = [said[position] for position in positions if position in said]
        usage.prompt_tokens = sum(answer.prompt_tokens or 0 for answer in answers)
        usage.completion_tokens = sum(answer.completion_tokens or 0 for answer in answers)
    return ProbedRow(len(first_candidates_of(row, exempt_of(stage.judge for stage in to_plan))), tuple(usages))


# Tokens


async def _unreached(stages: Sequence[Stage]) -> dict[str, str]:
    """The servers of all judges that gave no answer at all, each with the reason."""
    servers = {endpoint.name: endpoint for stage in stages for member in stage.members for endpoint in member.endpoints}
    asked = {name: endpoint for name, endpoint in servers.items() if name.startswith(("http://", "https://"))}
    said = await asyncio.gather(*map(_why_unreached, asked.values()))
    for endpoint in (endpoint for stage in stages for member in stage.members for endpoint in member.endpoints):
        for sending in sendings([endpoint] if endpoint.name in asked else []):
            sending.room = room_of([asked[endpoint.name]])
    return {name: reason for name, reason in zip(asked, said, strict=True) if reason is not None}


async def _why_unreached(endpoint: Endpoint) -> str | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await info_of(endpoint)
    except TimeoutError:
        return f"{endpoint.name}: no answer within {ANSWER_SECONDS:g} s"
    except EndpointError as error:
        return str(error) if error.status is None else None
    finally:
        await endpoint.close()
    return None


async def _count_tokens(
    survey: Survey,
    stages: Sequence[Stage],
    to_plan: Sequence[StageToPlan],
    prompts: int,
    probed: Sequence[ProbedRow],
    unreached: Container[str],
) -> list[TokenSample | None]:
    members = [member for stage in stages for member in stage.members]
    counted: list[TokenSample | None] = []
    for number, (member, stage) in enumerate(zip(members, to_plan, strict=True)):
        told = any(row.stages[number].prompt_tokens for row in probed)
        requests = [] if told else _prompts(survey, stage, to_plan, prompts)
        reached = [endpoint for endpoint in member.endpoints if endpoint.name not in unreached]
        counted.append(await _tokens_of(requests, reached, member.model) if requests else None)
    return counted


def _prompts(survey: Survey, stage: StageToPlan, to_plan: Sequence[StageToPlan], most: int) -> list[Request]:
    """The prompts of the sampled rows, at most so many."""
    requests: list[Request] = []
    exempt = exempt_of(planned.judge for planned in to_plan)
    for numbered in survey.sample:  # in the order of their hash, so that the first are no favourites
        asked = first_candidates_of(numbered.row, exempt)
        requests += [ask.request for ask in asks_of(stage, numbered.row, asked)]
    return requests[:most]


async def _tokens_of(requests: list[Request], endpoints: Sequence[Endpoint], model: str | None) -> TokenSample | None:
    """What the judge's first server, or its model's tokenizer, makes of the prompts; None where nobody can tell."""
    endpoint = endpoints[0] if endpoints else None
    try:
        counter = await token_counter(endpoint, model)
        if counter.name == by_characters().name:
            return None
        counts = await counter.count(requests)
    except EndpointError:
        return None  # a plan is worth having without
    finally:
        if endpoint is not None:
            await endpoint.close()
    return TokenSample(counter.name, tuple(request.characters for request in requests), tuple(counts))
