"""Answers as real servers build them (their sources, documentation and issues), and what is read of them."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web

from hf_relabel.builders.endpoint import EndpointError, Message, Reply, Request
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.hub_tools.endpoints import transport as transport_module
from hf_relabel.hub_tools.endpoints.reading_chat import finish_of, read_chat_reply
from hf_relabel.hub_tools.endpoints.registry import make_endpoint

REQUEST = Request((Message("user", "Is it?"),), max_tokens=16)
VERDICT = '{"thinking": "[1] says \\"Paris\\"\\n[2] does not", "better": [1], "worse": []}'
TAGS = "<better>[1]</better>\n<worse>[]</worse>"
THOUGHT = "Okay, so the user asks. <better>[2]</better><worse>[]</worse>? Wait, no."
ROW = Row("q", "capital", (Passage("p", "", "Paris."),), (Passage("a", "", "one"), Passage("b", "", "two")))
USAGE = {"prompt_tokens": 12, "total_tokens": 20, "completion_tokens": 8}


def vllm(**message: Any) -> dict[str, Any]:
    """vLLM 0.11 and later (ChatCompletionResponse): every field of a message is there, most as null."""
    nothing = dict.fromkeys(("content", "refusal", "annotations", "audio", "function_call", "reasoning"))
    whole = {"role": "assistant", **nothing, "tool_calls": [], **message}
    choice = {"index": 0, "message": whole, "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": USAGE}


def sglang(**message: Any) -> dict[str, Any]:
    whole = {"role": "assistant", "content": None, "reasoning_content": None, "tool_calls": None, **message}
    choice = {"index": 0, "message": whole, "logprobs": None, "finish_reason": "stop", "matched_stop": 151645}
    return {"id": "a", "object": "chat.completion", "choices": [choice], "usage": {**USAGE, "reasoning_tokens": 3}}


def llama_cpp(**message: Any) -> dict[str, Any]:
    choice = {"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": "", **message}}
    return {"choices": [choice], "model": "m.gguf", "usage": USAGE, "timings": {"prompt_n": 12}}


def openrouter(thoughts: str, content: str = "") -> dict[str, Any]:
    details = [{"type": "reasoning.text", "text": thoughts, "format": "unknown", "index": 0}]
    message = {"role": "assistant", "content": content, "refusal": None, "reasoning": thoughts}
    choice = {"message": {**message, "reasoning_details": details}, "index": 0, "logprobs": None}
    return {"id": "gen-1", "choices": [{**choice, "finish_reason": "stop", "native_finish_reason": "STOP"}]}


def mistral(thoughts: str, content: str) -> dict[str, Any]:
    """Mistral's thinking models: content in parts."""
    parts: list[Any] = [{"type": "thinking", "thinking": [{"type": "text", "text": thoughts}]}]
    return vllm(content=[*parts, {"type": "text", "text": content}])


def read(payload: Any, top: int = 0) -> Reply:
    return read_chat_reply(payload, top, "m", "e")


def labels(reply: Reply, *, constrained: bool) -> str:
    (ask,) = ListwiseJudge().asks(ROW, [0, 1], constrained=constrained)
    said = ListwiseJudge().read(ask, reply)
    return "".join(said[position].label[0] for position in ask.positions)


THINKING_APART = {
    "vllm": lambda thoughts, content: vllm(reasoning=thoughts, content=content),
    "vllm before 0.26": lambda thoughts, content: vllm(reasoning_content=thoughts, content=content),
    "sglang": lambda thoughts, content: sglang(reasoning_content=thoughts, content=content),
    "llama.cpp": lambda thoughts, content: llama_cpp(reasoning_content=thoughts, content=content or ""),
    "deepseek": lambda thoughts, content: sglang(reasoning_content=thoughts, content=content),
    "openrouter": lambda thoughts, content: openrouter(thoughts, content or ""),
    "openrouter, details only": lambda thoughts, content: vllm(
        content=content, reasoning_details=[{"type": "reasoning.summary", "summary": thoughts}]
    ),
    "mistral": lambda thoughts, content: mistral(thoughts, content or ""),
}
every_server = pytest.mark.parametrize("server", THINKING_APART)


@every_server
def test_thoughts_told_apart_are_no_answer(server: str) -> None:
    reply = read(THINKING_APART[server](THOUGHT, VERDICT))
    assert reply.text == VERDICT
    assert labels(reply, constrained=True) == "bi"


@every_server
@pytest.mark.parametrize(("answer", "constrained"), [(VERDICT, True), (f"[1] yes\n{TAGS}", False)])
def test_a_whole_verdict_among_the_thoughts_is_read_where_there_is_no_content(
    server: str, answer: str, constrained: bool
) -> None:
    reply = read(THINKING_APART[server](answer, None))
    assert reply.text == answer
    assert labels(reply, constrained=constrained) == "bi"


@every_server
@pytest.mark.parametrize("constrained", [True, False])
def test_a_verdict_that_the_thoughts_only_consider_is_not_read(server: str, constrained: bool) -> None:
    reply = read(THINKING_APART[server](THOUGHT, None))
    assert THOUGHT in reply.text  # for the journal
    assert labels(reply, constrained=constrained) == "uu"


def test_thoughts_in_the_content_are_cut() -> None:
    for before in (f"<think>\n{THOUGHT}\n</think>\n\n", f"{THOUGHT}\n</think>\n", f"[THINK]{THOUGHT}[/THINK]"):
        assert labels(read(vllm(content=before + VERDICT)), constrained=True) == "bi"
        assert labels(read(vllm(content=before + TAGS)), constrained=False) == "bi"


def test_a_label_that_a_server_calls_thoughts_is_read() -> None:
    """vLLM's deepseek_r1 parser, thinking turned off (its issue 19222)."""
    judge = PointwiseJudge()
    (ask,) = judge.asks(ROW, [0], constrained=True)
    assert judge.read(ask, read(vllm(reasoning_content="Yes")))[0].label is Label.BETTER
    for cut_off in ("Yes", "Yes, the", "No"):
        payload = vllm(reasoning_content=cut_off)
        payload["choices"][0]["finish_reason"] = "length"
        assert judge.read(ask, read(payload))[0].label is Label.UNPARSABLE


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("yes", "yes"),
        ([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}], "yes"),
        (["y", "es"], "yes"),
        ({"type": "output_text", "text": "yes"}, "yes"),
        ([{"type": "image_url", "image_url": {}}, {"type": "text", "text": "yes"}], "yes"),
        ([], ""),
    ],
)
def test_content_in_any_shape(content: Any, text: str) -> None:
    assert read(vllm(content=content)).text == text


def test_a_refusal_is_told_in_the_models_words() -> None:
    assert read(vllm(refusal="I can't help with that.")).text == "I can't help with that."


def test_a_null_among_the_choices_is_passed_over() -> None:
    payload = vllm(content="yes")
    payload["choices"].insert(0, None)
    assert read(payload).text == "yes"


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("length", "length"),
        ("MAX_TOKENS", "length"),
        (["length"], "length"),
        ([], "other"),
        ({"type": "length", "length": 16}, "length"),
        ({"type": "stop", "matched": 2}, "stop"),
        (None, "other"),
        (7, "other"),
        ("content_filter", "other"),
    ],
)
def test_finish_reasons_of_any_shape(reason: Any, meaning: str) -> None:
    assert finish_of(reason) == meaning


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (USAGE, (12, 8)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (None, None)),
        ({"prompt_tokens": 12.0, "completion_tokens": None}, (12, None)),
        ({"prompt_tokens": "12", "completion_tokens": -1}, (None, None)),
        ({"prompt_tokens": True}, (None, None)),
        (None, (None, None)),
        ([], (None, None)),
    ],
)
def test_usage_of_zero_is_unknown(usage: Any, counts: Any) -> None:
    reply = read({**vllm(content="yes"), "usage": usage})
    assert (reply.prompt_tokens, reply.completion_tokens) == counts


def test_an_empty_reply_may_have_cost_no_tokens() -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 0}
    assert read({**vllm(content=""), "usage": usage}).completion_tokens == 0


# Over the wire


async def answered(dialect: str, *, status: int = 200, headers: dict[str, str], body: bytes) -> Reply:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, body=body)

    app = web.Application()
    app.router.add_route("POST", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    more = {"openai": {"flavor": "vllm"}, "tgi": {"chat_template": "plain", "model": "m"}}.get(dialect, {})
    endpoint = make_endpoint(url, dialect=dialect, **{"model": "m", **more})
    try:
        if dialect == "openai":
            endpoint._server._values = [await _as_if_asked(endpoint)]  # type: ignore[attr-defined]
        return await endpoint.complete(REQUEST)
    finally:
        await endpoint.close()
        await runner.cleanup()


async def _as_if_asked(endpoint: Any) -> Any:
    from hf_relabel.builders.endpoint import EndpointInfo
    from hf_relabel.hub_tools.endpoints.dialects.openai import _Server

    return _Server("vllm", "m", EndpointInfo("m"))


def ask(dialect: str = "openai", *, status: int = 200, body: bytes | None = None, **headers: str) -> Reply:
    sent = json.dumps(vllm(content="yes")).encode() if body is None else body
    named = {name.replace("_", "-"): value for name, value in {"Content_Type": "application/json", **headers}.items()}
    return asyncio.run(answered(dialect, status=status, headers=named, body=sent))


def fail(dialect: str = "openai", **answer: Any) -> EndpointError:
    with pytest.raises(EndpointError) as caught:
        ask(dialect, **answer)
    return caught.value


WHOLE = json.dumps(vllm(content="yes")).encode()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 201},
        {"status": 202},
        {"body": b"\xef\xbb\xbf" + WHOLE},
        {"body": gzip.compress(WHOLE), "Content_Encoding": "gzip"},
        {"body": zlib.compress(WHOLE), "Content_Encoding": "deflate"},
        {"body": zlib.compress(WHOLE)[2:-4], "Content_Encoding": "deflate"},
        {"body": zstd(WHOLE), "Content_Encoding": "zstd"},
        {"body": bytes(pa.compress(WHOLE, "brotli", asbytes=True)), "Content_Encoding": "br"},
        {"Content_Type": "text/plain; charset=utf-8"},
        {"Content_Type": "application/octet-stream"},
    ],
    ids=["201", "202", "bom", "gzip", "deflate", "raw deflate", "zstd", "brotli", "text/plain", "octet-stream"],
)
def test_what_can_be_read_is_read(answer: dict[str, Any]) -> None:
    assert ask(**answer).text == "yes"


def events(*chunks: Any, done: bool = True) -> bytes:
    lines = [": ping\n\n", *(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n" * done]
    return "".join(lines).encode()


def chunk(finish: str | None = None, **delta: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "model": "m", "choices": [choice], "usage": None}


def test_a_stream_that_was_not_asked_for_is_put_together() -> None:
    last = {"object": "chat.completion.chunk", "choices": [], "usage": USAGE}
    body = events(chunk(role="assistant"), chunk(reasoning="hm"), chunk(content="y"), chunk("stop", content="es"), last)
    reply = ask(body=body, Content_Type="text/event-stream")
    assert (reply.text, reply.finish_reason, reply.completion_tokens) == ("yes", "stop", 8)
    assert ask(body=events(vllm(content="yes")), Content_Type="text/event-stream").text == "yes"


def test_a_stream_that_broke_off_is_a_failed_request() -> None:
    error = fail(body=events(chunk(content="y"), done=False), Content_Type="text/event-stream")
    assert "broke off" in str(error)
    assert error.retryable


@pytest.mark.parametrize("dialect", ["openai", "inference-providers", "tgi"])
@pytest.mark.parametrize(
    "payload",
    [
        {"error": {"message": "no credits left", "code": 402}},
        {"error": {"message": "no credits left", "code": "402", "type": "billing"}},
        {"object": "error", "message": "no credits left", "code": 402},
        {"choices": [{"index": 0, "error": {"code": 402, "message": "no credits left"}, "finish_reason": "error"}]},
    ],
)
def test_an_error_inside_a_200_is_one_with_the_servers_words(dialect: str, payload: dict[str, Any]) -> None:
    error = fail(dialect, body=json.dumps(payload).encode())
    assert (error.status, error.retryable) == (402, False)
    assert "no credits left" in str(error)


@pytest.mark.parametrize("dialect", ["openai", "tgi"])
@pytest.mark.parametrize(
    "payload",
    [
        {"error": "no credits left"},
        {"choices": None, "base_resp": {"status_msg": "no credits left"}},
        {"choices": [None], "detail": "no credits left"},
        {"choices": [], "message": "no credits left"},
        ["no credits left"],
        "no credits left",
    ],
)
def test_what_is_no_reply_fails_in_the_servers_words(dialect: str, payload: Any) -> None:
    error = fail(dialect, body=json.dumps(payload).encode())
    assert (error.status, error.retryable) == (None, True)
    assert "no credits left" in str(error)


@every_server
@pytest.mark.parametrize("thoughts", [VERDICT, THOUGHT])
def test_huggingface_hubs_client_hides_no_thoughts(server: str, thoughts: str) -> None:
    payload = THINKING_APART[server](thoughts, None)
    assert ask("inference-providers", body=json.dumps(payload).encode()).text == read(payload).text


def test_an_overload_inside_a_200_is_one_and_in_a_stream_too() -> None:
    crowded = {"error": {"code": 429, "message": "rate limited upstream"}}
    assert fail(body=json.dumps(crowded).encode()).overloaded
    spent = {"error": {"code": "insufficient_quota", "message": "no credits left"}}
    assert fail(body=json.dumps(spent).encode()).kind == "quota"
    streamed = fail(body=events(chunk(content="y"), crowded, done=False), Content_Type="text/event-stream")
    assert (streamed.overloaded, streamed.status) == (True, 429)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 204, "body": b""}, "without a body"),
        ({"body": b"<html>log in</html>", "Content_Type": "text/html"}, "text/html instead of JSON: log in"),
        ({"body": b"x", "Content_Encoding": "compress"}, "compressed with 'compress'"),
        ({"body": b"x", "Content_Encoding": "zstd"}, "the answer is broken"),
        ({"body": WHOLE[:40]}, "broken JSON"),
    ],
)
def test_what_cannot_be_read_is_a_failed_request(answer: dict[str, Any], words: str) -> None:
    error = fail(**answer)
    assert words in str(error)
    assert error.retryable


def test_a_small_answer_cannot_unpack_to_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "RESPONSE_LIMIT", 2**20)
    for packed, name in ((gzip.compress(b"x" * 2**21), "gzip"), (zstd(b"x" * 2**21), "zstd")):
        assert "more than 1 MiB" in str(fail(body=packed, Content_Encoding=name))
