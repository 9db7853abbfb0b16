"""Which dialect a server speaks, found out by asking it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hf_relabel.builders.endpoint import Endpoint, EndpointError, EndpointInfo, Reply, Request
from hf_relabel.hub_tools.endpoints.once import Once
from hf_relabel.hub_tools.endpoints.options import EndpointOptions
from hf_relabel.hub_tools.endpoints.tokens import CountsTokens
from hf_relabel.hub_tools.endpoints.transport import NotJson, Transport
from hf_relabel.hub_tools.hub.redaction import safe_url


class AutoEndpoint:
    """A server at a URL whose dialect is found out before the first request.

    Args:
        make: makes the endpoint of the dialect of this name.
    """

    def __init__(self, options: EndpointOptions, make: Callable[[str], Endpoint]) -> None:
        self._transport = Transport(
            options.location,
            token=options.token,
            timeout=options.timeout,
            proxy=options.proxy,
            headers=options.extra_headers,
        )
        self.name = safe_url(options.location)
        self._is_named, self._make = options.model is not None, make
        self.sending, self.extra_body = options.sending, options.extra_body
        self.constrains = self.sending.constrains
        self.extra_headers = tuple(sorted(options.extra_headers))
        self._endpoint = Once(self._find)
        self._found: Endpoint | None = None

    def __repr__(self) -> str:
        return f"AutoEndpoint({self.name!r})"

    async def info(self) -> EndpointInfo:
        return await (await self._endpoint.get()).info()

    async def complete(self, request: Request) -> Reply:
        return await (await self._endpoint.get()).complete(request)

    async def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """See hf_relabel.hub_tools.endpoints.tokens."""
        found = await self._endpoint.get()
        return await found.count_tokens(texts) if isinstance(found, CountsTokens) else None

    async def count_prompts(self, requests: Sequence[Request]) -> list[int] | None:
        """See hf_relabel.hub_tools.endpoints.tokens."""
        found = await self._endpoint.get()
        return await found.count_prompts(requests) if isinstance(found, CountsTokens) else None

    async def queue_depth(self) -> float | None:
        return None if self._found is None else await self._found.queue_depth()

    async def close(self) -> None:
        await self._transport.close()
        if self._found is not None:
            await self._found.close()

    async def _find(self) -> Endpoint:
        self._found = self._make(await dialect_of(self._transport, named=self._is_named))
        return self._found


async def dialect_of(transport: Transport, *, named: bool = False) -> str:
    """The dialect of a server: tgi where /info names a model, openai where /v1/models answers.

    Args:
        named: whether the model is; then a server that cannot list its models is taken for one with OpenAI's API.

    Raises:
        EndpointError: it is neither, or cannot be reached.
    """
    why: list[str] = []
    said = await _look(transport, "info", [], broken_too=named)
    if isinstance(said, dict) and "model_id" in said:
        return "tgi"
    listed = await _look(transport, "v1/models", why, broken_too=named)
    if named or (isinstance(listed, dict) and "data" in listed):
        return "openai"
    raise transport.problem(
        "is neither a TGI server (/info) nor one with OpenAI's API (/v1/models). Name its dialect if it is one"
        + "".join(f" (/v1/models: {said.removeprefix(f'{transport.name}: ')})" for said in why)
        + ".",
        "misaddressed",
    )


async def _look(transport: Transport, path: str, why: list[str], *, broken_too: bool = False) -> object:
    """A GET that may find nothing. Raises EndpointError when the server cannot be had or lets nobody in.

    Args:
        why: gets what was said instead, where nothing is found: a redirect, a page to sign in at.
        broken_too: whether a server that breaks at it (500) has nothing there.
    """
    try:
        return await transport.get(path)
    except NotJson as error:
        why.append(str(error))
        return None
    except EndpointError as error:
        why.append(str(error))
        if broken_too and error.status in (500, 501, 502):
            return None
        if error.status is None or error.retryable or error.kind == "unauthorized":
            raise
        return None
