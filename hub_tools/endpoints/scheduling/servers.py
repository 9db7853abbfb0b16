"""The endpoints of a run: opened, watched, and the freest of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias

from hf_relabel.builders.endpoint import Endpoint, EndpointError
from hf_relabel.hub_tools.endpoints.scheduling.lane import Lane
from hf_relabel.hub_tools.endpoints.scheduling.stats import EndpointStats

DEFAULT_CONCURRENCY = 64
"""Per endpoint, where neither the user nor the server says."""
INFO_SECONDS = 10.0
"""A server that does not tell its limits in this time is not waited for."""
DEPTH_SECONDS = 2.0
"""Between two looks at a server's queue."""

MakeLane: TypeAlias = Callable[[str, int], Lane]
"""Gives the lane of an endpoint of this name that takes at most so many requests at once."""


class Server:
    """One endpoint of a run."""

    __slots__ = ("endpoint", "lane", "stats")

    def __init__(self, endpoint: Endpoint, lane: Lane) -> None:
        self.endpoint = endpoint
        self.lane = lane
        self.stats = EndpointStats(endpoint.name, limit=lane.limiter.limit)

    async def watch_queue(self) -> None:
        """Look at the server's queue now and then, for as long as it says something."""
        while True:
            try:
                depth = await self.endpoint.queue_depth()
            except Exception:  # it is only advice: whatever is wrong shows in the requests
                depth = None
            if depth is None and self.stats.queue_depth is None and self.stats.succeeded:
                return  # the server does not say
            self.stats.queue_depth = depth
            self.lane.queue(depth)
            await asyncio.sleep(DEPTH_SECONDS)

    def note(self) -> None:
        """Bring the statistics up to date."""
        lane, seen = self.lane, self.stats
        seen.in_flight = lane.in_flight
        seen.concurrency = int(lane.limiter.window)
        seen.breaker = lane.breaker.state
        seen.breaker_opened = lane.breaker.opened


async def opened(endpoints: Sequence[Endpoint], wanted: int | None, lane: MakeLane) -> list[Server]:
    """Ask the servers what they take.

    Args:
        wanted: the most requests at once that the user wants at each, None where they do not say.
        lane: what makes the lanes.
    """
    limits = await asyncio.gather(*(_limit(endpoint, wanted) for endpoint in endpoints))
    return [Server(endpoint, lane(endpoint.name, limit)) for endpoint, limit in zip(endpoints, limits, strict=True)]


async def _limit(endpoint: Endpoint, wanted: int | None) -> int:
    try:
        info = await asyncio.wait_for(endpoint.info(), INFO_SECONDS)
        most = info.max_concurrent_requests
    except (EndpointError, TimeoutError):
        most = None  # the breaker deals with it, if the server is really gone
    if wanted is not None:
        return max(1, min(wanted, most or wanted))
    return max(1, most - max(1, most // 16)) if most else DEFAULT_CONCURRENCY


def freest(servers: Sequence[Server], now: float, avoid: Server | None = None) -> Server | None:
    """The endpoint with the most free slots, None when there is none."""
    best, most = None, 0
    for server in servers:
        if server is not avoid and (free := server.lane.free(now)) > most:
            best, most = server, free
    return best
