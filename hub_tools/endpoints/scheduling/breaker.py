"""What keeps a failing server from being hammered: `Breaker` stops sending to an endpoint that only fails, and
`RetryBudget` bounds retries over all endpoints.
"""

from __future__ import annotations

from typing import Literal

LONGEST_COOLDOWN = 60.0
"""Seconds. The cool-down doubles with every failed probe up to here, or to a part of the patience with an outage."""
TRICKLE = 5.0
"""Retries per second that are always allowed."""
BURST = 20.0
"""Retries that may be saved up, and that a run begins with."""


class Breaker:
    """Circuit breaker of one endpoint. Times in seconds.

    closed: requests pass. open: none does until the cool-down is over. half-open: one probe is under way; its success
    closes the breaker, its failure opens it for twice as long. A late success of a request sent earlier closes it too.

    Args:
        threshold: consecutive failures that open it.
        cooldown, longest: how long it stays open at first, and at most.

    Attributes:
        failures: consecutive failures that say something about the server.
        opened: how often it opened from closed.
    """

    __slots__ = ("_cooldown", "_first_cooldown", "_longest", "_threshold", "failures", "opened", "reopens", "state")

    def __init__(self, threshold: int, cooldown: float, longest: float = LONGEST_COOLDOWN) -> None:
        self.state: Literal["closed", "open", "half-open"] = "closed"
        self.failures = 0
        self.opened = 0
        self.reopens = 0.0
        self._threshold = threshold
        self._first_cooldown = self._cooldown = cooldown
        self._longest = max(cooldown, longest)

    def allows(self, now: float) -> bool:
        """Whether a request may be sent now (the probe, when it is not closed)."""
        return self.state == "closed" or (self.state == "open" and now >= self.reopens)

    def sending(self) -> bool:
        """A request is sent. Returns whether it is the probe."""
        if self.state == "open":
            self.state = "half-open"
            return True
        return False

    def answered(self) -> bool:
        """The server answered, whatever it said. Returns whether this ended an outage."""
        outage = self.state != "closed"
        self.state = "closed"
        self.failures = 0
        self._cooldown = self._first_cooldown
        return outage

    def failed(self, now: float, *, probe: bool) -> None:
        """A request failed in a way that says something about the server."""
        self.failures += 1
        if self.state == "closed" and self.failures >= self._threshold:
            self.opened += 1
            self._open(now)
        elif self.state == "half-open" and probe:
            self._cooldown = min(self._longest, self._cooldown * 2)
            self._open(now)

    def _open(self, now: float) -> None:
        self.state = "open"
        self.reopens = now + self._cooldown


class RetryBudget:
    """Bounds retries: each success earns some, each retry costs one, and a trickle per second is always allowed."""

    __slots__ = ("_earn", "_last", "_tokens")

    def __init__(self, earn: float, now: float) -> None:
        self._earn = earn
        self._tokens = BURST
        self._last = now

    def succeeded(self) -> None:
        self._tokens = min(BURST, self._tokens + self._earn)

    def take(self, now: float) -> float:
        """Spend one retry. Returns 0, or the seconds to wait before asking again, when there is none to spend."""
        self._tokens = min(BURST, self._tokens + (now - self._last) * TRICKLE)
        self._last = now
        if self._tokens >= 1 - 1e-9:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / TRICKLE
