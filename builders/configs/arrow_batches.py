"""From rows and verdicts to Arrow tables, a bounded batch at a time.

The passages of a batch become one flat Arrow array, once; each config then takes its passages out of it by index. That
is what keeps five configs from costing five conversions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.configs.verdict_records import (
    MISSING_VERDICT,
    BuiltRow,
    agreement,
    last_word,
    lists,
    sides,
    stages_array,
    verdicts_schema,
)
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.judgements import Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row, arrow_schema
from hf_relabel.builders.techniques import Technique, account_all

if TYPE_CHECKING:
    import pyarrow as pa

PASSAGE_FIELDS = ("docid", "title", "text")


@dataclass
class Batch:
    """Some rows in a row, as they are read. Tables are made from it one config at a time.

    Attributes:
        scores: whether passages are written with their scores.
    """

    rows: list[BuiltRow] = field(default_factory=list)
    size: int = 0
    scores: bool = False

    def add(self, judged: BuiltRow) -> None:
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
            positives, negatives = ((blank,) * len(side) for side in sides(judged.row))
            lighter.add(BuiltRow(judged.number, Row("", "", positives, negatives), (), judged.changes))
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
                "positive_passages": lists(passages, positives),
                "negative_passages": lists(passages, negatives),
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
        stages = stages_array([verdict for _, verdict in lines], stage_names, stage_judges)
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
    min_negatives: int = 0,
) -> Iterator[Batch]:
    """Read rows and verdicts into batches of at most `batch_rows` rows and, unless one row is larger, `batch_bytes`.

    Args:
        limit, min_negatives: see `techniques.account`.
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
        changes = account_all(techniques, numbered.row, verdicts, limit=limit, min_negatives=min_negatives)
        judged = BuiltRow(numbered.number, numbered.row, complete(numbered.row, verdicts), changes)
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


def _unannounced_score(rows: Iterable[BuiltRow]) -> BuildError:
    number = next(judged.number for judged in rows if judged.row.has_scores)
    return BuildError(
        f"Row {number + 1} has a passage with a score, but the first rows of the source, from which the "
        'columns follow, have no place for one. Write `"score": null` in the first row (FlagEmbedding: `"neg_scores": '
        "null`), or rename the field everywhere if it is no score of the passage."
    )


def _not_unicode(rows: Iterable[BuiltRow]) -> BuildError:
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
