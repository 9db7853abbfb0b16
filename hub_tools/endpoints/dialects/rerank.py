"""Rerankers: `/rerank` of TEI, vLLM, Infinity, llama.cpp, Jina, Cohere and those who speak like one of them.

    TEI        POST /rerank     {query, texts}               [{index, score}]
    the others POST …/rerank    {model, query, documents}    {results: [{index, relevance_score}], usage | meta}

Follows their public references; what was driven is on the page of `judge`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import orjson

from hf_relabel.builders.endpoint import EndpointInfo, Reply, Request
from hf_relabel.hub_tools.endpoints.dialects.http_endpoint import HttpEndpoint, HttpOptions
from hf_relabel.hub_tools.endpoints.hosts import is_host
from hf_relabel.hub_tools.endpoints.once import Once
from hf_relabel.hub_tools.endpoints.served_models import asked, only_one

_ROUTE = "rerank"
_VERSIONS = {"cohere.com": "v2/", "cohere.ai": "v2/", "jina.ai": "v1/", "together.xyz": "v1/", "voyageai.com": "v1/"}
"""Where the route is at services whose address has no version."""


@dataclass(frozen=True, slots=True)
class _Server:
    """What is known of a server.

    Attributes:
        model: to ask for; "" where it takes none.
        most: texts in one request; None for as many as there are.
    """

    is_tei: bool
    model: str
    info: EndpointInfo
    most: int | None = None


class RerankEndpoint(HttpEndpoint):
    """A server that scores texts against a query.

    A reply's `text` is a JSON list: a score for each of the request's documents, in their order, null where the server
    gave none.

    Args:
        url: of the server, with or without its version and `/rerank`.
        model: to ask for, where a server has several; services (Cohere, Jina) always need it.
        options: see HttpEndpoint.
    """

    constrains = False
    reranks = True

    def __init__(self, url: str, *, model: str | None = None, **options: Unpack[HttpOptions]) -> None:
        base, mark, query = url.partition("?")
        base = base.rstrip("/").removesuffix(f"/{_ROUTE}")
        root, _, last = base.rpartition("/")
        prefix = ""
        if last in ("v1", "v2") and not root.endswith("/"):
            base, prefix = root, f"{last}/"
        super().__init__(base + mark + query, **options)
        own = (version for host, version in _VERSIONS.items() if is_host(self.transport.host, (host,)))
        self._prefix = prefix or next(own, "")
        self._given_model = model
        self._server = Once(self._look_up)

    async def info(self) -> EndpointInfo:
        """Model and limits, asked anew each time. Raises EndpointError."""
        return (await self._look_up()).info

    async def complete(self, request: Request) -> Reply:
        """Score the documents of a request. Raises EndpointError."""
        server = await self._server.get()
        query, documents = request.messages[-1].content, request.documents
        scores: list[float | None] = []
        tokens: int | None = None
        for start in range(0, len(documents), server.most or len(documents) or 1):
            some = documents[start : start + (server.most or len(documents))]
            answer = await self.transport.post(
                f"{self._prefix}{_ROUTE}", {**_payload(server, query, some), **self.extra_body}
            )
            try:
                scores += _read(answer.payload, len(some))
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise self.transport.problem(f"answered JSON that is no ranking ({error!r})") from None
            if (used := _tokens(answer.payload)) is not None:
                tokens = (tokens or 0) + used
        text = orjson.dumps(scores).decode()
        return Reply(text, prompt_tokens=tokens, completion_tokens=0, model=server.info.model, endpoint=self.name)

    async def _look_up(self) -> _Server:
        said = await self._ask("info")
        if isinstance(said, dict) and isinstance(said.get("model_id"), str):
            info = EndpointInfo(
                self._given_model or said["model_id"],
                said.get("model_sha"),
                max_concurrent_requests=said.get("max_concurrent_requests"),
                version=said.get("version"),
            )
            return _Server(True, "", info, said.get("max_client_batch_size"))
        if self._given_model:
            return _Server(False, self._given_model, EndpointInfo(self._given_model))
        listed = await self._ask("v1/models")
        if listed is None:
            listed = await self._ask("models")  # Infinity, unless told otherwise
        model = only_one(self.transport, listed)
        return _Server(False, model, EndpointInfo(model))

    async def _ask(self, path: str) -> Any:
        return await asked(self.transport, path, keys_matter=not self._given_model)


def _payload(server: _Server, query: str, documents: Sequence[str]) -> dict[str, Any]:
    if server.is_tei:
        return {"query": query, "texts": documents, "raw_scores": False, "return_text": False}
    return {"model": server.model, "query": query, "documents": documents, "top_n": len(documents)}


def _read(payload: Any, count: int) -> list[float | None]:
    """The scores by the places of the documents. Raises KeyError, IndexError, TypeError or ValueError."""
    found: list[float | None] = [None] * count
    for each in payload if isinstance(payload, list) else payload["results"]:
        place, score = each["index"], each["score"] if "score" in each else each["relevance_score"]
        if not 0 <= place < count or found[place] is not None:
            raise ValueError(f"index {place}")
        found[place] = float(score) if math.isfinite(score) else None
    return found


def _tokens(payload: Any) -> int | None:
    """Tokens that were read, where the server says so: `usage` (vLLM, Infinity, Jina)."""
    usage = payload.get("usage") if isinstance(payload, dict) else None
    if not isinstance(usage, dict):
        return None
    told = usage.get("prompt_tokens") or usage.get("total_tokens")
    return told if isinstance(told, int) else None
