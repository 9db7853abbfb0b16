"""Comparing techniques, and pruning subsets."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hf_relabel.builders.configs.evidence import write_evidence
from hf_relabel.builders.configs.manifest import read_manifest
from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.readme.evidence_tables import compare_section
from hf_relabel.cards.figures.forest import compare_alt, compare_png
from hf_relabel.cards.figures.pruning import pruning_report
from hf_relabel.hub_tools.commands import run
from hf_relabel.trainers.comparing.compare import CompareReport, compare, report_on
from hf_relabel.trainers.comparing.measurements import Measurements, Measuring, measure
from hf_relabel.trainers.comparing.prune import prune
from hf_relabel.trainers.comparing.trials import Arm, Outcome
from hf_relabel.trainers.data.training_data import open_config, open_training_data
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.evaluation.leaks import without_queries
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.recipes.recipe import load_recipe
from hf_relabel.trainers.students.static import default_student
from tests.hub_tools.commands.test_judge_command import job_file
from tests.hub_tools.releases_data import built
from tests.shared_data import SHARED, needs_shared_data
from tests.trainers.runs import beir_folder, rows_file, tiny_recipe, write_lines
from tests.trainers.training_rows import plain_rows

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")


def measurements(
    data: RetrievalSet, means: Mapping[str, float], seeds: int = 3, *, noisy: str = "", names: Sequence[str] = ()
) -> Measurements:
    """Made-up values around these means.

    Args:
        noisy: an arm whose runs differ much.
        names: of more sets, each with values of its own.
    """
    chance = np.random.default_rng(0)
    values: dict[str, dict[str, Any]] = {}
    sets = [data, *(replace(data, about=data.about.model_copy(update={"name": name})) for name in names)]
    luck = {name: chance.normal(0, 0.05 if name == noisy else 0.002, size=(seeds, 1)) for name in means}
    for each in sets:
        noise = chance.normal(0, 0.02, size=(seeds, len(data.queries)))
        values[each.about.name] = {
            name: mean + luck[name] + noise + chance.normal(0, 0.005, size=noise.shape) for name, mean in means.items()
        }
    return Measurements("ndcg@10", tuple(range(seeds)), tuple(sets), values, dict.fromkeys(means, 10))


@pytest.fixture
def data(tmp_path: Path) -> RetrievalSet:
    return read_beir(beir_folder(tmp_path))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    built(tmp_path / "release", rows=12)
    return release_from_folder(tmp_path / "release")


def test_the_best_of_what_is_significantly_better_is_chosen(data: RetrievalSet) -> None:
    report = report_on(measurements(data, {"original": 0.5, "remove-hn": 0.52, "relabel": 0.55}))
    assert report.chosen == "relabel"
    assert report.differences["relabel"].difference == pytest.approx(0.05, abs=0.01)
    assert "Holm" in report.reason


def test_without_a_difference_the_safe_config_is_chosen_unless_it_is_worse(data: RetrievalSet) -> None:
    assert report_on(measurements(data, {"original": 0.5, "remove-hn": 0.501, "relabel": 0.4})).chosen == "remove-hn"
    assert report_on(measurements(data, {"original": 0.5, "remove-hn": 0.4, "relabel": 0.4})).chosen == "original"


def test_relabel_must_be_shown_to_be_better_than_remove_hn(data: RetrievalSet) -> None:
    """It took the greatest mean of what is better than the original, a coin toss between the two."""
    report = report_on(measurements(data, {"original": 0.5, "remove-hn": 0.55, "relabel": 0.551}))
    assert report.differences["relabel"].difference > report.differences["remove-hn"].difference
    assert report.differences["relabel"].is_better
    assert report.chosen == "remove-hn"
    report = report_on(measurements(data, {"original": 0.5, "remove-hn": 0.53, "relabel": 0.56}, noisy="remove-hn"))
    assert report.differences["relabel"].is_better
    assert report.chosen == "remove-hn"
    assert "relabel has +" in report.reason
    assert "but is not shown to be better than remove-hn (" in report.reason
    assert "3 seeds are too few to say, about " in report.reason
    report = report_on(measurements(data, {"original": 0.5, "remove-hn": 0.52, "relabel": 0.55}))
    assert report.reason.endswith("points over remove-hn")
    assert report_on(measurements(data, {"original": 0.5, "relabel": 0.55})).chosen == "relabel"


def test_one_seed_says_nothing_of_other_runs(data: RetrievalSet) -> None:
    report = report_on(measurements(data, {"original": 0.5, "remove-hn": 0.52, "relabel": 0.6}, seeds=1))
    assert (report.chosen, report.differences["relabel"].is_better) == ("remove-hn", False)
    assert "one seed says nothing of other runs" in report.reason
    assert "not known" in report.to_text()
    [arm] = [arm for arm in report.evidence()["arms"] if arm["name"] == "relabel"]
    assert (arm["low"], arm["high"], arm["p_holm"]) == (None, None, None)
    json.dumps(report.evidence(), allow_nan=False)
    assert "not known" in compare_section(report.evidence())
    assert compare_png(report.evidence()).startswith(b"\x89PNG")
    assert compare_alt(report.evidence()).endswith("relabel&#58; +9.93.")  # no bounds


def test_runs_that_are_lucky_on_all_sets_are_no_gain(data: RetrievalSet) -> None:
    """One run of the two was lucky, on each of the sets alike, which were taken for independent witnesses."""
    runs = measurements(data, {"original": 0.5, "relabel": 0.51}, seeds=2, noisy="relabel", names=["b", "c", "d", "e"])
    report = report_on(runs)
    found = report.differences["relabel"]
    assert found.difference > 4 * found.overall.query_error  # which was all that counted
    assert not found.is_better
    assert report.chosen == "original"


def test_an_arm_with_a_teacher_is_no_config(data: RetrievalSet) -> None:
    report = report_on(measurements(data, {"original": 0.5, "remove-hn": 0.501, "relabel+distillation": 0.6}))
    assert report.chosen == "remove-hn"


def test_a_comparison_ends_where_a_set_has_equal_results(data: RetrievalSet) -> None:
    """It was refused, after all training."""
    runs = measurements(data, {"original": 0.5, "relabel": 0.6}, names=["same"])
    runs.values["same"]["relabel"][:] = runs.values["same"]["original"]
    assert report_on(runs).differences["relabel"].difference == pytest.approx(0.05, abs=0.02)


def files_in(folder: Path, ending: str = "") -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name.endswith(ending)}


def test_models_are_kept_and_only_what_is_new_is_trained_or_measured(
    tmp_path: Path, release: Release, data: RetrievalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    recipe = tiny_recipe(tmp_path, max_steps=2)
    arm = Arm("a", "relabel", recipe, lambda: open_training_data(release.name, "relabel"))
    first = measure([arm], [data], Measuring(seeds=(0,), folder=runs, device="cpu"))
    kept = files_in(runs, ".json")
    second = measure([arm], [data], Measuring(seeds=(0, 1), folder=runs, device="cpu"))
    assert (len(kept), len(files_in(runs, ".json"))) == (1, 2)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    name = data.about.name
    assert np.array_equal(first.values[name]["a"][0], second.values[name]["a"][0])

    monkeypatch.setattr("hf_relabel.trainers.training.run._fit", lambda *_: pytest.fail("trained again"))
    more = [data, read_beir(beir_folder(tmp_path, name="more", ask="tell"))]
    same_rows = replace(arm, name="b", config="relabel too")
    third = measure([same_rows], more, Measuring(seeds=(0, 1), folder=runs, device="cpu"))
    assert len(files_in(runs, ".json")) == 4
    assert np.array_equal(third.values[name]["b"], second.values[name]["a"])
    measure([arm], [data], Measuring(seeds=(0,), metric="mrr@10", folder=runs, device="cpu"))
    assert len(files_in(runs, ".json")) == 5


def test_models_may_be_dropped(tmp_path: Path, release: Release, data: RetrievalSet) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=1)
    arm = Arm("a", "relabel", recipe, lambda: open_training_data(release.name, "relabel"))
    measure([arm], [data], Measuring(seeds=(0,), folder=tmp_path / "runs", device="cpu", keep_models=False))
    assert [path.suffix for path in (tmp_path / "runs").iterdir()] == [".json"]


def made_up_outcomes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs are made up: each query has the value of its place. Returns what is run."""
    made: list[str] = []

    def outcome(trial: Any, measure: Any, runs: Any, tell: Any) -> Outcome:
        made.append(trial.arm.name)
        return Outcome(9, {each.about.name: [place / 100 for place in range(len(each.qrels))] for each in measure.sets})

    monkeypatch.setattr("hf_relabel.trainers.comparing.measurements.outcome", outcome)
    return made


def test_queries_that_are_trained_on_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made_up_outcomes(monkeypatch)
    rows = open_training_data(rows_file(tmp_path))
    sets = [read_beir(beir_folder(tmp_path, name="some", trained=5)), read_beir(beir_folder(tmp_path, name="none"))]
    arms = [Arm(name, name, load_recipe("static"), lambda: rows) for name in ("original", "relabel")]
    measured = measure(arms, sets, Measuring(seeds=(0, 1)))
    assert measured.left_out == {"some": 5}
    assert [len(each.queries) for each in measured.sets] == [19, 24]
    assert measured.values["some"]["relabel"].tolist() == [[place / 100 for place in range(5, 24)]] * 2
    assert "some: 5 of its 24 queries are in the rows that are trained on. They are left out" in caplog.text
    report = report_on(measured)
    assert "some (19 queries), none (24 queries)" in report.to_text()
    assert "some: 5 more queries are trained on, and left out" in report.to_text()
    assert "5 more of some left out, being trained on" in compare_section(report.evidence())


def test_a_set_without_queries_of_its_own_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: RetrievalSet
) -> None:
    made = made_up_outcomes(monkeypatch)
    rows = open_training_data(rows_file(tmp_path))
    arm = Arm("original", "original", load_recipe("static"), lambda: rows)
    for trained in (24, 23):
        leaked = read_beir(beir_folder(tmp_path, name=f"leaked-{trained}", trained=trained))
        with pytest.raises(ConfigError, match=f"{trained} of its 24 queries are in the rows that are trained on"):
            measure([arm], [data, leaked], Measuring(seeds=(0,)))
    with pytest.raises(ConfigError, match="has one query, which says nothing of others"):
        measure([arm], [without_queries(data, list(data.queries)[1:])], Measuring(seeds=(0,)))
    assert made == []


def test_two_processes_with_one_folder_make_each_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: RetrievalSet
) -> None:
    """The second waits for what the first makes, says so, and has the same in the end."""
    waits = threading.Event()
    trained = []

    def trains(recipe: Any, data: Any, out: Path, **_: Any) -> Any:
        out.mkdir()
        trained.append(out)
        assert waits.wait(60), "the second did not wait for the first, nor train"
        return SimpleNamespace(data=SimpleNamespace(rows=len(data.rows)))

    def tell(name: str, done: int, total: int) -> None:
        if "waiting for the process that makes this run" in name:
            waits.set()

    monkeypatch.setattr("hf_relabel.trainers.training.run.train", trains)
    monkeypatch.setattr("hf_relabel.trainers.loading.load_trained", lambda *_, **__: None)
    per_query = {query_id: {"ndcg@10": 0.5} for query_id in data.queries}
    monkeypatch.setattr(
        "hf_relabel.trainers.evaluation.evaluator.evaluate_model", lambda *_, **__: SimpleNamespace(per_query=per_query)
    )
    rows = open_training_data(rows_file(tmp_path))
    arm = Arm("a", "original", load_recipe("static"), lambda: rows)
    with ThreadPoolExecutor(2) as both:
        how = Measuring(seeds=(0, 1), folder=tmp_path / "runs", progress=tell)
        made = [both.submit(measure, [arm], [data], how) for _ in range(2)]
        one, other = (each.result() for each in made)
    assert len(trained) == 2
    assert one.rows == other.rows == {"a": 24}
    assert np.array_equal(one.values[data.about.name]["a"], other.values[data.about.name]["a"])
    assert sorted(path.suffix for path in (tmp_path / "runs").iterdir()) == ["", "", ".json", ".json"]


def test_evidence_goes_into_manifest_and_readme_and_sets_the_default(release: Release, data: RetrievalSet) -> None:
    folder = Path(release.name)
    readme = folder / "README.md"
    readme.write_text(readme.read_text() + "\nMy own words.\n")
    report = report_on(measurements(data, {"original": 0.5, "remove-hn": 0.52, "relabel": 0.55}))
    assert write_evidence(folder, "compare", report.evidence(), default=report.chosen)
    assert not write_evidence(folder, "compare", report.evidence(), default=report.chosen)
    manifest = read_manifest(folder)
    assert manifest["settings"]["default_config"] == "relabel"
    assert [arm["name"] for arm in manifest["evidence"]["compare"]["arms"]] == ["original", "remove-hn", "relabel"]
    assert "My own words." in readme.read_text()
    assert "## Evidence" in readme.read_text()
    release_from_folder(folder, verify=True)


def test_what_cannot_be_compared_is_refused(tmp_path: Path, release: Release, data: RetrievalSet) -> None:
    recipe = tiny_recipe(tmp_path)
    with pytest.raises(ConfigError, match="nothing to measure on"):
        compare(release, [], recipe=recipe)
    with pytest.raises(ConfigError, match="needs a teacher"):
        compare(release, [data], recipe=recipe, arms=["relabel+distillation"])
    arm = Arm("a", "relabel", recipe, lambda: open_training_data(release.name, "relabel"))
    with pytest.raises(ConfigError, match="have one name"):
        measure([arm, arm], [data])
    with pytest.raises(ConfigError, match="each once"):
        measure([arm], [data], Measuring(seeds=(1, 1)))


def test_a_subset_that_harms_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: RetrievalSet) -> None:
    means = {"all": 0.5, "without wrong": 0.6, "without right": 0.3, "kept": 0.6}
    noise = 0.01

    def outcome(trial: Any, measure: Any, runs: Any, tell: Any) -> Outcome:
        chance = np.random.default_rng([trial.seed, *trial.arm.name.encode()])
        values = means[trial.arm.name] + chance.normal(0, noise / 5, 24) + chance.normal(0, noise)
        return Outcome(len(trial.data.rows), {data.about.name: values.tolist()})

    monkeypatch.setattr("hf_relabel.trainers.comparing.measurements.outcome", outcome)
    rows = [{**row, "subset": "wrong" if number < 8 else "right"} for number, row in enumerate(plain_rows(24))]
    write_lines(tmp_path / "rows.jsonl", rows)
    training = open_training_data(tmp_path / "rows.jsonl")
    report = prune(training, [data], recipe=load_recipe("static"))
    assert [(each.subset, each.rows, each.keep) for each in report.subsets] == [
        ("wrong", 8, False),
        ("right", 16, True),
    ]
    assert report.kept == ("right",)
    assert report.with_kept is not None
    assert report.with_kept > report.with_all
    gain = report.kept_gain
    assert gain is not None
    assert gain.difference == pytest.approx(report.with_kept - report.with_all)
    assert gain.low is not None
    assert 0 < gain.low < gain.difference < (gain.high or 0)
    assert "points (chosen on the same runs and queries" in report.to_text()
    page = pruning_report(report.to_dict(), "x.png")
    assert f"{100 * gain.difference:+.2f} points, 95 % interval {100 * gain.low:+.2f} to " in page
    one = prune(training, [data], recipe=load_recipe("static"), seeds=(0,))
    assert (one.kept, one.subsets[0].low, one.subsets[0].p_holm) == (("right", "wrong"), None, None)
    assert one.to_text().endswith("; one seed says nothing of other runs).")
    with pytest.raises(ConfigError, match="one subset"):
        prune(replace(training, rows=training.rows.select(range(8))), [data])
    # Runs differ more than the means: only the rule of the paper takes a side.
    means = {"all": 0.5, "without wrong": 0.503, "without right": 0.496, "kept": 0.503}
    noise = 0.05
    assert prune(training, [data], recipe=load_recipe("static")).kept == ("right", "wrong")
    paper = prune(training, [data], recipe=load_recipe("static"), rule="mean")
    assert paper.kept == tuple(sorted(each.subset for each in paper.subsets if each.harm < 0))
    assert 0 < len(paper.kept) < 2
    assert "Keep, by the rule mean: " in paper.to_text()
    assert paper.kept_gain is not None
    means["without right"] = 0.9
    none = prune(training, [data], recipe=load_recipe("static"), rule="mean")
    assert none.kept == ()
    assert "leave out none by it." in none.to_text()
    with pytest.raises(ConfigError, match=r"no rule 'means'\. Did you mean 'mean'"):
        prune(training, [data], rule="means")  # type: ignore[arg-type]


@needs_shared_data
def test_relabelled_banking77_beats_the_original(tmp_path: Path) -> None:
    from tests.benchmarks.judged_sets import built_from_truth

    folder = SHARED / "banking77"
    release = built_from_truth(folder, tmp_path)
    arms = [Arm(name, name, default_student(), partial(open_config, release, name)) for name in ("original", "relabel")]
    found = measure(arms, [read_beir(folder / "beir")], Measuring(seeds=(0,)))
    assert found.mean("relabel") - found.mean("original") >= 0.015


# What the calls show, and what the commands keep and say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("name", ["compare", "prune"])
def test_a_call_draws_a_bar_of_its_runs_unless_it_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: Release, data: RetrievalSet, name: str
) -> None:
    rows = [{**row, "subset": f"s{number % 2}"} for number, row in enumerate(plain_rows(4, positives=1, negatives=2))]
    write_lines(tmp_path / "rows.jsonl", rows)
    training = open_training_data(tmp_path / "rows.jsonl")
    made_up_outcomes(monkeypatch)
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)  # no thread of tqdm's own
    recipe = load_recipe("static")
    told: list[tuple[str, int, int]] = []
    drawn = []
    for wanted in (True, False, None, lambda *run: told.append(run)):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        if name == "compare":
            compare(release, [data], arms=["relabel"], recipe=recipe, seeds=(0, 1), progress=wanted)
        else:
            prune(training, [data], recipe=recipe, seeds=(0, 1), progress=wanted)
        drawn.append(terminal.getvalue())
    assert "0 runs" in drawn[0] or "0/" in drawn[0]
    assert drawn[1:] == ["", "", ""]
    runs = {"compare": ["original", "remove-hn", "relabel"], "prune": ["all", "without s0", "without s1"]}[name]
    expected = [f"{run}, seed {seed}" for run in runs for seed in (0, 1)]
    assert told == [(run, place, len(expected)) for place, run in enumerate(expected)]


def test_the_command_says_what_the_configs_did_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], release: Release
) -> None:
    made_up_outcomes(monkeypatch)
    given = ["compare", release.name, "--eval", str(beir_folder(tmp_path)), "--arm", "relabel", "--no-write", "--json"]
    assert run([*given, "--runs", str(tmp_path / "runs")]) == 0
    out, error = capsys.readouterr()
    changes = {arm["name"]: arm["changes"] for arm in json.loads(out)["arms"]}
    counts = release.manifest["configs"]["relabel"]["total"]
    told = [counts["rows_out"], counts["rows_changed"], 0, counts["moved"], 0]
    assert sorted(changes["relabel"].values()) == sorted(told)
    assert ["relabel", *map(str, told)] in [line.split() for line in error.splitlines()]


def interrupted(name: str, runs_done: int) -> Any:
    """Stands in for `compare` or `prune`: so many of 6 runs are finished when Ctrl-C comes."""

    def work(*_: Any, progress: Any, folder: Path, **__: Any) -> None:
        for number in range(runs_done + 1):
            progress(f"relabel, seed {number}", number, 6)
        raise KeyboardInterrupt

    return work


@pytest.mark.parametrize("name", ["compare", "prune"])
def test_ctrl_c_says_how_many_runs_are_kept_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    monkeypatch.setattr("hf_relabel.trainers.evaluation.opening.open_sets", lambda _: [])
    built(tmp_path / "release", rows=12)
    for done, said in (
        (2, f"2 of 6 runs are finished and kept in {tmp_path / 'hf-relabel' / 'runs'}: the same command again trains"),
        (0, "No run was finished: the same command again starts anew."),
    ):
        monkeypatch.setattr(f"hf_relabel.trainers.comparing.{name}.{name}", interrupted(name, done))
        assert run([name, str(tmp_path / "release"), "--eval", "beir"]) == 130
        error = capsys.readouterr().err
        assert error.startswith(f"Interrupted. {said}")
        assert "journal" not in error


def test_the_command_keeps_its_runs_in_the_cache_and_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    release: Release,
    data: RetrievalSet,
) -> None:
    given: dict[str, Any] = {}

    def compared(*_: Any, **options: Any) -> CompareReport:
        given.update(options)
        return report_on(measurements(data, {"original": 0.5, "relabel": 0.5}))

    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("hf_relabel.trainers.evaluation.opening.open_sets", lambda _: [])
    monkeypatch.setattr("hf_relabel.trainers.comparing.compare.compare", compared)
    assert run(["compare", str(tmp_path / "release"), "--eval", "beir", "--no-write"]) == 0
    assert given["folder"] == tmp_path / "home" / "hf-relabel" / "runs"
    assert f"Each run is kept in {given['folder']}" in capsys.readouterr().out
    assert run(["compare", str(tmp_path / "release"), "--eval", "beir", "--no-write", "--runs", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == "mine"
    job_file(tmp_path)
    job = json.loads((tmp_path / "job.yaml").read_text())
    job |= {"build": {"out": str(tmp_path / "built")}, "compare": {"eval": ["beir"]}}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    assert run(["run", str(tmp_path / "job.yaml")]) == 0
    kept = tmp_path / "home" / "hf-relabel" / "runs"
    assert given["folder"] == kept
    assert f"Each run is kept in {kept}" in capsys.readouterr().out
    assert run(["run", str(tmp_path / "job.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["compare"]["runs"] == str(kept)
