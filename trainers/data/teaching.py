"""Rows for the baselines that need a teacher: filtered by its scores, or with its scores to learn from.

The teacher scores each passage of each row once, into a table on the disk; all that follows is made of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs.release import row_of
from hf_relabel.builders.rows import Passage, Row, arrow_schema
from hf_relabel.trainers.data.baselines import (
    ScoredRow,
    Scorer,
    effective_passages,
    normalised,
    passage_sieve,
    perc_pos,
    teacher_scores,
)
from hf_relabel.trainers.data.row_tables import kept_table, table_of
from hf_relabel.trainers.data.rows import RowDraw, usable_rows


@dataclass(frozen=True)
class Taught:
    """Rows after a teacher has seen them.

    Attributes:
        rows: a `datasets.Dataset`, of what is left to train on.
        rows_left_out: that have too few negatives left.
        negatives_left_out: of all rows.
        rows_without_negatives: that have none left and are kept, as their batch gives them others.
        passages: of a row in a step, the mean.
        effective_passages: how many of them the teacher's distribution speaks of, the mean; None where its scores are
            not learnt from.
    """

    rows: Any
    rows_left_out: int = 0
    negatives_left_out: int = 0
    rows_without_negatives: int = 0
    passages: float | None = None
    effective_passages: float | None = None


def score_table(rows: Any, teacher: Callable[[], Scorer], path: Path | None = None) -> Any:
    """The teacher's scores of each row's passages, in the order of the rows.

    Args:
        rows: a `datasets.Dataset` of a config.
        teacher: loads it. It is not called where the table is there already.
        path: of a file that keeps the table; None for one that is gone with it.

    Raises:
        ConfigError: a score is not one that can be used.
    """
    import pyarrow as pa

    scores = pa.list_(pa.float64())
    schema = pa.schema([("positives", scores), ("negatives", scores)])

    def records() -> Iterator[dict[str, Any]]:
        for scored in teacher_scores(map(row_of, rows), teacher()):
            yield {"positives": list(scored.positives), "negatives": list(scored.negatives)}

    return table_of(records, schema) if path is None else kept_table(path, records, schema)


def without_near_negatives(rows: Any, scores: Any, share: float, least: int) -> Taught:
    """The rows without the negatives that score too close to the positive, see `baselines.perc_pos`; those that are
    left with fewer than `least` are left out too."""
    gone = bare = 0

    def filtered() -> Iterator[dict[str, Any]]:
        nonlocal gone, bare
        for scored in _scored(rows, scores):
            row = perc_pos(scored, share=share)
            gone += len(scored.row.negative_passages) - len(row.negative_passages)
            bare += not row.negative_passages
            yield row.to_dict()

    kept, counts = usable_rows(table_of(filtered, arrow_schema()), skip=True, negatives=least)
    return Taught(kept, counts.skipped, gone, 0 if least else bare)


def without_sieved(rows: Any, scores: Any) -> tuple[Any, int]:
    """The rows without the negatives that `baselines.passage_sieve` leaves out, and how many these are."""
    gone = 0

    def sieved() -> Iterator[dict[str, Any]]:
        nonlocal gone
        for scored in _scored(rows, scores):
            row = passage_sieve(scored)
            gone += len(scored.row.negative_passages) - len(row.negative_passages)
            yield row.to_dict()

    return table_of(sieved, arrow_schema()), gone


def with_scores(rows: Any, scores: Any, draw: RowDraw, temperature: float) -> Taught:
    """The rows with the teacher's scores in their passages, moved and stretched to [0, 1] over all of a row.

    Args:
        draw: what a step sees of a row, which is measured on the first epoch's.
        temperature: of the teacher's distribution over these.
    """
    passages = effective = 0.0

    def records() -> Iterator[dict[str, Any]]:
        nonlocal passages, effective
        for scored in _scored(rows, scores):
            record = _with_scores(normalised(scored)).to_dict(scores=True)
            drawn = draw(record)
            seen = [each.score for each in (*drawn.positives, *drawn.negatives) if each.score is not None]
            passages, effective = passages + len(seen), effective + effective_passages(seen, temperature)
            yield record

    table = table_of(records, arrow_schema(scores=True))
    return Taught(table, passages=passages / len(table), effective_passages=effective / len(table))


def _scored(rows: Any, scores: Any) -> Iterator[ScoredRow]:
    for record, found in zip(rows, scores, strict=True):
        yield ScoredRow(row_of(record), tuple(found["positives"]), tuple(found["negatives"]))


def _with_scores(scored: ScoredRow) -> Row:
    def passages(found: tuple[Passage, ...], scores: tuple[float, ...]) -> tuple[Passage, ...]:
        return tuple(replace(passage, score=score) for passage, score in zip(found, scores, strict=True))

    row = scored.row
    return replace(
        row,
        positive_passages=passages(row.positive_passages, scored.positives),
        negative_passages=passages(row.negative_passages, scored.negatives),
    )
