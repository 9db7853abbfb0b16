"""The transport against servers that misbehave in ways of their own, and what it never shows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints import transport as transport_module
from hf_relabel.hub_tools.endpoints.hosts import default_token
from hf_relabel.hub_tools.endpoints.metrics import QueueGauge, parse_queue_depth
from hf_relabel.hub_tools.endpoints.transport import Transport
from hf_relabel.hub_tools.hub.redaction import redact, safe_url, short

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def post(handler: Handler, payload: Any = None, *, userinfo: str = "", query: str = "", **settings: Any) -> Any:
    """What a transport makes of one POST to a server with this handler."""

    async def run() -> Any:
        app = web.Application(client_max_size=2**23)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        transport = Transport(f"http://{userinfo}127.0.0.1:{port}/base{query}", **settings)
        try:
            return (await transport.post("generate", payload)).payload
        finally:
            await transport.close()
            await runner.cleanup()

    return asyncio.run(run())


def fail(handler: Handler, **settings: Any) -> EndpointError:
    with pytest.raises(EndpointError) as caught:
        post(handler, {}, **settings)
    return caught.value


async def echo(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "path": request.path_qs,
            "authorization": request.headers.get("Authorization"),
            "length": len(await request.read()),
            "text": (await request.json() or {}).get("text"),
        }
    )


def test_paths_are_joined_below_the_base_and_its_query_is_kept() -> None:
    assert post(echo, {}, query="?api-version=3")["path"] == "/base/generate?api-version=3"


def test_a_token_is_sent_as_bearer_and_a_password_as_basic() -> None:
    assert post(echo, {}, token="hf_abc")["authorization"] == "Bearer hf_abc"
    assert post(echo, {}, userinfo="user:word@")["authorization"] == "Basic dXNlcjp3b3Jk"
    assert post(echo, {})["authorization"] is None


def test_a_megabyte_of_prompt_goes_through() -> None:
    assert post(echo, {"text": "x" * 3_000_000})["length"] > 3_000_000


def test_lone_surrogates_become_question_marks() -> None:
    assert post(echo, {"text": "a\ud800b"})["text"] == "a?b"


def test_redirects_are_told_and_not_followed() -> None:
    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently("https://user:pw@elsewhere.example/base?token=abc")

    error = fail(moved, token="hf_secrettoken")
    assert not error.retryable
    assert "redirects to https://elsewhere.example/base; give that address" in str(error)


@pytest.mark.parametrize("announced", [True, False])
def test_an_answer_without_end_is_refused(announced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "RESPONSE_LIMIT", 2**20)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if announced:
            response.content_length = 2**22
        await response.prepare(request)
        for _ in range(64):
            await response.write(b" " * 2**16)
        return response

    error = fail(endless)
    assert "more than 1 MiB" in str(error)
    assert not error.retryable


def test_at_most_200_characters_of_the_servers_words_are_shown_and_no_token() -> None:
    async def chatty(request: web.Request) -> web.Response:
        return web.json_response(
            {"error": f"{request.headers['Authorization']} and hf_{'a' * 34} " + "x" * 5000}, status=400
        )

    message = str(fail(chatty, token="a-token-of-no-known-shape"))
    assert len(message) < 300
    assert "a-token-of-no-known-shape" not in message
    assert "hf_a" not in message


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://", "file:///etc/passwd", "http://host:port"])
def test_what_is_no_url_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError):
        Transport(url)


def test_the_users_token_goes_only_where_it_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    for of_hugging_face in ("https://huggingface.co/api", "https://hf.co", "https://router.huggingface.co/v1"):
        assert default_token(URL(of_hugging_face)) == "hf_mine"
    assert default_token(URL("https://api.openai.com/v1")) == "sk-mine"
    of_anybody = ("user-judge.hf.space", "hf.jobs", "a.hf.jobs", "x.huggingface.co")  # of the user: test_own_servers
    for other in ("http://huggingface.co", "https://huggingface.co.example", "https://nothf.co", "http://127.0.0.1:1"):
        assert default_token(URL(other)) == ""
    for host in of_anybody:
        assert default_token(URL(f"https://{host}/v1")) == ""


# Metrics


def test_queue_gauges_are_summed_over_engines() -> None:
    page = b'# TYPE x\nvllm:num_requests_waiting{engine="0",m="a b"} 3.0\nvllm:num_requests_waiting{engine="1"} 4.0\n'
    assert parse_queue_depth(page) == 7
    assert parse_queue_depth(b"tgi_queue_size 2\ntgi_queue_size_other 9\n") == 2
    assert parse_queue_depth(b"tgi_queue_size none\nother 1") is None


def test_a_server_without_metrics_is_asked_once() -> None:
    class Refusing:
        asked = 0

        async def get_bytes(self, path: str) -> bytes:
            self.asked += 1
            raise EndpointError("404", kind="misaddressed", status=404)

    server = Refusing()
    gauge = QueueGauge(server)  # type: ignore[arg-type]

    async def read() -> list[float | None]:
        return [await gauge.read(), await gauge.read()]

    assert asyncio.run(read()) == [None, None]
    assert server.asked == 1


# Redaction


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token hf_AbCdEfGhIjKlMnOp is wrong", "token [redacted] is wrong"),
        ("Incorrect API key provided: sk-proj-abc_DEF-123456.", "Incorrect API key provided: [redacted]."),
        ("Authorization: Bearer eyJhbGciOi.J9-x_y=", "Authorization: Bearer [redacted]"),
        ("get http://user:pw@host/path?token=abc&x=1", "get http://host/path?token=[redacted]&x=1"),
        ("hf_relabel is a package, sk-learn is not", "hf_relabel is a package, sk-learn is not"),
    ],
)
def test_secrets_are_taken_out(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_pages_are_shown_as_their_text() -> None:
    assert short("<html><style>b{}</style><h1>502 Bad\n Gateway</h1></html>") == "502 Bad Gateway"


def test_urls_are_shown_without_credentials() -> None:
    assert safe_url("https://u:p@host:8080/v1/?key=abc#f") == "https://host:8080/v1"
