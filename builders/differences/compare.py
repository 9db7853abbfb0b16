"""What changed between two releases: rows, verdicts, and what follows for each config.

Rows are the same row when their subset and query id are. Where several rows of a release share both, equal rows are
paired first (text, passages and verdicts; then text and passages), the rest in order, so that the order of rows never
counts as a change. Within a row the order does count: it decides what a trainer that takes the first negatives sees.
A candidate is the same when its row and its docid are; the n-th of a docid is paired with the n-th.

Both releases are read once, side by side. A row waits in an index on disk until its equal comes by on the other side,
so what is held is what differs, as digests and ids without texts, and memory stays bounded whatever the number of rows.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs.arrow_batches import complete
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.techniques import DEFAULT_LIMIT, Technique, account_all
from hf_relabel.builders.techniques import Change as TechniqueChange

ROW_ADDED, ROW_DROPPED, ROW_CHANGED, VERDICT_CHANGED = "row_added", "row_dropped", "row_changed", "verdict_changed"
ROW_FIELDS = ("query", "positive_passages", "negative_passages")

_DIGEST_BYTES = 16
_CACHE_KIB = 64_000
_BEFORE, _AFTER = 0, 1


@dataclass(frozen=True)
class Side:
    """One of the two releases that are compared.

    Attributes:
        judged_rows: rows in order, each with verdicts on its negatives; a negative without one counts as unjudged.
            Read once.
        stages: for each stage of the cascade, in order, its name and who judged there (None if that is not known).
        techniques: the configs that were built.
        limit: most distinct false negatives in a row, see `techniques.account`.
    """

    judged_rows: Iterable[tuple[NumberedRow, Sequence[Verdict]]]
    stages: Sequence[tuple[str, str | None]] = ()
    techniques: Sequence[Technique] = tuple(Technique)
    limit: int = DEFAULT_LIMIT


@dataclass(frozen=True, slots=True)
class LabelChange:
    """A stage that labels a candidate differently. A label is None where the stage is missing or was not asked."""

    stage: str
    judge_before: str | None
    judge_after: str | None
    label_before: str | None
    label_after: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that changed.

    Attributes:
        kind: `row_added`, `row_dropped`, `row_changed` or `verdict_changed`.
        row_before, row_after: numbers of the row in the releases, None where it is not there.
        fields: for a changed row, which of `ROW_FIELDS` differ.
        docid, position_before, position_after: for a changed verdict, the candidate and its places in the row.
        by: for a changed verdict, the stages whose labels differ. None there means that the rule made the change: what
            a stage passes on, an exemption, or what is found without a judge.
    """

    kind: str
    subset: str
    query_id: str
    row_before: int | None = None
    row_after: int | None = None
    fields: tuple[str, ...] = ()
    docid: str | None = None
    position_before: int | None = None
    position_after: int | None = None
    outcome_before: str | None = None
    outcome_after: str | None = None
    reason_before: str | None = None
    reason_after: str | None = None
    by: tuple[LabelChange, ...] = ()


@dataclass(slots=True)
class RowCounts:
    """Rows of the original, or of one config."""

    before: int = 0
    after: int = 0
    added: int = 0
    dropped: int = 0
    changed: int = 0


@dataclass(slots=True)
class CandidateCounts:
    """Negatives of the original rows.

    Attributes:
        added, dropped: candidates that only one side has, those of added and dropped rows included.
        verdict_changed: on both sides, with another outcome or another reason for it.
        labels_only: on both sides, with the same outcome and reason although a judge's label differs.
        false_negatives_before, false_negatives_after: copies of positives included.
    """

    before: int = 0
    after: int = 0
    added: int = 0
    dropped: int = 0
    verdict_changed: int = 0
    labels_only: int = 0
    false_negatives_before: int = 0
    false_negatives_after: int = 0


@dataclass
class DifferenceCounts:
    """How much changed. `rows` and `candidates` are by subset, `configs` by config.

    Attributes:
        fields: changed rows by field; a row counts for each of its fields that differ.
        transitions: changed verdicts by outcome before and after.
        by: changed verdicts by stage, judge and label; a verdict counts for each stage whose labels differ.
        rule: changed verdicts without a changed label.
    """

    rows: dict[str, RowCounts] = field(default_factory=lambda: defaultdict(RowCounts))
    candidates: dict[str, CandidateCounts] = field(default_factory=lambda: defaultdict(CandidateCounts))
    configs: dict[str, RowCounts] = field(default_factory=lambda: defaultdict(RowCounts))
    fields: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    by: Counter[LabelChange] = field(default_factory=Counter)
    rule: int = 0

    @property
    def total_rows(self) -> RowCounts:
        return RowCounts(*(sum(column) for column in zip(*map(_numbers, self.rows.values()), strict=True)))

    @property
    def total_candidates(self) -> CandidateCounts:
        return CandidateCounts(*(sum(column) for column in zip(*map(_numbers, self.candidates.values()), strict=True)))

    @property
    def differ(self) -> bool:
        """Whether anything does: rows, verdicts, labels, or the rows of a config."""
        rows = [self.total_rows, *self.configs.values()]
        candidates = self.total_candidates
        return any(counts.added or counts.dropped or counts.changed for counts in rows) or bool(
            candidates.verdict_changed or candidates.labels_only
        )

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain values, in an order that does not depend on that of the rows."""
        transitions: dict[str, dict[str, int]] = {}
        for (old, new), number in sorted(self.transitions.items()):
            transitions.setdefault(old, {})[new] = number
        by = [{**asdict(change), "candidates": number} for change, number in self.by.items()]
        return {
            "differ": self.differ,
            "rows": {"total": asdict(self.total_rows), "subsets": _plain(self.rows)},
            "fields": {name: self.fields[name] for name in ROW_FIELDS},
            "candidates": {"total": asdict(self.total_candidates), "subsets": _plain(self.candidates)},
            "transitions": transitions,
            "by": sorted(by, key=lambda entry: json.dumps(entry, sort_keys=True)),
            "rule": self.rule,
            "configs": _plain(self.configs),
        }


def differences(
    before: Side,
    after: Side,
    counts: DifferenceCounts,
    *,
    scratch: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Change]:
    """Give every change, in the order of the rows of `before`, added rows last.

    Args:
        counts: filled on the way, complete when the last change has been given.
        scratch: a folder for the index of what waits for its equal; the system's folder for temporary files if None.
        progress: called with the rows read so far, of both sides together.

    Raises:
        BuildError: verdicts do not fit their row, or the index cannot be written.
    """
    readers = [_Reader(before, after, counts, _BEFORE), _Reader(after, before, counts, _AFTER)]
    for name in sorted({str(technique) for side in (before, after) for technique in side.techniques}):
        counts.configs[name] = RowCounts()
    with _Waiting.opened(scratch) as waiting:
        _read(readers, waiting, progress)
        compare = _Comparison(dict(before.stages), dict(after.stages), _stage_order(before, after), counts)
        for old, new in waiting.pairs():
            yield from compare.pair(old, new)


@dataclass(frozen=True, slots=True)
class _Sketch:
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


class _Reader:
    """Reads one side into sketches, and counts what is there."""

    def __init__(self, side: Side, other: Side, counts: DifferenceCounts, place: int) -> None:
        self.side, self.counts, self.place = side, counts, place
        self.name = ("before", "after")[place]
        self.common = [technique for technique in side.techniques if technique in other.techniques]

    def sketches(self) -> Iterator[_Sketch]:
        names = [name for name, _ in self.side.stages]
        for numbered, verdicts in self.side.judged_rows:
            row = numbered.row
            verdicts = complete(row, verdicts)
            candidates = [
                (verdict.docid, str(verdict.outcome), verdict.reason, _labels(verdict, names)) for verdict in verdicts
            ]
            changes = account_all(self.side.techniques, row, verdicts, limit=self.side.limit)
            self._count(row, verdicts, changes)
            yield self._sketch(numbered, candidates, changes)

    def _count(self, row: Row, verdicts: Sequence[Verdict], changes: Mapping[Technique, TechniqueChange]) -> None:
        _add(self.counts.rows[row.subset], self.name)
        _add(self.counts.candidates[row.subset], self.name, len(verdicts))
        false_negatives = sum(verdict.is_false_negative for verdict in verdicts)
        _add(self.counts.candidates[row.subset], f"false_negatives_{self.name}", false_negatives)
        for technique, change in changes.items():
            counts = self.counts.configs[technique]
            if change.row_dropped is None:
                _add(counts, self.name)
                if technique not in self.common:
                    _add(counts, ("dropped", "added")[self.place])

    def _sketch(
        self,
        numbered: NumberedRow,
        candidates: list[tuple[str, str, str, dict[str, str]]],
        changes: Mapping[Technique, TechniqueChange],
    ) -> _Sketch:
        row = numbered.row
        query = _digest(row.query)
        positives = [_passage_digest(passage) for passage in row.positive_passages]
        negatives = [_passage_digest(passage) for passage in row.negative_passages]
        fields = dict(zip(ROW_FIELDS, (query, _digest(*positives), _digest(*negatives)), strict=True))
        configs = {
            str(technique): _config_digest(changes[technique], query, positives, negatives) for technique in self.common
        }
        key = _digest(row.subset, row.query_id)
        content = _digest(key, *fields.values())
        return _Sketch(
            key=key,
            content=content,
            everything=_digest(content, json.dumps([candidates, configs], sort_keys=True)),
            number=numbered.number,
            subset=row.subset,
            query_id=row.query_id,
            fields=fields,
            configs=configs,
            candidates=candidates,
        )


def _labels(verdict: Verdict, names: Sequence[str]) -> dict[str, str]:
    """The labels of the stages that saw a candidate."""
    judgements = zip(names, verdict.stages, strict=False)
    return {name: str(judgement.label) for name, judgement in judgements if judgement is not None}


def _config_digest(
    change: TechniqueChange, query: str, positives: Sequence[str], negatives: Sequence[str]
) -> str | None:
    """A digest of what `change.carry_out` would give, from the digests of the passages."""
    if change.row_dropped is not None:
        return None
    moved = [negatives[position] for position in change.moved]
    kept = [negatives[position] for position in change.kept]
    return _digest(query, str(len(positives) + len(moved)), *positives, *moved, *kept)


def _read(readers: Sequence[_Reader], waiting: _Waiting, progress: Callable[[int], None] | None) -> None:
    """Read both sides in step, so that of two releases in the same order next to nothing has to wait."""
    done = 0
    for old, new in itertools.zip_longest(*(reader.sketches() for reader in readers)):
        if old is not None and new is not None and old.everything == new.everything and not waiting.has(old.everything):
            done += 2
        else:
            for place, sketch in ((_BEFORE, old), (_AFTER, new)):
                if sketch is not None:
                    waiting.meet_or_wait(place, sketch)
                    done += 1
        if progress is not None:
            progress(done)


class _Waiting:
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
    def opened(cls, scratch: Path | None) -> Iterator[_Waiting]:
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

    def meet_or_wait(self, side: int, sketch: _Sketch) -> None:
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
                yield _stored(old), _stored(new)

    def _pair(self, column: str) -> None:
        """Pair the n-th row of one side with the n-th of the other that is the same in a column."""
        numbered = (
            "(SELECT place, {column} AS same, row_number() OVER (PARTITION BY {column} ORDER BY place) AS nth"
            " FROM waiting WHERE side = {side} AND NOT EXISTS (SELECT 1 FROM pairs WHERE {name} = place))"
        )
        old = numbered.format(column=column, side=_BEFORE, name="before")
        new = numbered.format(column=column, side=_AFTER, name="after")
        same = "new.same = old.same AND new.nth = old.nth"
        # Put together from the words in this module only.
        self._database.execute(
            f"INSERT INTO pairs SELECT old.place, new.place FROM {old} AS old JOIN {new} AS new ON {same}"  # noqa: S608
        )


def _stored(body: str | None) -> _Stored | None:
    return None if body is None else _Stored(*json.loads(body))


@dataclass(frozen=True)
class _Comparison:
    """Compares rows that are paired, and counts what differs. The judges are by stage."""

    judges_before: Mapping[str, str | None]
    judges_after: Mapping[str, str | None]
    stages: Sequence[str]
    counts: DifferenceCounts

    def pair(self, old: _Stored | None, new: _Stored | None) -> Iterator[Change]:
        self._count_configs(old, new)
        if old is not None and new is not None:
            yield from self._both_sides(old, new)
        elif old is not None:
            self._count_one_side(old, "dropped")
            yield Change(ROW_DROPPED, old.subset, old.query_id, row_before=old.number)
        elif new is not None:
            self._count_one_side(new, "added")
            yield Change(ROW_ADDED, new.subset, new.query_id, row_after=new.number)

    def _both_sides(self, old: _Stored, new: _Stored) -> Iterator[Change]:
        fields = tuple(name for name in ROW_FIELDS if old.fields[name] != new.fields[name])
        if fields:
            self.counts.rows[old.subset].changed += 1
            self.counts.fields.update(fields)
            yield Change(ROW_CHANGED, old.subset, old.query_id, old.number, new.number, fields)
        yield from self._verdicts(old, new)

    def _count_one_side(self, row: _Stored, what: str) -> None:
        _add(self.counts.rows[row.subset], what)
        _add(self.counts.candidates[row.subset], what, len(row.candidates))

    def _count_configs(self, old: _Stored | None, new: _Stored | None) -> None:
        before, after = old.configs if old else {}, new.configs if new else {}
        for name in before.keys() | after.keys():
            counts = self.counts.configs[name]
            was, now = before.get(name), after.get(name)
            counts.added += was is None and now is not None
            counts.dropped += was is not None and now is None
            counts.changed += was is not None and now is not None and was != now

    def _verdicts(self, old: _Stored, new: _Stored) -> Iterator[Change]:
        places = _numbered_docids(new.candidates)
        counts = self.counts.candidates[old.subset]
        both = 0
        for name, position in _numbered_docids(old.candidates).items():
            if name in places:
                both += 1
                yield from self._verdict(old, position, new, places[name])
        counts.dropped += len(old.candidates) - both
        counts.added += len(new.candidates) - both

    def _verdict(self, old: _Stored, position_before: int, new: _Stored, position_after: int) -> Iterator[Change]:
        docid, outcome_before, reason_before, labels_before = old.candidates[position_before]
        _, outcome_after, reason_after, labels_after = new.candidates[position_after]
        by = self._label_changes(labels_before, labels_after)
        counts = self.counts.candidates[old.subset]
        if (outcome_before, reason_before) == (outcome_after, reason_after):
            counts.labels_only += bool(by)
            return
        counts.verdict_changed += 1
        self.counts.transitions[outcome_before, outcome_after] += 1
        self.counts.by.update(by)
        self.counts.rule += not by
        yield Change(
            VERDICT_CHANGED,
            old.subset,
            old.query_id,
            old.number,
            new.number,
            docid=docid,
            position_before=position_before,
            position_after=position_after,
            outcome_before=outcome_before,
            outcome_after=outcome_after,
            reason_before=reason_before,
            reason_after=reason_after,
            by=by,
        )

    def _label_changes(self, before: Mapping[str, str], after: Mapping[str, str]) -> tuple[LabelChange, ...]:
        return tuple(
            LabelChange(
                stage, self.judges_before.get(stage), self.judges_after.get(stage), before.get(stage), after.get(stage)
            )
            for stage in self.stages
            if before.get(stage) != after.get(stage)
        )


def _stage_order(before: Side, after: Side) -> list[str]:
    """The stages of both sides in the order of the cascades, the same whichever side comes first."""
    ranks: dict[str, int] = {}
    for side in (before, after):
        for rank, (name, _) in enumerate(side.stages):
            ranks[name] = min(rank, ranks.get(name, rank))
    return sorted(ranks, key=lambda name: (ranks[name], name))


def _numbered_docids(candidates: Sequence[Sequence[Any]]) -> dict[tuple[str, int], int]:
    """The position of each candidate by its docid and how many of that docid came before it."""
    seen: Counter[str] = Counter()
    places = {}
    for position, (docid, *_) in enumerate(candidates):
        places[docid, seen[docid]] = position
        seen[docid] += 1
    return places


def _passage_digest(passage: Passage) -> str:
    return _digest(passage.docid, passage.title, passage.text)


def _digest(*texts: str) -> str:
    """A digest of a list of texts. Lengths keep ("ab", "c") apart from ("a", "bc")."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _add(counts: RowCounts | CandidateCounts, name: str, number: int = 1) -> None:
    setattr(counts, name, getattr(counts, name) + number)


def _numbers(counts: RowCounts | CandidateCounts) -> list[int]:
    return list(asdict(counts).values())


def _plain(counts: Mapping[str, RowCounts] | Mapping[str, CandidateCounts]) -> dict[str, Any]:
    return {name: asdict(counts[name]) for name in sorted(counts)}
