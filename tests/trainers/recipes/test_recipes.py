"""Recipes: read, changed, written, and refused when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.recipes.recipe import (
    BiEncoderRecipe,
    DistillationTeacher,
    Recipe,
    RerankerRecipe,
    StaticRecipe,
    load_recipe,
    shipped_recipes,
    with_teacher,
)
from hf_relabel.trainers.recipes.recipe_kinds import KINDS

PAPER = {
    "e5-base": {"learning_rate": 2e-5, "max_length": 350, "max_length_inference": 512, "precision": "bf16"},
    "qwen2.5-7b-lora": {"learning_rate": 5e-6, "epochs": 1, "pooling": "lasttoken"},
    "reranker-qwen2.5-3b": {"kind": "reranker", "model": "Qwen/Qwen2.5-3B"},
}


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_survives_being_written_and_read(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / "mine.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert recipe.name == name


def test_all_eight_recipes_ship_with_the_package() -> None:
    assert {*shipped_recipes()} >= {
        *PAPER,
        "late-interaction",
        "sparse",
        "static",
        "minilm",
        "reranker-small",
    }


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_recipes_have_the_papers_numbers(name: str) -> None:
    values = load_recipe(name).model_dump()
    assert {field: values[field] for field in PAPER[name]} == PAPER[name]


def test_fields_can_be_changed_without_losing_their_neighbours() -> None:
    before = load_recipe("e5-base")
    after = load_recipe("e5-base", seed=3, loss={"negatives": 1})
    assert (after.seed, after.loss.negatives) == (3, 1)
    assert after.loss.temperature == before.loss.temperature == 0.01


@pytest.mark.parametrize(
    ("recipe", "change", "message"),
    [
        ("e5-base", {"learning_rat": 1e-5}, "`learning_rat`: there is no such setting. Did you mean 'learning_rate'"),
        ("e5-base", {"learning_rate": -1}, "`learning_rate`"),
        ("e5-base", {"loss": {"temperature": 0}}, "`loss.temperature`"),
        ("e5-base", {"kind": "bi-encode"}, "e5-base: there is no `kind: bi-encode`. Did you mean 'bi-encoder'?"),
        ("e5-base", {"kind": None}, "`kind` is missing"),
        ("e5-base", {"teacher": {"use": "distil", "model": "x"}}, "`teacher.use`: there is no 'distil'. Did you mean"),
        ("e5-base", {"teacher": {"model": "x"}}, "`teacher.use` is missing"),
        ("e5-base", {"loss": {"guide": {"modl": "x"}}}, "`loss.guide.modl`: there is no such setting. Did you mean"),
        ("e5-base", {"loss": {"gather": True, "in_batch": False, "mini_batch": None}}, "needs `in_batch`"),
        ("minilm", {"loss": {"in_batch": False, "negatives": 0}}, "`negatives` must be 1 or more"),
        ("minilm", {"loss": {"guide": {"model": "x", "strategy": "relative", "margin": 1.5}}}, "a share"),
    ],
)
def test_a_wrong_field_is_named(recipe: str, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe, **change)


@pytest.mark.parametrize(
    ("recipe", "change", "message"),
    [
        ("static", {"lora": {}}, "`lora`: .* bi-encoder, sparse, late-interaction, reranker"),
        ("static", {"max_length": 9}, "`max_length`: .* bi-encoder"),
        (
            "static",
            {"loss": {"mini_batch": 4}},
            "`loss.mini_batch`: .* Kinds that have it: bi-encoder, late-interaction",
        ),
        ("minilm", {"optimizer": "sparse-adam"}, "`optimizer`: `kind: bi-encoder` has no such .* have it: static"),
        ("minilm", {"dimensions": 64}, "`dimensions`: .* have it: static"),
        ("minilm", {"instruction": "x"}, "`instruction`: .* have it: reranker"),
        ("sparse", {"loss": {"in_batch": False}}, "`loss.in_batch`: .* have it: bi-encoder, static"),
        ("sparse", {"loss": {"positives": "joint"}}, "`loss.positives`: input should be 'random', not 'joint'"),
        ("late-interaction", {"pooling": "cls"}, "`pooling`: .* have it: bi-encoder"),
        ("late-interaction", {"teacher": {"use": "distillation", "model": "x"}}, "`teacher.use`: input should be"),
        ("reranker-small", {"loss": {"positives": "joint"}}, "`loss.positives`: `kind: reranker` has no such setting"),
        ("reranker-small", {"normalize": False}, "`normalize`: .* have it: bi-encoder"),
        ("reranker-small", {"query_prompt": "query: "}, "are for `form: joined`, not `form: pair`"),
        ("reranker-small", {"instruction": "x"}, "is for `form: qwen3`"),
        ("reranker-small", {"loss": {"temperature": 0.5}}, "is for `objective: softmax`"),
        ("reranker-small", {"loss": {"negatives": 0}}, "`loss.negatives`"),
    ],
)
def test_a_field_that_the_kind_does_not_use_is_refused(recipe: str, change: dict[str, object], message: str) -> None:
    assert load_recipe(recipe)
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe, **change)


def test_distillation_says_what_it_needs_and_is_given_it() -> None:
    teacher = DistillationTeacher(use="distillation", model="x", temperature=0.1)
    with pytest.raises(ConfigError, match=r"`loss\.in_batch: false`, `loss\.mini_batch: null`"):
        load_recipe("e5-base", teacher=teacher.model_dump(), loss={"mini_batch": 8})
    recipe = with_teacher(load_recipe("e5-base", loss={"mini_batch": 8}), teacher)
    assert isinstance(recipe, BiEncoderRecipe)
    assert (recipe.teacher, recipe.loss.in_batch, recipe.loss.mini_batch) == (teacher, False, None)
    assert recipe.loss.negatives == load_recipe("e5-base").loss.negatives
    with pytest.raises(ConfigError, match=r"`teacher\.use`: input should be 'perc-pos'"):
        with_teacher(load_recipe("reranker-small"), teacher)


def test_a_recipe_is_made_of_its_kind() -> None:
    made = {name: type(load_recipe(name)) for name in shipped_recipes()}
    assert (made["static"], made["reranker-small"]) == (StaticRecipe, RerankerRecipe)
    assert all(issubclass(each, Recipe) for each in made.values())
    with pytest.raises(ValidationError, match="made by `load_recipe`"):
        Recipe(name="x", kind="static", model="x", learning_rate=1.0)


EARLIER = """
name: x
kind: {kind}
model: m
revision: null
loss: {{positives: logsumexp, temperature: 0.05, negatives: 3, in_batch: true, mini_batch: null}}
teacher: {teacher}
lora: null
dimensions: null
pooling: mean
normalize: true
query_prompt: ''
passage_prompt: ''
max_length: 256
max_length_inference: null
batch_size: 16
gradient_accumulation: 1
learning_rate: 2.0e-05
optimizer: adamw
weight_decay: 0.0
scheduler: linear
warmup: 0.1
epochs: 1.0
max_steps: null
precision: fp32
seed: 0
"""
"""recipe.yaml of a run of 0.1, before kinds had fields of their own."""


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_earlier_release_wrote_still_opens(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(EARLIER.format(kind=kind, teacher="null"), encoding="utf-8")
    recipe = load_recipe(path)
    assert (recipe.kind, recipe.batch_size, recipe.loss.negatives) == (kind, 16, 3)
    assert load_recipe(recipe.model_dump()) == recipe
    assert not isinstance(recipe, RerankerRecipe) or (recipe.form, recipe.loss.objective) == ("pair", "lambda")
    # One field less, and it is a file of today, which is taken at its word.
    other = {name: value for name, value in yaml.safe_load(path.read_text()).items() if name != "seed"}
    with pytest.raises(ConfigError, match="has no such setting"):
        load_recipe(other)


def test_distillation_of_an_earlier_release_says_what_it_did(tmp_path: Path) -> None:
    teacher = "{use: distillation, model: t, revision: null, kind: cross-encoder, share: 0.95}"
    recipe = load_recipe(yaml.safe_load(EARLIER.format(kind="bi-encoder", teacher=teacher)))
    assert isinstance(recipe, BiEncoderRecipe)
    assert isinstance(recipe.teacher, DistillationTeacher)
    assert (recipe.loss.in_batch, recipe.loss.positives, recipe.teacher.temperature) == (False, "random", 0.05)


@pytest.mark.parametrize("text", ["- a list\n", "kind: [\n", "\xff"])
def test_a_file_that_is_no_recipe_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_recipe(path)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="e5-base, late-interaction"):
        load_recipe("e5-large")


def test_yaml_holds_the_defaults_too() -> None:
    assert yaml.safe_load(load_recipe("static").to_yaml())["seed"] == 0
