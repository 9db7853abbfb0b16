"""From a source to batch files: what the journal has no answer for, and no file asks already, of the first stage that
lacks something.

A stage is asked about what the one before passed on, so its requests are known when the answers of that one are in:
files are written, sent and collected stage by stage, and `export` again says what is next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_relabel.builders.cascade.run_stages import RunStage, run_settings
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.hub_tools.batches.ledger import BatchFile, KeysAsked, Ledger
from hf_relabel.hub_tools.batches.pending import note_folder
from hf_relabel.hub_tools.batches.writing import BatchWriter, FileLimits, WritesBatches
from hf_relabel.hub_tools.calls import progress_bars as bars
from hf_relabel.hub_tools.calls.given import AnyJournal, AnySource, as_journal, as_source
from hf_relabel.hub_tools.judging.asked_stage import AskedStage
from hf_relabel.hub_tools.judging.identities import identify
from hf_relabel.hub_tools.judging.run import end_run, judge_of_stage
from hf_relabel.hub_tools.judging.stage_report import Progress, StageReport
from hf_relabel.hub_tools.judging.stages import Judges, Member, Servers, Stage, as_stages, asks_server, exempt_subsets


@dataclass(frozen=True, slots=True, repr=False)
class Export(Shown):
    """What an export found and wrote.

    Attributes:
        stage: the first that lacks something; None where all are answered.
        written: the new files of that stage.
        waiting: requests of files that are there, new ones included, whose answer is still waited for.
        reports: of the judges up to that stage, as `judge` gives them.
    """

    stage: str | None
    written: tuple[BatchFile, ...]
    waiting: int
    reports: tuple[StageReport, ...] = field(default=())

    @property
    def is_complete(self) -> bool:
        """Whether every judge has said what it was to say."""
        return self.stage is None

    def to_text(self) -> str:
        if self.is_complete:
            return "Nothing left to ask: every judge has answered, or failed for good."
        new = sum(file.requests for file in self.written)
        files = counted(len(self.written), "new file")
        return f"{self.stage}: {counted(new, 'request')} in {files}, {counted(self.waiting, 'answer')} waited for."

    def to_dict(self) -> dict[str, Any]:
        files = [{"name": file.name, "requests": file.requests, "bytes": file.bytes} for file in self.written]
        return {
            "stage": self.stage,
            "complete": self.is_complete,
            "written": files,
            "waiting": self.waiting,
            "stages": [report.to_dict() for report in self.reports],
        }


def export_batches(
    source: AnySource,
    stages: Judges | Sequence[Judges],
    journal: AnyJournal,
    folder: str | Path,
    *,
    endpoint: Servers | Sequence[Servers] | None = None,
    model: str | None = None,
    limits: FileLimits | None = None,
    retry_failed: bool = False,
    progress: Progress | bool | None = True,
) -> Export:
    """Write what a judge is to be asked to batch files, instead of asking it.

    Judges that compute are run here on the way, and stages that have all their answers are passed. Calling it again
    writes only what is neither answered nor waited for.

    Example:
            from hf_relabel.hub_tools.batches.exporting import export_batches

            endpoint = "vllm:Qwen/Qwen3-32B"
            made = export_batches("train.jsonl", "listwise", "journal.sqlite", "batches", endpoint=endpoint)
            print(made)  # stage-1: 1,204 requests in 1 new file …

    Args:
        source, stages, journal, endpoint, model, retry_failed, progress: as for `judge`. The endpoint has OpenAI's
            chat completions, or is `vllm:MODEL`.
        folder: of the batch files; made if missing.
        limits: how large one file may be; None for what was said the last time.

    Raises:
        ConfigError: a judge asks a server whose requests cannot stand in such files.
        JudgingStopped: Ctrl-C. What was written until then is kept, and known.
        EndpointError: the server cannot be asked what it serves.
        SourceError, BadRow: the source cannot be opened or read.
    """
    ready, opened = as_stages(stages, endpoint=endpoint, model=model), as_source(source)
    opened.check_negatives()
    with as_journal(journal) as kept, Ledger(folder, make=True) as ledger, bars.judging(progress) as told:
        note_folder(kept.path, Path(folder))
        if limits is not None:
            ledger.keep_limits(limits.requests, limits.bytes)
        known = ledger.limits()
        work = _Exporting(ledger, kept, FileLimits(*known) if known else FileLimits(), retry_failed, told)
        return work.of_stages(opened, ready)


@dataclass
class _Exporting:
    ledger: Ledger
    journal: Journal
    limits: FileLimits
    retry_failed: bool
    progress: Progress | None

    def of_stages(self, source: Any, stages: Sequence[Stage]) -> Export:
        for stage in stages:
            for member in stage.members:
                check_member(member, stage.name)
        run_stages = [identify(stage, self.journal) for stage in stages]
        exempt = exempt_subsets(stages)
        run = run_settings(source, run_stages, exempt)
        self.journal.record_run(run, complete=False)
        reports: list[StageReport] = []
        for number, stage in enumerate(stages, start=1):
            written: list[BatchFile] = []
            for place, member in enumerate(stage.members):
                given = source, stages[:number], list(run_stages[:number]), place, self.journal
                if asks_server(member):
                    report, files = self._write(given, exempt)
                    written += files
                else:
                    report = judge_of_stage(
                        *given, exempt=exempt, retry_failed=self.retry_failed, progress=self.progress
                    )
                reports.append(report)
            waiting = self._waiting(run_stages[number - 1])
            if waiting:
                return Export(stage.name, tuple(written), waiting, tuple(reports))
        end_run(self.journal, run, reports)
        return Export(None, (), 0, tuple(reports))

    def _waiting(self, stage: RunStage) -> int:
        files = [file for file in self.ledger.files() if any(map(file.identity.says_the_same_as, stage.judges))]
        return sum(self.ledger.waiting(file) for file in files)

    def _write(
        self, given: tuple[Any, Sequence[Stage], list[RunStage], int, Journal], exempt: frozenset[str]
    ) -> tuple[StageReport, list[BatchFile]]:
        _, stages, run_stages, number, _ = given
        stage, identity = stages[-1], run_stages[-1].judges[number]
        (endpoint, *_) = stage.members[number].endpoints
        assert isinstance(endpoint, WritesBatches), "checked before"
        writer = BatchWriter(self.ledger, endpoint, self.limits, stage.name, number, identity)
        run = AskedStage(
            *given,
            exempt=exempt,
            retry_failed=self.retry_failed,
            progress=self.progress,
            schedule=lambda endpoints, limits: writer,
        )
        run.in_flight = KeysAsked(self.ledger)
        writer.spares(run.in_flight)
        return run.run(), writer.written


def check_member(member: Member, stage: str) -> None:
    """Raises: ConfigError, where a judge asks a server whose requests cannot stand in a batch file."""
    if not asks_server(member):
        return
    if getattr(member.judge, "reranks", False):
        raise ConfigError(
            f"Stage {stage!r}: batch files hold questions to chat models, and its judge asks a reranker. Judge such a"
            f" job with `{program()} judge`, or take another judge."
        )
    for endpoint in member.endpoints[:1]:
        if not isinstance(endpoint, WritesBatches):
            raise ConfigError(
                f"Stage {stage!r}: {endpoint.name} takes no batch files. Give the URL of a server with OpenAI's API"
                " (dialect openai), or vllm:MODEL for `batch run`."
            )
