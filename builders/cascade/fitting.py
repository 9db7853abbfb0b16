"""Fits a calibration and its zones on labelled scores. See hf_relabel.builders.cascade.calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from hf_relabel.builders.cascade.calibration import (
    LEVELS,
    Bin,
    Calibration,
    Curve,
    Drop,
    Level,
    Method,
    ShareEstimate,
    Zones,
)
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
FOLDS = 5
LIKELY = 0.5
"""Calibrated probability from which a candidate is rather a false negative than not, for the rule `likely`."""
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
    probability: float | None = None,
    confidence: float = 0.95,
    keep: float = 0.9,
    drop: Drop = "keep",
) -> Calibration:
    """Fit a calibration and its zones.

    Example:
            labelled = [LabelledScore(0.9, relevant=True), LabelledScore(0.2, relevant=False), …]
            zones = fit(labelled, precision=0.9).zones
            print(zones.sure, zones.unsure, zones.backed)

    Args:
        method: "auto" takes isotonic regression from 500 labels on.
        precision: wanted of the sure zone.
        probability: least calibrated probability of a candidate in it; None for none. A zone of that precision reaches
            down to candidates that are false negatives half of the time or less, where most of it is better than that.
        confidence: of the lower bounds of that precision, and of the share of false negatives that are not kept.
        keep: least share of the labelled false negatives that must lie at or above `unsure`.
        drop: how `unsure` is chosen: "keep" by that share; "likely" by a calibrated probability of .5.

    Raises:
        ConfigError: fewer than 20 labels, labels of one kind only, scores outside [0, 1], weights that are not
            positive, a setting out of range, or scikit-learn is missing.
    """
    import numpy as np

    _check(labelled, precision, probability, confidence, keep)
    if drop not in get_args(Drop):
        raise ConfigError(f"drop: expected one of {', '.join(get_args(Drop))}, found {drop!r}.")
    scores = np.array([each.score for each in labelled], dtype=np.float64)
    truth = np.array([each.relevant for each in labelled], dtype=np.float64)
    weights = np.array([each.weight for each in labelled], dtype=np.float64)
    weights /= weights.mean()
    chosen: Method = method if method != "auto" else "isotonic" if len(scores) >= ISOTONIC_LABELS else "platt"
    curve = _curve(chosen, scores, truth, weights)
    least = -math.inf if probability is None else curve.score_at(probability)
    sure = None if least is None else _sure(scores, truth, weights, precision, confidence, least)
    fitted = Calibration(
        **curve.model_dump(),
        zones=_sure_zone(scores, truth, weights, sure, precision, confidence).model_copy(update={"least": probability}),
        bins=(),
        labels=len(scores),
        relevant=int(truth.sum()),
        brier=0,
        brier_before=0,
    )
    unsure = _unsure(scores[truth > 0], weights[truth > 0], keep) if drop == "keep" else fitted.score_at(LIKELY)
    probabilities = fitted.probabilities(scores)
    return fitted.model_copy(
        update={
            "zones": fitted.zones.model_copy(update=_lower(scores, truth, weights, fitted.zones, unsure, drop)),
            "levels": _levels(scores, truth, weights, fitted),
            "bins": _bins(scores, probabilities, truth, weights),
            "brier": _round(np.average((probabilities - truth) ** 2, weights=weights)),
            "brier_before": _round(np.average((scores - truth) ** 2, weights=weights)),
        }
    )


def _check(
    labelled: Sequence[LabelledScore], precision: float, probability: float | None, confidence: float, keep: float
) -> None:
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
    shares = {"precision": precision, "probability": probability, "confidence": confidence, "keep": keep}
    for name, value in shares.items():
        if value is None:
            continue
        if not 0 < value < 1 and not (name == "keep" and value == 1):
            raise ConfigError(f"{name}: expected a number between 0 and 1, found {value!r}.")


def _curve(method: Method, scores: Values, truth: Values, weights: Values) -> Curve:
    fit_it = _isotonic if method == "isotonic" else _platt
    return Curve(method=method, **fit_it(scores, truth, weights))


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


def _sure_zone(
    scores: Values, truth: Values, weights: Values, sure: float | None, wanted: float, confidence: float
) -> Zones:
    """The zones with the upper threshold alone."""
    import numpy as np

    precision = recall = None
    if sure is not None:
        inside = scores >= sure
        # The labels chose this threshold: what they say of it beyond what the tests back is luck as well.
        precision = _estimate(truth[inside], weights[inside]).model_copy(update={"low": wanted})
        recall = _estimate(inside[truth > 0].astype(np.float64), weights[truth > 0])
    return Zones(
        sure=sure, unsure=sure, wanted=wanted, confidence=confidence, precision=precision, recall=recall, kept=0
    )


def _lower(
    scores: Values, truth: Values, weights: Values, zones: Zones, unsure: float | None, drop: Drop
) -> dict[str, Any]:
    """What the zones say of the lower threshold."""
    import numpy as np

    known = [each for each in (zones.sure, unsure) if each is not None]
    lowest = min(known, default=None)
    below = np.ones(len(scores), dtype=bool) if lowest is None else scores < lowest
    kept = float(np.average(~below[truth > 0], weights=weights[truth > 0]))
    return {
        "unsure": lowest,
        "drop": drop,
        "kept": _round(kept),
        "backed": 0.0 if lowest is None else _round(_backed(truth, weights, below, zones.confidence)),
        "left": _estimate(truth[below], weights[below]) if below.any() else None,
    }


def _backed(truth: Values, weights: Values, below: npt.NDArray[np.bool_], confidence: float) -> float:
    """Lower confidence bound of the share of all false negatives that is not below. See the calibration's text."""
    relevant = truth > 0
    unit = weights[below].max() if below.any() else weights.max()
    labels = weights[relevant].sum() / unit
    _, high = _bounds(weights[relevant & below].sum() / weights[relevant].sum(), labels, confidence)
    return 1 - float(high)


def _levels(scores: Values, truth: Values, weights: Values, fitted: Calibration) -> tuple[Level, ...]:
    """What the labels say of a sure zone that begins at each of some calibrated probabilities.

    Isotonic regression follows its own labels: those that happen to be relevant raise the probability where they lie.
    So there the labels of each fold are told by the curve of the others. The bounds hold for all levels together, with
    half of the error kept for what the labels have of a say in the curve all the same.
    """
    known = fitted.probabilities(scores)
    probabilities = known if fitted.method == "platt" else _cross_fitted(scores, truth, weights)
    each = 1 - (1 - fitted.zones.confidence) / (2 * len(LEVELS))
    found = []
    for probability in LEVELS:
        inside = probabilities >= probability
        precision = None
        if inside.any():
            low, _ = _bounds(*_share(truth[inside], weights[inside]), each)
            precision = _estimate(truth[inside], weights[inside]).model_copy(update={"low": _round(low)})
        at = fitted.score_at(probability)
        found.append(Level(probability=probability, score=at, precision=precision, labels=int(inside.sum())))
    return tuple(found)


def _cross_fitted(scores: Values, truth: Values, weights: Values) -> Values:
    """The probability of each label by the isotonic curve of the other folds."""
    import numpy as np

    folds = np.empty(len(scores), dtype=int)
    folds[np.lexsort((truth, scores))] = np.arange(len(scores)) % FOLDS
    found = np.zeros(len(scores))
    for fold in range(FOLDS):
        others = folds != fold
        curve = _curve("isotonic", scores[others], truth[others], weights[others])
        found[~others] = curve.probabilities(scores[~others])
    return found


def _sure(
    scores: Values, truth: Values, weights: Values, wanted: float, confidence: float, least: float
) -> float | None:
    """The lowest threshold, of `least` or more, whose precision is backed. See the module's text."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    # Finer at the top, where few labels lie and most is at stake.
    grid = ends[np.unique(np.geomspace(1, len(ends), min(_GRID, len(ends))).round().astype(int)) - 1]
    hits, sums, squares = (np.cumsum(of[order])[grid] for of in (weights * truth, weights, weights**2))
    each = 1 - (1 - confidence) / len(_STARTS)
    lows, _ = _bounds(hits / sums, sums**2 / squares, each)
    # With fewer labels than these the bound fails though all of them are hits.
    labels = math.log(1 - each) / math.log(wanted)
    thresholds = scores[order][grid]
    backed: list[float] = []
    for factor in _STARTS:
        start = int(np.searchsorted(grid + 1, factor * labels))
        run = int(np.argmin(np.append(lows[start:] >= wanted, False)))  # so many hold before the first that fails
        backed += thresholds[start : start + run].tolist()
    return min((each for each in backed if each >= least), default=None)


def _unsure(scores: Values, weights: Values, keep: float) -> float:
    """The highest score that leaves at least `keep` of the false negatives, of whom all are, at or above it."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    shares = np.cumsum(weights[order]) / weights.sum()
    place = min(int(np.searchsorted(shares, keep - 1e-9)), len(scores) - 1)
    return float(scores[order][place])


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
