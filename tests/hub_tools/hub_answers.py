"""Answers of servers on the network, given to the HTTP client of huggingface_hub in place of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory

Answer = tuple[int, dict[str, str], Any]
"""Status, headers, and a body as JSON."""


@contextmanager
def answering(answer: Callable[[httpx2.Request], Answer]) -> Iterator[list[httpx2.Request]]:
    """Give the requests that the client made meanwhile."""
    asked: list[httpx2.Request] = []

    def handled(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        status, headers, body = answer(request)
        return httpx2.Response(status, headers=headers, json=body, request=request)

    def client() -> httpx2.Client:
        hooks = default_client_factory().event_hooks
        return httpx2.Client(transport=httpx2.MockTransport(handled), event_hooks=hooks)

    set_client_factory(client)
    try:
        yield asked
    finally:
        set_client_factory(default_client_factory)
