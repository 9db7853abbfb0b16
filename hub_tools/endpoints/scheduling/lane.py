"""One endpoint and what limits it, and when a run gives up on all of them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.hub_tools.endpoints.scheduling.breaker import LONGEST_COOLDOWN, Breaker
from hf_relabel.hub_tools.endpoints.scheduling.limiter import Limiter

if TYPE_CHECKING:
    from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits

PROBE_SHARE = 1 / 8
"""Of the patience with an outage: there is a probe at least as often, so that a server that is back is noticed."""
FEW = 4
"""Requests that are no crowd: a run begins with as many at once, where the server takes them."""


class Lane:
    """What limits one endpoint. Times in seconds.

    Attributes:
        in_flight: requests sent and not answered.
        sent: requests sent so far.
        hold_until: nothing is sent before, as the server is over its limit.
        users: called when there may be room: a run, or several that share the lane.
    """

    __slots__ = ("_limits", "_rng", "breaker", "hold_until", "in_flight", "limiter", "sent", "users")

    def __init__(self, limits: Limits, limit: int, rng: random.Random) -> None:
        self._limits = limits
        self._rng = rng
        self.limiter = Limiter(limit, limits.start_concurrency or max(FEW, min(64, (limit + 1) // 2)))
        longest = min(LONGEST_COOLDOWN, limits.patience * PROBE_SHARE)
        self.breaker = Breaker(limits.breaker_threshold, limits.breaker_cooldown, longest)
        self.hold_until = 0.0
        self.in_flight = 0
        self.sent = 0
        self.users: deque[Callable[[], None]] = deque()

    def free(self, now: float) -> int:
        """Requests that may be sent now."""
        if self.breaker.state != "closed":
            return 1 if self.breaker.allows(now) else 0
        return int(self.limiter.window) - self.in_flight if now >= self.hold_until else 0

    def is_well(self, now: float) -> bool:
        """Whether only a free slot may be missing."""
        return self.breaker.state == "closed" and self.hold_until <= now

    def opens_at(self, now: float) -> float | None:
        """When time alone will let more be sent, None where it will not."""
        if self.breaker.state == "open":
            return self.breaker.reopens
        return self.hold_until if self.hold_until > now else None

    def sending(self) -> tuple[int, bool]:
        """A request is sent. Returns its number, and whether it is a probe of the breaker's."""
        self.sent += 1
        self.in_flight += 1
        self.limiter.sending()
        return self.sent, self.breaker.sending()

    def freed(self) -> None:
        """There may be room: all that use the lane may send, each of them first in its turn."""
        users = self.users
        if len(users) == 1:
            users[0]()
            return
        users.rotate(1)
        for pump in tuple(users):
            pump()

    def succeeded(self) -> None:
        """A request was answered. It is no longer counted in flight by now."""
        self.answered()
        self.limiter.succeeded(self.in_flight + 1)

    def failed(self, now: float, number: int, error: EndpointError, *, probe: bool) -> None:
        """A request failed in a way that may pass, not for overload."""
        if error.kind == "timed_out":
            self.limiter.overloaded(number, self.sent)
        self.breaker.failed(now, probe=probe)

    def overloaded(self, now: float, number: int, error: EndpointError) -> None:
        """The server asked for less: that is the window's business, not the request's fault nor the server's."""
        self.answered()
        if self.limiter.overloaded(number, self.sent):
            pause = self._limits.backoff(self.limiter.storms) * (0.5 + 0.5 * self._rng.random())
            self.hold_until = max(self.hold_until, now + max(pause, error.retry_after or 0.0))

    def queue(self, depth: float | None) -> None:
        """So many requests wait at the server: while it is many, more in flight would only wait there."""
        self.limiter.deep = depth is not None and depth > max(4.0, self.in_flight / 4)

    def answered(self) -> None:
        """The server said something, whatever it was."""
        if self.breaker.answered():
            self.limiter.restart()


class Lanes:
    """Lanes of servers that several schedulers of this process ask: one for each server, by its name."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}

    def lane(self, name: str, limits: Limits, limit: int, rng: random.Random) -> Lane:
        """A server's lane. It takes no more at once than the most careful of its schedulers allows."""
        if name not in self._lanes:
            self._lanes[name] = Lane(limits, limit, rng)
        self._lanes[name].limiter.narrow(limit)
        return self._lanes[name]


class Patience:
    """Tells when a run gets nowhere. See `Limits` for what decides."""

    __slots__ = ("_any_success", "_failed_last", "_limits", "_overloaded_since", "_streak", "_streak_since")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._any_success = False
        self._streak = 0
        self._streak_since = self._failed_last = 0.0
        self._overloaded_since: float | None = None

    def succeeded(self) -> None:
        self._any_success = True
        self._streak = 0
        self._overloaded_since = None

    def failed(self, now: float, error: EndpointError) -> None:
        """An attempt failed in a way that may pass."""
        if error.overloaded:
            if self._overloaded_since is None:
                self._overloaded_since = now
            return
        if not self._streak:
            self._streak_since = now
        self._streak += 1
        self._failed_last = now

    def ends(self, now: float, *, failing: bool, unreachable: bool, idle_since: float | None) -> str | None:
        """Why to give up, None while there is hope. An outage has lasted as long as somebody was seen to fail: after
        the patience is over there is one more try.

        Args:
            failing: every endpoint failed last.
            unreachable: every endpoint is left alone for now.
            idle_since: when something was sent or came back last, where something waits and nothing is in flight.
        """
        limits = self._limits
        if self._streak and failing:
            lasted = self._failed_last - self._streak_since
            waited_out = lasted >= limits.patience
            if (self._streak >= limits.give_up_after and (waited_out or not self._any_success)) or (
                unreachable and waited_out
            ):
                return f"{self._streak} failures in a row in {lasted:.0f} s and no success"
        since = self._overloaded_since
        if since is not None and now - since >= limits.overload_patience:
            return f"nothing but refusals for overload in {now - since:.0f} s"
        if idle_since is not None and now - idle_since >= limits.overload_patience:
            return f"nothing could be sent for {now - idle_since:.0f} s"
        return None
