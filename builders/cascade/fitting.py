"""Fits a calibration and its zones on labelled scores. See hf_relabel.builders.cascade.calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hf_relabel.builders.cascade.calibration import Bin, Calibration, Method, ShareEstimate, Zones
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.extras import needs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

LEAST_LABELS = 20
ISOTONIC_LABELS = 500
"""Isotonic regression from so many labels on, as scikit-learn's guide has it: with fewer it follows the noise."""
BINS = 10
_GRID = 60
_STARTS = (2.0, 5.0)
"""Where sequences of thresholds start, in multiples of the fewest labels that can back a precision."""
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class LabelledScore:
    """A score in [0, 1], whether the candidate is a false negative, and how many candidates the label stands for."""

    score: float
    relevant: bool
    weight: float = 1.0


@needs("audit", "Calibrating")
def fit(
    labelled: Sequence[LabelledScore],
    *,
    method: Literal["auto", "isotonic", "platt"] = "auto",
    precision: float = 0.9,
    confidence: float = 0.95,
    keep: float = 0.9,
) -> Calibration:
    """Fit a calibration and its zones.

    Args:
        method: "auto" takes isotonic regression from 500 labels on.
        precision: wanted of the sure zone.
        confidence: of the lower bound of that precision.
        keep: least share of the false negatives that must lie at or above `unsure`.

    Raises:
        ConfigError: fewer than 20 labels, labels of one kind only, scores outside [0, 1], weights that are not
            positive, a setting out of range, or scikit-learn is missing.
    """
    import numpy as np

    _check(labelled, precision, confidence, keep)
    scores = np.array([each.score for each in labelled], dtype=np.float64)
    truth = np.array([each.relevant for each in labelled], dtype=np.float64)
    weights = np.array([each.weight for each in labelled], dtype=np.float64)
    weights /= weights.mean()
    chosen: Method = method if method != "auto" else "isotonic" if len(scores) >= ISOTONIC_LABELS else "platt"
    curve = _isotonic(scores, truth, weights) if chosen == "isotonic" else _platt(scores, truth, weights)
    zones = _zones(scores, truth, weights, precision, confidence, keep)
    fitted = Calibration(
        method=chosen,
        **curve,
        zones=zones,
        bins=(),
        labels=len(scores),
        relevant=int(truth.sum()),
        brier=0,
        brier_before=0,
    )
    probabilities = fitted.probabilities(scores)
    return fitted.model_copy(
        update={
            "bins": _bins(scores, probabilities, truth, weights),
            "brier": _round(np.average((probabilities - truth) ** 2, weights=weights)),
            "brier_before": _round(np.average((scores - truth) ** 2, weights=weights)),
        }
    )


def _check(labelled: Sequence[LabelledScore], precision: float, confidence: float, keep: float) -> None:
    if len(labelled) < LEAST_LABELS:
        raise ConfigError(f"Calibrating needs at least {LEAST_LABELS} labels, there are {len(labelled)}. Audit more.")
    relevant = sum(each.relevant for each in labelled)
    if relevant in (0, len(labelled)):
        kind = "a false negative" if not relevant else "anything else"
        raise ConfigError(f"Calibrating needs labels of both kinds; none of the {len(labelled)} is {kind}.")
    for each in labelled:
        if not 0 <= each.score <= 1:
            raise ConfigError(f"Scores must lie in [0, 1], found {each.score!r}.")
        if not (each.weight > 0 and math.isfinite(each.weight)):
            raise ConfigError(f"Weights must be positive, found {each.weight!r}.")
    for name, value in (("precision", precision), ("confidence", confidence), ("keep", keep)):
        if not 0 < value < 1 and not (name == "keep" and value == 1):
            raise ConfigError(f"{name}: expected a number between 0 and 1, found {value!r}.")


def _isotonic(scores: Values, truth: Values, weights: Values) -> dict[str, Any]:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, truth, sample_weight=weights)
    points = zip(fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist(), strict=True)
    return {"points": tuple((score, _round(probability)) for score, probability in points)}


def _platt(scores: Values, truth: Values, weights: Values) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    # Scores that part the labels perfectly would give an infinite slope; the weak penalty bounds it.
    fitted = LogisticRegression(C=100.0).fit(scores[:, None], truth > 0, sample_weight=weights)
    return {"slope": float(fitted.coef_[0, 0]), "intercept": float(fitted.intercept_[0])}


def _zones(scores: Values, truth: Values, weights: Values, wanted: float, confidence: float, keep: float) -> Zones:
    import numpy as np

    unsure, kept = _unsure(scores, truth, weights, keep)
    sure = _sure(scores, truth, weights, wanted, confidence)
    precision = recall = None
    if sure is not None:
        inside = scores >= sure
        # The labels chose this threshold: what they say of it beyond what the tests back is luck as well.
        precision = _estimate(truth[inside], weights[inside]).model_copy(update={"low": wanted})
        recall = _estimate(inside[truth > 0].astype(np.float64), weights[truth > 0])
        unsure = min(unsure, sure)
        kept = float(np.average(scores[truth > 0] >= unsure, weights=weights[truth > 0]))
    return Zones(
        sure=sure,
        unsure=unsure,
        wanted=wanted,
        confidence=confidence,
        precision=precision,
        recall=recall,
        kept=_round(kept),
    )


def _sure(scores: Values, truth: Values, weights: Values, wanted: float, confidence: float) -> float | None:
    """The lowest threshold whose precision is backed. See the module's text."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    # Finer at the top, where few labels lie and most is at stake.
    grid = ends[np.unique(np.geomspace(1, len(ends), min(_GRID, len(ends))).round().astype(int)) - 1]
    hits, sums, squares = (np.cumsum(of[order])[grid] for of in (weights * truth, weights, weights**2))
    each = 1 - (1 - confidence) / len(_STARTS)
    lows, _ = _bounds(hits / sums, sums**2 / squares, each)
    # With fewer labels than these the bound fails though all of them are hits.
    least = math.log(1 - each) / math.log(wanted)
    backed = -1
    for factor in _STARTS:
        start = int(np.searchsorted(grid + 1, factor * least))
        run = int(np.argmin(np.append(lows[start:] >= wanted, False)))  # so many hold before the first that fails
        backed = max(backed, start + run - 1) if run else backed
    return None if backed < 0 else float(scores[order][grid[backed]])


def _unsure(scores: Values, truth: Values, weights: Values, keep: float) -> tuple[float, float]:
    """The highest score that leaves at least `keep` of the false negatives at or above it, and their share."""
    import numpy as np

    order = np.argsort(-scores[truth > 0], kind="stable")
    found, shares = scores[truth > 0][order], np.cumsum(weights[truth > 0][order]) / weights[truth > 0].sum()
    place = min(int(np.searchsorted(shares, keep - 1e-9)), len(found) - 1)
    threshold = float(found[place])
    return threshold, float(weights[truth > 0][order][found >= threshold].sum() / weights[truth > 0].sum())


def _share(values: Values, weights: Values) -> tuple[float, float]:
    """The weighted share, and the effective number of labels behind it."""
    import numpy as np

    return float(np.average(values, weights=weights)), float(weights.sum() ** 2 / (weights**2).sum())


def _bounds(shares: Any, labels: Any, confidence: float) -> tuple[Any, Any]:
    """One-sided lower and upper bounds of Clopper and Pearson, each with this confidence."""
    import numpy as np
    from statsmodels.stats.proportion import proportion_confint

    hits = np.minimum(np.round(shares, 12) * labels, labels)
    return proportion_confint(hits, labels, alpha=2 * (1 - confidence), method="beta")  # type: ignore[no-any-return]


def _estimate(values: Values, weights: Values) -> ShareEstimate:
    share, labels = _share(values, weights)
    low, high = _bounds(share, labels, 0.975)
    return ShareEstimate(value=_round(share), low=_round(low), high=_round(high))


def _bins(scores: Values, probabilities: Values, truth: Values, weights: Values) -> tuple[Bin, ...]:
    """Bins of about equal numbers of labels; equal scores are never parted."""
    import numpy as np

    edges = np.unique(np.quantile(scores, np.linspace(0, 1, BINS + 1)[1:-1], method="higher"))
    of_bin = np.searchsorted(edges, scores, side="right")
    bins = []
    for number in np.unique(of_bin):
        inside = of_bin == number
        observed = _estimate(truth[inside], weights[inside])
        bins.append(
            Bin(
                score=_round(np.average(scores[inside], weights=weights[inside])),
                probability=_round(np.average(probabilities[inside], weights=weights[inside])),
                observed=observed.value,
                low=observed.low,
                high=observed.high,
                labels=int(inside.sum()),
            )
        )
    return tuple(bins)


def _round(value: Any) -> float:
    return round(float(value), _DIGITS)
