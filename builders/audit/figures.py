"""The figures of an audit: estimates with their intervals, of judges and of stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

DIGITS = 4
ESTIMATES = ("precision", "recall", "f1", "kappa", "false_alarms")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Measured:
    """What an audit says of one judge.

    Attributes:
        candidates: how many it was asked about; `answers` of them were answered for.
        positives: how many of them it calls better.
        false_alarms: share it calls better of what is not relevant.
        kappa: Cohen's, of better against the rest; `kappa_graded` with quadratic weights on the three labels.
        confusion: by label, how many candidates are relevant and how many are not.
    """

    name: str
    candidates: int
    positives: int
    answers: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    kappa: Estimate
    false_alarms: Estimate
    kappa_graded: float | None
    confusion: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        estimates = {name: getattr(self, name).to_dict() for name in ESTIMATES}
        counts = {name: getattr(self, name) for name in ("name", "candidates", "positives", "answers")}
        confusion = {label: dict(row) for label, row in self.confusion.items()}
        return {**counts, **estimates, "kappa_graded": self.kappa_graded, "confusion": confusion}


@dataclass(frozen=True, slots=True)
class Settled:
    """What a stage of a cascade had the last word on.

    Attributes:
        missed: false negatives among those that it let go, as estimated.
    """

    name: str
    candidates: int
    false_negatives: int
    precision: Estimate
    missed: Estimate

    def to_dict(self) -> dict[str, Any]:
        counts = {"name": self.name, "candidates": self.candidates, "false_negatives": self.false_negatives}
        return {**counts, "precision": self.precision.to_dict(), "missed": self.missed.to_dict()}


def line(measured: Measured) -> list[Any]:
    shares = [str(measured.precision), str(measured.recall), str(measured.f1), str(measured.kappa)]
    counts = [measured.name, measured.candidates, measured.positives, measured.answers]
    return [*counts, *shares, measured.kappa_graded]


def count(estimate: Estimate) -> str:
    return f"{estimate.value:.0f} [{estimate.low:.0f}, {estimate.high:.0f}]" if estimate.value is not None else "-"
