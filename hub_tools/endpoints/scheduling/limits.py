"""How hard a run works its servers, and when it stops."""

from __future__ import annotations

from dataclasses import dataclass

from hf_relabel.builders.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard to work, and when to stop. Times in seconds, prices per million tokens.

    Example:
            >>> from hf_relabel import Limits
            >>> Limits(concurrency=32, max_cost=20.0, price_prompt=0.15, price_completion=0.6).max_cost
            20.0

    Attributes:
        concurrency: most requests in flight per endpoint, never above what its server says it takes. None: what the
            server says less a margin of one in 16 (none below 16), or 64 where it does not say.
        start_concurrency: requests in flight at the start. None: half of the most, 64 at most.
        max_attempts: attempts per request, not counting those refused for overload.
        max_overloads: a request refused this often for overload is given up.
        retry_budget: retries earned by each success; when they are used up, 5 per second are still made. Retries after
            overload are not counted: the concurrency deals with those.
        base_delay: back-off before the first retry is random between 0 and this, and doubles each time.
        max_delay: longest back-off. A server's Retry-After is waited for whatever its length.
        deadline: for the whole run, all its judges and stages. Judges without one have the longest of the others, as
            with `max_cost`.
        max_cost: what the whole run may have cost, all its judges and stages, in the currency of the prices. Tokens
            that a server does not tell are counted at an estimate, as are attempts that were in vain and are billed.
        price_prompt: per million prompt tokens.
        price_completion: per million generated tokens.
        give_up_after: consecutive failures, over all endpoints and without a success, after which a run is given up: at
            once when nothing ever succeeded, else after `patience`. An endpoint that refuses so many requests in a row
            in one way that asking again would not mend (a wrong token, a parameter that it does not know) is put aside,
            its requests are asked elsewhere, and with the last endpoint the run ends. Of prompts that are too long it
            takes ten times as many.
        patience: how long an outage of all endpoints is waited out, once something has succeeded; a model server needs
            one to three minutes to start.
        overload_patience: how long nothing but refusals for overload is waited out.
        breaker_threshold: consecutive failures after which an endpoint is left alone.
        breaker_cooldown: for how long; doubles with every failed probe, up to 60 and to an eighth of `patience`.
        grace: how long requests in flight may take to finish when a run is stopped.
    """

    concurrency: int | None = None
    start_concurrency: int | None = None
    max_attempts: int = 8
    max_overloads: int = 64
    retry_budget: float = 0.5
    base_delay: float = 0.5
    max_delay: float = 30.0
    deadline: float | None = None
    max_cost: float | None = None
    price_prompt: float = 0.0
    price_completion: float = 0.0
    give_up_after: int = 20
    patience: float = 300.0
    overload_patience: float = 600.0
    breaker_threshold: int = 5
    breaker_cooldown: float = 5.0
    grace: float = 10.0

    def __post_init__(self) -> None:
        for name in ("concurrency", "start_concurrency", "max_attempts", "max_overloads", "give_up_after"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"limits: {name} is {value}; it must be at least 1.")
        if self.max_cost is not None and not self.is_priced:
            raise ConfigError(
                "limits: max_cost needs price_prompt or price_completion, else nothing ever costs anything."
            )

    @property
    def is_priced(self) -> bool:
        """Whether requests cost anything."""
        return bool(self.price_prompt or self.price_completion)

    def backoff(self, times: int) -> float:
        """Longest wait before a retry, after failing this many times (1 or more)."""
        return min(self.max_delay, self.base_delay * 2.0 ** min(times - 1, 30))
