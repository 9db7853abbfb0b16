"""How busy the scheduler keeps a server's slots, and what it costs in CPU time, next to a bare asyncio loop.

    python -m tests.benchmarks.bench_scheduler [--requests 10000] [--mean 1.0] [--json]

Busy: 128 slots, log-normal latency (sigma 0.5), 5 % of the requests refused with 429 at once and at random. The share
of the slots' time in which a request was being worked on, by the server's own count: end to end, and between 10 % and
90 % of completions. The bare loop has one worker per slot, which frees its slot while a request backs off.

CPU: a server that answers at once, 64 in flight; microseconds of CPU time per request, all of Python included.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, Message, Reply, Request
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits, Scheduler
from tests.benchmarks.measuring import Figure, emit, median_ratio, own_peak_mb, parser_of, taking_turns

SIGMA = 0.5
CPU_ROUNDS = 3


class FakeEndpoint:
    """A server in this process. Latencies in seconds; `refused` is the share refused with 429."""

    constrains = True

    def __init__(self, mean: float, refused: float, seed: int = 0) -> None:
        self.name = "fake"
        self.mean, self.refused = mean, refused
        self.rng = random.Random(seed)
        self.changes: list[tuple[float, int]] = []
        self.done: list[float] = []

    async def info(self) -> EndpointInfo:
        return EndpointInfo("fake")

    async def complete(self, request: Request) -> Reply:
        if self.refused and self.rng.random() < self.refused:
            raise EndpointError("429 from fake", kind="overloaded", status=429)
        if self.mean:
            self.changes.append((time.perf_counter(), 1))
            await asyncio.sleep(self.rng.lognormvariate(math.log(self.mean) - SIGMA**2 / 2, SIGMA))
            now = time.perf_counter()
            self.changes.append((now, -1))
            self.done.append(now)
        return Reply("ok", prompt_tokens=1000, completion_tokens=10)

    async def queue_depth(self) -> float | None:
        return None

    async def close(self) -> None:
        return None

    def busy(self, slots: int, begin: float, end: float) -> float:
        """Share of the slots' time between two times that was spent working."""
        total, level, last = 0.0, 0, begin
        for when, change in sorted(self.changes):
            at = min(max(when, begin), end)
            total += level * (at - last)
            level, last = level + change, at
        total += level * (end - last)
        return total / (slots * (end - begin))

    def middle(self) -> tuple[float, float]:
        done = sorted(self.done)
        return done[len(done) // 10], done[len(done) * 9 // 10]


def requests(count: int) -> Iterator[Request]:
    for number in range(count):
        yield Request((Message("user", f"question {number}"),), 16, tag=number)


async def scheduled(endpoint: FakeEndpoint, count: int, slots: int, base_delay: float) -> int:
    """Returns the number of requests answered."""
    answered: set[int] = set()

    def done(request: Request, result: Reply | EndpointError) -> None:
        if isinstance(result, Reply):
            answered.add(request.tag)

    limits = Limits(concurrency=slots, base_delay=base_delay)
    await Scheduler([endpoint], limits, rng=random.Random(1)).run(requests(count), done)
    return len(answered)


async def bare(endpoint: FakeEndpoint, count: int, slots: int, base_delay: float) -> int:
    """The least that does the same: workers, an iterator, and a heap of refused requests."""
    source, waiting, rng = requests(count), list[tuple[float, int, Request]](), random.Random(1)
    answered = 0

    async def worker() -> None:
        nonlocal answered
        while True:
            if waiting and waiting[0][0] <= time.perf_counter():
                request = heapq.heappop(waiting)[2]
            elif (following := next(source, None)) is not None:
                request = following
            elif waiting:
                await asyncio.sleep(max(0.0, waiting[0][0] - time.perf_counter()))
                continue
            else:
                return
            try:
                await endpoint.complete(request)
                answered += 1
            except EndpointError:
                heapq.heappush(waiting, (time.perf_counter() + rng.random() * base_delay, request.tag, request))

    await asyncio.gather(*(worker() for _ in range(slots)))
    return answered


Loop = Callable[[FakeEndpoint, int, int, float], Any]


def measure_busy(loop: Loop, count: int, slots: int, mean: float) -> dict[str, float]:
    """Busy shares of one loop. The back-off is scaled with the latency."""
    endpoint = FakeEndpoint(mean, refused=0.05)
    begin = time.perf_counter()
    answered = asyncio.run(loop(endpoint, count, slots, 0.5 * mean))
    end = time.perf_counter()
    return {
        "busy": endpoint.busy(slots, begin, end),
        "busy_middle": endpoint.busy(slots, *endpoint.middle()),
        "lost": count - answered,
        "seconds": end - begin,
    }


def measure_cpu(loop: Loop, count: int, slots: int = 64) -> float:
    """Microseconds of CPU time per request."""
    begin = time.process_time()
    asyncio.run(loop(FakeEndpoint(0.0, 0.0), count, slots, 0.5))
    return (time.process_time() - begin) / count * 1e6


def figures(count: int, slots: int, mean: float, cpu_requests: int) -> Iterator[Figure]:
    """Both measurements of the scheduler, each beside the bare loop's."""
    size = f"{count:,} requests, {slots} slots, mean {mean:g} s, 5 % refused"
    loops: dict[str, Loop] = {"scheduler": scheduled, "bare": bare}
    busy = {name: measure_busy(loop, count, slots, mean) for name, loop in loops.items()}
    ours, other = busy["scheduler"], busy["bare"]
    for what, key, target in (
        ("slots busy, end to end", "busy", ">= 0.95"),
        ("slots busy, 10 to 90 %", "busy_middle", ">= 0.99"),
    ):
        yield Figure(
            what,
            ours[key],
            "of the time",
            size,
            beside=f"bare loop {other[key]:.3f}",
            ratio=ours[key] / other[key],
            target=target,
        )
    yield Figure("requests lost", ours["lost"], "", size, target="= 0")
    yield Figure(
        "until the last answer",
        ours["seconds"],
        "s",
        size,
        beside=f"bare loop {other['seconds']:.1f} s",
        ratio=ours["seconds"] / other["seconds"],
    )
    spent = taking_turns(
        {name: partial(measure_cpu, loop, cpu_requests) for name, loop in loops.items()}, rounds=CPU_ROUNDS
    )
    yield Figure(
        "CPU time per request",
        min(spent["scheduler"]),
        "us",
        f"{cpu_requests:,} requests, 64 in flight, no latency",
        beside=f"bare loop {min(spent['bare']):.1f} us",
        ratio=median_ratio(spent["scheduler"], spent["bare"]),
    )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=128)
    parser.add_argument("--mean", type=float, default=1.0, help="mean latency in seconds")
    parser.add_argument("--cpu-requests", type=int, default=50_000)
    options = parser.parse_args()
    found = figures(options.requests, options.slots, options.mean, options.cpu_requests)
    emit("scheduler", list(found), as_json=options.json, peak_mb=own_peak_mb())


if __name__ == "__main__":
    main()
