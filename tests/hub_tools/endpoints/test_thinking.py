"""Telling servers whether a model is to think: from the job file to what is sent, and to whom the answers belong."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from hf_relabel.builders.endpoint import Message, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.stages import EndpointSettings, StageSettings
from hf_relabel.hub_tools.endpoints.dialects import tgi
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.templates import compile_template
from hf_relabel.hub_tools.endpoints.thinking import OFF
from hf_relabel.hub_tools.judging.adapting import request_settings
from hf_relabel.hub_tools.judging.assemble import make_stages
from tests.facade import Facade, FunctionBackend, Question
from tests.facade.recorded import Asked, Recorded

REQUEST = Request((Message("user", "Is it?"),), 2, thinking=False)
FREE = replace(REQUEST, thinking=None)


@pytest.mark.parametrize(
    ("settings", "body"),
    [
        ({}, {}),
        ({"enable_thinking": False}, {"chat_template_kwargs": OFF}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        (
            {"enable_thinking": True, "chat_template_kwargs": {"thinking": False, "thinking_budget": 9}},
            {"chat_template_kwargs": {"enable_thinking": True, "thinking": False, "thinking_budget": 9}},
        ),
        (
            {
                "enable_thinking": True,
                "reasoning_effort": "low",
                "extra_body": {"top_p": 0.5, "reasoning_effort": "high", "chat_template_kwargs": {"thinking": 1}},
            },
            {
                "top_p": 0.5,
                "reasoning_effort": "high",
                "chat_template_kwargs": {"enable_thinking": True, "thinking": 1},
            },
        ),
    ],
)
def test_a_job_file_says_how_much_is_thought_and_the_judge_is_known_by_it(
    settings: dict[str, Any], body: dict[str, Any]
) -> None:
    endpoint = {"url": "http://127.0.0.1:9", "dialect": "openai", **settings}
    assert EndpointSettings.model_validate(endpoint).body() == body
    (stage,) = make_stages([StageSettings.model_validate({"judge": "listwise", "endpoints": [endpoint]})], ["one"])
    assert request_settings(stage.endpoints) == ({"extra_body": body} if body else {})


def answer(content: str = "Yes") -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}


def sent(flavor: str, request: Request, **settings: Any) -> dict[str, Any]:
    """The body of the last request that a server with this flavor gets."""
    with Recorded(lambda asked: (200, answer())) as server:
        complete(server.url, request, flavor=flavor, **settings)
        body: dict[str, Any] = server.posted()[-1]
    return body


def complete(url: str, *requests: Request, **settings: Any) -> list[Reply]:
    async def ask() -> list[Reply]:
        endpoint = make_endpoint(f"{url}/v1", model="m", **settings)
        try:
            return [await endpoint.complete(request) for request in requests]
        finally:
            await endpoint.close()

    return asyncio.run(ask())


def test_the_users_word_on_thinking_is_the_last() -> None:
    thinks = {"chat_template_kwargs": {"enable_thinking": True, "budget": 9}}
    both = {"enable_thinking": True, "thinking": False, "budget": 9}
    assert sent("vllm", REQUEST, extra_body=thinks)["chat_template_kwargs"] == both
    assert sent("vllm", FREE, extra_body=thinks)["chat_template_kwargs"] == thinks["chat_template_kwargs"]
    assert sent("openai", REQUEST, extra_body=thinks)["chat_template_kwargs"] == thinks["chat_template_kwargs"]


def test_llama_cpp_takes_the_effort_as_a_variable_of_the_template() -> None:
    effort = {"reasoning_effort": "low"}
    assert sent("llama.cpp", FREE, extra_body=effort)["chat_template_kwargs"] == effort
    assert "chat_template_kwargs" not in sent("vllm", FREE, extra_body=effort)


def test_a_server_whose_tokenizer_takes_no_variables_is_asked_without(caplog: pytest.LogCaptureFixture) -> None:
    """vLLM with Mistral's tokenizers."""
    words = "chat_template is not supported for Mistral tokenizers."

    def refuse(asked: Asked) -> tuple[int, dict[str, Any]]:
        if "chat_template_kwargs" in (asked.payload or {}):
            return 400, {"error": {"message": words, "type": "BadRequestError", "param": None, "code": 400}}
        return 200, answer()

    with Recorded(refuse) as server, caplog.at_level(logging.WARNING):
        first, second = complete(server.url, REQUEST, REQUEST, flavor="vllm")
        assert len(server.posted()) == 3
    assert (first.text, second.text) == ("Yes", "Yes")
    assert first.instead == (("chat_template_kwargs", "none"),)
    assert caplog.text.count("chat_template_kwargs") == 1


def test_tgi_renders_the_models_template_with_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "{% for m in messages %}{{ m.content }}{% endfor %}|{{ enable_thinking }}|{{ reasoning_effort }}"
    monkeypatch.setattr(tgi, "model_template", lambda model, revision, **more: compile_template(source, **more))
    asked: list[Question] = []

    async def ask(url: str, extra: dict[str, Any]) -> str | None:
        endpoint = make_endpoint(url, dialect="tgi", extra_body=extra)
        for request in (FREE, REQUEST):
            await endpoint.complete(request)
        digest = (await endpoint.info()).chat_template
        await endpoint.close()
        return digest

    with Facade(FunctionBackend(lambda question: asked.append(question) or "Yes")) as server:
        plain = asyncio.run(ask(server.url, {}))
        assert asyncio.run(ask(server.url, {"reasoning_effort": "low"})) != plain
        assert "reasoning_effort" not in (server.log[-1].payload or {}).get("parameters", {})
    assert [question.text for question in asked] == ["Is it?||", "Is it?|False|", "Is it?||low", "Is it?|False|low"]


def test_a_template_without_variables_is_told_nothing_in_vain() -> None:
    with pytest.raises(ConfigError, match="'chatml' has no variables"):
        make_endpoint("http://127.0.0.1:9", dialect="tgi", chat_template="chatml", extra_body={"reasoning_effort": "x"})
