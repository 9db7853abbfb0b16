"""What comes of the requests of a run that came back: each is delivered once, or asked again."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hf_relabel.builders.endpoint import EndpointError, Reply, Request
from hf_relabel.hub_tools.endpoints.scheduling.breaker import RetryBudget
from hf_relabel.hub_tools.endpoints.scheduling.budget import Spending
from hf_relabel.hub_tools.endpoints.scheduling.ending import Ending
from hf_relabel.hub_tools.endpoints.scheduling.lane import Patience
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.endpoints.scheduling.pending import Entry, Pending
from hf_relabel.hub_tools.endpoints.scheduling.reasons import Reasons
from hf_relabel.hub_tools.endpoints.scheduling.servers import Server, asked
from hf_relabel.hub_tools.endpoints.scheduling.stats import OnDone, RunStats
from hf_relabel.hub_tools.hub.redaction import short

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcomes:
    """Takes what came back in one run, whose parts these are.

    Attributes:
        rng: source of the jitter.
        retries: what successes earn.
        pending: where a request goes that is asked again.
    """

    limits: Limits
    rng: random.Random
    on_done: OnDone
    stats: RunStats
    servers: Sequence[Server]
    pending: Pending
    retries: RetryBudget
    spending: Spending
    patience: Patience
    reasons: Reasons
    ending: Ending

    def succeeded(self, entry: Entry, server: Server, reply: Reply, now: float) -> None:
        """A reply, which is delivered with all that its request has cost."""
        try:
            entry.cost += self.spending.answered(entry.request, reply)
            self.stats.answered(reply)
        except Exception as error:  # such as counts that are no numbers
            self.failed(entry, server, unforeseen(server, error), now)
            return
        server.lane.succeeded()
        server.stats.succeeded += 1
        self.retries.succeeded()
        self.patience.succeeded()
        self.reasons.heard(now)
        self.stats.cost = self.spending.cost
        self._deliver(entry.request, replace(reply, cost=entry.cost) if entry.cost else reply)

    def failed(self, entry: Entry, server: Server, error: EndpointError, now: float) -> None:
        """An attempt in vain."""
        server.stats.errors += 1
        self.reasons.note(error)
        entry.cost += self.spending.failed(error, entry.estimate)
        self.stats.cost = self.spending.cost
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
        self.patience.failed(now, error)
        if entry.attempts >= self.limits.max_attempts or entry.overloads >= self.limits.max_overloads:
            self._deliver_error(entry, error)
        else:
            delay = self.rng.random() * self.limits.backoff(max(1, entry.attempts + entry.overloads))
            self.pending.retry(entry, now + (error.retry_after or 0.0) + delay)

    def _refused(self, entry: Entry, server: Server, error: EndpointError, now: float) -> None:
        """It does not pass: ask elsewhere, unless all say so. One that says so of everything is asked no more."""
        entry.refused_by += (server,)
        was_asked = server.aside is None
        server.refused(entry.turn, error, self.limits.give_up_after)
        left = asked(self.servers)
        if any(other not in entry.refused_by for other in left):
            self.pending.retry(entry, now)
        elif left or not error.blame_server:
            self._deliver_error(entry, error)
        # else it is the run that fails, not this request
        if was_asked and server.aside is not None:
            self._put_aside(server, left)

    def _put_aside(self, server: Server, left: Sequence[Server]) -> None:
        if not left:
            self.ending.give_up(server.why_aside())
            return
        _logger.warning("Asked no more: %s. Its requests go to the others. (%s)", server.aside, server.why_aside())

    def _deliver_error(self, entry: Entry, error: EndpointError) -> None:
        self.stats.failed += 1
        error.cost = entry.cost
        self._deliver(entry.request, error)

    def _deliver(self, request: Request, result: Reply | EndpointError) -> None:
        if self.ending.crashed is not None:
            return
        try:
            self.on_done(request, result)
        except BaseException as error:
            self.ending.crash(error)


def unforeseen(server: Server, error: Exception) -> EndpointError:
    """A bug on the way of one answer is the failure of that request, which says so."""
    return EndpointError(
        f"{server.endpoint.name}: its answer could not be handled: {type(error).__name__} {short(str(error))}",
        kind="garbage",
        retryable=False,
    )
