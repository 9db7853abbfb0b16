"""Pilots: some rows judged by every stage, and the cascade that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from hf_relabel.builders.audit.sample import AuditSample
from hf_relabel.builders.cascade.same_judges import check_same_judges
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.planning.choosing import Chosen, Wanted, choose
from hf_relabel.builders.planning.counting import StageToPlan
from hf_relabel.builders.planning.pilot import (
    EVERYTHING,
    PilotOf,
    audit_labels,
    pilot_run,
    read_pilot,
    truth_labels,
)
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.samples import RowsDrawn
from hf_relabel.hub_tools.judging.plan import SomeRows, stages_to_plan
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stage_report import Progress, StageReport
from hf_relabel.hub_tools.judging.stages import Stage


def judge_pilot(
    source: Source, stages: Sequence[Stage], journal: Journal, rows: int, *, seed: int = 0, progress: Progress | None
) -> list[StageReport]:
    """Let every stage judge all candidates of some rows, drawn by chance, and note it as a run of its own. The same
    again asks for what has no answer.

    Args:
        rows: how many, which are held.
        seed: another one draws others.

    Raises:
        As `judge` does.
    """
    drawn = RowsDrawn(rows, seed)
    for numbered in source.rows():
        drawn.add(numbered)
    given = {each.name: getattr(source, each.name) for each in fields(Source)}
    sample = SomeRows(**given, kept=drawn.in_order(), seed=seed)
    everything = [replace(stage, rule=EVERYTHING) for stage in stages]
    return judge(sample, everything, journal, retry_failed=True, progress=progress)


@dataclass(frozen=True, slots=True)
class CascadePlan:
    """What a pilot backs, and what it was."""

    chosen: Chosen
    of: PilotOf
    wanted: Wanted


def plan_cascade(
    source: Source,
    stages: Sequence[Stage],
    journal: Journal,
    wanted: Wanted,
    *,
    truth: str | None = None,
    audit: str | None = None,
    answers: Sequence[str] = (),
    rows: int | None = None,
) -> CascadePlan:
    """Which stages to take, by which thresholds, so that what is relabelled has a precision. Asks nobody.

    Args:
        journal: holds a pilot, see `judge_pilot`.
        wanted: its `candidates` are those of the source.
        truth: a file of known false negatives.
        audit, answers: or the folder of an audit of the pilot, and files of people's answers to it.
        rows: scale costs to a source of so many rows like these.

    Raises:
        ConfigError: there are no labels, they are not of this pilot, or are too few or of one kind.
        JournalError: the journal holds no pilot.
    """
    sample = None if audit is None else AuditSample.read(Path(audit))
    run = pilot_run(journal, [stage.name for stage in stages])
    if bool(truth) == (sample is not None and bool(answers)):
        raise ConfigError(
            "A precision needs labels of the pilot: give --truth FILE, or --audit FOLDER and --answers FILE for what"
            f" people said of a sample of it (`{program()} audit sample … --journal {journal.path}`)."
        )
    if truth:
        labels = truth_labels(truth)
    elif sample is not None:
        labels = audit_labels(sample, answers)
        check_same_judges(
            sample.stages,
            run["stages"],
            what=f"The sample in {audit} was drawn from the verdicts of",
            of="the pilot is of",
            then="Draw one from the pilot.",
        )
    of = read_pilot(source, journal, run, _judges_of(stages), labels)
    total = of.candidates if rows is None or not of.rows else round(of.candidates * rows / of.rows)
    wanted = replace(wanted, candidates=total)
    return CascadePlan(choose(of.pilot, wanted), of, wanted)


def _judges_of(stages: Sequence[Stage]) -> list[list[StageToPlan]]:
    flat = iter(stages_to_plan(stages))
    return [[next(flat) for _ in stage.members] for stage in stages]
