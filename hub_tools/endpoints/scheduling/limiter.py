"""How many requests one endpoint may have in flight: additive increase, multiplicative decrease.

The window doubles once per round trip until the server first says that it is too much, then grows by a small step per
round trip. It shrinks when a *share* of the recent requests is refused as too many: a gateway that refuses 5 % at
random is not asking for fewer requests, and shrinking on each refusal would collapse the window to nothing. The share
is one of requests sent, not of answers, since refusals come at once and answers after seconds.
"""

from __future__ import annotations

SHRINK = 0.7
OVERLOAD_SHARE = 0.25
"""Share of recent requests refused from which it is taken to be about our own concurrency."""
LEAST_OVERLOADS = 5
"""Fewer are never a sign: with 5 % random refusals, 5 among 20 requests come about once in 8,000 requests."""
MEMORY = 20
"""Least number of recent requests over which the share is taken."""
STEPS = 32
"""After the first decrease the window grows by limit / STEPS per round trip."""


class Limiter:
    """The window of one endpoint.

    Attributes:
        limit: the window never exceeds it.
        window: requests that may be in flight, as a float; at least 1.
        deep: the server reports a long queue: do not grow.
        storms: decreases since the last success.
    """

    __slots__ = ("_mark", "_overloads", "_recent", "_threshold", "deep", "limit", "storms", "window")

    def __init__(self, limit: int, start: int) -> None:
        self.limit = limit
        self.window = float(min(limit, start))
        self.deep = False
        self.storms = 0
        self._threshold = float(limit)
        self._recent = 0.0
        self._overloads = 0.0
        self._mark = 0

    def narrow(self, limit: int) -> None:
        """The window never exceeds this either."""
        self.limit = min(self.limit, limit)
        self.window = min(self.window, float(self.limit))

    def sending(self) -> None:
        """A request is sent."""
        self._recent += 1
        if self._recent >= 2 * max(MEMORY, self.window):
            self._recent /= 2
            self._overloads /= 2

    def succeeded(self, in_flight: int) -> None:
        """One request was answered. `in_flight` counts it: a window that is not used tells nothing, so it stays."""
        self.storms = 0
        window = self.window
        if window < self.limit and not self.deep and in_flight + 1 >= int(window):
            step = 1.0 if window < self._threshold else max(1.0, self.limit / STEPS) / window
            self.window = min(float(self.limit), window + step)

    def overloaded(self, number: int, sent: int) -> bool:
        """One request was refused for overload, or timed out.

        Args:
            number: this request was the endpoint's `number`-th.
            sent: requests sent to the endpoint so far.

        Returns:
            Whether the window shrank. It does so at most once per round trip: refusals of requests that were sent
            before the last decrease are the same news again.
        """
        if number <= self._mark:
            return False
        self._overloads += 1
        enough = self._overloads >= max(LEAST_OVERLOADS, OVERLOAD_SHARE * self._recent)
        if not enough and not self.storms:
            return False
        if not self.storms:  # in a storm the window says nothing about what the server can do when it is over
            self._threshold = max(1.0, self.window * SHRINK)
        self.window = max(1.0, self.window * SHRINK)
        self.storms += 1
        self._mark = sent
        self._recent = self._overloads = 0.0
        return True

    def restart(self) -> None:
        """The server is back after an outage: begin small, grow fast."""
        self.window = max(1.0, min(self.window, self.limit / 8))
        self._threshold = float(self.limit)
        self._recent = self._overloads = 0.0
        self.storms = 0
