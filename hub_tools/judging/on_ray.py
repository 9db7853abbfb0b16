"""Judging on a Ray cluster: shard by shard, each with a journal of its own, which become one at the end.

A shard goes through all stages of the cascade by itself, since what becomes of a row depends on that row alone. Its
journal lies beside the whole one, in a folder that the workers must see too, and survives whatever happens to them: the
next run takes over what it finds there before it asks anything.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hf_relabel.builders.cascade.run_stages import RunStage, run_settings
from hf_relabel.builders.errors import JudgingStopped, RelabelError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.journal.merging import merge_journals
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.piece_surveys import note_readings, repeated, row_hash
from hf_relabel.builders.sources.pieces import (
    PIECES_PER_WORKER,
    Piece,
    cuttable,
    pieces_of,
    pieces_wanted,
    placed,
    plain_sources,
    row_line,
)
from hf_relabel.hub_tools.judging.adapting import room_of, with_instead, with_judge
from hf_relabel.hub_tools.judging.assemble import stages_of
from hf_relabel.hub_tools.judging.identities import identify
from hf_relabel.hub_tools.judging.on_ray_actor import (
    Seen,
    StagesElsewhere,
    added,
    judge_name,
    start_actor,
    sum_of,
)
from hf_relabel.hub_tools.judging.on_ray_worker import (
    TOLD_SECONDS,
    JudgeShards,
    Shard,
    ShardReport,
    ShardRows,
    SurveyPieces,
    patiently,
)
from hf_relabel.hub_tools.judging.run import end_run, judge_of_stage
from hf_relabel.hub_tools.judging.stage_report import Progress, StageReport
from hf_relabel.hub_tools.judging.stages import Stage, check_stages, exempt_subsets, is_batch
from hf_relabel.hub_tools.ray_cluster.cluster import (
    Cluster,
    Engine,
    SharedFolder,
    TaskFailed,
    all_of,
    cluster,
    each,
)
from hf_relabel.hub_tools.ray_cluster.remote_scheduler import SCHEDULER_GONE

MOST_ACTORS = 5
"""A run ends when so many processes that send its requests have died."""


def judge_on_ray(
    job: Job,
    source: Source,
    journal: Journal,
    engine: Engine,
    *,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> list[StageReport]:
    """Judge every candidate of a source that the journal has no answer for, on the cluster that `RAY_ADDRESS` names or
    on one that is started for it. What comes out is what `judge` gives.

    Args:
        job: its stages are made anew in each worker.
        source: of the job, opened; on the Hub, or where all workers see it.
        journal: open for writing, in a folder that all workers see.
        engine: how many workers and shards.
        retry_failed, progress: as for `judge`.

    Raises:
        As `judge` does; ConfigError also where Ray is missing or a worker does not see the files.
    """
    stages = stages_of(job)
    check_stages(stages)
    run = _Run(job, source, journal, stages, retry_failed, progress)
    with cluster(engine) as connected:
        return run.run(engine, connected)


class _Run:
    """One run over a source."""

    def __init__(
        self,
        job: Job,
        source: Source,
        journal: Journal,
        stages: Sequence[Stage],
        retry_failed: bool,
        progress: Progress | None,
    ) -> None:
        self.job, self.source, self.journal, self.stages = job, source, journal, stages
        self.retry_failed, self.progress = retry_failed, progress
        self.folder = journal.path.absolute().with_name(f"{journal.path.name}.shards")
        self.began = time.monotonic()
        self.done: dict[str, StageReport] = {}
        self.error: tuple[int, RelabelError] | None = None
        self.stopped = ""
        self.interrupted = False

    def run(self, engine: Engine, connected: Cluster) -> list[StageReport]:
        self.folder.mkdir(exist_ok=True)
        self._merge()
        run_stages = [identify(stage, self.journal) for stage in self.stages]
        settings = run_settings(self.source, run_stages, exempt_subsets(self.stages))
        self.journal.record_run(settings, complete=False)
        saved = self._read_saved(run_stages)
        wanted = engine.shards or pieces_wanted(self.source, connected.workers)
        source = cuttable(self.source, wanted, self.folder / "rows.jsonl")
        shards = self._shards(source, wanted, connected)
        try:
            self._judge(source, shards, run_stages, connected)
            self._merge()
            self._judge(*self._left_out(source, shards, connected.workers), run_stages, connected)
        finally:
            self._merge()
        shutil.rmtree(self.folder, ignore_errors=True)
        reports = self._in_order(saved)
        begun, settings = settings, run_settings(self.source, self._answered(run_stages), exempt_subsets(self.stages))
        self.journal.rename_run(begun, settings)
        end_run(self.journal, settings, reports)
        return reports

    def _answered(self, run_stages: Sequence[RunStage]) -> list[RunStage]:
        """The stages with the judges that answered: servers that refused something were sent something else."""
        found = list(run_stages)
        for name, number, member in self._judges():
            if (report := self.done.get(name)) is not None and report.instead:
                judge = with_instead(found[number].judges[member], dict(report.instead))
                found[number] = with_judge(found[number], member, judge)
        return found

    def _merge(self) -> None:
        """Take over what shards have judged, of this run or of one that was killed."""
        patiently(lambda: merge_journals(self.journal, sorted(self.folder.glob("*.sqlite"))))

    def _read_saved(self, run_stages: Sequence[RunStage]) -> dict[str, StageReport]:
        """Saved replies come from one file, are read in no time, and are for all shards."""
        reports = {}
        for name, number, member in self._judges():
            if isinstance(self.stages[number].members[member].judge, SavedRepliesJudge):
                reports[name] = judge_of_stage(
                    self.source,
                    self.stages[: number + 1],
                    list(run_stages),
                    member,
                    self.journal,
                    exempt=exempt_subsets(self.stages),
                    retry_failed=self.retry_failed,
                    progress=self.progress,
                )
        return reports

    # Shards

    def _shards(self, source: Source, wanted: int, connected: Cluster) -> list[Shard]:
        pieces = pieces_of(source, wanted)
        try:
            surveys = all_of(SurveyPieces(source, SharedFolder.mark(self.folder)), pieces, connected)
        except TaskFailed as failed:
            raise placed(failed.error, source, pieces[failed.number]) from failed
        if source is self.source:
            note_readings(source, [one.reading for one in surveys])
        return [
            Shard(f"{piece.number:06d}", piece, left_out)
            for piece, left_out, one in zip(pieces, repeated(surveys), surveys, strict=True)
            if one.rows
        ]

    def _left_out(self, source: Source, shards: Sequence[Shard], workers: int) -> tuple[Source, list[Shard]]:
        """What the shards left to an earlier one: rows that may ask about the same passage the same question.

        They come last, those of one hash in one shard and in their order, so that nothing is asked twice and each
        prompt is what it is on one machine.
        """
        count = min(PIECES_PER_WORKER * workers, sum(len(shard.skip) for shard in shards))
        paths = [self.folder / f"again-{number:06d}.jsonl" for number in range(count)]
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(path.open("wb")) for path in paths]
            for shard in shards:
                for row in ShardRows(source, shard).left_out():
                    files[row_hash(row) % count].write(row_line(row))
        again = [Shard(path.stem, Piece(number, number), shards[0].skip[:0]) for number, path in enumerate(paths)]
        return plain_sources(paths), [shard for shard, path in zip(again, paths, strict=True) if path.stat().st_size]

    # Judging

    def _judge(
        self, source: Source, shards: Sequence[Shard], run_stages: Sequence[RunStage], connected: Cluster
    ) -> None:
        left = shards
        for _ in range(MOST_ACTORS):
            if not left:
                return
            left = self._judge_once(source, left, run_stages, connected)
        self.stopped = SCHEDULER_GONE
        self._raise()

    def _judge_once(
        self, source: Source, shards: Sequence[Shard], run_stages: Sequence[RunStage], connected: Cluster
    ) -> list[Shard]:
        """Judge the shards, as far as it goes. Returns those that are to be gone on with: their scheduler was lost."""
        import ray

        self.journal.checkpoint()
        elsewhere = StagesElsewhere.of(self.job)
        spent = sum(report.cost or 0.0 for report in self.done.values())
        try:
            actor = start_actor(elsewhere, time.monotonic() - self.began, spent)
        except ray.exceptions.RayActorError:
            return list(shards)
        work = JudgeShards(
            source,
            elsewhere,
            tuple(run_stages),
            self.journal.path.absolute(),
            self.folder,
            SharedFolder.mark(self.folder),
            actor,
            self.retry_failed,
            tuple(tuple(room_of(member.endpoints) for member in stage.members) for stage in self.stages),
        )
        computes = any(is_batch(member.judge) for stage in self.stages for member in stage.members)
        left: list[Shard] = []
        with self._watched(actor, len(shards)):
            for number, result in each(work, shards, connected, keeps=True, gpus=connected.gpus if computes else 0.0):
                if self._take(number, result, actor):
                    left.append(shards[number])
        with contextlib.suppress(Exception):
            ray.kill(actor)
        self._raise()
        return left

    def _judges(self) -> list[tuple[str, int, int]]:
        """Name, stage and place in the stage of each judge."""
        return [
            (judge_name(number, member), number, member)
            for number, stage in enumerate(self.stages)
            for member in range(len(stage.members))
        ]

    def _take(self, number: int, result: ShardReport | RelabelError, actor: Any) -> bool:
        """Note what became of a shard. Returns whether it is to be gone on with."""
        if isinstance(result, RelabelError):
            if self.error is None or number < self.error[0]:
                self.error = number, result
            actor.stop.remote("another shard failed")
            return False
        is_left = result.stopped == SCHEDULER_GONE and not self.interrupted
        if not is_left:
            self.stopped = self.stopped or result.stopped
            if result.stopped:
                actor.stop.remote(result.stopped)  # which knows it, unless it was a model of the worker's own
        for name, report in result.judges.items():
            if is_left:
                report.rows = report.known = report.unknown = report.candidates = 0
                report.aside = dict.fromkeys(report.aside, 0)
                report.known_labels = dict.fromkeys(Label, 0)  # it will come to those again
            self.done[name] = added(self.done.get(name), report)
        return is_left

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error[1]
        if self.stopped:
            requests = sum(report.requests for report in self.done.values())
            seconds = time.monotonic() - self.began
            error = JudgingStopped(
                f"Judging stopped: {self.stopped} ({counted(requests, 'request')} answered, {seconds:,.0f} s)."
            )
            error.interrupted = self.interrupted
            raise error

    @contextlib.contextmanager
    def _watched(self, actor: Any, shards: int) -> Iterator[None]:
        """Show how far the shards are, and make Ctrl-C a clean stop; the second one is less gentle."""
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(actor, shards, over), daemon=True)
        watcher.start()

        def stop(*_: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
            actor.stop.remote("interrupted")

        before: Any = None
        with contextlib.suppress(ValueError):  # not in the main thread
            before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)
            over.set()
            watcher.join()

    def _watch(self, actor: Any, shards: int, over: threading.Event) -> None:
        import ray

        shown = StageReport("judging", "")
        while self.progress is not None and not over.wait(TOLD_SECONDS):
            with contextlib.suppress(Exception):  # the run itself says what is wrong
                seen: Seen = ray.get(actor.seen.remote())
                total = sum_of(seen.reports)
                for name in ("asked", "known", "requests", "labels", "known_labels"):
                    setattr(shown, name, getattr(total, name))
                for name in ("prompt_tokens", "completion_tokens", "cost"):
                    setattr(shown, name, getattr(total, name))
                shown.rows = seen.rows
                shown.name = f"judging, {seen.over} of {shards} shards"
                self.progress(shown)

    def _in_order(self, saved: Mapping[str, StageReport]) -> list[StageReport]:
        seconds = time.monotonic() - self.began
        for report in self.done.values():
            report.seconds = seconds
        found = {**self.done, **saved}
        return [found[name] for name, _, _ in self._judges() if name in found]
