"""A server that answers what real ones were seen to answer, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from tests.facade.serving import Served


class Asked(NamedTuple):
    """One request. `payload` is None where the body is empty."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    payload: Any


Said = tuple[int, Any]
"""Status, and the body: bytes as they are, else written as JSON."""


class Recorded(Served):
    """A server on a free port of 127.0.0.1, in a background thread, for as long as the `with` lasts.

    Args:
        answer: what it says to a request.

    Attributes:
        url: without a slash at the end.
        asked: all requests, in order.
    """

    def __init__(self, answer: Callable[[Asked], Said]) -> None:
        super().__init__()
        self._answer = answer
        self.asked: list[Asked] = []

    def runner(self) -> web.BaseRunner[Any]:
        return web.ServerRunner(web.Server(self._handle, access_log=None))

    def posted(self, path: str = "/v1/chat/completions") -> list[Any]:
        """The bodies sent to a route, in order."""
        return [asked.payload for asked in self.asked if asked.method == "POST" and asked.path == path]

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        content = await request.read()
        payload = orjson.loads(content) if content else None
        asked = Asked(request.method, request.path, request.query_string, dict(request.headers), payload)
        self.asked.append(asked)
        status, body = self._answer(asked)
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return web.Response(status=status, body=content, content_type="application/json")


def chat(text: str = "OK", **more: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": usage, "model": "m", **more}
