"""The index of a release's rows as a SQLite file: what is searched and filtered by, and what a list shows of a row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.judgements import Outcome
from hf_relabel.hub_tools.space.data.filters import Condition

_TABLES = """
CREATE TABLE rows (
    number INTEGER PRIMARY KEY,
    query_id TEXT,
    query TEXT,
    subset TEXT NOT NULL,
    text TEXT NOT NULL      -- query and query id with their cases folded: what words are looked for in
);
CREATE TABLE said (         -- candidates of a row of which the same was said
    number INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    label TEXT NOT NULL,
    disagree INTEGER NOT NULL,
    line INTEGER NOT NULL,  -- of `verdicts`, the first that says so
    candidates INTEGER NOT NULL,
    score REAL,             -- the highest
    PRIMARY KEY (number, outcome, label, disagree)
) WITHOUT ROWID;
CREATE TABLE suspects (number INTEGER PRIMARY KEY, positives INTEGER NOT NULL);
"""
_ADD_SAID = """
INSERT INTO said VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET                          -- where one row's lines are in two row groups
    candidates = candidates + excluded.candidates,
    score = max(ifnull(score, excluded.score), ifnull(excluded.score, score))
"""
_ADD_SUSPECTS = """
INSERT INTO suspects VALUES (?, ?) ON CONFLICT DO UPDATE SET positives = positives + excluded.positives
"""
_LINES = f"""
WITH page AS (SELECT * FROM rows WHERE {{}} AND number < ? ORDER BY number LIMIT ? OFFSET ?)
SELECT page.number, query_id, query, subset,
    ifnull(sum(candidates), 0),
    ifnull(sum(candidates * (outcome IN ('{Outcome.FALSE_NEGATIVE}', '{Outcome.DUPLICATE}'))), 0),
    ifnull(sum(candidates * (outcome = '{Outcome.DOUBTFUL}')), 0),
    ifnull(sum(candidates * (outcome = '{Outcome.UNJUDGED}')), 0),
    ifnull(sum(candidates * disagree), 0),
    ifnull(positives, 0),
    max(score)
FROM page LEFT JOIN said ON said.number = page.number LEFT JOIN suspects ON suspects.number = page.number
GROUP BY page.number ORDER BY page.number
"""  # noqa: S608 - names of ours

Said = tuple[int, str, str, bool, int, int, float | None]
"""A line of the table `said`."""


@dataclass(frozen=True, slots=True)
class RowLine:
    """A row as a list shows it.

    Attributes:
        number: of the row, as `verdicts` counts it; what `Browser.row` takes.
        false_negatives: copies of positives included.
        disagreements: candidates on which stages do not agree.
        suspects: suspected ground truths.
        score: the highest of its candidates, None where there is none.
    """

    number: int
    query_id: str
    query: str
    subset: str
    candidates: int
    false_negatives: int
    doubtful: int
    unjudged: int
    disagreements: int
    suspects: int
    score: float | None


class IndexTables:
    """The file. One thread writes it, any may read it meanwhile."""

    def __init__(self, path: Path) -> None:
        """Make the file."""
        self._path = path
        self._writer = sqlite3.connect(path, check_same_thread=False)
        # It is made anew each time: nothing of it need outlive the process.
        self._writer.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; {_TABLES}")

    def add_rows(self, rows: Iterable[tuple[int, str | None, str | None, str]]) -> None:
        """Add rows: number, query id, query and subset. They and all that was added before can be read from now on."""
        texts = ((*row, f"{row[2] or ''}\n{row[1] or ''}".casefold()) for row in rows)
        self._writer.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", texts)
        self._writer.commit()

    def add_said(self, said: Iterable[Said]) -> None:
        """Add what was said of candidates, in the order of their lines."""
        self._writer.executemany(_ADD_SAID, said)

    def add_suspects(self, suspects: Iterable[tuple[int, int]]) -> None:
        """Add rows with the number of their suspected ground truths."""
        self._writer.executemany(_ADD_SUSPECTS, suspects)

    def close(self) -> None:
        self._writer.close()

    def count(self, wanted: Condition, start: int, stop: int) -> int:
        """The rows from number `start` up to `stop` that match."""
        sql = f"SELECT count(*) FROM rows WHERE {wanted.sql} AND number >= ? AND number < ?"  # noqa: S608 - ours
        with self._reading() as reader:
            return int(reader.execute(sql, (*wanted.values, start, stop)).fetchone()[0])

    def lines(self, wanted: Condition, stop: int, offset: int, size: int) -> tuple[RowLine, ...]:
        """Some of the rows before number `stop` that match."""
        with self._reading() as reader:
            found = reader.execute(_LINES.format(wanted.sql), (*wanted.values, stop, size, offset)).fetchall()
        return tuple(RowLine(*values) for values in found)

    def around(self, wanted: Condition, stop: int, number: int) -> tuple[int | None, int | None]:
        """The numbers before and after one (of at most `stop`), of rows before `stop` that match."""
        before = f"SELECT max(number) FROM rows WHERE {wanted.sql} AND number < ?"  # noqa: S608 - ours
        after = f"SELECT min(number) FROM rows WHERE {wanted.sql} AND number > ? AND number < ?"  # noqa: S608 - ours
        with self._reading() as reader:
            (lower,) = reader.execute(before, (*wanted.values, number)).fetchone()
            (higher,) = reader.execute(after, (*wanted.values, number, stop)).fetchone()
        return lower, higher

    def verdict_lines(self, number: int) -> tuple[int, int]:
        """From which line up to which the `verdicts` speak of a row."""
        sql = "SELECT ifnull(min(line), 0), ifnull(sum(candidates), 0) FROM said WHERE number = ?"
        with self._reading() as reader:
            first, count = reader.execute(sql, (number,)).fetchone()
        return first, first + count

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            reader = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise BuildError(f"The index cannot be read: {error}.") from error
        try:
            yield reader
        except sqlite3.Error as error:
            raise BuildError(f"The index cannot be read: {error}.") from error
        finally:
            reader.close()
