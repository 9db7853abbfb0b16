"""What keeps a failing server from being hammered, and a run from being endless or too dear.

`Breaker` stops sending to an endpoint that only fails, `RetryBudget` bounds retries over all endpoints, and `Spending`
keeps the costs of a run under its cap.
"""

from __future__ import annotations

from typing import Literal

from hf_relabel.builders.endpoint import Reply, Request

LONGEST_COOLDOWN = 60.0
"""Seconds. The cool-down doubles with every failed probe up to here."""
TRICKLE = 5.0
"""Retries per second that are always allowed."""
BURST = 20.0
"""Retries that may be saved up, and that a run begins with."""
TOKENS_PER_CHARACTER = 0.4
"""Guess on the safe side until the first reply tells; English has about 0.25."""

FEW = 16
"""Answers after which the longest of them tells how long answers get."""


class Breaker:
    """Circuit breaker of one endpoint. Times in seconds.

    closed: requests pass. open: none does until the cool-down is over. half-open: one probe is under way; its success
    closes the breaker, its failure opens it for twice as long. A late success of a request sent earlier closes it too.

    Attributes:
        failures: consecutive failures that say something about the server.
        opened: how often it opened from closed.
    """

    __slots__ = ("_cooldown", "_first_cooldown", "_threshold", "failures", "opened", "reopens", "state")

    def __init__(self, threshold: int, cooldown: float) -> None:
        self.state: Literal["closed", "open", "half-open"] = "closed"
        self.failures = 0
        self.opened = 0
        self.reopens = 0.0
        self._threshold = threshold
        self._first_cooldown = self._cooldown = cooldown

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
            self._cooldown = max(self._first_cooldown, min(LONGEST_COOLDOWN, self._cooldown * 2))
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


class Spending:
    """What was spent, and what the requests in flight may still cost. In the currency of the prices (per token here).

    Requests in flight are taken at their length times the tokens per character seen so far, plus the longest answer
    seen so far (before the first few answers: the longest allowed).

    Args:
        spent: what is spent already.
    """

    def __init__(self, cap: float | None, price_prompt: float, price_completion: float, spent: float = 0.0) -> None:
        self._cap = cap
        self._price_prompt = price_prompt / 1e6
        self._price_completion = price_completion / 1e6
        self._characters = 0
        self._tokens = 0
        self._answers = 0
        self._longest = 0
        self.spent = spent
        self.reserved = 0.0

    def estimate(self, request: Request) -> float:
        """What a request will cost, on the high side. 0 where nothing is capped."""
        if self._cap is None:
            return 0.0
        rate = self._tokens / self._characters if self._characters else TOKENS_PER_CHARACTER
        completion = request.max_tokens if self._answers < FEW else min(self._longest, request.max_tokens)
        return _characters(request) * rate * self._price_prompt + completion * self._price_completion

    def allows(self, estimate: float) -> bool:
        """Whether one more request of this cost keeps the run within its cap."""
        return self._cap is None or self.spent + self.reserved + estimate <= self._cap * (1 + 1e-9)

    def answered(self, request: Request, reply: Reply, estimate: float) -> None:
        """Count a reply; one that does not tell its tokens is counted at its estimate."""
        prompt, completion = reply.prompt_tokens, reply.completion_tokens
        if prompt is None and completion is None:
            self.spent += estimate
            return
        self.spent += (prompt or 0) * self._price_prompt + (completion or 0) * self._price_completion
        if self._cap is not None:
            self._answers += 1
            self._longest = max(self._longest, completion or 0)
            if prompt:
                self._tokens += prompt
                self._characters += max(1, _characters(request))


def _characters(request: Request) -> int:
    return sum(len(message.content) for message in request.messages)
