"""Reading two releases side by side, with what waits for its partner on the disk."""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs.arrow_batches import complete
from hf_relabel.builders.differences.counts import (
    ROW_FIELDS,
    DifferenceCounts,
    Side,
    add,
)
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.hashing import feed
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.techniques import Change as TechniqueChange
from hf_relabel.builders.techniques import Technique, account_all

_DIGEST_BYTES = 16
_CACHE_KIB = 64_000
BEFORE, AFTER = 0, 1


@dataclass(frozen=True, slots=True)
class Sketch:
    """What has to be known of a row to compare it: digests, and what is reported. No texts.

    Attributes:
        key: of subset and query id.
        content: of the key, query and passages.
        everything: of the content, verdicts and configs.
        fields: a digest for each of `ROW_FIELDS`.
        configs: a digest of the row as each config that both sides have holds it, None where it is not in there.
        candidates: docid, outcome, reason and the labels by stage, per negative.
    """

    key: str
    content: str
    everything: str
    number: int
    subset: str
    query_id: str
    fields: dict[str, str]
    configs: dict[str, str | None]
    candidates: list[tuple[str, str, str, dict[str, str]]]

    def to_text(self) -> str:
        return json.dumps([self.number, self.subset, self.query_id, self.fields, self.configs, self.candidates])


@dataclass(frozen=True, slots=True)
class _Stored:
    """A sketch as it comes back from the index."""

    number: int
    subset: str
    query_id: str
    fields: Mapping[str, str]
    configs: Mapping[str, str | None]
    candidates: Sequence[Sequence[Any]]


class Reader:
    """Reads one side into sketches, and counts what is there."""

    def __init__(self, side: Side, other: Side, counts: DifferenceCounts, place: int) -> None:
        self.side, self.counts, self.place = side, counts, place
        self.name = ("before", "after")[place]
        self.common = [technique for technique in side.techniques if technique in other.techniques]

    def sketches(self) -> Iterator[Sketch]:
        names = [name for name, _ in self.side.stages]
        for numbered, verdicts in self.side.judged_rows:
            row = numbered.row
            verdicts = complete(row, verdicts)
            candidates = [
                (verdict.docid, str(verdict.outcome), verdict.reason, labels(verdict, names)) for verdict in verdicts
            ]
            rules = {"limit": self.side.limit, "min_negatives": self.side.min_negatives}
            changes = account_all(self.side.techniques, row, verdicts, **rules)
            self._count(row, verdicts, changes)
            yield self._sketch(numbered, candidates, changes)

    def _count(self, row: Row, verdicts: Sequence[Verdict], changes: Mapping[Technique, TechniqueChange]) -> None:
        add(self.counts.rows[row.subset], self.name)
        add(self.counts.candidates[row.subset], self.name, len(verdicts))
        false_negatives = sum(verdict.is_false_negative for verdict in verdicts)
        add(self.counts.candidates[row.subset], f"false_negatives_{self.name}", false_negatives)
        for technique, change in changes.items():
            counts = self.counts.configs[technique]
            if change.row_dropped is None:
                add(counts, self.name)
                if technique not in self.common:
                    add(counts, ("dropped", "added")[self.place])

    def _sketch(
        self,
        numbered: NumberedRow,
        candidates: list[tuple[str, str, str, dict[str, str]]],
        changes: Mapping[Technique, TechniqueChange],
    ) -> Sketch:
        row = numbered.row
        query = digest(row.query)
        positives = [passage_digest(passage) for passage in row.positive_passages]
        negatives = [passage_digest(passage) for passage in row.negative_passages]
        fields = dict(zip(ROW_FIELDS, (query, digest(*positives), digest(*negatives)), strict=True))
        configs = {
            str(technique): config_digest(changes[technique], query, positives, negatives) for technique in self.common
        }
        key = digest(row.subset, row.query_id)
        content = digest(key, *fields.values())
        return Sketch(
            key=key,
            content=content,
            everything=digest(content, json.dumps([candidates, configs], sort_keys=True)),
            number=numbered.number,
            subset=row.subset,
            query_id=row.query_id,
            fields=fields,
            configs=configs,
            candidates=candidates,
        )


def labels(verdict: Verdict, names: Sequence[str]) -> dict[str, str]:
    """The labels of the stages that saw a candidate."""
    judgements = zip(names, verdict.stages, strict=False)
    return {name: str(judgement.label) for name, judgement in judgements if judgement is not None}


def config_digest(
    change: TechniqueChange, query: str, positives: Sequence[str], negatives: Sequence[str]
) -> str | None:
    """A digest of what `change.carry_out` would give, from the digests of the passages."""
    if change.row_dropped is not None:
        return None
    moved = [negatives[position] for position in change.moved]
    kept = [negatives[position] for position in change.kept]
    return digest(query, str(len(positives) + len(moved)), *positives, *moved, *kept)


def _read(readers: Sequence[Reader], waiting: Waiting, progress: Callable[[int], None] | None) -> None:
    """Read both sides in step, so that of two releases in the same order next to nothing has to wait."""
    done = 0
    for old, new in itertools.zip_longest(*(reader.sketches() for reader in readers)):
        if old is not None and new is not None and old.everything == new.everything and not waiting.has(old.everything):
            done += 2
        else:
            for place, sketch in ((BEFORE, old), (AFTER, new)):
                if sketch is not None:
                    waiting.meet_or_wait(place, sketch)
                    done += 1
        if progress is not None:
            progress(done)


class Waiting:
    """Rows whose equal has not come by on the other side, in an SQLite file that is thrown away."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._count = 0
        for statement in (
            # Nothing here outlives the process, so nothing has to survive a crash.
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            f"PRAGMA cache_size=-{_CACHE_KIB}",
            "PRAGMA temp_store=FILE",
            "CREATE TABLE waiting"
            " (place INTEGER PRIMARY KEY, side INTEGER, key TEXT, content TEXT, everything TEXT, body TEXT)",
            "CREATE INDEX waiting_by_everything ON waiting (everything, side)",
            "CREATE TABLE pairs (before INTEGER PRIMARY KEY, after INTEGER UNIQUE)",
            "BEGIN",
        ):
            database.execute(statement)

    @classmethod
    @contextmanager
    def opened(cls, scratch: Path | None) -> Iterator[Waiting]:
        with tempfile.TemporaryDirectory(prefix="hf-relabel-diff-", dir=scratch) as folder:
            try:
                with closing(sqlite3.connect(Path(folder) / "waiting.sqlite", isolation_level=None)) as database:
                    yield cls(database)
            except sqlite3.Error as error:
                raise BuildError(
                    f"The index of the comparison cannot be written in {Path(folder).parent}: {error}. Free some space,"
                    " or set TMPDIR to a folder with more."
                ) from error

    def has(self, digest: str) -> bool:
        """Whether a row with this digest of everything waits, on either side."""
        found = "SELECT 1 FROM waiting WHERE everything = ? LIMIT 1"
        return bool(self._count) and self._database.execute(found, (digest,)).fetchone() is not None

    def meet_or_wait(self, side: int, sketch: Sketch) -> None:
        """Take the first equal row of the other side out; where there is none, wait for it."""
        first = "SELECT place FROM waiting WHERE everything = ? AND side = ? ORDER BY place LIMIT 1"
        found = self._database.execute(first, (sketch.everything, 1 - side)).fetchone() if self._count else None
        if found is not None:
            self._database.execute("DELETE FROM waiting WHERE place = ?", found)
            self._count -= 1
        else:
            row = (side, sketch.key, sketch.content, sketch.everything, sketch.to_text())
            self._database.execute(
                "INSERT INTO waiting (side, key, content, everything, body) VALUES (?, ?, ?, ?, ?)", row
            )
            self._count += 1

    def pairs(self) -> Iterator[tuple[_Stored | None, _Stored | None]]:
        """What waits, paired: rows of the same content first, then rows of the same key. Rows without a partner come
        with None."""
        for column in ("content", "key"):
            self._pair(column)
        both = (
            "SELECT old.body, new.body FROM waiting AS old LEFT JOIN pairs ON pairs.before = old.place"
            " LEFT JOIN waiting AS new ON new.place = pairs.after WHERE old.side = 0 ORDER BY old.place"
        )
        added = (
            "SELECT NULL, body FROM waiting WHERE side = 1"
            " AND NOT EXISTS (SELECT 1 FROM pairs WHERE after = place) ORDER BY place"
        )
        for query in (both, added):
            for old, new in self._database.execute(query):
                yield stored(old), stored(new)

    def _pair(self, column: str) -> None:
        """Pair the n-th row of one side with the n-th of the other that is the same in a column."""
        numbered = (
            "(SELECT place, {column} AS same, row_number() OVER (PARTITION BY {column} ORDER BY place) AS nth"
            " FROM waiting WHERE side = {side} AND NOT EXISTS (SELECT 1 FROM pairs WHERE {name} = place))"
        )
        old = numbered.format(column=column, side=BEFORE, name="before")
        new = numbered.format(column=column, side=AFTER, name="after")
        same = "new.same = old.same AND new.nth = old.nth"
        # Put together from the words in this module only.
        self._database.execute(
            f"INSERT INTO pairs SELECT old.place, new.place FROM {old} AS old JOIN {new} AS new ON {same}"  # noqa: S608
        )


def stored(body: str | None) -> _Stored | None:
    return None if body is None else _Stored(*json.loads(body))


def passage_digest(passage: Passage) -> str:
    return digest(passage.docid, passage.title, passage.text)


def digest(*texts: str) -> str:
    """A digest of a list of texts."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    feed(digest, *texts)
    return digest.hexdigest()
