"""One run of a scheduler.

Each request ends in exactly one call of `on_done`, unless the run stops before. There are no workers and no polling:
every answer, every due time and every stop calls `Run.pump`, which fills the free slots.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from hf_relabel.builders.endpoint import Endpoint, EndpointError, Reply, Request
from hf_relabel.hub_tools.endpoints.scheduling.breaker import RetryBudget
from hf_relabel.hub_tools.endpoints.scheduling.budget import Budget, Spending
from hf_relabel.hub_tools.endpoints.scheduling.feeds import Feed, Requests, feed_of
from hf_relabel.hub_tools.endpoints.scheduling.lane import Patience
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.endpoints.scheduling.pending import Entry, Pending
from hf_relabel.hub_tools.endpoints.scheduling.reasons import Reasons
from hf_relabel.hub_tools.endpoints.scheduling.servers import MakeLane, Server, freest, opened
from hf_relabel.hub_tools.endpoints.scheduling.stats import OnDone, OnProgress, RunStats
from hf_relabel.hub_tools.hub.redaction import short

_logger = logging.getLogger(__name__)

QUIET_SECONDS = 30.0
"""Without an answer, where there are errors, before a person is told; each time the next word comes twice as late."""
ELSEWHERE_SECONDS = 0.2
"""Until a request that one server refused is tried again, where the others are busy."""
TICK_SECONDS = 1.0
"""Between two calls of `on_progress`, and two checks whether a run still gets anywhere."""
SENDS_PER_TURN = 16
"""Pulled and sent before the event loop gets a turn: rendering takes time, and the first should be on their way."""


class Run:
    """One run of a scheduler, in the event loop that runs.

    Args:
        rng: source of the jitter.
        lane: what makes the lanes of its endpoints.
        budget: what the run has used up, in time by its loop's clock.
    """

    def __init__(
        self,
        limits: Limits,
        rng: random.Random,
        lane: MakeLane,
        on_done: OnDone,
        on_progress: OnProgress | None,
        budget: Budget,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        now = self.loop.time()
        self.limits = limits
        self.stats = RunStats()
        self._rng, self._lane, self._used = rng, lane, budget
        self._on_done, self._on_progress = on_done, on_progress
        self._patience = Patience(limits)
        self._budget = RetryBudget(limits.retry_budget, now)
        self._reasons = Reasons()
        self._spending = Spending(budget, limits.max_cost, limits.price_prompt, limits.price_completion)
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
        self._began = self._last_event = self._heard = now
        self._erred, self._quiet = False, QUIET_SECONDS

    # Life

    async def run(self, endpoints: Sequence[Endpoint], requests: Requests) -> RunStats:
        """Send all requests. As `Scheduler.run`."""
        try:
            if self.limits.deadline is not None:
                text = f"the deadline of {self.limits.deadline:g} s has passed"
                left = max(0.0, self.limits.deadline - self._used.elapsed)
                self._timers.append(self.loop.call_later(left, self._give_up, text))
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
        self._began = self._last_event = self._heard = self.loop.time()

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

    def _give_up(self, reason: str) -> None:
        """Stop, and say what went wrong most."""
        told = self._reasons.told()
        self._stop_running(f"{reason}; {told}" if told else reason)

    def _cancel(self) -> None:
        self._phase = "cancelling"
        for task in self._tasks:
            task.cancel()
        if not self._tasks:
            self._finish()

    def _give_up_if_hopeless(self, now: float) -> None:
        """Stop a run that gets nowhere."""
        breakers = [server.lane.breaker for server in self._asked()]
        reason = self._patience.ends(
            now,
            failing=all(breaker.failures for breaker in breakers),
            unreachable=all(breaker.state == "open" for breaker in breakers),
            idle_since=self._last_event if self._pending.retries and not self._tasks else None,
        )
        if reason is not None:
            self._give_up(reason)

    def _asked(self) -> list[Server]:
        """The servers that are not put aside."""
        return [server for server in self._servers if server.aside is None]

    def _tick(self) -> None:
        if self._phase == "cancelling" or self._over.done():
            return
        self._timers[:] = [timer for timer in self._timers if timer.when() > self.loop.time()]
        self._timers.append(self.loop.call_later(TICK_SECONDS, self._tick))
        if self._tasks or self._pending.waits:  # an idle feed is no sign of anything
            self._give_up_if_hopeless(self.loop.time())
            self._say_why_nothing_comes(self.loop.time())
        self._report()

    def _say_why_nothing_comes(self, now: float) -> None:
        """While errors are waited out a run looks as if it hung."""
        quiet = now - self._heard
        if self._phase != "running" or not self._erred or quiet < self._quiet:
            return
        self._quiet *= 2
        _logger.warning("No answer for %.0f s; it is asked again. %s", quiet, self._reasons.told())

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
            if (place := self._place(entry, server, now)) is None:
                self._pending.retry(entry, now + ELSEWHERE_SECONDS)
                continue
            self._send(entry, place, estimate, now)
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

    def _place(self, entry: Entry, server: Server, now: float) -> Server | None:
        """Where to send it: not where it was refused for good, and better not where it failed last."""
        if server in entry.refused_by:
            return freest(self._servers, now, entry.refused_by)
        if entry.server is server and len(self._servers) > 1:
            return freest(self._servers, now, (server, *entry.refused_by)) or server
        return server

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
        entry.turn = server.stats.sent
        entry.server = server
        entry.number, entry.probe = server.lane.sending()
        entry.estimate = estimate
        entry.in_flight_since = self._last_event = now
        self._spending.sent(estimate)
        task: asyncio.Task[Reply] = self.loop.create_task(server.endpoint.complete(entry.request))
        self._tasks.add(task)
        stats.in_flight_peak = max(stats.in_flight_peak, len(self._tasks))
        task.add_done_callback(partial(self._answered, entry, server))

    def _set_alarm(self, now: float) -> None:
        """Wake up when time alone will let something be sent."""
        times = [time for server in self._asked() if (time := server.lane.opens_at(now)) is not None]
        if (due := self._pending.next_due) is not None:
            times.append(due)
        when = min((time for time in times if time > now), default=None)
        if when is not None and not self._tasks and self._is_too_late(when - now):
            self._give_up(
                f"nothing can be sent for {when - now:,.0f} s, and the deadline of {self.limits.deadline:g} s is sooner"
            )
            return
        if when is None or (self._wake is not None and self._wake.when() <= when):
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self.loop.call_at(when, self._woken)

    def _is_too_late(self, wait: float) -> bool:
        """Whether the deadline comes first."""
        deadline = self.limits.deadline
        return deadline is not None and self._used.elapsed + wait > deadline

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
        self._spending.back(entry.estimate)
        if task.cancelled():
            if self._phase != "cancelling":
                gone = EndpointError(f"{server.endpoint.name}: the request was cancelled.", kind="unreachable")
                self._failed(entry, server, gone, now)
        elif (error := task.exception()) is None:
            self._succeeded(entry, server, task.result(), now)
        elif isinstance(error, EndpointError):
            self._failed(entry, server, error, now)
        elif isinstance(error, Exception):
            self._failed(entry, server, _unforeseen(server, error), now)
        else:
            self._crash(error)
        server.lane.freed()
        if self._phase != "running" and not self._tasks:
            self._finish()

    def _succeeded(self, entry: Entry, server: Server, reply: Reply, now: float) -> None:
        stats, spending = self.stats, self._spending
        try:
            entry.cost += spending.answered(entry.request, reply)
            stats.answered(reply)
        except Exception as error:  # such as counts that are no numbers
            self._failed(entry, server, _unforeseen(server, error), now)
            return
        server.lane.succeeded()
        server.stats.succeeded += 1
        self._budget.succeeded()
        self._patience.succeeded()
        self._heard, self._erred, self._quiet = now, False, QUIET_SECONDS
        stats.cost = spending.cost
        self._deliver(entry.request, replace(reply, cost=entry.cost) if entry.cost else reply)

    def _failed(self, entry: Entry, server: Server, error: EndpointError, now: float) -> None:
        server.stats.errors += 1
        self._erred = True
        self._reasons.note(error)
        entry.cost += self._spending.failed(error, entry.estimate)
        self.stats.cost = self._spending.cost
        if error.retryable:
            self._failed_for_now(entry, server, error, now)
        else:
            self._refused(entry, server, error, now)

    def _failed_for_now(self, entry: Entry, server: Server, error: EndpointError, now: float) -> None:
        """It may pass: ask again, unless it was asked often enough."""
        if error.overloaded:
            entry.overloads += 1
            self.stats.overloaded += 1
            server.stats.overloaded += 1
            server.lane.overloaded(now, entry.number, error)
        else:
            entry.attempts += 0 if entry.probe else 1  # during an outage, it is not the request that fails
            entry.overloads = 0
            server.lane.failed(now, entry.number, error, probe=entry.probe)
        self._patience.failed(now, error)
        if entry.attempts >= self.limits.max_attempts or entry.overloads >= self.limits.max_overloads:
            self._deliver_error(entry, error)
        else:
            delay = self._rng.random() * self.limits.backoff(max(1, entry.attempts + entry.overloads))
            self._pending.retry(entry, now + (error.retry_after or 0.0) + delay)
        if self._phase == "running":
            self._give_up_if_hopeless(now)

    def _refused(self, entry: Entry, server: Server, error: EndpointError, now: float) -> None:
        """It does not pass: ask elsewhere, unless all say so. One that says so of everything is asked no more."""
        entry.refused_by += (server,)
        was_asked = server.aside is None
        server.refused(entry.turn, error, self.limits.give_up_after)
        asked = self._asked()
        if any(other not in entry.refused_by for other in asked):
            self._pending.retry(entry, now)
        elif asked or not error.blame_server:
            self._deliver_error(entry, error)
        # else it is the run that fails, not this request
        if was_asked and server.aside is not None:
            self._put_aside(server, asked)

    def _put_aside(self, server: Server, left: Sequence[Server]) -> None:
        if not left:
            self._give_up(server.why_aside())
            return
        _logger.warning("Asked no more: %s. Its requests go to the others. (%s)", server.aside, server.why_aside())

    def _deliver_error(self, entry: Entry, error: EndpointError) -> None:
        self.stats.failed += 1
        error.cost = entry.cost
        self._deliver(entry.request, error)

    def _deliver(self, request: Request, result: Reply | EndpointError) -> None:
        if self._crashed is not None:
            return
        try:
            self._on_done(request, result)
        except BaseException as error:
            self._crash(error)


def _unforeseen(server: Server, error: Exception) -> EndpointError:
    """A bug on the way of one answer is the failure of that request, which says so."""
    return EndpointError(
        f"{server.endpoint.name}: its answer could not be handled: {type(error).__name__} {short(str(error))}",
        kind="garbage",
        retryable=False,
    )
