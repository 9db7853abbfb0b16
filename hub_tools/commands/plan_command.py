"""`hf relabel plan`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.dollars import dollars
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.messages.text_table import fitted, text_table
from hf_relabel.hub_tools.commands.common import NumberIn, json_option, print_json
from hf_relabel.hub_tools.commands.interrupting import goes_on, kept_in
from hf_relabel.hub_tools.commands.judge_options import job_options, job_settings
from hf_relabel.hub_tools.commands.plan_cascade import Asked, cascade_options, show_cascade
from hf_relabel.hub_tools.commands.progress import progress_bar
from hf_relabel.hub_tools.commands.spelling import respelt_here
from hf_relabel.hub_tools.hub.redaction import safe_url

if TYPE_CHECKING:
    from hf_relabel.builders.job.job_file import Job
    from hf_relabel.builders.planning.estimating import PerStage, Range
    from hf_relabel.builders.planning.plan import JobPlan, StagePlan

EPILOG = """\b
Examples:
  hf relabel plan train.jsonl --endpoint http://127.0.0.1:8080
  hf relabel plan user/repo --stages rlhn-two-stage --set stage1_url=http://a --set stage2_url=http://b --probe 150
  hf relabel plan train.jsonl --endpoint http://127.0.0.1:8080 --price-prompt 0.15 --price-completion 0.6 --within 0.05
  hf relabel plan train.jsonl --endpoint http://127.0.0.1:8080 --tokens-per-second 20000 --rows 10_000_000
  hf relabel plan user/repo --sample 1% --stages rlhn-two-stage --rows 680_000 \\
    --tokens-per-second cheap=40000 --tokens-per-second accurate=6000 --price-hour cheap=4 --price-hour accurate=16

\b
Stages and thresholds that hold a precision, from a pilot that every stage judges and people label:
  hf relabel plan train.jsonl --stages cascade.yaml --probe 400 --every-stage --journal pilot.sqlite
  hf relabel audit sample train.jsonl --journal pilot.sqlite --size 1000 --out audit
  hf relabel plan train.jsonl --stages cascade.yaml --precision 0.95 --budget 50 --pilot pilot.sqlite \\
    --audit audit --answers audit/answers.csv --write job.yaml
  hf relabel run job.yaml"""

FEWEST_PROBED = 30
"""With fewer rows a range would promise too much."""


@click.command("plan", epilog=EPILOG)
@job_options("Where a probe's judgements go.")
@click.option(
    "--probe",
    type=click.IntRange(min=FEWEST_PROBED),
    metavar="ROWS",
    help="Judge so many rows for real, drawn by chance, to measure what replies and escalation take. This costs money.",
)
@click.option(
    "--within",
    type=NumberIn(0.001, 0.5),
    metavar="SHARE",
    help="Judge as many rows for real as it takes to know the cost to this share (0.05 for 5 %), 2,000 at most, or"
    " --probe ROWS. Without prices: both kinds of tokens.",
)
@click.option("--rows", type=click.IntRange(min=1), help="Scale to so many rows like these.")
@click.option(
    "--tokens-per-second",
    multiple=True,
    metavar="[STAGE=]NUMBER",
    help="Tokens the servers of a stage get through, to work out hours. May be repeated, once for each stage.",
)
@click.option(
    "--price-hour",
    multiple=True,
    metavar="[STAGE=]USD",
    help="What your own servers of a stage cost in an hour, to work out their part of the cost. May be repeated.",
)
@click.option("--escalated", type=NumberIn(0, 1), help="Share that goes on to the next stage, if you know it.")
@cascade_options
@json_option
def command(
    probe: int | None,
    within: float | None,
    rows: int | None,
    tokens_per_second: tuple[str, ...],
    price_hour: tuple[str, ...],
    escalated: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Work out requests, tokens, cost and time of judging SOURCE.

    The servers are asked who they are and how many tokens some of the prompts have, and nothing else; one that cannot
    be reached is done without and named. Replies and what goes on to later
    stages are assumed, unless --probe or --within measures them on some rows; what is judged then is kept, and judging
    finds it there.

    With --precision the plan is a cascade: which stages to take and by which thresholds, so that what is relabelled is
    as precise on rows that nobody labelled (Learn then Test, arXiv 2110.01052), as much as possible is found, and the
    cost keeps within --budget. It is chosen from a pilot, which --probe with --every-stage makes, and labels of it: of
    people (--audit, --answers) or of a truth file (--truth). Where they back nothing it says so, and how many more
    would do; with --write the exit code is then 2.
    """
    asked = Asked.taken(options)
    job = job_settings(options)
    if asked.anything:
        asked.check_alone(
            within=within, tokens_per_second=tokens_per_second, price_hour=price_hour, escalated=escalated
        )
        show_cascade(job, asked, as_json, probe=probe or 0, rows=rows)
        return
    show_plan(
        job,
        as_json,
        probe=probe or 0,
        within=within,
        rows=rows,
        tokens_per_second=per_stage("--tokens-per-second", tokens_per_second),
        price_hour=per_stage("--price-hour", price_hour),
        escalated=escalated,
    )


def per_stage(option: str, given: Sequence[str]) -> PerStage:
    """`20000` for all stages, or `cheap=20000` and `accurate=4000`.

    Raises:
        ConfigError: it is no number, or both forms are mixed.
    """
    numbers: dict[str, float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            numbers[name] = float(number.replace("_", ""))
        except ValueError:
            raise ConfigError(f"{option} takes a number, or STAGE=NUMBER, not {text!r}.") from None
    if "" in numbers and len(given) > 1:
        raise ConfigError(f"{option}: give one number for all stages, or STAGE=NUMBER for each.")
    return numbers.get("", numbers) or None


def show_plan(
    job: Job,
    as_json: bool,
    *,
    probe: int = 0,
    within: float | None = None,
    rows: int | None = None,
    tokens_per_second: PerStage = None,
    price_hour: PerStage = None,
    escalated: float | None = None,
) -> None:
    """Print the plan of a job."""
    from hf_relabel.builders.journal.store import journal_for_judging
    from hf_relabel.hub_tools.commands.live import judging_progress
    from hf_relabel.hub_tools.judging.assemble import source_of, stages_of
    from hf_relabel.hub_tools.judging.plan import plan_job

    probes = bool(probe) or within is not None
    with (
        goes_on(partial(kept_in, job.journal)) if probes else nullcontext(),
        journal_for_judging(job.journal) if probes else nullcontext() as journal,
        judging_progress(probe or None) if probes else progress_bar(_asking(job), "") as shown,
    ):
        plan = plan_job(
            source_of(job.source),
            stages_of(job),
            probe=probe,
            within=within,
            journal=journal,
            seed=job.source.sample_seed,
            rows=rows,
            tokens_per_second=tokens_per_second,
            price_hour=price_hour,
            escalated=escalated,
            progress=shown if probes else False,
        )
    if as_json:
        print_json(plan.to_dict())
        return
    _print(plan, within)


def _asking(job: Job) -> str:
    """What a plan without a probe does, and whom it may wait for."""
    servers = dict.fromkeys(endpoint.url for stage in job.stages for endpoint in stage.endpoints)
    asking = f", then asking {', '.join(map(safe_url, servers))} how many tokens they have" if servers else ""
    return f"reading rows{asking}"


def _print(plan: JobPlan, within: float | None) -> None:
    if not any(stage.asks_server for stage in plan.stages):
        _print_offline(plan)
        return
    header = ["stage", "judge", "rows", "candidates", "requests", "prompt tokens", "completion tokens", "USD", "hours"]
    click.echo(text_table([_line(stage) for stage in plan.stages], headers=header, intfmt=",", stralign="right"))
    ranges = " In brackets: 95 % ranges." if plan.prompt_tokens_range else ""
    probed = f", {plan.probed:,} of them probed" if plan.probed else ""
    click.echo(f"\n{counted(plan.rows, 'row')}{probed}.{ranges}")
    whole = "{:,.0f}".format
    click.echo(f"  prompt tokens      {plan.prompt_tokens:,}{_within(plan.prompt_tokens_range, whole)}")
    click.echo(f"  completion tokens  {plan.completion_tokens:,}{_within(plan.completion_tokens_range, whole)}")
    if plan.cost is not None:
        click.echo(f"  USD                {dollars(plan.cost)}{_within(plan.cost_range, dollars)}")
    if plan.batch_cost is not None:
        click.echo(f"  USD by batch files {dollars(plan.batch_cost)}, where a service has them at half the price")
    if plan.hours is not None:
        click.echo(f"  hours              {plan.hours:,.1f}")
    off = plan.off()
    if within is not None and off is not None:
        what = "The cost is" if plan.cost is not None else "Tokens are"
        short = (
            ""
            if off <= within
            else f"; to know it to {within:.1%} takes about {counted(plan.rows_to_probe(within), 'row')}"
        )
        click.echo(f"{what} known to {off:.1%} (95 %){short}.")
    for note in _what_is_missing(plan):
        click.echo(fitted(respelt_here(note)))
    for stage in plan.stages:
        for name, basis in stage.basis.items():
            click.echo(fitted(f"{stage.name}: {name.replace('_', ' ')}: {basis}"))
    for note in plan.fitted:
        click.echo(fitted(note))
    for reason in plan.unreached:
        click.echo(fitted(f"Not reached: {reason.rstrip('.')}. This plan is made without that server."))


def _what_is_missing(plan: JobPlan) -> list[str]:
    """Why a column has no number, and what gives it one."""
    asking = [stage for stage in plan.stages if stage.asks_server]
    notes = []
    if any(stage.cost is None for stage in asking):
        notes.append(
            f"USD -: no price is known. Give {argument('price_prompt')} and {argument('price_completion')} (US dollars"
            f" per million tokens). For servers of your own: `{program()} plan` with --price-hour USD."
        )
    if any(stage.hours is None for stage in asking):
        notes.append(f"hours -: no speed is known. Give `{program()} plan` --tokens-per-second NUMBER.")
    return notes


def _print_offline(plan: JobPlan) -> None:
    """A plan in which nobody asks a server."""
    header = ["stage", "judge", "rows", "candidates", "texts to encode"]
    lines = [[stage.name, stage.judge, stage.rows, stage.candidates, stage.texts or "-"] for stage in plan.stages]
    click.echo(text_table(lines, headers=header, intfmt=",", stralign="right"))
    click.echo(f"\n{counted(plan.rows, 'row')}. No requests and nothing to pay: the work is done on this machine.")
    if any(stage.texts for stage in plan.stages):
        click.echo("texts to encode: at most; a text that is there several times is encoded once.")


def _line(stage: StagePlan) -> list[Any]:
    numbers: list[Any] = [stage.rows, stage.candidates]
    asked = [stage.requests, stage.prompt_tokens, stage.completion_tokens]
    numbers += asked if stage.asks_server else ["-"] * len(asked)
    cost = "-" if stage.cost is None else dollars(stage.cost)
    return [stage.name, stage.judge, *numbers, cost, "-" if stage.hours is None else f"{stage.hours:,.1f}"]


def _within(limits: Range | None, written: Callable[[float], str]) -> str:
    return "" if limits is None else f" [{written(limits[0])} to {written(limits[1])}]"
