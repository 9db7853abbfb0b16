"""`hf relabel audit`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.hub_tools.commands.common import json_option, print_json, progress_bar, source_options, source_settings

if TYPE_CHECKING:
    from hf_relabel.builders.audit.answers import Answer
    from hf_relabel.builders.audit.report import AuditReport
    from hf_relabel.builders.audit.sampling import AuditSample, JudgedCandidate
    from hf_relabel.builders.journal import Journal
    from hf_relabel.builders.judgements import Judgement
    from hf_relabel.builders.sources import Source

EPILOG = """\b
Examples:
  hf relabel audit sample train.jsonl --size 400 --out audit
  hf relabel audit report audit audit/answers.csv another-person.csv
  hf relabel audit report audit export.json --calibrate calibration.json --precision 0.9
  hf relabel audit report audit --truth truth.jsonl --write cleaned"""

SAMPLE_EPILOG = """\b
Examples:
  hf relabel audit sample train.jsonl --size 400 --out audit
  hf relabel audit sample train.jsonl --size 400 --out audit --export label-studio --export argilla"""

REPORT_EPILOG = """\b
Examples:
  hf relabel audit report audit anna.csv ben.csv
  hf relabel audit report audit label-studio-export.json --json
  hf relabel audit report audit --truth truth.jsonl --calibrate calibration.json --precision 0.9
  hf relabel audit report audit anna.csv --write cleaned"""

FORMATS = ("csv", "label-studio", "argilla")


@click.group("audit", epilog=EPILOG)
def command() -> None:
    """Measure the judges: draw a blind sample for people, read their answers, report precision, recall and kappa."""


@command.command("sample", epilog=SAMPLE_EPILOG)
@source_options
@click.option("--journal", "journal_path", default="journal.sqlite", show_default=True, help="Where judgements are.")
@click.option("--size", default=400, show_default=True, type=click.IntRange(min=1), help="How many candidates.")
@click.option("--seed", default=0, show_default=True, help="Another seed draws another sample.")
@click.option("--out", required=True, help="Folder for the sample and the files for people.")
@click.option(
    "--export", "formats", multiple=True, type=click.Choice(FORMATS), help="Files for people; csv when not given."
)
@json_option
def sample_command(
    journal_path: str, size: int, seed: int, out: str, formats: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Draw a blind, stratified sample of the judged candidates of SOURCE.

    All labels are drawn, not only hits, and none is shown in the files for people. Keep sample.jsonl from them: it
    holds the labels, and `audit report` needs it.
    """
    from hf_relabel.builders.audit.sampling import draw
    from hf_relabel.builders.journal import Journal
    from hf_relabel.hub_tools.assembly import source_of

    source = source_of(source_settings(options))
    with Journal(journal_path, write=False) as journal, progress_bar("drawing") as bar:
        sample = draw((bar.update() or item for item in judged_candidates(source, journal)), size, seed=seed)
    folder = Path(out)
    sample.write(folder)
    written = [_export(sample, folder, name) for name in formats or ("csv",)]
    if as_json:
        print_json({"size": len(sample.items), "strata": len(sample.strata), "files": written})
        return
    click.echo(f"{len(sample.items)} candidates of {len(sample.strata)} strata. Files for people:")
    for path in written:
        click.echo(f"  {path}")
    click.echo("Each is blind. Answers go back with: hf relabel audit report " + out + " FILE …")


def _export(sample: AuditSample, folder: Path, name: str) -> str:
    from hf_relabel.builders.audit import exports

    if name == "csv":
        path = folder / "questions.csv"
        exports.export_csv(sample, path)
        return str(path)
    path = folder / name
    (exports.export_label_studio if name == "label-studio" else exports.export_argilla)(sample, path)
    return str(path)


def judged_candidates(source: Source, journal: Journal) -> Iterator[JudgedCandidate]:
    """Every candidate of the last run with its verdict and what each judge says of it."""
    from hf_relabel.builders.audit.sampling import JudgedCandidate
    from hf_relabel.builders.judging_report import member_names
    from hf_relabel.builders.runs import judged_rows, stages_of_run
    from hf_relabel.builders.zoning import signal

    run = journal.last_run()
    stages = stages_of_run(run)
    names = member_names(stages)
    for judged in judged_rows(source, journal, run):
        for verdict in judged.verdicts:
            said: dict[str, Judgement | None] = {}
            for stage, members, view in zip(stages, names, judged.views, strict=False):
                said |= {name: answers.get(verdict.position) for name, answers in zip(members, view.said, strict=True)}
                if stage.combine is not None:
                    said[stage.name] = view.word.get(verdict.position)
            asked = [stage.name for stage, word in zip(stages, verdict.stages, strict=False) if word is not None]
            yield JudgedCandidate(
                row=judged.numbered.row,
                position=verdict.position,
                outcome=verdict.outcome,
                judges=said,
                settled_by=asked[-1] if asked else "",
                signal=signal(verdict),
            )


@command.command("report", epilog=REPORT_EPILOG)
@click.argument("audit")
@click.argument("answers", nargs=-1)
@click.option("--truth", metavar="FILE", help="Known false negatives in place of people.")
@click.option("--calibrate", metavar="FILE", help="Fit thresholds on the answers and write them for `build`.")
@click.option(
    "--precision",
    default=0.9,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Wanted of what the thresholds relabel.",
)
@click.option(
    "--method", default="auto", show_default=True, type=click.Choice(["auto", "isotonic", "platt"]), help="How to fit."
)
@click.option("--figure", help="Write the reliability diagram to this PNG file. Needs --calibrate.")
@click.option(
    "--write", "built", metavar="FOLDER", help="Put the outcome into the manifest and card of a built folder."
)
@json_option
def report_command(
    audit: str,
    answers: tuple[str, ...],
    truth: str | None,
    calibrate: str | None,
    precision: float,
    method: str,
    figure: str | None,
    built: str | None,
    as_json: bool,
) -> None:
    """Report what the answers say of the judges.

    AUDIT is the folder of `audit sample`; ANSWERS are filled-in CSV files and exports of Label Studio or Argilla, from
    one person or several. Precision, recall, F1 and kappa are of the whole set, not of the sample.
    """
    from hf_relabel.builders.audit.report import report
    from hf_relabel.builders.audit.sampling import AuditSample
    from hf_relabel.builders.errors import ConfigError

    if figure and not calibrate:
        raise ConfigError("--figure shows a calibration: give --calibrate too.")
    sample = AuditSample.read(Path(audit))
    given = read_all_answers(sample, answers, truth)
    found = report(sample, given)
    if calibrate:
        _calibrate(sample, found, Path(calibrate), precision, method, figure)
    written = None if built is None else _write(Path(built), found)
    if as_json:
        print_json({**found.to_dict(), "written_to": built if written else None})
        return
    click.echo(found.to_text())
    if calibrate:
        click.echo(f"\nThresholds are in {calibrate}: hf relabel build … --calibration {calibrate}")
    if written:
        click.echo(f"\nWritten to {built}; its default config is {written}.")


def read_all_answers(sample: AuditSample, files: Sequence[str], truth: str | None) -> list[Answer]:
    """The answers of all files, or of a truth file.

    Raises:
        ConfigError: neither or both were given.
        BadRow: a file cannot be read.
    """
    from hf_relabel.builders.audit.answers import answers_from_truth, read_answers
    from hf_relabel.builders.errors import ConfigError
    from hf_relabel.builders.judges.truth import TruthJudge

    if bool(files) == bool(truth):
        raise ConfigError("Give the files with people's answers, or --truth FILE in place of people.")
    if truth:
        return answers_from_truth(TruthJudge(truth).known, sample)
    return [answer for file in files for answer in read_answers(Path(file), sample)]


def _calibrate(
    sample: AuditSample, found: AuditReport, path: Path, precision: float, method: Any, figure: str | None
) -> None:
    from hf_relabel.builders.calibration import LabelledScore, fit

    labelled = [
        LabelledScore(item.signal, found.truth[item.id], item.weight)
        for item in sample.items
        if item.signal is not None and item.id in found.truth
    ]
    calibration = fit(labelled, method=method, precision=precision)
    calibration.write(path)
    if figure:
        from hf_relabel.builders.whole_file import written_whole
        from hf_relabel.cards.reliability import reliability_png

        with written_whole(Path(figure)) as file:
            file.write(reliability_png(calibration.to_dict()))


def _write(folder: Path, found: AuditReport) -> str:
    """Put the audit into the folder's manifest and card. Returns the default config that follows."""
    from hf_relabel.builders.evidence import audited_default, write_evidence
    from hf_relabel.builders.manifest import read_manifest

    evidence: Mapping[str, Any] = found.to_dict()
    default = audited_default(read_manifest(folder), evidence)
    write_evidence(folder, "audit", evidence, default=default)
    return default
