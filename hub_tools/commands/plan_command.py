"""`hf relabel plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hf_relabel.hub_tools.commands.common import (
    json_option,
    print_json,
    source_options,
    source_settings,
    stage_options,
    stage_settings,
)

if TYPE_CHECKING:
    from hf_relabel.builders.job import Job

EPILOG = """\b
Examples:
  hf relabel plan train.jsonl --endpoint http://127.0.0.1:8080
  hf relabel plan user/repo --stages rlhn-two-stage --set stage1_url=http://a --set stage2_url=http://b
  hf relabel plan train.jsonl --endpoint http://127.0.0.1:8080 --price-prompt 0.15 --price-completion 0.6
  hf relabel plan train.jsonl --endpoint http://127.0.0.1:8080 --tokens-per-second 20000"""


@click.command("plan", epilog=EPILOG)
@source_options
@stage_options
@click.option("--tokens-per-second", type=float, help="Tokens the servers of a stage get through, to work out hours.")
@click.option("--escalated", type=click.FloatRange(0, 1), help="Share that goes on to the next stage, if you know it.")
@json_option
def command(tokens_per_second: float | None, escalated: float | None, as_json: bool, **options: Any) -> None:
    """Work out requests, tokens, cost and time of judging SOURCE. Sends nothing.

    The first stage is counted from the real prompts (4 characters to a token); later stages depend on what the first
    one will say and are estimates.
    """
    from hf_relabel.builders.job import Job

    job = Job(source=source_settings(options), stages=stage_settings(options))
    show_plan(job, as_json, tokens_per_second=tokens_per_second, escalated=escalated)


def show_plan(
    job: Job, as_json: bool, *, tokens_per_second: float | None = None, escalated: float | None = None
) -> None:
    """Print the plan of a job."""
    from hf_relabel.builders.planning import plan
    from hf_relabel.hub_tools.assembly import source_of, stages_to_plan

    plans = plan(source_of(job.source), stages_to_plan(job), tokens_per_second=tokens_per_second, escalated=escalated)
    if as_json:
        print_json([stage.to_dict() for stage in plans])
        return
    from tabulate import tabulate

    header = ["stage", "judge", "rows", "candidates", "requests", "prompt tokens", "completion tokens", "USD", "hours"]
    table = [
        [*list(stage.to_dict().values())[:7], _or_dash(stage.cost, "{:,.2f}"), _or_dash(stage.hours, "{:,.1f}")]
        for stage in plans
    ]
    click.echo(tabulate(table, headers=header, intfmt=",", stralign="right"))
    if len(plans) > 1:
        click.echo("\nStages after the first are estimates: they depend on what the first one says.")


def _or_dash(value: float | None, layout: str) -> str:
    return "-" if value is None else layout.format(value)
