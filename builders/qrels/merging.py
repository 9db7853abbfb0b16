"""From verdicts on a pool to judgements that have a provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.judged_share import JudgedShare, share_of
from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.cascade.zones import signal
from hf_relabel.builders.judgements import Outcome, Verdict
from hf_relabel.builders.qrels.collection import Collection, Grades
from hf_relabel.builders.qrels.pooling import Candidate, Pool
from hf_relabel.builders.rows import NumberedRow

if TYPE_CHECKING:
    import pyarrow as pa

    from hf_relabel.builders.cascade.calibration import Calibration

HUMAN = "human"
HEADER = "query-id\tcorpus-id\tscore\n"


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate of the pool with the last word on it.

    Attributes:
        judge: who had it; of a copy of a relevant document how that was seen (`same-text`); "" where nobody had.
        probability: of being relevant, by the calibration; None without one.
    """

    query_id: str
    candidate: Candidate
    outcome: Outcome
    reason: str
    judge: str
    label: str | None
    score: float | None
    probability: float | None

    @property
    def is_relevant(self) -> bool:
        return self.outcome in (Outcome.FALSE_NEGATIVE, Outcome.DUPLICATE)

    @property
    def is_judged(self) -> bool:
        return self.outcome is not Outcome.UNJUDGED


def judged_pool(
    verdicts: Iterable[tuple[NumberedRow, Sequence[Verdict]]],
    pool: Pool,
    run: Mapping[str, Any],
    calibration: Calibration | None = None,
) -> Iterator[Judged]:
    """Every candidate of the rows with the last word on it.

    Args:
        verdicts: on the rows of `pool_rows`, see hf_relabel.builders.cascade.verdicts.
        run: the settings of the run that they are of.
    """
    names = [stage.describe() for stage in stages_of_run(run)]
    for numbered, said in verdicts:
        query_id = numbered.row.query_id
        for candidate, verdict in zip(pool[query_id], said, strict=True):
            last = max((place for place, word in enumerate(verdict.stages) if word is not None), default=None)
            word = None if last is None else verdict.stages[last]
            value = None if calibration is None else signal(verdict)
            yield Judged(
                query_id=query_id,
                candidate=candidate,
                outcome=verdict.outcome,
                reason=verdict.reason,
                judge=names[last] if last is not None else verdict.reason if verdict.is_false_negative else "",
                label=None if word is None else str(word.label),
                score=None if word is None else word.score,
                probability=None if calibration is None or value is None else calibration.probability(value),
            )


def share_judged(judged: Iterable[Judged]) -> JudgedShare:
    """How much of the pool was judged."""
    return share_of(Counter((str(each.outcome), each.reason) for each in judged))


def merged(grades: Grades, judged: Iterable[Judged], grade: int = 1) -> dict[str, dict[str, int]]:
    """The judgements with what was found, behind those of each query that were there."""
    together = {query_id: dict(known) for query_id, known in grades.items()}
    for each in judged:
        if each.is_relevant:
            together[each.query_id].setdefault(each.candidate.docid, grade)
    return together


def without_dangling(collection: Collection, documents: Any) -> dict[str, dict[str, int]]:
    """The judgements that name a query and a document that are there. `documents`: the docids that are."""
    kept = {
        query_id: {docid: grade for docid, grade in judged.items() if docid in documents}
        for query_id, judged in collection.grades.items()
        if query_id in collection.queries
    }
    return {query_id: judged for query_id, judged in kept.items() if judged}


def write_tsv(path: Path, grades: Grades) -> None:
    """Write judgements as BEIR has them."""
    with path.open("wb") as file:
        file.write(HEADER.encode())
        for query_id, judged in grades.items():
            file.writelines(f"{query_id}\t{docid}\t{grade}\n".encode() for docid, grade in judged.items())


# With provenance


def schema() -> pa.Schema:
    """Of both configs. `query-id`, `corpus-id` and `score`, the grade, as on the Hub; the judge's own score is another
    column."""
    import datasets
    import pyarrow as pa

    plain = pa.schema(
        [
            *((name, pa.string()) for name in ("query-id", "corpus-id")),
            ("score", pa.int64()),
            *((name, pa.string()) for name in ("judge", "outcome", "label")),
            *((name, pa.float64()) for name in ("judge_score", "probability")),
            ("runs", pa.list_(pa.string())),
            ("ranks", pa.list_(pa.int64())),
        ]
    )
    return datasets.Features.from_arrow_schema(plain).arrow_schema


def qrels_records(grades: Grades, judged: Iterable[Judged]) -> Iterator[dict[str, Any]]:
    """A line for each judgement of `merged`, with its provenance."""
    found = {(each.query_id, each.candidate.docid): each for each in judged if each.is_relevant}
    for query_id, known in grades.items():
        for docid, grade in known.items():
            each = found.get((query_id, docid))
            human = {"query-id": query_id, "corpus-id": docid, "score": grade, "judge": HUMAN}
            yield human if each is None else record(each, grade)


def record(judged: Judged, grade: int | None) -> dict[str, Any]:
    """A candidate as a line. `grade` is None where it is no judgement of the merged ones."""
    return {
        "query-id": judged.query_id,
        "corpus-id": judged.candidate.docid,
        "score": grade,
        "judge": judged.judge,
        "outcome": str(judged.outcome),
        "label": judged.label,
        "judge_score": judged.score,
        "probability": judged.probability,
        "runs": [run for run, _ in judged.candidate.found],
        "ranks": [rank for _, rank in judged.candidate.found],
    }


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write lines as Parquet. The same lines give the same bytes."""
    from itertools import islice

    import pyarrow as pa
    import pyarrow.parquet as pq

    columns, left = schema(), iter(records)
    with path.open("wb") as file, pq.ParquetWriter(file, columns, compression="zstd") as writer:
        while some := list(islice(left, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, schema=columns))


_ROWS_AT_ONCE = 50_000
