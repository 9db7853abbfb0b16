"""Text Generation Inference by its native route, /generate: grammar, tokens and logprobs.

Follows the public documentation and router source of TGI 3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from hf_relabel.builders.endpoint import EndpointInfo, Reply, Request, TokenLogprob
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.dialects.http_endpoint import HttpOptions, WritingEndpoint
from hf_relabel.hub_tools.endpoints.grammars import tgi_grammar
from hf_relabel.hub_tools.endpoints.once import Once
from hf_relabel.hub_tools.endpoints.reading_chat import NoReply, count_told, finish_of, raise_for_error, said_in
from hf_relabel.hub_tools.endpoints.sending import Sending, send
from hf_relabel.hub_tools.endpoints.templates import (
    Template,
    answering,
    built_in_template,
    model_template,
    template_digest,
)
from hf_relabel.hub_tools.endpoints.thinking import template_variables
from hf_relabel.hub_tools.endpoints.tokens import count_each, number_of_tokens

MAX_TOP_TOKENS = 5
"""TGI's `max_top_n_tokens`: more alternatives are refused."""
_KEYS = {
    "response_format": "grammar",
    "temperature": "temperature",
    "seed": "seed",
    "stop": "stop",
    "logprobs": "top_n_tokens",
}
"""What the parameters of `Sending` are called here."""


class TgiEndpoint(WritingEndpoint):
    """A TGI server, by `POST /generate`.

    Args:
        url: root of the server, or the URL of its /generate route.
        model: model id on the Hub whose chat template is used; None for the one that /info names.
        chat_template: "auto" for the model's own, or plain, chatml, llama3, gemma, mistral.
        options: see HttpEndpoint. `extra_body` are further `parameters` of every request, and variables of the model's
            own template (`chat_template_kwargs`, `reasoning_effort`).
        sending: see WritingEndpoint.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        chat_template: str = "auto",
        sending: Sending | None = None,
        **options: Unpack[HttpOptions],
    ) -> None:
        super().__init__(url.removesuffix("/").removesuffix("/generate"), options, sending)
        self._model = model
        self._info = Once(self._ask_info)
        self._fixed_template = built_in_template(chat_template)
        self._variables, self._extra = template_variables(self.extra_body)
        if self._variables and self._fixed_template is not None:
            raise ConfigError(
                f"The chat template {chat_template!r} has no variables (given: {', '.join(self._variables)}), so it"
                " cannot be told whether to think. Leave chat_template out for the model's own."
            )
        self._model_template = Once(self._find_template)
        self._served = model or ""

    async def info(self) -> EndpointInfo:
        """What /info says, asked anew each time, and the chat template in use. Raises EndpointError."""
        info = await self._ask_info()
        return replace(info, chat_template=template_digest(await self._template()))

    async def complete(self, request: Request) -> Reply:
        """Send one request. Raises EndpointError."""
        prompt = await self.render(request)
        answer, instead = await send(
            self.sending,
            self.name,
            lambda instead: {"inputs": prompt, "parameters": self._parameters(request, instead)},
            lambda payload: self.transport.post("generate", payload),
        )
        reply = self._reply(answer.payload, request, answer.headers.get("x-prompt-tokens"))
        self._watch.look(request, reply, instead)
        return replace(reply, instead=tuple(instead.items())) if instead else reply

    def _parameters(self, request: Request, instead: Mapping[str, str]) -> dict[str, Any]:
        parameters = generate_parameters(request)
        for name, key in _KEYS.items():
            if name in instead:  # it knows no JSON without a schema
                parameters.pop(key, None)
        return {**parameters, **self._extra}

    async def render(self, request: Request) -> str:
        """The prompt as the model gets it."""
        template = await self._template()
        return (answering(template) if request.thinking is False else template)(request.messages)

    async def _template(self) -> Template:
        return self._fixed_template or await self._model_template.get()

    async def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """See hf_relabel.hub_tools.endpoints.tokens."""
        return await count_each(texts, self._count)

    async def count_prompts(self, requests: Sequence[Request]) -> list[int] | None:
        """See hf_relabel.hub_tools.endpoints.tokens."""
        return await self.count_tokens([await self.render(request) for request in requests])

    async def _count(self, text: str) -> int:
        return number_of_tokens((await self.transport.post("tokenize", {"inputs": text})).payload)

    async def _ask_info(self) -> EndpointInfo:
        said = await self.transport.get("info")
        if not isinstance(said, dict) or not isinstance(said.get("model_id"), str):
            raise self.transport.problem("/info names no model: this is not a TGI server", "misaddressed")
        self._served = said["model_id"]
        return tgi_info(said)

    async def _find_template(self) -> Template:
        info = await self._info.get()
        revision = info.revision if self._model in (None, info.model) else None
        return await asyncio.to_thread(model_template, self._model or info.model, revision, **self._variables)

    def _reply(self, payload: Any, request: Request, prompt_tokens: str | None) -> Reply:
        try:
            if isinstance(payload, list):
                payload = payload[0]
            raise_for_error(payload)
            text, details = payload["generated_text"], payload.get("details") or {}
            return Reply(
                text=without_stop(text, details.get("finish_reason"), request.stop),
                finish_reason=finish_of(details.get("finish_reason")),
                prompt_tokens=int(prompt_tokens or 0) or len(details.get("prefill") or ()) or None,
                completion_tokens=count_told(details.get("generated_tokens"), positive=bool(text)),
                model=self._served,
                endpoint=self.name,
                logprobs=read_tokens(details, request.top_logprobs) if request.top_logprobs else (),
            )
        except NoReply as problem:
            raise self.transport.no_reply(problem) from None
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise self.transport.problem(f"answered JSON that is no /generate answer: {said_in(payload)}") from None


def generate_parameters(request: Request) -> dict[str, Any]:
    """`parameters` of /generate. Temperature 0 is not sent: TGI refuses it, and is greedy without one."""
    parameters: dict[str, Any] = {
        "max_new_tokens": request.max_tokens,
        "details": True,
        "decoder_input_details": False,
        "return_full_text": False,
    }
    if request.temperature > 0:
        parameters["do_sample"] = True
        parameters["temperature"] = request.temperature
    if request.seed is not None:
        parameters["seed"] = request.seed
    if request.stop:
        parameters["stop"] = request.stop
    if request.json_schema is not None:
        parameters["grammar"] = tgi_grammar(request.json_schema)
    if request.top_logprobs > 0:
        parameters["top_n_tokens"] = min(request.top_logprobs, MAX_TOP_TOKENS)
    return parameters


def without_stop(text: str, finish_reason: str | None, stop: Sequence[str]) -> str:
    """TGI leaves the stop sequence at the end of the text; chat servers do not, and neither do replies here."""
    if not isinstance(text, str):
        raise TypeError("generated_text is no text")
    if finish_reason == "stop_sequence":
        for sequence in stop:
            if text.endswith(sequence):
                return text.removesuffix(sequence)
    return text


def read_tokens(details: dict[str, Any], top: int) -> tuple[TokenLogprob, ...]:
    """The tokens of the text with up to `top` alternatives each. Special tokens, which the text lacks, are left out."""
    tokens = details.get("tokens") or []
    alternatives = details.get("top_tokens") or [()] * len(tokens)
    return tuple(
        TokenLogprob(token["text"], _logprob(token), _best(others, top))
        for token, others in zip(tokens, alternatives, strict=False)
        if not token.get("special")
    )


def _best(others: Sequence[dict[str, Any]], top: int) -> tuple[tuple[str, float], ...]:
    pairs = [(other["text"], _logprob(other)) for other in others]
    return tuple(sorted(pairs, key=lambda pair: -pair[1])[:top])


def _logprob(token: dict[str, Any]) -> float:
    """A token that the grammar ruled out has no logprob (JSON knows no -inf)."""
    value = token.get("logprob")
    return float("-inf") if value is None else float(value)


def tgi_info(said: dict[str, Any]) -> EndpointInfo:
    """What TGI's /info says. Version 1 wrote `max_input_length`."""
    return EndpointInfo(
        model=said["model_id"],
        revision=said.get("model_sha"),
        max_concurrent_requests=said.get("max_concurrent_requests"),
        max_input_tokens=said.get("max_input_tokens") or said.get("max_input_length"),
        max_total_tokens=said.get("max_total_tokens"),
        version=said.get("version"),
    )
