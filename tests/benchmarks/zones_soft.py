"""Losses that take a candidate's probability for a weight, instead of a decision. They are tried here only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import kl_div, softplus

from hf_relabel.trainers.losses import MultiPositiveLoss, similarities

_LEAST = 1e-6


def trained_with(row_losses: Callable[..., Tensor]) -> Callable[[object], Any]:
    """Within it `MultiPositiveLoss` is this."""
    return lambda _: patch.object(MultiPositiveLoss, "_row_losses", row_losses)


def _parts(self: Any, queries: Tensor, pool: Any, structure: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores; p of positives and of the row's own negatives; the log-sum of negatives, each weighted by 1 - p."""
    scores = similarities(queries, pool.embeddings, self.similarity) / self.temperature
    lowest = torch.finfo(scores.dtype).min
    width = structure.positives.shape[1]
    of_positives, of_negatives = structure.scores[:, :width], structure.scores[:, width:]
    weights = torch.zeros(len(scores), scores.shape[1] + 1)
    places = structure.negatives.where(structure.negatives >= 0, scores.shape[1])
    weights.scatter_(1, places, torch.log((1 - of_negatives).clamp(min=_LEAST)))
    negatives = (scores + weights[:, :-1]).masked_fill(~self._negatives(pool, structure), lowest).logsumexp(1)
    return scores, of_positives, of_negatives, negatives


def soft_negatives(self: Any, queries: Tensor, pool: Any, structure: Any) -> Tensor:
    """Positives as they are; each negative weighs 1 - p in the log-sum."""
    scores, _, _, negatives = _parts(self, queries, pool, structure)
    of_positives = scores.gather(1, structure.positives.clamp(min=0))
    lowest = torch.finfo(scores.dtype).min
    together = (-of_positives).masked_fill(structure.positives < 0, lowest).logsumexp(1)
    return softplus(together + negatives, threshold=50)


def inside(self: Any, queries: Tensor, pool: Any, structure: Any) -> Tensor:
    """The same, and each positive weighs p in the log-sum of positives."""
    scores, p, _, negatives = _parts(self, queries, pool, structure)
    weighted = torch.log(p.clamp(min=_LEAST)) - scores.gather(1, structure.positives.clamp(min=0))
    lowest = torch.finfo(scores.dtype).min
    together = weighted.masked_fill(structure.positives < 0, lowest).logsumexp(1)
    return softplus(together + negatives, threshold=50)


def outside(power: float = 1.0) -> Callable[..., Tensor]:
    """The mean over positives of each one's own loss, weighted by p to a power; negatives weigh 1 - p."""

    def row_losses(self: Any, queries: Tensor, pool: Any, structure: Any) -> Tensor:
        scores, p, _, negatives = _parts(self, queries, pool, structure)
        each = softplus(negatives[:, None] - scores.gather(1, structure.positives.clamp(min=0)), threshold=50)
        weights = p**power * (structure.positives >= 0)
        return (each * weights).sum(1) / weights.sum(1)

    return row_losses


def expected(self: Any, queries: Tensor, pool: Any, structure: Any) -> Tensor:
    """p · L₊ + (1 - p) · L₋: each of the row's own candidates is a positive by p, and a negative by 1 - p."""
    scores, p, q, negatives = _parts(self, queries, pool, structure)
    places = torch.cat([structure.positives, structure.negatives], 1)
    each = softplus(negatives[:, None] - scores.gather(1, places.clamp(min=0)), threshold=50)
    weights = torch.cat([p, q], 1) * (places >= 0)
    return (each * weights).sum(1) / weights.sum(1)


def distilled(temperature: float = 0.1) -> Callable[..., Tensor]:
    """KL divergence from the passages' scores, as `DistillationLoss` has it."""

    def row_losses(self: Any, queries: Tensor, pool: Any, structure: Any) -> Tensor:
        scores = similarities(queries, pool.embeddings, self.similarity) / self.temperature
        places = torch.cat([structure.positives, structure.negatives], 1)
        absent, lowest = places < 0, torch.finfo(scores.dtype).min
        student = scores.gather(1, places.clamp(min=0)).masked_fill(absent, lowest).log_softmax(1)
        teacher = (structure.scores / temperature).masked_fill(absent, lowest).log_softmax(1)
        return kl_div(student, teacher, reduction="none", log_target=True).masked_fill(absent, 0).sum(1)

    return row_losses
