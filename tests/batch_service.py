"""A service with OpenAI's Batch API, on a free port of 127.0.0.1, with faults on demand.

Statuses, bodies and file formats are those of OpenAI's reference and of its Python client's types (openai 3.57), which
drives it in `test_the_stub_is_what_openais_own_client_takes`. Requests are answered by a facade backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from aiohttp import web

from tests.facade.backends import Backend
from tests.facade.replies import chat_body
from tests.facade.serving import Served
from tests.facade.validation import read_chat

Fate = Literal["completed", "expired", "no_credit", "errors", "cancelled"]
"""Of a batch: all answered; half answered in time; failed before it began; some requests failed; stopped half way."""
Upload = Literal["fine", "half", "error"]
Creation = Literal["fine", "lost", "error", "no_credit"]
"""`lost`: the batch is made, and the answer is a 500."""
Brand = Literal["openai", "azure", "together"]
"""Whose API: Azure's lies below `/openai`, with `api-version` and `api-key`; Together takes a file at another address
and tells statuses in capitals (by its documentation and its Python client)."""
MODEL = "gpt-batch"


@dataclass
class Batch:
    """One batch; `asked` counts how often its status was, which moves it on."""

    id: str
    file_id: str
    endpoint: str
    fate: Fate
    asked: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    status: str = "validating"
    completed: int = 0
    failed: int = 0
    total: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)


class BatchServiceStub(Served):
    """The service, for as long as the `with` lasts.

    Attributes:
        fates, uploads, creations: what becomes of each batch, upload and creation, in order; fine after the last.
        statuses: what the next answers to status questions and downloads are instead, as HTTP statuses; 200 is none.
        batches, files: what it has, by id.
        answered: requests that it put to the backend: what has to be paid for.
        cut_downloads: so many downloads break off half way.
    """

    def __init__(self, backend: Backend, brand: Brand = "openai") -> None:
        super().__init__()
        self.backend, self.brand = backend, brand
        self.prefix = "/openai" if brand == "azure" else "/v1"
        self.fates: list[Fate] = []
        self.uploads: list[Upload] = []
        self.creations: list[Creation] = []
        self.statuses: list[int] = []
        self.cut_downloads = 0
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, bytes] = {}
        self.answered = 0

    def runner(self) -> web.BaseRunner[Any]:
        app = web.Application(client_max_size=2**30, middlewares=[self._let_in])
        app.router.add_get(f"{self.prefix}/models", self._models)
        app.router.add_post(f"{self.prefix}/files", self._upload if self.brand != "together" else self._place)
        app.router.add_put("/elsewhere/{id}", self._put)
        app.router.add_post(f"{self.prefix}/files/{{id}}/preprocess", self._preprocess)
        app.router.add_get(f"{self.prefix}/files/{{id}}/content", self._content)
        app.router.add_post(f"{self.prefix}/batches", self._create)
        app.router.add_get(f"{self.prefix}/batches", self._list)
        app.router.add_get(f"{self.prefix}/batches/{{id}}", self._retrieve)
        app.on_startup.append(lambda _: self.backend.start())
        app.on_cleanup.append(lambda _: self.backend.close())
        return web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Any) -> web.StreamResponse:
        known = request.query.get("api-version") and request.headers.get("api-key")
        if self.brand == "azure" and not known:
            return _error(401, "Access denied due to invalid subscription key or wrong API endpoint.")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _place(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch-api"
        file_id = self._keep(b"")
        told = {"Location": f"{self.url}/elsewhere/{file_id}", "X-Together-File-Id": file_id}
        return web.Response(status=302, headers=told)

    async def _put(self, request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers, "a token is for the service alone"
        self.files[request.match_info["id"]] = await request.read()
        return web.Response()

    async def _preprocess(self, request: web.Request) -> web.Response:
        return web.json_response({"id": request.match_info["id"], "object": "file"})

    async def _models(self, request: web.Request) -> web.Response:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "system"}
        return web.json_response({"object": "list", "data": [model]})

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        how = self.uploads.pop(0) if self.uploads else "fine"
        if how == "half":
            await request.content.read(1000)
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        form = await request.post()
        if how == "error":
            return _error(500, "The server had an error while processing your request. Sorry about that!")
        file = form.get("file")
        if form.get("purpose") != "batch" or not isinstance(file, web.FileField):
            return _error(400, "'purpose' is a required property")
        content = file.file.read()
        file_id = self._keep(content)
        told = {"id": file_id, "object": "file", "bytes": len(content), "created_at": 1, "filename": file.filename}
        return web.json_response(told | {"purpose": "batch", "status": "processed"})

    def _keep(self, content: bytes) -> str:
        file_id = f"file-{len(self.files) + 1}"
        self.files[file_id] = content
        return file_id

    async def _create(self, request: web.Request) -> web.Response:
        how = self.creations.pop(0) if self.creations else "fine"
        if how == "error":
            return _error(503, "That model is currently overloaded with other requests.")
        if how == "no_credit":
            return _error(400, "Billing hard limit has been reached", "billing_hard_limit_reached")
        asked = await request.json()
        if asked["input_file_id"] not in self.files or asked["completion_window"] != "24h":
            return _error(400, f"Invalid file: {asked['input_file_id']}")
        batch_id, fate = f"batch_{len(self.batches) + 1}", self.fates.pop(0) if self.fates else "completed"
        batch = self.batches[batch_id] = Batch(batch_id, asked["input_file_id"], asked["endpoint"], fate)
        if how == "lost":
            return _error(500, "Internal error")
        return web.json_response({"job": self._told(batch)} if self.brand == "together" else self._told(batch))

    async def _list(self, request: web.Request) -> web.Response:
        newest = [self._told(batch) for batch in reversed(self.batches.values())]
        ids = [each["id"] for each in newest]
        start = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = newest[start : start + int(request.query.get("limit", 20))]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        more = start + len(page) < len(newest)
        if self.brand == "together":
            return web.json_response(newest)
        listed = {"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more}
        return web.json_response(listed)

    async def _retrieve(self, request: web.Request) -> web.Response:
        if (fault := self._fault()) is not None:
            return fault
        batch = self.batches[request.match_info["id"]]
        batch.asked += 1
        if batch.asked == 1:
            batch.status, batch.total = "in_progress", self.files[batch.file_id].count(b"\n")
        elif batch.asked == 2:
            await self._end(batch)
        return web.json_response(self._told(batch))

    def _fault(self) -> web.Response | None:
        status = self.statuses.pop(0) if self.statuses else 200
        return None if status == 200 else _error(status, "Try again.")

    async def _content(self, request: web.Request) -> web.StreamResponse:
        if (fault := self._fault()) is not None:
            return fault
        content = self.files[request.match_info["id"]]
        if not self.cut_downloads:
            return web.Response(body=content, content_type="application/octet-stream")
        self.cut_downloads -= 1
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        assert request.transport is not None
        request.transport.abort()
        return response

    def _told(self, batch: Batch) -> dict[str, Any]:
        told = _told(batch)
        if self.brand != "together":
            return told
        return {name: told[name] for name in ("id", "endpoint", "input_file_id", "output_file_id", "error_file_id")} | {
            "status": batch.status.upper()
        }

    # What becomes of a batch

    async def _end(self, batch: Batch) -> None:
        if batch.fate == "no_credit":
            batch.status = "failed"
            words = "Enqueued token limit reached. Please try again once some batches have been completed."
            batch.errors = [{"code": "token_limit_exceeded", "line": None, "message": words, "param": None}]
            return
        lines = list(_requests(self.files[batch.file_id], self.brand))
        done = lines if batch.fate in ("completed", "errors") else lines[: len(lines) // 2]
        output, errors = [], [_not_asked(line, batch.fate) for line in lines[len(done) :]]
        for number, line in enumerate(done):
            if batch.fate == "errors" and number % 5 == 0:
                errors.append(_failed(line, 500 if number % 2 else 429))
            else:
                output.append(_answer(line, 200, await self._body(line, number)))
        output.reverse()  # in any order
        batch.completed, batch.failed = len(output), len(errors)
        batch.output_file_id = self._keep(b"".join(output)) if output else None
        batch.error_file_id = self._keep(b"".join(errors)) if errors else None
        batch.status = batch.fate if batch.fate != "errors" else "completed"

    async def _body(self, line: dict[str, Any], number: int) -> dict[str, Any]:
        self.answered += 1
        question = read_chat(line["body"], openai_style=True)
        generated = await self.backend.generate(question)
        return chat_body(question, generated, model=MODEL, number=number, openai_style=True)


def _requests(content: bytes, brand: Brand) -> Iterator[dict[str, Any]]:
    ids = set()
    for line in content.splitlines():
        request = orjson.loads(line)
        assert request["method"] == "POST"
        assert request["url"] == ("/chat/completions" if brand == "azure" else "/v1/chat/completions")
        assert len(request["custom_id"]) <= 64
        assert request["custom_id"] not in ids
        ids.add(request["custom_id"])
        yield request


def _answer(line: dict[str, Any], status: int, body: Any) -> bytes:
    response = {"status_code": status, "request_id": f"req_{line['custom_id']}", "body": body}
    told = {"id": f"batch_req_{line['custom_id']}", "custom_id": line["custom_id"], "response": response, "error": None}
    return orjson.dumps(told) + b"\n"


def _failed(line: dict[str, Any], status: int) -> bytes:
    words = "The server had an error while processing your request." if status == 500 else "Rate limit reached."
    return _answer(line, status, {"error": {"message": words, "type": "server_error", "param": None, "code": None}})


def _not_asked(line: dict[str, Any], fate: Fate) -> bytes:
    code, words = "batch_expired", "This request could not be executed before the completion window expired."
    if fate == "cancelled":
        code, words = "batch_cancelled", "This request was not executed because the batch was cancelled."
    error = {"code": code, "message": words}
    told = {"id": f"batch_req_{line['custom_id']}", "custom_id": line["custom_id"], "response": None, "error": error}
    return orjson.dumps(told) + b"\n"


def _told(batch: Batch) -> dict[str, Any]:
    counts = {"total": batch.total, "completed": batch.completed, "failed": batch.failed}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "input_file_id": batch.file_id,
        "completion_window": "24h",
        "created_at": 1,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "request_counts": counts,
        "metadata": None,
    }


def _error(status: int, message: str, code: str | None = None) -> web.Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return web.json_response({"error": error}, status=status)
