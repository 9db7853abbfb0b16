"""Calibration: from a judge's scores to probabilities, and to thresholds that hold a wanted precision.

Scores are fitted on audited labels, weighted by how many candidates each label stands for: by isotonic regression where
there are enough labels, else by Platt's logistic curve (Platt, 1999; Zadrozny and Elkan, 2002).

Three zones follow. From `sure` on, a candidate is a false negative; from `unsure` on it is doubtful; below it stays a
negative. `sure` is the lowest score from which the precision is believed to be at least the wanted one: its lower
confidence bound is, by Clopper and Pearson with the effective number of labels (sum of weights squared over the sum of
squared weights). Trying many scores and keeping the luckiest would believe too much, so they are tried in fixed
sequences (Learn then Test, arXiv 2110.01052): from each of two numbers of labels on that are set beforehand, downwards
over a grid until the bound fails for the first time, with half of the error each. Where no score holds it there is no
`sure` zone, and nothing is relabelled. A precision is that of the zone as a whole; so that its lower end is worth
relabelling too, `sure` may be held above a calibrated probability as well.

`unsure` follows one of two rules. `keep`: it is the highest score that leaves a wanted share of the labelled false
negatives at or above it. `likely`: the lowest whose calibrated probability is .5. Neither promises that share of the
false negatives nobody labelled; what is promised of either is `backed`, a lower confidence bound. A false negative
below stands for as many candidates as the heaviest label there: as in the interval of Fay and Feuer (1997) for weighted
counts, the share below is bounded by Clopper and Pearson in units of that weight. The benchmark coverage_calibration
checks all of these bounds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.problems import first_line
from hf_relabel.builders.messages.program import program

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

Method = Literal["isotonic", "platt"]
Drop = Literal["keep", "likely"]
LEVELS = (0.5, 0.7, 0.9, 0.95)
"""Calibrated probabilities at which a sure zone may begin instead, see `Level`."""


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
        unsure: None where no candidate is doubtful, which the rule `likely` may find.
        wanted: the precision that `sure` was chosen for, with this confidence.
        precision, recall: of the sure zone on the labels, None where there is no such zone. The lower end of the
            precision is the wanted one: that much is backed, more would come from the labels that chose the threshold.
        kept: share of the labelled false negatives at or above the lower threshold.
        drop: the rule that `unsure` follows, see the module's text.
        backed: of all false negatives at least this share lies there or above, with this confidence; None where an
            earlier version fitted it.
        left: share of false negatives among the candidates below, likewise.
        at: the calibrated probability from which on candidates are relabelled, where that was said instead of a
            precision. `wanted` is then what the labels back of it, 0 where that is not known.
        least: the least calibrated probability of a candidate in the sure zone, where one was wanted too.
    """

    sure: float | None
    unsure: float | None
    wanted: float
    confidence: float
    precision: ShareEstimate | None
    recall: ShareEstimate | None
    kept: float
    drop: Drop = "keep"
    backed: float | None = None
    left: ShareEstimate | None = None
    at: float | None = None
    least: float | None = None

    def zone(self, score: float) -> Literal["sure", "unsure", "clear"]:
        """Where a score lies."""
        if self.sure is not None and score >= self.sure:
            return "sure"
        return "unsure" if self.unsure is not None and score >= self.unsure else "clear"


class Bin(_Stored):
    """Labels with neighbouring scores: mean score and probability, observed share with its 95 % interval."""

    score: float
    probability: float
    observed: float
    low: float
    high: float
    labels: int


class Level(_Stored):
    """Another place where the sure zone could begin.

    Attributes:
        probability: the calibrated one, of `LEVELS`.
        score: the lowest that has it; None where none does.
        precision: of the candidates from there on, by the labels; None where there is no label. Its lower end holds for
            all levels together, with the confidence of the thresholds.
        labels: how many labels lie there.
    """

    probability: float
    score: float | None
    precision: ShareEstimate | None
    labels: int


class Curve(_Stored):
    """From scores to probabilities.

    Attributes:
        points: of isotonic regression, (score, probability), ascending; scores between are interpolated.
        slope, intercept: of Platt's curve, 1 / (1 + exp(-(slope * score + intercept))).
    """

    method: Method
    points: tuple[tuple[float, float], ...] = ()
    slope: float = 0.0
    intercept: float = 0.0

    @model_validator(mode="after")
    def _points_ascend(self) -> Self:
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

    def score_at(self, probability: float) -> float | None:
        """The lowest score whose calibrated probability is this one or more; None where no score has it."""
        if self.method == "platt" and self.slope > 0:
            at = (math.log(probability / (1 - probability)) - self.intercept) / self.slope
            return max(0.0, at) if at <= 1 else None
        if self.probability(1.0) < probability:
            return None
        found = next((place for place, (_, each) in enumerate(self.points) if each >= probability), 0)
        if not found:
            return 0.0  # below the first point the probability is that of the point; a curve that falls has one zone
        (low, below), (high, above) = self.points[found - 1], self.points[found]
        return low + (high - low) * (probability - below) / (above - below)


class Calibration(Curve):
    """What was fitted.

    Example:
            calibration = Calibration.read(Path("calibration.json"))
            print(calibration.zones)

    Attributes:
        levels: other places where the sure zone could begin; none where an earlier version fitted it.
        labels, relevant: how many labels, and how many of them false negatives.
        brier: weighted mean squared error of the probabilities on the labels, and of the raw scores.
        seed: of the audit's sample that the labels are of; None where they are of none. Another audit, of what the
            thresholds relabel, has to draw by another.
        stages: of the run that the labels are of, as it records them; None where that is not known.
        reuse: how often a passage returns in the rows that they are of, see `hf_relabel.builders.audit.reuse`; None
            where that is not known.
    """

    version: Literal[1] = 1
    zones: Zones
    bins: tuple[Bin, ...]
    levels: tuple[Level, ...] = ()
    labels: int = Field(ge=0)
    relevant: int = Field(ge=0)
    brier: float
    brier_before: float
    seed: int | None = None
    stages: tuple[dict[str, Any], ...] | None = None
    reuse: float | None = None

    def at(self, probability: float) -> Calibration:
        """The same with a sure zone that begins at a calibrated probability, whatever precision was wanted.

        What the labels back of it is known at `LEVELS`.

        Raises:
            ConfigError: the probability does not lie between 0 and 1.
        """
        if not 0 < probability < 1:
            raise ConfigError(f"zones_at: expected a probability between 0 and 1, found {probability!r}.")
        sure, zones = self.score_at(probability), self.zones
        level = next((each for each in self.levels if each.probability == probability and each.score == sure), None)
        precision = None if level is None else level.precision
        # All labels say of what lies below `unsure` stays true unless the sure zone reaches down there.
        is_lower = sure is not None and (zones.unsure is None or sure < zones.unsure)
        changed: dict[str, Any] = {
            "sure": sure,
            "unsure": sure if is_lower else zones.unsure,
            "wanted": 0.0 if precision is None else precision.low,
            "precision": precision,
            "recall": None,
            "at": probability,
            **({"backed": None, "left": None} if is_lower and zones.unsure is None else {}),
        }
        return self.model_copy(update={"zones": zones.model_copy(update=changed)})

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

    def note(self) -> str:
        """Where the thresholds are; where no score is sure, why."""
        if self.zones.sure is not None:
            below = (
                "" if self.zones.unsure in (None, self.zones.sure) else f", doubtful from {self.zones.unsure:.4f} on"
            )
            return f"Candidates with a score from {self.zones.sure:.4f} on are relabelled{below}."
        unsure = self.zones.unsure
        doubtful = "no score is doubtful" if unsure is None else f"scores from {unsure:.4f} on are doubtful"
        each = "" if self.zones.least is None else f" and of each candidate a probability of {self.zones.least:g}"
        return (
            f"No score is backed to hold a precision of {self.zones.wanted:.3g}{each}: nothing will be relabelled by"
            f" these thresholds, and {doubtful}. Audit more, ask for less, or use a better judge."
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
