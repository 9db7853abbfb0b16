"""`hf relabel run`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.messages.program import program, spoken
from hf_relabel.hub_tools.commands.common import engine_of, engine_options, json_option, parse_columns, print_json
from hf_relabel.hub_tools.commands.completion import job_files, judges, one_of
from hf_relabel.hub_tools.commands.interrupting import goes_on, kept_in
from hf_relabel.hub_tools.commands.judge_options import also_pending_option, parse_parameters, retry_failed_option

if TYPE_CHECKING:
    from hf_relabel.hub_tools.ray_cluster.cluster import Engine

EPILOG = """\b
Examples:
  hf relabel run --new job.yaml train.jsonl --endpoint http://127.0.0.1:8080
  hf relabel run --settings
  hf relabel run --list
  hf relabel run job.yaml
  hf relabel run rlhn-fever --set tgi_url=http://127.0.0.1:8080
  hf relabel run job.yaml --plan
  hf relabel run job.yaml --engine ray --workers 8"""


@click.command("run", epilog=EPILOG)
@click.argument("job_file", required=False, shell_complete=one_of(job_files, yaml=True))
@click.option("--new", metavar="FILE", help="Write a commented job file for the source that is given, and do no more.")
@click.option(
    "--column", "columns", multiple=True, metavar="ROLE=COLUMN", help="With --new: which column plays a role."
)
@click.option("--endpoint", "endpoints", multiple=True, metavar="URL", help="With --new: judge server.")
@click.option(
    "--judge", "judge_kind", metavar="KIND", shell_complete=one_of(judges), help="With --new: kind of the judge."
)
@click.option("--model", help="With --new: its model.")
@click.option("--token-env", metavar="NAME", help="With --new: environment variable that holds the server's token.")
@click.option("--truth", metavar="FILE", help="With --new: known false negatives, for --judge truth.")
@click.option("--set", "parameters", multiple=True, metavar="NAME=VALUE", help="Parameter of the job file.")
@click.option("--list", "list_files", is_flag=True, help="List the job files that ship with the package.")
@click.option("--settings", "show_settings", is_flag=True, help="Print all that may stand in a job file.")
@click.option("--plan", "only_plan", is_flag=True, help="Only work out what it would take.")
@retry_failed_option
@also_pending_option
@engine_options
@json_option
def command(
    job_file: str | None,
    new: str | None,
    columns: tuple[str, ...],
    endpoints: tuple[str, ...],
    judge_kind: str | None,
    model: str | None,
    token_env: str | None,
    truth: str | None,
    parameters: tuple[str, ...],
    list_files: bool,
    show_settings: bool,
    only_plan: bool,
    retry_failed: bool,
    also_pending: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Judge, audit, build, compare, release and train from one JOB_FILE: a path, or the name of a ready one.

    With --new, JOB_FILE is the source to write a job file for.
    """
    from hf_relabel.builders.errors import ConfigError
    from hf_relabel.builders.job.reading import load_job, shipped_job_files
    from hf_relabel.builders.messages.extras import require
    from hf_relabel.hub_tools.jobs.portable import extras

    if list_files:
        for name, file in shipped_job_files().items():
            first_line = file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
            click.echo(f"{name:24} {first_line}")
        return
    if show_settings:
        from hf_relabel.hub_tools.commands.job_page import page

        click.echo(spoken(page()))
        return
    if new is not None:
        servers = [{"url": url, "model": model, "token_env": token_env} for url in endpoints]
        _write_new(new, job_file, _judge_of(judge_kind, endpoints, model, truth), servers, columns)
        return
    if endpoints or judge_kind or model or token_env or truth or columns:
        raise ConfigError(
            "--endpoint, --judge, --model, --token-env, --truth and --column are for --new FILE; a job file names its"
            " own."
        )
    if job_file is None:
        raise ConfigError("Name a job file, see the ready ones with --list, or write one with --new FILE.")
    job = load_job(job_file, parse_parameters(parameters))
    if only_plan:
        from hf_relabel.hub_tools.commands.plan_command import show_plan

        show_plan(job, as_json)
        if job.suspects and not as_json:
            click.echo("The step `suspects` asks about the ground truths too; it is not in this plan.")
        return
    require(*extras(job), what="This job")  # before anything is judged, not hours later
    _run(job, retry_failed, also_pending, as_json, engine_of(options))


def _judge_of(kind: str | None, endpoints: tuple[str, ...], model: str | None, truth: str | None) -> dict[str, str]:
    """The judge of a new job file, with all that it needs."""
    from pathlib import Path

    from hf_relabel.builders.errors import ConfigError
    from hf_relabel.builders.judges.registry import judge_problems

    kind = kind or ("listwise" if endpoints else "truth" if truth else None)
    if kind is None:
        raise ConfigError(
            "Name a judge: --endpoint URL for an LLM, --judge similarity to work offline, or --truth FILE where the"
            " false negatives are known."
        )
    if (kind == "truth") != bool(truth):
        raise ConfigError("--truth is for --judge truth." if truth else "--judge truth needs --truth FILE.")
    if truth and not Path(truth).is_file():
        raise ConfigError(f"There is no truth file {truth}.")
    judge = {
        "kind": kind,
        **({"file": truth} if truth else {}),
        **({"model": model} if model and not endpoints else {}),
    }
    # Otherwise it would be told of a line that nobody has written.
    if problems := list(judge_problems(judge)):
        raise ConfigError(" ".join(problems))
    return judge


def _write_new(
    path: str,
    source: str | None,
    judge: dict[str, str],
    servers: list[dict[str, str | None]],
    given_columns: tuple[str, ...],
) -> None:
    from hf_relabel.builders.errors import ConfigError
    from hf_relabel.builders.job.writing import write_new_job
    from hf_relabel.hub_tools.hub.source import is_here, open_source

    if source is None:
        raise ConfigError("Name the source that the job file is for: --new FILE SOURCE.")
    columns = parse_columns(given_columns)
    if is_here(source):  # so that the job can be run as it is; what is on the Hub is not looked at yet
        open_source(source, columns=columns or None).check_negatives()
    write_new_job(path, source, judge, servers, columns)
    click.echo(f"{path} is written. What it would take: {program()} run {path} --plan")


def _run(job: Any, retry_failed: bool, also_pending: bool, as_json: bool, engine: Engine | None) -> None:
    from hf_relabel.builders.journal.store import journal_for_judging
    from hf_relabel.hub_tools.building.run import calibration_of
    from hf_relabel.hub_tools.commands.job_steps import judged, stepped
    from hf_relabel.hub_tools.commands.judge_command import check_enough_judged, reports_to_dict, show_reports
    from hf_relabel.hub_tools.judging.assemble import source_of, stages_of
    from hf_relabel.hub_tools.judging.identities import check_calibration
    from hf_relabel.hub_tools.judging.stages import exempt_subsets

    source, stages = source_of(job.source), stages_of(job)
    with goes_on(partial(kept_in, job.journal)), journal_for_judging(job.journal) as journal:
        if job.build and (thresholds := calibration_of(job.build)) is not None:
            check_calibration(thresholds, source, stages, journal, exempt_subsets(stages))
        given = (job, source, stages, journal, engine)
        reports, suspects, audited = judged(*given, retry_failed=retry_failed, also_pending=also_pending)
        if not as_json:
            show_reports(reports, source, journal, as_json=False)
            click.echo(f"\nJudgements are in {journal.path}; other commands read it with --journal.")
        check_enough_judged(reports, job.build.min_judged if job.build else None)
        done = stepped(job, source, journal, engine, suspects, audited)
        if as_json:
            print_json({**reports_to_dict(reports, journal), **done.to_dict()})
        else:
            done.show()
