"""Typed decisions: servers that answer questions with probabilities and write no text, for the `pointwise` judge.

    OpenAI, SGLang, vLLM 0.33   POST /v1/decisions   {model, input, questions: [{type: predicate, instructions}]}
                                                     {answers: [{type: predicate, probability}], usage}
    TypeSafe, vLLM 0.32         POST /v1/systemone   {model, state, questions: {name: {type: noul, instructions}}}
                                                     {answers: {name: {noul}}, usage, diagnostics}

After OpenAI's Python client (openai 3.57, `types/decision*.py`) and vLLM 0.32 (`structured_decisions/protocol.py`).
What was driven is on the page of `judge`.
"""

from __future__ import annotations

import math
from typing import Any, Unpack

from hf_relabel.builders.endpoint import EndpointInfo, Reply, Request, TokenLogprob
from hf_relabel.hub_tools.endpoints.dialects.http_endpoint import HttpEndpoint, HttpOptions
from hf_relabel.hub_tools.endpoints.once import Once
from hf_relabel.hub_tools.endpoints.served_models import asked, only_one
from hf_relabel.hub_tools.endpoints.tokens import chat_messages

SYSTEM_ONE = "systemone"
DECISIONS = "decisions"
_NAME = "relevant"
_QUESTION = "The right answer to what is asked above is Yes."


class DecisionsEndpoint(HttpEndpoint):
    """A server of typed decisions. A reply is `Yes` or `No`, with the probability of both.

    Args:
        url: of the server, with or without `/v1`, `/v1/decisions` or `/v1/systemone`; the first of these if neither.
        model: to ask for, where a server has several.
        options: see HttpEndpoint.
    """

    constrains = False
    decides = True
    """Answers the pointwise judge's question, and no other."""

    def __init__(self, url: str, *, model: str | None = None, **options: Unpack[HttpOptions]) -> None:
        base, mark, query = url.partition("?")
        base = base.rstrip("/")
        self._route = SYSTEM_ONE if base.endswith(f"/{SYSTEM_ONE}") else DECISIONS
        base = base.removesuffix(f"/{self._route}").removesuffix("/v1")
        super().__init__(base + mark + query, **options)
        self._given_model = model
        self._model = Once(self._look_up)

    async def info(self) -> EndpointInfo:
        """The model, asked anew each time. Raises EndpointError."""
        return EndpointInfo(await self._look_up())

    async def complete(self, request: Request) -> Reply:
        """Ask one question. Raises EndpointError."""
        model = await self._model.get()
        answer = await self.transport.post(f"v1/{self._route}", {**self._payload(request, model), **self.extra_body})
        try:
            yes, mass = _read(answer.payload)
            usage = answer.payload.get("usage") or {}
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self.transport.problem(f"answered JSON that is no decision ({error!r})") from None
        if yes is None:
            raise self.transport.problem("declined to answer", "refused")
        text = "Yes" if yes >= 0.5 else "No"
        top = tuple(sorted((("Yes", _log(yes * mass)), ("No", _log((1 - yes) * mass))), key=lambda pair: -pair[1]))
        return Reply(
            text,
            prompt_tokens=usage.get("input_tokens"),
            completion_tokens=usage.get("output_tokens"),
            model=model,
            endpoint=self.name,
            logprobs=(TokenLogprob(text, top[0][1], top),),
        )

    def _payload(self, request: Request, model: str) -> dict[str, Any]:
        if self._route == SYSTEM_ONE:
            state = "\n\n".join(message.content for message in request.messages)
            question = {"type": "noul", "instructions": _QUESTION}
            return {"model": model, "state": state, "questions": {_NAME: question}}
        question = {"type": "predicate", "name": _NAME, "instructions": _QUESTION}
        return {"model": model, "input": chat_messages(request), "questions": [question]}

    async def _look_up(self) -> str:
        if self._given_model:
            return self._given_model
        return only_one(self.transport, await asked(self.transport, "v1/models"))


def _read(payload: Any) -> tuple[float | None, float]:
    """The probability of yes, None where it was declined, and how much of all probability yes and no have together.

    Raises KeyError, IndexError, TypeError, ValueError or AttributeError when it is no decision.
    """
    answers = payload["answers"]
    if isinstance(answers, dict):
        yes = answers[_NAME]["noul"]
        told = (payload.get("diagnostics") or {}).get(_NAME) or {}
        mass = float(told.get("label_mass", 1.0))
    else:
        if answers[0]["type"] == "refusal":
            return None, 1.0
        yes, mass = answers[0]["probability"], 1.0
    if not 0 <= yes <= 1:
        raise ValueError(f"a probability of {yes}")
    return float(yes), mass


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else -math.inf
