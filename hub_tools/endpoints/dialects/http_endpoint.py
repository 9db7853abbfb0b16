"""What the dialects share that speak HTTP themselves: one server at a URL, and what every request to it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from hf_relabel.hub_tools.endpoints.ignoring import Watch
from hf_relabel.hub_tools.endpoints.metrics import QueueGauge
from hf_relabel.hub_tools.endpoints.sending import Sending
from hf_relabel.hub_tools.endpoints.transport import Transport


class HttpOptions(TypedDict, total=False):
    """How a server is reached, and what every request to it holds besides. See `HttpEndpoint`."""

    token: str | None
    timeout: float
    connections: int
    proxy: bool
    extra_body: Mapping[str, Any] | None
    extra_headers: Mapping[str, str] | None


class HttpEndpoint:
    """A server at a URL.

    Args:
        root: what paths are joined to.
        token, timeout, connections, proxy: see Transport.
        extra_body: what every request holds besides, such as `{"chat_template_kwargs": {"enable_thinking": False}}`.
        extra_headers: see `headers` of Transport. The names alone are kept in the attribute.
        own_headers: what the dialect sends, where `extra_headers` has nothing by the name.
    """

    def __init__(
        self,
        root: str,
        *,
        token: str | None = None,
        timeout: float = 300.0,
        connections: int = 0,
        proxy: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        own_headers: Mapping[str, str] | None = None,
    ) -> None:
        self.transport = Transport(
            root,
            token=token,
            timeout=timeout,
            connections=connections,
            proxy=proxy,
            headers={**(own_headers or {}), **(extra_headers or {})},
        )
        self.name = self.transport.name
        self.extra_body, self.extra_headers = dict(extra_body or {}), tuple(sorted(extra_headers or {}))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    async def queue_depth(self) -> float | None:
        """None: it does not say."""
        return None

    async def close(self) -> None:
        """Close its connections. The next request opens new ones."""
        await self.transport.close()


class WritingEndpoint(HttpEndpoint):
    """A server that writes text, and tells in /metrics how many wait.

    Args:
        root, options: see HttpEndpoint.
        sending: what the server is sent instead of what it refuses.
        own_headers: see HttpEndpoint.
    """

    def __init__(
        self,
        root: str,
        options: HttpOptions,
        sending: Sending | None,
        *,
        own_headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(root, own_headers=own_headers, **options)
        self.sending = sending or Sending()
        self.constrains = self.sending.constrains
        self._watch = Watch(self.name)
        self._queue = QueueGauge(self.transport)

    async def queue_depth(self) -> float | None:
        """Requests that wait at the server; None where it does not say."""
        return await self._queue.read()
