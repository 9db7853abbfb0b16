"""Contrastive losses that expect some negatives to be positives, each of its paper: `loss.robust` of a recipe.

They know nothing of a judge. Each is a function of the scores of a row's positives and negatives, whatever these are:
drawn hard negatives, those of other rows, of other devices, with or without a guide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hf_relabel.trainers.recipes.robust import (
    ConfidenceRegularised,
    Debiased,
    GeneralisedCrossEntropy,
    Robust,
    WeakenedLabels,
)

_SOFTPLUS_LINEAR_FROM = 50.0
"""torch's default of 20 costs 2e-9; e^50 is still far below the largest float32."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of some rows, s = similarity / temperature.

    Attributes:
        targets: shape (rows, targets): what has to stand above the negatives, see `MultiPositiveLoss`: the positives
            of a row, or one number for all of them.
        positives: shape (rows, most positives), the lowest number there is where a row has fewer.
        negatives: shape (rows, passages), the lowest number there is where a passage is no negative of the row.
        counts: shape (rows, 1): how many negatives a row has.
        floor: the lowest score that there can be, -1 / temperature of a cosine.
    """

    targets: Tensor
    positives: Tensor
    negatives: Tensor
    counts: Tensor
    floor: float

    @property
    def lowest(self) -> float:
        """What stands for no score. Not -inf, whose gradients are not numbers where a row has no negative."""
        return float(torch.finfo(self.negatives.dtype).min)

    def together(self) -> Tensor:
        """Shape (rows, 1): log Σ exp over the negatives."""
        return self.negatives.logsumexp(1, keepdim=True)


def info_nce(scored: Scored) -> Tensor:
    """-log P, with P = exp(s₊) / (exp(s₊) + Σ_{n∈N} exp(s_n)). Shape (rows, targets), as of all that follow."""
    return log1p_exp(scored.together() - scored.targets)


def robust_loss(robust: Robust | None, scored: Scored) -> Tensor:
    """The loss of each target of each row. Shape (rows, targets)."""
    return info_nce(scored) if robust is None else _LOSSES[type(robust)](robust, scored)


def debiased(settings: Debiased, scored: Scored) -> Tensor:
    """See `recipes.robust.Debiased`."""
    share = settings.tau_plus
    if not share:
        return info_nce(scored)
    negatives, counts = scored.together(), scored.counts.log()
    several = (scored.positives > scored.lowest).sum(1, keepdim=True).to(negatives.dtype)
    positives = scored.positives.logsumexp(1, keepdim=True) - several.log()
    # log of what the positives take of the sum of the negatives, as a share of it: in logs, as exp(100) is no float32.
    taken = math.log(share) + counts + positives - negatives
    some = taken < 0
    left = torch.log(-torch.expm1(taken.where(some, -1.0))) + negatives - math.log1p(-share)
    least = (counts + scored.floor).clamp(min=scored.lowest)
    estimate = torch.where(some, torch.maximum(left, least), least)
    return log1p_exp(estimate - scored.targets)


def generalised_cross_entropy(settings: GeneralisedCrossEntropy, scored: Scored) -> Tensor:
    """See `recipes.robust.GeneralisedCrossEntropy`."""
    return -torch.expm1(-settings.q * info_nce(scored)) / settings.q


def confidence_regularised(settings: ConfidenceRegularised, scored: Scored) -> Tensor:
    """See `recipes.robust.ConfidenceRegularised`."""
    all_of_row = torch.logaddexp(scored.together(), scored.targets)
    of_negatives = scored.negatives.where(scored.negatives > scored.lowest, 0).sum(1, keepdim=True)
    mean = (scored.targets + of_negatives) / (1 + scored.counts)
    return info_nce(scored) - settings.beta * (all_of_row - mean)


def weakened_labels(settings: WeakenedLabels, scored: Scored) -> Tensor:
    """See `recipes.robust.WeakenedLabels`."""
    all_of_row = torch.logaddexp(scored.together(), scored.targets)  # (rows, targets)
    negatives, lowest, alpha = scored.negatives[:, None, :], scored.lowest, settings.alpha
    confident = negatives - all_of_row[..., None] > math.log(settings.beta)
    plausible = torch.logaddexp(negatives.masked_fill(~confident, lowest).logsumexp(2), scored.targets) - all_of_row
    implausible = negatives.masked_fill(confident, lowest).logsumexp(2) - all_of_row
    loss = (1 - alpha) * (math.log1p(-alpha) - plausible)
    if alpha:
        loss = loss + alpha * (math.log(alpha) - implausible)
    within = implausible <= (math.log(alpha) if alpha else lowest)
    return loss.masked_fill(within, 0)


def log1p_exp(values: Tensor) -> Tensor:
    """log(1 + exp(values))."""
    return softplus(values, threshold=_SOFTPLUS_LINEAR_FROM)


_LOSSES: dict[type[Any], Callable[[Any, Scored], Tensor]] = {
    Debiased: debiased,
    GeneralisedCrossEntropy: generalised_cross_entropy,
    ConfidenceRegularised: confidence_regularised,
    WeakenedLabels: weakened_labels,
}
