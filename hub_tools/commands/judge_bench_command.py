"""`hf relabel judge-bench`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.hub_tools.commands.common import command_needs, json_option, print_json, source_options, source_settings
from hf_relabel.hub_tools.commands.interrupting import goes_on, kept_in
from hf_relabel.hub_tools.commands.judge_options import stage_options_but_truth, stage_settings
from hf_relabel.hub_tools.commands.live import judging_progress, rows_expected

if TYPE_CHECKING:
    from hf_relabel.builders.journal.store import Journal

EPILOG = """\b
Examples:
  hf relabel judge-bench rows.jsonl --truth truth.jsonl --judge similarity
  hf relabel judge-bench rows.jsonl --truth truth.jsonl --endpoint http://127.0.0.1:8080 --sample 200
  hf relabel judge-bench rows.jsonl --truth truth.jsonl --stages job.yaml --journal bench.sqlite --json"""


@click.command("judge-bench", epilog=EPILOG)
@source_options
@stage_options_but_truth
@click.option("--truth", required=True, metavar="FILE", help="Known false negatives: {query_id, false_negatives}.")
@click.option(
    "--journal", "journal_path", help="Keep the judgements here, so that a bench that was stopped goes on from there."
)
@click.option("--resamples", default=200, show_default=True, type=click.IntRange(min=0), help="Of the bootstrap.")
@click.option("--figure", help="Write the kappas beside those of the paper to this PNG file.")
@json_option
def command(
    truth: str, journal_path: str | None, resamples: int, figure: str | None, as_json: bool, **options: Any
) -> None:
    """Measure judges on SOURCE, whose false negatives are known.

    Gives AUC, average precision, recall at fixed precision, mAP@10 and P@L(GT) (the paper's tables), and kappa, each
    with a 95 % interval over rows.
    """
    command_needs("audit")
    from hf_relabel.builders.cascade.run_stages import stages_of_run
    from hf_relabel.builders.cascade.verdicts import judged_rows
    from hf_relabel.builders.job.job_file import Job
    from hf_relabel.builders.judges.offline.truth import TruthJudge
    from hf_relabel.hub_tools.judging.assemble import source_of, stages_of
    from hf_relabel.hub_tools.judging.run import judge
    from hf_relabel.trainers.students.judge_bench import figures_table, judge_figures

    job = Job(
        source=source_settings(options),
        stages=stage_settings({**options, "truth": truth if options["judge_kind"] == "truth" else None}),
    )
    source, known = source_of(job.source), TruthJudge(truth).known
    with _journal(journal_path) as journal:
        with judging_progress(rows_expected(source)) as progress:
            judge(source, stages_of(job), journal, progress=progress)
        run = journal.newest_run().settings
        found = judge_figures(judged_rows(source, journal, run), stages_of_run(run), known, resamples=resamples)
    if figure:
        from pathlib import Path

        from hf_relabel.builders.disk.atomic_file import written_whole
        from hf_relabel.cards.figures.agreement import agreement_png

        kappas = [(judge_.judge, judge_.figures["kappa"]) for judge_ in found]
        rows = [
            {"name": name, "kappa": kappa.value, "lo": kappa.low, "hi": kappa.high}
            for name, kappa in kappas
            if kappa.value is not None
        ]
        with written_whole(Path(figure)) as file:
            file.write(agreement_png({"rows": rows}))
    if as_json:
        print_json([figures.to_dict() for figures in found])
    else:
        click.echo(figures_table(found))


@contextmanager
def _journal(path: str | None) -> Iterator[Journal]:
    """The journal of that name, or one that is gone afterwards."""
    import tempfile
    from pathlib import Path

    from hf_relabel.builders.journal.store import Journal, journal_for_judging

    if path is not None:
        with goes_on(partial(kept_in, path)), journal_for_judging(path) as journal:
            yield journal
        return
    with (
        tempfile.TemporaryDirectory(prefix="hf-relabel-bench-") as folder,
        Journal(Path(folder) / "journal.sqlite") as journal,
    ):
        yield journal
