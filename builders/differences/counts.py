"""What two releases are compared by, and what is counted of their differences."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.techniques import DEFAULT_LIMIT, Technique

ROW_ADDED, ROW_DROPPED, ROW_CHANGED, VERDICT_CHANGED = "row_added", "row_dropped", "row_changed", "verdict_changed"
ROW_FIELDS = ("query", "positive_passages", "negative_passages")


@dataclass(frozen=True)
class Side:
    """One of the two releases that are compared.

    Attributes:
        judged_rows: rows in order, each with verdicts on its negatives; a negative without one counts as unjudged.
            Read once.
        stages: for each stage of the cascade, in order, its name and who judged there (None if that is not known).
        techniques: the configs that were built.
        limit, min_negatives: see `techniques.account`.
    """

    judged_rows: Iterable[tuple[NumberedRow, Sequence[Verdict]]]
    stages: Sequence[tuple[str, str | None]] = ()
    techniques: Sequence[Technique] = tuple(Technique)
    limit: int = DEFAULT_LIMIT
    min_negatives: int = 0


@dataclass(frozen=True, slots=True)
class LabelChange:
    """A stage that labels a candidate differently. A label is None where the stage is missing or was not asked."""

    stage: str
    judge_before: str | None
    judge_after: str | None
    label_before: str | None
    label_after: str | None


@dataclass(frozen=True, slots=True)
class Difference:
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
        return RowCounts(*(sum(column) for column in zip(*map(numbers, self.rows.values()), strict=True)))

    @property
    def total_candidates(self) -> CandidateCounts:
        return CandidateCounts(*(sum(column) for column in zip(*map(numbers, self.candidates.values()), strict=True)))

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
            "rows": {"total": asdict(self.total_rows), "subsets": plain(self.rows)},
            "fields": {name: self.fields[name] for name in ROW_FIELDS},
            "candidates": {"total": asdict(self.total_candidates), "subsets": plain(self.candidates)},
            "transitions": transitions,
            "by": sorted(by, key=lambda entry: json.dumps(entry, sort_keys=True)),
            "rule": self.rule,
            "configs": plain(self.configs),
        }


def add(counts: RowCounts | CandidateCounts, name: str, number: int = 1) -> None:
    setattr(counts, name, getattr(counts, name) + number)


def numbers(counts: RowCounts | CandidateCounts) -> list[int]:
    return list(asdict(counts).values())


def plain(counts: Mapping[str, RowCounts] | Mapping[str, CandidateCounts]) -> dict[str, Any]:
    return {name: asdict(counts[name]) for name in sorted(counts)}
