"""From counts and a probe to tokens with their ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TypeAlias

from hf_relabel.builders.cascade.rules import Rule

BATCH_PRICE = 0.5
"""What services charge for a batch, as a share of the price of single requests: OpenAI and Azure half, Together from
half on (their pages, November 2026)."""
CHARACTERS_PER_TOKEN = 4.0
"""English text on the tokenizers of Llama, Qwen and GPT models; other languages need more tokens."""
ROWS_ESCALATED = 0.66
"""Share of rows that RLHN's stage 1 passes on (arXiv 2505.16967, Table 2)."""
CANDIDATES_ESCALATED = 0.15
"""Assumed share of candidates that stage 1 doubts: the paper gives none. 15 % is what the two audited sets that the
project is measured on hold; say your own where you know it."""
COMPLETION_TOKENS_PER_CANDIDATE = 40
"""Assumed length of a reply: a short line of reasoning per candidate."""
CONFIDENCE = 0.95
REGRESSED_ROWS = 30
"""Totals are estimated by regression from so many rows on; with fewer it would fit itself to chance."""
SURE = 0.99
"""Confidence at which a probe that goes on until the cost is known well enough stops."""
Range = tuple[float, float]
PerStage: TypeAlias = float | Mapping[str, float] | None
"""A number for all stages, or one for each by its name."""


def share_off(value: float, limits: Range) -> float:
    return (limits[1] - value) / value if value else 0.0


def normal(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def share_passed_on(rule: Rule, escalated: float | None) -> float:
    if escalated is not None:
        return escalated
    return ROWS_ESCALATED if rule.escalate == "row" else CANDIDATES_ESCALATED


@dataclass(frozen=True, slots=True)
class TokenEstimate:
    """A total, and by how much each unit of the sample strays from what it was expected to take; None for a total that
    is a guess."""

    value: float
    strays: tuple[float, ...] | None

    def __add__(self, other: TokenEstimate) -> TokenEstimate:
        if self.strays is None or other.strays is None:
            return TokenEstimate(self.value + other.value, None)
        return TokenEstimate(
            self.value + other.value, tuple(a + b for a, b in zip(self.strays, other.strays, strict=True))
        )

    def times(self, factor: float) -> TokenEstimate:
        strays = None if self.strays is None else tuple(factor * stray for stray in self.strays)
        return TokenEstimate(factor * self.value, strays)

    def range(self, population: float) -> Range | None:
        """Where the total over `population` units is, by the normal distribution, which is fair from about 30 units
        on. No width where the sample is everything."""
        strays = self.strays
        if strays is None or len(strays) < 2:
            return None
        left_out = max(0.0, 1 - len(strays) / population) if population else 0.0
        variance = sum(stray * stray for stray in strays) / (len(strays) - 1)
        half = normal(CONFIDENCE) * population * sqrt(left_out * variance / len(strays))
        return max(0.0, self.value - half), self.value + half


def ratio(of: Sequence[float], by: Sequence[float], total: float) -> TokenEstimate:
    """The total of `of`, when that of `by` is known."""
    ratio = sum(of) / sum(by) if sum(by) else 0.0
    return TokenEstimate(ratio * total, tuple(one - ratio * other for one, other in zip(of, by, strict=True)))


def regressed(of: Sequence[float], by: Sequence[Sequence[float]], totals: Sequence[float]) -> TokenEstimate:
    """The total of `of` as a linear function of several numbers of each unit, whose totals are known.

    The first of them is taken for the variance of a unit, as in a ratio estimate; where it is 0 a unit takes nothing.
    Strays are those that each unit has when it is left out (the jackknife): what a function was fitted to strays less.
    """
    import numpy as np

    values, known = np.asarray(of, dtype=np.float64), np.asarray(by, dtype=np.float64)
    root = np.sqrt(np.divide(1.0, known[:, 0], out=np.zeros(len(known)), where=known[:, 0] > 0))
    scale = np.abs(known).max(axis=0)
    scale[scale == 0] = 1.0
    left, sizes, right = np.linalg.svd(known / scale * root[:, None], full_matrices=False)
    used = sizes > 1e-9 * max(sizes[0], 1e-300)
    weights = right[used].T @ (left[:, used].T @ (values * root) / sizes[used])
    strays = values - known / scale @ weights
    own = (left[:, used] ** 2).sum(axis=1)
    strays = strays / np.maximum(1 - own, 1 / len(values))
    return TokenEstimate(max(0.0, float(np.asarray(totals) / scale @ weights)), tuple(strays.tolist()))
