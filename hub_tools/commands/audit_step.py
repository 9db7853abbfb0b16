"""The step `audit` of a job file, and what it shares with `hf relabel audit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.messages.counted import counted
from hf_relabel.hub_tools.commands.progress import progress_bar

if TYPE_CHECKING:
    from hf_relabel.builders.audit.answers import Answer
    from hf_relabel.builders.audit.report import AuditReport
    from hf_relabel.builders.audit.sample import AuditSample
    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.builders.job.steps import AuditSettings
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.builders.sources import Source

CALIBRATION_NAME = "calibration.json"
"""Of the thresholds that the step of a job file fits, in the folder of its audit."""


def drawn_sample(source: Source, journal: Journal, folder: Path, **how: Any) -> AuditSample:
    """Draw a sample, with a progress bar, and write it. See `draw_audit`."""
    from hf_relabel.builders.audit.answers import check_folder
    from hf_relabel.builders.audit.draw import draw_audit

    check_folder(folder)
    with progress_bar("drawing", unit=" candidates") as bar:
        sample = draw_audit(source, journal, progress=lambda done: bar.update(done - bar.n), **how)
    sample.write(folder)
    return sample


def export(sample: AuditSample, folder: Path, name: str, people: int = 1) -> str:
    """Write the files for people in one format, and return where they are."""
    from hf_relabel.builders.audit import exports

    if name == "csv":
        path = folder / exports.CSV_NAME
        exports.export_csv(sample, path)
        return str(path)
    path = folder / name
    if name == "label-studio":
        exports.export_label_studio(sample, path)
    else:
        exports.export_argilla(sample, path, people=people)
    return str(path)


def show_sample(sample: AuditSample, written: Sequence[str], then: str) -> None:
    """Print where the files for people are, and how their answers go back."""
    click.echo(
        f"{counted(len(sample.items), 'candidate')} of {counted(len(sample.strata), 'stratum', 'strata')}."
        + ("" if sample.reuse is None else f" A passage stands {sample.reuse:.1f} times in the rows on average.")
        + " Files for people:"
    )
    for path in written:
        click.echo(f"  {path}")
    click.echo(
        "Each is blind. People answer better (relevant, and at least as good as the ground truth), worse (relevant, but"
        f" less so), irrelevant, or cannot tell. Answers go back with: {then}"
    )


def read_all_answers(sample: AuditSample, files: Sequence[str], truth: str | None) -> list[Answer]:
    """The answers of all files, or of a truth file.

    Raises:
        ConfigError: neither or both were given, or two people have one name.
        BadRow: a file cannot be read.
    """
    from hf_relabel.builders.audit import answers
    from hf_relabel.builders.errors import ConfigError
    from hf_relabel.builders.judges.offline.truth import TruthJudge

    if bool(files) == bool(truth):
        raise ConfigError(
            "Give the files with people's answers, or --truth FILE in place of people. Without answers, --since EARLIER"
            " tells the share relevant by the errors that an earlier audit found."
        )
    if truth:
        known = answers.answers_from_truth(TruthJudge(truth).known, sample)
        if not known:
            raise ConfigError(f"{truth} has no line for any query of the sample. Is it of another set?")
        return known
    return answers.read_all_answers(files, sample)


def threshold_notes(calibration: Calibration, *, by_default: bool) -> str:
    """Where thresholds are; before that, where not all of it was given, what they are to hold."""
    from hf_relabel.builders.audit.draw import wanted_note

    return f"{wanted_note(calibration)}\n{calibration.note()}" if by_default else calibration.note()


@dataclass(frozen=True)
class AuditStep:
    """What the step did: `report` and `calibration` (a file, and what to say of it) once there are answers."""

    sample: AuditSample
    files: Sequence[str]
    report: AuditReport | None = None
    calibration: str | None = None
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "size": len(self.sample.items),
            "strata": len(self.sample.strata),
            "files": list(self.files),
            "report": None if self.report is None else self.report.to_dict(),
            "calibration": self.calibration,
        }

    def show(self) -> None:
        """Print what the answers say, or how to answer."""
        if self.report is None:
            show_sample(self.sample, self.files, "the same job with `answers` in its step `audit`")
            return
        click.echo(self.report.to_text())
        if self.calibration is not None:
            click.echo(f"\nThresholds are in {self.calibration}.")
            click.echo(self.note)


def run_step(settings: AuditSettings, source: Source, journal: Journal, built_by: str | None) -> AuditStep:
    """Draw the sample, or with answers read what they say of it, and fit thresholds where a precision is wanted.

    Args:
        built_by: the calibration that `build` follows anyway: then its verdicts are audited.

    Raises:
        ConfigError: the answers are to a sample of other judgements, or too few to fit thresholds on.
        BadRow: a file of answers cannot be read.
    """
    from hf_relabel.builders.audit.draw import calibrate
    from hf_relabel.builders.audit.report import audit_report
    from hf_relabel.builders.cascade.calibration import Calibration

    folder = Path(settings.out)
    thresholds = None if built_by is None else Calibration.read(Path(built_by))
    sample, files = _sample_of(settings, source, journal, thresholds)
    if not settings.is_answered:
        return AuditStep(sample, files)
    report = audit_report(sample, read_all_answers(sample, settings.answers, settings.truth))
    if settings.precision is None:
        return AuditStep(sample, files, report)
    how = settings.model_dump(include={"precision", "probability", "method", "drop"})
    calibration = calibrate(sample, report, **how)
    calibration.write(folder / CALIBRATION_NAME)
    note = threshold_notes(calibration, by_default=settings.probability is None)
    return AuditStep(sample, files, report, str(folder / CALIBRATION_NAME), note)


def _sample_of(
    settings: AuditSettings, source: Source, journal: Journal, thresholds: Calibration | None
) -> tuple[AuditSample, list[str]]:
    """The sample that people answered, if there is one, else a new one with files for people."""
    from hf_relabel.builders.audit.draw import draw_audit
    from hf_relabel.builders.audit.sample import STRATA_NAME, AuditSample
    from hf_relabel.builders.errors import ConfigError

    folder = Path(settings.out)
    if not (settings.answers and (folder / STRATA_NAME).exists()):
        how = {"size": settings.size, "seed": settings.seed, "calibration": thresholds}
        sample = drawn_sample(source, journal, folder, **how)
        return sample, [export(sample, folder, name, settings.people) for name in settings.export]
    sample = AuditSample.read(folder)
    now = draw_audit(source, journal, size=len(sample.items), seed=sample.seed, calibration=thresholds)
    if (now.items, now.strata) != (sample.items, sample.strata):
        raise ConfigError(
            f"The sample in {folder} was drawn from other judgements than those of this job, so its answers do not"
            " measure them. Go back to that source, journal and seed, or audit again with another `out`."
        )
    return sample, []
