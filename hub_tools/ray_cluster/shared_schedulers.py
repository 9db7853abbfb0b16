"""One scheduler for each judge of a run, in one process, for all workers.

What limits a run on one machine (the window of a server, its breaker, retries, patience, money, time) is one thing here
too, whatever the number of workers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from hf_relabel.builders.endpoint import Endpoint, EndpointError, EndpointInfo, Reply, Request
from hf_relabel.builders.errors import JudgingStopped
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Budget, Lanes, Limits, RunStats, Scheduler
from hf_relabel.hub_tools.ray_cluster.cluster import Carried, carried
from hf_relabel.hub_tools.ray_cluster.remote_scheduler import MOST_AT_ONCE, SCHEDULER_GONE, Answers, Questions

BEAT_SECONDS = 1.0
"""An exchange takes no longer: that there is a next one shows that the worker lives."""
QUIET_SECONDS = 3.0
"""Nothing is sent for a worker that was not heard of for so long."""
HOLD_SECONDS = 0.05
"""An answer waits for others that go back with it."""
MOST_READY = 32
"""Requests of a worker that wait for a free slot."""


class _Caller:
    """A run in some worker."""

    def __init__(self, shard: str, now: float) -> None:
        self.shard, self.heard = shard, now
        self.queue: deque[Request] = deque()
        self.results: list[tuple[int, int, Reply | Carried]] = []
        self.news = asyncio.Event()
        """There is something worth coming back with."""

    def take(self) -> list[tuple[int, int, Reply | Carried]]:
        taken, self.results = self.results, []
        return taken


@dataclass(slots=True)
class _Tag:
    """Whose request it is, and how often it was sent."""

    caller: _Caller
    number: int
    attempts: int = 0


class _Callers:
    """The runs of one judge, and their requests as the feed of its scheduler: one of each in turn."""

    exhausted = False

    def __init__(self) -> None:
        self._callers: dict[str, _Caller] = {}
        self._turns: deque[_Caller] = deque()
        self._wake: Callable[[], None] = lambda: None
        self._slots = 0

    def caller(self, questions: Questions, now: float) -> _Caller:
        """Who hands something over."""
        caller = self._callers.get(questions.run)
        if caller is None:
            caller = self._callers[questions.run] = _Caller(questions.shard, now)
            self._turns.append(caller)
        caller.heard = now
        caller.queue += [replace(request, tag=_Tag(caller, number)) for number, request in questions.requests]
        self._wake()
        return caller

    def leave(self, run: str) -> None:
        """Drop what a run has not had sent yet."""
        caller = self._callers.pop(run, None)
        if caller is not None:
            self._turns.remove(caller)

    def forget(self, questions: Questions) -> list[str]:
        """Drop other runs over the same shard. Returns their names."""
        dead = [run for run, one in self._callers.items() if one.shard == questions.shard and run != questions.run]
        for run in dead:
            self.leave(run)
        return dead

    def room(self, caller: _Caller) -> int:
        """Requests that it may hand over: few wait here, since what waits is lost with its worker."""
        return self._share() - len(caller.queue)

    def is_short(self, caller: _Caller) -> bool:
        """Whether it is time for more of its requests."""
        return len(caller.queue) <= self._share() // 2

    def tell_all(self) -> None:
        """There is news for everybody."""
        for caller in self._callers.values():
            caller.news.set()

    def _share(self) -> int:
        return max(2, min(MOST_READY, self._slots // (2 * max(1, len(self._callers)))))

    # As a feed

    def attach(self, wake: Callable[[], None], slots: int) -> None:
        self._wake, self._slots = wake, slots

    def pull(self) -> Request | None:
        now = asyncio.get_running_loop().time()
        for _ in range(len(self._turns)):
            caller = self._turns[0]
            self._turns.rotate(-1)
            if caller.queue and now - caller.heard < QUIET_SECONDS:
                request = caller.queue.popleft()
                if self.is_short(caller):
                    caller.news.set()
                return request
        return None

    async def close(self) -> None:
        self._wake = lambda: None


class _Counted:
    """An endpoint that counts how often each request is sent."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.name, self.constrains = endpoint.name, endpoint.constrains

    async def info(self) -> EndpointInfo:
        return await self._endpoint.info()

    async def complete(self, request: Request) -> Reply:
        request.tag.attempts += 1
        return await self._endpoint.complete(request)

    async def queue_depth(self) -> float | None:
        return await self._endpoint.queue_depth()

    async def close(self) -> None:
        await self._endpoint.close()


class _Judge:
    """A judge, its scheduler and who waits for it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler, self.callers = scheduler, _Callers()
        self.task: asyncio.Task[RunStats] | None = None
        self.stopped = ""
        self.error: Carried | None = None

    async def answers(self, caller: _Caller, *, is_last: bool) -> Answers:
        """Wait for news."""
        is_over = self.task is None or self.task.done()
        if not is_over and (is_last or not self.callers.is_short(caller)):
            with suppress(TimeoutError):
                await asyncio.wait_for(caller.news.wait(), BEAT_SECONDS)
        caller.news.clear()
        return Answers(caller.take(), max(0, self.callers.room(caller)), self.stopped, self.error)


class SharedSchedulers:
    """The schedulers of the judges of a run, each for all workers. Made in the event loop in which they work.

    Judges that ask the same server share what limits it, and all judges share one budget.

    Args:
        judges: endpoints and limits, by the judge's name. What nobody asks is not begun.
        elapsed: seconds that count towards the deadlines already.
        spent: what is spent already.
    """

    def __init__(
        self,
        judges: Mapping[str, tuple[Sequence[Endpoint], Limits]],
        *,
        elapsed: float = 0.0,
        spent: float = 0.0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = judges
        self._budget = Budget(spent=spent, elapsed=elapsed, clock=self._loop.time)
        self._lanes = Lanes()
        self._judges: dict[str, _Judge] = {}
        self._forgotten: set[str] = set()
        self.stopped = ""

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._budget.elapsed

    async def exchange(self, questions: Questions) -> Answers:
        """See `Desk`."""
        if questions.run in self._forgotten:  # so its process was not dead, and its shard is somebody else's
            return Answers(stop=SCHEDULER_GONE)
        if self.stopped and questions.judge not in self._judges:
            return Answers(stop=self.stopped)
        judge = self._judge(questions.judge)
        for one in self._judges.values():
            self._forgotten.update(one.callers.forget(questions))
        caller = judge.callers.caller(questions, self._loop.time())
        return await judge.answers(caller, is_last=questions.is_last)

    def leave(self, questions: Questions) -> None:
        """See `Desk`."""
        if questions.judge in self._judges:
            self._judges[questions.judge].callers.leave(questions.run)

    def stop(self, reason: str) -> None:
        """End all runs, for the first reason that is given; what is in flight has its time to finish."""
        if self.stopped:
            return
        self.stopped = reason
        for judge in self._judges.values():
            judge.scheduler.stop(reason)

    def _judge(self, name: str) -> _Judge:
        if name in self._judges:
            return self._judges[name]
        endpoints, limits = self._settings[name]
        counted = [_Counted(endpoint) for endpoint in endpoints]
        scheduler = Scheduler(counted, limits, lanes=self._lanes, budget=self._budget)
        judge = self._judges[name] = _Judge(scheduler)
        judge.task = self._loop.create_task(scheduler.run(judge.callers, self._done))
        judge.task.add_done_callback(lambda task: self._ended(judge, task))
        return judge

    def _done(self, request: Request, result: Reply | EndpointError) -> None:
        tag: _Tag = request.tag
        caller = tag.caller
        caller.results.append((tag.number, tag.attempts, result if isinstance(result, Reply) else carried(result)))
        if len(caller.results) >= MOST_AT_ONCE:
            caller.news.set()
        elif len(caller.results) == 1:
            self._loop.call_later(HOLD_SECONDS, caller.news.set)

    def _ended(self, judge: _Judge, task: asyncio.Task[RunStats]) -> None:
        """A judge's run is over, and so are all others: each shard needs all judges."""
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, JudgingStopped):
            judge.stopped = error.stats.stopped  # type: ignore[attr-defined]
        elif error is not None:
            judge.error = carried(error)
        judge.callers.tell_all()
        self.stop(judge.stopped or "another judge failed")
