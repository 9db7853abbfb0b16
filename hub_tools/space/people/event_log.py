"""Where a server keeps events on its disk, before they count."""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.atomic_file import sync_folder
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.hub_tools.space.people.answer_events import Event, line_of

MOST_BYTES = 1_000_000
"""A file that is larger is followed by another, so that a commit never sends much again."""
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,80}\.jsonl")


class EventLog:
    """The files of events in one folder, which several processes may share: each writes to a file of its own.

    Args:
        folder: made if it is missing.

    Raises:
        ConfigError: it cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._run, self._number, self._size = "", 0, 0
        self._descriptor: int | None = None
        self._last = datetime.min.replace(tzinfo=UTC)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._probe()
        except OSError as error:
            raise ConfigError(f"Answers cannot be kept in {folder}: {error.strerror}. Give another folder.") from error

    def _probe(self) -> None:
        probe = self.folder / f".{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()

    def write(self, **values: Any) -> Event:
        """Make an event of these fields, and keep it. It is on the disk when this returns.

        Raises:
            BuildError: the disk would not take it, and it was taken back.
        """
        with self._lock:
            try:
                self._open()
                event = Event(event=f"{self._run}-{self._number + 1}", time=self._now(), **values)
                self._append(line_of(event))
            except OSError as error:
                self._take_back()
                raise BuildError(
                    f"The answer was not kept: {self.folder} cannot be written to ({error.strerror})."
                ) from error
            self._number += 1
            return event

    def _open(self) -> None:
        if self._descriptor is not None and self._size < MOST_BYTES:
            return
        self._abandon()
        now = datetime.now(UTC)
        self._run, self._number, self._size = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(5)}", 0, 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._descriptor = os.open(self.folder / f"{self._run}.jsonl", flags, 0o600)
        sync_folder(self.folder)

    def _append(self, line: bytes) -> None:
        assert self._descriptor is not None
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        os.fsync(self._descriptor)
        self._size += len(line)

    def _take_back(self) -> None:
        """Remove what there is of a line that could not be written, and write no more to this file: what follows a line
        that was cut short would be lost with it."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
        self._abandon()

    def _abandon(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def catch_up(self, time: str) -> None:
        """Make sure that events from now on are later than this one. Clocks that differ by a day are not believed."""
        with suppress(ValueError), self._lock:
            known = datetime.fromisoformat(time)
            if known.tzinfo is not None and known < datetime.now(UTC) + timedelta(days=1):
                self._last = max(self._last, known)

    def _now(self) -> str:
        """The time, later than that of the event before, whatever the clock does."""
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        return self._last.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def contents(self, known: Mapping[str, int] | None = None) -> dict[str, bytes]:
        """The whole lines of every file, by the file's name.

        Args:
            known: bytes of each file that are not wanted again; files without more are left out.
        """
        found = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            start = 0 if known is None else known.get(path.name, 0)
            if not _FILE_NAME.fullmatch(path.name) or (known is not None and path.stat().st_size <= start):
                continue
            with path.open("rb") as file:
                file.seek(start)
                content = file.read()
            content = content[: content.rfind(b"\n") + 1]
            if content or known is None:
                found[path.name] = content
        return found

    def close(self) -> None:
        with self._lock:
            self._abandon()
