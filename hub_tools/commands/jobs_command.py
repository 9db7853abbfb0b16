"""`hf relabel jobs`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.hub_tools.commands.common import json_option, print_json
from hf_relabel.hub_tools.commands.jobs_shown import job_to_dict, show_job, show_line, show_submission
from hf_relabel.hub_tools.commands.judge_options import parse_parameters, retry_failed_option
from hf_relabel.hub_tools.jobs.judge_images import DEFAULT as DEFAULT_IMAGE

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from hf_relabel.hub_tools.jobs.submission import KeepBy, Submission


EPILOG = """\b
Examples:
  hf relabel jobs submit job.yaml --dry-run
  hf relabel jobs submit job.yaml --flavor cpu-upgrade --timeout 12h
  hf relabel jobs submit rlhn-fever --judge-server openai/gpt-oss-20b --judge-flavor a100-large
  hf relabel jobs images --check
  hf relabel jobs list
  hf relabel jobs logs 687f911eaea852de79c4a50a --follow"""

SUBMIT_EPILOG = """\b
Examples:
  hf relabel jobs submit job.yaml --dry-run
  hf relabel jobs submit job.yaml --flavor cpu-upgrade --timeout 12h --detach
  hf relabel jobs submit job.yaml --carry calibration.json --carry beir/fiqa
  hf relabel jobs submit rlhn-fever --judge-server openai/gpt-oss-20b --judge-flavor a100-large
  hf relabel jobs submit rlhn-fever --judge-server user/private-judge --judge-token-env READ_TOKEN
  hf relabel jobs submit rlhn-fever --judge-server org/judge --judge-image sglang --judge-flag=--context-length=16384"""

IMAGES_EPILOG = """\b
Examples:
  hf relabel jobs images
  hf relabel jobs images --check --json"""

_STOPPED = 130
_namespace = click.option("--namespace", help="User or organization of the Job; you, unless given.")


@click.group("jobs", epilog=EPILOG)
def command() -> None:
    """Run whole job files on HF Jobs. Jobs are paid for by the minute.

    A Job's journal and outputs are kept in a private bucket of yours (hf://buckets/NAMESPACE/relabel-job-NAME): a job
    that was stopped goes on where it was when it is submitted again. `hf buckets sync` fetches them.
    """


@command.command("submit", epilog=SUBMIT_EPILOG)
@click.argument("job_file")
@click.option("--set", "parameters", multiple=True, metavar="NAME=VALUE", help="Parameter of the job file.")
@click.option("--flavor", default="cpu-basic", show_default=True, help="Machine; see `hf jobs hardware`.")
@click.option("--timeout", default="6h", show_default=True, help="The Job is stopped after this: 90m, 6h, 1d.")
@_namespace
@click.option("--keep-in", metavar="REPO", help="Private data set and bucket of this name.")
@click.option(
    "--keep-by",
    type=click.Choice(["bucket", "commits"]),
    default="bucket",
    show_default=True,
    help="Keep journal and outputs in a private bucket, or, where the Hub has none, in commits of the data set.",
)
@click.option("--carry", multiple=True, metavar="PATH", help="File or folder to take along. May be repeated.")
@click.option("--judge-server", metavar="MODEL", help="Start a judge server of this model with the Job.")
@click.option("--judge-flavor", default="a10g-large", show_default=True, help="Machine of the judge server.")
@click.option(
    "--judge-image",
    default=DEFAULT_IMAGE,
    show_default=True,
    help="vllm, sglang, tgi, or an image of one of them; see `jobs images`.",
)
@click.option(
    "--judge-token-env",
    metavar="NAME",
    help="Environment variable with a token that may only read, for a private or gated model.",
)
@click.option(
    "--judge-flag",
    "judge_flags",
    multiple=True,
    metavar="FLAG",
    help="Further argument of the server. May be repeated.",
)
@retry_failed_option
@click.option("--detach", is_flag=True, help="Do not follow the log.")
@click.option("--dry-run", is_flag=True, help="Start nothing; show what would be sent.")
@json_option
def submit(
    job_file: str,
    parameters: tuple[str, ...],
    flavor: str,
    timeout: str,
    namespace: str | None,
    keep_in: str | None,
    keep_by: KeepBy,
    carry: tuple[str, ...],
    judge_server: str | None,
    judge_flavor: str,
    judge_image: str,
    judge_token_env: str | None,
    judge_flags: tuple[str, ...],
    retry_failed: bool,
    detach: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run JOB_FILE, a path or the name of a ready one, as a Job on the Hub, and follow its log.

    The Job brings this package along and installs everything else in the versions that are installed here. A little
    before its time is over it saves what it has and ends; submitted again, it goes on. Ctrl-C leaves it running.

    The judge server, if one is asked for, is a second Job in the same network group, which the first one starts, and
    stops as soon as no judge is asked any more. Its URL fills the parameter of the job file that stands for a server's
    URL. It gets no token unless --judge-token-env names one.

    The exit code is 0 if the Job completed and 9 if it did not.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from hf_relabel.hub_tools.hub.api import HubApi
    from hf_relabel.hub_tools.jobs.judge_server import JudgeServer
    from hf_relabel.hub_tools.jobs.submission import SubmitOptions
    from hf_relabel.hub_tools.jobs.submit import prepare

    options = SubmitOptions(
        parameters=parse_parameters(parameters),
        flavor=flavor,
        timeout=timeout,
        namespace=namespace,
        keep_in=keep_in,
        keep_by=keep_by,
        carry=carry,
        judge=JudgeServer(judge_server, judge_flavor, judge_image, judge_token_env, judge_flags)
        if judge_server
        else None,
        retry_failed=retry_failed,
    )
    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HubApi()
    submission = prepare(api, job_file, options)
    if dry_run:
        show_submission(submission, as_json)
        return 0
    return _send(api, submission, detach, as_json)


@command.command("status")
@click.argument("job_id")
@_namespace
@json_option
def status(job_id: str, namespace: str | None, as_json: bool) -> None:
    """Show how far the Job JOB_ID is, and what it has cost."""
    from hf_relabel.hub_tools.jobs.service import inspect

    api, name = _api(namespace)
    show_job(api, inspect(api, job_id, name), name, as_json)


@command.command("logs")
@click.argument("job_id")
@click.option("--follow", is_flag=True, help="Go on until the Job is over; the exit code is 9 if it did not complete.")
@_namespace
def logs(job_id: str, follow: bool, namespace: str | None) -> int:
    """Show the log of the Job JOB_ID. With --follow, Ctrl-C leaves the Job running."""
    from hf_relabel.hub_tools.jobs.service import log_lines

    api, name = _api(namespace)
    if follow:
        return _follow(api, job_id, name, as_json=False)
    for line in log_lines(api, job_id, name):
        show_line(line)
    return 0


@command.command("cancel")
@click.argument("job_id")
@_namespace
@json_option
def cancel(job_id: str, namespace: str | None, as_json: bool) -> None:
    """Cancel the Job JOB_ID, and its judge server."""
    from hf_relabel.hub_tools.jobs.service import cancel as stop

    api, name = _api(namespace)
    ids = stop(api, job_id, name)
    if as_json:
        print_json({"cancelled": ids})
    elif ids:
        click.echo(f"Cancelled {', '.join(ids)}. Submit the job again to go on from the last save.")
    else:
        click.echo(f"{job_id} is over already.")


@command.command("list")
@click.option("--all", "also_over", is_flag=True, help="Those that are over too.")
@_namespace
@json_option
def list_(also_over: bool, namespace: str | None, as_json: bool) -> None:
    """List the Jobs that were submitted with `hf relabel jobs`."""
    from hf_relabel.hub_tools.jobs.service import ours

    api, name = _api(namespace)
    found = [job_to_dict(job, None) for job in ours(api, name, active=not also_over)]
    if as_json:
        print_json(found)
    elif found:
        columns = ("id", "name", "stage", "flavor", "created", "seconds")
        click.echo(text_table([{column: job[column] for column in columns} for job in found]))
    else:
        click.echo("There is none." if also_over else "None is active. --all lists those that are over too.")


@command.command("images", epilog=IMAGES_EPILOG)
@click.option("--check", is_flag=True, help="Ask the registries whether they are there, and for newer ones.")
@json_option
def images(check: bool, as_json: bool) -> int:
    """Show with which images and flags judge servers are started, and when that was looked up.

    With --check the exit code is 9 where an image is not there or its registry cannot be asked.
    """
    from hf_relabel.builders.errors import JobError
    from hf_relabel.hub_tools.jobs.image_check import check as ask
    from hf_relabel.hub_tools.jobs.judge_images import kinds

    checked = {name: ask(kind) for name, kind in kinds().items()} if check else {}
    if as_json:
        found = [
            {**kind.to_dict(), "registry": asdict(checked[name]) if check else None} for name, kind in kinds().items()
        ]
        print_json(found)
    else:
        told = {name: {"registry": each.told} for name, each in checked.items()}
        lines = [
            {"kind": name, "image": kind.full_image, "looked up": f"{kind.checked}", **told.get(name, {})}
            for name, kind in kinds().items()
        ]
        click.echo(text_table(lines))
        for name, kind in kinds().items():
            command = " ".join((*kind.command, *kind.revision, *kind.gpus))
            click.echo(f"\n{name}: {command}\n  Serves {kind.serves}.\n  From {kind.source}")
    return 0 if all(each.is_there for each in checked.values()) else JobError.exit_code


def _api(namespace: str | None) -> tuple[HfApi, str]:
    from hf_relabel.hub_tools.hub.api import HubApi
    from hf_relabel.hub_tools.jobs.service import job_errors

    api = HubApi()
    if namespace is not None:
        return api, namespace
    with job_errors("whoami"):
        return api, str(api.whoami()["name"])


def _send(api: HfApi, submission: Submission, detach: bool, as_json: bool) -> int:
    from hf_relabel.hub_tools.jobs.submit import submit as send

    job = send(api, submission)
    if not as_json:
        click.echo(f"Job {job.id} was submitted: {job.url}\nIts journal and outputs are kept in {submission.place}.")
    if detach:
        show_job(api, job, submission.namespace, as_json, brief=True)
        return 0
    return _follow(api, job.id, submission.namespace, as_json)


def _follow(api: HfApi, job_id: str, namespace: str, as_json: bool) -> int:
    """Show the log until the Job is over; its judge server does not outlive it."""
    from hf_relabel.builders.errors import JobError
    from hf_relabel.hub_tools.jobs.service import COMPLETED, cancel_servers, stage_of
    from hf_relabel.hub_tools.jobs.service import follow as follow_log

    try:
        job = follow_log(api, job_id, namespace, lambda line: show_line(line, err=as_json))
        cancel_servers(api, job, namespace)
    except KeyboardInterrupt:
        click.echo(
            f"\nNo longer following; Job {job_id} goes on. Follow it with `{program()} jobs logs {job_id} --follow`, "
            f"stop it with `{program()} jobs cancel {job_id}`.",
            err=True,
        )
        return _STOPPED
    show_job(api, job, namespace, as_json)
    return 0 if stage_of(job) == COMPLETED else JobError.exit_code
