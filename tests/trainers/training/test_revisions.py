"""A revision that a recipe names is what is loaded, and what was loaded is what is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline import model_loading
from hf_relabel.cards.training_report import DataUsed, ModelUsed, TrainingReport
from hf_relabel.trainers.data import baselines
from hf_relabel.trainers.data.teachers import load_teacher
from hf_relabel.trainers.models import build_model
from hf_relabel.trainers.recipes.recipe import DistillationTeacher, GuideSettings, load_recipe
from hf_relabel.trainers.students import static
from hf_relabel.trainers.training import kinds
from hf_relabel.trainers.training.facts import model_used
from hf_relabel.trainers.training.publishing import public_files
from tests.trainers.runs import tiny_recipe
from tests.trainers.tiny_models import tiny_bert

COMMIT = "a" * 40


def test_the_teacher_of_a_static_student_is_loaded_at_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, asked = tiny_bert(tmp_path / "base"), []

    def load_model(make: Any, name: str, *, revision: str | None = None, **options: Any) -> Any:
        asked.append((name, revision))
        return model_loading.load_model(make, base, device="cpu")

    monkeypatch.setattr(static, "load_model", load_model)
    build_model(load_recipe("static", model="org/teacher", revision="v1", dimensions=8), device="cpu")
    assert asked == [("org/teacher", "v1")]


def test_teacher_and_guide_are_loaded_at_their_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, asked = tiny_bert(tmp_path / "base"), []

    def load_model(make: Any, name: str, *, revision: str | None = None, **options: Any) -> Any:
        asked.append((name, revision))
        return model_loading.load_model(make, base, device="cpu")

    for module in (baselines, kinds):
        monkeypatch.setattr(module, "load_model", load_model)
    load_teacher(DistillationTeacher(use="distillation", model="org/teacher", revision="v1", kind="bi-encoder"))
    kinds.load_guide(GuideSettings(model="org/guide", revision="v2"))
    assert asked == [("org/teacher", "v1"), ("org/guide", "v2")]


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("static", ""),
        ("sparse", ""),
        ("bi-encoder", "teacher."),
        ("static", "teacher."),
        ("reranker", "teacher."),
        ("static", "loss.guide."),
    ],
)
def test_a_revision_of_a_folder_is_refused(kind: str, place: str, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "base")
    changes: dict[str, Any] = {"": {"revision": "v1"}, "teacher.": {}, "loss.guide.": {}}[place]
    if place == "teacher.":
        changes = {"teacher": {"use": "perc-pos", "model": folder, "revision": "v1"}}
    if place == "loss.guide.":
        changes = {"loss": {"guide": {"model": folder, "revision": "v1"}}}
    names = {"static": "static", "sparse": "sparse", "bi-encoder": "minilm", "reranker": "reranker-small"}
    recipe = load_recipe(names[kind], model=folder, **changes)
    with pytest.raises(ConfigError, match=f"`{place}revision: v1`: .* no model on the Hub"):
        build_model(recipe, device="cpu")


def test_what_was_loaded_is_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--base"
    for path in ("refs/v1", f"snapshots/{COMMIT}/config.json"):
        (repository / path).parent.mkdir(parents=True)
        (repository / path).write_text(COMMIT)
    assert model_used("org/base", "v1").revision == COMMIT
    assert model_used("org/other", "v1").revision == "v1"
    assert model_used(tiny_recipe(tmp_path).model, None).revision is None


def test_what_is_published_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    base, teacher, guide = (f"{tmp_path}/{name}" for name in ("base", "teacher", "guide"))
    loss = {"guide": {"model": guide}}
    recipe = load_recipe("minilm", model=base, teacher={"use": "perc-pos", "model": teacher}, loss=loss)
    used = {name: ModelUsed(name=f"{tmp_path}/{name}") for name in ("base", "teacher", "guide")}
    data = DataUsed(location=f"{tmp_path}/rows.jsonl", config="original")
    run = {"kind": "bi-encoder", "recipe": recipe.model_dump(mode="json"), "seed": 0, "steps": 1, "seconds": 1.0}
    report = TrainingReport.model_validate({**run, **used, "data": data})
    files = public_files(report)
    assert set(files) == {"training.json", "recipe.yaml"}
    for content in files.values():
        assert str(tmp_path).encode() not in content
        assert all(name in content for name in (b"base", b"teacher", b"guide"))
