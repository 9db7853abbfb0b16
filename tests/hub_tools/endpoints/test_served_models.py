"""Whom a server is asked for: never one of several without a word, and never a model for something else than chat."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, Message, Reply, Request
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from tests.facade.recorded import Asked, Recorded, Said, chat

REQUEST = Request((Message("user", "Is it?"),), 4)


def listing(*entries: dict[str, Any]) -> Said:
    return 200, {"object": "list", "data": [{"object": "model", **entry} for entry in entries]}


def ask(url: str, **settings: Any) -> tuple[EndpointInfo, Reply]:
    async def run() -> tuple[EndpointInfo, Reply]:
        endpoint = make_endpoint(url, **settings)
        try:
            return await endpoint.info(), await endpoint.complete(REQUEST)
        finally:
            await endpoint.close()

    return asyncio.run(run())


def serving(models: Said, info: Said = (404, {})) -> Recorded:
    def answer(asked: Asked) -> Said:
        if asked.method == "POST":
            return 200, chat()
        return models if asked.path == "/v1/models" else info

    return Recorded(answer)


def test_of_several_models_none_is_asked_without_a_word() -> None:
    several = listing({"id": "text-embedding-3-small"}, {"id": "Qwen/Qwen3-4B"}, {"id": "Qwen/Qwen3-4B"})
    with serving(several) as server:
        with pytest.raises(EndpointError) as caught:
            ask(server.url)
        assert not server.posted()
        _, reply = ask(server.url, model="Qwen/Qwen3-4B")
        [body] = server.posted()
    assert "lists 2 models: text-embedding-3-small, Qwen/Qwen3-4B. Name the one to judge" in str(caught.value)
    assert "model" in str(caught.value)
    assert (body["model"], reply.model) == ("Qwen/Qwen3-4B", "Qwen/Qwen3-4B")


@pytest.mark.parametrize(
    ("entry", "named", "answers_as"),
    [
        ({"id": "/models/q4.gguf", "owned_by": "llamacpp"}, "Qwen/Qwen3-4B", "q4.gguf"),
        ({"id": "/models/q4.gguf", "owned_by": "llamacpp"}, None, None),
        ({"id": "/models/q4.gguf", "owned_by": "llamacpp", "aliases": ["Qwen/Qwen3-4B"]}, "Qwen/Qwen3-4B", None),
        ({"id": "Qwen/Qwen3-8B", "owned_by": "vllm"}, "Qwen/Qwen3-4B", None),  # it refuses other names itself
    ],
)
def test_a_server_that_answers_with_what_it_has_is_told_of_once(
    entry: dict[str, Any], named: str | None, answers_as: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(listing(entry)) as server:
        info, _ = ask(server.url, model=named)
    assert info.model == (named or entry["id"])
    assert info.answers_as == answers_as
    assert [record.message for record in caplog.records if "whatever name is asked for" in record.message] == [
        f"{server.url} is asked for {named} and answers with the only model it tells of, q4.gguf, whatever name is"
        " asked for. The journal keeps both names."
    ] * bool(answers_as)


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "BAAI/bge-m3"},
        {"id": "intfloat/e5-mistral-7b-instruct"},
        {"id": "Qwen/Qwen3-Reranker-4B"},
        {"id": "anything", "type": "embeddings"},  # LM Studio
        {"id": "anything", "task": "embedding"},
    ],
)
def test_a_model_that_does_not_chat_is_no_judge_unless_it_is_named(entry: dict[str, Any]) -> None:
    with serving(listing(entry)) as server:
        with pytest.raises(EndpointError, match="is no model to chat with"):
            ask(server.url)
        assert not server.posted()
        assert ask(server.url, model=entry["id"])[1].text == "OK"


def test_one_model_needs_no_name() -> None:
    with serving(listing({"id": "Qwen/Qwen3-4B", "max_model_len": 4096, "owned_by": "vllm"})) as server:
        info, _ = ask(server.url)
    assert (info.model, info.max_total_tokens) == ("Qwen/Qwen3-4B", 4096)


@pytest.mark.parametrize("failure", [(404, {}), (500, {"error": "boom"}), (405, b"no"), (403, {}), (200, b"<html>")])
@pytest.mark.parametrize("path", ["", "/v1"])
def test_a_named_model_is_asked_where_the_list_fails(failure: Said, path: str) -> None:
    with serving(failure, info=failure) as server:
        if path or failure[0] != 403:  # who lets nobody look cannot be told apart without its path
            info, reply = ask(f"{server.url}{path}", model="the/judge")
            assert (info.model, reply.text) == ("the/judge", "OK")
        with pytest.raises(EndpointError):
            ask(f"{server.url}{path}")


def test_a_server_that_is_still_loading_is_not_taken_for_one_without_a_list() -> None:
    with serving((503, {"error": {"message": "Loading model"}})) as server, pytest.raises(EndpointError) as caught:
        ask(f"{server.url}/v1", model="the/judge")
    assert caught.value.retryable
