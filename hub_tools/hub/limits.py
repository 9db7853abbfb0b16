"""What the Hub allows in a time, and when it wants to be asked again.

Answers carry `RateLimit: "api";r=0;t=55` (none left, more in 55 seconds) and `RateLimit-Policy:
"fixed window";"api";q=1000;w=300` (1,000 in 300 seconds), after draft-ietf-httpapi-ratelimit-headers-09; others carry
`Retry-After` in seconds or as a date (RFC 9110, 10.2.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from huggingface_hub.utils._http import RateLimitInfo

TOO_MANY = 429
_ROUNDING = 1
"""Seconds to add to what `RateLimit` says, as the client does: it counts whole ones."""


@dataclass(frozen=True)
class Refusal:
    """An answer of the Hub that is none.

    Attributes:
        limit: what it allows, where that is used up.
    """

    status: int
    headers: Mapping[str, str]
    limit: RateLimitInfo | None = None

    @classmethod
    def of(cls, error: BaseException | None) -> Refusal | None:
        """The answer that an error of the client tells of, itself or by its cause; None where none came."""
        from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]  # of its `__all__`

        for cause in _causes(error):
            response: Any = getattr(cause, "response", None)
            if getattr(response, "status_code", None) is not None:
                headers = dict(getattr(response, "headers", None) or {})
                # They come with every answer: only used up they are the reason.
                limit = parse_ratelimit_headers(headers)
                return cls(response.status_code, headers, limit if limit is not None and not limit.remaining else None)
        return None

    @property
    def seconds(self) -> float | None:
        """After how many seconds the Hub wants to be asked again; None where it does not say."""
        if self.limit is not None:
            return float(self.limit.reset_in_seconds + _ROUNDING)
        said = next((value for name, value in self.headers.items() if name.lower() == "retry-after"), "")
        try:
            return max(0.0, float(said))
        except ValueError:
            return _until(said)

    def told(self) -> str:
        """Such as `1,000 requests in 5 minutes are allowed`; empty where it does not say."""
        if self.limit is None or not self.limit.limit or not self.limit.window_seconds:
            return ""
        return f"{self.limit.limit:,} requests in {span(self.limit.window_seconds)} are allowed"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _until(date: str) -> float | None:
    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def retry_after(error: BaseException | None, longest: float) -> float | None:
    """Seconds after which the Hub wants to be asked again, at most `longest`; None where it does not say."""
    refusal = Refusal.of(error)
    wait = None if refusal is None else refusal.seconds
    return None if wait is None else min(wait, longest)


def span(seconds: float) -> str:
    """Such as `56 seconds` or `5 minutes`."""
    whole = round(seconds)
    if whole < 120 and whole != 60:
        return f"{whole} second{'' if whole == 1 else 's'}"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} minute{'' if minutes == 1 else 's'}{f' {rest} s' if rest else ''}"
