"""The Batch API of OpenAI and of those who speak it: files go up, a batch is made of each, its results come down.

Follows OpenAI's reference (`POST /v1/files` with purpose `batch`, `POST /v1/batches`, `GET /v1/batches/{id}`, `GET
/v1/files/{id}/content`). Azure has the same below `/openai`. Together takes a file where it says (302, PUT, then
`preprocess`), calls the purpose `batch-api`, and wraps a new batch in `job`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import orjson

from hf_relabel.builders.disk.atomic_file import written_beside
from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.hub_tools.batches.ledger import Remote
from hf_relabel.hub_tools.endpoints.dialects.openai import OpenAIEndpoint
from hf_relabel.hub_tools.endpoints.hosts import is_host
from hf_relabel.hub_tools.endpoints.transport import Transport

ATTEMPTS = 6
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
LIST_PAGE = 100
MOST_LISTED = 1_000
"""Batches that are looked through for one that may have been made."""
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_CHUNK = 2**20
_TOGETHER = ("together.xyz", "together.ai")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Ways:
    """In what services differ.

    Attributes:
        purpose: of an uploaded file.
        elsewhere: whether a file goes to an address that the service names.
    """

    purpose: str = "batch"
    elsewhere: bool = False


class BatchService:
    """Asks one service. Each call is tried several times where that may help.

    Args:
        endpoint: whose requests the files hold. It is not closed.
        wait: what waits so many seconds; a test's own does not.
    """

    def __init__(self, endpoint: OpenAIEndpoint, *, wait: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._transport: Transport = endpoint.transport
        self._path, self._url, self._wait = endpoint.api_path, endpoint.batch_url, wait
        self.name = endpoint.name
        together = is_host(self._transport.host, _TOGETHER)
        self._ways = Ways("batch-api", elsewhere=True) if together else Ways()

    async def upload(self, path: Path) -> str:
        """Upload a file of requests and give its id. Raises EndpointError."""
        return await self._trying(lambda: self._upload_elsewhere(path) if self._ways.elsewhere else self._upload(path))

    async def create(self, file_id: str) -> Remote:
        """Make a batch of an uploaded file.

        It is asked for once: whether one was made by a call that broke off, `find` can tell.

        Raises:
            EndpointError: with `status` None or 5xx it may have been made all the same.
        """
        asked = {"input_file_id": file_id, "endpoint": self._url, "completion_window": "24h"}
        answer = await self._transport.post(f"{self._path}batches", asked)
        said = answer.payload.get("job", answer.payload) if isinstance(answer.payload, dict) else {}
        return self._remote(said, file_id)

    async def find(self, file_id: str) -> Remote | None:
        """The newest batch that was made of a file, None where there is none among the last thousand."""
        after, seen = "", 0
        while seen < MOST_LISTED:
            query = f"?limit={LIST_PAGE}" + (f"&after={after}" if after else "")
            listed = await self._trying(lambda query=query: self._get(f"{self._path}batches", query))  # type: ignore[misc]
            batches = listed.get("data", []) if isinstance(listed, dict) else listed
            batches = [each for each in batches if isinstance(each, dict)] if isinstance(batches, list) else []
            for each in batches:
                if each.get("input_file_id") == file_id:
                    return self._remote(each, file_id)
            seen += len(batches)
            if not (isinstance(listed, dict) and listed.get("has_more") and batches):
                return None
            after = str(batches[-1].get("id", ""))
        return None

    async def status(self, remote: Remote) -> Remote:
        """What has become of a batch. Raises EndpointError."""
        said = await self._trying(lambda: self._get(f"{self._path}batches/{remote.batch_id}"))
        return self._remote(said, remote.file_id)

    async def download(self, file_id: str, target: Path) -> None:
        """Put a file of results at its place, whole or not at all. Raises EndpointError, OSError."""
        await self._trying(lambda: self._download(file_id, target))

    # One attempt each

    async def _get(self, path: str, query: str = "") -> Any:
        async with self._transport.streamed("GET", path + query) as got:
            return self._json(await got.read())

    async def _upload(self, path: Path) -> str:
        with path.open("rb") as file, aiohttp.MultipartWriter("form-data") as form:
            purpose = form.append(self._ways.purpose, {"Content-Type": "text/plain"})
            purpose.set_content_disposition("form-data", name="purpose")
            sent = form.append(file, {"Content-Type": "application/jsonl"})
            sent.set_content_disposition("form-data", name="file", filename=path.name)
            headers = {"Content-Type": form.headers["Content-Type"]}
            async with self._transport.streamed("POST", f"{self._path}files", data=form, headers=headers) as got:
                return self._id(self._json(await got.read()))

    async def _upload_elsewhere(self, path: Path) -> str:
        form = aiohttp.FormData({"purpose": self._ways.purpose, "file_name": path.name, "file_type": "jsonl"})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        async with self._transport.streamed("POST", f"{self._path}files", data=form(), headers=headers) as got:
            place, file_id = got.headers.get("Location"), got.headers.get("X-Together-File-Id")
        if not place or not file_id:
            raise self._transport.problem("did not say where to put the file (no Location, no X-Together-File-Id)")
        with path.open("rb") as file:
            async with self._transport.streamed_elsewhere("PUT", place, data=file):
                pass
        async with self._transport.streamed("POST", f"{self._path}files/{file_id}/preprocess") as got:
            await got.read()
        return file_id

    async def _download(self, file_id: str, target: Path) -> None:
        async with self._transport.streamed("GET", f"{self._path}files/{file_id}/content") as got:
            if place := got.headers.get("Location"):
                async with self._transport.streamed_elsewhere("GET", place) as there:
                    await _saved(there, target)
            else:
                await _saved(got, target)

    # Reading

    def _json(self, content: bytes) -> Any:
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            raise self._transport.problem("answered with broken JSON") from None

    def _id(self, said: Any) -> str:
        found = said.get("id") if isinstance(said, dict) else None
        if not isinstance(found, str) or not found:
            raise self._transport.problem("took the file and gave it no id")
        return found

    def _remote(self, said: Any, file_id: str) -> Remote:
        if not isinstance(said, dict) or not isinstance(said.get("id"), str):
            raise self._transport.problem("answered with something else than a batch")
        counts = said.get("request_counts") or {}
        return Remote(
            file_id=file_id,
            batch_id=said["id"],
            status=str(said.get("status") or "").lower(),
            completed=int(counts.get("completed") or 0),
            failed=int(counts.get("failed") or 0),
            output_file_id=said.get("output_file_id") or "",
            error_file_id=said.get("error_file_id") or "",
            message="; ".join(_messages(said)),
        )

    async def _trying(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Call it until it works, or it cannot be hoped to."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await call()
            except EndpointError as error:
                if not error.retryable or attempt == ATTEMPTS:
                    raise
                pause = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (attempt - 1)) * (0.5 + random.random())  # noqa: S311
                await self._wait(max(pause, error.retry_after or 0.0))
        raise AssertionError("the last attempt returns or raises")


async def _saved(response: aiohttp.ClientResponse, target: Path) -> None:
    with written_beside(target) as file:
        async for chunk in response.content.iter_chunked(_CHUNK):
            file.write(chunk)


def _messages(said: dict[str, Any]) -> Iterator[str]:
    """Why a batch failed, in the service's words."""
    errors = said.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else errors
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, dict):
            where = f" (line {each['line']})" if each.get("line") is not None else ""
            yield f"{each.get('code') or 'error'}: {each.get('message') or 'no reason'}{where}"
    if isinstance(said.get("error"), str) and said["error"]:
        yield said["error"]
