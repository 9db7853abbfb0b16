"""From a URL or a model id to an endpoint."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from hf_relabel.builders.endpoint import Endpoint, EndpointError, EndpointInfo, Message, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.detecting import AutoEndpoint, dialect_of
from hf_relabel.hub_tools.endpoints.dialects.inference_providers import InferenceProvidersEndpoint
from hf_relabel.hub_tools.endpoints.dialects.openai import OpenAIEndpoint, split_api_path
from hf_relabel.hub_tools.endpoints.dialects.tgi import TgiEndpoint
from hf_relabel.hub_tools.endpoints.registry import DIALECTS, make_endpoint
from hf_relabel.hub_tools.endpoints.server_errors import error_of_status
from hf_relabel.hub_tools.endpoints.transport import NotJson, Transport
from tests.facade import Facade, FunctionBackend, LlamaBackend

URL = "http://127.0.0.1:9"
OK = FunctionBackend(lambda question: "OK")


async def detect_dialect(url: str) -> str:
    transport = Transport(url)
    try:
        return await dialect_of(transport)
    finally:
        await transport.close()


def test_the_dialect_of_a_server_is_found_out() -> None:
    with Facade(OK) as server:
        assert asyncio.run(detect_dialect(server.url)) == "tgi"
    with Facade(OK, openai_style=True) as server:
        assert asyncio.run(detect_dialect(server.url)) == "openai"
    with pytest.raises(EndpointError, match="no connection"):
        asyncio.run(detect_dialect(server.url))


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (error_of_status(URL, 307, "redirects to http://elsewhere; give that address instead"), "redirects to"),
        (
            NotJson(f"{URL}: answered text/html instead of JSON: Sign in", kind="garbage"),
            "(/v1/models: answered text/html",
        ),
    ],
)
def test_what_is_no_judge_server_is_told_in_its_own_words(
    problem: EndpointError, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that redirects, or a page to sign in at: what came instead says what to do."""

    async def get(self: Transport, path: str) -> Any:
        raise problem

    monkeypatch.setattr(Transport, "get", get)
    with pytest.raises(EndpointError, match="is neither a TGI server") as told:
        asyncio.run(detect_dialect(URL))
    assert said in str(told.value)
    assert str(told.value).count(URL) == 1


def test_an_endpoint_of_any_dialect_needs_nothing_but_a_url() -> None:
    async def ask(url: str) -> tuple[EndpointInfo, Reply, float | None]:
        endpoint = make_endpoint(url)
        info = await endpoint.info()
        reply = await endpoint.complete(Request((Message("user", "Is it?"),), 4))
        depth = await endpoint.queue_depth()
        await endpoint.close()
        return info, reply, depth

    with Facade(OK, model_id="org/judge", openai_style=True) as server:
        info, reply, depth = asyncio.run(ask(server.url))
    assert (info.model, reply.text, reply.model, depth) == ("org/judge", "OK", "org/judge", 0)


@pytest.mark.parametrize(
    ("location", "settings", "kind"),
    [
        (URL, {}, AutoEndpoint),
        (f"{URL}/v1", {}, OpenAIEndpoint),
        (f"{URL}/v1/chat/completions", {}, OpenAIEndpoint),
        (f"{URL}/generate", {}, TgiEndpoint),
        (URL, {"flavor": "vllm"}, OpenAIEndpoint),
        (URL, {"chat_template": "chatml"}, TgiEndpoint),
        ("Qwen/Qwen3-32B", {}, InferenceProvidersEndpoint),
        ("Qwen/Qwen3-32B:cerebras", {}, InferenceProvidersEndpoint),
        (URL, {"dialect": "inference-providers"}, InferenceProvidersEndpoint),
    ],
)
def test_what_is_given_decides_the_dialect(location: str, settings: dict[str, Any], kind: type[Endpoint]) -> None:
    assert type(make_endpoint(location, **settings)) is kind


@pytest.mark.parametrize(
    ("location", "settings", "message"),
    [
        (URL, {"dialect": "grpc"}, "auto, tgi, openai, inference-providers, text-generation, local"),
        (URL, {"dialect": "opnai"}, "'opnai'. Did you mean 'openai'\\? Choose from: auto, tgi, "),
        (URL, {"flavor": "vlm"}, "'vlm'. Did you mean 'vllm'\\?"),
        (URL, {"flavor": "ollama"}, "auto, tgi, vllm, sglang, llama.cpp, openai, azure"),
        (URL, {"dialect": "tgi", "flavor": "vllm"}, "tgi dialect has no flavor"),
        (URL, {"dialect": "openai", "chat_template": "chatml"}, "openai dialect has no chat_template"),
        (URL, {"timeout": 0}, "more than 0 seconds"),
        ("127.0.0.1:8080", {}, "neither a URL .* nor a model id"),
    ],
)
def test_what_cannot_be_is_refused_at_once(location: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_endpoint(location, **settings)


@pytest.mark.parametrize(
    ("url", "root", "prefix"),
    [
        ("http://h", "http://h", "v1/"),
        ("http://h/", "http://h", "v1/"),
        ("http://h/v1", "http://h", "v1/"),
        ("http://h/v1/", "http://h", "v1/"),
        ("http://h/v1/chat/completions", "http://h", "v1/"),
        ("http://h/openai/v1?x=1", "http://h/openai?x=1", "v1/"),
        ("http://h/v1beta/openai/chat/completions", "http://h/v1beta/openai", ""),
        ("http://v1", "http://v1", "v1/"),
    ],
)
def test_urls_are_good_with_and_without_the_version(url: str, root: str, prefix: str) -> None:
    assert split_api_path(url) == (root, prefix)


def test_the_dialects_are_known_by_name() -> None:
    chat = ["tgi", "openai", "inference-providers", "text-generation", "local"]
    assert list(DIALECTS) == [*chat, "rerank", "decisions", "run-batch"]


def test_a_dialect_that_somebody_added_is_among_those_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIALECTS, "triton", DIALECTS["tgi"])
    with pytest.raises(ConfigError, match=r"Did you mean 'triton'\? Choose from: .*, run-batch, triton\.$"):
        make_endpoint(URL, dialect="tritn")


def test_making_endpoints_is_imported_without_the_heavy_packages() -> None:
    code = "import sys, hf_relabel.hub_tools.endpoints.registry; print([m for m in %r if m in sys.modules])"
    heavy = ["aiohttp", "huggingface_hub", "jinja2", "text_generation", "torch", "datasets"]
    ran = subprocess.run([sys.executable, "-c", code % heavy], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_real_llama_cpp_is_recognised_constrained_and_asked_for_logprobs() -> None:
    schema = {"type": "object", "properties": {"relevant": {"type": "boolean"}}, "required": ["relevant"]}
    request = Request((Message("user", "Is rain wet?"),), 24, json_schema=schema, top_logprobs=3)

    async def ask(url: str) -> tuple[EndpointInfo, Reply]:
        endpoint = make_endpoint(url)
        try:
            return await endpoint.info(), await endpoint.complete(request)
        finally:
            await endpoint.close()

    backend = LlamaBackend(context=1024)
    with Facade(backend):
        info, reply = asyncio.run(ask(backend.url))
    assert info.max_concurrent_requests == backend.slots
    assert set(json.loads(reply.text)) == {"relevant"}
    assert reply.prompt_tokens
    assert "".join(token.text for token in reply.logprobs).strip("`\n") == reply.text
    assert all(len(token.top) <= 3 for token in reply.logprobs)
