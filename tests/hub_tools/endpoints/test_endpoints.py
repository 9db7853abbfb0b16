"""Every dialect against a server that speaks TGI's protocol, or vLLM's, with and without faults."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from hf_relabel.builders.endpoint import Endpoint, EndpointError, Message, Reply, Request, TokenLogprob
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.dialects.openai import chat_payload
from hf_relabel.hub_tools.endpoints.reading_chat import tokens_of_text
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from tests.facade import Facade, Faults, FunctionBackend, Generated, InvalidInput, Question, Token

T = TypeVar("T")

SCHEMA = {"type": "object", "properties": {"better": {"type": "array"}}}
REQUEST = Request((Message("system", "You judge."), Message("user", "Is it?")), max_tokens=16)
DIALECTS: dict[str, dict[str, Any]] = {
    "tgi": {"chat_template": "chatml"},
    "openai": {},
    "text-generation": {"chat_template": "chatml"},
    "inference-providers": {},
}
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def use(endpoint: Endpoint, work: Callable[[Endpoint], Awaitable[T]]) -> T:
    """Run `work` with an endpoint and close it."""

    async def run() -> T:
        try:
            return await work(endpoint)
        finally:
            await endpoint.close()

    return asyncio.run(run())


def make(url: str, dialect: str, **settings: Any) -> Endpoint:
    return make_endpoint(url, dialect=dialect, **{**DIALECTS[dialect], **settings})


def ask(url: str, dialect: str, request: Request = REQUEST, **settings: Any) -> Reply:
    return use(make(url, dialect, **settings), lambda endpoint: endpoint.complete(request))


def ask_and_fail(url: str, dialect: str, request: Request = REQUEST, **settings: Any) -> EndpointError:
    with pytest.raises(EndpointError) as caught:
        ask(url, dialect, request, **settings)
    return caught.value


def say(text: str, **details: Any) -> FunctionBackend:
    return FunctionBackend(lambda question: Generated(text, **details))


def echo() -> tuple[FunctionBackend, list[Question]]:
    """A backend that says OK, and the questions it was asked."""
    asked: list[Question] = []

    def answer(question: Question) -> str:
        asked.append(question)
        return "OK"

    return FunctionBackend(answer), asked


@every_dialect
def test_a_reply_has_its_text_and_what_it_cost(dialect: str) -> None:
    with Facade(say("yes it is", completion_tokens=3)) as server:
        reply = ask(server.url, dialect)
    assert (reply.text, reply.finish_reason, reply.completion_tokens) == ("yes it is", "stop", 3)
    assert reply.endpoint == server.url


@every_dialect
def test_a_reply_cut_short_says_so(dialect: str) -> None:
    with Facade(say("yes it", finish_reason="length")) as server:
        assert ask(server.url, dialect).finish_reason == "length"


@every_dialect
def test_all_settings_of_a_request_arrive(dialect: str) -> None:
    backend, asked = echo()
    request = Request(
        REQUEST.messages, max_tokens=7, temperature=0.5, seed=11, stop=("END",), json_schema=SCHEMA, top_logprobs=2
    )
    with Facade(backend) as server:
        ask(server.url, dialect, request)
    [question] = asked
    assert (question.max_tokens, question.temperature, question.seed, question.stop) == (7, 0.5, 11, ("END",))
    assert question.schema == SCHEMA
    assert question.top == 2


@every_dialect
def test_temperature_zero_is_greedy(dialect: str) -> None:
    backend, asked = echo()
    with Facade(backend) as server:
        ask(server.url, dialect)
    assert asked[0].temperature is None


@every_dialect
def test_logprobs_come_best_first_and_without_special_tokens(dialect: str) -> None:
    yes, no = Token(1, "yes", -0.1), Token(2, "no", -2.5)
    tokens = (yes._replace(top=(no, yes)), Token(0, "<|im_end|>", -0.01, special=True))
    request = Request(REQUEST.messages, max_tokens=1, top_logprobs=2)
    with Facade(say("yes", tokens=tokens)) as server:
        [token] = ask(server.url, dialect, request).logprobs
    assert (token.text, token.logprob) == ("yes", -0.1)
    assert token.top == (("yes", -0.1), ("no", -2.5))


@pytest.mark.parametrize("dialect", ["tgi", "text-generation"])
def test_native_dialects_send_the_rendered_chat_template(dialect: str) -> None:
    backend, asked = echo()
    with Facade(backend) as server:
        ask(server.url, dialect)
    assert asked[0].text == (
        "<|im_start|>system\nYou judge.<|im_end|>\n<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("dialect", ["openai", "inference-providers"])
def test_chat_dialects_send_the_messages(dialect: str) -> None:
    backend, asked = echo()
    with Facade(backend) as server:
        ask(server.url, dialect)
    assert asked[0].messages == [
        {"role": "system", "content": "You judge."},
        {"role": "user", "content": "Is it?"},
    ]


def test_tokens_around_a_chat_reply_are_left_out_of_its_logprobs() -> None:
    tokens = tuple(TokenLogprob(text, -0.1) for text in ("```json", "\n", '{"a"', ":1}", "\n", "```"))
    assert tokens_of_text(tokens, '{"a":1}') == tokens[2:4]
    assert tokens_of_text(tokens, "not in there") == tokens
    assert tokens_of_text(tokens, "") == ()


def test_the_stop_sequence_is_no_part_of_the_reply() -> None:
    request = Request(REQUEST.messages, max_tokens=9, stop=("END",))
    with Facade(say("yes END", finish_reason="stop_sequence")) as server:
        assert ask(server.url, "tgi", request).text == "yes "


# What a server says of itself


@pytest.mark.parametrize("dialect", ["tgi", "openai", "text-generation"])
def test_tgi_tells_model_revision_and_limits(dialect: str) -> None:
    with Facade(say(""), model_id="org/judge", model_sha="abc", max_concurrent_requests=9) as server:
        info = use(make(server.url, dialect), lambda endpoint: endpoint.info())
    assert (info.model, info.revision, info.max_concurrent_requests) == ("org/judge", "abc", 9)
    assert info.version == "3.3.6"


def test_a_vllm_like_server_tells_its_model_and_length() -> None:
    with Facade(say(""), model_id="org/judge", openai_style=True) as server:
        info = use(make(server.url, "openai"), lambda endpoint: endpoint.info())
    assert info.model == "org/judge"
    assert info.max_total_tokens == server.backend.max_total_tokens


@pytest.mark.parametrize(("dialect", "openai_style"), [("tgi", False), ("openai", False), ("openai", True)])
def test_the_queue_is_read_from_the_metrics(dialect: str, openai_style: bool) -> None:
    with Facade(say(""), openai_style=openai_style) as server:
        server.waiting = 5
        assert use(make(server.url, dialect), lambda endpoint: endpoint.queue_depth()) == 5


def test_a_json_schema_is_asked_for_in_the_servers_own_way() -> None:
    backend, asked = echo()
    request = Request(REQUEST.messages, max_tokens=9, json_schema=SCHEMA)
    ways = {False: {"type": "json", "value": SCHEMA}, True: {"name": "reply", "schema": SCHEMA, "strict": True}}
    for openai_style, way in ways.items():
        with Facade(backend, openai_style=openai_style) as server:
            ask(server.url, "openai", request)
            payload = server.log[-1].payload
        assert payload is not None
        assert way in (payload["response_format"], payload["response_format"].get("json_schema"))
    assert [question.schema for question in asked] == [SCHEMA, SCHEMA]


@pytest.mark.parametrize("flavor", ["vllm", "sglang", "llama.cpp", "openai", "azure", "tgi"])
def test_servers_with_chat_templates_are_told_not_to_think(flavor: Any) -> None:
    told = chat_payload(replace(REQUEST, thinking=False), flavor).get("chat_template_kwargs")
    assert (told == {"enable_thinking": False, "thinking": False}) == (flavor in ("vllm", "sglang", "llama.cpp"))
    assert "chat_template_kwargs" not in chat_payload(REQUEST, flavor)


def test_tgi_is_asked_for_the_model_tgi_and_others_for_what_they_list() -> None:
    asked = []
    for openai_style in (False, True):
        with Facade(say(""), model_id="org/judge", openai_style=openai_style) as server:
            ask(server.url, "openai")
            asked.append((server.log[-1].payload or {})["model"])
    assert asked == ["tgi", "org/judge"]


# Failures


@every_dialect
@pytest.mark.parametrize(
    ("kind", "status", "overloaded"),
    [
        ("overload", 429, True),
        ("error503", 503, True),
        ("error500", 500, False),
        ("error502", 502, False),
        ("generation", 424, False),
        ("incomplete_generation", 500, False),
    ],
)
def test_a_server_in_trouble_is_worth_another_try(dialect: str, kind: Any, status: int, overloaded: bool) -> None:
    with Facade(say("OK"), faults=Faults.storm(1, kind, retry_after=3)) as server:
        endpoint = make(server.url, dialect)

        async def twice(endpoint: Endpoint) -> tuple[EndpointError, Reply]:
            with pytest.raises(EndpointError) as caught:
                await endpoint.complete(REQUEST)
            return caught.value, await endpoint.complete(REQUEST)

        error, reply = use(endpoint, twice)
    assert (error.status, error.retryable, error.overloaded) == (status, True, overloaded)
    assert error.blame_server
    if overloaded and dialect != "text-generation":  # whose errors have no headers
        assert error.retry_after == 3
    assert str(error).startswith(server.url)
    assert reply.text == "OK"


@every_dialect
@pytest.mark.parametrize("kind", ["reset", "half_body", "garbage", "wrong_content_type"])
def test_a_broken_answer_is_worth_another_try(dialect: str, kind: Any) -> None:
    with Facade(say("OK"), faults=Faults.storm(1, kind)) as server:
        error = ask_and_fail(server.url, dialect)
    assert error.retryable
    assert not error.overloaded
    assert error.blame_server


@every_dialect
def test_a_silent_server_is_given_up_on(dialect: str) -> None:
    with Facade(say("OK"), faults=Faults.storm(1, "stall")) as server:
        error = ask_and_fail(server.url, dialect, timeout=0.3)
    assert (error.kind, error.retryable) == ("timed_out", True)
    assert "no answer within 0.3 s" in str(error)


@every_dialect
def test_a_refused_request_is_not_the_servers_fault(dialect: str) -> None:
    def refuse(question: Question) -> str:
        raise InvalidInput("`inputs` must have less than 1024 tokens. Given: 2048")

    with Facade(FunctionBackend(refuse)) as server:
        error = ask_and_fail(server.url, dialect)
    assert (error.status, error.kind, error.retryable, error.blame_server) == (422, "too_long", False, False)
    assert "less than 1024 tokens" in str(error)


@every_dialect
def test_a_closed_door_says_whether_a_token_was_sent(dialect: str) -> None:
    with Facade(say("OK"), api_key="right") as server:
        without = ask_and_fail(server.url, dialect, token="")
        wrong = ask_and_fail(server.url, dialect, token="hf_wrongtoken")
        assert ask(server.url, dialect, token="right").text == "OK"
    assert (without.status, without.kind, without.retryable) == (401, "unauthorized", False)
    assert "no token was sent" in str(without)
    assert "a token was sent" in str(wrong)
    assert "hf_wrong" not in str(wrong)


@every_dialect
def test_nobody_there(dialect: str) -> None:
    with Facade(say("OK")) as server:
        url = server.url
    error = ask_and_fail(url, dialect)
    assert (error.kind, error.retryable) == ("unreachable", True)
    assert error.status is None


@every_dialect
def test_an_endpoint_lives_through_several_event_loops(dialect: str) -> None:
    with Facade(say("OK")) as server:
        endpoint = make(server.url, dialect)
        for _ in range(3):
            assert use(endpoint, lambda endpoint: endpoint.complete(REQUEST)).text == "OK"
        asyncio.run(endpoint.close())


@every_dialect
def test_tokens_are_never_shown(dialect: str) -> None:
    endpoint = make("http://user:password@127.0.0.1:9/?api_key=q", dialect, token="hf_verysecrettoken")
    assert endpoint.name == "http://127.0.0.1:9"
    shown = repr(endpoint) + str(ask_and_fail("http://user:password@127.0.0.1:9", dialect, token="hf_verysecrettoken"))
    for secret in ("hf_verysecrettoken", "password"):
        assert secret not in shown


def test_the_users_own_token_stays_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_belongstohuggingface")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-belongstoopenai")
    with Facade(say("OK")) as server:
        for dialect in DIALECTS:
            ask(server.url, dialect)
        sent = [entry.headers.get("Authorization", "") for entry in server.log]
    assert sent == [""] * len(DIALECTS)


def test_without_the_tgi_client_its_dialect_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "text_generation":
            raise ImportError("No module named 'text_generation'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match="pip install --no-deps text-generation"):
        make("http://127.0.0.1:9", "text-generation")
