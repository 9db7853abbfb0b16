"""Servers that refuse a parameter: what real ones were seen to answer, and what is asked of them after that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import pytest

from hf_relabel.builders.endpoint import Endpoint, EndpointError, Message, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.sending import Sending, further, parameters_in, share
from tests.facade.recorded import Asked, Recorded, Said, chat

T = TypeVar("T")

SCHEMA = {"type": "object", "properties": {"better": {"type": "array"}}, "required": ["better"]}
REQUEST = Request(
    (Message("system", "You judge."), Message("user", "Is it?")),
    max_tokens=16,
    temperature=0.1,
    seed=7,
    json_schema=SCHEMA,
    top_logprobs=5,
)
VERDICT = '{"better": []}'


class Refusal(NamedTuple):
    """What a real server answered to a request that held a parameter."""

    server: str
    status: int
    body: Any
    instead: dict[str, str]
    """What is to be sent after it."""


def openai(message: str, param: str | None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def vllm(message: str) -> dict[str, Any]:
    return {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}


# Bodies as they stand in the issues of these servers' users; the last four are the forms that FastAPI, the source of
# `transformers serve` and a chat template that raises give them. (Today's llama.cpp moves the system text itself.)
REFUSALS = [
    Refusal(
        "openai-o1",
        400,
        openai(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'"
            " instead.",
            "max_tokens",
            "unsupported_parameter",
        ),
        {"max_tokens": "max_completion_tokens"},
    ),
    Refusal(
        "openai-gpt-5",
        400,
        openai(
            "Unsupported value: 'temperature' does not support 0.1 with this model. Only the default (1) value is"
            " supported.",
            "temperature",
            "unsupported_value",
        ),
        {"temperature": "none"},
    ),
    Refusal(
        "openai-o1-preview",
        400,
        openai(
            "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
            "messages[0].role",
            "unsupported_value",
        ),
        {"system": "user"},
    ),
    Refusal(
        "azure-gpt-4",
        400,
        openai(
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model. Learn more"
            " about supported models at the Structured Outputs guide:"
            " https://platform.openai.com/docs/guides/structured-outputs",
            None,
        ),
        {"response_format": "json_object"},
    ),
    Refusal(
        "azure-2024-08",
        400,
        openai("Unrecognized request argument supplied: logprobs", None),
        {"logprobs": "none"},
    ),
    Refusal(
        "azure-extra",
        400,
        {
            "error": {
                "requestid": "bd089c5d",
                "code": 400,
                "message": "Validation error at #/seed: Extra inputs are not permitted\nValidation error at #/store:"
                " Extra inputs are not permitted",
            }
        },
        {"seed": "none"},
    ),
    Refusal(
        "vllm-extra",
        400,
        vllm(
            "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted', "
            "'input': 7}]"
        ),
        {"seed": "none"},
    ),
    Refusal("vllm-gemma", 400, vllm("System role not supported"), {"system": "user"}),
    Refusal(
        "vllm-mistral",
        400,
        vllm("Conversation roles must alternate user/assistant/user/assistant/..."),
        {"system": "user"},
    ),
    Refusal(
        "lm-studio",
        400,
        {"error": "'response_format.type' must be 'json_schema' or 'text'"},
        {"response_format": "json_object"},
    ),
    Refusal(
        "deepseek",
        400,
        openai("This response_format type is unavailable now", None, "invalid_request_error"),
        {"response_format": "json_object"},
    ),
    Refusal(
        "xai",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "The response_format parameter is unsupported at the moment. Leave it unset.",
        },
        {"response_format": "json_object"},
    ),
    Refusal(
        "volcengine",
        400,
        {
            "error": {
                "code": "InvalidParameter",
                "message": "The parameter `response_format.type` specified in the request are not valid: invalid value:"
                " `json_schema`, supported values are: `json_object` and `text`.",
                "param": "response_format.type",
                "type": "BadRequest",
            }
        },
        {"response_format": "json_object"},
    ),
    Refusal(
        "llama.cpp-2024",
        400,
        {
            "error": {
                "code": 400,
                "message": 'response_format type must be one of "text" or "json_object", but got: json_schema',
                "type": "invalid_request_error",
            }
        },
        {"response_format": "json_object"},
    ),
    Refusal(
        "litellm",
        400,
        {
            "error": {
                "message": "litellm.UnsupportedParamsError: together_ai does not support parameters: ['logprobs',"
                " 'temperature'], for model=m. To drop these, set `litellm.drop_params=True` or for proxy:\n\n"
                "`litellm_settings:\n drop_params: true`",
                "type": "None",
                "param": None,
                "code": "400",
            }
        },
        {"logprobs": "none", "temperature": "none"},
    ),
    Refusal(
        "gemini",
        400,
        {
            "error": {
                "code": 400,
                "message": "Logprobs is not enabled for models/gemini-2.5-pro",
                "status": "INVALID_ARGUMENT",
            }
        },
        {"logprobs": "none"},
    ),
    Refusal(
        "together",
        400,
        openai("5 is greater than the maximum of 1 - 'logprobs'", "logprobs"),
        {"logprobs": "none"},
    ),
    Refusal(
        "fastapi",
        422,
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "seed"],
                    "msg": "Extra inputs are not permitted",
                    "input": 7,
                }
            ]
        },
        {"seed": "none"},
    ),
    Refusal("transformers-serve", 422, {"detail": "Unexpected fields in the request: {'seed'}"}, {"seed": "none"}),
    Refusal(
        "llama.cpp-template",
        500,
        {"error": {"code": 500, "message": "Jinja Exception: System role not supported", "type": "server_error"}},
        {"system": "user"},
    ),
]
OTHERS = [
    (400, openai("Invalid value for 'content': expected a string, got null.", "messages.[1].content", None)),
    (
        400,
        vllm(
            "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context length is 4096"
            " tokens and your request has 1024 input tokens"
        ),
    ),
    (400, openai("The response was filtered due to the prompt triggering Azure's content policy.", "prompt")),
    (
        422,
        {
            "detail": [
                {
                    "type": "string_type",
                    "loc": ["body", "messages", 1, "content"],
                    "msg": "Invalid",
                    "input": {"seed": 1},
                }
            ]
        },
    ),
    (500, {"error": {"message": "temperature is not supported", "type": "server_error"}}),
]
"""Errors that refuse no parameter, whatever they name."""


def use(endpoint: Endpoint, work: Callable[[Endpoint], Awaitable[T]]) -> T:
    async def run() -> T:
        try:
            return await work(endpoint)
        finally:
            await endpoint.close()

    return asyncio.run(run())


def holds(payload: Mapping[str, Any], name: str, value: str | None) -> bool:
    """Whether a body has a parameter as it was before this was sent instead."""
    if name == "response_format":
        kind = payload.get(name, {}).get("type", "none")
        return ("json_schema", "json_object", "none").index(kind) < ("json_object", "none").index(value or "") + 1
    if name == "logprobs":
        return "logprobs" in payload or "top_logprobs" in payload
    return name in parameters_in(payload)


def refusing(refusal: Refusal) -> Callable[[Asked], Said]:
    """A server that refuses these parameters until they are left out."""

    def answer(asked: Asked) -> Said:
        if asked.method == "GET":
            return (200, {"data": [{"id": "m"}]}) if asked.path == "/v1/models" else (404, {})
        if any(holds(asked.payload, name, value) for name, value in refusal.instead.items()):
            return refusal.status, refusal.body
        return 200, chat(VERDICT)

    return answer


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.server)
def test_a_parameter_that_a_server_refuses_is_left_out_from_then_on(
    refusal: Refusal, caplog: pytest.LogCaptureFixture
) -> None:
    async def thrice(endpoint: Endpoint) -> list[Reply]:
        return [await endpoint.complete(REQUEST) for _ in range(3)]

    with Recorded(refusing(refusal)) as server, caplog.at_level(logging.WARNING):
        replies = use(make_endpoint(server.url, dialect="openai", model="m"), thrice)
        bodies = server.posted()
    assert [reply.text for reply in replies] == [VERDICT] * 3
    assert len(bodies) == 4  # it was refused once
    told = [record.getMessage() for record in caplog.records if "refuses" in record.getMessage()]
    assert len(told) == len(refusal.instead)
    of_answers = {name: value for name, value in refusal.instead.items() if name != "max_tokens"}
    assert [dict(reply.instead) for reply in replies] == [of_answers] * 3
    untouched = parameters_in(bodies[0]) - refusal.instead.keys()
    assert untouched <= parameters_in(bodies[-1])  # nothing else was left out with it
    if "system" in refusal.instead:
        assert bodies[-1]["messages"] == [{"role": "user", "content": "You judge.\n\nIs it?"}]


@pytest.mark.parametrize(("status", "body"), OTHERS)
def test_what_refuses_no_parameter_is_an_error_as_before(status: int, body: Any) -> None:
    def answer(asked: Asked) -> Said:
        return (status, body) if asked.method == "POST" else (200, {"data": [{"id": "m"}]})

    endpoint_error: EndpointError
    with Recorded(answer) as server, pytest.raises(EndpointError) as caught:
        use(make_endpoint(server.url, dialect="openai"), lambda endpoint: endpoint.complete(REQUEST))
    endpoint_error = caught.value
    assert endpoint_error.status == status
    assert len(server.posted()) == 1


def test_json_schema_json_object_then_the_prompt_alone() -> None:
    too_little = openai(
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
        "messages",
    )

    def answer(asked: Asked) -> Said:
        if asked.method == "GET":
            return 200, {"data": [{"id": "m"}]}
        kind = asked.payload.get("response_format", {}).get("type")
        if kind == "json_schema":
            return 400, openai("response_format: type json_schema is not supported", "response_format")
        return (400, too_little) if kind == "json_object" else (200, chat(VERDICT))

    with Recorded(answer) as server:
        reply = use(make_endpoint(server.url, dialect="openai"), lambda endpoint: endpoint.complete(REQUEST))
        kinds = [body.get("response_format", {}).get("type") for body in server.posted()]
    assert kinds == ["json_schema", "json_object", None]
    assert reply.instead == (("response_format", "none"),)


def test_requests_in_flight_take_a_step_together_and_once() -> None:
    async def many(endpoint: Endpoint) -> list[Reply]:
        return await asyncio.gather(*(endpoint.complete(REQUEST) for _ in range(8)))

    with Recorded(refusing(REFUSALS[3])) as server:
        replies = use(make_endpoint(server.url, dialect="openai"), many)
    assert {reply.instead for reply in replies} == {(("response_format", "json_object"),)}


def test_what_a_user_says_is_sent_and_never_changed() -> None:
    takes: dict[str, str | bool] = {
        "temperature": False,
        "seed": False,
        "system": False,
        "response_format": "json_object",
    }
    with Recorded(lambda asked: (200, chat(VERDICT))) as server:
        endpoint = make_endpoint(
            f"{server.url}/v1",
            model="m",
            takes={**takes, "max_tokens": "max_completion_tokens"},
            extra_body={"chat_template_kwargs": {"enable_thinking": False}},
        )
        use(endpoint, lambda endpoint: endpoint.complete(REQUEST))
        [body] = server.posted()
    assert not body.keys() & {"temperature", "seed", "max_tokens"}
    assert body["max_completion_tokens"] == 16
    assert body["response_format"] == {"type": "json_object"}
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    with Recorded(refusing(REFUSALS[1])) as server, pytest.raises(EndpointError, match="Only the default"):
        use(make_endpoint(server.url, model="m", takes={"temperature": True}), lambda it: it.complete(REQUEST))
    assert not make_endpoint("http://127.0.0.1:9", takes={"response_format": False}).constrains


@pytest.mark.parametrize(
    ("takes", "message"),
    [
        ({"temprature": False}, "no parameter 'temprature'. Did you mean 'temperature'"),
        ({"response_format": "xml"}, "response_format is one of json_schema, json_object, none"),
        ({"max_tokens": False}, "max_tokens is one of max_tokens, max_completion_tokens"),
    ],
)
def test_what_cannot_be_taken_is_refused_at_once(takes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_endpoint("http://127.0.0.1:9", takes=takes)


def test_servers_of_one_judge_are_sent_the_same() -> None:
    one, other = Sending(), Sending(fixed=frozenset({"seed"}))
    share([one, other])
    assert one.fall_back("http://one", ["temperature", "seed", "max_tokens"], {}, "it says so")
    assert other.instead == {"temperature": "none"}  # seed is fixed there, and max_tokens is each server's own
    assert one.instead == {"temperature": "none", "seed": "none", "max_tokens": "max_completion_tokens"}
    assert not one.fall_back("http://one", ["temperature"], {"temperature": "none"}, "")
    assert further({"response_format": "none"}, {"response_format": "json_object", "seed": "none"}) == {
        "response_format": "none",
        "seed": "none",
    }


# Servers that pass over a parameter without a word


def test_a_server_that_ignores_schema_and_logprobs_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """As `transformers serve` 5 does: a warning in its own log, and 200."""

    async def twice(endpoint: Endpoint) -> None:
        for _ in range(2):
            await endpoint.complete(REQUEST)

    with Recorded(lambda asked: (200, chat("Well, it depends."))) as server, caplog.at_level(logging.WARNING):
        use(make_endpoint(f"{server.url}/v1", model="m"), twice)
    told = sorted(record.getMessage() for record in caplog.records)
    assert len(told) == 2
    assert "gives no logprobs" in told[1 - ("logprobs" in told[0])]
    assert any("passes over `response_format`" in line for line in told)


def test_who_follows_the_schema_is_not_complained_of(caplog: pytest.LogCaptureFixture) -> None:
    request = replace(REQUEST, top_logprobs=0)
    said = [f"<think>Hm. {{}}</think>\n{VERDICT}", VERDICT]
    for text in said:
        with Recorded(lambda asked, text=text: (200, chat(text))) as server, caplog.at_level(logging.WARNING):
            use(make_endpoint(f"{server.url}/v1", model="m"), lambda endpoint: endpoint.complete(request))
    assert not caplog.records


# Secrets


def test_the_values_of_headers_are_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    def repeat(asked: Asked) -> Said:
        return 400, openai(
            f"seed is not supported for {asked.headers['X-Api-Key']} {asked.headers['Authorization']}", "seed"
        )

    headers = {"X-Api-Key": "gateway-secret", "authorization": "Token another-secret"}
    with Recorded(repeat) as server, caplog.at_level(logging.DEBUG):
        endpoint = make_endpoint(f"{server.url}/v1", model="m", token="sk-not-sent-here", extra_headers=headers)
        with pytest.raises(EndpointError) as caught:
            use(endpoint, lambda endpoint: endpoint.complete(REQUEST))
    assert server.asked[0].headers["Authorization"] == "Token another-secret"
    shown = str(caught.value) + caught.value.words + repr(endpoint) + caplog.text + repr(vars(caught.value))
    for secret in ("gateway-secret", "another-secret"):
        assert secret not in shown
    assert "seed" in caplog.text
