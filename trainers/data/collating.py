"""Batches of our rows for the trainers of sentence-transformers, drawn anew each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.cross_encoder.data_collator import CrossEncoderDataCollator
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch import Tensor
from transformers import TrainerCallback

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.data.identity import Ids, groups_of, passage_ids, query_ids
from hf_relabel.trainers.data.rows import Draw, RowDraw, TrainingPassage, check_columns, listwise_row
from hf_relabel.trainers.guide import Guide

_MAX_EPOCHS = 1_000_003
"""More than anybody trains, so that two seeds share no order."""


class Epoch:
    """The number of the epoch, seen by the workers of a data loader as well."""

    def __init__(self) -> None:
        self._value = torch.zeros((), dtype=torch.long).share_memory_()

    @property
    def number(self) -> int:
        return int(self._value)

    @number.setter
    def number(self, value: int) -> None:
        self._value.fill_(value)


class EpochCallback(TrainerCallback):  # type: ignore[misc]
    """Tells a collator which epoch it is. For plain trainers; `RowTrainer` has it already.

    Without it, every epoch draws what the first one drew.
    """

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._next: int | None = None

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._next = None

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # Counted, as the state of a stream of unknown length does not know; after a resume, from where it stopped.
        self._epoch.number = int(state.epoch or 0) if self._next is None else self._next
        self._next = self._epoch.number + 1


@dataclass
class RowCollator(SentenceTransformerDataCollator):  # type: ignore[misc]
    """Draws from rows and makes them a batch for `losses.MultiPositiveLoss`.

    The passages of a batch are encoded together, each text once, padded to the longest of them. A batch trains with no
    other loss: it is one column to the trainer, which losses of text pairs refuse.

    Attributes:
        preprocess_fn: `model.preprocess`.
        prompts: `{"query": …, "document": …}`, what is put before queries and passages. Not all need be given.
        draw: what of a row is trained on.
        least_negatives: rows with fewer negatives are refused. `usable_rows` leaves them out.
        epoch: the epoch it draws for.
        guide: of the loss, if it has one: batches then carry the texts as the guide reads them.
    """

    draw: RowDraw = field(default_factory=RowDraw)
    least_negatives: int = 0
    guide: Guide | None = None
    epoch: Epoch = field(default_factory=Epoch, repr=False)

    def __post_init__(self) -> None:
        if self.prompts and (not isinstance(self.prompts, Mapping) or set(self.prompts) - {"query", "document"}):
            raise ConfigError(f'Prompts for our rows are {{"query": …, "document": …}}, not {self.prompts!r}.')

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """One batch from rows.

        Raises:
            ConfigError: a row is not one of ours, or cannot be trained on.
        """
        if not features:
            return {}
        check_columns(features[0], "batch")
        epoch = self.epoch.number
        draws = [self.draw(row, epoch) for row in features]
        for row, draw in zip(features, draws, strict=True):
            if len(draw.negatives) < self.least_negatives:
                raise ConfigError(
                    f"Row {row.get('query_id')!r} has {len(draw.negatives)} usable negatives, not"
                    f" {self.least_negatives}. `usable_rows(dataset, skip=True, negatives={self.least_negatives})`"
                    " leaves such rows out and counts them."
                )
        texts, structure = _structure(draws)
        queries = [draw.query for draw in draws]
        batch = {f"row_{name}": value for name, value in self._encoded(queries, "query").items()}
        batch["row_passages"] = self._encoded(texts, "document")
        batch["row_structure"] = structure
        if self.guide is not None:
            batch["row_guide"] = self.guide.read(queries, texts)
        if "dataset_name" in features[0]:
            batch["dataset_name"] = features[0]["dataset_name"]
        return batch

    def _encoded(self, texts: Sequence[str], task: str) -> dict[str, Any]:
        prompt = (self.prompts or {}).get(task) or None
        return {**self.preprocess_fn(list(texts), prompt=prompt, task=task), "task": task}


def _structure(draws: Sequence[Draw]) -> tuple[list[str], dict[str, Any]]:
    """The distinct texts of a batch, and which belongs to which row, see `losses._Structure`."""
    places: dict[str, int] = {}
    ids: list[Ids] = []

    def place(passage: TrainingPassage, subset: str) -> int:
        found = places.setdefault(passage.text, len(places))
        if found == len(ids):
            ids.append(passage_ids(passage.text, passage.docid, subset))
        return found

    positives = [[place(passage, draw.subset) for passage in draw.positives] for draw in draws]
    negatives = [[place(passage, draw.subset) for passage in draw.negatives] for draw in draws]
    queries = [query_ids(draw.query, draw.query_id, draw.subset) for draw in draws]
    structure = {
        "positives": _padded(positives, -1),
        "negatives": _padded(negatives, -1),
        "known": _padded(_known(draws, queries), (0, 0)).reshape(len(draws), -1, 2),
        "queries": torch.tensor(queries),
        "ids": torch.tensor(ids),
        # Plain numbers: what cuts or joins tensors on the way leaves them, so that it is noticed.
        "rows": len(draws),
        "passages": len(ids),
    }
    if all(each.score is not None for draw in draws for each in (*draw.positives, *draw.negatives)):
        structure["scores"] = _scores(draws)
    return list(places), structure


def _scores(draws: Sequence[Draw]) -> Tensor:
    """Of all positives, then all negatives, padded as their places are."""
    parts = [[[each.score for each in found] for found in (draw.positives, draw.negatives)] for draw in draws]
    positives, negatives = zip(*parts, strict=True)
    return torch.cat([_padded(positives, 0.0, torch.float32), _padded(negatives, 0.0, torch.float32)], 1)


def _known(draws: Sequence[Draw], queries: Sequence[Ids]) -> list[list[Ids]]:
    """The positives of each row's query: its own, and those of the rows that ask the same."""
    groups = groups_of(queries)
    known: dict[int, dict[Ids, None]] = {group: {} for group in groups}
    for group, draw in zip(groups, draws, strict=True):
        known[group] |= {passage_ids(each.text, each.docid, draw.subset): None for each in draw.known}
    return [list(known[group]) for group in groups]


def _padded(lists: Sequence[Sequence[Any]], filling: Any, dtype: torch.dtype = torch.long) -> Tensor:
    longest = max(len(values) for values in lists)
    return torch.tensor([[*values, *[filling] * (longest - len(values))] for values in lists], dtype=dtype)


@dataclass
class ListwiseCollator(CrossEncoderDataCollator):  # type: ignore[misc]
    """Draws from rows and makes them (query, docs, labels) for the list losses of `CrossEncoder`, as LambdaLoss.

    For `CrossEncoderTrainer(…, data_collator=ListwiseCollator(model.preprocess, draw=…), callbacks=[…])` with an
    `EpochCallback(collator.epoch)`; other losses take `data.tuple_rows`.

    Attributes:
        preprocess_fn: `model.preprocess`.
        draw: what of a row is trained on.
        epoch: the epoch it draws for.
    """

    draw: RowDraw = field(default_factory=RowDraw)
    epoch: Epoch = field(default_factory=Epoch, repr=False)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """One batch from rows.

        Raises:
            ConfigError: a row is not one of ours, or has no positive or no negative.
        """
        check_columns(features[0], "batch")
        epoch = self.epoch.number
        lists = [listwise_row(row, self.draw, epoch) for row in features]
        if "dataset_name" in features[0]:
            lists = [{**values, "dataset_name": features[0]["dataset_name"]} for values in lists]
        batch: dict[str, Any] = super().__call__(lists)
        return batch


class EpochBatchSampler(DefaultBatchSampler):  # type: ignore[misc]
    """Batches in an order that follows from the seed and the epoch alone.

    The default sampler goes on with one generator, so that a run resumed in its second epoch would take the rows in
    the order of the first.

    Args:
        number: the epoch, shared with the collator.
    """

    def __init__(self, dataset: Any, batch_size: int, drop_last: bool, *, number: Epoch, **settings: Any) -> None:
        super().__init__(dataset, batch_size, drop_last, **settings)
        self._number = number

    def order(self) -> list[int]:
        """All rows, as this epoch has them."""
        generator = torch.Generator().manual_seed(self.seed * _MAX_EPOCHS + self._number.number)
        order: list[int] = torch.randperm(len(self.sampler), generator=generator).tolist()
        return order

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order()
        last = len(order) - len(order) % self.batch_size if self.drop_last else len(order)
        for begin in range(0, last, self.batch_size):
            yield order[begin : begin + self.batch_size]
