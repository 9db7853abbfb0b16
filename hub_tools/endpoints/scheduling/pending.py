"""What a run has still to send: what was held back, retries by due time, then what its feed gives."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from hf_relabel.builders.endpoint import Request
from hf_relabel.hub_tools.endpoints.scheduling.breaker import RetryBudget
from hf_relabel.hub_tools.endpoints.scheduling.feeds import Feed
from hf_relabel.hub_tools.endpoints.scheduling.servers import Server, freest


class Entry:
    """A request and its history."""

    __slots__ = (
        "attempts",
        "cost",
        "estimate",
        "in_flight_since",
        "number",
        "overloads",
        "probe",
        "refused_by",
        "request",
        "server",
        "turn",
    )

    def __init__(self, request: Request) -> None:
        self.request = request
        self.attempts = 0
        self.overloads = 0
        self.server: Server | None = None
        """Where it was sent last."""
        self.refused_by: tuple[Server, ...] = ()
        """Those that will never answer it."""
        self.number = self.turn = 0
        """Which request of its lane it is, and which of this run's at its server."""
        self.probe = False
        self.estimate = self.cost = 0.0
        self.in_flight_since = 0.0


class Pending:
    """Requests that are not in flight.

    Args:
        budget: of retries.
        servers: of the run, which are known when it sends its first request.
    """

    def __init__(self, budget: RetryBudget, servers: Sequence[Server]) -> None:
        self._budget, self._servers = budget, servers
        self._feed: Feed | None = None
        self._retries: list[tuple[float, int, Entry]] = []
        self._pushed = 0
        self._most_retries = 0
        self._held: Entry | None = None

    def attach(self, feed: Feed, slots: int) -> None:
        """Take new requests from a feed, for as long as not too many wait for their next attempt."""
        self._feed = feed
        # Enough for 5 % of refusals with a Retry-After of half a minute, at two answers per slot and second.
        self._most_retries = max(64, 4 * slots)

    @property
    def retries(self) -> int:
        """How many wait for their next attempt."""
        return len(self._retries)

    @property
    def waits(self) -> bool:
        """Whether something was pulled and is not in flight."""
        return bool(self._retries) or self._held is not None

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left and nothing will come, but for what is in flight."""
        return self._feed is not None and self._feed.exhausted and not self.waits

    @property
    def next_due(self) -> float | None:
        """When the first retry is due."""
        return self._retries[0][0] if self._retries else None

    def hold(self, entry: Entry) -> None:
        """It cannot be sent now, and comes first when something can."""
        self._held = entry

    def retry(self, entry: Entry, due: float) -> None:
        """It is sent again, not before that time."""
        self._pushed += 1  # ties are broken by age
        heappush(self._retries, (due, self._pushed, entry))

    def next(self, now: float, server: Server) -> Entry | None:
        """What to send next, where this server has the most room; None when there is nothing yet."""
        if self._held is not None:
            entry, self._held = self._held, None
            return entry
        waiting = self._retries
        if not waiting:
            return self._pull()
        if waiting[0][0] <= now and self._better_elsewhere(waiting[0][2], server, now):
            fresh = self._pull()
            if fresh is not None:
                return fresh
        while waiting and waiting[0][0] <= now:
            _, _, entry = heappop(waiting)
            wait = self._budget.take(now) if entry.attempts and not entry.overloads else 0.0
            if not wait:
                return entry
            self.retry(entry, now + max(wait, 0.01))
        return self._pull()

    def _better_elsewhere(self, entry: Entry, server: Server, now: float) -> bool:
        """Whether a retry failed at this very endpoint, while another one is well but has no slot free right now."""
        if entry.server is not server or len(self._servers) == 1 or freest(self._servers, now, (server,)) is not None:
            return False
        return any(other is not server and other.aside is None and other.lane.is_well(now) for other in self._servers)

    def _pull(self) -> Entry | None:
        if self._feed is None or len(self._retries) >= self._most_retries:
            return None
        request = self._feed.pull()
        return None if request is None else Entry(request)
