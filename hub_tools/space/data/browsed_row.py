"""A row as it is browsed: its passages, all that was said of them, and what each technique does to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hf_relabel.builders.configs.verdict_records import agreement
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.rows import Row
from hf_relabel.builders.techniques import Change, Dropped, RowDropped, Technique, account_all


@dataclass(frozen=True, slots=True)
class StageWord:
    """What one stage said of a candidate.

    Attributes:
        judge: "" where the release does not say.
        label: None where the stage was not asked.
        rationale: the judge's own words, "" where there are none.
        cut: it saw only a part of the query or the passage.
    """

    stage: str
    judge: str
    label: str | None
    score: float | None = None
    rationale: str = ""
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hard negative with its verdict.

    Attributes:
        position: 0-based among the negatives.
        outcome, reason: see `builders.judgements.Outcome` and `Verdict`.
        label, score, rationale: of the last stage that saw it; None, None and "" where none did.
        agreement: see `arrow_batches.agreement`; `disagreement` where it is below 1.
    """

    position: int
    docid: str
    title: str
    text: str
    outcome: str
    reason: str
    label: str | None
    score: float | None
    rationale: str
    agreement: float | None
    stages: tuple[StageWord, ...]

    @property
    def disagreement(self) -> bool:
        return self.agreement is not None and self.agreement < 1


@dataclass(frozen=True, slots=True)
class SuspectOpinion:
    """What one judge says of a ground truth: `above` of `compared` candidates rank higher."""

    judge: str
    label: str
    score: float | None
    above: int
    compared: int


@dataclass(frozen=True, slots=True)
class Positive:
    """A ground truth.

    Attributes:
        suspect: why it is suspected (`ranked-below`, `unanswering`, or both with a plus sign), None where it is not.
    """

    position: int
    docid: str
    title: str
    text: str
    suspect: str | None = None
    opinions: tuple[SuspectOpinion, ...] = ()


@dataclass(frozen=True, slots=True)
class TechniqueEffect:
    """A row before and after a technique. Positions are those of the candidates (0-based).

    Attributes:
        technique: the name of the config.
        is_built: whether the release has this config (effects of all techniques are given).
        row_dropped: why the whole row goes (`any_false_negative`, `over_limit`), None where it stays.
        why: one plain sentence on what happens.
        moved: candidates that become positives, appended in this order.
        dropped: candidates in neither list afterwards, and why, see `techniques.Dropped`.
        kept: candidates that stay negatives.
        positives, negatives: how many the row has before and after; after is (0, 0) where the row goes.
    """

    technique: str
    is_built: bool
    changed: bool
    row_dropped: str | None
    why: str
    moved: tuple[int, ...]
    dropped: Mapping[int, str]
    kept: tuple[int, ...]
    positives: tuple[int, int]
    negatives: tuple[int, int]


@dataclass(frozen=True, slots=True)
class BrowsedRow:
    """A row with everything that is known of it."""

    number: int
    query_id: str
    query: str
    subset: str
    positives: tuple[Positive, ...]
    candidates: tuple[Candidate, ...]
    techniques: tuple[TechniqueEffect, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def positives_of(row: Row, suspects: Sequence[Mapping[str, Any]]) -> tuple[Positive, ...]:
    suspected = {record["position"]: record for record in suspects}
    found = []
    for position, passage in enumerate(row.positive_passages):
        record = suspected.get(position)
        opinions = tuple(SuspectOpinion(**opinion) for opinion in record["opinions"]) if record else ()
        reason = record["reason"] if record else None
        found.append(Positive(position, passage.docid, passage.title, passage.text, reason, opinions))
    return tuple(found)


def candidate_of(
    row: Row, verdict: Verdict, said: Sequence[Mapping[str, Any]], stage_names: Sequence[str]
) -> Candidate:
    passage = row.negative_passages[verdict.position]
    words = [
        StageWord(
            stage=stage["stage"],
            judge=stage["judge"] or "",
            label=stage["label"],
            score=stage["score"],
            rationale=stage["rationale"] or "",
            prompt_tokens=stage["prompt_tokens"],
            completion_tokens=stage["completion_tokens"],
            # Releases made before judges cut texts do not have it.
            cut=bool(stage.get("cut")),
        )
        for stage in said
    ]
    # What was settled without a judge has no stages: none was asked.
    words += [StageWord(name, "", None) for name in stage_names[len(words) :]]
    last = next((word for word in reversed(words) if word.label is not None), None)
    return Candidate(
        position=verdict.position,
        docid=passage.docid,
        title=passage.title,
        text=passage.text,
        outcome=str(verdict.outcome),
        reason=verdict.reason,
        label=None if last is None else last.label,
        score=None if last is None else last.score,
        rationale="" if last is None else last.rationale,
        agreement=agreement(verdict),
        stages=tuple(words),
    )


def effects_of(
    row: Row, verdicts: Sequence[Verdict], *, limit: int, built: Collection[str], min_negatives: int = 0
) -> tuple[TechniqueEffect, ...]:
    """What each technique does to a row.

    Args:
        limit, min_negatives: see `techniques.account`.
        built: the configs that the release has.
    """
    changes = account_all(tuple(Technique), row, verdicts, limit=limit, min_negatives=min_negatives)
    return tuple(_effect(technique, row, changes[technique], technique in built, limit) for technique in Technique)


def _effect(technique: Technique, row: Row, change: Change, is_built: bool, limit: int) -> TechniqueEffect:
    positives, negatives = len(row.positive_passages), len(row.negative_passages)
    goes = change.row_dropped is not None
    return TechniqueEffect(
        technique=str(technique),
        is_built=is_built,
        changed=not change.is_unchanged,
        row_dropped=None if change.row_dropped is None else str(change.row_dropped),
        why=_why(change, limit),
        moved=change.moved,
        dropped={position: str(reason) for position, reason in change.dropped.items()},
        kept=change.kept,
        positives=(positives, 0 if goes else positives + len(change.moved)),
        negatives=(negatives, len(change.kept)),
    )


def _why(change: Change, limit: int) -> str:
    if change.row_dropped is RowDropped.ANY_FALSE_NEGATIVE:
        return "The whole row goes: one of its negatives is false."
    if change.row_dropped is RowDropped.OVER_LIMIT:
        return f"The whole row goes: more than {limit} of its negatives are false, so its query counts as ambiguous."
    if change.is_unchanged:
        return "The row stays as it is."
    parts = [f"{_counted(len(change.moved))} to the positives"] if change.moved else []
    reasons = Counter(change.dropped.values())
    parts += [f"{_counted(number)} away ({_REASONS[reason]})" for reason, number in reasons.items()]
    return f"Of its negatives, {', '.join(parts)}."


def _counted(number: int) -> str:
    return "1 goes" if number == 1 else f"{number} go"


_REASONS = {
    Dropped.FALSE_NEGATIVE: "false negative",
    Dropped.DUPLICATE: "a copy of a positive",
    Dropped.REPEATED: "a copy of another false negative or of a positive",
    Dropped.DOUBTFUL: "doubtful",
    Dropped.EMPTY: "no text",
    Dropped.ROW: "the whole row goes",
}
