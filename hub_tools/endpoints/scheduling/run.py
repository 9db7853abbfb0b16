"""One run of a scheduler.

Each request ends in exactly one call of `on_done`, unless the run stops before. There are no workers and no polling:
every answer, every due time and every stop calls `Run.pump`, which fills the free slots.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial

from hf_relabel.builders.endpoint import Endpoint, EndpointError, Reply
from hf_relabel.hub_tools.endpoints.scheduling.breaker import RetryBudget
from hf_relabel.hub_tools.endpoints.scheduling.budget import Budget, Spending
from hf_relabel.hub_tools.endpoints.scheduling.ending import Ending
from hf_relabel.hub_tools.endpoints.scheduling.feeds import Feed, Requests, feed_of
from hf_relabel.hub_tools.endpoints.scheduling.lane import Patience
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.endpoints.scheduling.outcomes import Outcomes, unforeseen
from hf_relabel.hub_tools.endpoints.scheduling.pending import Entry, Pending
from hf_relabel.hub_tools.endpoints.scheduling.reasons import Reasons
from hf_relabel.hub_tools.endpoints.scheduling.servers import MakeLane, Server, asked, freest, opened
from hf_relabel.hub_tools.endpoints.scheduling.stats import OnDone, OnProgress, RunStats

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
        self._lane, self._used, self._on_progress = lane, budget, on_progress
        self._tasks: set[asyncio.Task[Reply]] = set()
        self._patience, self._reasons = Patience(limits), Reasons(now)
        self._ending = Ending(self.loop, limits.grace, self._tasks, self.stats, self._reasons)
        self._spending = Spending(budget, limits.max_cost, limits.price_prompt, limits.price_completion)
        self._servers: list[Server] = []
        retries = RetryBudget(limits.retry_budget, now)
        self._pending = Pending(retries, self._servers)
        self._outcomes = Outcomes(
            limits=limits,
            rng=rng,
            on_done=on_done,
            stats=self.stats,
            servers=self._servers,
            pending=self._pending,
            retries=retries,
            spending=self._spending,
            patience=self._patience,
            reasons=self._reasons,
            ending=self._ending,
        )
        self._feed: Feed | None = None
        self._helpers: list[asyncio.Task[None]] = []
        self._next_tick: asyncio.TimerHandle | None = None
        self._wake: asyncio.TimerHandle | None = None
        self._again = False
        self._began = self._last_event = now

    # Life

    async def run(self, endpoints: Sequence[Endpoint], requests: Requests) -> RunStats:
        """Send all requests. As `Scheduler.run`."""
        ending = self._ending
        try:
            if self.limits.deadline is not None:
                text = f"the deadline of {self.limits.deadline:g} s has passed"
                ending.after(max(0.0, self.limits.deadline - self._used.elapsed), text)
            opening = self.loop.create_task(self._open(endpoints))
            self._helpers.append(opening)
            await asyncio.wait({opening, ending.over}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
            if ending.is_running:
                self._attach(feed_of(requests))
                self._tick()
                self.pump()
            await ending.over
        finally:
            await self._clean_up()
        if ending.crashed is not None:
            raise ending.crashed
        self._report()
        if not ending.is_running:
            raise self.stats.as_error()
        return self.stats

    async def _open(self, endpoints: Sequence[Endpoint]) -> None:
        self._servers += await opened(endpoints, self.limits.concurrency, self._lane)
        self.stats.endpoints = [server.stats for server in self._servers]
        self._began = self._last_event = self.loop.time()
        self._reasons.begin(self._began)

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
        self._ending.close()
        for timer in (self._next_tick, self._wake):
            if timer is not None:
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

    # Watching

    def stop(self, reason: str) -> None:
        """As `Scheduler.stop`, in this loop."""
        self._ending.stop(reason)

    def _give_up_if_hopeless(self, now: float) -> None:
        """Stop a run that gets nowhere."""
        breakers = [server.lane.breaker for server in asked(self._servers)]
        reason = self._patience.ends(
            now,
            failing=all(breaker.failures for breaker in breakers),
            unreachable=all(breaker.state == "open" for breaker in breakers),
            idle_since=self._last_event if self._pending.retries and not self._tasks else None,
        )
        if reason is not None:
            self._ending.give_up(reason)

    def _tick(self) -> None:
        if self._ending.phase == "cancelling" or self._ending.over.done():
            return
        self._next_tick = self.loop.call_later(TICK_SECONDS, self._tick)
        if self._tasks or self._pending.waits:  # an idle feed is no sign of anything
            self._give_up_if_hopeless(self.loop.time())
            if self._ending.is_running:
                self._reasons.say_why_nothing_comes(self.loop.time())
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
                if self._ending.over.done():
                    raise
                self._ending.crash(error)

    # Sending

    def pump(self) -> None:
        """Fill the free slots."""
        self._again = False
        if not self._ending.is_running:
            return
        now = self.loop.time()
        sends = 0
        while (server := freest(self._servers, now)) is not None:
            try:
                entry = self._pending.next(now, server)
            except BaseException as error:
                self._ending.crash(error)
                return
            if entry is None:
                break
            estimate = self._spending.estimate(entry.request)
            if not self._spending.allows(estimate):
                self._pending.hold(entry)
                if not self._tasks:
                    self._ending.stop_sending(f"the spend cap of {self.limits.max_cost:g} is reached")
                return
            if (place := self._place(entry, server, now)) is None:
                self._pending.retry(entry, now + ELSEWHERE_SECONDS)
                continue
            self._send(entry, place, estimate, now)
            sends += 1
            if sends >= SENDS_PER_TURN:
                self.pump_soon()
                return
        if not self._ending.is_running:
            return
        if not self._tasks and self._pending.is_over:
            self._ending.finish()
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
        times = [time for server in asked(self._servers) if (time := server.lane.opens_at(now)) is not None]
        if (due := self._pending.next_due) is not None:
            times.append(due)
        when = min((time for time in times if time > now), default=None)
        if when is not None and not self._tasks and self._is_too_late(when - now):
            self._ending.give_up(
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
            if self._ending.phase != "cancelling":
                gone = EndpointError(f"{server.endpoint.name}: the request was cancelled.", kind="unreachable")
                self._failed(entry, server, gone, now)
        elif (error := task.exception()) is None:
            self._outcomes.succeeded(entry, server, task.result(), now)
        elif isinstance(error, Exception):
            self._failed(entry, server, error if isinstance(error, EndpointError) else unforeseen(server, error), now)
        else:
            self._ending.crash(error)
        server.lane.freed()
        if not self._ending.is_running and not self._tasks:
            self._ending.finish()

    def _failed(self, entry: Entry, server: Server, error: EndpointError, now: float) -> None:
        self._outcomes.failed(entry, server, error, now)
        if error.retryable and self._ending.is_running:
            self._give_up_if_hopeless(now)
