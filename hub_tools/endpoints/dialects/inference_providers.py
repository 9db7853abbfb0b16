"""Inference Providers and other servers that huggingface_hub knows, through its own AsyncInferenceClient.

The client costs about eight times the CPU of the `openai` dialect, which does not matter where a provider's rate limit
is what counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from yarl import URL

from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, ErrorKind, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.dialects.openai import chat_payload
from hf_relabel.hub_tools.endpoints.hosts import is_hugging_face
from hf_relabel.hub_tools.endpoints.ignoring import Watch
from hf_relabel.hub_tools.endpoints.reading_chat import NoReply, read_chat_reply
from hf_relabel.hub_tools.endpoints.refusals import with_words
from hf_relabel.hub_tools.endpoints.sending import Sending, adapted, send
from hf_relabel.hub_tools.endpoints.server_errors import error_inside, error_of_status, words_of
from hf_relabel.hub_tools.hub.redaction import redact, safe_url, short

if TYPE_CHECKING:
    from huggingface_hub import AsyncInferenceClient
    from huggingface_hub.errors import HfHubHTTPError


class InferenceProvidersEndpoint:
    """A model served by a provider, or a server at a URL, by `AsyncInferenceClient.chat_completion`.

    Args:
        model: model id on the Hub, with a provider after a colon if wanted ("Qwen/Qwen3-32B:cerebras"), or a URL.
        base_url: a server to ask for `model` instead of a provider. huggingface_hub then asks for a JSON schema the way
            TGI understands; for vLLM and its kin use the `openai` dialect.
        provider: a provider of huggingface_hub; None lets the Hub's router choose.
        token: None for HF_TOKEN or the token of `hf auth login`, which go to hosts of Hugging Face and to providers
            but to no other URL; "" for none.
        timeout: seconds for one request.
        extra_body, extra_headers, sending: see HttpEndpoint and WritingEndpoint.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        provider: str | None = None,
        token: str | None = None,
        timeout: float = 300.0,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        sending: Sending | None = None,
    ) -> None:
        if base_url is None and "://" in model:
            model, base_url = "", model
        if not model and not base_url:
            raise ConfigError("The inference-providers dialect needs a model id, such as Qwen/Qwen3-32B, or a URL.")
        self._model, self._base_url = model, base_url
        self._provider, self._token, self._timeout = provider, token, timeout
        self.name = safe_url(base_url) if base_url else f"inference-providers/{provider or 'auto'}/{model}"
        self.extra_body, self.extra_headers = dict(extra_body or {}), tuple(sorted(extra_headers or {}))
        self._secrets = (token, *(extra_headers or {}).values())
        self._more_headers, self.sending = dict(extra_headers or {}), sending or Sending()
        self.constrains = self.sending.constrains
        self._watch = Watch(self.name)
        self._client: AsyncInferenceClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"InferenceProvidersEndpoint({self.name!r})"

    async def info(self) -> EndpointInfo:
        """The model that was asked for: providers tell no revision and no limits. Asks nothing over the network."""
        return EndpointInfo(self._model or self.name)

    async def complete(self, request: Request) -> Reply:
        """Send one request. Raises EndpointError."""
        answer, instead = await send(
            self.sending,
            self.name,
            lambda instead: adapted({**chat_payload(request, "openai"), "max_tokens": request.max_tokens}, instead),
            self._ask,
        )
        try:
            model = self._model or str(answer.get("model", ""))
            reply = read_chat_reply(_as_json(answer), request.top_logprobs, model, self.name)
        except NoReply as problem:
            raise error_inside(self.name, problem, self._short(problem), token_sent=self._token != "") from None
        self._watch.look(request, reply, instead)
        return replace(reply, instead=tuple(instead.items())) if instead else reply

    async def _ask(self, payload: Mapping[str, Any]) -> Any:
        arguments, more = dict(payload), dict(self.extra_body)
        if "max_completion_tokens" in arguments:  # the client has no argument for it
            more["max_completion_tokens"] = arguments.pop("max_completion_tokens")
        try:
            client = self._open()
            async with asyncio.timeout(self._timeout):
                return await client.chat_completion(**arguments, model=self._model or None, extra_body=more or None)
        except TimeoutError:
            raise self._problem(f"no answer within {self._timeout:g} s", "timed_out") from None
        except Exception as error:
            raise self._translated(error) from None

    async def queue_depth(self) -> float | None:
        """None: providers do not say."""
        return None

    async def close(self) -> None:
        """Close the client's connections. Safe to call twice; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()  # type: ignore[no-untyped-call]

    def _open(self) -> AsyncInferenceClient:
        from huggingface_hub import AsyncInferenceClient

        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            target: dict[str, Any] = {"base_url": self._base_url} if self._base_url else {"model": self._model}
            self._client = AsyncInferenceClient(
                **target,
                provider=self._provider,  # type: ignore[arg-type]  # huggingface_hub checks the name itself
                token=self._token or None,
                headers=self._headers(),
                timeout=self._timeout,
            )
        return self._client

    def _headers(self) -> dict[str, str] | None:
        """Keeps huggingface_hub from sending the user's own token to a server that is none of Hugging Face's."""
        from huggingface_hub import get_token

        trusted = self._base_url is None or is_hugging_face(URL(self._base_url))
        if self._token or (trusted and self._token is None) or not get_token():
            return self._more_headers or None
        return {"authorization": ""} | self._more_headers

    def _translated(self, error: Exception) -> EndpointError:
        from httpx2 import HTTPError, TimeoutException
        from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError, OverloadedError

        if isinstance(error, HfHubHTTPError):
            return self._of_status(error)
        if isinstance(error, OverloadedError):
            return error_of_status(self.name, 429, self._short(error))
        if isinstance(error, (InferenceTimeoutError, TimeoutException)):
            return self._problem(f"no answer within {self._timeout:g} s", "timed_out")
        if isinstance(error, HTTPError):  # httpx2's base: refused, reset, broken off
            return self._problem(f"connection failed: {type(error).__name__} {self._short(error)}", "unreachable")
        if type(error).__name__ in ("JSONDecodeError", "UnicodeDecodeError"):
            return self._problem("answered with broken JSON", "garbage")
        # An unknown provider, a model that it does not serve, no token: nothing that passes.
        return self._problem(f"{type(error).__name__}: {self._short(error)}", "misaddressed")

    def _of_status(self, error: HfHubHTTPError) -> EndpointError:
        response = error.response
        said, codes = words_of(response.content)
        found = error_of_status(
            self.name,
            response.status_code,
            short(error.server_message or said, *self._secrets),
            codes,
            retry_after=response.headers.get("Retry-After"),
            token_sent=bool(response.request.headers.get("Authorization")),
        )
        return with_words(found, response.content, *self._secrets)

    def _short(self, error: Exception) -> str:
        return short(str(error), *self._secrets)

    def _problem(self, message: str, kind: ErrorKind) -> EndpointError:
        return EndpointError(f"{self.name}: {redact(message, *self._secrets)}", kind=kind)


def _as_json(value: Any) -> Any:
    """What huggingface_hub parsed, with what it knows no field for: it keeps that beside the fields of each part, but
    out of the dictionary of the whole (`reasoning_content`, the `error` of a choice)."""
    if is_dataclass(value) and isinstance(value, dict):
        return {**value, **{field.name: _as_json(getattr(value, field.name)) for field in fields(value)}}
    return [_as_json(item) for item in value] if isinstance(value, list) else value
