"""Token counts: from the server, from the model's tokenizer, or guessed, and which of these it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.endpoint import Message, Request
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.tokens import CountsTokens, NoCount, TokenCounter, number_of_tokens, token_counter
from tests.facade import Facade, FunctionBackend, LlamaBackend

NOBODY = "http://127.0.0.1:9"
ASKED = Request((Message("system", "Answer in a word."), Message("user", "Is rain wet when it falls?")), 4)
SHORT = Request((Message("user", "Is it?"),), 4)
OK = FunctionBackend(lambda question: "OK")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


async def counted(url: str, model: str | None = None, **settings: Any) -> tuple[TokenCounter, list[int]]:
    endpoint = make_endpoint(url, timeout=120, **settings)
    try:
        counter = await token_counter(endpoint, model)
        return counter, await counter.count([ASKED, SHORT])
    finally:
        await endpoint.close()


def test_tgi_counts_prompts_as_it_gets_them() -> None:
    with Facade(OK) as server:
        counter, counts = asyncio.run(counted(server.url, dialect="tgi", chat_template="plain"))
        assert (counter.name, counter.exact) == (f"tokenizer served by {server.url}", True)
        # The pretend model has a token for every word, and one for the blank line at the end.
        assert counts == [11, 3]
        _, with_template = asyncio.run(counted(server.url, dialect="tgi", chat_template="chatml"))
        assert with_template[1] > counts[1]


def test_the_dialect_need_not_be_named() -> None:
    with Facade(OK) as server:
        endpoint = make_endpoint(server.url)
        assert isinstance(endpoint, CountsTokens)
        counter, counts = asyncio.run(counted(server.url))
        assert counter.exact
        assert len(counts) == 2


def test_llama_cpp_counts_what_it_then_reports() -> None:
    async def ask(url: str) -> tuple[list[int], list[int | None]]:
        _, counts = await counted(url)
        endpoint = make_endpoint(url)
        replies = [await endpoint.complete(request) for request in (ASKED, SHORT)]
        await endpoint.close()
        return counts, [reply.prompt_tokens for reply in replies]

    backend = LlamaBackend(context=1024)
    with Facade(backend):
        counts, reported = asyncio.run(ask(backend.url))
    assert counts == reported


Handler = Callable[[dict[str, Any]], Any]


@asynccontextmanager
async def chat_server(owner: str, tokenize: Handler | None) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A server that lists one model and, perhaps, counts tokens. Yields its address and what it was asked to count."""
    asked: list[dict[str, Any]] = []

    async def count(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.json_response(tokenize(asked[-1]) if tokenize else None)

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "some/model", "owned_by": owner}]})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    if tokenize is not None:
        app.router.add_post("/tokenize", count)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


def test_vllm_counts_messages_with_their_template() -> None:
    async def ask() -> tuple[TokenCounter, list[int], list[dict[str, Any]]]:
        async with chat_server("vllm", lambda body: {"count": 10 + len(body["messages"]), "tokens": []}) as (
            url,
            asked,
        ):
            return *(await counted(url)), asked

    counter, counts, asked = asyncio.run(ask())
    assert counter.exact
    assert counts == [12, 11]
    assert asked[-1]["model"] == "some/model"
    assert asked[-1]["add_generation_prompt"] is True
    assert {tuple(message) for body in asked for message in body["messages"]} == {("role", "content")}


def test_a_server_that_counts_texts_only_is_taken_at_its_word() -> None:
    async def ask() -> tuple[TokenCounter, list[int]]:
        async with chat_server("sglang", lambda body: {"count": len(body["prompt"].split())}) as (url, _):
            return await counted(url)

    counter, counts = asyncio.run(ask())
    assert not counter.exact, "the chat template is not in it"
    assert counts == [10, 2]


def tokenizer_folder(folder: Path, chat_template: str | None = None) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", chat_template=chat_template).save_pretrained(
        folder
    )
    return str(folder)


def test_the_models_own_tokenizer_is_next(tmp_path: Path) -> None:
    model = tokenizer_folder(tmp_path / "plain")

    async def ask() -> tuple[TokenCounter, list[int]]:
        async with chat_server("openai", None) as (url, _):
            return await counted(url, model)

    counter, counts = asyncio.run(ask())
    assert (counter.name, counter.exact) == (f"tokenizer of {model}", False)
    assert counts == [10, 2]


def test_a_tokenizer_with_a_template_counts_that_too(tmp_path: Path) -> None:
    template = "{% for m in messages %}<{{ m.role }}> {{ m.content }} </s> {% endfor %}<assistant>"
    model = tokenizer_folder(tmp_path / "chat", template)
    counter, counts = asyncio.run(counted(NOBODY, model))
    assert counter.exact
    assert counts == [10 + 2 * 2 + 1, 2 + 2 + 1]


def test_where_nobody_can_count_it_is_guessed_and_said() -> None:
    counter, counts = asyncio.run(counted(NOBODY))
    assert (counter.name, counter.exact) == ("4 characters per token", False)
    assert counts == [round(43 / 4), round(6 / 4)]
    alone = asyncio.run(token_counter(None))
    assert alone.name == counter.name


@pytest.mark.parametrize("answer", [{"error": "no"}, "tokens", None, {"count": "many"}, {"count": -1}, 3])
def test_an_answer_without_a_number_is_no_count(answer: Any) -> None:
    async def ask() -> TokenCounter:
        async with chat_server("vllm", lambda body: answer) as (url, _):
            return (await counted(url))[0]

    assert asyncio.run(ask()).name == "4 characters per token"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["count", "tokens", "x"]), inner),
    max_leaves=6,
)


@given(json_values)
def test_any_answer_is_a_number_or_none(payload: Any) -> None:
    try:
        assert number_of_tokens(payload) >= 0
    except NoCount:
        assert not isinstance(payload, list)
