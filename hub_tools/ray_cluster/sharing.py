"""Limits that several processes share: one referee lends them, and each process keeps to what it was lent.

The referee holds the very lanes, patience, retry budget and money that a run on one machine has for itself. A process
tells it, several times a second, what it sent and what came back, in order, and the referee lets its lanes see that. In
return it lends the process a number of requests that it may have in flight, a part of the money and some retries.

Nothing is lent twice. Of each loan the referee keeps the most that the process may have in flight until it is heard of
next: a loan that shrinks is free for others only when the process has said that it keeps to it. A process that is not
heard of for a while is forgotten, and by then it has stopped sending by itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from hf_relabel.builders.endpoint import Endpoint, EndpointError
from hf_relabel.hub_tools.endpoints.scheduling.breaker import RetryBudget, Spending
from hf_relabel.hub_tools.endpoints.scheduling.lane import Lane, Patience, timed_out
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Means, Running

EVERY_SECONDS = 0.05
"""Between two reports of a process; more where there are many (see `Referee.every`)."""
REPORTS_PER_SECOND = 500.0
"""That the referee shall get at most, of all processes together."""
LEASE_SECONDS = 5.0
"""A process that has not heard from the referee for so long sends nothing more."""
FORGOTTEN_SECONDS = 10.0
"""A process that was not heard of for so long is dead."""
TURN_SECONDS = 5.0
"""For so long a process has one request more in flight than others, where they cannot be shared evenly."""
MOST_RETRIES = 8
"""Lent at a time."""
REFEREE_GONE = "what shares out the limits cannot be reached"
"""Why a run stops that has lost its referee."""
MONEY_AHEAD = 16
"""Requests for which money is lent at a time, where there is plenty."""

Kind: TypeAlias = Literal["sent", "answered", "failed", "overloaded"]


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to one request, or to several of the same fate.

    Attributes:
        count: how many; more than one only of those sent or answered.
        number: as lent with the loan under which it was sent.
        full: an answer came while as much as was lent was in flight.
        probe: it was a probe of the breaker's.
    """

    lane: str
    kind: Kind
    count: int = 1
    number: int = 0
    full: bool = False
    probe: bool = False
    error: EndpointFailure | None = None


@dataclass(frozen=True, slots=True)
class EndpointFailure:
    """An EndpointError as it travels between processes."""

    message: str
    retryable: bool
    overloaded: bool
    status: int | None
    retry_after: float | None
    blame_server: bool
    timed_out: bool

    @classmethod
    def of(cls, error: EndpointError) -> EndpointFailure:
        return cls(
            str(error)[:500],
            error.retryable,
            error.overloaded,
            error.status,
            error.retry_after,
            error.blame_server,
            timed_out(error),
        )

    def to_error(self) -> EndpointError:
        error = EndpointError(
            self.message,
            retryable=self.retryable,
            overloaded=self.overloaded,
            status=self.status,
            retry_after=self.retry_after,
            blame_server=self.blame_server,
        )
        if self.timed_out:
            error.__cause__ = TimeoutError()
        return error


@dataclass(frozen=True, slots=True)
class LaneReport:
    """How a process stands with one endpoint.

    Attributes:
        limit: the most the endpoint takes at once, as far as the process knows.
        in_flight: requests it has in flight.
        keeps_to: the most it will have in flight until it is told otherwise.
        wanted: how many it would have in flight; None for as many as it can get.
        depth: requests waiting at the server; None where that is not known.
    """

    limit: int
    in_flight: int
    keeps_to: int
    wanted: int | None
    depth: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What one run (one judge over one shard, in one process) tells the referee.

    Attributes:
        run: a name no other run has.
        shard: whatever is known of another run over the same shard is out of date: its process is dead.
        judge: whose limits count.
        spent: by this run so far, in the currency of the prices.
        reserved: what its requests in flight may cost.
        needed: what one more would cost that it may not send; 0 where it has what it needs.
        retries: how many it would make now.
        over: nothing is in flight and nothing will be: the last report.
    """

    run: str
    shard: str
    judge: str
    lanes: Mapping[str, LaneReport]
    events: Sequence[Event] = ()
    spent: float = 0.0
    reserved: float = 0.0
    needed: float = 0.0
    retries: int = 0
    over: bool = False


@dataclass(frozen=True, slots=True)
class LaneLoan:
    """What a run may do at one endpoint.

    Attributes:
        slots: requests it may have in flight.
        number: to be told with whatever becomes of requests sent from now on.
        probe: it may send one request to see whether the server is back.
        watch: it shall look at the server's queue.
    """

    slots: int
    number: int
    probe: bool = False
    watch: bool = False


@dataclass(frozen=True, slots=True)
class Loan:
    """What the referee answers. Holds until the next answer, `LEASE_SECONDS` at most.

    Attributes:
        money: the run may have spent and reserved so much in all.
        stop: why the run is over, "" where it is not.
        every: when to report next, in seconds.
    """

    lanes: Mapping[str, LaneLoan]
    money: float
    retries: int
    stop: str
    every: float


# The referee


@dataclass(slots=True)
class _Debtor:
    """A run, as the referee knows it."""

    report: Report
    seen: float
    most: dict[str, int] = field(default_factory=dict)
    """By lane, the most it may have in flight until it is heard of next."""
    turns: dict[str, float] = field(default_factory=dict)
    """By lane that cannot be shared evenly, since when it has one more than others."""
    served: dict[str, int] = field(default_factory=dict)
    """By lane, how many requests it sent, more or less: who was served least is first where not all can be."""
    money: float = 0.0
    """The last loan of money: what it may have spent and reserved in all."""
    most_money: float = 0.0
    """The most it may have spent and reserved until it is heard of next."""


@dataclass(slots=True)
class _Shared:
    """What all runs of one judge share."""

    limits: Limits
    patience: Patience
    budget: RetryBudget
    lanes: set[str] = field(default_factory=set)
    spent: float = 0.0
    """By runs that are over."""


class Referee:
    """Lends the limits of some judges to any number of runs.

    Args:
        limits: by judge.
        clock: seconds.
        rng: source of the jitter.
        elapsed: seconds of the deadline that are gone.
        spent: by judge, what is spent already.
    """

    def __init__(
        self,
        limits: Mapping[str, Limits],
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        elapsed: float = 0.0,
        spent: Mapping[str, float] | None = None,
    ) -> None:
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        now = clock()
        self._began = now - elapsed
        self._judges = {
            name: _Shared(given, Patience(given), RetryBudget(given.retry_budget, now))
            for name, given in limits.items()
        }
        for name, amount in (spent or {}).items():
            self._judges[name].spent = amount
        self._lanes: dict[str, Lane] = {}
        self._probes: dict[str, str] = {}
        self._runs: dict[str, _Debtor] = {}
        self._over: set[str] = set()
        self.stopped = ""
        self.peaks: dict[str, int] = {}
        """By lane, the most that was lent at a time."""

    def stop(self, reason: str) -> None:
        """End all runs, for the first reason that is given."""
        self.stopped = self.stopped or reason

    def every(self) -> float:
        """Seconds between two reports of a run."""
        return max(EVERY_SECONDS, len(self._runs) / REPORTS_PER_SECOND)

    def lend(self, report: Report) -> Loan:
        """Hear a run, and say what it may do until it is heard again."""
        now = self._clock()
        judge = self._judges[report.judge]
        self._forget(now, report)
        debtor = self._heard(report, now)
        for event in report.events:
            self._learn(judge, debtor, event, now)
        self._check(judge, now)
        if report.over:
            self._end(report.run)
            return Loan({}, 0.0, 0, self.stopped, self.every())
        lanes = {name: self._lane_loan(name, report, debtor, now) for name in report.lanes}
        money = self._money(judge, report, debtor)
        return Loan(lanes, money, self._retries(judge, report, now), self.stopped, self.every())

    def spent(self) -> dict[str, float]:
        """By judge, what was spent so far."""
        totals = {name: shared.spent for name, shared in self._judges.items()}
        for debtor in self._runs.values():
            totals[debtor.report.judge] += debtor.report.spent
        return totals

    # Who is there

    def _forget(self, now: float, report: Report) -> None:
        dead = [
            name
            for name, debtor in self._runs.items()
            if name != report.run and (debtor.report.shard == report.shard or now - debtor.seen > FORGOTTEN_SECONDS)
        ]
        for name in dead:
            self._end(name)

    def _heard(self, report: Report, now: float) -> _Debtor:
        debtor = self._runs.get(report.run)
        if debtor is None:
            debtor = self._runs[report.run] = _Debtor(report, now)
        debtor.report, debtor.seen = report, now
        judge = self._judges[report.judge]
        for name, told in report.lanes.items():
            judge.lanes.add(name)
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = Lane(judge.limits, told.limit, self._rng)
            elif told.limit < lane.limiter.limit:
                # Several judges may ask one server: it gets no more than the most careful of them allows.
                lane.limiter.limit = told.limit
                lane.limiter.window = min(lane.limiter.window, float(told.limit))
            debtor.most[name] = max(told.in_flight, told.keeps_to)
            if name not in debtor.served:
                others = [other.served[name] for other in self._runs.values() if name in other.served]
                debtor.served[name] = min(others, default=0)
            lane.in_flight = sum(
                other.report.lanes[name].in_flight for other in self._runs.values() if name in other.report.lanes
            )
            if told.depth is not None:
                lane.queue(told.depth)
        return debtor

    def _end(self, run: str) -> None:
        """A run is over or dead: what it was lent is free, what it had reserved may have been spent."""
        debtor = self._runs.pop(run)
        judge = self._judges[debtor.report.judge]
        judge.spent += debtor.report.spent + debtor.report.reserved
        for name, prober in list(self._probes.items()):
            if prober == run:
                del self._probes[name]
                breaker = self._lanes[name].breaker
                if breaker.state == "half-open":
                    breaker.state, breaker.reopens = "open", self._clock()

    # What came of it

    def _learn(self, judge: _Shared, debtor: _Debtor, event: Event, now: float) -> None:
        lane = self._lanes[event.lane]
        if event.kind == "sent":
            debtor.served[event.lane] += event.count
            for _ in range(event.count):
                lane.sent += 1
                lane.limiter.sending()
            return
        if event.kind == "answered":
            for _ in range(event.count):
                # A lane's own count is that of a moment ago; the run knows whether it could have used more.
                lane.answered()
                lane.limiter.succeeded(int(lane.limiter.window) if event.full else 0)
                judge.budget.succeeded()
            judge.patience.succeeded()
            return
        assert event.error is not None
        error = event.error.to_error()
        storms = lane.limiter.storms
        if event.kind == "overloaded":
            lane.overloaded(now, event.number, error)
        else:
            lane.failed(now, event.number, error, probe=event.probe)
        if lane.limiter.storms > storms:
            lane.sent += 1  # a number that only those have who know of the decrease
        judge.patience.failed(now, error)

    def _check(self, judge: _Shared, now: float) -> None:
        """Whether the judge gets nowhere, or has no time left."""
        breakers = [self._lanes[name].breaker for name in judge.lanes]
        reason = judge.patience.ends(
            now,
            failing=all(breaker.failures for breaker in breakers),
            unreachable=all(breaker.state == "open" for breaker in breakers),
            idle_since=None,
        )
        deadline = judge.limits.deadline
        if reason is None and deadline is not None and now - self._began >= deadline:
            reason = f"the deadline of {deadline:g} s has passed"
        if reason is not None:
            self.stop(reason)

    # What is lent

    def _lane_loan(self, name: str, report: Report, debtor: _Debtor, now: float) -> LaneLoan:
        lane = self._lanes[name]
        watch = self._first(name) == report.run
        slots, probe = 0, False
        if not self.stopped:
            if lane.breaker.state != "closed":
                probe = self._may_probe(name, report, now)
            elif now >= lane.hold_until:
                slots = self._slots(name, report, int(lane.limiter.window), now)
        told = report.lanes[name]
        debtor.most[name] = max(slots, told.keeps_to, told.in_flight)
        lent = sum(other.most.get(name, 0) for other in self._runs.values())
        self.peaks[name] = max(self.peaks.get(name, 0), lent)
        return LaneLoan(slots, lane.sent, probe, watch)

    def _first(self, name: str) -> str | None:
        return next((run for run, debtor in self._runs.items() if name in debtor.report.lanes), None)

    def _may_probe(self, name: str, report: Report, now: float) -> bool:
        breaker = self._lanes[name].breaker
        if self._probes.get(name) == report.run and breaker.state == "half-open":
            return report.lanes[name].in_flight == 0  # else it is under way
        if report.lanes[name].wanted == 0 or not breaker.allows(now):
            return False
        breaker.sending()
        self._probes[name] = report.run
        return True

    def _slots(self, name: str, report: Report, window: int, now: float) -> int:
        share = self._shares(name, window, now).get(report.run, 0)
        others = sum(debtor.most.get(name, 0) for run, debtor in self._runs.items() if run != report.run)
        return max(0, min(share, window - others))

    def _shares(self, name: str, window: int, now: float) -> dict[str, int]:
        """What each run is due: as much as it wants, or as much as every other that wants more gets."""
        wanted: dict[str, int] = {}
        for run, debtor in self._runs.items():
            told = debtor.report.lanes.get(name)
            if told is not None and told.wanted != 0:
                wanted[run] = window if told.wanted is None else min(window, told.wanted)
        shares: dict[str, int] = {}
        left = window
        waiting = sorted(wanted, key=wanted.__getitem__)
        while waiting and wanted[waiting[0]] <= left // len(waiting):
            run = waiting.pop(0)
            shares[run] = wanted[run]
            left -= wanted[run]
        if not waiting:
            return shares
        each, more = divmod(left, len(waiting))
        # The rest goes round in turns: handing it on costs a little time in which nobody has it.
        for place, run in enumerate(sorted(waiting, key=lambda run: self._turn(name, run, now))):
            shares[run] = each + (place < more)
            if place < more:
                self._runs[run].turns.setdefault(name, now)
        return shares

    def _turn(self, name: str, run: str, now: float) -> tuple[bool, int, str]:
        debtor = self._runs[run]
        since = debtor.turns.get(name)
        if since is not None and now - since >= TURN_SECONDS:
            del debtor.turns[name]
            since = None
        return since is None, debtor.served.get(name, 0), run

    def _retries(self, judge: _Shared, report: Report, now: float) -> int:
        lent = 0
        while lent < min(report.retries, MOST_RETRIES) and not judge.budget.take(now):
            lent += 1
        return lent

    def _money(self, judge: _Shared, report: Report, debtor: _Debtor) -> float:
        cap = judge.limits.max_cost
        if cap is None:
            return 0.0
        used = report.spent + report.reserved
        others = [other for other in self._runs.values() if other is not debtor and other.report.judge == report.judge]
        free = cap * (1 + 1e-9) - judge.spent - sum(other.most_money for other in others) - used
        if report.needed:
            lent = used
            if free >= report.needed:
                fair = free / (len(others) + 1)
                lent += max(report.needed, min(report.needed * MONEY_AHEAD, fair))
            elif not report.reserved and all(other.most_money <= other.report.spent * (1 + 1e-9) for other in others):
                self.stop(f"the spend cap of {cap:g} is reached")
        elif any(other.report.needed for other in others):
            lent = used
        else:
            # What it was lent and did not use stays with it while nobody else needs it.
            lent = max(used, min(debtor.money, used + free))
        debtor.most_money = max(used, lent, debtor.money)
        debtor.money = lent
        return lent


# A run that is lent its limits

Lend: TypeAlias = Callable[[Report], Awaitable[Loan]]
"""Tells the referee, wherever it is, and gives its answer."""


class SharedMeans(Means):
    """What a run has to go by where a referee lends it.

    Args:
        lend: how to reach the referee.
        run, shard, judge: as in `Report`.
        lane_names: names of lanes for endpoints whose own name does not tell them from those of other processes.
    """

    is_alone = False

    def __init__(
        self,
        limits: Limits,
        now: float,
        rng: random.Random,
        *,
        lend: Lend,
        run: str,
        shard: str,
        judge: str,
        lane_names: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(limits, now, rng)
        self._lend, self._run, self._shard, self._judge = lend, run, shard, judge
        self._lane_names = lane_names or {}
        self._lanes: dict[str, _SharedLane] = {}
        self._events: list[Event] = []
        self._hurry = asyncio.Event()
        self._talk: asyncio.Task[None] | None = None
        self.patience = _SharedPatience(limits)
        self.budget = self._retries = _SharedRetries(limits.retry_budget, now)
        self.spending = self._money = _SharedSpending(limits.max_cost, limits.price_prompt, limits.price_completion)

    def lane(self, endpoint: Endpoint, limit: int) -> Lane:
        name = self._lane_names.get(endpoint.name, endpoint.name)
        shared = self._lanes[name] = _SharedLane(self.limits, limit, self.rng, name, self._events, self._hurry)
        return shared

    async def begin(self, run: Running) -> None:
        self._talk = asyncio.get_running_loop().create_task(self._keep_talking(run))

    async def end(self) -> None:
        if self._talk is None:
            return
        self._talk.cancel()
        await asyncio.wait([self._talk])
        last = asyncio.ensure_future(self._lend(self._report(None, over=True)))
        # Where the referee is gone there is nobody left to tell.
        await asyncio.wait([last], timeout=LEASE_SECONDS)
        if not last.done() or last.exception() is not None:
            last.cancel()

    async def _keep_talking(self, run: Running) -> None:
        loop = asyncio.get_running_loop()
        every = 0.0
        while True:
            asked = loop.time()
            try:
                loan = await self._lend(self._report(run))
            except Exception:  # it has died, or the network has
                run.stop(REFEREE_GONE)
                return
            self._heed(loan, asked + LEASE_SECONDS)
            if loan.stop:
                run.stop(loan.stop)
                return
            run.pump_soon()
            every = loan.every
            await asyncio.sleep(every / 4)  # at least: answers come in bursts
            self._hurry.clear()
            try:
                await asyncio.wait_for(self._hurry.wait(), 3 * every / 4)
            except TimeoutError:
                continue

    def _report(self, run: Running | None, *, over: bool = False) -> Report:
        wanted = 0 if run is None else run.wanted()
        events, self._events[:] = _merged(self._events), []
        return Report(
            self._run,
            self._shard,
            self._judge,
            {name: lane.report(wanted) for name, lane in self._lanes.items()},
            events,
            spent=self._money.spent,
            # Sums of floats leave a little even where nothing is in flight.
            reserved=self._money.reserved if any(lane.in_flight for lane in self._lanes.values()) else 0.0,
            needed=self._money.take_needed(),
            retries=self._retries.take_needed(),
            over=over,
        )

    def _heed(self, loan: Loan, until: float) -> None:
        for name, lent in loan.lanes.items():
            self._lanes[name].heed(lent, until)
        self._money.lent = loan.money
        self._retries.lent = loan.retries


class _SharedLane(Lane):
    """Sends what it was lent, and remembers what the referee should hear."""

    __slots__ = (
        "_events",
        "_hurry",
        "_keeps_to",
        "_name",
        "_number",
        "_probe",
        "_resting",
        "_slots",
        "_told",
        "_until",
        "depth",
    )

    def __init__(
        self, limits: Limits, limit: int, rng: random.Random, name: str, events: list[Event], hurry: asyncio.Event
    ) -> None:
        super().__init__(limits, limit, rng)
        self._name, self._events, self._hurry = name, events, hurry
        self._slots = self._number = self._keeps_to = 0
        # A slot whose request was refused or failed rests until the referee knows: what fails, fails at once.
        self._resting = self._told = 0
        self._probe = self.watched = False
        self._until = 0.0
        self.depth: float | None = None

    def report(self, wanted: int | None) -> LaneReport:
        self._keeps_to = self._slots if wanted is None else min(self._slots, wanted)
        self._told = self._resting
        depth, self.depth = self.depth, None
        return LaneReport(self.limiter.limit, self.in_flight, self._keeps_to, wanted, depth)

    def heed(self, lent: LaneLoan, until: float) -> None:
        self._slots = self._keeps_to = lent.slots
        self._number, self._probe, self.watched = lent.number, lent.probe, lent.watch
        self._until = until
        self._resting -= self._told
        self.limiter.window = float(lent.slots)

    def free(self, now: float) -> int:
        if now >= self._until:
            return 0
        return 1 if self._probe else self._keeps_to - self.in_flight - self._resting

    def is_well(self, now: float) -> bool:
        return self._slots > 0

    def opens_at(self, now: float) -> float | None:
        return None  # the next loan does it

    def sending(self) -> tuple[int, bool]:
        probe, self._probe = self._probe, False
        self.sent += 1
        self.in_flight += 1
        self._events.append(Event(self._name, "sent"))
        return self._number, probe

    def succeeded(self) -> None:
        self.breaker.failures = 0
        # Counted as the window counts it: one more slot would have been used.
        self._events.append(Event(self._name, "answered", full=self.in_flight + 2 >= self._slots))

    def failed(self, now: float, number: int, error: EndpointError, *, probe: bool) -> None:
        self._tell("failed", number, error, probe=probe)

    def overloaded(self, now: float, number: int, error: EndpointError) -> None:
        self._tell("overloaded", number, error)

    def queue(self, depth: float | None) -> None:
        self.depth = depth

    def _tell(self, kind: Kind, number: int, error: EndpointError, *, probe: bool = False) -> None:
        self._resting += 1
        failure = EndpointFailure.of(error)
        self._events.append(Event(self._name, kind, number=number, probe=probe, error=failure))
        self._hurry.set()


class _SharedPatience(Patience):
    """Never gives up by itself: the referee sees what all see."""

    def ends(self, now: float, *, failing: bool, unreachable: bool, idle_since: float | None) -> str | None:
        return None


class _SharedRetries(RetryBudget):
    """Spends the retries it was lent."""

    __slots__ = ("_needed", "lent")

    def __init__(self, earn: float, now: float) -> None:
        super().__init__(earn, now)
        self.lent = self._needed = 0

    def take(self, now: float) -> float:
        if self.lent > 0:
            self.lent -= 1
            return 0.0
        self._needed += 1
        return EVERY_SECONDS

    def take_needed(self) -> int:
        needed, self._needed = self._needed, 0
        return needed


class _SharedSpending(Spending):
    """Spends the money it was lent."""

    def __init__(self, cap: float | None, price_prompt: float, price_completion: float) -> None:
        super().__init__(cap, price_prompt, price_completion)
        self.lent = 0.0
        self._needed = 0.0

    def allows(self, estimate: float) -> bool:
        if self._cap is None or self.spent + self.reserved + estimate <= self.lent * (1 + 1e-9):
            return True
        self._needed = estimate
        return False

    def take_needed(self) -> float:
        needed, self._needed = self._needed, 0.0
        return needed


def _merged(events: Sequence[Event]) -> list[Event]:
    """The same events, with those that follow each other and are alike as one."""
    merged: list[Event] = []
    for event in events:
        last = merged[-1] if merged else None
        if last is not None and event.error is None and replace(last, count=1) == event:
            merged[-1] = replace(last, count=last.count + 1)
        else:
            merged.append(event)
    return merged
