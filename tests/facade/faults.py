"""How a judge server can fail, on a schedule or at random but always the same way for the same seed."""

from __future__ import annotations

import hashlib
import math
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, get_args

Kind = Literal[
    "overload",  # 429, with or without Retry-After
    "error500",  # a crash, in plain text
    "error502",  # a proxy's HTML page
    "error503",  # a load balancer with nothing behind it
    "generation",  # 424, TGI's word for a model that broke down
    "incomplete_generation",  # 500, TGI's word for a stream that ended early
    "reset",  # a TCP reset instead of an answer
    "stall",  # no answer at all
    "half_body",  # Content-Length promises more than is sent
    "garbage",  # 200 with a body that is no JSON
    "wrong_content_type",  # 200 with an HTML page
]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Faults:
    """Decides for each attempt whether it fails, and how. Safe to read from any thread.

    First the schedule is used up, in the order in which attempts arrive. After it, each attempt draws from `rates` by a
    hash of the seed, the request's body and how often that body was seen: the order in which concurrent requests arrive
    does not matter.

    Attributes:
        drawn: how often each kind was injected.
    """

    def __init__(
        self,
        rates: Mapping[Kind, float] | None = None,
        *,
        seed: int = 0,
        schedule: Iterable[Kind | None] = (),
        per_request: int = 3,
        retry_after: float | None = None,
        stall_seconds: float = 600.0,
    ) -> None:
        """
        Args:
            rates: probability of each kind for an attempt; together at most 1.
            schedule: what the first attempts get; None lets one through.
            per_request: most failures drawn from `rates` for one and the same body, so that every run can finish.
            retry_after: value of the Retry-After header of 429 and 503 answers, in seconds; None sends none.
            stall_seconds: a stalled attempt is dropped after this long.
        """
        self.rates = dict(rates or {})
        unknown = [kind for kind in self.rates if kind not in KINDS]
        if unknown or sum(self.rates.values()) > 1 + 1e-9:
            raise ValueError(f"Fault rates {self.rates} must be of {KINDS} and add up to at most 1.")
        self.seed = seed
        self.per_request = per_request
        self.retry_after = retry_after
        self.stall_seconds = stall_seconds
        self.drawn: dict[Kind, int] = {}
        self._schedule = iter(schedule)
        self._seen: dict[bytes, tuple[int, int]] = {}
        self._lock = threading.Lock()

    @classmethod
    def storm(cls, first_n: int, kind: Kind, *, retry_after: float | None = None) -> Faults:
        """The first `first_n` attempts fail in one way, the rest pass."""
        return cls(schedule=[kind] * first_n, retry_after=retry_after)

    @classmethod
    def random(cls, rates: Mapping[Kind, float], seed: int = 0, *, per_request: int = 3) -> Faults:
        """Each attempt fails with the given probabilities, at most `per_request` times for the same request."""
        return cls(rates, seed=seed, per_request=per_request)

    def draw(self, body: bytes) -> Kind | None:
        """What happens to this attempt; None: nothing."""
        with self._lock:
            try:
                kind = next(self._schedule)
            except StopIteration:
                kind = self._draw_rate(body) if self.rates else None
            if kind is not None:
                self.drawn[kind] = self.drawn.get(kind, 0) + 1
            return kind

    def _draw_rate(self, body: bytes) -> Kind | None:
        key = hashlib.blake2b(body, digest_size=16).digest()
        attempt, failures = self._seen.get(key, (0, 0))
        kind = self._pick(_uniform(self.seed, key, attempt)) if failures < self.per_request else None
        self._seen[key] = (attempt + 1, failures + (kind is not None))
        return kind

    def _pick(self, uniform: float) -> Kind | None:
        for kind, rate in self.rates.items():
            uniform -= rate
            if uniform < 0:
                return kind
        return None


def log_normal_latency(mean: float = 1.0, sigma: float = 0.5, seed: int = 0) -> Callable[[bytes], float]:
    """Latencies in seconds with this mean, drawn from a log-normal distribution by a hash of the request."""
    mu = math.log(mean) - sigma**2 / 2

    def latency(body: bytes) -> float:
        key = hashlib.blake2b(body, digest_size=16, salt=seed.to_bytes(8, "big")).digest()
        return random.Random(key).lognormvariate(mu, sigma)

    return latency


def _uniform(seed: int, key: bytes, attempt: int) -> float:
    digest = hashlib.blake2b(key + f"{seed}:{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
