"""Arms of a comparison that need no judge: how they are written, what they train, and that all of them do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.trainers.comparing.arms import ADDITIONS, Models, arms_of
from hf_relabel.trainers.comparing.compare import compare
from hf_relabel.trainers.comparing.matched_steps import with_matched_steps, work_of
from hf_relabel.trainers.comparing.measurements import Measuring, measure
from hf_relabel.trainers.comparing.trials import Arm, Trial
from hf_relabel.trainers.comparing.zone_arms import ZoneArms
from hf_relabel.trainers.data.training_data import open_training_data
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.losses import MultiPositiveLoss
from hf_relabel.trainers.recipes.recipe import DistillationTeacher, GuideSettings, Recipe, load_recipe
from hf_relabel.trainers.training import teaching
from hf_relabel.trainers.training.run import train
from tests.hub_tools.releases_data import built
from tests.trainers.comparing.test_compare import made_up_outcomes
from tests.trainers.runs import beir_folder, rows_file, tiny_recipe
from tests.trainers.tiny_models import tiny_bert

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("arms") / "release"
    built(folder, rows=12)
    return release_from_folder(folder)


def teacher(model: str = "m", kind: Any = "bi-encoder") -> DistillationTeacher:
    return DistillationTeacher(use="distillation", model=model, kind=kind)


def tiny_student(folder: Path, **changes: Any) -> Recipe:
    values = {"dimensions": 8, "batch_size": 4, "loss": {"negatives": 2}, "max_steps": 1, **changes}
    return load_recipe("static", model=tiny_bert(folder / "student"), **values)


def added(release: Release, name: str, models: Models | None = None) -> dict[str, Any]:
    [arm] = arms_of(ZoneArms(release, Path(release.name)), [name], load_recipe("static"), models or Models(teacher()))
    return arm.recipe.model_dump()


@pytest.mark.parametrize(
    ("name", "robust"),
    [
        ("original+debiased", {"name": "debiased", "tau_plus": 0.1}),
        ("original+debiased:tau_plus=0.02", {"name": "debiased", "tau_plus": 0.02}),
        ("remove-hn+gce", {"name": "gce", "q": 0.7}),
        ("original+gce:q=1", {"name": "gce", "q": 1}),
        ("original+ccr:beta=0.1", {"name": "ccr", "beta": 0.1}),
        ("original+label-weakening", {"name": "label-weakening", "alpha": 0.1, "beta": 0.6}),
        ("original+label-weakening:alpha=0, beta=0.2", {"name": "label-weakening", "alpha": 0, "beta": 0.2}),
    ],
)
def test_a_robust_loss_with_the_papers_parameters_or_given_ones(
    release: Release, name: str, robust: Mapping[str, Any]
) -> None:
    plain = load_recipe("static").model_dump()
    assert added(release, name) == {**plain, "loss": {**plain["loss"], "robust": robust}}


def test_other_additions(release: Release) -> None:
    assert added(release, "original+sieve:beta=0.3")["sieve"] == {"beta": 0.3}
    assert added(release, "original+perc-pos:share=0.9")["teacher"]["share"] == 0.9
    found = added(release, "relabel+distillation:temperature=0.2")
    assert (found["teacher"]["temperature"], found["loss"]["positives"]) == (0.2, "random")
    guided = added(release, "original+guide:margin=0.05,strategy=relative")["loss"]["guide"]
    assert (guided["model"], guided["margin"], guided["strategy"]) == ("m", 0.05, "relative")
    own = Models(teacher(), GuideSettings(model="another"))
    assert added(release, "original+guide", own)["loss"]["guide"]["model"] == "another"
    assert {*ADDITIONS} == {
        *("distillation", "perc-pos", "guide", "debiased", "gce", "ccr", "label-weakening", "sieve"),
    }


def test_an_addition_takes_the_place_of_the_recipes_own(release: Release) -> None:
    recipe = load_recipe("static", loss={"robust": {"name": "gce", "q": 0.2}})
    [arm] = arms_of(ZoneArms(release, Path(release.name)), ["original+ccr"], recipe)
    assert arm.recipe.model_dump()["loss"]["robust"] == {"name": "ccr", "beta": 0.5}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("original+gse", r"no arm with \+gse. Did you mean 'gce'\? There are \+distillation, .*\+sieve, \+steps\."),
        ("original+", r"no arm with \+\. There are"),
        ("original+gce+sieve", r"original\+gce\+sieve: an arm has one addition"),
        ("original+gce:p=1", r"no parameter 'p'.* \+gce has q\."),
        ("original+label-weakening:tau=1", r"no parameter 'tau'.* \+label-weakening has alpha and beta\."),
        ("original+gce:name=ccr", "no parameter 'name'"),
        ("original+steps:n=3", r"no parameter 'n'. \+steps has none\."),
        ("original+gce:q", "NAME=VALUE,NAME=VALUE, each once, not 'q'"),
        ("original+gce:q=1,q=0.5", "each once"),
        ("original+gce:q=2", r"original\+gce:q=2: `q`: input should be less than or equal to 1"),
        ("original+gce:q=many", "`q`: input should be a valid number"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(release: Release, name: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        added(release, name)


def test_an_arm_that_is_written_in_two_ways_is_trained_once(release: Release) -> None:
    names = ["original", "original+gce", "original+gce:", "original+gce:q=0.7", "original+gce: q = .70", "original+ccr"]
    zones = ZoneArms(release, Path(release.name))
    assert [arm.name for arm in arms_of(zones, names, load_recipe("static"))] == [*names[:2], "original+ccr"]
    with_gce = load_recipe("static", loss={"robust": {"name": "gce"}})
    assert [arm.name for arm in arms_of(zones, names[:4], with_gce)] == names[:2], "each that is named by another name"


def test_a_config_that_is_not_there_is_refused(release: Release) -> None:
    with pytest.raises(BuildError, match="no config 'originals'"):
        added(release, "originals+gce")


def test_what_an_addition_needs_is_said(release: Release, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a teacher, a cross-encoder"):
        arms_of(ZoneArms(release, Path(release.name)), ["original+perc-pos"], load_recipe("static"))
    for models in (Models(), Models(teacher(kind="cross-encoder"))):
        with pytest.raises(ConfigError, match=r"original\+guide needs a guide, a bi-encoder: `guide=…`"):
            arms_of(ZoneArms(release, Path(release.name)), ["original+guide"], load_recipe("static"), models)
    for name in ("original+gce", "original+sieve"):
        with pytest.raises(
            ConfigError, match=r"original\+.*: reranker-small: .*Kinds that have it: bi-encoder, static"
        ):
            arms_of(ZoneArms(release, Path(release.name)), [name], load_recipe("reranker-small"))


def counted_texts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each step of each training, the texts that are encoded."""
    counts: list[int] = []
    forward = MultiPositiveLoss.forward

    def counting(self: Any, features: Any, labels: Any = None) -> Any:
        features = list(features)
        counts.append(features[0]["structure"]["rows"] + features[0]["structure"]["passages"])
        return forward(self, features, labels)

    monkeypatch.setattr(MultiPositiveLoss, "forward", counting)
    return counts


@pytest.mark.parametrize("length", [{"max_steps": 5}, {"max_steps": None, "epochs": 2}])
def test_the_texts_of_a_run_are_those_that_are_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: dict[str, Any]
) -> None:
    """No text of these rows is another's, and the last batch of an epoch is a small one."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)
    counts = counted_texts(monkeypatch)
    data = open_training_data(rows_file(tmp_path, 10))
    arm = Arm("a", "original", tiny_student(tmp_path, **length), lambda: data)
    train(arm.recipe, data, tmp_path / "out", device="cpu", progress=False, checkpoints=False)
    work = work_of(arm)
    assert work.texts == pytest.approx(sum(counts))
    assert (work.rows, work.of_row) == (10, 5)
    sieve = replace(arm, recipe=load_recipe(arm.recipe.model_dump(), sieve={}))
    assert work_of(sieve).texts == pytest.approx(2 * sum(counts) + 10 * (1 + 2 + 4) / 3)


def test_steps_are_matched_to_the_arm_that_encodes_most(tmp_path: Path) -> None:
    few, many = (tmp_path / name for name in ("few", "many"))
    few.mkdir()
    many.mkdir()
    recipe = tiny_student(tmp_path, max_steps=5)
    original = Arm("original", "original", recipe, lambda: open_training_data(rows_file(few, 10, positives=1)))
    relabel = Arm("relabel", "relabel", recipe, lambda: open_training_data(rows_file(many, 10, positives=4)))
    sieve = replace(original, name="original+sieve", recipe=load_recipe(recipe.model_dump(), sieve={}))
    matched = with_matched_steps(replace(original, name="original+steps"), [original, relabel])
    # 5 steps see 10 rows and 8 more; of relabel, 7 texts a row; of original, 4.
    assert work_of(relabel).texts == 18 * 7
    assert matched.recipe.max_steps == 10  # 31.5 rows are 3 epochs of 3 steps, and one of the 4 rows of the next
    assert (
        work_of(matched).texts
        >= 18 * 7
        > work_of(replace(matched, recipe=load_recipe(matched.recipe.model_dump(), max_steps=9))).texts
    )
    assert matched.note == "10 steps, to encode as many texts a run as relabel (126)"
    most = with_matched_steps(replace(original, name="original+steps"), [original, relabel, sieve])
    assert "as original+sieve (164)" in most.note  # 2 × 18 × 4, and a third of the 10 × 6 that are scored
    same = with_matched_steps(replace(relabel, name="relabel+steps"), [original, relabel])
    assert same.recipe == recipe
    assert same.note.startswith("no arm encodes more than its 126 texts")


def test_arms_are_compared_by_their_names(tmp_path: Path, release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they train on is above; here two of them do."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # which takes longer than these runs
    arms = ["zones+gce:q=0.5", "original+guide"]
    data = read_beir(beir_folder(tmp_path))
    shown: list[tuple[str, int, int]] = []
    said: list[str] = []
    how: dict[str, Any] = {"seeds": (0,), "device": "cpu", "keep_models": False, "before": said.append}
    student, guide = tiny_student(tmp_path, max_steps=2), tiny_bert(tmp_path / "guide")
    report = compare(
        release, [data], recipe=student, arms=arms, guide=guide, progress=lambda *run: shown.append(run), **how
    )
    steps = ["", " (step 0 of 2)", " (step 1 of 2)", " (step 2 of 2)"]
    names = ["original", "remove-hn", "relabel-filter+gce:q=0.5", "original+guide"]
    assert shown == [(f"{name}, seed 0{step}", place, 4) for place, name in enumerate(names) for step in steps]
    told = " ".join(said.pop().split())
    assert said == []
    [original] = arms_of(ZoneArms(release, tmp_path), ["original"], student)
    texts = f"up to {work_of(original).texts:.0f} texts a run."
    assert f"original+guide: the guide {guide} encodes each batch" in told
    assert texts in told
    assert told.count("encodes each batch") == 1
    assert set(report.means) == {"original", "remove-hn", "relabel-filter+gce:q=0.5", "original+guide"}
    assert report.chosen in ("original", "remove-hn")
    assert "notes" not in report.evidence()


@pytest.mark.soak
def test_every_arm_trains_and_is_measured(tmp_path: Path, release: Release) -> None:
    """On tiny models, one step each."""
    arms = [f"original+{name}" for name in (*ADDITIONS, "steps")]
    model = tiny_bert(tmp_path / "teacher")
    how: dict[str, Any] = {"seeds": (0,), "device": "cpu", "keep_models": False, "progress": False}
    data = read_beir(beir_folder(tmp_path))
    report = compare(
        release, [data], recipe=tiny_student(tmp_path), arms=arms, teacher=teacher(model), guide=model, **how
    )
    assert set(report.means) == {"original", "remove-hn", *arms}
    assert all(0 <= mean <= 1 for mean in report.means.values())


def test_what_is_matched_is_told(tmp_path: Path, release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_up_outcomes(monkeypatch)
    names = [f"original+{name}" for name in (*ADDITIONS, "steps")]
    data = read_beir(beir_folder(tmp_path))
    report = compare(
        release, [data], recipe=tiny_student(tmp_path), arms=names, teacher=teacher(), seeds=(0,), progress=False
    )
    assert made == ["original", "remove-hn", *names]
    [(name, told)] = report.evidence()["notes"].items()
    assert (name, told.partition(",")[0]) == ("original+steps", "4 steps")
    assert "as many texts a run as original+sieve" in told
    assert f"{name}: {told}\n" in report.to_text()


def test_a_teacher_scores_the_rows_once_for_all_runs_of_a_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gc.collect", lambda *_: 0)
    loaded: list[str] = []
    load = teaching.load_teacher

    def counted(settings: Any, **rest: Any) -> Any:
        loaded.append(settings.use)
        return load(settings, **rest)

    monkeypatch.setattr(teaching, "load_teacher", counted)
    rows = open_training_data(rows_file(tmp_path, 8))
    model = tiny_bert(tmp_path / "teacher")
    arm = Arm("a", "original", arm_with(tiny_student(tmp_path), "distillation", model), lambda: rows)
    how = Measuring(seeds=(0, 1), folder=tmp_path / "runs", device="cpu", keep_models=False)
    measured = measure([arm], [read_beir(beir_folder(tmp_path))], how)
    assert loaded == ["distillation"]
    assert [arms["a"].shape for arms in measured.values.values()] == [(2, 24)]
    [scores] = (tmp_path / "runs").glob("**/teacher-scores-*")
    assert scores.parent == tmp_path / "runs"
    given = teacher(model, "cross-encoder")
    keys = [teaching._key(given.for_use(use), "rows", 8) for use in ("distillation", "perc-pos")]
    assert keys[0] != keys[1]  # its teacher is asked for probabilities


def arm_with(recipe: Recipe, use: str, model: str) -> Recipe:
    settings = ADDITIONS[use].settings(Models(teacher(model)))
    return ADDITIONS[use].added(recipe, settings)


def test_runs_that_were_kept_before_there_were_such_arms_are_found_again(tmp_path: Path) -> None:
    """By the key that commit e38d7c9 gave to this run."""
    data = open_training_data(rows_file(tmp_path, 8))
    arm = Arm("original", "original", load_recipe("static"), lambda: data)
    assert Trial(arm, replace(data, fingerprint="rows"), 1).key() == "ceaae8ca18c3a6cc"
    assert "sieve" not in tiny_recipe(tmp_path).model_dump()
