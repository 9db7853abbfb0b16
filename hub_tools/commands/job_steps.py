"""The steps of a job file, one after the other, and what they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hf_relabel.builders.cascade.suspects import Suspect
    from hf_relabel.builders.configs.writing import BuildReport
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.builders.sources import Source
    from hf_relabel.cards.training_report import TrainingReport
    from hf_relabel.hub_tools.commands.audit_step import AuditStep
    from hf_relabel.hub_tools.judging.stage_report import StageReport
    from hf_relabel.hub_tools.judging.stages import Stage
    from hf_relabel.hub_tools.ray_cluster.cluster import Engine
    from hf_relabel.hub_tools.releases.push import PushReport
    from hf_relabel.trainers.comparing.compare import CompareReport


def judged(
    job: Any,
    source: Source,
    stages: Sequence[Stage],
    journal: Journal,
    engine: Engine | None,
    *,
    retry_failed: bool,
    also_pending: bool,
) -> tuple[list[StageReport], list[Suspect] | None, AuditStep | None]:
    """What asks judges: the stages, and the steps `suspects` (None without it) and `audit`."""
    from hf_relabel.hub_tools.commands import suspects_command
    from hf_relabel.hub_tools.commands.judge_command import judge_job
    from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Budget
    from hf_relabel.hub_tools.jobs.judge_server import tell_judged

    budget = Budget()
    asked: dict[str, Any] = {"retry_failed": retry_failed, "budget": budget}
    reports = judge_job(job, source, stages, journal, engine, also_pending=also_pending, **asked)
    journal.used_run = journal.newest_run().number  # what follows is of this run, whatever else the journal holds
    suspects = None
    if job.suspects:
        suspects_command.run_step(job, source, journal, **asked)
        suspects = list(suspects_command.found_suspects(source, journal))
    tell_judged()
    return reports, suspects, _audit(job, source, journal) if job.audit else None


@dataclass(frozen=True)
class Done:
    """What the steps of a job did; None for those that it has not."""

    job: Any
    suspects: list[Suspect] | None
    audited: AuditStep | None
    built: BuildReport | None
    compared: CompareReport | None
    pushed: PushReport | None
    trained: TrainingReport | None
    model: PushReport | None

    def to_dict(self) -> dict[str, Any]:
        from hf_relabel.hub_tools.commands.kept_runs import runs_folder

        job, compared = self.job, self.compared
        return {
            "suspects": None if self.suspects is None else [suspect.to_dict() for suspect in self.suspects],
            "audit": self.audited.to_dict() if self.audited else None,
            "build": self.built.to_dict() if self.built else None,
            "compare": {**compared.evidence(), "runs": str(runs_folder(job.compare.runs))} if compared else None,
            "push": self.pushed.to_dict() if self.pushed else None,
            "train": self.trained.model_dump(mode="json") if self.trained else None,
            "push_model": self.model.to_dict() if self.model else None,
        }

    def show(self) -> None:
        """Print it, step by step."""
        from hf_relabel.hub_tools.commands.build_command import show_build
        from hf_relabel.hub_tools.commands.kept_runs import kept_note, runs_folder
        from hf_relabel.hub_tools.commands.push_command import show_push
        from hf_relabel.hub_tools.commands.suspects_command import show_suspects
        from hf_relabel.hub_tools.commands.train_command import show_training

        job = self.job
        if self.suspects is not None:
            click.echo("")
            show_suspects(iter(self.suspects))
        if self.audited:
            click.echo("")
            self.audited.show()
        if self.built:
            click.echo("")
            show_build(self.built, job.build.out, as_json=False)
        if self.compared:
            click.echo(f"\n{self.compared.to_text()}\n\n{kept_note(runs_folder(job.compare.runs))}")
        if self.pushed:
            click.echo("")
            show_push(self.pushed, as_json=False)
        if self.trained:
            click.echo("")
            show_training(self.trained, job.train.out, as_json=False)
        if self.model:
            click.echo(f"\n{self.model.to_text()}")


def stepped(
    job: Any,
    source: Source,
    journal: Journal,
    engine: Engine | None,
    suspects: list[Suspect] | None,
    audited: AuditStep | None,
) -> Done:
    """Do what the job says is to follow on judging."""
    built = _build(job, source, journal, audited, engine) if job.build else None
    compared = _compare(job) if job.compare else None
    pushed = _push(job, source, journal) if job.push else None
    trained = _train(job, pushed) if job.train else None
    model = _push_model(job) if job.push_model else None
    return Done(job, suspects, audited, built, compared, pushed, trained, model)


def _audit(job: Any, source: Any, journal: Any) -> AuditStep:
    from hf_relabel.hub_tools.commands.audit_step import run_step

    return run_step(job.audit, source, journal, job.build.calibration if job.build else None)


def _build(job: Any, source: Any, journal: Any, audited: AuditStep | None, engine: Engine | None) -> BuildReport:
    """By the thresholds of the job's own audit, if it has any; what the audit says goes into manifest and card."""
    from pathlib import Path

    from hf_relabel.hub_tools.commands.audit_command import write_audit
    from hf_relabel.hub_tools.commands.build_command import build

    settings = job.build
    if audited is not None and audited.calibration is not None:
        settings = settings.calibrated_by(audited.calibration)
    built = build(source, journal, settings, engine)
    if audited is not None and audited.report is not None:
        write_audit(Path(settings.out), audited.report)
    return built


def _compare(job: Any) -> CompareReport:
    from pathlib import Path

    from hf_relabel.hub_tools.commands.adopting import adopt_in_folder
    from hf_relabel.hub_tools.commands.compare_command import run_comparison

    options = job.compare.model_dump(exclude={"eval"})
    report = run_comparison(job.build.out, job.compare.eval, **options)
    if note := adopt_in_folder(Path(job.build.out), report).note:
        click.echo(note, err=True)
    return report


def _train(job: Any, pushed: PushReport | None) -> TrainingReport:
    """On the release, where there is one by now: so that the model's card can name it."""
    from hf_relabel.hub_tools.commands.train_command import run_training

    options = job.train.model_dump(exclude={"eval", "out"})
    is_released = pushed is not None and not pushed.pull_request
    data = f"{pushed.repo_id}@{pushed.version}" if pushed is not None and is_released else job.build.out
    return run_training(data, job.train.out, revision=None, sets=job.train.eval, **options)


def _push_model(job: Any) -> PushReport:
    from hf_relabel.hub_tools.commands.push_command import release_progress
    from hf_relabel.trainers.training.publishing import publish

    options = job.push_model.model_dump(exclude={"repo"})
    with release_progress() as progress:
        return publish(job.train.out, job.push_model.repo, progress=progress, **options)


def _push(job: Any, source: Any, journal: Any) -> PushReport:
    from hf_relabel.builders.job.steps import NOT_WRITTEN, BuildSettings
    from hf_relabel.hub_tools.commands.push_command import release_progress
    from hf_relabel.hub_tools.releases.push import push, push_source

    options = job.push.model_dump(exclude={"repo"})
    with release_progress() as progress:
        if job.build:
            return push(job.build.out, job.push.repo, progress=progress, **options)
        return push_source(source, journal, BuildSettings(out=NOT_WRITTEN), job.push.repo, progress=progress, **options)
