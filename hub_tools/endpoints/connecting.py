"""What a connection needs and how it fails: addresses of servers, JSON for the wire, and errors in plain words."""

from __future__ import annotations

import errno
from typing import Any

import aiohttp
import orjson
from yarl import URL

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.hub.redaction import short

_START_IT = (
    "Start the judge server (such as `vllm serve MODEL --port 8080` or `llama-server -m MODEL.gguf --port 8080`), or"
    " check the URL."
)


def encode(payload: Any) -> bytes:
    """JSON bytes. Lone surrogates, which JSON in UTF-8 cannot hold, become `?`."""
    try:
        return orjson.dumps(payload)
    except TypeError:
        return orjson.dumps(_without_surrogates(payload))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_surrogates(item) for item in value]
    return value


def parsed_url(url: str, name: str) -> URL:
    try:
        parsed = URL(url)
    except ValueError:
        raise ConfigError(f"{name!r} is not a URL. Give one such as http://127.0.0.1:8080.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"{name!r} is not an http or https URL. Give one such as http://127.0.0.1:8080.")
    path = parsed.path.rstrip("/")
    return parsed.with_path(path, encoded=False).with_query(parsed.query) if path else parsed.with_fragment(None)


def why_no_connection(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "no secure connection: it does not speak TLS. Check whether its URL begins with http:// or https://."
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no connection: there is no host of that name. Check the URL."
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == errno.ECONNREFUSED:
        return f"no connection: nothing listens there. {_START_IT}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {short(str(error.os_error))}. {_START_IT}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "closed the connection without an answer"
    return short(f"connection failed: {type(error).__name__} {error}")
