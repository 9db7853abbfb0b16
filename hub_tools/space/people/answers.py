"""People's answers as events: kept on the disk before they count, and in the config `human` of the data set.

On the Hub, files that only ever grow, each written by one run of one server:

    human/<run>.parquet

A line is one thing that a person did, see `Event`. An answer stands unless an event of the same person takes it back
(`undoes`) or they answer the same item later. So the order in which files are read never matters, lines that arrive
twice count once, and two servers that write at the same time write to two files. (Parquet, because `load_dataset`
reads all configs of a repository in one format.)

On the disk of a server, the same as a line of JSON each, in `<run>.jsonl`. What comes after the last line feed is a
line that a crash cut short: it was never acknowledged, and nobody reads it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.exports import CHOICES
from hf_relabel.builders.audit.names import name_key
from hf_relabel.builders.disk.atomic_file import sync_folder
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.judgements import Label

HUMAN = "human"
"""The name of the config, and of its folder."""
ANSWER, UNDO = "answer", "undo"
MOST_BYTES = 1_000_000
"""A file that is larger is followed by another, so that a commit never sends much again."""
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,80}\.jsonl")
_MOST_TEXT = 10_000


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the config.

    Attributes:
        event: its id, which no other event has.
        person: the name on the Hub of who answered.
        time: UTC, ISO 8601 with microseconds.
        action: `answer` or `undo`.
        item: of the sample, see `builders.audit.sample.Item`.
        answer: better, worse, irrelevant or cannot tell; "" for an undo.
        undoes: the event that is taken back; "" for an answer.
        query_id, subset, docid, position: the candidate.
        release: the commit it was shown from, "" for a folder.
        seed, size: of the sample.
    """

    event: str
    person: str
    time: str
    action: str
    item: str
    answer: str
    undoes: str
    query_id: str
    subset: str
    docid: str
    position: int
    release: str
    seed: int
    size: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SyncState:
    """How the answers of this server stand with the Hub.

    Attributes:
        is_local: the release is a folder: answers stay on this machine.
        unsent: events that are on the disk and not yet on the Hub.
        commit: the last commit that this server made, None if none.
        error: one line on why the last attempt failed; None after one that did not.
        retry_in: seconds until the next attempt after a failure; None where none is waiting.
        unread: one line on why answers of others are not all here; None where they are.
    """

    is_local: bool
    unsent: int
    commit: str | None
    error: str | None
    retry_in: float | None
    unread: str | None = None


def event_of(values: Any) -> Event | None:
    """A line as an event; None where it is none, as people with the right to write could put anything there."""
    if not isinstance(values, dict):
        return None
    found: dict[str, Any] = {}
    for field in fields(Event):
        value = values.get(field.name)
        wanted = int if field.type == "int" else str
        if not isinstance(value, wanted) or isinstance(value, bool) or len(str(value)) > _MOST_TEXT:
            return None
        found[field.name] = value
    event = Event(**found)
    if event.action not in (ANSWER, UNDO) or not (event.event and event.person):
        return None
    if event.action == ANSWER and event.answer not in CHOICES:
        return None
    return event


def events_in(content: bytes) -> Iterator[Event]:
    """The events in a file. What follows the last line feed is a line cut short, and lines that are no events are
    passed over."""
    for line in content[: content.rfind(b"\n") + 1].split(b"\n"):
        try:
            event = event_of(json.loads(line)) if line.strip() else None
        except (ValueError, RecursionError):
            continue
        if event is not None:
            yield event


def line_of(event: Event) -> bytes:
    """An event as a line of a file."""
    return json.dumps(event.to_dict()).encode("ascii") + b"\n"


class Answers:
    """Events, and what follows from them. The same events give the same answers, in whatever order they come.

    `Anna` and `anna` are one person, see `builders.audit.names`.
    """

    def __init__(self) -> None:
        self._events: set[Event] = set()
        self._undone: set[tuple[str, str]] = set()
        self._people: dict[str, dict[str, list[Event]]] = {}

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: Event) -> bool:
        """Take an event. Returns whether it is new."""
        if event in self._events:
            return False
        self._events.add(event)
        if event.action == UNDO:
            self._undone.add((name_key(event.person), event.undoes))
        else:
            self._people.setdefault(name_key(event.person), {}).setdefault(event.item, []).append(event)
        return True

    def people(self) -> list[str]:
        """Who has an answer that stands, by name."""
        return sorted(self._name(key) for key in self._people if self.of(key))

    def of(self, person: str) -> dict[str, Event]:
        """A person's answers that stand, by item."""
        items = self._people.get(name_key(person), {})
        standing = {item: self._standing(events) for item, events in items.items()}
        return {item: event for item, event in standing.items() if event is not None}

    def last(self, person: str, items: Collection[str]) -> Event | None:
        """The person's last answer that stands, to one of these items."""
        mine = [event for item, event in self.of(person).items() if item in items]
        return max(mine, key=_order, default=None)

    def last_undone(self, person: str, item: str) -> Event | None:
        """The last answer to an item that the person took back, where none of theirs stands."""
        events = self._people.get(name_key(person), {}).get(item, [])
        return None if self._standing(events) else max(events, key=_order, default=None)

    def answered(self, items: Collection[str]) -> int:
        """How many of these items have an answer of anybody."""
        return len({item for person in self._people for item in self.of(person) if item in items})

    def elsewhere(self, items: Collection[str]) -> int:
        """How many answers stand to other items than these: those of a sample that was drawn before."""
        return sum(item not in items for person in self._people for item in self.of(person))

    def to_audit(self, items: Collection[str]) -> list[Answer]:
        """All answers that stand to these items, as audits take them."""
        return [
            Answer(item, self._name(key), None if event.answer == CHOICES[-1] else Label(event.answer))
            for key in sorted(self._people)
            for item, event in sorted(self.of(key).items())
            if item in items
        ]

    def _name(self, key: str) -> str:
        """The spelling that came first, whatever order the events came in."""
        return min((event for events in self._people[key].values() for event in events), key=_order).person

    def _standing(self, events: Iterable[Event]) -> Event | None:
        kept = [event for event in events if (name_key(event.person), event.event) not in self._undone]
        return max(kept, key=_order, default=None)


_order = attrgetter("time", "event", *(field.name for field in fields(Event)))
"""By time; of two events of one name, which only a changed file can hold, always the same one first."""


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
