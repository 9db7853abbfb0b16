"""The runs of a comparison: each trained once, measured once on each set, and kept for other processes and sets."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.disk.one_process import one_process
from hf_relabel.cards.training_report import DataUsed, TrainingReport
from hf_relabel.trainers.data.training_data import TrainingData
from hf_relabel.trainers.devices import all_devices
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.recipes.recipe import Recipe

ANY_CONFIG = "compared"
"""Stands for the config in what is kept of a run: it is known by its recipe, rows and seed, whoever has these rows."""

WAITING = "waiting for the process that makes this run"


@dataclass(frozen=True)
class Outcome:
    """What a run measured.

    Attributes:
        rows: that it was trained on.
        values: by set, the metric of each query, in the order of its judgements.
    """

    rows: int
    values: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Arm:
    """One thing that is compared.

    Attributes:
        name: such as `relabel`, or `relabel+distillation`.
        data: gives the rows it trains on.
        note: what else is told of it.
    """

    name: str
    config: str
    recipe: Recipe
    data: Callable[[], TrainingData]
    note: str = ""


@dataclass(frozen=True)
class Schedule:
    """Which step of a run is kept: the best on some sets, see `training.run.train`; the last where there are none."""

    dev: tuple[RetrievalSet, ...] = ()
    evaluate_every: int | None = None

    def key(self) -> list[Any]:
        """What changes when the step would; nothing where it is the last."""
        dev = [[data.about.model_dump(mode="json"), _digest(data)] for data in self.dev]
        return [self.evaluate_every, dev] if dev else []


LAST_STEP = Schedule()


@dataclass(frozen=True)
class Trial:
    """One run: one arm trained with one seed."""

    arm: Arm
    data: TrainingData
    seed: int
    schedule: Schedule = LAST_STEP

    def key(self) -> str:
        """What changes when the model would. Arms that train the same on the same rows share a run."""
        recipe = self.arm.recipe.model_dump(mode="json")
        return _key([recipe, self.data.fingerprint, self.seed, *self.schedule.key()])


@dataclass(frozen=True)
class Measure:
    """What each run is measured by.

    Attributes:
        depth: documents of a ranking.
        device: torch device, of training too; None for the library's choice.
        keep_models: keep each model beside what it measured, so that another set or metric needs no training.
    """

    sets: tuple[RetrievalSet, ...]
    metric: str
    depth: int
    device: str | None = None
    keep_models: bool = True

    def key(self, data: RetrievalSet) -> str:
        """What changes when the values on a set would."""
        return _key([self.metric, self.depth, data.about.model_dump(mode="json"), _digest(data)])


@contextmanager
def kept_in(folder: str | Path | None) -> Iterator[Path]:
    """The folder of the runs, a temporary one if there is none."""
    if folder is not None:
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hf-relabel-compare-") as scratch:
        yield Path(scratch)


def outcome(trial: Trial, measure: Measure, runs: Path, *, tell: Callable[[str], None]) -> Outcome:
    """What a run measured: as it was kept, else by the model that was kept, else by training it.

    Args:
        tell: called with what is done: each step of a training, or that another process makes this very run, whose
            outcome is waited for.
    """
    files, devices = _files(trial, measure, runs), all_devices(measure.device)

    def missing() -> dict[str, Path]:
        return {name: file for name, file in files.items() if not file.is_file()}

    if devices.by_first(missing):
        lock = runs / f"{trial.key()}.lock"
        with ExitStack() as held:
            devices.by_first(lambda: held.enter_context(one_process(lock, lambda: tell(WAITING))))
            _run(trial, measure, runs / trial.key(), devices.by_first(missing), tell)
    found = devices.by_first(lambda: {name: json.loads(file.read_text("utf-8")) for name, file in files.items()})
    return Outcome(next(iter(found.values()))["rows"], {name: each["values"] for name, each in found.items()})


def take_in(trial: Trial, measure: Measure, runs: Path, rows: int, values: Mapping[str, Mapping[str, float]]) -> None:
    """Keep what a run has measured elsewhere, so that it is not made again.

    Args:
        values: by set, the metric of each query. Sets of other queries are left out: they are measured when asked for.
    """
    files = _files(trial, measure, runs)
    for data in measure.sets:
        by_query, file = values.get(data.about.name, {}), files[data.about.name]
        if set(by_query) == set(data.qrels) and not file.is_file():
            _keep(file, trial, rows, [by_query[query_id] for query_id in data.qrels])


def _files(trial: Trial, measure: Measure, runs: Path) -> dict[str, Path]:
    """Where what a run measured is kept, by set."""
    return {data.about.name: runs / f"{trial.key()}-{measure.key(data)}.json" for data in measure.sets}


def _keep(file: Path, trial: Trial, rows: int | None, values: Sequence[float]) -> None:
    result = {"arm": trial.arm.name, "seed": trial.seed, "rows": rows, "values": values}
    with written_whole(file) as opened:
        opened.write(json.dumps(result).encode())


def _run(trial: Trial, measure: Measure, place: Path, files: Mapping[str, Path], tell: Callable[[str], None]) -> None:
    """Measure on the sets that have no file yet; the model is trained if it is not there."""
    if not files:
        return
    report = _trained(trial, place, measure.device, tell)
    all_devices(measure.device).by_first(lambda: _measure(trial, measure, place, files, report))


def _measure(trial: Trial, measure: Measure, place: Path, files: Mapping[str, Path], report: TrainingReport) -> None:
    from hf_relabel.trainers.evaluation.evaluator import evaluate_model
    from hf_relabel.trainers.loading import load_trained

    model = load_trained(place, report, device=measure.device)
    for data in measure.sets:
        if data.about.name not in files:
            continue
        per_query = evaluate_model(model, data, metrics=(measure.metric,), top_k=measure.depth).per_query
        values = [per_query[query_id][measure.metric] for query_id in data.qrels]
        _keep(files[data.about.name], trial, report.data.rows, values)
    if not measure.keep_models:
        shutil.rmtree(place)


def _trained(trial: Trial, place: Path, device: str | None, tell: Callable[[str], None]) -> TrainingReport:
    """The report of the run, whose model is in its folder from now on."""
    from hf_relabel.trainers.training.callbacks import StepsCallback
    from hf_relabel.trainers.training.run import train

    used = DataUsed(location=f"{trial.data.used.location} ({trial.arm.name})", config=ANY_CONFIG)
    return train(
        trial.arm.recipe,
        replace(trial.data, used=used),
        place,
        seed=trial.seed,
        device=device,
        progress=False,
        dev=trial.schedule.dev,
        evaluate_every=trial.schedule.evaluate_every,
        # A student is trained again in less time than its checkpoints take.
        checkpoints=trial.arm.recipe.kind != "static" or bool(trial.schedule.dev),
        callbacks=(StepsCallback(lambda done, steps: tell(f"step {done:,} of {steps:,}")),),
        teacher_scores=place.parent,
    )


def _key(values: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _digest(data: RetrievalSet) -> str:
    content = json.dumps([dict(data.queries), {name: dict(grades) for name, grades in data.qrels.items()}])
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
