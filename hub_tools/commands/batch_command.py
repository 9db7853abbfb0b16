"""`hf relabel batch`."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.commands.batch_tables import file_to_dict, show_collected, show_export, show_files, tell
from hf_relabel.hub_tools.commands.common import FOLDER, NumberIn, json_option, optional_source_options, print_json
from hf_relabel.hub_tools.commands.interrupting import goes_on
from hf_relabel.hub_tools.commands.judge_options import job_options, job_settings, retry_failed_option
from hf_relabel.hub_tools.commands.live import judging_progress

if TYPE_CHECKING:
    from hf_relabel.builders.job.job_file import Job
    from hf_relabel.hub_tools.batches.exporting import Export
    from hf_relabel.hub_tools.batches.ledger import Ledger
    from hf_relabel.hub_tools.batches.working import Work
    from hf_relabel.hub_tools.batches.writing import FileLimits
    from hf_relabel.hub_tools.judging.stages import Stage

EPILOG = """\b
Examples:
  hf relabel batch export train.jsonl --endpoint https://api.openai.com --model gpt-5.4-mini
  hf relabel batch submit batches
  hf relabel batch collect batches --wait
  hf relabel batch export train.jsonl --endpoint vllm:Qwen/Qwen3-32B
  hf relabel batch run batches -- --max-model-len 16384"""

EXPORT_EPILOG = """\b
Examples:
  hf relabel batch export train.jsonl --endpoint https://api.openai.com --model gpt-5.4-mini
  hf relabel batch export train.jsonl --endpoint https://NAME.openai.azure.com --model DEPLOYMENT
  hf relabel batch export train.jsonl --endpoint https://api.together.xyz --model openai/gpt-oss-120b --token-env TOGETHER_API_KEY
  hf relabel batch export train.jsonl --endpoint vllm:Qwen/Qwen3-32B --max-requests 5000
  hf relabel batch export --folder batches"""  # noqa: E501 - one command a line

Result = TypeVar("Result")
POLL_SECONDS = 60.0
_folder = click.argument("folder", type=FOLDER)


@click.group("batch", epilog=EPILOG)
def command() -> None:
    """Judge by batch files: half the price at OpenAI, Azure and others, and no server to keep for a model of one's own.

    `export` writes what `judge` would ask into files of OpenAI's format, `submit`, `status` and `collect` drive a
    service's Batch API, `run` lets a vLLM on this machine answer them. The answers go into the journal of `judge`,
    under the same keys: what one has asked the other does not ask again. `collect` and `run` write the files of the
    next stage, and what has to be asked again, until nothing is left.
    """


@command.command("export", epilog=EXPORT_EPILOG)
@click.argument("source", metavar="[SOURCE]", required=False)
@job_options("Where judgements are kept.", source=optional_source_options)
@click.option("--folder", default="batches", show_default=True, type=FOLDER, help="Where the files are written.")
@click.option(
    "--max-requests", type=click.IntRange(min=1), default=50_000, show_default=True, help="Most requests in a file."
)
@click.option(
    "--max-mb",
    type=NumberIn(min=0, min_open=True),
    default=100.0,
    show_default=True,
    help="Most megabytes of one file; OpenAI and Azure take 200.",
)
@retry_failed_option
@json_option
def export(folder: str, max_requests: int, max_mb: float, retry_failed: bool, as_json: bool, **options: Any) -> None:
    """Write what the judge of SOURCE is to be asked to batch files, instead of asking it.

    Only the first stage that lacks something is written: what the next is asked hangs on its answers. What the journal
    knows, and what an earlier file asks already, is left out. Without SOURCE the folder's own job goes on.
    """
    from hf_relabel.hub_tools.batches.writing import FileLimits

    limits = FileLimits(max_requests, int(max_mb * 10**6))
    job = _job_of(Path(folder)) if options["source"] is None else _kept(Path(folder), job_settings(options))
    with goes_on(partial(_same_again, folder)), _alone(folder):
        made = _exported(job, folder, limits, retry_failed=retry_failed)
    if as_json:
        print_json(made.to_dict())
        return
    show_export(made, folder, job)


@command.command("submit")
@_folder
@json_option
def submit(folder: str, as_json: bool) -> None:
    """Send the files of FOLDER that nobody has yet to their service.

    A file whose batch failed as a whole (no credit, too many tokens waiting) is sent again. A file is never sent twice:
    after a call that broke off the service is asked whether it made a batch.
    """
    from hf_relabel.hub_tools.batches.submitting import submit as send
    from hf_relabel.hub_tools.batches.working import services_of

    with _opened(folder) as (_, stages, ledger):
        services = services_of(stages)
        sent = _asking(stages, send(ledger, services, partial(tell, as_json)))
        if as_json:
            print_json({"sent": [file_to_dict(file, ledger) for file in sent]})
        elif not sent:
            click.echo("Nothing to send.")
        else:
            click.echo(f"\nWhen they have ended:\n  {program()} batch collect {folder}")


@command.command("status")
@_folder
@json_option
def status(folder: str, as_json: bool) -> None:
    """Ask the service after every batch of FOLDER, and show where each file stands."""
    from hf_relabel.hub_tools.batches.submitting import refresh
    from hf_relabel.hub_tools.batches.working import services_of

    with _opened(folder) as (_, stages, ledger):
        services = services_of(stages)
        files = _asking(stages, refresh(ledger, services, lambda file: None))
        if as_json:
            print_json({"files": [file_to_dict(file, ledger) for file in files], "waiting": ledger.waiting()})
            return
        show_files(files, ledger)


@command.command("collect")
@_folder
@click.argument("results", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option("--wait", is_flag=True, help="Wait for the batches to end; asks once a minute.")
@click.option("--close", is_flag=True, help="Wait no longer for what has not come: it is asked again.")
@click.option("--retry-failed", is_flag=True, help="Also ask again where the reply failed or could not be read.")
@json_option
def collect(folder: str, results: tuple[str, ...], wait: bool, close: bool, retry_failed: bool, as_json: bool) -> None:
    """Fetch the results of batches that have ended into the journal, and write what is to be asked next.

    RESULTS are files of results that came another way, by hand or from another service. The same file may be collected
    twice, a part of it, or one of another run.
    """

    with _opened(folder) as (job, stages, ledger):
        with _working(job, stages, ledger) as work:
            while True:
                taking = work.collect([Path(path) for path in results], lambda file: None, close=close)
                found = _asking(stages, taking)
                under_way = ledger.files("sent")
                if not (wait and under_way):
                    break
                click.echo(f"{counted(len(under_way), 'batch')} under way …", err=True)
                time.sleep(POLL_SECONDS)
        if results and not found.results:
            raise ConfigError(
                f"{', '.join(results)}: no line is a result of this folder ({found.foreign:,} of other runs,"
                f" {found.broken:,} that are no results). Give the file that the service wrote for a file of {folder}."
            )
        made = _exported(job, folder, None, retry_failed=retry_failed)
    show_collected(found, work.warnings, made, folder, job, as_json)


@command.command("run")
@_folder
@click.option("--python", "python", help="Python of the environment that has vLLM; this one unless given.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@json_option
def run(folder: str, python: str | None, arguments: tuple[str, ...], as_json: bool) -> None:
    """Let a vLLM on this machine answer the files of FOLDER (`vllm run-batch`), stage after stage.

    ARGUMENTS, after `--`, go to vLLM as they are. Each file's answers are in the journal before the next begins: with
    `export --max-requests` a Ctrl-C loses less, and the model is loaded more often.
    """
    from hf_relabel.hub_tools.batches.collecting import Collected
    from hf_relabel.hub_tools.batches.local_run import LocalRunner, checked_arguments

    runner = LocalRunner(arguments=checked_arguments(arguments))
    runner = LocalRunner(python, runner.arguments) if python else runner
    total, warnings = Collected(), []
    with _opened(folder) as (job, stages, ledger):
        while True:
            with _working(job, stages, ledger) as work:
                has_run = work.has_work_here()
                found = work.run(runner, partial(tell, as_json))
            total.add(found)
            warnings += work.warnings
            made = _exported(job, folder, None, retry_failed=False)
            if not made.written or (has_run and not found.answered + found.failed):
                break
    show_collected(total, warnings, made, folder, job, as_json)


# Parts


@contextmanager
def _opened(folder: str) -> Iterator[tuple[Job, list[Stage], Ledger]]:
    """A folder that has files, with nobody else at work on it."""
    from hf_relabel.hub_tools.batches.ledger import Ledger
    from hf_relabel.hub_tools.judging.assemble import stages_of

    job = _job_of(Path(folder))
    with goes_on(partial(_same_again, folder)), _alone(folder), Ledger(folder) as ledger:
        yield job, stages_of(job), ledger


@contextmanager
def _working(job: Job, stages: list[Stage], ledger: Ledger) -> Iterator[Work]:
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.hub_tools.batches.working import Work

    with Journal(job.journal) as journal:
        yield Work(ledger, journal, stages)


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    from hf_relabel.hub_tools.batches.working import alone

    with alone(Path(folder)):
        yield


def _job_of(folder: Path) -> Job:
    """The job that a folder is of."""
    from pydantic import ValidationError

    from hf_relabel.builders.job.job_file import Job
    from hf_relabel.hub_tools.batches.ledger import JOB

    try:
        return Job.model_validate_json((folder / JOB).read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            f"{folder} is no folder of batch files (it has no {JOB}). Run `batch export` first."
        ) from None
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{folder / JOB} cannot be used: {' '.join(str(error).split())[:200]}") from None


def _kept(folder: Path, job: Job) -> Job:
    """The job, as the folder keeps it from now on."""
    from hf_relabel.builders.disk.atomic_file import write_whole
    from hf_relabel.hub_tools.batches.ledger import JOB
    from hf_relabel.hub_tools.batches.working import with_chat_dialect

    job = with_chat_dialect(job)
    if (folder / JOB).is_file() and _has_files(folder):
        if _job_of(folder) != job:
            raise ConfigError(
                f"{folder} holds the files of another job. Choose another --folder, or go on without SOURCE."
            )
        return job
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}. Choose another --folder.") from None
    write_whole(folder / JOB, job.model_dump_json(exclude_unset=True, indent=2).encode())
    return job


def _has_files(folder: Path) -> bool:
    """Whether something was ever exported to it: a job that was refused, or found nothing to ask, owns no folder."""
    from hf_relabel.hub_tools.batches.ledger import LEDGER, Ledger

    if not (folder / LEDGER).is_file():
        return False
    with Ledger(folder) as ledger:
        return bool(ledger.files())


def _exported(job: Job, folder: str, limits: FileLimits | None, *, retry_failed: bool) -> Export:
    from hf_relabel.builders.journal.store import journal_for_judging
    from hf_relabel.hub_tools.batches.exporting import export_batches
    from hf_relabel.hub_tools.judging.assemble import source_of, stages_of

    source, stages = source_of(job.source), stages_of(job)
    with journal_for_judging(job.journal) as journal, judging_progress(None) as progress:
        return export_batches(
            source, stages, journal, folder, limits=limits, retry_failed=retry_failed, progress=progress
        )


def _asking(stages: Sequence[Stage], coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What a service is asked, with connections that are closed after it."""
    from hf_relabel.hub_tools.batches.working import close_endpoints
    from hf_relabel.hub_tools.calls.coroutines import run_coroutine

    async def asked() -> Result:
        try:
            return await coroutine
        finally:
            await close_endpoints(stages)

    return run_coroutine(asked())


def _same_again(folder: str) -> str:
    return f"What was done is kept in {folder} and in the journal: the same command again goes on from there."
