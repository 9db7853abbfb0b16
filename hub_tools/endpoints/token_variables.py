"""Which environment variables hold the secrets of a server."""

from __future__ import annotations

from urllib.parse import urlsplit

from hf_relabel.builders.job.stages import EndpointSettings

OPENAI_VARIABLE = "OPENAI_API_KEY"
_OPENAI = "openai.com"


def token_variable(url: str) -> str | None:
    """The variable that the token for a server comes from where none is named; None where none but HF_TOKEN is read."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    host = parts.hostname or ""
    is_openai = parts.scheme == "https" and (host == _OPENAI or host.endswith(f".{_OPENAI}"))
    return OPENAI_VARIABLE if is_openai else None


def secret_names(endpoint: EndpointSettings) -> list[str]:
    """The variables whose values who runs a job on another machine has to take along, whether the job file names them
    or not."""
    named = endpoint.secret_names()
    unnamed = None if named else token_variable(endpoint.url)
    return named if unnamed is None else [unnamed]
