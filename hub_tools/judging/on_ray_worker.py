"""Judging on a Ray cluster: what the workers do, shard by shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hf_relabel.builders.cascade.run_stages import RunStage
from hf_relabel.builders.errors import JournalError, JudgingStopped
from hf_relabel.builders.journal.merging import PartJournal
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.prompted.fitting_context import Room
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.builders.rows import NumberedRow, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.piece_surveys import PieceSurvey, row_hash, survey
from hf_relabel.builders.sources.pieces import Piece, PieceRows
from hf_relabel.hub_tools.endpoints.dialects.local import LocalEndpoint
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Budget, Limits, Scheduler, Sends
from hf_relabel.hub_tools.judging.adapting import sendings
from hf_relabel.hub_tools.judging.on_ray_actor import StagesElsewhere, judge_name
from hf_relabel.hub_tools.judging.run import judge_of_stage
from hf_relabel.hub_tools.judging.stage_report import StageReport
from hf_relabel.hub_tools.judging.stages import Stage, exempt_subsets
from hf_relabel.hub_tools.ray_cluster.cluster import SharedFolder
from hf_relabel.hub_tools.ray_cluster.remote_scheduler import SCHEDULER_GONE, Answers, Questions, RemoteScheduler

if TYPE_CHECKING:
    from hf_relabel.builders.endpoint import Endpoint
    from hf_relabel.builders.sources.pieces import Hashes

T = TypeVar("T")

TOLD_SECONDS = 0.5
"""Between two words of a shard about how far it is."""
ORPHAN_SECONDS = 30.0
"""How long the journal of a shard may still be held by a worker of a run that was killed."""


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


@dataclass(frozen=True, slots=True)
class SurveyPieces:
    """Looks through the pieces of a source."""

    source: Source
    shared: SharedFolder

    def __call__(self, piece: Piece) -> PieceSurvey:
        self.shared.check()
        return survey(self.source, piece)


@dataclass
class JudgeShards:
    """Judges shards, one after the other. Made anew in each worker.

    Attributes:
        actor: a `SchedulerActor`.
        rooms: what the servers of each judge of each stage take.
        whole: the journal that the shards' become part of, which is only read.
        folder: of the shards' journals.
    """

    source: Source
    elsewhere: StagesElsewhere
    run_stages: tuple[RunStage, ...]
    whole: Path
    folder: Path
    shared: SharedFolder
    actor: Any
    retry_failed: bool
    rooms: tuple[tuple[Room, ...], ...] = ()
    stages: list[Stage] | None = None

    def __call__(self, shard: Shard) -> ShardReport:
        import ray

        if self.stages is None:
            self.shared.check()
            self.stages = self.elsewhere.make()
            for stage, rooms in zip(self.stages, self.rooms, strict=True):
                for member, room in zip(stage.members, rooms, strict=True):
                    for sending in sendings(member.endpoints):
                        sending.room = room
        try:
            reason, elapsed = ray.get(self.actor.standing.remote())
        except ray.exceptions.RayActorError:
            reason, elapsed = SCHEDULER_GONE, 0.0
        if reason:
            return ShardReport({}, reason)
        telling = _Telling(self.actor, shard.name)
        budget = Budget(elapsed=elapsed)
        schedule = partial(self._scheduler, shard.name, telling, budget)
        try:
            self._judge(shard, self.stages, telling, schedule, budget)
        except JudgingStopped as stopped:
            stats = getattr(stopped, "stats", None)
            return ShardReport(telling.reports, stats.stopped if stats is not None else str(stopped))
        finally:
            telling.end()
        return ShardReport(telling.reports)

    def _judge(
        self, shard: Shard, stages: Sequence[Stage], telling: _Telling, schedule: Callable[..., Sends], budget: Budget
    ) -> None:
        rows, run_stages = ShardRows(self.source, shard), list(self.run_stages)
        path = self.folder / f"{shard.name}.sqlite"
        whole = Journal(self.whole, write=False, frozen=True)
        with patiently(lambda: PartJournal(path, whole)) as journal:
            for number, stage in enumerate(stages, start=1):
                for member, one in enumerate(stage.members):
                    if isinstance(one.judge, SavedRepliesJudge):
                        continue  # read already, for all shards
                    name = judge_name(number - 1, member)
                    telling.begin(name)
                    judge_of_stage(
                        rows,
                        stages[:number],
                        run_stages,
                        member,
                        journal,
                        exempt=exempt_subsets(stages),
                        retry_failed=self.retry_failed,
                        progress=telling,
                        schedule=partial(schedule, name),
                        budget=budget,
                    )

    def _scheduler(
        self, shard: str, telling: _Telling, budget: Budget, judge: str, endpoints: Sequence[Endpoint], limits: Limits
    ) -> Sends:
        if not limits.is_priced and all(isinstance(one, LocalEndpoint) for one in endpoints):
            # A model in this process is nobody else's server.
            own = telling.own = Scheduler(endpoints, limits, budget=budget)
            return own
        return RemoteScheduler(_Desk(self.actor), judge=judge, shard=shard)


class _Desk:
    """The schedulers in the actor, from a worker."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def exchange(self, questions: Questions) -> Answers:
        from ray.exceptions import RayActorError

        try:
            answers: Answers = await self._actor.exchange.remote(questions)
        except RayActorError:  # it has died, or cannot be reached
            return Answers(stop=SCHEDULER_GONE)
        return answers

    def leave(self, questions: Questions) -> None:
        self._actor.leave.remote(questions)


class _Telling:
    """Tells the actor how far a shard is, and hears whether to stop.

    Attributes:
        own: the scheduler that works in this process now, if one does.
    """

    def __init__(self, actor: Any, shard: str) -> None:
        self._actor, self._shard = actor, shard
        self._judge = ""
        self._told = 0.0
        self._heard: Any = None
        self._stopping = False
        self.own: Scheduler | None = None
        self.reports: dict[str, StageReport] = {}

    def begin(self, judge: str) -> None:
        self._judge, self.own = judge, None

    def __call__(self, report: StageReport) -> None:
        self.reports[self._judge] = report
        now = time.monotonic()
        if now - self._told < TOLD_SECONDS:
            return
        self._told = now
        self._hear()
        self._heard = self._actor.tell.remote(self._shard, list(self.reports.values()))

    def _hear(self) -> None:
        import ray

        # Judges that ask servers are stopped by their schedulers, with time for what is in flight; this is for others.
        if self._heard is None or not ray.wait([self._heard], timeout=0)[0]:
            return
        try:
            reason = ray.get(self._heard)
        except ray.exceptions.RayActorError:
            reason = SCHEDULER_GONE
        if not reason or self._stopping:
            return
        if self.own is None:
            raise JudgingStopped(reason)
        self._stopping = True  # once: the second time would be without grace
        self.own.stop(reason)

    def end(self) -> None:
        self._actor.tell.remote(self._shard, list(self.reports.values()), over=True)


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
