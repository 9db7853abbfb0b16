"""The runs that a journal remembers: which judges were asked, about what, and whether they came to the end of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UNFINISHED = {"complete": False}
"""Stands in the settings of a run that has not come to its end. Runs of before this was noted lack it."""


@dataclass(frozen=True, slots=True)
class Run:
    """A judging run.

    Attributes:
        number: what `build --run` knows it by; a later run has a higher one.
        settings: enough to work out its verdicts without its judges.
        complete: whether it came to its end, and somebody was answered.
    """

    number: int
    settings: dict[str, Any]
    complete: bool = True


def written(database: sqlite3.Connection, settings: Mapping[str, Any], *, complete: bool) -> None:
    """Note a run. The same settings again are moved to the end, not stored twice; but beginning again what came to its
    end before changes nothing."""
    finished, begun = _text(settings), _text({**settings, **_UNFINISHED})
    if not complete and database.execute("SELECT 1 FROM runs WHERE settings = ?", (finished,)).fetchone():
        return
    database.execute("DELETE FROM runs WHERE settings IN (?, ?)", (finished, begun))
    database.execute("INSERT INTO runs (settings) VALUES (?)", (finished if complete else begun,))


def forgotten(database: sqlite3.Connection, settings: Mapping[str, Any]) -> None:
    """Note a run no longer that has not come to its end."""
    database.execute("DELETE FROM runs WHERE settings = ?", (_text({**settings, **_UNFINISHED}),))


def known(database: sqlite3.Connection, settings: Mapping[str, Any]) -> bool:
    """Whether a run with these settings was noted, complete or not."""
    texts = (_text(settings), _text({**settings, **_UNFINISHED}))
    return database.execute("SELECT 1 FROM runs WHERE settings IN (?, ?)", texts).fetchone() is not None


def read(database: sqlite3.Connection, kind: str | None) -> list[Run]:
    """The runs of a kind, such as `suspects`, or over candidates (None): first those that came to their end, of these
    the newest first."""
    found = []
    for number, text in database.execute("SELECT id, settings FROM runs ORDER BY id DESC"):
        settings: dict[str, Any] = json.loads(text)
        complete = settings.pop("complete", True)
        if settings.get("kind") == kind:
            found.append(Run(number, settings, complete))
    return sorted(found, key=lambda run: not run.complete)


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, ensure_ascii=False)
