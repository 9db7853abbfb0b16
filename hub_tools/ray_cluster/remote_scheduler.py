"""What stands for the one scheduler of a judge in a worker, and what travels between the two.

A worker hands its requests over and gets the answers back in exchanges, one at a time, each of several requests: a
call of its own for each would cost more than all other work on it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from hf_relabel.builders.endpoint import EndpointError, Reply, Request
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import OnDone, RunStats
from hf_relabel.hub_tools.ray_cluster.cluster import Carried, restored

MOST_AT_ONCE = 16
"""Requests of one exchange: rendering them takes time, and the first should be on their way."""
FIRST = 2
"""Requests of the first exchange."""
QUIET_SECONDS = 0.5
"""While nothing is found to ask, the scheduler is asked so often whether the run is over."""
SCHEDULER_GONE = "what sends the requests cannot be reached"
"""Why a run stops that has lost its scheduler."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What one run (one judge over one shard, in one process) hands over.

    Attributes:
        run: a name no other run has.
        shard: any other run over the same shard is that of a process that has died.
        requests: new ones, each with its number in the run.
        is_last: there will be no more.
    """

    judge: str
    shard: str
    run: str
    requests: Sequence[tuple[int, Request]] = ()
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """What comes back.

    Attributes:
        results: of requests, by their numbers: how often each was sent, and its reply or error.
        room: how many more requests may be handed over.
        stop: why the run is over, "" where it is not.
        error: what broke it.
    """

    results: Sequence[tuple[int, int, Reply | Carried]] = ()
    room: int = 0
    stop: str = ""
    error: Carried | None = None


class Desk(Protocol):
    """Where a worker hands over its requests: `SharedSchedulers`, wherever they are."""

    async def exchange(self, questions: Questions) -> Answers:
        """Hand over requests; comes back with answers, with room for more requests, or after a while with nothing."""
        ...

    def leave(self, questions: Questions) -> None:
        """The run of these wants no more answers."""
        ...


class RemoteScheduler:
    """Stands for the one scheduler of a judge in a worker.

    Args:
        desk: where that scheduler is.
        judge, shard: as in `Questions`.
    """

    def __init__(self, desk: Desk, *, judge: str, shard: str) -> None:
        self._desk = desk
        self._me = Questions(judge, shard, uuid.uuid4().hex)
        self._stopped = ""

    async def run(
        self,
        requests: Iterable[Request | None],
        on_done: OnDone,
        *,
        on_progress: Callable[[RunStats], None] | None = None,
    ) -> RunStats:
        """As `Scheduler.run`, with requests in no hurry to be pulled: few more than can be sent."""
        loop = asyncio.get_running_loop()
        began = heard = loop.time()
        stats = RunStats()
        source, numbered, unanswered = iter(requests), 0, dict[int, Request]()
        room, is_last = FIRST, False
        try:
            while True:
                pulled, state = _pulled(source, room)
                is_last = is_last or state == "over"
                new = list(enumerate(pulled, start=numbered))
                numbered += len(new)
                unanswered.update(new)
                if is_last and not unanswered:
                    return stats
                if state == "searching" and not unanswered and loop.time() - heard < QUIET_SECONDS:
                    await asyncio.sleep(0)  # nobody waits, for now
                    continue
                plain = [(number, replace(request, tag=None)) for number, request in new]
                answers = await self._desk.exchange(replace(self._me, requests=plain, is_last=is_last))
                for number, attempts, result in answers.results:
                    _deliver(stats, unanswered.pop(number), attempts, result, on_done)
                heard = loop.time()
                room, stats.seconds = min(answers.room, MOST_AT_ONCE), heard - began
                if on_progress is not None:
                    on_progress(stats)
                if answers.error is not None:
                    raise restored(answers.error)
                if stopped := self._stopped or answers.stop:
                    stats.stopped = stopped
                    raise stats.as_error()
        finally:
            self._desk.leave(self._me)

    def stop(self, reason: str) -> None:
        """Hand nothing more over, after the exchange that is under way."""
        self._stopped = self._stopped or reason


def _pulled(source: Iterator[Request | None], room: int) -> tuple[list[Request], Literal["searching", "over", "full"]]:
    """As many requests as there is room for, or fewer where finding them takes long or where there are no more."""
    pulled: list[Request] = []
    while len(pulled) < room:
        try:
            request = next(source)
        except StopIteration:
            return pulled, "over"
        if request is None:
            return pulled, "searching"
        pulled.append(request)
    return pulled, "full"


def _deliver(stats: RunStats, request: Request, attempts: int, result: Reply | Carried, on_done: OnDone) -> None:
    stats.sent += attempts
    stats.retried += max(0, attempts - 1)
    if isinstance(result, Reply):
        stats.answered(result)
        on_done(request, result)
        return
    stats.failed += 1
    error = restored(result)
    assert isinstance(error, EndpointError)
    on_done(request, error)
