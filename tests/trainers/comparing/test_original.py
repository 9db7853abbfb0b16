"""A model against the same one on the rows as they were: seeds of each, kept, and what goes into its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.cards.training_report import (
    Comparison,
    DataUsed,
    ModelUsed,
    TrainingReport,
    read_training_report,
)
from hf_relabel.trainers.comparing import trials
from hf_relabel.trainers.comparing.original import RUNS, WithOriginal
from hf_relabel.trainers.comparing.trials import Schedule
from hf_relabel.trainers.data.training_data import TrainingData, open_training_data
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.evaluation.evaluator import Evaluation, evaluate_run
from hf_relabel.trainers.evaluation.per_query import PER_QUERY_NAME, read_per_query, write_per_query
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.recipes.recipe import load_recipe
from tests.trainers.runs import beir_folder, rows_file

Trained = list[tuple[str, int]]


@pytest.fixture
def data(tmp_path: Path) -> RetrievalSet:
    return read_beir(beir_folder(tmp_path))


@pytest.fixture
def rows(tmp_path: Path) -> TrainingData:
    return open_training_data(rows_file(tmp_path))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Runs are not trained but noted: `relabel` reaches .6, `original` .5, each seed and query a little off."""
    done: Trained = []

    def run(trial: Any, measure: Any, place: Any, files: dict[str, Path], tell: Any) -> None:
        done.append((trial.arm.name, trial.seed))
        for data in measure.sets:
            if data.about.name in files:
                values = reached(trial.arm.name, trial.seed, len(data.qrels))
                trials._keep(files[data.about.name], trial, 24, values)

    monkeypatch.setattr(trials, "_run", run)
    return done


def reached(config: str, seed: int, queries: int) -> list[float]:
    chance = np.random.default_rng([seed, len(config)])
    level = 0.6 if config == "relabel" else 0.5
    return list((level + chance.normal(0, 0.002) + chance.normal(0, 0.02, queries)).tolist())


def published(folder: Path, data: RetrievalSet, values: list[float] | None) -> TrainingReport:
    """A run that is over: its report and, where they are given, its values by query."""
    folder.mkdir()
    report = TrainingReport(
        kind="static",
        recipe={},
        base=ModelUsed(name="m"),
        data=DataUsed(location="x", config="relabel", rows=24),
        seed=5,
        steps=1,
        seconds=1.0,
    )
    report.write(folder)
    if values is not None:
        per_query = {key: {"ndcg@10": value} for key, value in zip(data.qrels, values, strict=True)}
        measured = evaluate_run({}, data, metrics=["ndcg@10"]).measured
        write_per_query(folder, [Evaluation(measured, per_query, {})])
    return report


@pytest.fixture
def against(rows: TrainingData, data: RetrievalSet) -> Callable[..., WithOriginal]:
    def make(seeds: int, **options: Any) -> WithOriginal:
        original = replace(rows, fingerprint="original")
        return WithOriginal(load_recipe("static"), rows, original, (data,), seeds, **options)

    return make


def test_the_published_run_is_one_of_the_seeds_and_the_difference_has_its_bounds(
    tmp_path: Path, data: RetrievalSet, trained: Trained, against: Callable[..., WithOriginal]
) -> None:
    own = reached("relabel", 99, 24)
    report = against(3).run(published(tmp_path / "model", data, own), tmp_path / "model")
    assert trained == [("original", 5), ("original", 6), ("original", 7), ("relabel", 6), ("relabel", 7)]
    found = report.comparison
    assert found is not None
    assert found.overall is not None
    assert (found.seeds, found.metric, found.config) == ((5, 6, 7), "ndcg@10", "original")
    mine = np.mean([own, reached("relabel", 6, 24), reached("relabel", 7, 24)])
    theirs = np.mean([reached("original", seed, 24) for seed in (5, 6, 7)])
    assert found.overall.this == pytest.approx(mine)
    assert found.overall.other == pytest.approx(theirs)
    assert found.overall.queries == 24
    assert found.overall.low is not None
    assert 0 < found.overall.low < found.overall.difference < (found.overall.high or 0)
    assert found.p is not None
    assert found.p < 0.05
    assert found.evaluations[0].metrics == {"ndcg@10": pytest.approx(theirs)}
    assert read_training_report(tmp_path / "model").comparison == found


def test_a_comparison_that_was_stopped_goes_on_and_more_seeds_train_only_those(
    tmp_path: Path, data: RetrievalSet, trained: Trained, against: Callable[..., WithOriginal]
) -> None:
    report = published(tmp_path / "model", data, reached("relabel", 5, 24))

    def stop(name: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        against(2).run(report, tmp_path / "model", stop)
    assert trained == [("original", 5)]
    again = against(2).run(read_training_report(tmp_path / "model"), tmp_path / "model")
    assert trained == [("original", 5), ("original", 6), ("relabel", 6)]
    assert against(2).run(again, tmp_path / "model") is again
    more = against(3).run(again, tmp_path / "model")
    assert trained[3:] == [("original", 7), ("relabel", 7)]
    assert more.comparison is not None
    assert more.comparison.seeds == (5, 6, 7)
    assert all(path.suffix in (".json", ".lock") for path in (tmp_path / "model" / RUNS).iterdir())


def test_a_run_of_an_earlier_release_is_measured_anew_and_one_seed_has_no_bounds(
    tmp_path: Path, data: RetrievalSet, trained: Trained, against: Callable[..., WithOriginal]
) -> None:
    """Its folder has no values by query, its report a comparison without a difference, and its other run a folder."""
    earlier = published(tmp_path / "model", data, None)
    (tmp_path / "model" / ".original").mkdir()
    earlier = earlier.model_copy(update={"comparison": Comparison(config="original", seeds=(5,), evaluations=())})
    report = against(1).run(earlier, tmp_path / "model")
    assert trained == [("original", 5), ("relabel", 5)]
    assert report.comparison is not None
    assert report.comparison.overall is not None
    assert (report.comparison.overall.low, report.comparison.p, report.comparison.bounded) == (None, None, None)
    assert not (tmp_path / "model" / ".original").exists()


def test_runs_whose_step_is_chosen_are_no_runs_whose_last_step_is_kept(
    tmp_path: Path, data: RetrievalSet, trained: Trained, against: Callable[..., WithOriginal]
) -> None:
    report = published(tmp_path / "model", data, reached("relabel", 5, 24))
    against(1).run(report, tmp_path / "model")
    dev = read_beir(beir_folder(tmp_path, rows=4, name="dev"))
    against(1, schedule=Schedule((dev,), 2)).run(report, tmp_path / "model")
    assert trained == [("original", 5), ("original", 5)]  # the published one's values are its own in either case


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(
    rows: TrainingData, data: RetrievalSet, tmp_path: Path, against: Callable[..., WithOriginal]
) -> None:
    with pytest.raises(ConfigError, match="needs a set to measure on"):
        replace(against(2), sets=()).check()
    with pytest.raises(ConfigError, match="1 or more seeds, not 0"):
        against(0).check()
    trained_on = read_beir(beir_folder(tmp_path, name="trained", trained=24))
    with pytest.raises(ConfigError, match="are in the rows that are trained on"):
        replace(against(2), sets=(trained_on,)).check()


def test_values_by_query_come_back_as_they_were(tmp_path: Path, data: RetrievalSet) -> None:
    done = evaluate_run({next(iter(data.qrels)): {"x": 1.0}}, data)
    path = write_per_query(tmp_path, [done])
    first = path.read_bytes()
    found = read_per_query(tmp_path)
    assert found == {
        data.about.name: {
            metric: {key: values[metric] for key, values in done.per_query.items()} for metric in done.measured.metrics
        }
    }
    assert write_per_query(tmp_path, [done]).read_bytes() == first
    assert read_per_query(tmp_path / "nothing") == {}
    path.write_bytes(b"no gzip")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_per_query(tmp_path)
    import gzip

    path.write_bytes(gzip.compress(json.dumps({"schema_version": 9, "sets": {}}).encode()))
    with pytest.raises(ConfigError, match=r"is of version 9, and this release reads 1\. Upgrade it"):
        read_per_query(tmp_path)
    assert path.name == PER_QUERY_NAME
