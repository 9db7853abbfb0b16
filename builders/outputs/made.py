"""Records of other formats, made from rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hf_relabel.builders.rows import Passage, Row, joined_text

Record = dict[str, Any]


def _texts(passages: Sequence[Passage]) -> list[str]:
    return [joined_text(passage.title, passage.text) for passage in passages]


def _flagembedding(row: Row) -> Iterator[Record]:
    record: Record = {"query": row.query, "pos": _texts(row.positive_passages), "neg": _texts(row.negative_passages)}
    if row.has_scores:
        record["pos_scores"] = [passage.score for passage in row.positive_passages]
        record["neg_scores"] = [passage.score for passage in row.negative_passages]
    yield record


def _triplets(row: Row) -> Iterator[Record]:
    for positive in _texts(row.positive_passages):
        for negative in _texts(row.negative_passages):
            yield {"anchor": row.query, "positive": positive, "negative": negative}


def _negative_lists(row: Row) -> Iterator[Record]:
    for positive in _texts(row.positive_passages):
        yield {"query": row.query, "positive": positive, "negatives": _texts(row.negative_passages)}


def _labelled_list(row: Row) -> Iterator[Record]:
    labels = [1] * len(row.positive_passages) + [0] * len(row.negative_passages)
    yield {"query": row.query, "docs": _texts(row.passages), "labels": labels}


MADE: dict[str, Callable[[Row], Iterator[Record]]] = {
    "flagembedding": _flagembedding,
    "triplet": _triplets,
    "negative-list": _negative_lists,
    "labeled-list": _labelled_list,
}
"""How the records of a format are made from a row, by its name in `sources.FORMATS`."""
