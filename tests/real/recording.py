"""Asks a real server what this project asks servers, through a proxy that keeps question and answer.

What is kept has no keys, no prompts, no paths and no hosts of the machine: see `tests/facade/recordings.py`.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from hf_relabel.builders.endpoint import Endpoint, EndpointError, Message, Request
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.judges.protocols import Ask, PromptJudge
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from tests.facade.recordings import Exchange, Recording, kind_of
from tests.real.servers import LIMITED, MODEL, PER_MINUTE, ROOT, VENVS, WEIGHTS, Running

KEPT_HEADERS = ("content-type", "retry-after", "www-authenticate", "x-ratelimit", "ratelimit")
KEPT_METRICS = ("num_requests", "prompt_tokens_total", "generation_tokens_total", "requests_", "tokens_predicted_total")
LONG = "The words go on and on. " * 500


class Proxy:
    """Passes requests on to a server, and keeps what was asked and answered."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self.exchanges: list[Exchange] = []
        self.state = ""

    async def __aenter__(self) -> Proxy:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600))
        self._runner = web.ServerRunner(web.Server(self._pass_on))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.BaseRequest) -> web.Response:
        raw = await request.read()
        headers = {name: value for name, value in request.headers.items() if name in ("Authorization", "Content-Type")}
        began = time.monotonic()
        async with self._session.request(
            request.method, self._server.url + request.path, data=raw, headers=headers
        ) as got:
            content = await got.read()
        self._keep(request, raw, got, content, time.monotonic() - began)
        kind = got.headers.get("Content-Type", "text/plain")
        kept = {name: value for name, value in got.headers.items() if name.lower().startswith(KEPT_HEADERS)}
        return web.Response(status=got.status, body=content, headers={**kept, "Content-Type": kind})

    def _keep(
        self, request: web.BaseRequest, raw: bytes, got: aiohttp.ClientResponse, content: bytes, seconds: float
    ) -> None:
        sent = request.headers.get("Authorization")
        key = "right" if not self._server.key or sent == f"Bearer {self._server.key}" else "wrong" if sent else "none"
        names = {MODEL: "known", WEIGHTS: "known", LIMITED: "limited"}
        kind = kind_of(request.method, request.path, key, json.loads(raw) if raw else None, names)
        kind = replace(kind, state=self.state)
        headers = {name: value for name, value in got.headers.items() if name.lower().startswith(KEPT_HEADERS)}
        body = cleaned(content.decode())
        if kind.path != "/metrics" and not kind.reply:  # the same again, but for the time that is in it
            self.exchanges = [kept for kept in self.exchanges if kept.kind != kind]
        self.exchanges.append(Exchange(kind, got.status, headers, body, round(seconds, 3)))


def cleaned(text: str) -> Any:
    """An answer without what is this machine's; of a page of metrics, the lines that matter here."""
    for place in (str(VENVS), str(ROOT), str(Path.home())):
        text = text.replace(place, "/models")
    text = re.sub(r'"/[^"]*/([^"/]+\.gguf)"', r'"/models/\1"', text)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        lines = text.splitlines()
        if not text.startswith("# HELP"):
            return text
        return "\n".join(line for line in lines if any(name in line for name in KEPT_METRICS)) + "\n"


async def record(server: Running, date: str) -> Recording:
    """Ask a server everything once, and keep it."""
    async with Proxy(server) as proxy:
        if server.server.name == "transformers":
            # As it is right after it was installed. It remembers the list once it has one.
            server.cache.rename(server.cache.with_name("away"))
            proxy.state = "no cache"
            nameless = make_endpoint(proxy.url)
            await _quietly(nameless.info())
            await nameless.close()
            server.cache.with_name("away").rename(server.cache)
            proxy.state = ""
        await _ask_all(server, proxy.url)
    named = server.server
    return Recording(named.name, named.version(), date, bool(named.key), proxy.exchanges)


async def _ask_all(server: Running, url: str) -> None:
    model = server.server.model
    right = make_endpoint(url, token=server.key, model=model)
    plain, again = requests()["plain"], 2
    await _quietly(right.info())
    await right.queue_depth()
    for name, request in requests().items():
        if name == "long" and server.server.context is None and not server.server.behind:
            continue  # no bound but the model's own, which takes long to read
        for _ in range(again if name == "schema" else 1):
            await _quietly(right.complete(request))
    if hasattr(right, "count_prompts"):
        await _quietly(right.count_prompts([plain]))
    await right.queue_depth()
    await _post(url, server.key, model or MODEL, response_format={"type": "nonsense"})
    others: list[tuple[Endpoint, int]] = [(make_endpoint(url, token=server.key, model="nobody/nothing"), 1)]
    if server.key:
        others.append((make_endpoint(url, token="wrong", model=model), 1))
    if server.server.name == "litellm":
        others.append((make_endpoint(url, token=server.key, model=LIMITED), PER_MINUTE + 1))
    for endpoint, times in others:
        await _quietly(endpoint.info())
        for _ in range(times):
            await _quietly(endpoint.complete(plain))
        await endpoint.close()
    if server.key:
        await _post(url, "wrong", model or MODEL)
    await right.close()


async def _quietly(asked: Any) -> None:
    """A refusal is an answer, too."""
    with suppress(EndpointError):
        await asked


async def _post(url: str, key: str, model: str, **settings: Any) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Is it?"}], "max_tokens": 4, **settings}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as got,
    ):
        await got.read()


ROW = Row(
    "1",
    "Why is the sky blue?",
    (Passage("a", "", "Air scatters blue light more than red light."),),
    (
        Passage("b", "", "Molecules of the air scatter short waves most, and so the sky is blue."),
        Passage("c", "", "At sunset the sky is red."),
        Passage("d", "", "A recipe for bread: flour, water, salt and yeast."),
    ),
)


def asks(judge: PromptJudge) -> list[Ask]:
    """What a judge asks about the row's candidates."""
    return list(judge.asks(ROW, (0, 1, 2), constrained=True))


def rows_file(folder: Path) -> str:
    """The row as a source."""
    file = folder / "rows.jsonl"
    file.write_text(json.dumps(ROW.to_dict()) + "\n")
    return str(file)


LISTWISE = ListwiseJudge(reasoning=False, max_tokens=64)
THINKING = ListwiseJudge(max_tokens=160)
POINTWISE = PointwiseJudge(min_mass=0.001)


def requests() -> dict[str, Request]:
    """One request of each form that judges ask for."""
    system = Message("system", "Answer in a few words.")
    return {
        "plain": Request((system, Message("user", "What colour is the sky?")), 12),
        "schema": asks(LISTWISE)[0].request,
        "thinking": asks(THINKING)[0].request,
        "logprobs": asks(POINTWISE)[0].request,
        "long": Request((system, Message("user", LONG)), 12),
    }
