"""From a journal to the sample of an audit, and from people's answers to thresholds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from hf_relabel.builders.audit.reuse import Reuse
from hf_relabel.builders.audit.sample import AuditSample
from hf_relabel.builders.audit.selection import draw
from hf_relabel.builders.audit.strata import JudgedCandidate
from hf_relabel.builders.cascade.report import member_names
from hf_relabel.builders.cascade.run_choice import run_of
from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.cascade.verdicts import judged_rows
from hf_relabel.builders.cascade.zones import signal
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.sources import Source

if TYPE_CHECKING:
    from hf_relabel.builders.audit.report import AuditReport
    from hf_relabel.builders.cascade.calibration import Calibration, Drop
    from hf_relabel.builders.cascade.suspects import Rows

logger = logging.getLogger(__name__)

SELDOM = 5.0
"""Passages that stand in fewer places of the rows, on average, return seldom."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of what thresholds relabel: the precision that labels back, and the least probability of a candidate."""

    precision: float
    probability: float


SURE, LIKELY = Wanted(0.8, 0.9), Wanted(1 / 3, 0.5)
"""What gained on every set that was measured, and on those whose passages return seldom (`bench_zones_training`)."""


def wanted_of(reuse: float | None) -> Wanted:
    """What thresholds are to hold by default: of a set whose passages return seldom, errors cost little.

    Args:
        reuse: of the sample; None, where it is not known, is taken for often.
    """
    return LIKELY if reuse is not None and reuse < SELDOM else SURE


def wanted_note(calibration: Calibration) -> str:
    """What thresholds are to hold, and why, for those who did not give both."""
    reuse, zones = calibration.reuse, calibration.zones
    each = "" if zones.least is None else f"have a probability of {zones.least:g} or more, and "
    then = f"what is relabelled is to {each}hold a precision of {zones.wanted:.3g} by the labels"
    if reuse is None:
        return f"How often a passage returns in the rows is not known of this sample: {then}."
    why = f"fewer than {SELDOM:g}, so errors cost little" if reuse < SELDOM else "so errors cost much"
    return f"A passage stands {reuse:.1f} times in the rows on average, {why}: {then}."


def of_seldom(calibration: Calibration | None) -> bool:
    """Whether thresholds are only for rows whose passages seldom return, so that they are to be counted."""
    if calibration is None or calibration.reuse is None or calibration.reuse >= SELDOM:
        return False
    zones = calibration.zones
    return zones.at is None and (zones.wanted < SURE.precision or (zones.least or 0) < SURE.probability)


def check_reuse(calibration: Calibration | None, reuse: float | None) -> None:
    """Warn where thresholds of rows whose passages seldom return decide about rows whose passages return often."""
    if calibration is not None and of_seldom(calibration) and reuse is not None and reuse >= SELDOM:
        logger.warning(
            "The thresholds were fitted on rows in which a passage stands %.1f times on average, where errors cost"
            " little. In these rows it stands %.1f times, where they cost much: draw an audit of these.",
            calibration.reuse,
            reuse,
        )


def draw_audit(
    source: Source,
    journal: Journal,
    *,
    size: int = 400,
    seed: int = 0,
    calibration: Calibration | None = None,
    run: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> AuditSample:
    """Draw a blind, stratified sample of what the last run in a journal judged. Calls no judge.

    Args:
        size: candidates to draw.
        seed: another one draws others.
        calibration: audit the verdicts that its thresholds give, and not those of the judges' labels.
        run: number of the run to read; None for the last one whose judges answered nearly all of the source.
        progress: called with the candidates read so far.

    Raises:
        ConfigError: nothing was judged, the size is below 1, or the calibration was fitted on a sample of this seed or
            on other judges.
        JournalError: the journal holds no run, or none of that number.
    """

    if calibration is not None and calibration.seed == seed:
        raise ConfigError(
            f"These thresholds were fitted on answers to a sample of seed {seed}, and labels do not say how good the"
            f" thresholds are that they chose. Draw another sample: {argument('seed', seed + 1)}."
        )

    settings = run_of(source, journal, run).settings
    reuse = Reuse()

    def read(wanted: frozenset[int] | None) -> Iterator[JudgedCandidate]:
        rows = Counted(source, reuse) if wanted is None else _Only(source, wanted)
        for number, candidate in enumerate(judged_candidates(rows, journal, calibration, settings), start=1):
            yield candidate
            if progress is not None and wanted is None:
                progress(number)

    sample = draw(read, size, seed=seed, calibrated=calibration is not None)
    return replace(sample, stages=tuple(settings["stages"]), reuse=reuse.mean)


@dataclass(frozen=True, slots=True)
class Counted:
    """The rows of a source, whose passages are counted on the way."""

    source: Rows
    reuse: Reuse

    def rows(self) -> Iterator[NumberedRow]:
        for numbered in self.source.rows():
            self.reuse.add(numbered.row)
            yield numbered

    def record(self) -> dict[str, Any]:
        return self.source.record()


@dataclass(frozen=True, slots=True)
class _Only:
    """The rows of a source with these numbers: no others are looked up in the journal."""

    source: Rows
    numbers: frozenset[int]

    def rows(self) -> Iterator[NumberedRow]:
        return (numbered for numbered in self.source.rows() if numbered.number in self.numbers)

    def record(self) -> dict[str, Any]:
        return self.source.record()


def judged_candidates(
    source: Rows, journal: Journal, calibration: Calibration | None = None, run: Mapping[str, Any] | None = None
) -> Iterator[JudgedCandidate]:
    """Every candidate of a run, the last where none is given, with its verdict and what each judge says of it."""
    run = run_of(source, journal).settings if run is None else run
    stages = stages_of_run(run)
    names = member_names(stages)
    for judged in judged_rows(source, journal, run, calibration=calibration):
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
                number=judged.numbered.number,
            )


@needs("audit", "Calibrating")
@expects(sample=AuditSample, report="AuditReport")
def calibrate(
    sample: AuditSample,
    report: AuditReport,
    *,
    precision: float | None = None,
    probability: float | None = None,
    method: Literal["auto", "isotonic", "platt"] = "auto",
    drop: Drop = "keep",
) -> Calibration:
    """Fit thresholds for a wanted precision on the answers to an audit.

    Example:
            calibration = calibrate(sample, audit_report(sample, answers), precision=0.9)
            calibration.write(Path("calibration.json"))
            build_configs("train.jsonl", "journal.sqlite", BuildSettings(out="cleaned", calibration="calibration.json"))

    Args:
        sample: that was answered.
        report: of the answers.
        precision: of what the thresholds relabel, which the answers have to back (95 % confidence). None for .8, and
            for a third where passages return seldom in the rows (`wanted_of`).
        probability: the least of a candidate that is relabelled, by the fitted curve; None for .9, and for .5 where
            passages return seldom; 0 for none. At a precision alone most of what is relabelled is better, and the last
            of it far worse: that training pays for.
        method: how scores become probabilities, see `hf_relabel.builders.cascade.calibration`.
        drop: from where on candidates are doubtful: "keep" has nine tenths of the labelled false negatives lie there
            or above, "likely" takes a calibrated probability of .5.

    Raises:
        ConfigError: too few answers, answers of one kind only, or a library is missing.
    """
    from hf_relabel.builders.cascade.fitting import LabelledScore, fit

    labelled = [
        LabelledScore(item.signal, report.truth[item.id], report.weights[item.id])
        for item in sample.items
        if item.signal is not None and item.id in report.truth
    ]
    wanted = wanted_of(sample.reuse)
    fitted = fit(
        labelled,
        method=method,
        precision=wanted.precision if precision is None else precision,
        probability=(wanted.probability if probability is None else probability) or None,
        drop=drop,
    )
    return fitted.model_copy(update={"seed": sample.seed, "stages": sample.stages, "reuse": sample.reuse})
