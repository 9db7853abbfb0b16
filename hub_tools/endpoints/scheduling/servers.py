"""The endpoints of a run: opened, watched, and the freest of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from hf_relabel.builders.endpoint import Endpoint, EndpointError
from hf_relabel.hub_tools.endpoints.scheduling.lane import Lane
from hf_relabel.hub_tools.endpoints.scheduling.rows_of_failures import RowsOfFailures
from hf_relabel.hub_tools.endpoints.scheduling.stats import EndpointStats

DEFAULT_CONCURRENCY = 64
"""Per endpoint, where neither the user nor the server says."""
INFO_SECONDS = 10.0
"""A server that does not tell its limits in this time is not waited for."""
MARGIN = 16
"""One slot in so many is left to others. A server with fewer slots has none to spare: of two it would be half."""
LONG_ROWS = 10
"""Prompts that are too long come in a row where the rows of one subset do: so many times more of them are taken."""
DEPTH_SECONDS = 2.0
"""Between two looks at a server's queue."""

MakeLane: TypeAlias = Callable[[str, int], Lane]
"""Gives the lane of an endpoint of this name that takes at most so many requests at once."""


class Server:
    """One endpoint of a run.

    Attributes:
        aside: the error for which nothing more is sent there in this run, None where it is asked.
    """

    __slots__ = ("_in_a_row", "_refusals", "aside", "endpoint", "lane", "stats")

    def __init__(self, endpoint: Endpoint, lane: Lane) -> None:
        self.endpoint = endpoint
        self.lane = lane
        self.stats = EndpointStats(endpoint.name, limit=lane.limiter.limit)
        self.aside: EndpointError | None = None
        self._refusals = RowsOfFailures()
        self._in_a_row = 0

    def refused(self, number: int, error: EndpointError, most: int) -> None:
        """Its `number`-th request failed in a way that asking again does not mend. So many in a row put it aside."""
        self.lane.answered()
        in_a_row = self._refusals.add(number, error.kind)
        if error.kind == "too_long":
            most *= LONG_ROWS
        if self.aside is None and (error.kind == "quota" or in_a_row >= most):
            self.aside, self._in_a_row = error, in_a_row
            self.stats.aside = str(error)

    def why_aside(self) -> str:
        """In a few words, for a message that has the error beside it."""
        if self.aside is not None and self.aside.kind == "quota":
            return "what was paid for is used up"
        return f"{self._in_a_row} failures in a row that asking again does not mend"

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
    return max(1, most - most // MARGIN) if most else DEFAULT_CONCURRENCY


def asked(servers: Sequence[Server]) -> list[Server]:
    """Those that are not put aside."""
    return [server for server in servers if server.aside is None]


def freest(servers: Sequence[Server], now: float, avoid: Collection[Server] = ()) -> Server | None:
    """The endpoint with the most free slots, None when there is none."""
    best, most = None, 0
    for server in servers:
        if server.aside is None and server not in avoid and (free := server.lane.free(now)) > most:
            best, most = server, free
    return best
