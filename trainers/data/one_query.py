"""Hard negatives of a row that another row has as a positive of the same query: no negatives at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.configs.views.draws import usable_passages
from hf_relabel.builders.rows import joined_text
from hf_relabel.trainers.data.identity import Ids, groups_of, passage_ids, query_ids
from hf_relabel.trainers.data.row_tables import table_of

_NAMES = ("query", "query_id", "subset")
_ROWS_AT_ONCE = 1_000
_BLANK = query_ids("", "", "")[0]


@dataclass(frozen=True)
class OfOneQuery:
    """Rows without such negatives, in their order.

    Attributes:
        negatives: that were left out, of so many `rows`.
    """

    dataset: Any
    negatives: int = 0
    rows: int = 0


def without_known_negatives(dataset: Any) -> OfOneQuery:
    """Leave out what another row of the query (the same text, whatever its case and blanks, or the same id) has for a
    positive. Rows that change are written to a table on the disk; the others stay where they are.

    Holds two hashes of each query.

    Args:
        dataset: a `datasets.Dataset` of a config.
    """
    import pyarrow as pa
    from datasets import concatenate_datasets

    schema = pa.schema([("place", pa.int64()), ("kept", pa.list_(pa.int64())), ("gone", pa.int64())])
    changes = table_of(lambda: _changes(dataset), schema)
    if not len(changes):
        return OfOneQuery(dataset)

    def records() -> Iterator[dict[str, Any]]:
        for change in changes:
            row = dataset[change["place"]]
            yield {**row, "negative_passages": [row["negative_passages"][place] for place in change["kept"]]}

    table = table_of(records, dataset.features.arrow_schema)
    order = list(range(len(dataset)))
    for number, place in enumerate(changes["place"]):
        order[place] = len(dataset) + number
    return OfOneQuery(concatenate_datasets([dataset, table]).select(order), sum(changes["gone"]), len(changes))


def _changes(dataset: Any) -> Iterator[dict[str, Any]]:
    """The rows that have such negatives, and which of theirs are none."""
    for group in _groups(dataset):
        known = Counter(mark for place in group for mark in _positives(dataset[place]))
        for place in group:
            row = dataset[place]
            own, negatives = _positives(row), row["negative_passages"]
            kept = [
                number
                for number, each in enumerate(negatives)
                if not any(known[mark] > (mark in own) for mark in _passage(each, row))
            ]
            if len(kept) < len(negatives):
                yield {"place": place, "kept": kept, "gone": len(negatives) - len(kept)}


def _groups(dataset: Any) -> Iterator[list[int]]:
    """The places of rows of one query, where there are several."""
    import numpy as np

    columns = dataset.select_columns([name for name in _NAMES if name in dataset.column_names])
    queries = (_query(row) for batch in columns.iter(_ROWS_AT_ONCE) for row in _rows(batch))
    ids = np.fromiter((each for query in queries for each in query), dtype=np.int64).reshape(-1, 2)
    several = np.zeros(len(ids), dtype=bool)
    for column in ids.T:
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        several |= counts[inverse] > 1
    places = np.flatnonzero(several & (ids[:, 0] != _BLANK)).tolist()
    found: dict[int, list[int]] = {}
    for place, group in zip(places, groups_of(ids[places].tolist()), strict=True):
        found.setdefault(group, []).append(place)
    return (group for group in found.values() if len(group) > 1)


def _positives(row: Mapping[str, Any]) -> set[int]:
    subset = row.get("subset") or ""
    passages = usable_passages(row, "positive_passages")
    return {mark for each in passages for mark in passage_ids(each.text, each.docid, subset)}


def _passage(passage: Mapping[str, Any], row: Mapping[str, Any]) -> Ids:
    text = joined_text(passage.get("title"), passage["text"])
    return passage_ids(text, passage.get("docid") or "", row.get("subset") or "")


def _query(row: Mapping[str, Any]) -> Ids:
    return query_ids(row["query"] or "", row.get("query_id") or "", row.get("subset") or "")


def _rows(batch: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in zip(*batch.values(), strict=True):
        yield dict(zip(batch, values, strict=True))
