"""The passages that the rows of a batch are compared with, of one device or of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from hf_relabel.builders.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Pool:
    """Passages that rows are compared with.

    Attributes:
        embeddings: shape (passages, dimensions).
        ids: shape (passages, 2), see `Structure`.
        first: where the passages of this device begin.
        usable: shape (passages,): neither padding nor a text that stands before; None where all are.
        guide: shape (passages, dimensions of the guide): what the guide makes of them; None without a guide.
    """

    embeddings: Tensor
    ids: Tensor
    first: int = 0
    usable: Tensor | None = None
    guide: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """Which passage belongs to which query. Rows are padded with -1, ids with 0.

    Attributes:
        positives: shape (rows, most positives): places among the passages.
        negatives: shape (rows, most negatives): places among the passages.
        known: shape (rows, most known, 2): ids of all positives of a row's query.
        queries: shape (rows, 2): a hash of the query, and one of its id.
        ids: shape (passages, 2): a hash of the text, and one of the docid.
        scores: shape (rows, most positives + most negatives): a teacher's scores of positives and negatives; None where
            a passage has none.
        guide_queries, guide_passages: shapes (rows, dimensions) and (passages, dimensions), what a guide makes of them.
    """

    positives: Tensor
    negatives: Tensor
    known: Tensor
    queries: Tensor
    ids: Tensor
    scores: Tensor | None = None
    guide_queries: Tensor | None = None
    guide_passages: Tensor | None = None

    def rows(self, rows: slice) -> Structure:
        """Some rows, and all passages."""
        names = ("positives", "negatives", "known", "queries", "scores", "guide_queries")
        by_row = {name: value[rows] for name in names if (value := getattr(self, name)) is not None}
        return replace(self, **by_row)

    def pool(self, passages: Tensor) -> Pool:
        """The passages of this device, by their embeddings."""
        return Pool(passages, self.ids, guide=self.guide_passages)


def read_batch(features: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any], Structure]:
    """Take a batch of `RowCollator` apart: queries, passages, and what belongs together."""
    if len(features) != 1 or not isinstance(features[0].get("structure"), Mapping):
        raise ConfigError(
            f"MultiPositiveLoss was given {len(features)} columns of texts. It reads rows with positive_passages and"
            " negative_passages: train with RowTrainer, or give the trainer a RowCollator. For text pairs and"
            " triplets use MultipleNegativesRankingLoss."
        )
    queries = {name: value for name, value in features[0].items() if name not in ("passages", "structure", "guide")}
    passages, structure = dict(features[0]["passages"]), features[0]["structure"]
    by_name = {name: structure[name] for name in ("positives", "negatives", "known", "queries", "ids")}
    values = Structure(**by_name, scores=structure.get("scores"))
    rows = [len(each) for each in (values.positives, values.negatives, values.known, values.queries)]
    if set(rows) != {structure["rows"]} or len(values.ids) != structure["passages"]:
        raise ConfigError(
            "A batch was cut in pieces on the way to the loss. With several devices and a stream, set"
            ' `accelerator_config={"dispatch_batches": False}`, as RowTrainer does.'
        )
    return queries, passages, values


def several_devices() -> bool:
    """Whether this process is one of several that train together."""
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())


def gathered_pool(passages: Tensor, structure: Structure) -> Pool:
    """The passages of all devices, padded to the longest. Gradients flow back to where they belong."""
    from torch.distributed.nn.functional import all_gather

    ids, sizes = structure.ids, _sizes(structure.ids)
    most, rank = max(sizes), torch.distributed.get_rank()
    embeddings = torch.cat(all_gather(_lengthened(passages, most)))
    together = _gathered(ids, most)
    usable = torch.cat([torch.arange(most, device=ids.device) < size for size in sizes])
    guide = None if structure.guide_passages is None else _gathered(structure.guide_passages, most)
    return Pool(embeddings, together, rank * most, usable & _first_of_its_text(together[:, 0]), guide)


def rows_of_device(rows: Tensor) -> float:
    """The mean number of rows of a device."""
    sizes = _sizes(rows)
    return sum(sizes) / len(sizes)


def with_known_elsewhere(structure: Structure) -> Structure:
    """Add the positives that rows of other devices have for the same query. They travel as hashes."""
    rows, width = structure.known.shape[:2]
    most, widest = max(_sizes(structure.known)), max(_sizes(structure.known[0]))
    queries = _gathered(structure.queries, most)
    known = _gathered(pad(structure.known, (0, 0, 0, widest - width)), most)
    same = (structure.queries[:, None, :] == queries).any(-1)
    begin = torch.distributed.get_rank() * most
    same[:, begin : begin + most] = False  # those of this device are known already
    copies = int(same.sum(1).max())
    if not copies:
        return structure
    found, places = same.to(torch.uint8).topk(copies)
    elsewhere = (known[places] * found[..., None, None]).reshape(rows, copies * widest, 2)
    return replace(structure, known=torch.cat([structure.known, elsewhere], 1))


def _sizes(values: Tensor) -> list[int]:
    """The length of a tensor on each device."""
    device = values.device
    counts = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(counts, torch.tensor([len(values)], device=device))
    return [int(count) for count in counts]


def _gathered(values: Tensor, most: int) -> Tensor:
    """The tensors of all devices after each other, each padded with 0 to that length. Without gradients."""
    padded = _lengthened(values, most).contiguous()
    found = [torch.zeros_like(padded) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(found, padded)
    return torch.cat(found)


def _lengthened(values: Tensor, length: int) -> Tensor:
    return pad(values, (0, 0) * (values.ndim - 1) + (0, length - len(values)))


def _first_of_its_text(texts: Tensor) -> Tensor:
    """Shape (passages,): whether no passage before has the same text."""
    order = torch.argsort(texts, stable=True)
    ordered = texts[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return torch.zeros_like(first).scatter_(0, order, first)
