"""What the labels changed: a model's training against the same one on the rows as they were, some seeds of each.

The model that is published is one of the runs. The others are trained beside it, in a hidden folder of its own that is
never pushed, and go when they are measured; what each measured stays, so that a comparison that was stopped goes on
where it was, and one with more seeds trains only those.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.techniques import Technique
from hf_relabel.cards.set_groups import mean_name
from hf_relabel.cards.training_report import Comparison, Measured, MeasuredDifference, TrainingReport
from hf_relabel.trainers.comparing.measurements import (
    METRIC,
    Measurements,
    Measuring,
    Progress,
    measure,
    queries_left_out,
)
from hf_relabel.trainers.comparing.trials import LAST_STEP, Arm, Schedule, Trial, take_in
from hf_relabel.trainers.data.training_data import TrainingData
from hf_relabel.trainers.devices import all_devices
from hf_relabel.trainers.evaluation.per_query import read_per_query
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.evaluation.significance import MeanDifference
from hf_relabel.trainers.recipes.recipe import Recipe

RUNS = ".compared"
ORIGINAL = str(Technique.ORIGINAL)
_EARLIER = ".original"
"""Where earlier releases trained on the original rows."""


@dataclass(frozen=True)
class WithOriginal:
    """A comparison with the rows as they were, for the card of a model.

    Attributes:
        rows, original: of the config that is trained on, and as they were.
        seeds: runs of each, counted from the model's own seed.
        schedule, device: of the training of the model.
    """

    recipe: Recipe
    rows: TrainingData
    original: TrainingData
    sets: tuple[RetrievalSet, ...]
    seeds: int
    schedule: Schedule = LAST_STEP
    device: str | None = None

    def check(self) -> None:
        """To be called before anything is trained.

        Raises:
            ConfigError: there is no set, or one has no queries that are not trained on.
        """
        if not self.sets:
            raise ConfigError(f"A comparison needs a set to measure on, {argument('sets', ...)}.")
        if self.seeds < 1:
            raise ConfigError(f"A comparison needs 1 or more seeds, not {self.seeds}.")
        queries_left_out(self.original.rows["query"], self.sets)

    def run(self, report: TrainingReport, out: Path, progress: Progress | None = None) -> TrainingReport:
        """Train what is missing, and write the report of the model with the difference.

        Args:
            report: of the model in `out`.
        """
        if _is_there(report.comparison, self.seeds):
            return report
        own = Arm(report.data.config, report.data.config, self.recipe, lambda: self.rows)
        base = Arm(ORIGINAL, ORIGINAL, self.recipe, lambda: self.original)
        seeds = range(report.seed, report.seed + self.seeds)
        how = Measuring(
            seeds, METRIC, out / RUNS, device=self.device, keep_models=False, progress=progress, schedule=self.schedule
        )
        devices = all_devices(self.device)
        devices.by_first(lambda: self._take_in(report, own, out, how))
        found = comparison(measure([base, own], self.sets, how), own.name)
        return devices.by_first(lambda: _written(report.model_copy(update={"comparison": found}), out))

    def _take_in(self, report: TrainingReport, own: Arm, out: Path, how: Measuring) -> None:
        """The published model is a run of the comparison: what it measured is known."""
        runs = out / RUNS
        runs.mkdir(exist_ok=True)
        values = {name: metrics[METRIC] for name, metrics in read_per_query(out).items() if METRIC in metrics}
        if report.data.rows is not None:
            trial = Trial(own, self.rows, report.seed, self.schedule)
            take_in(trial, how.by(self.sets), runs, report.data.rows, values)


def _written(report: TrainingReport, out: Path) -> TrainingReport:
    report.write(out)
    shutil.rmtree(out / _EARLIER, ignore_errors=True)
    return report


def comparison(measured: Measurements, own: str) -> Comparison:
    """What goes into a report."""
    on_sets = measured.by_set(own, ORIGINAL)
    overall = measured.difference(own, ORIGINAL)
    other = {name: float(arms[ORIGINAL].mean()) for name, arms in measured.values.items()}
    return Comparison(
        config=ORIGINAL,
        seeds=measured.seeds,
        evaluations=tuple(
            Measured(set=data.about, metrics={measured.metric: other[data.about.name]}) for data in measured.sets
        ),
        metric=measured.metric,
        differences=tuple(_difference(name, each.mean, other[name], each.difference) for name, each in on_sets.items()),
        overall=_difference(mean_name(list(on_sets)), measured.mean(own), measured.mean(ORIGINAL), overall),
        p=None if overall.low is None else overall.p,
        left_out=dict(measured.left_out),
    )


def _difference(name: str, this: float, other: float, found: MeanDifference) -> MeasuredDifference:
    return MeasuredDifference(
        name=name,
        queries=sum(found.queries),
        this=this,
        other=other,
        difference=found.difference,
        low=found.low,
        high=found.high,
    )


def _is_there(found: Comparison | None, seeds: int) -> bool:
    """Whether as many runs have been compared. Reports of earlier releases have one, without a difference."""
    return found is not None and found.overall is not None and len(found.seeds) >= seeds
