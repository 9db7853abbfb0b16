"""The scheduler, on a clock of its own: a day of waiting costs nothing, and a stall is an error instead of a hang."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, ErrorKind, Message, Reply, Request
from hf_relabel.builders.errors import ConfigError, JudgingStopped
from hf_relabel.hub_tools.endpoints.scheduling.breaker import BURST, Breaker, RetryBudget
from hf_relabel.hub_tools.endpoints.scheduling.budget import Budget, Spending
from hf_relabel.hub_tools.endpoints.scheduling.limiter import Limiter
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits, RunStats, Scheduler
from tests.examples import drawn

T = TypeVar("T")
Result = Reply | EndpointError


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only when there is nothing to do, and then at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def virtual_select(timeout: float | None) -> Any:
            events = select(0)
            if not events and timeout is None:
                raise AssertionError("Nothing will ever happen again: the run has stalled.")
            if not events and timeout:
                self.now += timeout
            if self.now > 100_000:
                raise AssertionError("The run never ends.")
            return events

        self._selector.select = virtual_select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


Behaviour = Callable[["Server", Request], Awaitable[Reply]]


class Server:
    """An endpoint in this process. `behave` decides about each attempt; without it every one succeeds."""

    constrains = True

    def __init__(
        self,
        behave: Behaviour | None = None,
        *,
        name: str = "server",
        latency: float = 1.0,
        most: int | None = None,
        depth: float | None = None,
    ) -> None:
        self.name, self.latency, self.most, self.depth = name, latency, most, depth
        self.behave = behave
        self.attempts: list[tuple[float, int]] = []
        self.in_flight = self.peak = 0

    async def info(self) -> EndpointInfo:
        return EndpointInfo("fake", max_concurrent_requests=self.most)

    async def complete(self, request: Request) -> Reply:
        self.attempts.append((now(), request.tag))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            return await (self.behave(self, request) if self.behave else self.answer(request))
        finally:
            self.in_flight -= 1

    async def answer(self, request: Request) -> Reply:
        await asyncio.sleep(self.latency)
        return Reply(f"answer {request.tag}", prompt_tokens=100, completion_tokens=10, endpoint=self.name)

    async def queue_depth(self) -> float | None:
        return self.depth

    async def close(self) -> None:
        return None


class Log:
    """Collects what was delivered."""

    def __init__(self) -> None:
        self.results: list[tuple[int, Result]] = []
        self.pulled = 0
        self.most_open = 0

    def __call__(self, request: Request, result: Result) -> None:
        self.results.append((request.tag, result))

    def requests(self, count: int) -> Iterator[Request]:
        for number in range(count):
            self.pulled += 1
            self.most_open = max(self.most_open, self.pulled - len(self.results))
            yield question(number)

    def check_each_once(self, count: int) -> None:
        assert Counter(tag for tag, _ in self.results) == Counter(range(count))

    @property
    def answered(self) -> set[int]:
        return {tag for tag, result in self.results if isinstance(result, Reply)}


def question(number: int) -> Request:
    return Request((Message("user", "x" * 400),), 50, tag=number)


def overloaded(retry_after: float | None = None) -> EndpointError:
    return EndpointError("429", kind="overloaded", status=429, retry_after=retry_after)


def broken(status: int = 500) -> EndpointError:
    return EndpointError(f"{status} broken", kind="broken", status=status)


def scheduler(*servers: Server, limits: Limits | None = None) -> Scheduler:
    return Scheduler(servers, limits, rng=random.Random(0))


def test_every_request_is_answered_in_order_and_with_few_open() -> None:
    server, log = Server(), Log()
    stats = run(scheduler(server, limits=Limits(concurrency=8)).run(log.requests(200), log))
    log.check_each_once(200)
    assert [tag for _, tag in server.attempts] == list(range(200))
    assert server.peak == stats.in_flight_peak == 8
    assert log.most_open <= 9
    assert (stats.sent, stats.succeeded, stats.failed, stats.retried) == (200, 200, 0, 0)
    assert (stats.prompt_tokens, stats.completion_tokens) == (20_000, 2_000)
    assert stats.busy_fraction > 0.9
    assert stats.endpoints[0].succeeded == 200


def test_nothing_to_do() -> None:
    assert run(scheduler(Server()).run([], Log())).sent == 0


def test_asynchronous_source_is_read_a_little_ahead() -> None:
    server, log = Server(), Log()

    async def source() -> AsyncIterator[Request]:
        for request in log.requests(500):
            await asyncio.sleep(0)
            yield request

    run(scheduler(server, limits=Limits(concurrency=8)).run(source(), log))
    log.check_each_once(500)
    assert log.most_open <= 8 + 34


def test_slow_asynchronous_source() -> None:
    log = Log()

    async def source() -> AsyncIterator[Request]:
        for request in log.requests(5):
            await asyncio.sleep(3600)
            yield request

    run(scheduler(Server()).run(source(), log))
    log.check_each_once(5)


def test_never_more_in_flight_than_the_server_takes() -> None:
    for most, sent in ((1, 1), (2, 2), (15, 15), (16, 15), (128, 120)):
        server, log = Server(most=most), Log()
        run(scheduler(server).run(log.requests(600), log))
        assert server.peak == sent, "one in 16 is left to others; of two slots it would be half"
    server = Server(most=16)
    run(scheduler(server, limits=Limits(concurrency=100)).run(Log().requests(300), Log()))
    assert server.peak == 16


def test_storm_of_429_then_recovery() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if now() < 120:
            raise overloaded()
        return await server.answer(request)

    server, log = Server(behave), Log()
    stats = run(scheduler(server, limits=Limits(concurrency=64)).run(log.requests(2000), log))
    log.check_each_once(2000)
    assert len(log.answered) == 2000
    assert sum(when < 120 for when, _ in server.attempts) < 200, "the server was hammered"
    assert stats.seconds < 120 + 30 + 2000 / 64 + 15, "it did not come back to speed"
    assert log.most_open <= 64 + 4 * 64


def test_window_finds_the_capacity_of_a_server_that_refuses_more() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if server.in_flight > 32:
            raise overloaded()
        return await server.answer(request)

    server, log = Server(behave), Log()
    stats = run(scheduler(server, limits=Limits(concurrency=128)).run(log.requests(3000), log))
    log.check_each_once(3000)
    assert len(log.answered) == 3000
    assert stats.seconds < 1.25 * 3000 / 32
    assert stats.overloaded < 0.25 * 3000


def test_random_refusals_do_not_shrink_the_window() -> None:
    rng = random.Random(5)

    async def behave(server: Server, request: Request) -> Reply:
        if rng.random() < 0.05:
            raise overloaded()
        await asyncio.sleep(rng.lognormvariate(-0.125, 0.5))
        return Reply("yes")

    log = Log()
    stats = run(scheduler(Server(behave), limits=Limits(concurrency=128)).run(log.requests(10_000), log))
    assert len(log.answered) == 10_000
    assert stats.busy_fraction >= 0.95


def test_timeouts_of_the_client_shrink_the_window() -> None:
    """A server that drowns says nothing: that we hung up is all there is to know it by."""

    async def drowning(server: Server, request: Request) -> Reply:
        await asyncio.sleep(30)
        if server.in_flight > 8:
            raise EndpointError("no answer within 30 s", kind="timed_out")
        return await server.answer(request)

    server, log = Server(drowning), Log()
    stats = run(
        Scheduler([server], Limits(concurrency=64, max_attempts=50, give_up_after=1000)).run(log.requests(200), log)
    )
    assert len(log.answered) == 200
    assert stats.endpoints[0].concurrency <= 16


def test_retry_after_is_a_minimum() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if len([tag for _, tag in server.attempts if tag == request.tag]) == 1 and request.tag == 3:
            raise overloaded(retry_after=7)
        return await server.answer(request)

    server, log = Server(behave), Log()
    run(scheduler(server).run(log.requests(10), log))
    assert len(log.answered) == 10
    first, second = (when for when, tag in server.attempts if tag == 3)
    assert first + 7 <= second <= first + 7.5


def test_permanent_error_is_delivered_once_without_retry() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if request.tag % 2:
            raise EndpointError("422 too long", kind="too_long", status=422)
        return await server.answer(request)

    server, log = Server(behave), Log()
    stats = run(scheduler(server).run(log.requests(100), log))
    log.check_each_once(100)
    assert len(server.attempts) == 100
    assert (stats.succeeded, stats.failed, stats.retried) == (50, 50, 0)


def test_attempts_are_limited_per_request() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if request.tag == 5:
            raise broken()
        return await server.answer(request)

    server, log = Server(behave, latency=0.01), Log()
    run(scheduler(server, limits=Limits(max_attempts=3, concurrency=4)).run(log.requests(50), log))
    log.check_each_once(50)
    assert sum(tag == 5 for _, tag in server.attempts) == 3
    assert log.answered == set(range(50)) - {5}


def test_half_of_the_attempts_fail() -> None:
    rng = random.Random(3)

    async def behave(server: Server, request: Request) -> Reply:
        if rng.random() < 0.4:
            raise broken()
        return await server.answer(request)

    log = Log()
    stats = run(scheduler(Server(behave), limits=Limits(max_attempts=30)).run(log.requests(2000), log))
    assert len(log.answered) == 2000
    assert stats.seconds < 500


@pytest.mark.parametrize("retryable", [True, False])
def test_a_run_in_which_everything_fails_stops_early(retryable: bool) -> None:
    async def behave(server: Server, request: Request) -> Reply:
        await asyncio.sleep(0.1)
        raise EndpointError("401 wrong token", kind="unauthorized", retryable=retryable, status=401)

    server, log = Server(behave), Log()
    limits = Limits(concurrency=8, breaker_threshold=1000)
    with pytest.raises(JudgingStopped, match=r"20 failures in a row .* 401 wrong token") as stopped:
        run(scheduler(server, limits=limits).run(log.requests(10**9), log))
    assert len(server.attempts) < 40
    assert "\n" not in str(stopped.value)
    stats = stopped.value.stats  # type: ignore[attr-defined]
    assert isinstance(stats, RunStats)
    assert stats.sent == len(server.attempts)
    assert stats.failed == len(log.results) == (0 if retryable else 19), "of the last it is the run that failed"


def test_a_dead_server_is_left_alone_and_given_up() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if now() > 10:
            raise EndpointError("connection refused", kind="unreachable")
        return await server.answer(request)

    server, log = Server(behave), Log()
    with pytest.raises(JudgingStopped, match="connection refused") as stopped:
        run(scheduler(server, limits=Limits(concurrency=8)).run(log.requests(10**9), log))
    assert sum(when > 10 for when, _ in server.attempts) < 30
    assert 310 <= stopped.value.stats.seconds < 350  # type: ignore[attr-defined]
    assert len(log.results) == len(log.answered)


@pytest.mark.parametrize("end", [70, 201, 309])
def test_an_outage_is_waited_out_and_loses_nothing(end: float) -> None:
    """vLLM needs 48 to 191 s to start again; it is noticed soon, and there is a last try when the patience is over."""

    async def behave(server: Server, request: Request) -> Reply:
        if 10 < now() < end:
            raise EndpointError("connection refused", kind="unreachable")
        return await server.answer(request)

    server, log = Server(behave), Log()
    stats = run(scheduler(server, limits=Limits(concurrency=32)).run(log.requests(1000), log))
    log.check_each_once(1000)
    assert len(log.answered) == 1000
    assert stats.endpoints[0].breaker_opened == 1
    assert sum(10 < when < end for when, _ in server.attempts) < 50
    assert stats.seconds < end + 40 + 1000 / 32


def test_endless_overload_is_given_up() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        raise overloaded()

    server, log = Server(behave), Log()
    with pytest.raises(JudgingStopped, match="nothing but refusals for overload"):
        run(scheduler(server).run(log.requests(10**9), log))
    assert not log.results
    assert len(server.attempts) < 300


def test_an_absurd_retry_after_does_not_hang_the_run() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if request.tag == 0:
            raise overloaded(retry_after=86400)
        return await server.answer(request)

    log = Log()
    with pytest.raises(JudgingStopped, match="nothing could be sent"):
        run(scheduler(Server(behave)).run(log.requests(10), log))
    assert log.answered == set(range(1, 10))


def test_two_endpoints_one_dead() -> None:
    async def dead(server: Server, request: Request) -> Reply:
        raise EndpointError("connection refused", kind="unreachable")

    servers, log = (Server(dead, name="dead"), Server(name="alive")), Log()
    stats = run(scheduler(*servers, limits=Limits(concurrency=16)).run(log.requests(1000), log))
    log.check_each_once(1000)
    assert len(log.answered) == 1000
    assert len(servers[0].attempts) < 60
    assert [endpoint.name for endpoint in stats.endpoints] == ["dead", "alive"]


def test_endpoints_share_the_work_by_their_speed() -> None:
    fast, slow, log = Server(latency=1), Server(latency=4), Log()
    run(scheduler(fast, slow, limits=Limits(concurrency=16)).run(log.requests(2000), log))
    log.check_each_once(2000)
    assert 3 < len(fast.attempts) / len(slow.attempts) < 5


def test_a_retry_prefers_another_endpoint() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if request.tag % 10 == 0:
            raise broken()
        return await server.answer(request)

    one, two, log = Server(behave), Server(), Log()
    run(scheduler(one, two, limits=Limits(concurrency=16)).run(log.requests(300), log))
    assert len(log.answered) == 300
    assert max(Counter(tag for _, tag in one.attempts).values()) <= 3


def test_a_long_queue_at_the_server_stops_the_window_from_growing() -> None:
    server = Server(depth=1000)
    run(scheduler(server, limits=Limits(concurrency=128, start_concurrency=4)).run(Log().requests(300), Log()))
    assert server.peak == 4


def test_deadline() -> None:
    server, log = Server(), Log()
    with pytest.raises(JudgingStopped, match="deadline of 10 s") as stopped:
        run(scheduler(server, limits=Limits(concurrency=4, deadline=10)).run(log.requests(10**9), log))
    assert len(log.answered) == log.pulled, "what was in flight was lost"
    assert stopped.value.stats.seconds == pytest.approx(11, abs=1)  # type: ignore[attr-defined]


def test_spend_cap_is_not_exceeded() -> None:
    server, log = Server(), Log()
    limits = Limits(concurrency=16, price_prompt=1.0, price_completion=2.0, max_cost=0.012)  # 100 requests of 120 / 1M
    with pytest.raises(JudgingStopped, match=r"spend cap of 0\.012") as stopped:
        run(scheduler(server, limits=limits).run(log.requests(10**9), log))
    assert 95 <= len(log.answered) <= 100
    assert stopped.value.stats.cost <= 0.012 + 1e-9  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="price"):
        Limits(max_cost=1.0)


def test_stop_delivers_what_is_in_flight() -> None:
    server, log = Server(latency=5), Log()

    async def main() -> None:
        judge = scheduler(server, limits=Limits(concurrency=8))
        asyncio.get_running_loop().call_later(12, judge.stop, "interrupted")
        with pytest.raises(JudgingStopped, match="interrupted"):
            await judge.run(log.requests(10**9), log)
        assert now() == pytest.approx(15)

    run(main())
    assert len(log.answered) == log.pulled


@pytest.mark.parametrize(("stops", "ends"), [((12,), 22.0), ((12, 13), 13.0)])
def test_grace_is_limited_and_a_second_stop_ends_it(stops: tuple[float, ...], ends: float) -> None:
    server, log = Server(latency=1000), Log()

    async def main() -> None:
        judge = scheduler(server, limits=Limits(concurrency=8))
        for when in stops:
            asyncio.get_running_loop().call_later(when, judge.stop, "interrupted")
        with pytest.raises(JudgingStopped):
            await judge.run(log.requests(10**9), log)
        assert now() == pytest.approx(ends)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
    assert not log.results
    assert server.in_flight == 0


def test_stop_before_the_run() -> None:
    log = Log()
    judge = scheduler(Server())
    judge.stop("interrupted")
    with pytest.raises(JudgingStopped, match="interrupted"):
        run(judge.run(log.requests(10), log))
    assert log.pulled == 0
    assert run(judge.run(log.requests(10), log)).succeeded == 10


def test_stop_from_a_signal_handler_wakes_a_sleeping_loop() -> None:
    log = Log()
    judge = scheduler(Server(latency=0.6), limits=Limits(concurrency=4))
    before = signal.signal(signal.SIGINT, lambda *_: judge.stop("interrupted"))
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(JudgingStopped, match="interrupted"):
            asyncio.run(judge.run(log.requests(10**9), log))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(log.answered) == log.pulled


def test_cancelling_the_run_leaves_nothing_behind() -> None:
    server, log = Server(), Log()

    async def main() -> None:
        task = asyncio.create_task(scheduler(server).run(log.requests(10**9), log))
        await asyncio.sleep(5.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
    assert server.in_flight == 0


def test_an_error_of_the_source_comes_through() -> None:
    server, log = Server(), Log()

    def source() -> Iterator[Request]:
        yield from log.requests(20)
        raise ValueError("bad row")

    async def asynchronous() -> AsyncIterator[Request]:
        for request in source():
            yield request

    for requests in (source(), asynchronous()):
        with pytest.raises(ValueError, match="bad row"):
            run(scheduler(server, limits=Limits(concurrency=8)).run(requests, log))
        assert server.in_flight == 0


def test_an_error_of_on_done_comes_through_and_ends_the_calls() -> None:
    calls = []

    def done(request: Request, result: Result) -> None:
        calls.append(request.tag)
        if len(calls) == 3:
            raise OSError("disk full")

    server = Server()
    with pytest.raises(OSError, match="disk full"):
        run(scheduler(server).run(Log().requests(100), done))
    assert len(calls) == 3
    assert server.in_flight == 0


def test_an_error_of_on_progress_comes_through() -> None:
    def progress(stats: RunStats) -> None:
        if stats.succeeded:
            raise ValueError("bar")

    with pytest.raises(ValueError, match="bar"):
        run(scheduler(Server()).run(Log().requests(1000), Log(), on_progress=progress))


@pytest.mark.parametrize(
    "odd",
    [
        lambda: 1 / 0,
        lambda: None,
        lambda: Reply("yes", prompt_tokens="12"),  # type: ignore[arg-type]
        lambda: Reply("yes", completion_tokens=[1]),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("price", [0.0, 1.0])
def test_an_answer_that_cannot_be_handled_is_a_failed_request(odd: Callable[[], Any], price: float) -> None:
    async def behave(server: Server, request: Request) -> Reply:
        reply: Reply = odd() if request.tag % 3 == 1 else await server.answer(request)
        return reply

    log = Log()
    stats = run(scheduler(Server(behave), limits=Limits(price_prompt=price)).run(log.requests(100), log))
    log.check_each_once(100)
    errors = [result for _, result in log.results if isinstance(result, EndpointError)]
    assert stats.failed == len(errors) == 33
    assert {error.kind for error in errors} == {"garbage"}
    assert "could not be handled" in str(errors[0])


def test_progress_is_told_about_once_a_second() -> None:
    seen: list[int] = []
    run(
        scheduler(Server(), limits=Limits(concurrency=2)).run(
            Log().requests(20), Log(), on_progress=lambda stats: seen.append(stats.succeeded)
        )
    )
    assert 9 <= len(seen) <= 13
    assert seen == sorted(seen)
    assert seen[-1] == 20


def test_a_server_that_does_not_tell_its_limits_is_not_waited_for() -> None:
    class Silent(Server):
        async def info(self) -> EndpointInfo:
            await asyncio.sleep(3600)
            raise AssertionError

    class Refusing(Server):
        async def info(self) -> EndpointInfo:
            raise broken()

    silent, log = Silent(), Log()
    assert run(scheduler(silent, Refusing()).run(log.requests(100), log)).succeeded == 100
    assert silent.attempts[0][0] == pytest.approx(10)


KINDS = ("ok", "429", "429 later", "500", "timeout", "422", "401", "bug")
FINAL = ("422", "401", "bug")


@drawn(40)
@given(
    faults=st.lists(st.lists(st.sampled_from(KINDS), max_size=5), min_size=1, max_size=60),
    servers=st.integers(1, 3),
    concurrency=st.integers(1, 20),
    asynchronous=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_each_request_is_delivered_exactly_once_whatever_fails(
    faults: list[list[str]], servers: int, concurrency: int, asynchronous: bool, seed: int
) -> None:
    rng, seen = random.Random(seed), Counter[int]()

    async def behave(server: Server, request: Request) -> Reply:
        kinds = faults[request.tag]
        kind = kinds[seen[request.tag]] if seen[request.tag] < len(kinds) else "ok"
        seen[request.tag] += 1
        await asyncio.sleep(rng.choice([0.0, 0.1, 3.0]))
        if kind in ("422", "401"):
            raise EndpointError(kind, kind="unauthorized" if kind == "401" else "refused", status=int(kind))
        if kind == "timeout":
            raise EndpointError("no answer within 3 s", kind="timed_out")
        if kind == "bug":
            raise KeyError("choices")
        if kind != "ok":
            raise broken() if kind == "500" else overloaded(2.0 if kind.endswith("later") else None)
        return await server.answer(request)

    log = Log()

    async def source() -> AsyncIterator[Request]:
        for request in log.requests(len(faults)):
            await asyncio.sleep(rng.choice([0.0, 0.01]))
            yield request

    limits = Limits(concurrency=concurrency, give_up_after=10**6, patience=1e6)
    judge = Scheduler([Server(behave, latency=0.5) for _ in range(servers)], limits, rng=rng)
    stats = run(judge.run(source() if asynchronous else log.requests(len(faults)), log))
    log.check_each_once(len(faults))
    # Each server is asked once, of those that refuse for good.
    before_ok = [kinds[: kinds.index("ok")] if "ok" in kinds else kinds for kinds in faults]
    permanent = {n for n, kinds in enumerate(before_ok) if sum(kind in FINAL for kind in kinds) >= servers}
    assert log.answered == set(range(len(faults))) - permanent
    assert stats.sent == sum(seen.values()) == stats.succeeded + stats.failed + stats.retried


@drawn(20)
@given(
    when=st.floats(0, 20),
    how=st.sampled_from(["stop", "stop twice", "cancel"]),
    failing=st.floats(0, 0.5),
    asynchronous=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_run_that_is_ended_at_any_time_delivers_nothing_twice_and_leaves_nothing_behind(
    when: float, how: str, failing: float, asynchronous: bool, seed: int
) -> None:
    rng, log, answered = random.Random(seed), Log(), set[int]()

    async def behave(server: Server, request: Request) -> Reply:
        await asyncio.sleep(rng.random() * 3)
        if rng.random() < failing:
            raise rng.choice([broken(), overloaded(), overloaded(3.0)])
        answered.add(request.tag)
        return Reply("yes")

    async def source() -> AsyncIterator[Request]:
        for request in log.requests(10**9):
            yield request

    async def main() -> None:
        loop = asyncio.get_running_loop()
        judge = Scheduler([Server(behave), Server(behave)], Limits(concurrency=5), rng=rng)
        task = loop.create_task(judge.run(source() if asynchronous else log.requests(10**9), log))
        loop.call_later(when, task.cancel if how == "cancel" else partial(judge.stop, "enough"))
        if how == "stop twice":
            loop.call_later(when + 0.5, judge.stop, "now")
        with pytest.raises(asyncio.CancelledError if how == "cancel" else JudgingStopped):
            await task
        assert now() <= when + (0.51 if how != "stop" else 3.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
    assert len(log.results) == len({tag for tag, _ in log.results}), "delivered twice"
    assert log.answered == answered, "an answer that came was not delivered"


def test_breaker_opens_half_opens_and_closes() -> None:
    breaker = Breaker(threshold=3, cooldown=5)
    for _ in range(3):
        assert breaker.allows(0)
        breaker.failed(0, probe=breaker.sending())
    assert breaker.state == "open"
    assert not breaker.allows(4.9)
    assert breaker.allows(5)
    assert breaker.sending()
    assert breaker.state == "half-open"
    assert not breaker.allows(100), "one probe at a time"
    breaker.failed(6, probe=False)
    assert breaker.state == "half-open", "old news"
    breaker.failed(6, probe=True)
    assert not breaker.allows(15.9)
    assert breaker.allows(16)
    assert breaker.sending()
    assert breaker.answered()
    assert breaker.state == "closed"
    assert not breaker.sending()
    assert not breaker.answered()


def test_retry_budget_runs_out_and_trickles() -> None:
    budget = RetryBudget(0.5, 0.0)
    assert [budget.take(0.0) for _ in range(int(BURST))] == [0.0] * int(BURST)
    wait = budget.take(0.0)
    assert wait == pytest.approx(0.2)
    assert budget.take(wait) == 0.0
    budget.succeeded()
    budget.succeeded()
    assert budget.take(wait) == 0.0


def test_window_grows_fast_then_slowly_and_shrinks_once_per_round_trip() -> None:
    limiter = Limiter(limit=64, start=8)
    for _ in range(8):
        limiter.sending()
        limiter.succeeded(int(limiter.window))
    assert limiter.window == 16
    limiter.succeeded(3)
    assert limiter.window == 16, "a window that is not used does not grow"
    for _ in range(16):
        limiter.sending()
    shrunk = [limiter.overloaded(number, sent=24) for number in range(9, 25)]
    assert sum(shrunk) == 1
    assert limiter.window == pytest.approx(16 * 0.7)
    assert not limiter.overloaded(20, sent=30), "news from before the decrease"
    assert limiter.overloaded(25, sent=30), "a storm: nothing succeeded in between"
    for _ in range(200):
        limiter.succeeded(100)
    assert limiter.window < 64


def spending(budget: Budget | None = None, cap: float | None = None) -> Spending:
    return Spending(budget or Budget(), cap, 1.0, 1.0)


def test_tokens_that_a_reply_does_not_tell_are_counted_at_an_estimate() -> None:
    """Without a cap too: what was spent is shown."""
    guess = 400 * 0.4
    assert spending().estimate(question(0)) == pytest.approx((guess + 50) / 1e6)
    assert spending().answered(question(0), Reply("12345")) == pytest.approx((guess + 2) / 1e6)
    assert spending().answered(question(0), Reply("x", completion_tokens=7)) == pytest.approx((guess + 7) / 1e6)
    assert spending().answered(question(0), Reply("12345", prompt_tokens=90)) == pytest.approx((90 + 2) / 1e6)
    learned = spending()
    learned.answered(question(0), Reply("x", prompt_tokens=80, completion_tokens=1))
    assert learned.answered(question(0), Reply("x", completion_tokens=1)) == pytest.approx((80 + 1) / 1e6)


def test_a_run_that_waits_says_why(caplog: pytest.LogCaptureFixture) -> None:
    """Half a minute of retries without a word looks like a hang, and a word each second like a flood."""

    async def behave(server: Server, request: Request) -> Reply:
        if now() - begun[0] < 100:
            raise EndpointError("HTTP 502: no backend", kind="broken", status=502)
        return await server.answer(request)

    async def main() -> None:
        begun.append(now())
        await scheduler(Server(behave), limits=Limits(max_attempts=1000, give_up_after=1000)).run(log.requests(3), log)

    begun: list[float] = []
    log = Log()
    run(main())
    log.check_each_once(3)
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(";")[0] for text in said] == ["No answer for 30 s", "No answer for 60 s"]
    assert all("HTTP 502: no backend" in text for text in said)


def test_a_reranker_is_paid_for_the_documents_and_the_query_with_each() -> None:
    """TEI and Cohere tell no tokens: a cap that counted the query alone would be reached hundreds of times too late."""
    request = Request((Message("user", "q" * 10),), 1, documents=("d" * 100, "e" * 90))
    read = (2 * 10 + 190) * 0.4 / 1e6
    assert spending().estimate(request) == pytest.approx(read), "and nothing is generated"
    assert spending().answered(request, Reply("[0.5, 0.1]", completion_tokens=0)) == pytest.approx(read)
    assert not spending(cap=read / 2).allows(spending().estimate(request))


def test_failed_attempts_that_are_billed_count() -> None:
    """We hung up on a server at work, or could not read what it had written: its provider bills that."""
    kinds: list[tuple[ErrorKind, int | None, bool]] = [
        ("timed_out", None, True),
        ("garbage", None, True),
        ("timed_out", 504, False),
        ("unreachable", None, False),
        ("overloaded", 429, False),
        ("broken", 500, False),
    ]
    for kind, status, is_billed in kinds:
        assert bool(spending().failed(EndpointError("", kind=kind, status=status), 1.0)) == is_billed

    async def behave(server: Server, request: Request) -> Reply:
        if len(server.attempts) <= 2:
            raise EndpointError("no answer within 30 s", kind="timed_out")
        return await server.answer(request)

    log, limits = Log(), Limits(price_prompt=1.0, price_completion=1.0)
    stats = run(scheduler(Server(behave, most=1), limits=limits).run(log.requests(1), log))
    ((_, reply),) = log.results
    assert reply.cost == stats.cost == pytest.approx((2 * (400 * 0.4 + 50) + 110) / 1e6)


def test_money_and_time_are_those_of_the_run_whatever_the_number_of_judges() -> None:
    async def main() -> None:
        budget = Budget(clock=asyncio.get_running_loop().time)
        limits = Limits(concurrency=4, price_prompt=1.0, price_completion=1.0, max_cost=0.022, deadline=60)
        first = await Scheduler([Server()], limits, budget=budget).run(Log().requests(100), Log())
        assert (first.cost, budget.spent) == (pytest.approx(0.011), pytest.approx(0.011))
        with pytest.raises(JudgingStopped, match="spend cap") as capped:
            await Scheduler([Server()], limits, budget=budget).run(Log().requests(10**9), Log())
        assert budget.spent <= 0.022
        assert capped.value.stats.cost <= 0.01101  # type: ignore[attr-defined]
        free = Limits(concurrency=4, deadline=60)
        with pytest.raises(JudgingStopped, match="deadline of 60 s"):
            await Scheduler([Server()], free, budget=budget).run(Log().requests(10**9), Log())
        assert now() == pytest.approx(60, abs=1)

    run(main())


def test_a_misconfigured_server_of_several_is_put_aside_and_burns_nothing(caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("unauthorized", "misaddressed", "refused", "quota"):

        async def wrong(server: Server, request: Request, kind: Any = kind) -> Reply:
            raise EndpointError(f"HTTP 4xx: {kind}", kind=kind)

        bad, good, log = Server(wrong, name="bad"), Server(name="good"), Log()
        stats = run(scheduler(bad, good, limits=Limits(concurrency=8)).run(log.requests(500), log))
        assert len(log.answered) == 500
        assert len(bad.attempts) <= (8 if kind == "quota" else 28)
        assert [one.aside for one in stats.endpoints] == [f"HTTP 4xx: {kind}", ""]
        assert f"Asked no more: HTTP 4xx: {kind}" in caplog.text


def test_a_used_up_quota_ends_a_run_at_once() -> None:
    async def used_up(server: Server, request: Request) -> Reply:
        if request.tag >= 50:
            raise EndpointError("HTTP 429: You exceeded your current quota", kind="quota", status=429)
        return await server.answer(request)

    server, log = Server(used_up), Log()
    with pytest.raises(JudgingStopped, match=r"what was paid for is used up; .*exceeded your current quota"):
        run(scheduler(server, limits=Limits(concurrency=8)).run(log.requests(10**9), log))
    assert len(log.results) == len(log.answered) == 50, "nobody's candidates failed"
    assert len(server.attempts) <= 58


@pytest.mark.parametrize("good", [0, 100])
@pytest.mark.parametrize("kind", ["refused", "unauthorized", "garbage"])
def test_a_server_that_refuses_everything_ends_the_run_with_its_own_words(kind: Any, good: int) -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if request.tag >= good:
            raise EndpointError("HTTP 400: `response_format` is not known here", kind=kind, retryable=False)
        return await server.answer(request)

    server, log = Server(behave), Log()
    with pytest.raises(JudgingStopped, match=r"20 failures in a row .* 2\d times: HTTP 400: `response_format`"):
        run(scheduler(server, limits=Limits(concurrency=8)).run(log.requests(10**9), log))
    assert len(server.attempts) <= good + 28


def test_rows_that_are_too_long_may_come_in_a_row() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if 10 <= request.tag < 160:
            raise EndpointError("too long", kind="too_long", status=400)
        return await server.answer(request)

    log = Log()
    assert run(scheduler(Server(behave)).run(log.requests(300), log)).failed == 150


def test_a_wait_beyond_the_deadline_ends_the_run_now() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if request.tag >= 10:
            raise overloaded(retry_after=3600)
        return await server.answer(request)

    log = Log()
    with pytest.raises(JudgingStopped, match=r"nothing can be sent for 3,\d+ s, and the deadline of 1800 s .*: 429"):
        run(scheduler(Server(behave), limits=Limits(deadline=1800)).run(log.requests(10**9), log))
    assert len(log.answered) == 10


def test_messages_about_an_end_name_the_most_frequent_reason_and_the_first() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        sent = len(server.attempts)
        if sent == 1:
            raise EndpointError("HTTP 500: grammar is broken", kind="broken")
        raise EndpointError(f"HTTP 502: request {sent}: no upstream", kind="broken")

    told = r"most often, \d+ of \d+ times: HTTP 502: request 2: no upstream; the first: HTTP 500: grammar is broken"
    for limits, reason in ((Limits(), "failures in a row"), (Limits(deadline=1, give_up_after=10**6), "deadline")):
        with pytest.raises(JudgingStopped, match=f"{reason}.*; {told}"):
            run(scheduler(Server(behave), limits=limits).run(Log().requests(10**9), Log()))


def test_a_feed_that_finds_nothing_yet_lets_others_have_their_turn() -> None:
    """A resumed run skips what is known: a stop, a deadline and answers are heeded meanwhile."""

    def searching() -> Iterator[Request | None]:
        yield question(0)
        while True:
            asyncio.get_running_loop().now += 0.1  # type: ignore[attr-defined]
            yield None

    log = Log()
    with pytest.raises(JudgingStopped, match="deadline of 30 s"):
        run(scheduler(Server(), limits=Limits(deadline=30)).run(searching(), log))
    assert log.answered == {0}
