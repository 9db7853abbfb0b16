"""What changed between two releases: rows, verdicts, and what follows for each config.

Rows are the same row when their subset and query id are. Where several rows of a release share both, equal rows are
paired first (text, passages and verdicts; then text and passages), the rest in order, so that the order of rows never
counts as a change. Within a row the order does count: it decides what a trainer that takes the first negatives sees.
A candidate is the same when its row and its docid are; the n-th of a docid is paired with the n-th.

Both releases are read once, side by side. A row waits in an index on disk until its equal comes by on the other side,
so what is held is what differs, as digests and ids without texts, and memory stays bounded whatever the number of rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.differences.counts import (
    ROW_ADDED,
    ROW_CHANGED,
    ROW_DROPPED,
    ROW_FIELDS,
    VERDICT_CHANGED,
    Difference,
    DifferenceCounts,
    LabelChange,
    RowCounts,
    Side,
    add,
)
from hf_relabel.builders.differences.reading import AFTER, BEFORE, Reader, Waiting, _read, _Stored


def differences(
    before: Side,
    after: Side,
    counts: DifferenceCounts,
    *,
    scratch: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Difference]:
    """Give every change, in the order of the rows of `before`, added rows last.

    Args:
        counts: filled on the way, complete when the last change has been given.
        scratch: a folder for the index of what waits for its equal; the system's folder for temporary files if None.
        progress: called with the rows read so far, of both sides together.

    Raises:
        BuildError: verdicts do not fit their row, or the index cannot be written.
    """
    readers = [Reader(before, after, counts, BEFORE), Reader(after, before, counts, AFTER)]
    for name in sorted({str(technique) for side in (before, after) for technique in side.techniques}):
        counts.configs[name] = RowCounts()
    with Waiting.opened(scratch) as waiting:
        _read(readers, waiting, progress)
        compare = _Comparison(dict(before.stages), dict(after.stages), _stage_order(before, after), counts)
        for old, new in waiting.pairs():
            yield from compare.pair(old, new)


@dataclass(frozen=True)
class _Comparison:
    """Compares rows that are paired, and counts what differs. The judges are by stage."""

    judges_before: Mapping[str, str | None]
    judges_after: Mapping[str, str | None]
    stages: Sequence[str]
    counts: DifferenceCounts

    def pair(self, old: _Stored | None, new: _Stored | None) -> Iterator[Difference]:
        self._count_configs(old, new)
        if old is not None and new is not None:
            yield from self._both_sides(old, new)
        elif old is not None:
            self._count_one_side(old, "dropped")
            yield Difference(ROW_DROPPED, old.subset, old.query_id, row_before=old.number)
        elif new is not None:
            self._count_one_side(new, "added")
            yield Difference(ROW_ADDED, new.subset, new.query_id, row_after=new.number)

    def _both_sides(self, old: _Stored, new: _Stored) -> Iterator[Difference]:
        fields = tuple(name for name in ROW_FIELDS if old.fields[name] != new.fields[name])
        if fields:
            self.counts.rows[old.subset].changed += 1
            self.counts.fields.update(fields)
            yield Difference(ROW_CHANGED, old.subset, old.query_id, old.number, new.number, fields)
        yield from self._verdicts(old, new)

    def _count_one_side(self, row: _Stored, what: str) -> None:
        add(self.counts.rows[row.subset], what)
        add(self.counts.candidates[row.subset], what, len(row.candidates))

    def _count_configs(self, old: _Stored | None, new: _Stored | None) -> None:
        before, after = old.configs if old else {}, new.configs if new else {}
        for name in before.keys() | after.keys():
            counts = self.counts.configs[name]
            was, now = before.get(name), after.get(name)
            counts.added += was is None and now is not None
            counts.dropped += was is not None and now is None
            counts.changed += was is not None and now is not None and was != now

    def _verdicts(self, old: _Stored, new: _Stored) -> Iterator[Difference]:
        places = _numbered_docids(new.candidates)
        counts = self.counts.candidates[old.subset]
        both = 0
        for name, position in _numbered_docids(old.candidates).items():
            if name in places:
                both += 1
                yield from self._verdict(old, position, new, places[name])
        counts.dropped += len(old.candidates) - both
        counts.added += len(new.candidates) - both

    def _verdict(self, old: _Stored, position_before: int, new: _Stored, position_after: int) -> Iterator[Difference]:
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
        yield Difference(
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
