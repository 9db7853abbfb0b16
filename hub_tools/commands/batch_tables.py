"""What `hf relabel batch` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.dollars import dollars
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.text_table import fitted, text_table
from hf_relabel.hub_tools.commands.common import (
    print_json,
)
from hf_relabel.hub_tools.commands.spelling import say

if TYPE_CHECKING:
    from hf_relabel.builders.job.job_file import Job
    from hf_relabel.hub_tools.batches.collecting import Collected
    from hf_relabel.hub_tools.batches.exporting import Export
    from hf_relabel.hub_tools.batches.ledger import BatchFile, Ledger


def tell(as_json: bool, file: BatchFile) -> None:
    remote = file.remote
    what = f"{remote.batch_id} {remote.status}" if remote.batch_id else "at work"
    say(f"{file.name}: {counted(file.requests, 'request')}, {what}", err=as_json)


def file_to_dict(file: BatchFile, ledger: Ledger) -> dict[str, Any]:
    remote = {name: getattr(file.remote, name) for name in ("batch_id", "status", "completed", "failed", "message")}
    told = {"name": file.name, "stage": file.stage, "requests": file.requests, "bytes": file.bytes}
    return {**told, "state": file.state, "waiting": ledger.waiting(file), **remote}


def show_files(files: Sequence[BatchFile], ledger: Ledger) -> None:
    lines = [
        {
            "file": file.name,
            "requests": file.requests,
            "waiting": ledger.waiting(file),
            "here": file.state,
            "service": file.remote.status or "-",
            "done": file.remote.completed or "-",
            "failed": file.remote.failed or "-",
        }
        for file in files
    ]
    click.echo(text_table(lines, intfmt=","))
    for file in files:
        if file.remote.message:
            say(fitted(f"{file.name}: {file.remote.message}", indent="  "))


def show_export(made: Export, folder: str, job: Job) -> None:
    lines = [
        {"file": file.name, "requests": file.requests, "MB": f"{file.bytes / 10**6:,.1f}"} for file in made.written
    ]
    if lines:
        click.echo(f"{text_table(lines, intfmt=',')}\n")
    click.echo(str(made))
    _show_next(made, folder, job)


def show_collected(
    found: Collected, warnings: Sequence[str], made: Export, folder: str, job: Job, as_json: bool
) -> None:
    if as_json:
        print_json({"collected": found.to_dict(), "warnings": list(warnings), "next": made.to_dict()})
        return
    click.echo(f"Collected: {found}.")
    if found.cost is not None:
        click.echo(f"Cost at the price of batches: {dollars(found.cost)} USD.")
    for reason, number in found.reasons.most_common(10):
        say(fitted(f"{counted(number, 'request')}: {reason}", indent="  "))
    for warning in warnings:
        say(fitted(warning), err=True)
    click.echo(f"\n{made}")
    _show_next(made, folder, job)


def _show_next(made: Export, folder: str, job: Job) -> None:
    """What to type now."""
    from hf_relabel.hub_tools.batches.ledger import Ledger
    from hf_relabel.hub_tools.batches.working import judges_here
    from hf_relabel.hub_tools.judging.assemble import stages_of

    if made.is_complete:
        click.echo(f"  {program()} build {job.source.location} --journal {job.journal} --out cleaned")
        return
    here = judges_here(stages_of(job))
    with Ledger(folder) as ledger:
        states = {(file.state, (file.stage, file.member) in here) for file in ledger.files()}
    if ("written", True) in states:
        click.echo(f"  {program()} batch run {folder}")
    if ("written", False) in states:
        click.echo(f"  {program()} batch submit {folder}")
    if ("sent", False) in states:
        click.echo(f"  {program()} batch collect {folder} --wait")
