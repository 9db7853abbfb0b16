"""How many requests somebody may make, as the Hub counts and tells it: in windows that begin anew."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class RateLimit:
    """So many requests in so many seconds, counted for each user by themselves.

    Example:
            LocalHub("hub", limit=RateLimit(1000, 300))  # what a free account may
    """

    requests: int
    seconds: int = 300
    clock: Callable[[], float] = time.monotonic
    _since: dict[str | None, tuple[float, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, user: str | None) -> tuple[bool, dict[str, str]]:
        """Count a request: whether it may be answered, and the headers that tell what is left
        (draft-ietf-httpapi-ratelimit-headers-09)."""
        with self._lock:
            now = self.clock()
            start, made = self._since.get(user, (now, 0))
            if now >= start + self.seconds:
                start, made = now, 0
            self._since[user] = start, made + 1
        left, again = max(0, self.requests - made - 1), math.ceil(start + self.seconds - now)
        policy = f'"fixed window";"api";q={self.requests};w={self.seconds}'
        return made < self.requests, {"RateLimit": f'"api";r={left};t={again}', "RateLimit-Policy": policy}
