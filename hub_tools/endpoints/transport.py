"""One HTTP transport for all judge servers: JSON over aiohttp, and every failure as an EndpointError.

aiohttp because a judging run sends small requests by the million and the client is what costs: on one core it does
several thousand requests/s of 12 KB, several times what httpx2 does. A transport belongs to one server, opens its
connections when first used and may be used again after `close`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import Any, NamedTuple

import aiohttp
import orjson
from yarl import URL

from hf_relabel.builders.endpoint import EndpointError, ErrorKind
from hf_relabel.hub_tools.endpoints.connecting import encode, parsed_url, why_no_connection
from hf_relabel.hub_tools.endpoints.hosts import default_token
from hf_relabel.hub_tools.endpoints.reading_bodies import TooLong, decoded, unpacked
from hf_relabel.hub_tools.endpoints.reading_chat import NoReply
from hf_relabel.hub_tools.endpoints.refusals import with_words
from hf_relabel.hub_tools.endpoints.server_errors import error_inside, error_of_status, text_of, words_of
from hf_relabel.hub_tools.hub.redaction import redact, safe_url, short

CONNECT_SECONDS = 10.0
PROBE_SECONDS = 10.0
"""For /info, /v1/models and /metrics, which answer at once or not at all."""
FILE_IDLE_SECONDS = 120.0
"""Of a file that comes or goes, the longest pause; the whole may take hours."""
IDLE_SECONDS = 4.0
"""uvicorn, under vLLM and SGLang, drops connections idle for 5 s. Ours go first, so none is dropped while we write."""
RESPONSE_LIMIT = 32 * 2**20
"""Bytes of one answer. Judges write kilobytes; anything near this is a mistake or an attack."""
_LARGE_BODY = 2**20
"""aiohttp warns about longer bodies given as bytes."""


class Answer(NamedTuple):
    """A server's answer: decoded JSON, and the headers (names in any case)."""

    payload: Any
    headers: Mapping[str, str]


class NotJson(EndpointError):
    """The server answered with a status of success, and with something else than JSON."""


class Transport:
    """JSON requests to one server.

    Args:
        url: http or https URL that paths are joined to. A user name and password in it are sent as basic
            authorization; a query is sent along with every request.
        token: sent as `Authorization: Bearer`. None: HF_TOKEN (or the token of `hf auth login`) for huggingface.co,
            hf.co and router.huggingface.co, and for Inference Endpoints and Jobs of the user's own account (the Hub is
            asked); OPENAI_API_KEY for openai.com; all over https only. Other servers get none, those of others on
            Hugging Face's machines among them. "" sends none.
        timeout: seconds for a whole request, connecting included.
        connections: most open at once; 0 for as many as there are requests in flight.
        proxy: use HTTP_PROXY, HTTPS_PROXY and ~/.netrc. Off by default: judge servers are mostly on the same network.
        headers: further ones to send. Their values are as secret as a token: they are never shown.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 300.0,
        connections: int = 0,
        proxy: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = safe_url(url)
        self.base = parsed_url(url, self.name)
        self._user, self._password = self.base.user, self.base.password
        self.base = self.base.with_user(None)
        self.host = self.base.host or ""
        self._token = default_token(self.base) if token is None else token
        self._more = dict(headers or {})
        # Of `Bearer abc` also the second word alone, as a server may repeat it.
        self._secrets = (self._token, self._password, *self._more.values(), *map(_last_word, self._more.values()))
        self._timeout, self._connections, self._proxy = timeout, connections, proxy
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._urls: dict[str, URL] = {}

    def __repr__(self) -> str:
        return f"Transport({self.name!r})"

    @property
    def token(self) -> str:
        """The token that is sent, "" for none. For other clients of the same server; never shown."""
        return self._token

    @property
    def timeout(self) -> float:
        return self._timeout

    async def post(self, path: str, payload: Any) -> Answer:
        """POST `payload` as JSON and decode the JSON answer. Raises EndpointError."""
        body, headers = await self._send("POST", path, encode(payload), self._timeout)
        return Answer(self._decode(body, _content_type(headers)), headers)

    async def get(self, path: str) -> Any:
        """GET and decode a JSON answer. Raises EndpointError."""
        body, headers = await self._send("GET", path, None, min(PROBE_SECONDS, self._timeout))
        return self._decode(body, _content_type(headers))

    async def get_bytes(self, path: str) -> bytes:
        """GET an answer of any content type. Raises EndpointError."""
        body, _ = await self._send("GET", path, None, min(PROBE_SECONDS, self._timeout))
        return body

    @contextlib.asynccontextmanager
    async def streamed(
        self, method: str, path: str, *, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request whose body or answer is a file: the caller reads it, while it lasts.

        Args:
            path: below the URL; may have a query of its own.

        Raises:
            EndpointError: it cannot be sent, is refused, or the answer breaks off. A redirect is an answer.
        """
        bare, _, query = path.partition("?")
        url = self._url(bare).update_query(query) if query else self._url(bare)
        async with self._streamed(self._open(), method, url, data, headers) as got:
            yield got

    @contextlib.asynccontextmanager
    async def streamed_elsewhere(
        self, method: str, url: str, *, data: Any = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The same at an address that the server named, which is told no token and none of its headers."""
        place = self.base.join(URL(url, encoded=True))
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=self._proxy) as session,
            self._streamed(session, method, place, data, None) as got,
        ):
            yield got

    @contextlib.asynccontextmanager
    async def _streamed(
        self, session: aiohttp.ClientSession, method: str, url: URL, data: Any, headers: Mapping[str, str] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=FILE_IDLE_SECONDS)
        try:
            async with session.request(
                method, url, data=data, headers=headers, timeout=timeout, allow_redirects=False
            ) as got:
                if got.status >= 400:
                    raise self.status_error(got.status, got.headers, await self._read(got))
                yield got
        except TimeoutError:
            raise self.problem(
                f"no answer within {FILE_IDLE_SECONDS:g} s to {method} {url.path}", "timed_out"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self.problem(why_no_connection(error), "unreachable") from None

    async def close(self) -> None:
        """Close all connections. Safe to call twice; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None and self._loop is asyncio.get_running_loop():
            await session.close()

    def problem(self, message: str, kind: ErrorKind = "garbage", *, retryable: bool | None = None) -> EndpointError:
        """An EndpointError without a status, such as for an answer that is not what was asked for."""
        return EndpointError(f"{self.name}: {redact(message, *self._secrets)}", kind=kind, retryable=retryable)

    def no_reply(self, problem: NoReply) -> EndpointError:
        """What an error inside an answer of success means: as if it had come with the status that it tells."""
        return error_inside(self.name, problem, short(str(problem), *self._secrets), token_sent=self._known())

    def _known(self) -> bool:
        return bool(self._token) or self._user is not None or bool(self._more)

    async def _send(
        self, method: str, path: str, body: bytes | None, seconds: float
    ) -> tuple[bytes, Mapping[str, str]]:
        session = self._open()
        data = BytesIO(body) if body is not None and len(body) >= _LARGE_BODY else body
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with session.request(
                method, self._url(path), data=data, timeout=timeout, allow_redirects=False
            ) as got:
                content = await self._read(got)
        except TimeoutError:
            raise self.problem(f"no answer within {seconds:g} s to {method} /{path}", "timed_out") from None
        except aiohttp.ClientConnectorCertificateError as error:
            untrusted = f"its certificate is not trusted: {short(str(error))}"
            raise self.problem(untrusted, "unreachable", retryable=False) from None
        except aiohttp.ClientPayloadError:
            raise self.problem("the answer broke off") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self.problem(why_no_connection(error), "unreachable") from None
        if not 200 <= got.status < 300:
            raise self.status_error(got.status, got.headers, content, location=got.headers.get("Location"))
        return content, got.headers

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body, refused beyond RESPONSE_LIMIT whether or not its length is announced or it is compressed."""
        length = response.content_length
        if length is not None and length <= RESPONSE_LIMIT:
            content = await response.read()
        else:
            content = await self._read_up_to_limit(response)
        encoding = response.headers.get("Content-Encoding", "")
        try:
            return unpacked(content, encoding, RESPONSE_LIMIT) if encoding else content
        except TooLong:
            raise self._too_long() from None
        except ValueError as problem:
            raise self.problem(f"the answer {problem}") from None

    async def _read_up_to_limit(self, response: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > RESPONSE_LIMIT:
                response.close()
                raise self._too_long()
        return bytes(content)

    def _too_long(self) -> EndpointError:
        return self.problem(f"answered with more than {RESPONSE_LIMIT >> 20} MiB", retryable=False)

    def _decode(self, content: bytes, content_type: str) -> Any:
        if not content.strip():
            raise self._not_json("answered without a body", content)
        try:
            return decoded(content, content_type)
        except ValueError as problem:
            if "event-stream" in content_type and not isinstance(problem, orjson.JSONDecodeError):
                raise self._not_json(str(problem), content) from None
            is_json = "json" in content_type
            what = "with broken JSON" if is_json else f"{short(content_type, limit=60)} instead of JSON"
            raise self._not_json(f"answered {what}", content) from None

    def _not_json(self, what: str, content: bytes) -> NotJson:
        return NotJson(f"{self.name}: {what}: {short(text_of(content), *self._secrets)}", kind="garbage")

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=IDLE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers(),
                trust_env=self._proxy,
                auto_decompress=False,  # see `unpacked`, which knows a bound and zstd
            )
        return self._session

    def _headers(self) -> dict[str, str]:
        # No compression: replies are small, and a compressed answer can hide its size.
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": "hf-relabel",
        }
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        elif self._user is not None:
            pair = f"{self._user}:{self._password or ''}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        # By name in any case: the user's own word is the last.
        mine = {name.lower() for name in self._more}
        return {name: value for name, value in headers.items() if name.lower() not in mine} | self._more

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = (self.base.joinpath(path, encoded=True) if path else self.base).with_query(
                self.base.query
            )
        return url

    def status_error(
        self, status: int, headers: Mapping[str, str], content: bytes, *, location: str | None = None
    ) -> EndpointError:
        """What an answer other than 200 means: see `error_of_status`."""
        said, codes = words_of(content)
        said = short(said, *self._secrets)
        if location:
            said = f"redirects to {safe_url(location)}; give that address instead"
        retry_after = headers.get("Retry-After")
        error = error_of_status(self.name, status, said, codes, retry_after=retry_after, token_sent=self._known())
        return with_words(error, content, *self._secrets)


def _last_word(value: str) -> str:
    return value.rpartition(" ")[2]


def _content_type(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Type", "application/json").lower()
