"""Requests as batch files: what stands in for a scheduler while requests are written instead of sent."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

from hf_relabel.builders.disk.atomic_file import sync_folder
from hf_relabel.builders.endpoint import Request
from hf_relabel.builders.errors import BuildError, ConfigError, JudgingStopped
from hf_relabel.builders.messages.counted import counted
from hf_relabel.hub_tools.batches.ledger import Asked, BatchFile, Ledger, Line
from hf_relabel.hub_tools.endpoints.connecting import encode
from hf_relabel.hub_tools.endpoints.scheduling.feeds import Requests, feed_of
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import OnDone, RunStats
from hf_relabel.hub_tools.endpoints.scheduling.stats import OnProgress

if TYPE_CHECKING:
    from hf_relabel.builders.journal.keys import JudgeIdentity
    from hf_relabel.builders.judges.protocols import Ask
    from hf_relabel.builders.rows import Row

MOST_REQUESTS = 50_000
"""In one file, by OpenAI's, Azure's and Together's documentation."""
MOST_BYTES = 100 * 10**6
"""Of one file: Together's limit; OpenAI's and Azure's is 200 MB."""
CUSTOM_ID_BYTES = 16
"""So 32 hex digits; services allow 64 characters."""
_REQUESTS_PER_TURN = 64
_ODD = re.compile(r"[^\w.-]+")


@runtime_checkable
class WritesBatches(Protocol):
    """An endpoint whose requests can stand in a batch file."""

    name: str

    @property
    def batch_url(self) -> str: ...

    async def body(self, request: Request) -> dict[str, Any]: ...


class Waiting(Protocol):
    """What the tag of a request says it is about."""

    ask: Ask
    row: Row
    keys: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class FileLimits:
    """How large one file may be.

    Attributes:
        requests, bytes: at most; one request is written in any case.
    """

    requests: int = MOST_REQUESTS
    bytes: int = MOST_BYTES

    def __post_init__(self) -> None:
        if self.requests < 1 or self.bytes < 1:
            raise ConfigError("A batch file holds one request at least: give limits above 0.")


def custom_id(asked: Asked) -> str:
    """What a request is called: the journal key, or what stands for the keys and their order where there are several.

    It does not depend on when or where a request is written, so the answer to one is known for that of the other.
    """
    if len(asked.keys) == 1 and not asked.ids:
        return asked.keys[0]
    digest = hashlib.blake2b(digest_size=CUSTOM_ID_BYTES)
    digest.update("".join(asked.keys).encode())
    digest.update(repr(asked.ids).encode() if asked.ids else b"")
    return digest.hexdigest()


def asked_of(request: Request, waiting: Waiting) -> Asked:
    """What a request is about, without the texts."""
    ask, row = waiting.ask, waiting.row
    place = {position: number for number, position in enumerate(ask.positions)}
    asked = Asked(
        custom_id="",
        query_id=row.query_id,
        keys=tuple(waiting.keys[position].hex() for position in ask.positions),
        docids=tuple(row.negative_passages[position].docid for position in ask.positions),
        cut=tuple(sorted(place[position] for position in ask.cut if position in place)),
        ids=tuple(place.get(position, -1) for position in ask.ids),
        positives_left_out=ask.positives_left_out,
        constrained=request.json_schema is not None,
        top_logprobs=request.top_logprobs,
    )
    values = {name: getattr(asked, name) for name in Asked.__slots__}
    return Asked(**{**values, "custom_id": custom_id(asked)})


class BatchWriter:
    """Writes requests to files in a folder. Stands for a scheduler: see `Sends`.

    A file is noted in the ledger when all of it is on the disk: a process that is killed leaves one that nobody knows,
    which the next one replaces.

    Args:
        endpoint: whose requests these are.
        stage, member, identity: of the judge that asks.
    """

    def __init__(
        self,
        ledger: Ledger,
        endpoint: WritesBatches,
        limits: FileLimits,
        stage: str,
        member: int,
        identity: JudgeIdentity,
    ) -> None:
        self._ledger, self._endpoint, self._limits = ledger, endpoint, limits
        self._stage, self._member, self._identity = stage, member, identity
        self._pending: set[bytes] = set()
        self._lines: list[Line] = []
        self._file: BinaryIO | None = None
        self._number = self._size = 0
        self._stopped = ""
        self.written: list[BatchFile] = []

    def spares(self, keys: set[bytes]) -> None:
        """From here on the keys of what is written leave this set: the ledger has them."""
        self._pending = keys

    def stop(self, reason: str) -> None:
        self._stopped = reason

    async def run(self, requests: Requests, on_done: OnDone, *, on_progress: OnProgress | None = None) -> RunStats:
        """Write every request. Nothing is delivered: answers come later, to others.

        Raises:
            JudgingStopped: it was stopped. The files are whole, with what was written until then.
            BuildError: a file cannot be written.
        """
        stats = RunStats()
        try:
            async for request in _in_turns(requests, lambda: self._stopped):
                await self._write(request)
                stats.sent += 1
                if self._stopped:
                    break
            self._end_file()
        except OSError as error:
            raise BuildError(f"{self._path} cannot be written: {error.strerror or error}.") from error
        finally:
            self._drop_file()
        if self._stopped:
            raise JudgingStopped(f"Stopped: {self._stopped} ({counted(stats.sent, 'request')} written in this run).")
        return stats

    @property
    def _path(self) -> Path:
        return self._ledger.folder / self._name

    @property
    def _name(self) -> str:
        judge = f"-{self._member + 1}" if self._member else ""
        return f"{_ODD.sub('-', self._stage).strip('-.') or 'stage'}{judge}-{self._number:03}.jsonl"

    async def _write(self, request: Request) -> None:
        asked = asked_of(request, request.tag)
        body = await self._endpoint.body(request)
        line = {"custom_id": asked.custom_id, "method": "POST", "url": self._endpoint.batch_url, "body": body}
        data = encode(line) + b"\n"
        if len(self._lines) >= self._limits.requests or (self._lines and self._size + len(data) > self._limits.bytes):
            self._end_file()
        if self._file is None:
            self._number = self._ledger.next_number()
            self._file = self._path.open("wb")
        self._file.write(data)
        self._lines.append(Line(asked, self._number, self._size, len(data), is_open=True))
        self._size += len(data)

    def _end_file(self) -> None:
        if self._file is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        sync_folder(self._ledger.folder)
        numbers = len(self._lines), self._size
        file = BatchFile(self._number, self._name, self._stage, self._member, self._identity, *numbers)
        self._ledger.add_file(file, self._lines)
        self.written.append(file)
        for line in self._lines:
            self._pending.difference_update(line.asked.key_bytes())
        self._lines, self._size = [], 0

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)


async def _in_turns(requests: Requests, stopped: Callable[[], str]) -> AsyncIterator[Request]:
    """The requests, with a turn for the event loop now and then, so that Ctrl-C is heard."""
    feed, wake = feed_of(requests), asyncio.Event()
    feed.attach(wake.set, _REQUESTS_PER_TURN)
    try:
        given = 0
        while not stopped():
            wake.clear()
            if (request := feed.pull()) is not None:
                given += 1
                yield request
                if given % _REQUESTS_PER_TURN == 0:
                    await asyncio.sleep(0)
            elif feed.exhausted:
                return
            else:
                await wake.wait()
                await asyncio.sleep(0)  # it may be set already, while rows that are known are skipped
    finally:
        await feed.close()
