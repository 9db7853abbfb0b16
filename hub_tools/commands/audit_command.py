"""`hf relabel audit`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.commands.audit_step import (
    drawn_sample,
    export,
    read_all_answers,
    show_sample,
    threshold_notes,
)
from hf_relabel.hub_tools.commands.common import (
    FOLDER,
    NumberIn,
    command_needs,
    json_option,
    print_json,
    run_option,
    source_options,
    source_settings,
)

if TYPE_CHECKING:
    from hf_relabel.builders.audit.answers import Answer
    from hf_relabel.builders.audit.expected import Called
    from hf_relabel.builders.audit.report import AuditReport
    from hf_relabel.builders.audit.sample import AuditSample
    from hf_relabel.builders.cascade.calibration import Calibration

EPILOG = """\b
Examples:
  hf relabel audit sample train.jsonl --size 400 --out audit
  hf relabel audit report audit audit/answers.csv another-person.csv
  hf relabel audit report audit export.json --calibrate calibration.json --precision 0.9
  hf relabel audit report audit --truth truth.jsonl --write cleaned"""

SAMPLE_EPILOG = """\b
Examples:
  hf relabel audit sample train.jsonl --size 400 --out audit
  hf relabel audit sample train.jsonl --size 400 --out audit --export label-studio --export argilla
  hf relabel audit sample train.jsonl --out again --seed 1 --calibration calibration.json   # of what is built by it"""

REPORT_EPILOG = """\b
Examples:
  hf relabel audit report audit anna.csv ben.csv
  hf relabel audit report audit label-studio-export.json --json
  hf relabel audit report audit --truth truth.jsonl --calibrate calibration.json --precision 0.9
  hf relabel audit report audit anna.csv --write cleaned
  hf relabel audit report again dora.csv --since cleaned      # what changed since the audit of that release
  hf relabel audit report newer --since cleaned               # the share relevant of a release that nobody answered for
  hf relabel audit report user/my-set"""

FORMATS = ("csv", "label-studio", "argilla")


@click.group("audit", epilog=EPILOG)
def command() -> None:
    """Measure the judges: draw a blind sample for people, read their answers, report precision, recall and kappa."""


@command.command("sample", epilog=SAMPLE_EPILOG)
@source_options
@click.option("--journal", "journal_path", default="journal.sqlite", show_default=True, help="Where judgements are.")
@click.option("--size", default=400, show_default=True, type=click.IntRange(min=1), help="How many candidates.")
@click.option("--seed", default=0, show_default=True, help="Another seed draws another sample.")
@click.option("--out", required=True, type=FOLDER, help="Folder for the sample and the files for people.")
@click.option(
    "--export", "formats", multiple=True, type=click.Choice(FORMATS), help="Files for people; csv when not given."
)
@click.option(
    "--people",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many are to answer each item. Argilla is told; in Label Studio set it as annotations per task.",
)
@click.option(
    "--calibration", metavar="FILE", help="Audit the verdicts of these thresholds, and not those of the judges' labels."
)
@run_option
@json_option
def sample_command(
    journal_path: str,
    size: int,
    seed: int,
    out: str,
    formats: tuple[str, ...],
    people: int,
    calibration: str | None,
    run_number: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw a blind, stratified sample of the judged candidates of SOURCE.

    All labels are drawn, not only hits, and none is shown in the files for people. Keep sample.jsonl from them: it
    holds the labels, and `audit report` needs it.
    """
    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.hub_tools.judging.assemble import source_of

    source = source_of(source_settings(options))
    thresholds = None if calibration is None else Calibration.read(Path(calibration))
    with Journal(journal_path, write=False) as journal:
        how = {"size": size, "seed": seed, "calibration": thresholds, "run": run_number}
        sample = drawn_sample(source, journal, Path(out), **how)
    written = [export(sample, Path(out), name, people) for name in formats or ("csv",)]
    if as_json:
        print_json({"size": len(sample.items), "strata": len(sample.strata), "reuse": sample.reuse, "files": written})
        return
    show_sample(sample, written, f"{program()} audit report {out} FILE …")


@command.command("report", epilog=REPORT_EPILOG)
@click.argument("audit")
@click.argument("answers", nargs=-1)
@click.option("--truth", metavar="FILE", help="Known false negatives in place of people.")
@click.option("--calibrate", metavar="FILE", help="Fit thresholds on the answers and write them for `build`.")
@click.option(
    "--precision",
    type=NumberIn(0, 1, min_open=True, max_open=True),
    help="Of what the thresholds relabel, backed by the answers with 95 % confidence. Unless given 0.8, or a third"
    " where a passage stands fewer than 5 times in the rows on average.",
)
@click.option(
    "--probability",
    type=NumberIn(0, 1, max_open=True),
    help="Least of each candidate that they relabel, by the fitted curve; 0 for none. Unless given 0.9, or 0.5 where a"
    " passage stands fewer than 5 times.",
)
@click.option(
    "--method", default="auto", show_default=True, type=click.Choice(["auto", "isotonic", "platt"]), help="How to fit."
)
@click.option(
    "--drop",
    default="keep",
    show_default=True,
    type=click.Choice(["keep", "likely"]),
    help="What is doubtful: keep has nine tenths of the false negatives of the audit at least so, likely takes what is"
    " rather false than not by the fitted probability.",
)
@click.option("--figure", help="Write the reliability diagram to this PNG file. Needs --calibrate.")
@click.option(
    "--write", "built", metavar="FOLDER", help="Put the outcome into the manifest and card of a built folder."
)
@click.option(
    "--since",
    metavar="EARLIER",
    help="An earlier audit: its --json, the folder it is written in, or a release on the Hub that people answered for."
    " Says what changed since, and the share relevant that its judges' errors then mean.",
)
@json_option
def report_command(
    audit: str,
    answers: tuple[str, ...],
    truth: str | None,
    calibrate: str | None,
    precision: float | None,
    probability: float | None,
    method: str,
    drop: str,
    figure: str | None,
    built: str | None,
    since: str | None,
    as_json: bool,
) -> None:
    """Report what the answers say of the judges.

    AUDIT is the folder of `audit sample`, or a release (user/repo) whose answers people gave in its Space; ANSWERS go
    with a folder: filled-in CSV files and exports of Label Studio or Argilla, from one person or several. Precision,
    recall, F1 and kappa are of the whole set, not of the sample. Argilla's to_disk does not tell drafts from answers; a
    JSON list of [record.serialize() for record in dataset.records] does.

    With --since AUDIT may be without any answers, and a folder that was built too: its share relevant is then worked
    out from what its judges call better and from the errors that the earlier audit found in them.
    """
    command_needs("audit")
    from hf_relabel.builders.audit.drift import drift
    from hf_relabel.builders.audit.expected import Called, expected_share
    from hf_relabel.builders.audit.report import audit_report
    from hf_relabel.builders.errors import ConfigError

    _check_calibrated(calibrate, figure)
    earlier = None if since is None else _earlier(since)
    audited = _audited(audit, answers, truth, may_lack_answers=earlier is not None)
    if isinstance(audited, Called):
        if calibrate is not None or built:
            raise ConfigError(f"{'--write' if calibrate is None else '--calibrate'} needs answers to {audit} itself.")
        expected = expected_share(earlier or {}, audited)
        print_json(expected.to_dict()) if as_json else click.echo(expected.to_text())
        return
    sample, given = audited
    if built is not None:
        check_built(Path(built), sample, audit)
    found = audit_report(sample, given)
    how = {"precision": precision, "probability": probability, "method": method, "drop": drop}
    fitted = None if calibrate is None else _calibrate(sample, found, Path(calibrate), figure, **how)
    written = None if built is None else write_audit(Path(built), found)
    changed = None if earlier is None else drift(earlier, found.to_dict(), Called.of_sample(audit, sample))
    if as_json:
        zones = {} if fitted is None else {"zones": fitted.zones.model_dump(mode="json")}
        drifted = {} if changed is None else {"drift": changed.to_dict()}
        of: dict[str, Any] = {} if sample.stages is None else {"stages": list(sample.stages)}
        of |= {} if sample.reuse is None else {"reuse": sample.reuse}
        print_json({**found.to_dict(), **of, **zones, **drifted, "written_to": built if written else None})
        return
    click.echo(found.to_text())
    if changed is not None:
        click.echo(f"\n{changed.to_text()}")
    if fitted is not None:
        click.echo(f"\nThresholds are in {calibrate}: {program()} build … --calibration {calibrate}")
        click.echo(threshold_notes(fitted, by_default=None in (precision, probability)))
    if written:
        default, why = written
        click.echo(f"\nWritten to {built}; its default config is {default}: {why}.")


def _check_calibrated(calibrate: str | None, figure: str | None) -> None:
    """Raises: ConfigError, where what is for a calibration has none, or it would take the place of another file."""
    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.builders.errors import ConfigError

    if calibrate is None:
        if figure is not None:
            raise ConfigError("--figure shows a calibration: give --calibrate too.")
        context = click.get_current_context()
        for name in ("precision", "probability", "method", "drop"):
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise ConfigError(f"--{name} is for --calibrate: give that too.")
        return
    if figure is not None and Path(figure).absolute() == Path(calibrate).absolute():
        raise ConfigError(f"--figure and --calibrate are both {figure}: give each a file of its own.")
    if Path(calibrate).is_file():
        try:
            Calibration.read(Path(calibrate))
        except ConfigError as error:
            raise ConfigError(f"{error} --calibrate writes no other file over: choose another name.") from None


def _audited(
    audit: str, answers: tuple[str, ...], truth: str | None, *, may_lack_answers: bool
) -> tuple[AuditSample, list[Answer]] | Called:
    """The sample and the answers to it; of what nobody answered, where that may be, what its judges said."""
    from hf_relabel.builders.audit.answers import check_unanswered
    from hf_relabel.builders.audit.expected import Called
    from hf_relabel.builders.audit.sample import AuditSample
    from hf_relabel.builders.configs.manifest import MANIFEST_NAME, read_manifest
    from hf_relabel.hub_tools.space.people.answered import NobodyAnswered, audit_of

    folder = Path(audit)
    if answers or truth or (folder.exists() and not may_lack_answers):
        sample = AuditSample.read(folder)
        return sample, read_all_answers(sample, answers, truth)
    if (folder / MANIFEST_NAME).exists():
        return Called.of_release(audit, read_manifest(folder))
    if folder.exists() or not _is_on_hub(audit):
        sample = AuditSample.read(folder)
        check_unanswered(folder)
        return Called.of_sample(audit, sample)
    try:
        return audit_of(audit)
    except NobodyAnswered as error:
        if not may_lack_answers:
            raise
        return Called.of_release(audit, error.manifest)


def _earlier(since: str) -> Mapping[str, Any]:
    """The earlier audit, of a file, a folder, or a release on the Hub that it was written to or people answered for."""
    from hf_relabel.builders.audit.drift import audit_in, earlier_audit
    from hf_relabel.builders.audit.report import audit_report
    from hf_relabel.hub_tools.space.people.answered import NobodyAnswered, audit_of

    if Path(since).exists() or not _is_on_hub(since):
        return earlier_audit(since)
    try:
        sample, given = audit_of(since)
    except NobodyAnswered as error:
        written = audit_in(error.manifest)
        if written is None:
            raise
        return written
    return {**audit_report(sample, given).to_dict(), "stages": sample.stages}


def _is_on_hub(name: str) -> bool:
    from hf_relabel.hub_tools.hub.source import HubLocation

    return HubLocation.parse(name) is not None


def _calibrate(sample: AuditSample, found: AuditReport, path: Path, figure: str | None, **how: Any) -> Calibration:
    """Fit thresholds, and write them and the figure."""
    from hf_relabel.builders.audit.draw import calibrate

    calibration = calibrate(sample, found, **how)
    calibration.write(path)
    if figure:
        from hf_relabel.builders.disk.atomic_file import written_whole
        from hf_relabel.cards.figures.reliability import reliability_png

        with written_whole(Path(figure)) as file:
            file.write(reliability_png(calibration.to_dict()))
    return calibration


def check_built(folder: Path, sample: AuditSample, name: str) -> None:
    """Whether a folder was built of the verdicts that a sample was drawn from. Warns where that is not known.

    Raises:
        BuildError: it is no built folder.
        ConfigError: it was built of other judges' verdicts.
    """
    from hf_relabel.builders.cascade.same_judges import check_same_judges, tell_unknown
    from hf_relabel.builders.configs.manifest import read_manifest

    known = check_same_judges(
        sample.stages,
        (read_manifest(folder).get("run") or {}).get("stages"),
        what=f"The sample in {name} was drawn from the verdicts of",
        of=f"{folder} was built of those of",
        then="Build the run that was audited, or draw a sample of the run that was built.",
    )
    if not known:
        tell_unknown(name if sample.stages is None else str(folder), "the audit", str(folder))


def write_audit(folder: Path, found: AuditReport) -> tuple[str, str]:
    """Put the audit into the folder's manifest and card. Returns the default config that follows, and why."""
    from hf_relabel.builders.configs.evidence import audited_default, write_evidence
    from hf_relabel.builders.configs.manifest import read_manifest

    evidence: Mapping[str, Any] = found.to_dict()
    default, why = audited_default(read_manifest(folder), evidence)
    write_evidence(folder, "audit", evidence, default=default)
    return default, why


# The step of a job file
