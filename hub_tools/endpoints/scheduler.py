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
from typing import Literal, TypeAlias

from hf_relabel.builders.endpoint import Endpoint, EndpointError, Reply, Request
from hf_relabel.builders.errors import ConfigError, JudgingStopped
from hf_relabel.hub_tools.endpoints.breaker import Breaker, RetryBudget, Spending
from hf_relabel.hub_tools.endpoints.limiter import Limiter

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


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard to work, and when to stop. Times in seconds, prices per million tokens.

    Attributes:
        concurrency: most requests in flight per endpoint, never above what its server says it takes. None: what the
            server says less a margin of one in 16, or 64 where it does not say.
        start_concurrency: requests in flight at the start. None: half of the most, 64 at most.
        max_attempts: attempts per request, not counting those refused for overload.
        max_overloads: a request refused this often for overload is given up.
        retry_budget: retries earned by each success; when they are used up, 5 per second are still made. Retries after
            overload are not counted: the concurrency deals with those.
        base_delay: back-off before the first retry is random between 0 and this, and doubles each time.
        max_delay: longest back-off. A server's Retry-After is waited for whatever its length.
        deadline: for the whole run.
        max_cost: what the run may cost, in the currency of the prices.
        price_prompt: per million prompt tokens.
        price_completion: per million generated tokens.
        give_up_after: consecutive failures, over all endpoints and without a success, after which a run is given up: at
            once when nothing ever succeeded or the errors are permanent, else after `patience`.
        patience: how long an outage of all endpoints is waited out, once something has succeeded.
        overload_patience: how long nothing but refusals for overload is waited out.
        breaker_threshold: consecutive failures after which an endpoint is left alone.
        breaker_cooldown: for how long; doubles with every failed probe, up to 60.
        grace: how long requests in flight may take to finish when a run is stopped.
    """

    concurrency: int | None = None
    start_concurrency: int | None = None
    max_attempts: int = 8
    max_overloads: int = 64
    retry_budget: float = 0.5
    base_delay: float = 0.5
    max_delay: float = 30.0
    deadline: float | None = None
    max_cost: float | None = None
    price_prompt: float = 0.0
    price_completion: float = 0.0
    give_up_after: int = 20
    patience: float = 120.0
    overload_patience: float = 600.0
    breaker_threshold: int = 5
    breaker_cooldown: float = 5.0
    grace: float = 10.0

    def __post_init__(self) -> None:
        for name in ("concurrency", "start_concurrency", "max_attempts", "max_overloads", "give_up_after"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"limits: {name} is {value}; it must be at least 1.")
        if self.max_cost is not None and not (self.price_prompt or self.price_completion):
            raise ConfigError(
                "limits: max_cost needs price_prompt or price_completion, else nothing ever costs anything."
            )

    def backoff(self, times: int) -> float:
        """Longest wait before a retry, after failing this many times (1 or more)."""
        return min(self.max_delay, self.base_delay * 2.0 ** min(times - 1, 30))


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

    __slots__ = ("attempts", "estimate", "in_flight_since", "lane", "number", "overloads", "probe", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.attempts = 0
        self.overloads = 0
        self.lane: _Lane | None = None
        """Where it was sent last."""
        self.number = 0
        self.probe = False
        self.estimate = 0.0
        self.in_flight_since = 0.0


class _Lane:
    """One endpoint and what limits it."""

    __slots__ = ("breaker", "endpoint", "hold_until", "in_flight", "limiter", "stats")

    def __init__(self, endpoint: Endpoint, limits: Limits, limit: int) -> None:
        self.endpoint = endpoint
        start = limits.start_concurrency or max(1, min(64, (limit + 1) // 2))
        self.limiter = Limiter(limit, start)
        self.breaker = Breaker(limits.breaker_threshold, limits.breaker_cooldown)
        self.hold_until = 0.0
        """Nothing is sent before: the server is over its limit."""
        self.in_flight = 0
        self.stats = EndpointStats(endpoint.name, limit=limit)

    def free(self, now: float) -> int:
        """Requests that may be sent now."""
        if self.breaker.state != "closed":
            return 1 if self.breaker.allows(now) else 0
        return int(self.limiter.window) - self.in_flight if now >= self.hold_until else 0

    def opens_at(self, now: float) -> float | None:
        """When time alone will let more be sent, None where it will not."""
        if self.breaker.state == "open":
            return self.breaker.reopens
        return self.hold_until if self.hold_until > now else None


class Scheduler:
    """Sends requests to several endpoints at once, within limits.

    Times are the event loop's, so a test with a loop of its own has a clock of its own.

    Args:
        endpoints: at least one. They must be interchangeable: any may answer any request. They are not closed.
        limits: see `Limits`.
        rng: source of the jitter.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], limits: Limits | None = None, *, rng: random.Random | None = None
    ) -> None:
        if not endpoints:
            raise ConfigError("A judge that asks a server needs at least one endpoint.")
        self._endpoints = tuple(endpoints)
        self._limits = limits or Limits()
        self._rng = rng or random.Random()  # noqa: S311 - jitter
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
        run = _Run(asyncio.get_running_loop(), limits, self._rng, on_done, on_progress)
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
        limits: Limits,
        rng: random.Random,
        on_done: OnDone,
        on_progress: Callable[[RunStats], None] | None,
    ) -> None:
        now = loop.time()
        self.loop = loop
        self.limits = limits
        self.stats = RunStats()
        self._rng = rng
        self._on_done = on_done
        self._on_progress = on_progress
        self._lanes: list[_Lane] = []
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
        # What keeps it within bounds.
        self._budget = RetryBudget(limits.retry_budget, now)
        self._spending = Spending(limits.max_cost, limits.price_prompt, limits.price_completion)
        self._streak = 0
        self._streak_since = 0.0
        self._overloaded_since: float | None = None
        self._last_error: EndpointError | None = None
        self._began = self._last_event = now

    # Life

    async def run(
        self, endpoints: Sequence[Endpoint], requests: Iterable[Request] | AsyncIterable[Request]
    ) -> RunStats:
        try:
            if self.limits.deadline is not None:
                text = f"the deadline of {self.limits.deadline:g} s has passed"
                self._timers.append(self.loop.call_later(self.limits.deadline, self._stop_running, text))
            opening = self.loop.create_task(self._open(endpoints))
            self._helpers.append(opening)
            await asyncio.wait({opening, self._over}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
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
        self._lanes = [_Lane(endpoint, self.limits, limit) for endpoint, limit in zip(endpoints, limits, strict=True)]
        self.stats.endpoints = [lane.stats for lane in self._lanes]
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
        self._helpers += [self.loop.create_task(self._watch_queue(lane)) for lane in self._lanes]

    async def _read(self, requests: AsyncIterator[Request]) -> None:
        """Keep a few requests of an asynchronous source ready."""
        try:
            async for request in requests:
                self._ahead.append(request)
                self._pump_soon()
                while len(self._ahead) >= READ_AHEAD:
                    self._room.clear()
                    await self._room.wait()
            self._exhausted = True
            self._pump_soon()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._crash(error)
        finally:
            if (aclose := getattr(requests, "aclose", None)) is not None:
                await aclose()

    async def _watch_queue(self, lane: _Lane) -> None:
        """Look at the server's queue now and then: while it is long, more requests in flight would only wait there."""
        while True:
            try:
                depth = await lane.endpoint.queue_depth()
            except Exception:  # it is only advice: whatever is wrong shows in the requests
                depth = None
            if depth is None and lane.stats.queue_depth is None and lane.stats.succeeded:
                return  # the server does not say
            lane.stats.queue_depth = depth
            lane.limiter.deep = depth is not None and depth > max(4.0, lane.in_flight / 4)
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
            f"Judging stopped: {stats.stopped} ({stats.succeeded:,} requests answered, {stats.failed:,} failed, "
            f"{stats.seconds:,.0f} s)."
        )
        error.stats = stats  # type: ignore[attr-defined]
        return error

    def _give_up_if_hopeless(self, now: float) -> None:
        """Stop a run that gets nowhere."""
        limits = self.limits
        if self._streak and all(lane.breaker.failures for lane in self._lanes):
            permanent = self._last_error is not None and not self._last_error.retryable
            soon = permanent or not self.stats.succeeded
            lasted = now - self._streak_since
            unreachable = all(lane.breaker.state == "open" for lane in self._lanes)
            if (self._streak >= limits.give_up_after and (soon or lasted >= limits.patience)) or (
                unreachable and lasted >= limits.patience
            ):
                reason = (
                    f"{self._streak} failures in a row in {lasted:.0f} s and no success; the last: {self._last_error}"
                )
                return self._stop_running(reason)
        since = self._overloaded_since
        if since is not None and now - since >= limits.overload_patience:
            return self._stop_running(
                f"nothing but refusals for overload in {now - since:.0f} s; the last: {self._last_error}"
            )
        if self._waiting and not self._tasks and now - self._last_event >= limits.overload_patience:
            self._stop_running(
                f"nothing could be sent for {now - self._last_event:.0f} s; the last error: {self._last_error}"
            )
        return None

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
        for lane in self._lanes:
            slots += lane.limiter.limit
            lane.stats.in_flight = lane.in_flight
            lane.stats.concurrency = int(lane.limiter.window)
            lane.stats.breaker = lane.breaker.state
            lane.stats.breaker_opened = lane.breaker.opened
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
        while (lane := self._freest(now, None)) is not None:
            entry = self._next(now, lane)
            if entry is None:
                break
            estimate = self._spending.estimate(entry.request)
            if not self._spending.allows(estimate):
                self._held = entry
                if not self._tasks:
                    self._stop_running(f"the spend cap of {self.limits.max_cost:g} is reached")
                return
            if entry.lane is lane and len(self._lanes) > 1:
                lane = self._freest(now, entry.lane) or lane  # another may do better with it
            self._send(entry, lane, estimate, now)
            sends += 1
            if sends >= SENDS_PER_TURN:
                self._pump_soon()
                return
        if self._phase != "running":
            return
        if not self._tasks and self._exhausted and not (self._waiting or self._ahead or self._held):
            self._finish()
        elif self._waiting or self._held or len(self._lanes) > 1 or not self._tasks:
            self._set_alarm(now)

    def _pump_soon(self) -> None:
        if not self._again:
            self._again = True
            self.loop.call_soon(self.pump)

    def _freest(self, now: float, avoid: _Lane | None) -> _Lane | None:
        """The endpoint with the most free slots, None when there is none."""
        best, most = None, 0
        for lane in self._lanes:
            if lane is not avoid and (free := lane.free(now)) > most:
                best, most = lane, free
        return best

    def _next(self, now: float, lane: _Lane) -> _Entry | None:
        """What to send next: what was held back, a retry that is due, a new request; None when there is nothing yet."""
        if self._held is not None:
            entry, self._held = self._held, None
            return entry
        waiting = self._waiting
        if waiting and waiting[0][0] <= now and self._better_elsewhere(waiting[0][2], lane, now):
            fresh = self._pull() if len(waiting) < self._most_waiting else None
            if fresh is not None or self._phase != "running":
                return fresh
        while waiting and waiting[0][0] <= now:
            _, _, entry = heappop(waiting)
            wait = self._budget.take(now) if entry.attempts and not entry.overloads else 0.0
            if not wait:
                return entry
            self._wait(entry, now + max(wait, 0.01))
        return self._pull() if len(waiting) < self._most_waiting else None

    def _better_elsewhere(self, entry: _Entry, lane: _Lane, now: float) -> bool:
        """Whether a retry failed at this very endpoint, while another one is well but has no slot free right now."""
        if entry.lane is not lane or len(self._lanes) == 1 or self._freest(now, lane) is not None:
            return False
        return any(
            other.breaker.state == "closed" and other.hold_until <= now and other is not lane for other in self._lanes
        )

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

    def _send(self, entry: _Entry, lane: _Lane, estimate: float, now: float) -> None:
        stats = self.stats
        stats.sent += 1
        if entry.lane is not None:
            stats.retried += 1
        lane.stats.sent += 1
        lane.in_flight += 1
        entry.lane = lane
        entry.number = lane.stats.sent
        lane.limiter.sending()
        entry.probe = lane.breaker.sending()
        entry.estimate = estimate
        entry.in_flight_since = self._last_event = now
        self._spending.reserved += estimate
        task: asyncio.Task[Reply] = self.loop.create_task(lane.endpoint.complete(entry.request))
        self._tasks.add(task)
        stats.in_flight_peak = max(stats.in_flight_peak, len(self._tasks))
        task.add_done_callback(partial(self._answered, entry, lane))

    def _wait(self, entry: _Entry, due: float) -> None:
        self._pushed += 1  # ties are broken by age
        heappush(self._waiting, (due, self._pushed, entry))

    def _set_alarm(self, now: float) -> None:
        """Wake up when time alone will let something be sent."""
        times = [time for lane in self._lanes if (time := lane.opens_at(now)) is not None]
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

    def _answered(self, entry: _Entry, lane: _Lane, task: asyncio.Task[Reply]) -> None:
        """A request came back, one way or another."""
        now = self.loop.time()
        self._tasks.discard(task)
        lane.in_flight -= 1
        self._last_event = now
        self.stats.busy_seconds += now - entry.in_flight_since
        self._spending.reserved -= entry.estimate
        if task.cancelled():
            if self._phase != "cancelling":
                gone = EndpointError(f"{lane.endpoint.name}: the request was cancelled.", retryable=True)
                self._failed(entry, lane, gone, now)
        elif (error := task.exception()) is None:
            self._succeeded(entry, lane, task.result())
        elif isinstance(error, EndpointError):
            self._failed(entry, lane, error, now)
        else:
            self._crash(error)  # an endpoint's bug: hiding it would only waste requests
        if self._phase == "running":
            self.pump()
        elif not self._tasks:
            self._finish()

    def _succeeded(self, entry: _Entry, lane: _Lane, reply: Reply) -> None:
        stats = self.stats
        if lane.breaker.answered():
            lane.limiter.restart()
        lane.limiter.succeeded(lane.in_flight + 1)
        self._budget.succeeded()
        self._streak = 0
        self._overloaded_since = None
        self._spending.answered(entry.request, reply, entry.estimate)
        stats.succeeded += 1
        lane.stats.succeeded += 1
        stats.prompt_tokens += reply.prompt_tokens or 0
        stats.completion_tokens += reply.completion_tokens or 0
        stats.cost = self._spending.spent
        self._deliver(entry.request, reply)

    def _failed(self, entry: _Entry, lane: _Lane, error: EndpointError, now: float) -> None:
        lane.stats.errors += 1
        self._last_error = error
        if error.overloaded:
            self._overloaded(entry, lane, error, now)
        else:
            entry.attempts += 1
            entry.overloads = 0
            if _timed_out(error):
                lane.limiter.overloaded(entry.number, lane.stats.sent)
            if error.blame_server:
                lane.breaker.failed(now, probe=entry.probe)
                if not self._streak:
                    self._streak_since = now
                self._streak += 1
            elif lane.breaker.answered():
                lane.limiter.restart()
        given_up = entry.attempts >= self.limits.max_attempts or entry.overloads >= self.limits.max_overloads
        if not error.retryable or given_up:
            self.stats.failed += 1
            self._deliver(entry.request, error)
        else:
            delay = self._rng.random() * self.limits.backoff(entry.attempts + entry.overloads)
            self._wait(entry, now + (error.retry_after or 0.0) + delay)
        if self._phase == "running":
            self._give_up_if_hopeless(now)

    def _overloaded(self, entry: _Entry, lane: _Lane, error: EndpointError, now: float) -> None:
        """The server asked for less: that is the window's business, not the request's fault nor the server's."""
        entry.overloads += 1
        self.stats.overloaded += 1
        lane.stats.overloaded += 1
        if self._overloaded_since is None:
            self._overloaded_since = now
        if lane.breaker.answered():
            lane.limiter.restart()
        if lane.limiter.overloaded(entry.number, lane.stats.sent):
            pause = self.limits.backoff(lane.limiter.storms) * (0.5 + 0.5 * self._rng.random())
            lane.hold_until = max(lane.hold_until, now + max(pause, error.retry_after or 0.0))

    def _deliver(self, request: Request, result: Reply | EndpointError) -> None:
        if self._crashed is not None:
            return
        try:
            self._on_done(request, result)
        except BaseException as error:
            self._crash(error)


def _timed_out(error: EndpointError) -> bool:
    return error.status in (408, 504) or isinstance(error.__cause__, TimeoutError)
