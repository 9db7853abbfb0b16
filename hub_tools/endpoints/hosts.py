"""Whose server answers at an address, and which token is sent there by itself."""

from __future__ import annotations

import os

from yarl import URL

from hf_relabel.hub_tools.endpoints.own_servers import is_own
from hf_relabel.hub_tools.endpoints.token_variables import token_variable

_HF_HOSTS = frozenset({"huggingface.co", "hf.co", "router.huggingface.co"})
"""Below hf.space, endpoints.huggingface.cloud and hf.jobs anybody's containers answer."""
_RUN_BY_ANYBODY = ("endpoints.huggingface.cloud", "hf.jobs")
"""Of which the Hub tells whose they are."""


def default_token(url: URL) -> str:
    """The user's token for hosts of Hugging Face and OpenAI, "" for all others. See Transport."""
    if is_hugging_face(url):
        from huggingface_hub import get_token

        return get_token() or ""
    variable = token_variable(str(url))
    if variable is not None:
        return os.environ.get(variable, "")
    if url.scheme == "https" and is_host(url.host, _RUN_BY_ANYBODY):
        from huggingface_hub import get_token

        token = get_token()
        return token if token and is_own(url.host or "", token) else ""
    return ""


def is_hugging_face(url: URL) -> bool:
    """Whether a server is Hugging Face's, and nobody can read along."""
    return url.scheme == "https" and url.host in _HF_HOSTS


def is_host(host: str | None, domains: tuple[str, ...]) -> bool:
    """Whether `host` is one of the domains or below one."""
    return any(host == domain or (host or "").endswith(f".{domain}") for domain in domains)
