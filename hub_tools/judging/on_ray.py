"""Judging on a Ray cluster: shard by shard, each with a journal of its own, which become one at the end.

A shard goes through all stages of the cascade by itself, since what becomes of a row depends on that row alone. Its
journal lies beside the whole one, in a folder that the workers must see too, and survives whatever happens to them: the
next run takes over what it finds there before it asks anything.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hf_relabel.builders.cascade.verdicts import RunStage, run_settings
from hf_relabel.builders.configs.manifest import package_version
from hf_relabel.builders.errors import ConfigError, JournalError, JudgingStopped, RelabelError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.job.stages import MemberSettings, StageSettings
from hf_relabel.builders.journal.merging import PartJournal, merge_journals
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.rows import NumberedRow, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.pieces import (
    PIECES_PER_WORKER,
    Piece,
    PieceRows,
    Survey,
    cuttable,
    note_readings,
    pieces_of,
    pieces_wanted,
    placed,
    plain_sources,
    repeated,
    row_hash,
    row_line,
    survey,
)
from hf_relabel.hub_tools.endpoints.dialects.local import LocalEndpoint
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits, Scheduler
from hf_relabel.hub_tools.judging.assemble import make_stages, stages_of
from hf_relabel.hub_tools.judging.run import (
    Progress,
    Stage,
    StageReport,
    check_stages,
    exempt_subsets,
    identify,
    is_batch,
    judge_of_stage,
)
from hf_relabel.hub_tools.ray_cluster.cluster import (
    Cluster,
    Engine,
    SharedFolder,
    TaskFailed,
    all_of,
    cluster,
    each,
)
from hf_relabel.hub_tools.ray_cluster.sharing import REFEREE_GONE, Loan, Referee, Report, SharedMeans

if TYPE_CHECKING:
    from hf_relabel.builders.endpoint import Endpoint
    from hf_relabel.builders.sources.pieces import Hashes

T = TypeVar("T")

PACKAGE = "hf-relabel"
TOLD_SECONDS = 0.5
"""Between two words of a shard about how far it is."""
MOST_REFEREES = 5
"""A run ends when so many processes that share out its limits have died."""
ORPHAN_SECONDS = 30.0
"""How long the journal of a shard may still be held by a worker of a run that was killed."""
ENVIRONMENT = ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE")
"""Handed on to the workers, with the variables that hold tokens of endpoints."""


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


@dataclass(frozen=True, slots=True)
class Shard:
    """What one worker does at a time.

    Attributes:
        name: of its journal.
        piece: its rows.
        skip: hashes of rows that are left to another shard.
    """

    name: str
    piece: Piece
    skip: Hashes


class ShardRows:
    """The rows of a shard, as judging reads them."""

    def __init__(self, source: Source, shard: Shard) -> None:
        self._rows = PieceRows(source, shard.piece)
        self._skip = frozenset(int(value) for value in shard.skip)

    def rows(self) -> Iterator[NumberedRow]:
        """Those that are not left to another shard."""
        for numbered in self._rows.rows():
            if not self._is_left_out(numbered.row):
                yield numbered

    def left_out(self) -> Iterator[Row]:
        """The others."""
        for numbered in self._rows.rows() if self._skip else ():
            if self._is_left_out(numbered.row):
                yield numbered.row

    def record(self) -> dict[str, Any]:
        return self._rows.record()

    def _is_left_out(self, row: Row) -> bool:
        return bool(self._skip) and row_hash(row) in self._skip


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What became of a shard: what each judge did, and why it stopped early, if it did."""

    judges: dict[str, StageReport]
    stopped: str = ""


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
        run_stages = [identify(stage) for stage in self.stages]
        for number in range(1, len(run_stages) + 1):
            settings = run_settings(self.source, run_stages[:number], exempt_subsets(self.stages[:number]))
            self.journal.record_run(settings)
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
        return self._in_order(saved)

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
                    run_stages[: number + 1],
                    member,
                    self.journal,
                    retry_failed=self.retry_failed,
                    progress=self.progress,
                )
        return reports

    # Shards

    def _shards(self, source: Source, wanted: int, connected: Cluster) -> list[Shard]:
        pieces = pieces_of(source, wanted)
        try:
            surveys = all_of(_Surveying(source, SharedFolder.mark(self.folder)), pieces, connected)
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
        for _ in range(MOST_REFEREES):
            if not left:
                return
            left = self._judge_once(source, left, run_stages, connected)
        self.stopped = REFEREE_GONE
        self._raise()

    def _judge_once(
        self, source: Source, shards: Sequence[Shard], run_stages: Sequence[RunStage], connected: Cluster
    ) -> list[Shard]:
        """Judge the shards, as far as it goes. Returns those that are to be gone on with, as their referee was lost."""
        import ray

        self.journal.checkpoint()
        limits = {name: self.stages[number].members[member].limits for name, number, member in self._judges()}
        elapsed = time.monotonic() - self.began
        remote: Any = ray.remote(_RefereeActor)
        spent = {name: report.cost for name, report in self.done.items() if report.cost is not None}
        referee = remote.options(num_cpus=0, max_concurrency=1).remote(limits, elapsed, spent)
        work = _Judging(
            source,
            self.job.stages,
            tuple(self.job.stage_names()),
            tuple(run_stages),
            self.journal.path.absolute(),
            self.folder,
            SharedFolder.mark(self.folder),
            referee,
            self.retry_failed,
            package_version(PACKAGE),
            _environment(self.job.stages),
        )
        computes = any(is_batch(member.judge) for stage in self.stages for member in stage.members)
        left: list[Shard] = []
        with self._watched(referee, len(shards)):
            for number, result in each(work, shards, connected, keeps=True, gpus=connected.gpus if computes else 0.0):
                if self._take(number, result, referee):
                    left.append(shards[number])
        with contextlib.suppress(Exception):
            ray.kill(referee)
        self._raise()
        return left

    def _judges(self) -> list[tuple[str, int, int]]:
        """Name, stage and place in the stage of each judge."""
        return [
            (f"{number}.{member}", number, member)
            for number, stage in enumerate(self.stages)
            for member in range(len(stage.members))
        ]

    def _take(self, number: int, result: ShardReport | RelabelError, referee: Any) -> bool:
        """Note what became of a shard. Returns whether it is to be gone on with."""
        if isinstance(result, RelabelError):
            if self.error is None or number < self.error[0]:
                self.error = number, result
            referee.stop.remote("another shard failed")
            return False
        is_left = result.stopped == REFEREE_GONE and not self.interrupted
        if not is_left:
            self.stopped = self.stopped or result.stopped
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
    def _watched(self, referee: Any, shards: int) -> Iterator[None]:
        """Show how far the shards are, and make Ctrl-C a clean stop; the second one is less gentle."""
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(referee, shards, over), daemon=True)
        watcher.start()

        def stop(*_: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
            referee.stop.remote("interrupted")

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

    def _watch(self, referee: Any, shards: int, over: threading.Event) -> None:
        import ray

        shown = StageReport("judging", "")
        while self.progress is not None and not over.wait(TOLD_SECONDS):
            with contextlib.suppress(Exception):  # the run itself says what is wrong
                seen: Seen = ray.get(referee.seen.remote())
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


def added(total: StageReport | None, more: StageReport) -> StageReport:
    """Two reports on the same judge as one."""
    if total is None:
        return more
    for name in (
        "rows",
        "candidates",
        "asked",
        "known",
        "unknown",
        "requests",
        "cut",
        "prompt_tokens",
        "completion_tokens",
        "seconds",
    ):
        setattr(total, name, getattr(total, name) + getattr(more, name))
    for label, number in more.labels.items():
        total.labels[label] += number
    for label, number in more.known_labels.items():
        total.known_labels[label] += number
    for why, candidates in more.aside.items():
        total.aside[why] += candidates
    if more.cost is not None:
        total.cost = (total.cost or 0.0) + more.cost
    return total


def sum_of(reports: Iterable[StageReport]) -> StageReport:
    """Reports on any judges as one."""
    total = StageReport("", "")
    for report in reports:
        added(total, report)
    return total


def patiently(act: Callable[[], T]) -> T:
    """Do something with journals that a worker of a run that was killed may hold for a while yet."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while True:
        try:
            return act()
        except JournalError as error:
            if "another process" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _environment(stages: Sequence[StageSettings]) -> dict[str, str]:
    """What a worker needs of the environment. Never shown: it goes from process to process with the work."""
    asked: list[StageSettings | MemberSettings] = []
    for stage in stages:
        asked += [stage, *stage.others]
    names = {endpoint.token_env for one in asked for endpoint in one.endpoints if endpoint.token_env}
    return {name: os.environ[name] for name in (*ENVIRONMENT, *names) if name in os.environ}


# In the workers


@dataclass(frozen=True, slots=True)
class _Surveying:
    source: Source
    shared: SharedFolder

    def __call__(self, piece: Piece) -> Survey:
        self.shared.check()
        return survey(self.source, piece)


@dataclass
class _Judging:
    """Judges shards, one after the other. Made anew in each worker."""

    source: Source
    settings: tuple[StageSettings, ...]
    names: tuple[str, ...]
    run_stages: tuple[RunStage, ...]
    whole: Path
    folder: Path
    shared: SharedFolder
    referee: Any
    retry_failed: bool
    version: str
    environment: dict[str, str] = field(repr=False)
    stages: list[Stage] | None = None

    def __call__(self, shard: Shard) -> ShardReport:
        import ray

        if self.stages is None:
            self.stages = self._begin()
        try:
            reason = ray.get(self.referee.stopped.remote())
        except ray.exceptions.RayActorError:
            reason = REFEREE_GONE
        if reason:
            return ShardReport({}, reason)
        telling = _Telling(self.referee, shard.name)
        try:
            self._judge(shard, self.stages, telling)
        except JudgingStopped as stopped:
            stats = getattr(stopped, "stats", None)
            return ShardReport(telling.reports, stats.stopped if stats is not None else str(stopped))
        finally:
            telling.end()
        return ShardReport(telling.reports)

    def _begin(self) -> list[Stage]:
        here = package_version(PACKAGE)
        if here != self.version:
            raise ConfigError(
                f"The worker on {socket.gethostname()} has hf-relabel {here}, the command has {self.version}. Install"
                " the same version on all machines."
            )
        self.shared.check()
        os.environ.update(self.environment)
        return make_stages(self.settings, self.names)

    def _judge(self, shard: Shard, stages: Sequence[Stage], telling: _Telling) -> None:
        rows = ShardRows(self.source, shard)
        path = self.folder / f"{shard.name}.sqlite"
        whole = Journal(self.whole, write=False, frozen=True)
        with patiently(lambda: PartJournal(path, whole)) as journal:
            for number, stage in enumerate(stages, start=1):
                for member, one in enumerate(stage.members):
                    if isinstance(one.judge, SavedRepliesJudge):
                        continue  # read already, for all shards
                    name = f"{number - 1}.{member}"
                    telling.begin(name)
                    judge_of_stage(
                        rows,
                        stages[:number],
                        self.run_stages[:number],
                        member,
                        journal,
                        retry_failed=self.retry_failed,
                        progress=telling,
                        schedule=partial(self._scheduler, shard.name, name),
                    )

    def _scheduler(self, shard: str, judge: str, endpoints: Sequence[Endpoint], limits: Limits) -> Scheduler:
        # A model in this process is nobody else's server.
        own = {one.name: f"{one.name} in {_PROCESS}" for one in endpoints if isinstance(one, LocalEndpoint)}
        means = partial(SharedMeans, lend=self._lend, run=uuid.uuid4().hex, shard=shard, judge=judge, lane_names=own)
        return Scheduler(endpoints, limits, means=means)

    async def _lend(self, report: Report) -> Loan:
        loan: Loan = await self.referee.lend.remote(report)
        return loan


_PROCESS = uuid.uuid4().hex


class _Telling:
    """Tells the referee how far a shard is, and hears whether to stop."""

    def __init__(self, referee: Any, shard: str) -> None:
        self._referee, self._shard = referee, shard
        self._judge = ""
        self._told = 0.0
        self._heard: Any = None
        self.reports: dict[str, StageReport] = {}

    def begin(self, judge: str) -> None:
        self._judge = judge

    def __call__(self, report: StageReport) -> None:
        self.reports[self._judge] = report
        now = time.monotonic()
        if now - self._told < TOLD_SECONDS:
            return
        self._told = now
        self._hear()
        self._heard = self._referee.tell.remote(self._shard, list(self.reports.values()))

    def _hear(self) -> None:
        import ray

        # Judges that ask servers are stopped by their loans, with time for what is in flight; this is for others.
        if self._heard is None or not ray.wait([self._heard], timeout=0)[0]:
            return
        try:
            reason = ray.get(self._heard)
        except ray.exceptions.RayActorError:
            reason = REFEREE_GONE
        if reason:
            raise JudgingStopped(reason)

    def end(self) -> None:
        self._referee.tell.remote(self._shard, list(self.reports.values()), over=True)


@dataclass(frozen=True, slots=True)
class Seen:
    """How far all shards are: those that are over, rows read by the first judge, and what each judge of each did."""

    over: int
    rows: int
    reports: list[StageReport]


class _RefereeActor:
    """The referee, in a process of its own."""

    def __init__(self, limits: Mapping[str, Limits], elapsed: float, spent: Mapping[str, float]) -> None:
        self._referee = Referee(limits, elapsed=elapsed, spent=spent)
        self._shards: dict[str, list[StageReport]] = {}
        self._over: set[str] = set()

    def lend(self, report: Report) -> Loan:
        return self._referee.lend(report)

    def stop(self, reason: str) -> None:
        self._referee.stop(reason)

    def stopped(self) -> str:
        return self._referee.stopped

    def tell(self, shard: str, reports: list[StageReport], over: bool = False) -> str:
        self._shards[shard] = reports
        if over:
            self._over.add(shard)
        return self._referee.stopped

    def seen(self) -> Seen:
        rows = sum(reports[0].rows for reports in self._shards.values() if reports)
        return Seen(len(self._over), rows, [report for reports in self._shards.values() for report in reports])
