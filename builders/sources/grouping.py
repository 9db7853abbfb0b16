"""Records that follow each other in a file and are one row together: triplets of one query, labelled pairs of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from hf_relabel.builders.errors import BadRow
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources.fields import Context
from hf_relabel.builders.sources.files import Record


@dataclass(frozen=True, slots=True)
class Read:
    """A row with what it was made of, the saved reply that came with it, if any, and where it was read."""

    row: Row
    records: tuple[Record, ...]
    reply: tuple[str, str] | None
    context: Context


def grouped(reads: Iterable[Read], by: str) -> Iterator[Read | BadRow]:
    """Rows of the records that belong together. One that has no positive even then comes as the `BadRow` that says so.

    Args:
        by: `positive` for records of one query and positive, `query` for those of one query.
    """
    group: list[Read] = []
    for read in reads:
        if group and not _belongs(group[0], read, by):
            yield _joined(group)
            group = []
        group.append(read)
    if group:
        yield _joined(group)


def _belongs(first: Read, other: Read, by: str) -> bool:
    one, two = first.row, other.row
    if first.context.file != other.context.file or (one.query_id, one.query, one.subset) != (
        two.query_id,
        two.query,
        two.subset,
    ):
        return False
    return by == "query" or one.positive_passages == two.positive_passages


def _joined(group: Sequence[Read]) -> Read | BadRow:
    first = group[0]
    positives = dict.fromkeys(passage for read in group for passage in read.row.positive_passages)
    if not any(passage.text.strip() or passage.title.strip() for passage in positives):
        found = f"{len(group)} passages of the query that follow each other, and none with a text is relevant"
        remedy = "Sort the file by query, so that all passages of a query follow each other, or drop them."
        return first.context.bad("label", found, remedy)
    negatives = tuple(passage for read in group for passage in read.row.negative_passages)
    row = replace(first.row, positive_passages=tuple(positives), negative_passages=negatives)
    return replace(first, row=row, records=tuple(record for read in group for record in read.records))
