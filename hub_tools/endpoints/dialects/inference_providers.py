"""Inference Providers and other servers that huggingface_hub knows, through its own AsyncInferenceClient.

The client costs about eight times the CPU of the `openai` dialect, which does not matter where a provider's rate limit
is what counts.
"""

from __future__ import annotations

import asyncio
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from yarl import URL

from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, ErrorKind, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.dialects.openai import chat_payload
from hf_relabel.hub_tools.endpoints.reading_chat import NoReply, read_chat_reply
from hf_relabel.hub_tools.endpoints.server_errors import error_inside, error_of_status, words_of
from hf_relabel.hub_tools.endpoints.transport import is_hugging_face
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
    """

    constrains = True

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        provider: str | None = None,
        token: str | None = None,
        timeout: float = 300.0,
    ) -> None:
        if base_url is None and "://" in model:
            model, base_url = "", model
        if not model and not base_url:
            raise ConfigError("The inference-providers dialect needs a model id, such as Qwen/Qwen3-32B, or a URL.")
        self._model, self._base_url = model, base_url
        self._provider, self._token, self._timeout = provider, token, timeout
        self.name = safe_url(base_url) if base_url else f"inference-providers/{provider or 'auto'}/{model}"
        self._client: AsyncInferenceClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"InferenceProvidersEndpoint({self.name!r})"

    async def info(self) -> EndpointInfo:
        """The model that was asked for: providers tell no revision and no limits. Asks nothing over the network."""
        return EndpointInfo(self._model or self.name)

    async def complete(self, request: Request) -> Reply:
        """Send one request. Raises EndpointError."""
        arguments = chat_payload(request, "openai")
        try:
            client = self._open()
            async with asyncio.timeout(self._timeout):
                answer = await client.chat_completion(
                    **arguments, max_tokens=request.max_tokens, model=self._model or None
                )
        except TimeoutError:
            raise self._problem(f"no answer within {self._timeout:g} s", "timed_out") from None
        except Exception as error:
            raise self._translated(error) from None
        try:
            return read_chat_reply(
                _as_json(answer), request.top_logprobs, self._model or str(answer.get("model", "")), self.name
            )
        except NoReply as problem:
            raise error_inside(self.name, problem, self._short(problem), token_sent=self._token != "") from None

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
            return None
        return {"authorization": ""}

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
        return error_of_status(
            self.name,
            response.status_code,
            short(error.server_message or said, self._token),
            codes,
            retry_after=response.headers.get("Retry-After"),
            token_sent=bool(response.request.headers.get("Authorization")),
        )

    def _short(self, error: Exception) -> str:
        return short(str(error), self._token)

    def _problem(self, message: str, kind: ErrorKind) -> EndpointError:
        return EndpointError(f"{self.name}: {redact(message, self._token)}", kind=kind)


def _as_json(value: Any) -> Any:
    """What huggingface_hub parsed, with what it knows no field for: it keeps that beside the fields of each part, but
    out of the dictionary of the whole (`reasoning_content`, the `error` of a choice)."""
    if is_dataclass(value) and isinstance(value, dict):
        return {**value, **{field.name: _as_json(getattr(value, field.name)) for field in fields(value)}}
    return [_as_json(item) for item in value] if isinstance(value, list) else value
