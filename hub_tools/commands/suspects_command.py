"""`hf relabel suspects`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.hub_tools.commands.common import json_option, print_json
from hf_relabel.hub_tools.commands.interrupting import goes_on, kept_in
from hf_relabel.hub_tools.commands.judge_options import job_options, job_settings, retry_failed_option
from hf_relabel.hub_tools.commands.live import judging_progress, rows_expected

if TYPE_CHECKING:
    from hf_relabel.builders.cascade.suspects import Suspect
    from hf_relabel.builders.job.job_file import Job
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.builders.sources import Source
    from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Budget

EPILOG = """\b
Examples:
  hf relabel suspects train.jsonl --judge similarity
  hf relabel suspects user/repo --subset nq --endpoint http://127.0.0.1:8080
  hf relabel suspects train.jsonl --stages job.yaml --json"""

MOST_SHOWN = 20


@click.command("suspects", epilog=EPILOG)
@job_options("Where judgements are.")
@click.option(
    "--several",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="So many candidates must be ranked above a ground truth.",
)
@retry_failed_option
@json_option
def command(several: int, retry_failed: bool, as_json: bool, **options: Any) -> None:
    """Find ground truths of SOURCE that no judge stands by.

    The judges see the ground truths among the candidates, without being told. Suspects are reported, never changed;
    `build` with the same journal writes them to a config of their own.
    """
    from hf_relabel.builders.job.stages import SuspectsSettings
    from hf_relabel.builders.journal.store import journal_for_judging
    from hf_relabel.hub_tools.judging.assemble import source_of

    job = job_settings(options, suspects=SuspectsSettings(several=several))
    source = source_of(job.source)
    with goes_on(partial(kept_in, job.journal)), journal_for_judging(job.journal) as journal:
        run_step(job, source, journal, retry_failed=retry_failed)
        found = found_suspects(source, journal)
        if as_json:
            print_json([suspect.to_dict() for suspect in found])
        else:
            show_suspects(found)


def run_step(job: Job, source: Source, journal: Journal, *, retry_failed: bool, budget: Budget | None = None) -> None:
    """Ask the judges of a job's step `suspects`, or those of the job, about the ground truths."""
    from hf_relabel.hub_tools.judging.assemble import stages_of
    from hf_relabel.hub_tools.judging.suspects import search_suspects

    assert job.suspects is not None
    stages = stages_of(job.model_copy(update={"stages": job.suspects.stages or job.stages}))
    several = job.suspects.several
    with judging_progress(rows_expected(source)) as progress:
        search_suspects(
            source, stages, journal, several=several, retry_failed=retry_failed, progress=progress, budget=budget
        )


def found_suspects(source: Source, journal: Journal) -> Iterator[Suspect]:
    """The suspects of the last search."""
    from hf_relabel.builders.cascade.suspects import suspect_finder
    from hf_relabel.builders.config_names import SUSPECTS

    find = suspect_finder(journal, journal.newest_run(SUSPECTS).settings)
    for numbered in source.rows():
        yield from find(numbered)


def show_suspects(found: Iterator[Suspect]) -> None:
    """Print the first suspects, and how many there are."""
    lines, count = [], 0
    for count, suspect in enumerate(found, start=1):
        if count <= MOST_SHOWN:
            most = max(opinion.above for opinion in suspect.opinions)
            lines.append([suspect.row, suspect.query_id, suspect.docid, suspect.reason, most])
    if lines:
        header = ["row", "query_id", "docid", "reason", "ranked above it"]
        click.echo(text_table(lines, header, disable_numparse=True) + ("\n…" if count > MOST_SHOWN else "") + "\n")
    click.echo(f"{count} suspected ground truths. None was changed.")
