"""People's answers as events: kept on the disk before they count, and in the config `human` of the data set.

    human/<run>.jsonl          one file for each run of a server, which only ever grows

A line is one thing that a person did, see `Event`. An answer stands unless an event takes it back (`undoes`) or the
same person answers the same item later, so the order in which files are read never matters, lines that arrive twice
count once, and two servers that write at the same time write to two files.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

HUMAN = "human"
"""The name of the config, and of its folder."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the config.

    Attributes:
        event: its id, which no other event has.
        person: the name on the Hub of who answered.
        time: UTC, ISO 8601 with microseconds.
        action: `answer` or `undo`.
        item: of the sample, see `builders.audit.sampling.Item`.
        answer: better, worse, irrelevant or cannot tell; "" for an undo.
        undoes: the event that is taken back; "" for an answer.
        query_id, subset, docid, row, position: the candidate.
        release: the commit it was shown from.
        seed: of the sample.
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
    row: int
    position: int
    release: str
    seed: int

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
    """

    is_local: bool
    unsent: int
    commit: str | None
    error: str | None
    retry_in: float | None
