"""Calibration: from a judge's scores to probabilities, and to thresholds that hold a wanted precision.

Scores are fitted on audited labels, weighted by how many candidates each label stands for: by isotonic regression where
there are enough labels, else by Platt's logistic curve (Platt, 1999; Zadrozny and Elkan, 2002).

Three zones follow. From `sure` on, a candidate is a false negative; from `unsure` on it is doubtful; below it stays a
negative. `sure` is the lowest score from which the precision is believed to be at least the wanted one: its lower
confidence bound is, by Clopper and Pearson with the effective number of labels (sum of weights squared over the sum of
squared weights). Trying many scores and keeping the luckiest would believe too much, so they are tried in fixed
sequences (Learn then Test, arXiv 2110.01052): from each of two numbers of labels on that are set beforehand, downwards
over a grid until the bound fails for the first time, with half of the error each. Where no score holds it there is no
`sure` zone, and nothing is relabelled. `unsure` is the highest score below which at most a tenth of the false negatives
lie.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.problems import first_line
from hf_relabel.builders.messages.program import program

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

Method = Literal["isotonic", "platt"]

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


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ShareEstimate(_Stored):
    """A share with its confidence interval."""

    value: float
    low: float
    high: float


class Zones(_Stored):
    """Thresholds on the score. See the module's text.

    Attributes:
        wanted: the precision that `sure` was chosen for, with this confidence.
        precision, recall: of the sure zone on the labels, None where there is no such zone. The lower end of the
            precision is the wanted one: that much is backed, more would come from the labels that chose the threshold.
        kept: share of the false negatives at or above `unsure`.
    """

    sure: float | None
    unsure: float
    wanted: float
    confidence: float
    precision: ShareEstimate | None
    recall: ShareEstimate | None
    kept: float

    def zone(self, score: float) -> Literal["sure", "unsure", "clear"]:
        """Where a score lies."""
        if self.sure is not None and score >= self.sure:
            return "sure"
        return "unsure" if score >= self.unsure else "clear"


class Bin(_Stored):
    """Labels with neighbouring scores: mean score and probability, observed share with its 95 % interval."""

    score: float
    probability: float
    observed: float
    low: float
    high: float
    labels: int


class Calibration(_Stored):
    """What was fitted.

    Example:
            calibration = Calibration.read(Path("calibration.json"))
            print(calibration.zones)

    Attributes:
        points: of isotonic regression, (score, probability), ascending; scores between are interpolated.
        slope, intercept: of Platt's curve, 1 / (1 + exp(-(slope * score + intercept))).
        labels, relevant: how many labels, and how many of them false negatives.
        brier: weighted mean squared error of the probabilities on the labels, and of the raw scores.
        seed: of the audit's sample that the labels are of; None where they are of none. Another audit, of what the
            thresholds relabel, has to draw by another.
        stages: of the run that the labels are of, as it records them; None where that is not known.
    """

    version: Literal[1] = 1
    method: Method
    points: tuple[tuple[float, float], ...] = ()
    slope: float = 0.0
    intercept: float = 0.0
    zones: Zones
    bins: tuple[Bin, ...]
    labels: int = Field(ge=0)
    relevant: int = Field(ge=0)
    brier: float
    brier_before: float
    seed: int | None = None
    stages: tuple[dict[str, Any], ...] | None = None

    @model_validator(mode="after")
    def _points_ascend(self) -> Calibration:
        scores = [score for score, _ in self.points]
        if self.method == "isotonic" and (not scores or scores != sorted(scores)):
            raise ValueError("points must be given in ascending order")
        return self

    def probability(self, score: float) -> float:
        """The calibrated probability that a candidate with this score is a false negative."""
        return float(self.probabilities([score])[0])

    def probabilities(self, scores: Sequence[float] | Values) -> Values:
        """`probability` of many scores."""
        import numpy as np

        values = np.asarray(scores, dtype=np.float64)
        if self.method == "isotonic":
            known, probabilities = (np.array(column) for column in zip(*self.points, strict=True))
            found: Values = np.interp(values, known, probabilities)
            return found
        curve: Values = 1 / (1 + np.exp(-(self.slope * values + self.intercept)))
        return curve

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def check_judges(self, run: Mapping[str, Any]) -> bool:
        """Whether it is known to be of the judges of a run, whose settings these are.

        Raises:
            ConfigError: it is of others, or of the same with other settings.
        """
        from hf_relabel.builders.cascade.same_judges import check_same_judges  # which asks for verdicts

        return check_same_judges(
            self.stages,
            run["stages"],
            what="The thresholds of the calibration were fitted on the scores of",
            of="the verdicts are of",
            then="Audit these verdicts and fit thresholds of their own, or take the run that was audited.",
        )

    def idle_note(self) -> str | None:
        """What to say where no score is sure; None where some is."""
        if self.zones.sure is not None:
            return None
        return (
            f"No score holds a precision of {self.zones.wanted:g}: nothing will be relabelled by these thresholds, and"
            f" scores from {self.zones.unsure:.4f} on are doubtful. Ask for a lower precision, or use a better judge."
        )

    @classmethod
    def from_dict(cls, values: Any, name: str = "calibration") -> Calibration:
        """Raises ConfigError where it is no calibration."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{name} is no calibration of hf-relabel: {first_line(error)}") from None

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        with written_whole(path) as file:
            file.write((json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Raises ConfigError: there is no such file, or it is no calibration."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"There is no calibration at {path}. `{program()} audit report` writes one.") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read as a calibration: {' '.join(str(error).split())}.") from None
        return cls.from_dict(values, str(path))


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
