"""Batches for losses that know one positive: drawn anew from our rows each epoch, as columns of texts.

For models that `losses.MultiPositiveLoss` does not train (sparse, late interaction), whose losses take all other
passages of a batch for negatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.trainers.data.collating import Epoch, EpochBatchSampler
from hf_relabel.trainers.data.identity import passage_ids, query_ids
from hf_relabel.trainers.data.rows import Draw, RowDraw, check_columns, tuple_texts


class TupleCollator:
    """Draws one positive and the hard negatives of each row and gives them to a collator of sentence-transformers as
    the columns `query, positive, negative_1 … negative_n`.

    Args:
        collator: what makes a batch of these, with `prompts` by column (`data.tuple_prompts`).
        draw: its number of negatives is that of every row, see `data.tuple_rows`.
        epoch: the epoch it draws for; an `EpochCallback` counts it.
    """

    def __init__(self, collator: Any, draw: RowDraw, epoch: Epoch) -> None:
        self._collator, self.draw, self.epoch = collator, draw, epoch
        self.valid_label_columns = collator.valid_label_columns

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """One batch from rows.

        Raises:
            ConfigError: a row is not one of ours, or has no positive or too few negatives.
        """
        check_columns(features[0], "batch")
        epoch = self.epoch.number
        batch: dict[str, Any] = self._collator([tuple_texts(row, self.draw, epoch) for row in features])
        return batch


@dataclass(frozen=True, slots=True)
class _Marks:
    """What tells two rows apart: hashes of what one brings to a batch, and of what is no negative of its query."""

    brought: frozenset[int]
    known: frozenset[int]

    def meets(self, brought: set[int], known: set[int]) -> bool:
        return not (self.brought.isdisjoint(brought | known) and self.known.isdisjoint(brought))


class ApartBatchSampler(EpochBatchSampler):
    """The batches of `EpochBatchSampler`, without two rows in one that would give each other false negatives: rows of
    one query, and a row that brings a passage that is a known positive of the other, drawn or not. Nor does any passage
    come twice.

    A row that does not fit waits for the next batch. The last batches may so be short, and where many rows wait, there
    are more of them than `len` says: trainers leave out what is over, in each epoch other rows.

    Args:
        draw: what the collator draws.
    """

    def __init__(
        self, dataset: Any, batch_size: int, drop_last: bool, *, number: Epoch, draw: RowDraw, **settings: Any
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, number=number, **settings)
        self._rows, self._draw = dataset, draw

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self._number.number
        order = iter(self.order())
        waiting: dict[int, _Marks] = {}
        while True:
            batch, brought, known = list[int](), set[int](), set[int]()
            for place, marks in self._candidates(order, waiting, epoch):
                if marks.meets(brought, known):
                    waiting.setdefault(place, marks)
                    continue
                waiting.pop(place, None)
                batch.append(place)
                brought |= marks.brought
                known |= marks.known
                if len(batch) == self.batch_size:
                    break
            if not batch or (self.drop_last and len(batch) < self.batch_size):
                return
            yield batch

    def _candidates(
        self, order: Iterator[int], waiting: Mapping[int, _Marks], epoch: int
    ) -> Iterator[tuple[int, _Marks]]:
        """Rows that wait, then others; of these one at a time is read."""
        yield from list(waiting.items())
        for place in order:
            row = self._rows[place]
            yield place, _marks(row, self._draw(row, epoch))


def _marks(row: Mapping[str, Any], drawn: Draw) -> _Marks:
    query = query_ids(drawn.query, row.get("query_id") or "", drawn.subset)
    passages = (*drawn.positives[:1], *drawn.negatives)
    return _Marks(frozenset([*query, *_ids(passages, drawn.subset)]), frozenset(_ids(drawn.known, drawn.subset)))


def _ids(passages: Sequence[Any], subset: str) -> list[int]:
    return [mark for each in passages for mark in passage_ids(each.text, each.docid, subset)]
