"""`hf relabel judge`."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.cascade.judged_share import ENOUGH
from hf_relabel.builders.errors import JudgingStopped
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.messages.counted import counted, percent
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.messages.text_table import fitted, text_table
from hf_relabel.hub_tools.commands.common import NumberIn, engine_of, engine_options, json_option, print_json
from hf_relabel.hub_tools.commands.interrupting import goes_on, kept_in
from hf_relabel.hub_tools.commands.judge_options import (
    also_pending_option,
    job_options,
    job_settings,
    retry_failed_option,
)
from hf_relabel.hub_tools.commands.live import judging_progress, rows_expected
from hf_relabel.hub_tools.commands.next_step import show_next
from hf_relabel.hub_tools.commands.spelling import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hf_relabel.builders.job.job_file import Job
    from hf_relabel.builders.journal.answers import Failure
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.builders.sources import Source
    from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Budget
    from hf_relabel.hub_tools.judging.stage_report import StageReport
    from hf_relabel.hub_tools.judging.stages import Stage
    from hf_relabel.hub_tools.ray_cluster.cluster import Engine

EPILOG = """\b
Examples:
  hf relabel judge train.jsonl --endpoint http://127.0.0.1:8080
  hf relabel judge user/repo --subset nq --endpoint http://a:8080 --endpoint http://b:8080
  hf relabel judge train.jsonl --judge similarity --better 0.8
  hf relabel judge train.jsonl --stages rlhn-two-stage --set stage2_url=http://b:8080
  hf relabel judge train.jsonl --endpoint http://127.0.0.1:8080 --retry-failed
  RAY_ADDRESS=head:6379 hf relabel judge user/repo --endpoint http://a:8080 --journal /shared/a.sqlite --engine ray"""

MOST_REASONS_SHOWN = 10
FEW_BETTER = 0.01
"""A judge that scores and calls a smaller share better likely has its threshold too high for this data."""
_ANSWERS = [str(label) for label in Label if label.is_answer]
WHAT_LABELS_MEAN = """\
better: relevant, and at least as good as the ground truth: a false negative.
worse: relevant, but less so than the ground truth. irrelevant: a true negative."""


@click.command("judge", epilog=EPILOG)
@job_options("Where judgements are kept.")
@retry_failed_option
@also_pending_option
@click.option(
    "--min-judged",
    type=NumberIn(0, 1),
    metavar="SHARE",
    help="End with exit code 4 where a smaller share of what was asked got a verdict; 0.95 when not given.",
)
@engine_options
@json_option
def command(
    retry_failed: bool,
    also_pending: bool,
    min_judged: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Judge the hard negatives of SOURCE and keep every judgement in a journal.

    A judge calls a negative `better` (relevant, and at least as good as the ground truth: a false negative), `worse`
    (relevant, but less so) or `irrelevant`. For chat models the judge `listwise` beats `pointwise` (published, not run
    here: .682 against .608 nDCG@10) and is cheaper. Run the same command again to continue after Ctrl-C or a crash:
    what is in the journal is not asked again.
    """
    from hf_relabel.builders.journal.store import journal_for_judging
    from hf_relabel.hub_tools.judging.assemble import source_of, stages_of

    engine = engine_of(options)
    job = job_settings(options)
    source, stages = source_of(job.source), stages_of(job)
    with goes_on(partial(kept_in, job.journal)), journal_for_judging(job.journal) as journal:
        reports = judge_job(job, source, stages, journal, engine, retry_failed=retry_failed, also_pending=also_pending)
        show_reports(reports, source, journal, as_json)
    check_enough_judged(reports, min_judged)
    if not as_json:
        show_next(job.journal)


def check_enough_judged(reports: Sequence[StageReport], min_judged: float | None) -> None:
    """Raises: JudgingStopped, where a judge gave no verdict on anything that it was asked about, or on too little."""
    least = ENOUGH if min_judged is None else min_judged
    for report in reports:
        if not report.is_answered or report.share_answered < least:
            raise JudgingStopped(_too_little(report, least))


def _too_little(report: StageReport, least: float) -> str:
    without = {name: number for name, number in report.by_label().items() if name not in _ANSWERS and number}
    asked = sum(report.totals.values())
    answered, of = asked - sum(without.values()), counted(asked, "candidate")
    why = ", ".join(f"{number:,} {name}" for name, number in without.items())
    if not answered:
        return (
            f"{report.name}: none of {of} got a verdict ({why}; the reasons are above). Nothing can be built of this."
        )
    remedy = (
        f"Ask again with {argument('retry_failed', True)}" if without.keys() - {"unknown"} else "The judge lacks rows"
    )
    return (
        f"{report.name}: only {answered:,} of {of} got a verdict ({percent(report.share_answered)}; {why}; the reasons"
        f" are above); {percent(least)} must. {remedy}, or take it as it is with {argument('min_judged', 0)}."
    )


def judge_job(
    job: Job,
    source: Source,
    stages: Sequence[Stage],
    journal: Journal,
    engine: Engine | None,
    *,
    retry_failed: bool,
    also_pending: bool,
    budget: Budget | None = None,
) -> list[StageReport]:
    """Judge, with a live bar: in this process, or spread by an engine, whose workers make the stages themselves.

    Args:
        also_pending: whether what batches that were sent hold is asked too.
        budget: of the run that this is a part of.
    """
    from hf_relabel.hub_tools.batches.pending import check_pending
    from hf_relabel.hub_tools.judging.run import judge

    if not also_pending:
        check_pending(journal.path, stages)
    with judging_progress(rows_expected(source)) as progress:
        if engine is None:
            return judge(source, stages, journal, retry_failed=retry_failed, progress=progress, budget=budget)
        from hf_relabel.hub_tools.judging.on_ray import judge_on_ray

        reports = judge_on_ray(job, source, journal, engine, retry_failed=retry_failed, progress=progress)
    if budget is not None:
        budget.spent += sum(report.cost or 0.0 for report in reports)
    return reports


def reports_to_dict(reports: list[StageReport], journal: Journal) -> dict[str, Any]:
    """The outcome of judging as plain values."""
    totals = {str(label): number for label, number in journal.counts().items()}
    return {"stages": [report.to_dict() for report in reports], "journal": totals}


def show_reports(reports: list[StageReport], source: Source, journal: Journal, as_json: bool) -> None:
    """Print what judging did, failures included."""
    if as_json:
        print_json(reports_to_dict(reports, journal))
        return
    for report in reports:
        click.echo(f"Judge of {report.name}: {report.judge}")
    asks = any(report.requests for report in reports)
    lines = [
        {"stage": report.name, "rows": report.rows, **({"requests": report.requests} if asks else {})}
        | {"known": report.known, **report.by_label()}
        for report in reports
    ]
    click.echo(f"\n{text_table(lines, intfmt=',')}\n")
    for report in reports:
        click.echo(fitted(f"{report.name}: {report.sums()}."))
    for report in reports:
        if report.instead:
            click.echo(fitted(f"{report.name}: its server takes not all that the judge asks ({report.adapted()})."))
    click.echo(f"\n{WHAT_LABELS_MEAN}")
    show_thresholds(reports, journal)
    if any(report.known for report in reports):
        click.echo("known: counted too, but in the journal already and not asked again.")
    if any(report.unknown for report in reports):
        click.echo("unknown: in rows that the judge does not know.")
    if any(report.has_failures for report in reports):
        show_failures(source, journal)


def show_thresholds(reports: Sequence[StageReport], journal: Journal) -> None:
    """What the judges that score call better and worse, and what to try where that is next to nothing."""
    from hf_relabel.builders.cascade.run_stages import stages_of_run

    settings = {
        stage.name if len(stage.judges) == 1 else f"{stage.name} #{number}": judge.settings
        for stage in stages_of_run(journal.newest_run().settings)
        for number, judge in enumerate(stage.judges, start=1)
    }
    for report in reports:
        if "better" not in settings[report.name]:
            continue
        better, worse = (_from(settings[report.name][name]) for name in ("better", "worse"))
        click.echo(fitted(f"{report.name} judges by its score: better {better}, worse {worse} (--better, --worse)."))
        answers = sum(number for label, number in report.totals.items() if label.is_answer)
        found = report.totals[Label.BETTER]
        if found < FEW_BETTER * answers:
            share = f"{found:,} of {counted(answers, 'candidate')}"
            click.echo(fitted(f"It called {share} better. A lower --better finds more, and is wrong more often."))


def _from(threshold: float | None) -> str:
    return "never" if threshold is None or math.isinf(threshold) else f">= {threshold:.2f}"


def show_failures(source: Source, journal: Journal) -> None:
    """List the candidates of the source without an answer of the newest run's judges, by reason, the first of each by
    name."""
    from hf_relabel.builders.cascade.unanswered import unanswered_reasons

    reasons = unanswered_reasons(source, journal, journal.newest_run().settings)
    if not reasons:
        return
    unknown = all(_is_unknown(failure) for failure, _ in reasons)
    remedy = "the judge lacks these rows" if unknown else "ask again with --retry-failed"
    click.echo(f"\nNot judged (never read as irrelevant; {remedy}):")
    for failure, number in reasons[:MOST_REASONS_SHOWN]:
        label = "unknown" if _is_unknown(failure) else failure.label
        which = f"{failure.query_id} {failure.docid}{' and others' if number > 1 else ''}"
        message = " ".join(failure.message.split())[:200]
        say(fitted(f"{counted(number, 'candidate')} {label} ({which}): {message}", indent="  "))
    if len(reasons) > MOST_REASONS_SHOWN:
        click.echo("  …")


def _is_unknown(failure: Failure) -> bool:
    return Judgement(failure.label, rationale=failure.message).is_unknown
