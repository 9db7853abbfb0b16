"""A server that answers what real ones were seen to answer, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson
from aiohttp import web


class Asked(NamedTuple):
    """One request. `payload` is None where the body is empty."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    payload: Any


Said = tuple[int, Any]
"""Status, and the body: bytes as they are, else written as JSON."""


class Recorded:
    """A server on a free port of 127.0.0.1, in a background thread, for as long as the `with` lasts.

    Args:
        answer: what it says to a request.

    Attributes:
        url: without a slash at the end.
        asked: all requests, in order.
    """

    def __init__(self, answer: Callable[[Asked], Said]) -> None:
        self._answer = answer
        self.url = ""
        self.asked: list[Asked] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="recorded", daemon=True)

    def posted(self, path: str = "/v1/chat/completions") -> list[Any]:
        """The bodies sent to a route, in order."""
        return [asked.payload for asked in self.asked if asked.method == "POST" and asked.path == path]

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.ServerRunner(web.Server(self._handle, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

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
