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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
