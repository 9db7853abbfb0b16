"""What judge servers mean by their errors: the kind of each, from its status, its codes and its words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from hf_relabel.builders.endpoint import EndpointError, ErrorKind
from hf_relabel.hub_tools.endpoints.reading_chat import NoReply

_KINDS: dict[int, ErrorKind] = {
    400: "refused",
    401: "unauthorized",
    402: "quota",
    403: "unauthorized",
    408: "timed_out",
    409: "broken",
    413: "too_long",
    422: "refused",
    424: "broken",  # TGI: generation failed
    425: "broken",
    429: "overloaded",
    503: "overloaded",
    504: "timed_out",
    529: "overloaded",  # Anthropic
}
"""Other 5xx are broken servers; what is left (404, 405, redirects, …) is about how it is addressed."""

_CODES: dict[str, ErrorKind] = {
    "insufficient_quota": "quota",  # OpenAI, with 429
    "billing_hard_limit_reached": "quota",  # OpenAI, with 400
    "budget_exceeded": "quota",  # LiteLLM, with 400 or 429
    "invalid_api_key": "unauthorized",
    "no_db_connection": "unauthorized",  # LiteLLM without a database, for any key but its own, with 400
    "context_length_exceeded": "too_long",  # OpenAI
    "exceed_context_size_error": "too_long",  # llama.cpp
}
"""What servers write into `code`, `type` or `error_type`: they say more than the status."""

_TOO_LONG = (
    "maximum context length",  # OpenAI, vLLM, SGLang
    "model's context length",  # SGLang, Together
    "available context size",  # llama.cpp
    "context window",
    "prompt is too long",
    "`inputs` must have less than",  # TGI
    "`inputs` tokens + `max_new_tokens` must be",  # TGI
)
_NO_KEY = ("api key not valid",)  # Gemini, with 400
_NO_CREDIT = ("credit balance is too low",)  # Anthropic, with 400


def error_of_status(
    name: str,
    status: int,
    said: str,
    codes: Sequence[str] = (),
    *,
    retry_after: str | None = None,
    token_sent: bool = False,
) -> EndpointError:
    """The EndpointError for an HTTP status.

    Args:
        said, codes: as `words_of` gives them; what was said shortened and without secrets.
        retry_after: the header, in seconds or as a date.
        token_sent: whether the server was told who asks.
    """
    kind = kind_of(status, said, codes)
    message = f"{name}: HTTP {status}" + (f": {said}" if said else "")
    if status in (401, 403, 404) or kind == "unauthorized":
        message += " (a token was sent)" if token_sent else " (no token was sent)"
    if kind == "unauthorized" and not token_sent:
        message += ". Name the environment variable that holds one: --token-env, or token_env in a job file"
    return EndpointError(message, kind=kind, status=status, retry_after=parse_retry_after(retry_after))


def error_inside(name: str, problem: NoReply, said: str, *, token_sent: bool) -> EndpointError:
    """The EndpointError for an error inside an answer of success. See `error_of_status`."""
    if problem.status is not None:
        return error_of_status(name, problem.status, said, problem.codes, token_sent=token_sent)
    kind: ErrorKind = next((_CODES[code] for code in problem.codes if code in _CODES), "garbage")
    return EndpointError(f"{name}: {said}", kind=kind)


def kind_of(status: int, said: str = "", codes: Sequence[str] = ()) -> ErrorKind:
    """What kind of error an answer with this status is. See `error_of_status`."""
    for code in codes:
        if code in _CODES:
            return _CODES[code]
    kind = _KINDS.get(status, "broken" if status >= 500 else "misaddressed")
    if kind != "refused":
        return kind
    words = said.lower()
    told: tuple[tuple[ErrorKind, tuple[str, ...]], ...] = (
        ("too_long", _TOO_LONG),
        ("unauthorized", _NO_KEY),
        ("quota", _NO_CREDIT),
    )
    return next((kind for kind, signs in told if any(sign in words for sign in signs)), kind)


def words_of(content: bytes) -> tuple[str, tuple[str, ...]]:
    """The server's own words, and its codes for what is wrong.

    The words are `error` (TGI), `error.message` (OpenAI), `message`, `detail` (FastAPI), or else the body.
    """
    try:
        payload = orjson.loads(content)
    except orjson.JSONDecodeError:
        return text_of(content), ()
    return _said(payload) or text_of(content), _codes(payload)


def text_of(content: bytes) -> str:
    """The beginning of a body, as text."""
    return content[:4000].decode("utf-8", "replace")


def _said(payload: Any) -> str:
    for key in ("error", "message", "detail"):
        said = payload.get(key) if isinstance(payload, dict) else None
        if isinstance(said, dict):
            said = said.get("message")
        if isinstance(said, str) and said:
            return said
    return ""


def _codes(payload: Any) -> tuple[str, ...]:
    if not isinstance(payload, dict):
        return ()
    inner = payload.get("error")
    places = (payload, inner if isinstance(inner, dict) else {})
    found = (place.get(key) for place in places for key in ("code", "type", "error_type"))
    return tuple(code for code in found if isinstance(code, str))


def parse_retry_after(value: str | None) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110: seconds or a date), None for none or nonsense."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    return seconds if 0 <= seconds < float("inf") else None
