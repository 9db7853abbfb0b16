"""What `hf relabel jobs` shows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.commands.common import print_json

if TYPE_CHECKING:
    from huggingface_hub import HfApi, JobInfo

    from hf_relabel.hub_tools.jobs.submission import Submission


def show_line(line: str, *, err: bool = False) -> None:
    """A line of the log, without what would steer the terminal."""
    from hf_relabel.hub_tools.hub.redaction import redact

    text = "".join(character if character.isprintable() or character == "\t" else "?" for character in line.rstrip())
    click.echo(redact(text), err=err)
    (sys.stderr if err else sys.stdout).flush()


def show_job(api: HfApi, job: JobInfo, namespace: str, as_json: bool, *, brief: bool = False) -> None:
    told = job_to_dict(job, None if brief else cost_of(api, job))
    if as_json:
        print_json({**told, "namespace": namespace})
        return
    if brief:
        click.echo(f"Follow it with: {program()} jobs logs {job.id} --follow")
        return
    message = f" ({told['message']})" if told["message"] else ""
    click.echo(f"Job {job.id}: {told['stage']}{message}")
    if told["seconds"] is not None:
        cost = f", about ${told['cost']:.2f}" if told["cost"] is not None else ""
        click.echo(f"{told['flavor']}, {told['seconds'] / 60:.1f} minutes{cost}: {told['url']}")


def job_to_dict(job: JobInfo, cost: float | None) -> dict[str, Any]:
    from hf_relabel.hub_tools.jobs.service import GROUP_LABEL, KEPT_LABEL, stage_of
    from hf_relabel.hub_tools.releases.shown import shown

    labels = job.labels or {}
    seconds = job.durations.running_secs if job.durations else None
    return {
        "id": job.id,
        "name": shown(labels.get("name", "")),
        "stage": stage_of(job),
        "message": shown(job.status.message, 300) if job.status.message else None,
        "flavor": str(getattr(job.flavor, "value", job.flavor)),
        "created": job.created_at.isoformat() if job.created_at else None,
        "seconds": seconds,
        "cost": cost,
        "url": job.url,
        "group": labels.get(GROUP_LABEL),
        "kept_in": labels.get(KEPT_LABEL),
    }


def cost_of(api: HfApi, job: JobInfo) -> float | None:
    """What the Job has cost so far, in US dollars; None where the service does not tell."""
    from hf_relabel.builders.errors import JobError
    from hf_relabel.hub_tools.jobs.service import job_errors

    seconds = job.durations.running_secs if job.durations else None
    if seconds is None:
        return None
    try:
        with job_errors("hardware"):
            prices = {machine.name: machine for machine in api.list_jobs_hardware()}
    except JobError:
        return None
    machine = prices.get(str(getattr(job.flavor, "value", job.flavor)))
    return machine.unit_cost_usd * seconds / 60 if machine and machine.unit_label == "minute" else None


def show_submission(submission: Submission, as_json: bool) -> None:
    told = submission.to_dict()
    if as_json:
        print_json(told)
        return
    click.echo(f"Nothing was sent. Into the private data set {submission.repo_id} would go:")
    for path, size in told["files"].items():
        click.echo(f"  {size:>10,} {path}")
    for title, job in (("judge server", told["judge_server"]), ("job", told["job"])):
        if job is None:
            continue
        command = [part if "\n" not in part else "(watches the job)" for part in job["command"]]
        click.echo(f"\nThe {title}: {job['image']} on {job['flavor']}, stopped after {job['timeout']}")
        click.echo(f"  {' '.join(command)}")
        click.echo(f"  secrets: {', '.join(job['secrets'])}")
        if job["network_group"]:
            click.echo(f"  network group {job['network_group']}, as {', '.join(job['network_aliases'])}")
    pinned = sum("==" in line for line in submission.requirements)
    click.echo(f"\n{pinned} of {len(submission.requirements)} packages are pinned.")
    if told["most_cost"] is not None:
        click.echo(f"At most ${told['most_cost']:.2f}, if everything runs until it is stopped.")
