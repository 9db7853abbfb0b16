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
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from hf_relabel.builders.audit.exports import CHOICES

HUMAN = "human"
"""The name of the config, and of its folder."""
ANSWER, UNDO = "answer", "undo"
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
