"""Limits shared by several schedulers, on a clock of their own: each scheduler stands for a process of its own."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.endpoint import EndpointError, Message, Reply, Request
from hf_relabel.builders.errors import JudgingStopped
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits, RunStats, Scheduler
from hf_relabel.hub_tools.ray_cluster.sharing import FORGOTTEN_SECONDS, Loan, Referee, Report, SharedMeans
from tests.examples import drawn
from tests.hub_tools.test_scheduler import Server, now, run

CALM = Limits(base_delay=0.1, max_delay=1.0)


def requests(worker: int, count: int) -> Iterator[Request]:
    for number in range(count):
        yield Request((Message("user", "x" * 100),), 10, tag=(worker, number))


class Worker:
    """One scheduler of several, and what it delivered."""

    def __init__(self, referee: Referee, number: int, *, judge: str = "judge", trip: float = 0.002) -> None:
        self.number, self.referee, self.judge, self.trip = number, referee, judge, trip
        self.answered: Counter[Any] = Counter()
        self.finished = 0.0
        self.dead = False

    async def lend(self, report: Report) -> Loan:
        """A call over the network: the report arrives a while later, and so does the answer."""
        if self.dead:
            await asyncio.sleep(1e6)
        await asyncio.sleep(self.trip)
        loan = self.referee.lend(report)
        await asyncio.sleep(self.trip)
        return loan

    async def work(self, servers: Sequence[Server], count: int, limits: Limits = CALM) -> RunStats:
        means = partial(
            SharedMeans, lend=self.lend, run=f"run-{self.number}", shard=f"shard-{self.number}", judge=self.judge
        )
        scheduler = Scheduler(servers, limits, rng=random.Random(self.number), means=means)
        try:
            return await scheduler.run(requests(self.number, count), self.done)
        finally:
            self.finished = now()

    def done(self, request: Request, result: Reply | EndpointError) -> None:
        assert isinstance(result, Reply)
        self.answered[request.tag] += 1


def referee_on_loop(limits: Limits = CALM, judges: Sequence[str] = ("judge",)) -> Referee:
    return Referee(dict.fromkeys(judges, limits), clock=asyncio.get_running_loop().time, rng=random.Random(0))


def each_once(workers: Sequence[Worker], count: int) -> bool:
    return all(len(worker.answered) == count == worker.answered.total() for worker in workers)


@pytest.mark.parametrize("count", [1, 3, pytest.param(12, marks=pytest.mark.soak)])
def test_all_workers_together_keep_the_limit_and_use_it(count: int) -> None:
    async def main() -> None:
        server = Server(latency=1.0, most=17)  # a server that takes 17 is sent 16
        referee = referee_on_loop()
        workers = [Worker(referee, number) for number in range(count)]
        await asyncio.gather(*(worker.work([server], 80) for worker in workers))
        assert server.peak == 16
        assert each_once(workers, 80)
        ideal = 80 * count / 16
        assert now() < 1.3 * ideal + 6

    run(main())


@pytest.mark.parametrize("count", [2, pytest.param(5, marks=pytest.mark.soak), pytest.param(9, marks=pytest.mark.soak)])
def test_workers_that_want_the_same_get_the_same(count: int) -> None:
    async def main() -> None:
        server = Server(latency=0.5, most=7)
        referee = referee_on_loop()
        workers = [Worker(referee, number) for number in range(count)]
        tasks = [asyncio.ensure_future(worker.work([server], 10**6)) for worker in workers]
        await asyncio.sleep(90)
        shares = Counter(tag[0] for _, tag in server.attempts)
        referee.stop("enough")
        await asyncio.gather(*tasks, return_exceptions=True)
        even = len(server.attempts) / count
        assert len(shares) == count
        assert min(shares.values()) > 0.7 * even, shares

    run(main())


def test_one_that_wants_little_leaves_the_rest_to_others() -> None:
    async def main() -> None:
        server = Server(latency=1.0, most=17)
        referee = referee_on_loop()
        small, large = Worker(referee, 0), Worker(referee, 1)
        await asyncio.gather(small.work([server], 4), large.work([server], 800))
        assert large.finished < 1.1 * 800 / 16 + 3

    run(main())


def test_what_a_dead_worker_held_comes_back() -> None:
    async def main() -> None:
        server = Server(latency=1.0, most=17)
        referee = referee_on_loop()
        dying, other = Worker(referee, 0), Worker(referee, 1)
        task = asyncio.ensure_future(dying.work([server], 10**6))
        alive = asyncio.ensure_future(other.work([server], 1600))
        await asyncio.sleep(10)
        dying.dead = True
        task.cancel()
        await asyncio.sleep(FORGOTTEN_SECONDS + 3)
        before = len(server.attempts)
        await asyncio.sleep(10)
        assert len(server.attempts) - before >= 150
        await alive
        assert server.peak == 16

    run(main())


def test_a_worker_that_starts_its_shard_again_frees_what_it_held_before() -> None:
    async def main() -> None:
        server = Server(latency=1.0, most=17)
        referee = referee_on_loop()
        dying, again = Worker(referee, 0), Worker(referee, 0)
        task = asyncio.ensure_future(dying.work([server], 10**6))
        await asyncio.sleep(10)
        dying.dead = True
        task.cancel()
        await asyncio.sleep(0.01)
        began = now()
        partial_means = partial(SharedMeans, lend=again.lend, run="run-again", shard="shard-0", judge="judge")
        scheduler = Scheduler([server], CALM, means=partial_means)
        await scheduler.run(requests(0, 160), again.done)
        assert now() - began < 12

    run(main())


def test_a_worker_that_hears_nothing_stops_sending() -> None:
    async def main() -> None:
        server = Server(latency=1.0, most=17)
        referee = referee_on_loop()
        deaf = Worker(referee, 0)
        task = asyncio.ensure_future(deaf.work([server], 10**6))
        await asyncio.sleep(10)
        deaf.dead = True
        await asyncio.sleep(6)
        before = len(server.attempts)
        await asyncio.sleep(20)
        assert len(server.attempts) == before
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_a_storm_of_429_shrinks_the_window_of_all_and_passes() -> None:
    stormy = True

    async def behave(server: Server, request: Request) -> Reply:
        if stormy:
            raise EndpointError("busy", retryable=True, overloaded=True, status=429)
        return await server.answer(request)

    async def main() -> None:
        nonlocal stormy
        stormy = False
        server = Server(behave, latency=1.0, most=129)
        referee = referee_on_loop()
        workers = [Worker(referee, number) for number in range(4)]
        tasks = [asyncio.ensure_future(worker.work([server], 1000)) for worker in workers]
        await asyncio.sleep(5)
        stormy = True
        await asyncio.sleep(3)
        sent = len(server.attempts)
        await asyncio.sleep(10)
        assert len(server.attempts) - sent < 200  # four on their own would each go on with a window of their own
        stormy = False
        await asyncio.gather(*tasks)
        assert each_once(workers, 1000)
        assert server.peak <= 128

    run(main())


def test_a_window_that_all_find_together_is_the_servers_capacity() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if server.in_flight > 40:
            raise EndpointError("busy", retryable=True, overloaded=True, status=429)
        return await server.answer(request)

    async def main() -> None:
        server = Server(behave, latency=1.0, most=201)
        referee = referee_on_loop()
        workers = [Worker(referee, number) for number in range(5)]
        stats = await asyncio.gather(*(worker.work([server], 800) for worker in workers))
        assert each_once(workers, 800)
        assert sum(one.overloaded for one in stats) < 0.3 * 4000
        assert now() < 2.0 * 4000 / 40

    run(main())


def test_a_dead_server_gets_one_probe_at_a_time_and_is_given_up_by_all() -> None:
    dead = False

    async def behave(server: Server, request: Request) -> Reply:
        if dead:
            raise EndpointError("connection refused", retryable=True)
        return await server.answer(request)

    async def main() -> None:
        nonlocal dead
        server = Server(behave, latency=0.5, most=33)
        referee = referee_on_loop()
        workers = [Worker(referee, number) for number in range(4)]
        tasks = [asyncio.ensure_future(worker.work([server], 10**6)) for worker in workers]
        await asyncio.sleep(20)
        dead = True
        await asyncio.sleep(2)
        sent = len(server.attempts)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert len(server.attempts) - sent <= 10
        assert 100 < now() < 180  # an outage is waited out for two minutes, by new shards as well
        assert all(isinstance(result, JudgingStopped) and "connection refused" in str(result) for result in results)

    run(main())


def test_an_outage_is_waited_out_by_all() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        if 20 < now() < 60:
            raise EndpointError("connection refused", retryable=True)
        return await server.answer(request)

    async def main() -> None:
        server = Server(behave, latency=0.5, most=33)
        referee = referee_on_loop(Limits(max_attempts=30))
        workers = [Worker(referee, number) for number in range(4)]
        await asyncio.gather(*(worker.work([server], 1000, Limits(max_attempts=30)) for worker in workers))
        assert each_once(workers, 1000)
        assert 60 < now() < 150

    run(main())


def test_the_deadline_is_that_of_all() -> None:
    async def main() -> None:
        limits = Limits(deadline=30.0)
        server = Server(latency=1.0, most=9)
        workers = [Worker(referee := referee_on_loop(limits), 0), Worker(referee, 1)]
        results = await asyncio.gather(
            *(worker.work([server], 10**6, limits) for worker in workers), return_exceptions=True
        )
        assert all(isinstance(result, JudgingStopped) and "deadline of 30 s" in str(result) for result in results)
        assert 30 <= now() < 33

    run(main())


@pytest.mark.parametrize("cap", [0.05, 0.0011])
def test_the_spend_cap_is_that_of_all_and_nearly_used_up(cap: float) -> None:
    async def main() -> None:
        # A request is 40 tokens by the first guess, 100 by the reply; 10 are generated: 110 tokens, 0.00011.
        limits = Limits(max_cost=cap, price_prompt=1.0, price_completion=1.0)
        server = Server(latency=1.0, most=17)
        referee = referee_on_loop(limits)
        workers = [Worker(referee, number) for number in range(4)]
        results = await asyncio.gather(
            *(worker.work([server], 10**6, limits) for worker in workers), return_exceptions=True
        )
        assert all(isinstance(result, JudgingStopped) and "spend cap" in str(result) for result in results)
        spent = referee.spent()["judge"]
        assert spent == pytest.approx(sum(worker.answered.total() for worker in workers) * 0.00011)
        # The first guess of a request's cost is too low here, as on one machine, for what is in flight then.
        assert spent <= cap + 16 * 0.00006
        assert spent >= cap * 0.9 - 4 * 0.00011

    run(main())


def test_two_judges_of_one_server_share_it() -> None:
    async def main() -> None:
        server = Server(latency=1.0, most=17)
        referee = referee_on_loop(judges=("first", "second"))
        workers = [Worker(referee, number, judge=judge) for number, judge in enumerate(("first", "second"))]
        await asyncio.gather(*(worker.work([server], 200) for worker in workers))
        assert server.peak == 16
        assert each_once(workers, 200)

    run(main())


def test_retries_are_bounded_for_all_together() -> None:
    async def behave(server: Server, request: Request) -> Reply:
        raise EndpointError("broken", retryable=True, blame_server=False)

    async def main() -> None:
        limits = Limits(base_delay=0.01, max_delay=0.01, max_attempts=10**6)
        server = Server(behave, latency=0.1, most=129)
        referee = referee_on_loop(limits)
        workers = [Worker(referee, number) for number in range(4)]
        tasks = [asyncio.ensure_future(worker.work([server], 50, limits)) for worker in workers]
        await asyncio.sleep(25)
        # 200 first attempts, 20 retries saved up, 5 a second.
        assert 200 + 75 < len(server.attempts) < 200 + 20 + 5 * 25 + 20
        referee.stop("enough")
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main())


@drawn(6)
@given(
    workers=st.lists(st.tuples(st.integers(0, 60), st.floats(0, 5)), min_size=1, max_size=6),
    most=st.integers(1, 12),
    latency=st.floats(0.001, 3.0),
    trip=st.floats(0.0, 0.5),
    refused=st.floats(0, 0.3),
    seed=st.integers(0, 10**6),
)
def test_whatever_happens_the_limit_is_kept_and_each_request_is_answered_once(
    workers: list[tuple[int, float]], most: int, latency: float, trip: float, refused: float, seed: int
) -> None:
    chance = random.Random(seed)

    async def behave(server: Server, request: Request) -> Reply:
        if chance.random() < refused:
            raise EndpointError("busy", retryable=True, overloaded=chance.random() < 0.5)
        return await server.answer(request)

    async def main() -> None:
        limits = Limits(concurrency=most, max_attempts=10**6, max_overloads=10**6, base_delay=0.05, max_delay=0.5)
        server = Server(behave, latency=latency)
        referee = referee_on_loop(limits)

        async def late(worker: Worker, count: int, start: float) -> None:
            await asyncio.sleep(start)
            await worker.work([server], count, limits)

        made = [Worker(referee, number, trip=trip) for number in range(len(workers))]
        await asyncio.gather(*(late(one, count, start) for one, (count, start) in zip(made, workers, strict=True)))
        assert server.peak <= most
        assert all(
            len(one.answered) == one.answered.total() == count for one, (count, _) in zip(made, workers, strict=True)
        )

    run(main())
