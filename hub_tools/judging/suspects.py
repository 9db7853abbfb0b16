"""Asking judges about the ground truths of a source, hidden among the candidates."""

from __future__ import annotations

from collections.abc import Sequence

from hf_relabel.builders.cascade.combining import Combine
from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.cascade.suspects import SEVERAL, Hidden, Rows, suspects_run
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.hub_tools.calls import progress_bars as bars
from hf_relabel.hub_tools.calls.given import AnyJournal, AnySource, as_journal, as_source
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Budget
from hf_relabel.hub_tools.judging.identities import identify
from hf_relabel.hub_tools.judging.run import end_run, judge_of_stage
from hf_relabel.hub_tools.judging.stage_report import Progress, StageReport
from hf_relabel.hub_tools.judging.stages import (
    Judges,
    Servers,
    Stage,
    as_stages,
    exempt_subsets,
)


def search_suspects(
    source: AnySource,
    stages: Judges | Sequence[Judges],
    journal: AnyJournal,
    *,
    endpoint: Servers | Sequence[Servers] | None = None,
    model: str | None = None,
    several: int = SEVERAL,
    retry_failed: bool = False,
    progress: Progress | bool | None = True,
    budget: Budget | None = None,
) -> list[StageReport]:
    """Ask judges about the ground truths of a source, hidden among the candidates.

    See hf_relabel.builders.cascade.suspects.

    Example:
            search_suspects("train.jsonl", "listwise", "journal.sqlite", endpoint="http://127.0.0.1:8080")

    Args:
        source, journal, endpoint, model, retry_failed, progress, budget: as for `judge`.
        stages: as for `judge`. All their judges are asked about everything; how they hand over plays no part.
        several: so many candidates must be ranked above a ground truth.

    Raises:
        As `judge` does.
    """
    ready = as_stages(stages, endpoint=endpoint, model=model)
    if several < 1:
        raise ConfigError(f"several: expected a whole number from 1, found {several}")
    opened = as_source(source)
    with as_journal(journal) as kept, bars.judging(progress) as told:
        return _search(opened, ready, kept, several, retry_failed, told, budget or Budget())


def _search(
    source: Rows,
    stages: Sequence[Stage],
    journal: Journal,
    several: int,
    retry_failed: bool,
    progress: Progress | None,
    budget: Budget,
) -> list[StageReport]:
    first, *others = [member for stage in stages for member in stage.members]
    combine = Combine("majority") if others else None
    whole = Stage(
        "suspects", first.judge, Rule(), first.endpoints, first.limits, None, first.model, tuple(others), combine
    )
    run_stages = [identify(whole, journal)]
    run, exempt = suspects_run(source, run_stages[0].judges, several), exempt_subsets(stages)
    journal.record_run(run, complete=False)
    try:
        reports = [
            judge_of_stage(
                Hidden(source),
                [whole],
                run_stages,
                number,
                journal,
                exempt=exempt,
                retry_failed=retry_failed,
                progress=progress,
                budget=budget,
            )
            for number in range(len(whole.members))
        ]
    finally:  # the run is that of the judges that answered
        begun, run = run, suspects_run(source, run_stages[0].judges, several)
        journal.rename_run(begun, run)
    end_run(journal, run, reports)
    return reports
