"""From rows and verdicts to Arrow tables, a bounded batch at a time.

The passages of a batch become one flat Arrow array, once; each config then takes its passages out of it by index. That
is what keeps five configs from costing five conversions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row, arrow_schema
from hf_relabel.builders.techniques import Change, Technique, account_all

if TYPE_CHECKING:
    import pyarrow as pa

PASSAGE_FIELDS = ("docid", "title", "text")
STAGE_FIELDS = ("stage", "judge", "label", "score", "rationale", "prompt_tokens", "completion_tokens", "cut")
MISSING_VERDICT = "not-reached"


@dataclass(slots=True)
class JudgedRow:
    """A row with a verdict for each of its negatives, in their order, and what each technique does to it."""

    number: int
    row: Row
    verdicts: Sequence[Verdict]
    changes: Mapping[Technique, Change]
    size: int = 0
    """About how many bytes of Arrow it takes in one config, its verdicts included."""

    def __post_init__(self) -> None:
        self.size = _size(self.row, self.verdicts)


@dataclass
class Batch:
    """Some rows in a row, as they are read. Tables are made from it one config at a time.

    Attributes:
        scores: whether passages are written with their scores.
    """

    rows: list[JudgedRow] = field(default_factory=list)
    size: int = 0
    scores: bool = False

    def add(self, judged: JudgedRow) -> None:
        self.rows.append(judged)
        self.size += judged.size

    def prepare(self) -> None:
        """Convert what the tables share, once. Afterwards they may be made in several threads.

        Raises:
            BuildError: a text is not valid Unicode, or there are scores where none were announced.
        """
        _ = self._flat

    def without_texts(self) -> Batch:
        """The same, for another process to make the tables of techniques of: what they share is converted, and of the
        rows and verdicts nothing is left but what becomes of them."""
        blank = Passage("", "", "")
        lighter = Batch(scores=self.scores)
        for judged in self.rows:
            positives, negatives = ((blank,) * len(side) for side in _sides(judged.row))
            lighter.add(JudgedRow(judged.number, Row("", "", positives, negatives), (), judged.changes))
        lighter.__dict__["_flat"] = self._flat
        return lighter

    def table(self, technique: Technique) -> pa.Table:
        """The rows that the technique keeps, rewritten. See `rows.arrow_schema`."""
        import pyarrow as pa

        starts, columns = self._flat
        positives: list[list[int]] = []
        negatives: list[list[int]] = []
        kept_rows: list[int] = []
        for index, judged in enumerate(self.rows):
            change = judged.changes[technique]
            if change.row_dropped is not None:
                continue
            start, count = starts[index], len(judged.row.positive_passages)
            first_negative = start + count
            kept_rows.append(index)
            positives.append([*range(start, first_negative), *(first_negative + position for position in change.moved)])
            negatives.append([first_negative + position for position in change.kept])
        passages = columns["passages"]
        indices = pa.array(kept_rows, pa.int32())
        return pa.table(
            {
                "query_id": columns["query_id"].take(indices),
                "query": columns["query"].take(indices),
                "positive_passages": _lists(passages, positives),
                "negative_passages": _lists(passages, negatives),
                "subset": columns["subset"].take(indices),
            },
            schema=arrow_schema(scores=self.scores),
        )

    def verdicts_table(self, stage_names: Sequence[str], stage_judges: Sequence[str]) -> pa.Table:
        """One line for each negative of each row. See `verdicts_schema`."""
        import pyarrow as pa

        lines = [(judged, verdict) for judged in self.rows for verdict in judged.verdicts]
        schema = verdicts_schema()
        words = [last_word(verdict) for _, verdict in lines]
        columns: dict[str, list[Any]] = {
            "row": [judged.number for judged, _ in lines],
            "query_id": [judged.row.query_id for judged, _ in lines],
            "subset": [judged.row.subset for judged, _ in lines],
            "position": [verdict.position for _, verdict in lines],
            "docid": [verdict.docid for _, verdict in lines],
            "outcome": [str(verdict.outcome) for _, verdict in lines],
            "reason": [verdict.reason for _, verdict in lines],
            "label": [None if word is None else str(word.label) for word in words],
            "score": [None if word is None else word.score for word in words],
            "agreement": [agreement(verdict) for _, verdict in lines],
        }
        arrays = [pa.array(columns[name], schema.field(name).type) for name in columns]
        stages = _stages_array([verdict for _, verdict in lines], stage_names, stage_judges)
        return pa.table([*arrays, stages], schema=schema)

    @cached_property
    def _flat(self) -> tuple[list[int], dict[str, pa.Array]]:
        """Where each row's passages start in the flat array (its positives, then its negatives), and the columns."""
        import pyarrow as pa

        starts: list[int] = []
        passages: list[Passage] = []
        for judged in self.rows:
            starts.append(len(passages))
            passages += judged.row.positive_passages
            passages += judged.row.negative_passages
        names = list(PASSAGE_FIELDS)
        try:
            parts = [pa.array([getattr(passage, name) for passage in passages], pa.string()) for name in names]
            columns = {
                name: pa.array([getattr(judged.row, name) for judged in self.rows], pa.string())
                for name in ("query_id", "query", "subset")
            }
        except UnicodeEncodeError as error:
            raise _not_unicode(self.rows) from error
        scores = pa.array([passage.score for passage in passages], pa.float64())
        if self.scores:
            names, parts = [*names, "score"], [*parts, scores]
        elif scores.null_count < len(scores):
            raise _unannounced_score(self.rows)
        columns["passages"] = pa.StructArray.from_arrays(parts, names)
        return starts, columns


def batches(
    items: Iterable[tuple[NumberedRow, Sequence[Verdict]]],
    techniques: Sequence[Technique],
    *,
    limit: int,
    batch_bytes: int,
    batch_rows: int,
    scores: bool = False,
) -> Iterator[Batch]:
    """Read rows and verdicts into batches of at most `batch_rows` rows and, unless one row is larger, `batch_bytes`.

    Args:
        scores: whether passages are written with their scores.

    Raises:
        BuildError: row numbers have a gap, or verdicts do not fit their row.
    """
    batch = Batch(scores=scores)
    expected: int | None = None
    for numbered, verdicts in items:
        if expected is not None and numbered.number != expected:
            raise BuildError(
                f"Row {numbered.number} came where row {expected} was due. Give the rows of a source in order and "
                "without gaps, so that the verdicts config can name them by number."
            )
        expected = numbered.number + 1
        changes = account_all(techniques, numbered.row, verdicts, limit=limit)
        judged = JudgedRow(numbered.number, numbered.row, complete(numbered.row, verdicts), changes)
        if batch.rows and _is_full(batch.size, len(batch.rows), judged.size, batch_bytes, batch_rows):
            yield batch
            batch = Batch(scores=scores)
        batch.add(judged)
    if batch.rows:
        yield batch


def batch_ends(sizes: Sequence[int], *, batch_bytes: int, batch_rows: int) -> list[int]:
    """Where each batch of `batches` ends, as the number of rows up to there, from the sizes of all rows."""
    ends: list[int] = []
    size = rows = 0
    for number, more in enumerate(sizes):
        if rows and _is_full(size, rows, more, batch_bytes, batch_rows):
            ends.append(number)
            size = rows = 0
        size += more
        rows += 1
    return [*ends, len(sizes)] if rows else ends


def _is_full(size: int, rows: int, more: int, batch_bytes: int, batch_rows: int) -> bool:
    return size + more > batch_bytes or rows >= batch_rows


def complete(row: Row, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """A verdict for each negative, in their order: those given, and "unjudged" for the rest."""
    given = {verdict.position: verdict for verdict in verdicts}
    return [
        given.get(position) or Verdict(position, passage.docid, Outcome.UNJUDGED, MISSING_VERDICT)
        for position, passage in enumerate(row.negative_passages)
    ]


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


def _lists(values: pa.Array, lists: Sequence[Sequence[int]]) -> pa.Array:
    """A list array of `values` taken by index."""
    import pyarrow as pa

    indices = [index for items in lists for index in items]
    return pa.ListArray.from_arrays(_offsets(lists), values.take(pa.array(indices, pa.int32())))


def _offsets(lists: Iterable[Sequence[Any]]) -> pa.Array:
    import pyarrow as pa

    offsets = [0]
    for items in lists:
        offsets.append(offsets[-1] + len(items))
    return pa.array(offsets, pa.int32())


def _stages_array(verdicts: Sequence[Verdict], stage_names: Sequence[str], stage_judges: Sequence[str]) -> pa.Array:
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
        _offsets([verdict.stages for verdict in verdicts]), pa.StructArray.from_arrays(parts, list(STAGE_FIELDS))
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
        len(passage.docid) + len(passage.title) + len(passage.text) + 12 for side in _sides(row) for passage in side
    )
    rationales = sum(
        len(judgement.rationale) for verdict in verdicts for judgement in verdict.stages if judgement is not None
    )
    return passages + rationales + len(row.query) + len(row.query_id) + len(row.subset)


def _sides(row: Row) -> tuple[tuple[Passage, ...], tuple[Passage, ...]]:
    return row.positive_passages, row.negative_passages


def _unannounced_score(rows: Iterable[JudgedRow]) -> BuildError:
    number = next(judged.number for judged in rows if judged.row.has_scores)
    return BuildError(
        f"Row {number + 1} has a passage with a score, but the first rows of the source, from which the "
        'columns follow, have no place for one. Write `"score": null` in the first row (FlagEmbedding: `"neg_scores": '
        "null`), or rename the field everywhere if it is no score of the passage."
    )


def _not_unicode(rows: Iterable[JudgedRow]) -> BuildError:
    """Name the first text that cannot be written."""
    for judged in rows:
        row = judged.row
        for name in ("query_id", "query", "subset"):
            if not _is_unicode(getattr(row, name)):
                return _unicode_error(judged.number, name)
        for side in ("positive_passages", "negative_passages"):
            for position, passage in enumerate(getattr(row, side)):
                if not all(_is_unicode(getattr(passage, name)) for name in PASSAGE_FIELDS):
                    return _unicode_error(judged.number, f"{side}[{position}]")
    return BuildError("A text is not valid Unicode and cannot be written.")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unicode_error(number: int, name: str) -> BuildError:
    return BuildError(
        f"Row {number + 1}, {name}: the text is not valid Unicode (half of a surrogate pair) and cannot "
        "be written to Parquet. Correct the source."
    )
