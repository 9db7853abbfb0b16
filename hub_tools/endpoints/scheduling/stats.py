"""What a run of the scheduler did, as it tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from hf_relabel.builders.endpoint import EndpointError, Reply, Request
from hf_relabel.builders.errors import JudgingStopped
from hf_relabel.builders.messages.counted import counted


@dataclass(slots=True)
class EndpointStats:
    """What one endpoint did in a run. `concurrency` is its window now, `limit` the most it may be, `aside` why nothing
    more is sent there ("" where it is)."""

    name: str
    sent: int = 0
    succeeded: int = 0
    errors: int = 0
    overloaded: int = 0
    in_flight: int = 0
    concurrency: int = 0
    limit: int = 0
    breaker: str = "closed"
    breaker_opened: int = 0
    aside: str = ""
    queue_depth: float | None = None


@dataclass(slots=True)
class RunStats:
    """What a run did. The object given to `on_progress` is the same each time and goes on changing.

    Attributes:
        sent: attempts, retries included.
        succeeded: requests answered.
        failed: requests delivered as errors.
        retried: attempts beyond a request's first.
        overloaded: attempts refused for overload.
        cost: of this scheduler's requests, in the currency of the prices.
        seconds: since the start.
        waiting: requests that wait for their next attempt.
        busy_seconds: sum over requests of the time in flight.
        busy_fraction: share of the slots' time (all endpoints' limits) that a request was in flight.
        stopped: why the run ended early, "" where it did not.
    """

    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    overloaded: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    in_flight: int = 0
    in_flight_peak: int = 0
    waiting: int = 0
    busy_seconds: float = 0.0
    busy_fraction: float = 0.0
    stopped: str = ""
    endpoints: list[EndpointStats] = field(default_factory=list)

    def answered(self, reply: Reply) -> None:
        """Count a reply."""
        self.succeeded += 1
        self.prompt_tokens += reply.prompt_tokens or 0
        self.completion_tokens += reply.completion_tokens or 0

    def as_error(self) -> JudgingStopped:
        """That the run ended early. The error's `stats` are these."""
        error = JudgingStopped(
            f"Judging stopped: {str(self.stopped).rstrip('.')} ({counted(self.succeeded, 'request')} answered,"
            f" {self.failed:,} failed, {self.seconds:,.0f} s)."
        )
        error.stats = self  # type: ignore[attr-defined]
        return error


OnDone: TypeAlias = Callable[[Request, Reply | EndpointError], None]
OnProgress: TypeAlias = Callable[[RunStats], None]
