"""One run of a scheduler.

Each request ends in exactly one call of `on_done`, unless the run stops before. There are no workers and no polling:
every answer, every due time and every stop calls `Run.pump`, which fills the free slots.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from typing import Literal

from hf_relabel.builders.endpoint import Endpoint, EndpointError, Reply, Request
from hf_relabel.hub_tools.endpoints.scheduling.breaker import RetryBudget, Spending
from hf_relabel.hub_tools.endpoints.scheduling.feeds import Feed, Requests, feed_of
from hf_relabel.hub_tools.endpoints.scheduling.lane import Patience
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.endpoints.scheduling.pending import Entry, Pending
from hf_relabel.hub_tools.endpoints.scheduling.servers import MakeLane, Server, freest, opened
from hf_relabel.hub_tools.endpoints.scheduling.stats import OnDone, OnProgress, RunStats

TICK_SECONDS = 1.0
"""Between two calls of `on_progress`, and two checks whether a run still gets anywhere."""
SENDS_PER_TURN = 16
"""Pulled and sent before the event loop gets a turn: rendering takes time, and the first should be on their way."""


class Run:
    """One run of a scheduler, in the event loop that runs.

    Args:
        rng: source of the jitter.
        lane: what makes the lanes of its endpoints.
        spent, elapsed: as for `Scheduler`.
    """

    def __init__(
        self,
        limits: Limits,
        rng: random.Random,
        lane: MakeLane,
        on_done: OnDone,
        on_progress: OnProgress | None,
        *,
        spent: float,
        elapsed: float,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        now = self.loop.time()
        self.limits = limits
        self.stats = RunStats()
        self._rng, self._lane, self._elapsed = rng, lane, elapsed
        self._on_done, self._on_progress = on_done, on_progress
        self._patience = Patience(limits)
        self._budget = RetryBudget(limits.retry_budget, now)
        self._spending = Spending(limits.max_cost, limits.price_prompt, limits.price_completion, spent)
        self._servers: list[Server] = []
        self._pending = Pending(self._budget, self._servers)
        self._feed: Feed | None = None
        self._tasks: set[asyncio.Task[Reply]] = set()
        self._helpers: list[asyncio.Task[None]] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._wake: asyncio.TimerHandle | None = None
        self._again = False
        self._phase: Literal["running", "draining", "cancelling"] = "running"
        self._over: asyncio.Future[None] = self.loop.create_future()
        self._crashed: BaseException | None = None
        self._began = self._last_event = now

    # Life

    async def run(self, endpoints: Sequence[Endpoint], requests: Requests) -> RunStats:
        """Send all requests. As `Scheduler.run`."""
        try:
            if self.limits.deadline is not None:
                text = f"the deadline of {self.limits.deadline:g} s has passed"
                left = max(0.0, self.limits.deadline - self._elapsed)
                self._timers.append(self.loop.call_later(left, self._stop_running, text))
            opening = self.loop.create_task(self._open(endpoints))
            self._helpers.append(opening)
            await asyncio.wait({opening, self._over}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
            if self._phase == "running":
                self._attach(feed_of(requests))
                self._tick()
                self.pump()
            await self._over
        finally:
            await self._clean_up()
        if self._crashed is not None:
            raise self._crashed
        self._report()
        if self._phase != "running":
            raise self.stats.as_error()
        return self.stats

    async def _open(self, endpoints: Sequence[Endpoint]) -> None:
        self._servers += await opened(endpoints, self.limits.concurrency, self._lane)
        self.stats.endpoints = [server.stats for server in self._servers]
        self._began = self._last_event = self.loop.time()

    def _attach(self, feed: Feed) -> None:
        slots = sum(server.stats.limit for server in self._servers)
        for server in self._servers:
            server.lane.users.append(self.pump)
            self._helpers.append(self.loop.create_task(server.watch_queue()))
        self._feed = feed
        self._pending.attach(feed, slots)
        feed.attach(self.pump_soon, slots)

    async def _clean_up(self) -> None:
        """Leave no task and no timer behind."""
        if self._tasks or not self._over.done():
            self._phase = "cancelling"
        for timer in [*self._timers, *([self._wake] if self._wake else [])]:
            timer.cancel()
        for task in [*self._helpers, *self._tasks]:
            task.cancel()
        while left := [task for task in [*self._tasks, *self._helpers] if not task.done()]:
            await asyncio.wait(left)
        await asyncio.sleep(0)  # the last answers' callbacks, which are scheduled already
        if self._feed is not None:
            await self._feed.close()
            for server in self._servers:
                server.lane.users.remove(self.pump)
        for helper in self._helpers:
            if not helper.cancelled():
                helper.exception()  # known already: not to be complained of again

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

    def _give_up_if_hopeless(self, now: float) -> None:
        """Stop a run that gets nowhere."""
        breakers = [server.lane.breaker for server in self._servers]
        reason = self._patience.ends(
            now,
            failing=all(breaker.failures for breaker in breakers),
            unreachable=all(breaker.state == "open" for breaker in breakers),
            idle_since=self._last_event if self._pending.retries and not self._tasks else None,
        )
        if reason is not None:
            self._stop_running(reason)

    def _tick(self) -> None:
        if self._phase == "cancelling" or self._over.done():
            return
        self._timers[:] = [timer for timer in self._timers if timer.when() > self.loop.time()]
        self._timers.append(self.loop.call_later(TICK_SECONDS, self._tick))
        if self._tasks or self._pending.waits:  # an idle feed is no sign of anything
            self._give_up_if_hopeless(self.loop.time())
        self._report()

    def _report(self) -> None:
        stats = self.stats
        stats.seconds = self.loop.time() - self._began
        stats.in_flight = len(self._tasks)
        stats.waiting = self._pending.retries
        for server in self._servers:
            server.note()
        slots = sum(server.lane.limiter.limit for server in self._servers)
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
        while (server := freest(self._servers, now)) is not None:
            try:
                entry = self._pending.next(now, server)
            except BaseException as error:
                self._crash(error)
                return
            if entry is None:
                break
            estimate = self._spending.estimate(entry.request)
            if not self._spending.allows(estimate):
                self._pending.hold(entry)
                if not self._tasks:
                    self._stop_running(f"the spend cap of {self.limits.max_cost:g} is reached")
                return
            if entry.server is server and len(self._servers) > 1:
                server = freest(self._servers, now, entry.server) or server  # another may do better with it
            self._send(entry, server, estimate, now)
            sends += 1
            if sends >= SENDS_PER_TURN:
                self.pump_soon()
                return
        if self._phase != "running":
            return
        if not self._tasks and self._pending.is_over:
            self._finish()
        elif self._pending.waits or len(self._servers) > 1 or not self._tasks:
            self._set_alarm(now)

    def pump_soon(self) -> None:
        """Fill the free slots when the event loop comes to it."""
        if not self._again:
            self._again = True
            self.loop.call_soon(self.pump)

    def _send(self, entry: Entry, server: Server, estimate: float, now: float) -> None:
        stats = self.stats
        stats.sent += 1
        if entry.server is not None:
            stats.retried += 1
        server.stats.sent += 1
        entry.server = server
        entry.number, entry.probe = server.lane.sending()
        entry.estimate = estimate
        entry.in_flight_since = self._last_event = now
        self._spending.reserved += estimate
        task: asyncio.Task[Reply] = self.loop.create_task(server.endpoint.complete(entry.request))
        self._tasks.add(task)
        stats.in_flight_peak = max(stats.in_flight_peak, len(self._tasks))
        task.add_done_callback(partial(self._answered, entry, server))

    def _set_alarm(self, now: float) -> None:
        """Wake up when time alone will let something be sent."""
        times = [time for server in self._servers if (time := server.lane.opens_at(now)) is not None]
        if (due := self._pending.next_due) is not None:
            times.append(due)
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

    def _answered(self, entry: Entry, server: Server, task: asyncio.Task[Reply]) -> None:
        """A request came back, one way or another."""
        now = self.loop.time()
        self._tasks.discard(task)
        server.lane.in_flight -= 1
        self._last_event = now
        self.stats.busy_seconds += now - entry.in_flight_since
        self._spending.reserved -= entry.estimate
        if task.cancelled():
            if self._phase != "cancelling":
                gone = EndpointError(f"{server.endpoint.name}: the request was cancelled.", kind="unreachable")
                self._failed(entry, server, gone, now)
        elif (error := task.exception()) is None:
            self._succeeded(entry, server, task.result())
        elif isinstance(error, EndpointError):
            self._failed(entry, server, error, now)
        else:
            self._crash(error)  # an endpoint's bug: hiding it would only waste requests
        server.lane.freed()
        if self._phase != "running" and not self._tasks:
            self._finish()

    def _succeeded(self, entry: Entry, server: Server, reply: Reply) -> None:
        stats, spending = self.stats, self._spending
        server.lane.succeeded()
        self._budget.succeeded()
        self._patience.succeeded()
        spending.answered(entry.request, reply, entry.estimate)
        server.stats.succeeded += 1
        stats.answered(reply)
        stats.cost = spending.spent
        self._deliver(entry.request, reply)

    def _failed(self, entry: Entry, server: Server, error: EndpointError, now: float) -> None:
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
        self._patience.failed(now, error)
        given_up = entry.attempts >= self.limits.max_attempts or entry.overloads >= self.limits.max_overloads
        if not error.retryable or given_up:
            self.stats.failed += 1
            self._deliver(entry.request, error)
        else:
            delay = self._rng.random() * self.limits.backoff(entry.attempts + entry.overloads)
            self._pending.retry(entry, now + (error.retry_after or 0.0) + delay)
        if self._phase == "running":
            self._give_up_if_hopeless(now)

    def _deliver(self, request: Request, result: Reply | EndpointError) -> None:
        if self._crashed is not None:
            return
        try:
            self._on_done(request, result)
        except BaseException as error:
            self._crash(error)
