"""`extra_body`, `extra_headers` and `takes` of the dialects that do not chat: sent, or refused by name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from hf_relabel.builders.endpoint import Message, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.judging.adapting import request_settings

EXTRA: dict[str, Any] = {"extra_body": {"truncate": True}, "extra_headers": {"X-Team": "search"}}
REQUEST = Request((Message("user", "which"),), 1, documents=("one",))
ANSWERS: dict[str, Any] = {
    "rerank": {"results": [{"index": 0, "relevance_score": 0.5}]},
    "decisions": {"answers": [{"type": "predicate", "probability": 0.5}]},
}


@pytest.mark.parametrize("dialect", ANSWERS)
def test_what_requests_hold_besides_is_sent(dialect: str) -> None:
    seen: list[tuple[Any, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({}, status=404)
        seen.append((await request.json(), request.headers.get("X-Team")))
        return web.json_response(ANSWERS[dialect])

    async def work() -> dict[str, Any]:
        runner = web.ServerRunner(web.Server(answer))  # type: ignore[arg-type]
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        endpoint = make_endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}", dialect=dialect, model="m", **EXTRA)
        try:
            await endpoint.complete(REQUEST)
            return request_settings([endpoint])
        finally:
            await endpoint.close()
            await runner.cleanup()

    known = asyncio.run(work())
    ((body, header),) = seen
    assert (body["truncate"], body["model"], header) == (True, "m", "search")
    assert known == {"extra_body": {"truncate": True}, "extra_headers": ["X-Team"]}


def test_lines_of_a_batch_file_hold_what_requests_hold_besides() -> None:
    endpoint: Any = make_endpoint("vllm:some/model", extra_body={"top_k": 1}, takes={"temperature": False})
    body = asyncio.run(endpoint.body(REQUEST))
    assert body["top_k"] == 1
    assert "temperature" not in body


@pytest.mark.parametrize(
    ("location", "settings", "named"),
    [
        ("http://127.0.0.1:9", {"dialect": "rerank", "takes": {"seed": False}}, "rerank dialect has no takes"),
        ("http://127.0.0.1:9", {"dialect": "decisions", "takes": {"seed": False}}, "decisions dialect has no takes"),
        ("vllm:m", {"extra_headers": {"X-Team": "search"}}, "run-batch dialect has no extra_headers"),
    ],
)
def test_what_a_dialect_has_no_place_for_is_refused_by_name(
    location: str, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named) as refused:
        make_endpoint(location, **settings)
    assert "search" not in str(refused.value)
