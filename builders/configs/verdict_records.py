"""Verdicts as records of the config `verdicts`, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.techniques import Change, Technique

if TYPE_CHECKING:
    import pyarrow as pa

STAGE_FIELDS = ("stage", "judge", "label", "score", "rationale", "prompt_tokens", "completion_tokens", "cut")
MISSING_VERDICT = "not-reached"


@dataclass(slots=True)
class BuiltRow:
    """A row with a verdict for each of its negatives, in their order, and what each technique does to it."""

    number: int
    row: Row
    verdicts: Sequence[Verdict]
    changes: Mapping[Technique, Change]
    size: int = 0
    """About how many bytes of Arrow it takes in one config, its verdicts included."""

    def __post_init__(self) -> None:
        self.size = _size(self.row, self.verdicts)


def verdicts_schema() -> pa.Schema:
    """The Arrow schema of the `verdicts` config: one line for each negative of each row of `original`.

    `row` is the number of the row, `label` and `score` are those of the last stage that saw the candidate, `agreement`
    is that of the stages (see `agreement`), `stages` has an entry for every stage of the cascade, with a null `label`
    where the stage did not see it. `cut` says that the judge saw only a part of the query or the passage.
    """
    import pyarrow as pa

    types = {name: pa.float64() for name in ("score", "prompt_tokens", "completion_tokens")} | {"cut": pa.bool_()}
    stage = pa.struct([(name, types.get(name, pa.string())) for name in STAGE_FIELDS])
    return pa.schema(
        [
            ("row", pa.int64()),
            ("query_id", pa.string()),
            ("subset", pa.string()),
            ("position", pa.int32()),
            ("docid", pa.string()),
            ("outcome", pa.string()),
            ("reason", pa.string()),
            ("label", pa.string()),
            ("score", pa.float64()),
            ("agreement", pa.float64()),
            ("stages", pa.list_(stage)),
        ]
    )


def verdicts_from_records(records: Iterable[Mapping[str, Any]]) -> dict[int, Verdict]:
    """The verdicts of one row, by position, from its lines of the `verdicts` config.

    With them and the row of `original`, `techniques.apply` rebuilds the row of any other config.
    """
    return {
        record["position"]: Verdict(
            position=record["position"],
            docid=record["docid"],
            outcome=Outcome(record["outcome"]),
            reason=record["reason"],
            stages=tuple(_judgement(stage) for stage in record["stages"]),
        )
        for record in records
    }


def _judgement(stage: Mapping[str, Any]) -> Judgement | None:
    if stage["label"] is None:
        return None
    return Judgement(
        label=Label(stage["label"]),
        score=stage["score"],
        rationale=stage["rationale"],
        prompt_tokens=stage["prompt_tokens"],
        completion_tokens=stage["completion_tokens"],
        # Releases made before judges cut texts do not have it.
        cut=bool(stage.get("cut")),
    )


def last_word(verdict: Verdict) -> Judgement | None:
    """What the last stage that saw the candidate said; None where none did."""
    return next((judgement for judgement in reversed(verdict.stages) if judgement is not None), None)


def agreement(verdict: Verdict) -> float | None:
    """Of the stages that answered, the share that is with the last of them on whether the candidate is `better`.

    In (0, 1]; None where fewer than two answered.
    """
    better = [
        judgement.label is Label.BETTER
        for judgement in verdict.stages
        if judgement is not None and judgement.label.is_answer
    ]
    return None if len(better) < 2 else better.count(better[-1]) / len(better)


def lists(values: pa.Array, lists: Sequence[Sequence[int]]) -> pa.Array:
    """A list array of `values` taken by index."""
    import pyarrow as pa

    indices = [index for items in lists for index in items]
    return pa.ListArray.from_arrays(offsets(lists), values.take(pa.array(indices, pa.int32())))


def offsets(lists: Iterable[Sequence[Any]]) -> pa.Array:
    import pyarrow as pa

    offsets = [0]
    for items in lists:
        offsets.append(offsets[-1] + len(items))
    return pa.array(offsets, pa.int32())


def stages_array(verdicts: Sequence[Verdict], stage_names: Sequence[str], stage_judges: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    entries = [(index, judgement) for verdict in verdicts for index, judgement in enumerate(verdict.stages)]
    judgements = [judgement for _, judgement in entries]
    columns: list[list[Any]] = [
        [stage_names[index] for index, _ in entries],
        [stage_judges[index] if stage_judges else None for index, _ in entries],
        [None if judgement is None else str(judgement.label) for judgement in judgements],
    ]
    columns += [
        [None if judgement is None else getattr(judgement, name) for judgement in judgements]
        for name in STAGE_FIELDS[3:]
    ]
    stage_type = verdicts_schema().field("stages").type.value_type
    parts = [_text_or_number(column, stage_type.field(index).type) for index, column in enumerate(columns)]
    return pa.ListArray.from_arrays(
        offsets([verdict.stages for verdict in verdicts]), pa.StructArray.from_arrays(parts, list(STAGE_FIELDS))
    )


def _text_or_number(values: list[Any], kind: pa.DataType) -> pa.Array:
    """An Arrow array; a judge's text that is not valid Unicode gets "?" for the bad characters, as it is no data."""
    import pyarrow as pa

    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array([value and value.encode("utf-8", "replace").decode() for value in values], kind)


def _size(row: Row, verdicts: Sequence[Verdict]) -> int:
    """About the bytes of a row and its verdicts in Arrow: a character counts as one, a string has 4 more of offset."""
    passages = sum(
        len(passage.docid) + len(passage.title) + len(passage.text) + 12 for side in sides(row) for passage in side
    )
    rationales = sum(
        len(judgement.rationale) for verdict in verdicts for judgement in verdict.stages if judgement is not None
    )
    return passages + rationales + len(row.query) + len(row.query_id) + len(row.subset)


def sides(row: Row) -> tuple[tuple[Passage, ...], tuple[Passage, ...]]:
    return row.positive_passages, row.negative_passages
