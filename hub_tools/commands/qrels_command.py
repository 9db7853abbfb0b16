"""`hf relabel qrels`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.commands.common import FOLDER, NumberIn, command_needs, json_option, print_json
from hf_relabel.hub_tools.commands.interrupting import goes_on, kept_in
from hf_relabel.hub_tools.commands.judge_command import judge_job, show_reports
from hf_relabel.hub_tools.commands.judge_options import stage_options_but_truth, stage_settings
from hf_relabel.hub_tools.commands.progress import progress_bar
from hf_relabel.hub_tools.commands.spelling import say

if TYPE_CHECKING:
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.trainers.evaluation.search import Progress
    from hf_relabel.trainers.qrels.extending import Pooled

EPILOG = """\b
Examples:
  hf relabel qrels beir/fiqa --run bm25 --run e5.trec --endpoint http://127.0.0.1:8080 --out fiqa-extended
  hf relabel qrels beir/fiqa --run intfloat/e5-base-v2 --judge similarity --out fiqa-extended
  hf relabel qrels beir/fiqa --run bm25 --run e5.trec --out fiqa-extended --pool-only
  hf relabel plan fiqa-extended/pool.jsonl --endpoint http://127.0.0.1:8080      # what judging will take
  hf relabel audit sample fiqa-extended/pool.jsonl --out audit                   # after judging
  hf relabel qrels beir/fiqa --run bm25 --run e5.trec --out fiqa-extended --calibration calibration.json
\b
Then:
  load_dataset("fiqa-extended", "qrels")"""


@click.command("qrels", epilog=EPILOG)
@click.argument("folder", metavar="BEIR_FOLDER")
@click.option(
    "--run",
    "runs",
    multiple=True,
    required=True,
    metavar="RUN",
    help="TREC run file, `bm25`, or a model (folder or Hub id) whose ranking is pooled. May be repeated.",
)
@click.option("--out", required=True, type=FOLDER, help="Folder to write: BEIR_FOLDER with more judgements.")
@click.option("--split", default="test", show_default=True, help="Of the judgements.")
@click.option(
    "--depth",
    default=10,
    show_default=True,
    type=click.IntRange(min=1),
    help="What is unjudged among so many first documents of each run is judged.",
)
@stage_options_but_truth
@click.option(
    "--journal", "journal_path", default="journal.sqlite", show_default=True, help="Where judgements are kept."
)
@click.option("--retry-failed", is_flag=True, help="Ask again where the reply failed or could not be read.")
@click.option("--pool-only", is_flag=True, help="Write pool.jsonl, for `plan`, `judge` and `batch`, and stop.")
@click.option("--calibration", metavar="FILE", help="Thresholds of an audit decide; only what is sure is added.")
@click.option("--audit", metavar="FILE", help="What `audit report --json` says of these judges: told with what is new.")
@click.option(
    "--truth",
    metavar="FILE",
    help="Judgements that know more (TSV, as in qrels/), in place of an audit: how many of the new ones they have.",
)
@click.option("--grade", default=1, show_default=True, type=click.IntRange(min=1), help="Of the new judgements.")
@click.option("--min-judged", type=NumberIn(0, 1), metavar="SHARE", help="Refuse where less was judged; 0.95.")
@click.option("--drop-dangling", is_flag=True, help="Leave out judgements that name no query or no document.")
@json_option
def command(
    folder: str,
    runs: tuple[str, ...],
    out: str,
    split: str,
    depth: int,
    journal_path: str,
    retry_failed: bool,
    pool_only: bool,
    calibration: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the relevant documents that the judgements of BEIR_FOLDER miss, and what they change.

    What the runs rank high and nobody judged is pooled and judged as hard negatives are, beside the relevant documents
    that are known. What is judged relevant joins the judgements, with its provenance. The report says how the ranking
    of the systems changes, and what is wrong with the judgements: ids that name nothing, one query under two ids,
    queries without a relevant document. Without a judge, what the journal holds of the pool is taken.
    """
    command_needs("evaluate")
    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.trainers.qrels.extending import extend, pool_documents

    how = {name: options.pop(name) for name in ("audit", "truth", "grade", "min_judged", "drop_dangling")}
    _check(how["truth"], how["audit"])
    thresholds = None if calibration is None else Calibration.read(Path(calibration))
    stages = _stages(options)
    work = pool_documents(folder, runs, out, split=split, depth=depth, watched=_searching)
    if pool_only:
        _show_pool(work, as_json)
        return
    with _judged(work, stages, journal_path, retry_failed=retry_failed, quiet=as_json) as (journal, run):
        report = extend(work, journal, run=run, calibration=thresholds, **how)
    if as_json:
        print_json(report.to_dict())
        return
    say(report.to_text())
    click.echo(f'\nLoad it with: load_dataset("{out}", "qrels"); measure by it with {program()} evaluate --eval {out}')


def _check(truth: str | None, audit: str | None) -> None:
    """See that what measures the judges can be read, before anybody is asked."""
    from hf_relabel.builders.audit.drift import earlier_audit
    from hf_relabel.builders.errors import ConfigError
    from hf_relabel.builders.qrels.collection import read_grades

    if truth and audit:
        raise ConfigError("Give either --truth or --audit, not both.")
    if truth:
        command_needs("audit")
        read_grades(truth)
    if audit:
        earlier_audit(audit)


@contextmanager
def _searching(name: str) -> Iterator[Progress]:
    with progress_bar(name, unit=" documents") as bar:
        yield lambda done: bar.update(done - bar.n)


def _stages(options: dict[str, Any]) -> Any:
    """The stages that were named; None where none were."""
    from hf_relabel.builders.errors import ConfigError

    named = ("judge_kind", "endpoints", "replies", "stages_file")
    if any(options[name] for name in named):
        return stage_settings({**options, "truth": None})
    if options["model"] or options["better"] is not None:
        raise ConfigError("--model and --better are of a judge: name it with --judge or --endpoint.")
    return None


@contextmanager
def _judged(
    work: Pooled, stages: Any, path: str, *, retry_failed: bool, quiet: bool
) -> Iterator[tuple[Journal | None, int | None]]:
    """The journal with the pool judged, by the stages that were named, and the run of it."""
    from hf_relabel.builders.job.job_file import Job, SourceSettings
    from hf_relabel.builders.journal.store import Journal, journal_for_judging
    from hf_relabel.hub_tools.judging.assemble import stages_of

    if not work.rows:
        yield None, None
        return
    if stages is None:
        with Journal(path, write=False) as journal:
            yield journal, None
        return
    job = Job(source=SourceSettings(location=str(work.pool_path)), journal=path, stages=stages)
    source = work.source()
    with goes_on(partial(kept_in, path)), journal_for_judging(path) as journal:
        reports = judge_job(job, source, stages_of(job), journal, None, retry_failed=retry_failed, also_pending=False)
        if not quiet:
            show_reports(reports, source, journal, False)
            click.echo()
        yield journal, journal.newest_run().number


def _show_pool(work: Pooled, as_json: bool) -> None:
    if as_json:
        found = {"pool": str(work.pool_path), "queries": work.rows, "candidates": work.candidates}
        print_json({**found, "findings": work.findings.to_dict()})
        return
    click.echo(
        f"{work.pool_path}: {counted(work.rows, 'row')}, {counted(work.candidates, 'candidate')} that nobody judged."
    )
    click.echo(f"What judging takes: {program()} plan {work.pool_path} …")
