"""A server that speaks TGI's protocol over any backend, with faults on demand.

It follows the public source of TGI 3's router (routes, limits, error bodies). A real TGI was never run: TGI cannot be
installed from a package registry. With `openai_style=True` it is a vLLM-like server instead: OpenAI's bodies, no native
routes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson
from aiohttp import web

from tests.facade.backends import Backend, Generated, GenerationFailed, InvalidInput, Question
from tests.facade.faults import Faults, Kind
from tests.facade.replies import chat_body, error_body, generate_body
from tests.facade.validation import (
    MAX_BEST_OF,
    MAX_STOP_SEQUENCES,
    UnreadableBody,
    parse_json,
    read_chat,
    read_generate,
)

PAYLOAD_LIMIT = 2_000_000
GENERATION_ROUTES = frozenset({"/", "/generate", "/v1/chat/completions"})
_HTML_502 = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>nginx/1.25.3</center>\r\n</body>\r\n</html>\r\n"
)


class Entry(NamedTuple):
    """One generation attempt. `status` is None where no complete answer was sent; `payload` where none was read."""

    path: str
    status: int | None
    fault: Kind | None
    payload: dict[str, Any] | None
    headers: dict[str, str]
    port: int
    """Of the client, which tells the processes apart that send."""


class Facade:
    """A judge server for tests, on a free port of 127.0.0.1, in a background thread, for as long as the `with` lasts.

    Attributes:
        url: `http://127.0.0.1:<port>`, without a slash at the end.
        requests: generation attempts received, failed ones included.
        generated: answers completed by the backend and sent.
        in_flight, peak: attempts held at the moment, and the most at once.
        log: the last `keep_log` attempts.
        healthy: set to False to make /health answer 503.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_concurrent_requests: int = 128,
        faults: Faults | None = None,
        latency: float | Callable[[bytes], float] = 0.0,
        model_id: str = "HuggingFaceTB/SmolLM2-135M-Instruct",
        model_sha: str | None = "12fd25f77366fa6b3b4b768ec3050bf629380bac",
        openai_style: bool = False,
        api_key: str | None = None,
        keep_log: int = 1000,
    ) -> None:
        """
        Args:
            max_concurrent_requests: one more is answered 429 at once.
            latency: seconds each answer takes at least, or a function of the request body that says so.
            api_key: when set, requests without `Authorization: Bearer <api_key>` get 401.
        """
        self.backend = backend
        self.max_concurrent_requests = max_concurrent_requests
        self.faults = faults or Faults()
        self.latency = latency
        self.model_id = model_id
        self.model_sha = model_sha
        self.openai_style = openai_style
        self.api_key = api_key
        self.healthy = True
        self.url = ""
        self.requests = self.generated = self.in_flight = self.peak = self.waiting = 0
        self.log: deque[Entry] = deque(maxlen=keep_log)
        self._thread = threading.Thread(target=self._serve, name="facade", daemon=True)
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def statuses(self) -> list[int | None]:
        """The statuses of the logged attempts, oldest first."""
        return [entry.status for entry in self.log]

    # Running

    def _serve(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._failure = error
            if self._ready.is_set():
                raise
        finally:
            self._ready.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self.backend.start()
        try:
            self._slots = asyncio.Semaphore(self.backend.slots) if self.backend.slots else None
            server = web.Server(self._handle, request_factory=_request, handler_cancellation=True, access_log=None)
            listener = await self._loop.create_server(server, "127.0.0.1", 0, backlog=1024)
            self.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            self._ready.set()
            await self._stop.wait()
            # No more are accepted, and who was just accepted gets its transport: a closed listener leaves it unclosed.
            self._loop.remove_reader(listener.sockets[0])
            await asyncio.sleep(0.01)
            listener.close()
            await server.shutdown(0.1)
        finally:
            await self.backend.close()

    # Routing

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.api_key is not None and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.Response(status=401)
        path = request.path
        if request.method == "POST" and path in GENERATION_ROUTES:
            if not self.openai_style or path == "/v1/chat/completions":
                return await self._attempt(request, path)
        elif request.method == "POST" and path == "/tokenize":
            return await self._tokenize(request)
        elif request.method == "GET":
            return self._get(path)
        return _json(error_body("Not Found", "not_found", 404, openai_style=True), 404)

    def _get(self, path: str) -> web.Response:
        if path == "/health":
            body = None if self.healthy else {"error": "unhealthy", "error_type": "healthcheck"}
            return web.Response() if body is None else _json(body, 503)
        if path == "/metrics":
            return web.Response(text=self._metrics(), content_type="text/plain", charset="utf-8")
        if path == "/v1/models":
            model = {"id": self.model_id, "object": "model", "created": 0, "owned_by": self.model_id}
            if self.openai_style:
                model["max_model_len"] = self.backend.max_total_tokens
            return _json({"object": "list", "data": [model]})
        if path == "/info" and not self.openai_style:
            return _json(self._info())
        return _json({"detail": "Not Found"}, 404)

    def _info(self) -> dict[str, Any]:
        return {
            "model_id": self.model_id,
            "model_sha": self.model_sha,
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": self.max_concurrent_requests,
            "max_best_of": MAX_BEST_OF,
            "max_stop_sequences": MAX_STOP_SEQUENCES,
            "max_input_tokens": self.backend.max_input_tokens,
            "max_total_tokens": self.backend.max_total_tokens,
            "validation_workers": 2,
            "max_client_batch_size": 4,
            "router": "text-generation-router",
            "version": "3.3.6",
            "sha": None,
            "docker_label": None,
        }

    def _metrics(self) -> str:
        if self.openai_style:
            gauges = {"vllm:num_requests_waiting": self.waiting, "vllm:num_requests_running": self._running()}
            labels = f'{{model_name="{self.model_id}"}}'
            return "".join(f"# TYPE {name} gauge\n{name}{labels} {value:.1f}\n" for name, value in gauges.items())
        values = {
            "tgi_request_count": ("counter", self.requests),
            "tgi_request_success": ("counter", self.generated),
            "tgi_queue_size": ("gauge", self.waiting),
            "tgi_batch_current_size": ("gauge", self._running()),
        }
        return "\n".join(f"# TYPE {name} {kind}\n{name} {value}\n" for name, (kind, value) in values.items())

    def _running(self) -> int:
        return self.in_flight - self.waiting

    async def _tokenize(self, request: web.BaseRequest) -> web.Response:
        try:
            payload = parse_json(await _read(request))
        except UnreadableBody as error:
            return web.Response(status=error.status, text=str(error))
        tokens, start = [], 0
        for number, text in await self.backend.tokenize(str(payload.get("inputs", ""))):
            tokens.append({"id": number, "text": text, "start": start, "stop": start + len(text)})
            start += len(text)
        return _json(tokens)

    # Generation

    async def _attempt(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """One generation attempt: counted, failed on demand, refused at the limit, answered."""
        self.requests += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        payload: dict[str, Any] | None = None
        fault: Kind | None = None
        status: int | None = None
        _, port = request.transport.get_extra_info("peername") if request.transport else ("", 0)
        try:
            body = await _read(request)
            fault = self.faults.draw(body)
            payload = parse_json(body)
            if fault is not None:
                response = await self._fail(request, fault)
            elif self.in_flight > self.max_concurrent_requests:
                response = self._error("Model is overloaded", "overloaded", 429)
            else:
                response = _json(await self._answer(path, payload, body))
                self.generated += 1
            status = None if fault in ("reset", "stall", "half_body") else response.status
        except UnreadableBody as error:
            status = error.status
            response = web.Response(status=error.status, text=str(error))
        except InvalidInput as error:
            status = 400 if self.openai_style else 422
            response = self._error(f"Input validation error: {error}", "validation", status)
        except GenerationFailed as error:
            status = 500 if self.openai_style else 424
            response = self._error(f"Request failed during generation: {error}", "generation", status)
        finally:
            self.in_flight -= 1
            self.log.append(Entry(path, status, fault, payload, dict(request.headers), port))
        return response

    async def _answer(self, path: str, payload: dict[str, Any], body: bytes) -> Any:
        chat = path == "/v1/chat/completions"
        question = read_chat(payload, openai_style=self.openai_style) if chat else read_generate(payload)
        generated = await self._generate(question, body)
        if chat:
            model = str(payload.get("model") or self.model_id) if self.openai_style else self.model_id
            return chat_body(question, generated, model=model, number=self.requests, openai_style=self.openai_style)
        parameters = payload.get("parameters") or {}
        prepend = parameters.get("return_full_text")
        prefill = bool(parameters.get("decoder_input_details"))
        if path == "/":  # the route of the old inference API: a list, and the prompt in front unless told otherwise
            return [generate_body(question, generated, prefill=prefill, prepend=prepend is not False)]
        return generate_body(question, generated, prefill=prefill, prepend=bool(prepend))

    async def _generate(self, question: Question, body: bytes) -> Generated:
        delay = self.latency(body) if callable(self.latency) else self.latency
        if self._slots is None:
            if delay:
                await asyncio.sleep(delay)
            return await self.backend.generate(question)
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        try:
            if delay:
                await asyncio.sleep(delay)
            return await self.backend.generate(question)
        finally:
            self._slots.release()

    def _error(self, message: str, error_type: str, status: int) -> web.Response:
        return _json(error_body(message, error_type, status, openai_style=self.openai_style), status)

    # Faults

    async def _fail(self, request: web.BaseRequest, kind: Kind) -> web.StreamResponse:
        retry = {} if self.faults.retry_after is None else {"Retry-After": f"{self.faults.retry_after:g}"}
        if kind == "overload":
            response = self._error("Model is overloaded", "overloaded", 429)
            response.headers.update(retry)
            return response
        if kind == "error503":
            return web.Response(status=503, text="no healthy upstream", headers=retry)
        if kind == "stall":
            await self._wait_for_stop(self.faults.stall_seconds)
            return _reset(request)
        if kind == "reset":
            return _reset(request)
        if kind == "half_body":
            return await _half_body(request)
        return self._plain_fault(kind)

    def _plain_fault(self, kind: Kind) -> web.Response:
        if kind == "error502":
            return web.Response(status=502, text=_HTML_502, content_type="text/html")
        if kind == "generation":
            return self._error("Request failed during generation: CUDA error: unknown", "generation", 424)
        if kind == "incomplete_generation":
            return self._error("Incomplete generation", "incomplete_generation", 500)
        if kind == "garbage":
            return web.Response(body=b'{"generated_text": "\xff\xfe', content_type="application/json")
        if kind == "wrong_content_type":
            return web.Response(text="<html><body>Please log in</body></html>", content_type="text/html")
        return web.Response(status=500, text="Internal Server Error")

    async def _wait_for_stop(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    return web.BaseRequest(
        message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=PAYLOAD_LIMIT
    )


async def _read(request: web.BaseRequest) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise UnreadableBody("Failed to buffer the request body: length limit exceeded", 413) from None


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def _reset(request: web.BaseRequest) -> web.Response:
    """Close with a TCP reset: lingering for 0 seconds throws away what was not sent."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


async def _half_body(request: web.BaseRequest) -> web.StreamResponse:
    """Promise 1,000 bytes, send 20, close."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"generated_text": "')
    if request.transport is not None:
        request.transport.close()
    return response
