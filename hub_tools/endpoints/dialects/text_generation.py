"""Text Generation Inference through Hugging Face's own client package, `text-generation` 0.7.0.

For those who have that client's behaviour to reproduce; the `tgi` dialect is several times as fast. Its metadata asks
for `huggingface-hub<1.0`, so no resolver puts it beside today's libraries, though it works with them:
`pip install --no-deps text-generation==0.7.0`.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

from aiohttp import ClientError

from hf_relabel.builders.endpoint import EndpointError, ErrorKind, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.dialects.tgi import TgiEndpoint, generate_parameters
from hf_relabel.hub_tools.endpoints.server_errors import error_of_status
from hf_relabel.hub_tools.hub.redaction import short

if TYPE_CHECKING:
    from types import ModuleType

INSTALL = "pip install --no-deps text-generation==0.7.0 requests"

_STATUS_OF: dict[str, int] = {
    "OverloadedError": 429,
    "RateLimitExceededError": 429,
    "ValidationError": 422,
    "BadRequestError": 400,
    "NotFoundError": 404,
    "NotSupportedError": 404,
    "GenerationError": 424,
    "IncompleteGenerationError": 500,
    "ShardTimeoutError": 504,
}
"""The package's errors have no common base and no status. These are the statuses that they stand for."""


class TextGenerationEndpoint(TgiEndpoint):
    """A TGI server, by `text_generation.AsyncClient.generate`. Same settings as TgiEndpoint.

    The client opens a connection for each request and reads an answer of any size.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        package = import_text_generation()
        headers = {"Authorization": f"Bearer {self.transport.token}"} if self.transport.token else None
        # Its own timeout only backs up ours: some of its versions count it in minutes.
        self._client = package.AsyncClient(
            str(self.transport.base), headers=headers, timeout=int(self.transport.timeout) + 1
        )

    async def complete(self, request: Request) -> Reply:
        """Send one request. Raises EndpointError."""
        prompt = await self.render(request)
        try:
            async with asyncio.timeout(self.transport.timeout):
                response = await self._client.generate(prompt, **_arguments(request))
        except TimeoutError:
            raise self.transport.problem(f"no answer within {self.transport.timeout:g} s", "timed_out") from None
        except Exception as error:
            raise self._translated(error) from None
        return self._reply(_as_json(response), request, None)

    def _translated(self, error: Exception) -> EndpointError:
        """The package's errors, its KeyErrors on bodies it does not know, and aiohttp's, as an EndpointError."""
        name = type(error).__name__
        said = short(str(error), self.transport.token)
        if type(error).__module__ == "text_generation.errors" and name in _STATUS_OF:
            return error_of_status(self.name, _STATUS_OF[name], said, token_sent=bool(self.transport.token))
        status = getattr(error, "status", None)  # aiohttp's, for an answer that is no JSON
        if isinstance(status, int) and status >= 400:
            return error_of_status(self.name, status, said, token_sent=bool(self.transport.token))
        kind: ErrorKind = "unreachable" if isinstance(error, (ClientError, OSError)) else "garbage"
        return self.transport.problem(f"{name} in the text-generation client: {said}", kind)


def import_text_generation() -> ModuleType:
    """The package, or ConfigError saying how to install it."""
    try:
        with warnings.catch_warnings():
            # It was written for an older pydantic, which is nothing to the user.
            warnings.simplefilter("ignore")
            import text_generation
    except ImportError as error:
        raise ConfigError(
            f"The text-generation dialect needs the TGI client ({error}). Install it: {INSTALL}"
        ) from None
    package: ModuleType = text_generation
    return package


def _arguments(request: Request) -> dict[str, Any]:
    """`generate_parameters` by the names of AsyncClient.generate, which always asks for details."""
    arguments = generate_parameters(request)
    del arguments["details"]
    arguments["stop_sequences"] = list(arguments.pop("stop", ()))
    return arguments


def _as_json(response: Any) -> dict[str, Any]:
    """The package's Response as the JSON it came from."""
    payload: dict[str, Any] = response.model_dump(mode="json")
    return payload
