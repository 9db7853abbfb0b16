"""One scheduler above all judge endpoints: it decides what is sent where and when, and when to stop.

Requests are pulled from an iterator only when a slot is free. Each ends in exactly one call of `on_done`, unless the
run stops before. A request that failed waits in a heap, not in a slot, and goes first when it is due. There are no
workers and no polling: every answer, every due time and every stop calls `_Run.pump`, which fills the free slots.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from typing import Literal, Protocol, TypeAlias

from hf_relabel.builders.endpoint import Endpoint, EndpointError, Reply, Request
from hf_relabel.builders.errors import ConfigError, JudgingStopped
from hf_relabel.builders.messages.counted import counted
from hf_relabel.hub_tools.endpoints.scheduling.breaker import RetryBudget, Spending
from hf_relabel.hub_tools.endpoints.scheduling.lane import Lane, Patience
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits

__all__ = ["EndpointStats", "Limits", "Means", "OnDone", "RunStats", "Running", "Scheduler"]

DEFAULT_CONCURRENCY = 64
"""Per endpoint, where neither the user nor the server says."""
INFO_SECONDS = 10.0
"""A server that does not tell its limits in this time is not waited for."""
DEPTH_SECONDS = 2.0
"""Between two looks at a server's queue."""
TICK_SECONDS = 1.0
"""Between two calls of `on_progress`, and two checks whether a run still gets anywhere."""
SENDS_PER_TURN = 16
"""Pulled and sent before the event loop gets a turn: rendering takes time, and the first should be on their way."""
READ_AHEAD = 32
"""Requests of an asynchronous source held ready."""

OnDone: TypeAlias = Callable[[Request, Reply | EndpointError], None]


@dataclass(slots=True)
class EndpointStats:
    """What one endpoint did in a run. `concurrency` is its window now, `limit` the most it may be."""

    name: str
    sent: int = 0
    succeeded: int = 0
    errors: int = 0
    overloaded: int = 0
    in_flight: int = 0
    concurrency: int = 0
    limit: int = 0
    breaker: str = "closed"
    breaker_opened: int = 0
    queue_depth: float | None = None


@dataclass(slots=True)
class RunStats:
    """What a run did. The object given to `on_progress` is the same each time and goes on changing.

    Attributes:
        sent: attempts, retries included.
        succeeded: requests answered.
        failed: requests delivered as errors.
        retried: attempts beyond a request's first.
        overloaded: attempts refused for overload.
        cost: in the currency of the prices.
        seconds: since the start.
        waiting: requests that wait for their next attempt.
        busy_seconds: sum over requests of the time in flight.
        busy_fraction: share of the slots' time (all endpoints' limits) that a request was in flight.
        stopped: why the run ended early, "" where it did not.
    """

    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    overloaded: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    in_flight: int = 0
    in_flight_peak: int = 0
    waiting: int = 0
    busy_seconds: float = 0.0
    busy_fraction: float = 0.0
    stopped: str = ""
    endpoints: list[EndpointStats] = field(default_factory=list)


class _Entry:
    """A request and its history."""

    __slots__ = ("attempts", "estimate", "in_flight_since", "number", "overloads", "probe", "request", "server")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.attempts = 0
        self.overloads = 0
        self.server: _Server | None = None
        """Where it was sent last."""
        self.number = 0
        self.probe = False
        self.estimate = 0.0
        self.in_flight_since = 0.0


class _Server:
    """One endpoint of a run."""

    __slots__ = ("endpoint", "lane", "stats")

    def __init__(self, endpoint: Endpoint, lane: Lane) -> None:
        self.endpoint = endpoint
        self.lane = lane
        self.stats = EndpointStats(endpoint.name, limit=lane.limiter.limit)


class Means:
    """What a run has to go by: its lanes, its patience, its retries and its money.

    A run has its own. Where several processes share the servers, a subclass gets them from whoever shares them out.
    """

    is_alone = True
    """Whether what is refused here is refused for good, and the run's own deadline counts."""

    def __init__(self, limits: Limits, now: float, rng: random.Random) -> None:
        self.limits, self.rng = limits, rng
        self.patience = Patience(limits)
        self.budget = RetryBudget(limits.retry_budget, now)
        self.spending = Spending(limits.max_cost, limits.price_prompt, limits.price_completion)

    def lane(self, endpoint: Endpoint, limit: int) -> Lane:
        """A new lane for an endpoint that takes at most so many requests at once."""
        return Lane(self.limits, limit, self.rng)

    async def begin(self, run: Running) -> None:
        """The lanes are there and sending begins."""

    async def end(self) -> None:
        """Nothing is sent any more. Called once, whether or not it began."""


class Running(Protocol):
    """A run, as its means see it."""

    def pump_soon(self) -> None:
        """More may be sent now."""

    def stop(self, reason: str) -> None:
        """End the run."""

    def wanted(self) -> int | None:
        """How many requests there are to have in flight, those that are counted; None where there is no end of them."""


class Scheduler:
    """Sends requests to several endpoints at once, within limits.

    Times are the event loop's, so a test with a loop of its own has a clock of its own.

    Example:
            scheduler = Scheduler([make_endpoint("http://127.0.0.1:8080")], Limits(max_cost=5.0))
            stats = await scheduler.run(requests, on_done)

    Args:
        endpoints: at least one. They must be interchangeable: any may answer any request. They are not closed.
        limits: see `Limits`.
        rng: source of the jitter.
        means: what a run has to go by, its own unless others share the servers.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        limits: Limits | None = None,
        *,
        rng: random.Random | None = None,
        means: Callable[[Limits, float, random.Random], Means] = Means,
    ) -> None:
        if not endpoints:
            raise ConfigError("A judge that asks a server needs at least one endpoint.")
        self._endpoints = tuple(endpoints)
        self._limits = limits or Limits()
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._means = means
        self._run: _Run | None = None
        self._stop_first: str | None = None

    async def run(
        self,
        requests: Iterable[Request] | AsyncIterable[Request],
        on_done: OnDone,
        *,
        on_progress: Callable[[RunStats], None] | None = None,
    ) -> RunStats:
        """Send every request and deliver every answer.

        Args:
            requests: may be an endless generator; requests are pulled in order, when there is room for one.
            on_done: called once per request, with its reply or with the error that ended it: a permanent one, or the
                last one when its attempts are used up.
            on_progress: called about once a second, and at the end.

        Raises:
            JudgingStopped: the run ended early, after what was in flight was given time to finish. Its `stats` tell
                what was done. Requests that were pulled and not delivered are simply not delivered.
            Exception: whatever `requests`, `on_done` or `on_progress` raised; what was in flight is cancelled.
        """
        if self._run is not None:
            raise RuntimeError("This scheduler is already running.")
        limits = self._limits
        loop = asyncio.get_running_loop()
        means = self._means(limits, loop.time(), self._rng)
        run = _Run(loop, means, on_done, on_progress)
        self._run = run
        try:
            if self._stop_first is not None:
                run.stop(self._stop_first)
            return await run.run(self._endpoints, requests)
        finally:
            self._run = self._stop_first = None

    def stop(self, reason: str) -> None:
        """End the run: nothing new is sent, and what is in flight has `Limits.grace` seconds. Called again: none.

        May be called from a signal handler or another thread. Called before `run`, it stops that run at its start.

        Args:
            reason: in a few words, for the message of `JudgingStopped`.
        """
        run = self._run
        if run is None:
            self._stop_first = reason
        else:
            run.loop.call_soon_threadsafe(run.stop, reason)


class _Run:
    """One run of a scheduler."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        means: Means,
        on_done: OnDone,
        on_progress: Callable[[RunStats], None] | None,
    ) -> None:
        now = loop.time()
        self.loop = loop
        self.means = means
        self.limits = means.limits
        self.stats = RunStats()
        self._on_done = on_done
        self._on_progress = on_progress
        self._servers: list[_Server] = []
        self._tasks: set[asyncio.Task[Reply]] = set()
        self._helpers: list[asyncio.Task[None]] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._wake: asyncio.TimerHandle | None = None
        self._again = False
        self._phase: Literal["running", "draining", "cancelling"] = "running"
        self._over: asyncio.Future[None] = loop.create_future()
        self._crashed: BaseException | None = None
        # What is to be sent: retries by due time, then the source.
        self._waiting: list[tuple[float, int, _Entry]] = []
        self._pushed = 0
        self._held: _Entry | None = None
        self._source: Iterator[Request] | None = None
        self._ahead: deque[Request] = deque()
        self._room = asyncio.Event()
        self._exhausted = False
        self._most_waiting = 0
        self._began = self._last_event = now

    # Life

    async def run(
        self, endpoints: Sequence[Endpoint], requests: Iterable[Request] | AsyncIterable[Request]
    ) -> RunStats:
        try:
            if self.limits.deadline is not None and self.means.is_alone:
                text = f"the deadline of {self.limits.deadline:g} s has passed"
                self._timers.append(self.loop.call_later(self.limits.deadline, self._stop_running, text))
            opening = self.loop.create_task(self._open(endpoints))
            self._helpers.append(opening)
            await asyncio.wait({opening, self._over}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
                await self.means.begin(self)
            if self._phase == "running":
                self._attach(requests)
                self._tick()
                self.pump()
            await self._over
        finally:
            await self._clean_up()
        if self._crashed is not None:
            raise self._crashed
        self._report()
        if self._phase != "running":
            raise self._stopped()
        return self.stats

    async def _open(self, endpoints: Sequence[Endpoint]) -> None:
        """Ask the servers what they take."""
        limits = await asyncio.gather(*(self._limit(endpoint) for endpoint in endpoints))
        self._servers = [
            _Server(endpoint, self.means.lane(endpoint, limit))
            for endpoint, limit in zip(endpoints, limits, strict=True)
        ]
        self.stats.endpoints = [server.stats for server in self._servers]
        # Enough for 5 % of refusals with a Retry-After of half a minute, at two answers per slot and second.
        self._most_waiting = max(64, 4 * sum(limits))
        self._began = self._last_event = self.loop.time()

    async def _limit(self, endpoint: Endpoint) -> int:
        try:
            info = await asyncio.wait_for(endpoint.info(), INFO_SECONDS)
            most = info.max_concurrent_requests
        except (EndpointError, TimeoutError):
            most = None  # the breaker deals with it, if the server is really gone
        if self.limits.concurrency is not None:
            return max(1, min(self.limits.concurrency, most or self.limits.concurrency))
        return max(1, most - max(1, most // 16)) if most else DEFAULT_CONCURRENCY

    def _attach(self, requests: Iterable[Request] | AsyncIterable[Request]) -> None:
        if isinstance(requests, AsyncIterable):
            self._helpers.append(self.loop.create_task(self._read(aiter(requests))))
        else:
            self._source = iter(requests)
        self._helpers += [self.loop.create_task(self._watch_queue(server)) for server in self._servers]

    async def _read(self, requests: AsyncIterator[Request]) -> None:
        """Keep a few requests of an asynchronous source ready."""
        try:
            async for request in requests:
                self._ahead.append(request)
                self.pump_soon()
                while len(self._ahead) >= READ_AHEAD:
                    self._room.clear()
                    await self._room.wait()
            self._exhausted = True
            self.pump_soon()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._crash(error)
        finally:
            if (aclose := getattr(requests, "aclose", None)) is not None:
                await aclose()

    async def _watch_queue(self, server: _Server) -> None:
        """Look at the server's queue now and then."""
        while True:
            if server.lane.watched:
                try:
                    depth = await server.endpoint.queue_depth()
                except Exception:  # it is only advice: whatever is wrong shows in the requests
                    depth = None
                if depth is None and server.stats.queue_depth is None and server.stats.succeeded:
                    return  # the server does not say
                server.stats.queue_depth = depth
                server.lane.queue(depth)
            await asyncio.sleep(DEPTH_SECONDS)

    async def _clean_up(self) -> None:
        """Leave no task and no timer behind."""
        if self._tasks or not self._over.done():
            self._phase = "cancelling"
        for timer in [*self._timers, *([self._wake] if self._wake else [])]:
            timer.cancel()
        for helper in self._helpers:
            helper.cancel()
        for task in self._tasks:
            task.cancel()
        while left := [task for task in [*self._tasks, *self._helpers] if not task.done()]:
            await asyncio.wait(left)
        await asyncio.sleep(0)  # the last answers' callbacks, which are scheduled already
        await self.means.end()
        for helper in self._helpers:
            if not helper.cancelled():
                helper.exception()  # known already, or about closing the source: not to be complained of again

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _crash(self, error: BaseException) -> None:
        """Something that is not a server's doing went wrong: end the run with it."""
        if self._crashed is None:
            self._crashed = error
        self._phase = "cancelling"
        self._finish()

    # Stopping

    def stop(self, reason: str) -> None:
        """The caller's wish: the first time with grace, the second without."""
        if self._phase == "running":
            self._stop_running(reason)
        else:
            self._cancel()

    def _stop_running(self, reason: str) -> None:
        if self._phase != "running" or self._over.done():
            return
        self._phase = "draining"
        self.stats.stopped = reason
        if not self._tasks:
            self._finish()
        else:
            self._timers.append(self.loop.call_later(self.limits.grace, self._cancel))

    def _cancel(self) -> None:
        self._phase = "cancelling"
        for task in self._tasks:
            task.cancel()
        if not self._tasks:
            self._finish()

    def _stopped(self) -> JudgingStopped:
        stats = self.stats
        error = JudgingStopped(
            f"Judging stopped: {str(stats.stopped).rstrip('.')} ({counted(stats.succeeded, 'request')} answered,"
            f" {stats.failed:,} failed, {stats.seconds:,.0f} s)."
        )
        error.stats = stats  # type: ignore[attr-defined]
        return error

    def _give_up_if_hopeless(self, now: float) -> None:
        """Stop a run that gets nowhere."""
        breakers = [server.lane.breaker for server in self._servers]
        reason = self.means.patience.ends(
            now,
            failing=all(breaker.failures for breaker in breakers),
            unreachable=all(breaker.state == "open" for breaker in breakers),
            idle_since=self._last_event if self._waiting and not self._tasks else None,
        )
        if reason is not None:
            self._stop_running(reason)

    def _tick(self) -> None:
        if self._phase == "cancelling" or self._over.done():
            return
        self._timers[:] = [timer for timer in self._timers if timer.when() > self.loop.time()]
        self._timers.append(self.loop.call_later(TICK_SECONDS, self._tick))
        self._give_up_if_hopeless(self.loop.time())
        self._report()

    def _report(self) -> None:
        stats = self.stats
        now = self.loop.time()
        stats.seconds = now - self._began
        stats.in_flight = len(self._tasks)
        stats.waiting = len(self._waiting)
        slots = 0
        for server in self._servers:
            lane, seen = server.lane, server.stats
            slots += lane.limiter.limit
            seen.in_flight = lane.in_flight
            seen.concurrency = int(lane.limiter.window)
            seen.breaker = lane.breaker.state
            seen.breaker_opened = lane.breaker.opened
        if stats.seconds > 0 and slots:
            stats.busy_fraction = stats.busy_seconds / (stats.seconds * slots)
        if self._on_progress is not None:
            try:
                self._on_progress(stats)
            except BaseException as error:
                if self._over.done():
                    raise
                self._crash(error)

    # Sending

    def pump(self) -> None:
        """Fill the free slots."""
        self._again = False
        if self._phase != "running":
            return
        now = self.loop.time()
        sends = 0
        spending = self.means.spending
        while (server := self._freest(now, None)) is not None:
            entry = self._next(now, server)
            if entry is None:
                break
            estimate = spending.estimate(entry.request)
            if not spending.allows(estimate):
                self._held = entry
                if not self._tasks and self.means.is_alone:
                    self._stop_running(f"the spend cap of {self.limits.max_cost:g} is reached")
                return
            if entry.server is server and len(self._servers) > 1:
                server = self._freest(now, entry.server) or server  # another may do better with it
            self._send(entry, server, estimate, now)
            sends += 1
            if sends >= SENDS_PER_TURN:
                self.pump_soon()
                return
        if self._phase != "running":
            return
        if not self._tasks and self._exhausted and not (self._waiting or self._ahead or self._held):
            self._finish()
        elif self._waiting or self._held or len(self._servers) > 1 or not self._tasks:
            self._set_alarm(now)

    def pump_soon(self) -> None:
        if not self._again:
            self._again = True
            self.loop.call_soon(self.pump)

    def wanted(self) -> int | None:
        if not self._exhausted:
            return None
        return len(self._tasks) + len(self._waiting) + len(self._ahead) + (self._held is not None)

    def _freest(self, now: float, avoid: _Server | None) -> _Server | None:
        """The endpoint with the most free slots, None when there is none."""
        best, most = None, 0
        for server in self._servers:
            if server is not avoid and (free := server.lane.free(now)) > most:
                best, most = server, free
        return best

    def _next(self, now: float, server: _Server) -> _Entry | None:
        """What to send next: what was held back, a retry that is due, a new request; None when there is nothing yet."""
        if self._held is not None:
            entry, self._held = self._held, None
            return entry
        waiting = self._waiting
        if waiting and waiting[0][0] <= now and self._better_elsewhere(waiting[0][2], server, now):
            fresh = self._pull() if len(waiting) < self._most_waiting else None
            if fresh is not None or self._phase != "running":
                return fresh
        while waiting and waiting[0][0] <= now:
            _, _, entry = heappop(waiting)
            wait = self.means.budget.take(now) if entry.attempts and not entry.overloads else 0.0
            if not wait:
                return entry
            self._wait(entry, now + max(wait, 0.01))
        return self._pull() if len(waiting) < self._most_waiting else None

    def _better_elsewhere(self, entry: _Entry, server: _Server, now: float) -> bool:
        """Whether a retry failed at this very endpoint, while another one is well but has no slot free right now."""
        if entry.server is not server or len(self._servers) == 1 or self._freest(now, server) is not None:
            return False
        return any(other is not server and other.lane.is_well(now) for other in self._servers)

    def _pull(self) -> _Entry | None:
        if self._ahead:
            request = self._ahead.popleft()
            self._room.set()
            return _Entry(request)
        if self._source is None:
            return None
        try:
            return _Entry(next(self._source))
        except StopIteration:
            self._source, self._exhausted = None, True
        except BaseException as error:
            self._crash(error)
        return None

    def _send(self, entry: _Entry, server: _Server, estimate: float, now: float) -> None:
        stats = self.stats
        stats.sent += 1
        if entry.server is not None:
            stats.retried += 1
        server.stats.sent += 1
        entry.server = server
        entry.number, entry.probe = server.lane.sending()
        entry.estimate = estimate
        entry.in_flight_since = self._last_event = now
        self.means.spending.reserved += estimate
        task: asyncio.Task[Reply] = self.loop.create_task(server.endpoint.complete(entry.request))
        self._tasks.add(task)
        stats.in_flight_peak = max(stats.in_flight_peak, len(self._tasks))
        task.add_done_callback(partial(self._answered, entry, server))

    def _wait(self, entry: _Entry, due: float) -> None:
        self._pushed += 1  # ties are broken by age
        heappush(self._waiting, (due, self._pushed, entry))

    def _set_alarm(self, now: float) -> None:
        """Wake up when time alone will let something be sent."""
        times = [time for server in self._servers if (time := server.lane.opens_at(now)) is not None]
        if self._waiting:
            times.append(self._waiting[0][0])
        when = min((time for time in times if time > now), default=None)
        if when is None or (self._wake is not None and self._wake.when() <= when):
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self.loop.call_at(when, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self.pump()

    # Answers

    def _answered(self, entry: _Entry, server: _Server, task: asyncio.Task[Reply]) -> None:
        """A request came back, one way or another."""
        now = self.loop.time()
        self._tasks.discard(task)
        server.lane.in_flight -= 1
        self._last_event = now
        self.stats.busy_seconds += now - entry.in_flight_since
        self.means.spending.reserved -= entry.estimate
        if task.cancelled():
            if self._phase != "cancelling":
                gone = EndpointError(f"{server.endpoint.name}: the request was cancelled.", retryable=True)
                self._failed(entry, server, gone, now)
        elif (error := task.exception()) is None:
            self._succeeded(entry, server, task.result())
        elif isinstance(error, EndpointError):
            self._failed(entry, server, error, now)
        else:
            self._crash(error)  # an endpoint's bug: hiding it would only waste requests
        if self._phase == "running":
            self.pump()
        elif not self._tasks:
            self._finish()

    def _succeeded(self, entry: _Entry, server: _Server, reply: Reply) -> None:
        stats, means = self.stats, self.means
        server.lane.succeeded()
        means.budget.succeeded()
        means.patience.succeeded()
        means.spending.answered(entry.request, reply, entry.estimate)
        stats.succeeded += 1
        server.stats.succeeded += 1
        stats.prompt_tokens += reply.prompt_tokens or 0
        stats.completion_tokens += reply.completion_tokens or 0
        stats.cost = means.spending.spent
        self._deliver(entry.request, reply)

    def _failed(self, entry: _Entry, server: _Server, error: EndpointError, now: float) -> None:
        server.stats.errors += 1
        if error.overloaded:
            entry.overloads += 1
            self.stats.overloaded += 1
            server.stats.overloaded += 1
            server.lane.overloaded(now, entry.number, error)
        else:
            entry.attempts += 1
            entry.overloads = 0
            server.lane.failed(now, entry.number, error, probe=entry.probe)
        self.means.patience.failed(now, error)
        given_up = entry.attempts >= self.limits.max_attempts or entry.overloads >= self.limits.max_overloads
        if not error.retryable or given_up:
            self.stats.failed += 1
            self._deliver(entry.request, error)
        else:
            delay = self.means.rng.random() * self.limits.backoff(entry.attempts + entry.overloads)
            self._wait(entry, now + (error.retry_after or 0.0) + delay)
        if self._phase == "running":
            self._give_up_if_hopeless(now)

    def _deliver(self, request: Request, result: Reply | EndpointError) -> None:
        if self._crashed is not None:
            return
        try:
            self._on_done(request, result)
        except BaseException as error:
            self._crash(error)
