"""Keeps secrets out of messages, logs, journals and cards."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

REDACTED = "[redacted]"

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{4,}"), rf"\1 {REDACTED}"),
    (re.compile(r"\bhf_[A-Za-z0-9]{10,}"), REDACTED),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"), REDACTED),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]+@"), r"\1"),
    (re.compile(r"(?i)([?&](?:[a-z_-]*token|[a-z_-]*key|sig|signature|secret|password)=)[^&\s\"']+"), rf"\1{REDACTED}"),
)


def redact(text: str, *secrets: str | None) -> str:
    """`text` without tokens (`hf_…`, `sk-…`, `Bearer …`), user names and passwords in URLs, and the given secrets.

    Args:
        secrets: values known to be secret whatever they look like. None is passed over, and so are values of less
            than 4 characters, which would take harmless text with them.
    """
    for secret in secrets:
        if secret and len(secret) >= 4:
            text = text.replace(secret, REDACTED)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def short(text: str, *secrets: str | None, limit: int = 200) -> str:
    """At most `limit` characters of a text that somebody else wrote, on one line, without HTML tags or secrets."""
    # Cut twice: first so that a long page costs nothing, last because only then the length is known.
    text = text[: 20 * limit]
    if "<html" in text.lower() or "<!doctype" in text.lower():
        text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>", " ", text)
    text = redact(" ".join(text.split()), *secrets)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def safe_url(url: str) -> str:
    """A URL as it may be shown: no user name, password, query or fragment, and no slash at the end."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", "")).rstrip("/")
