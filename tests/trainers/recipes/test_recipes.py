"""Recipes: read, changed, written, and refused when they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from hf_relabel.trainers.recipes.sources import sourced_values

AUTHORS: dict[str, dict[str, Any]] = {
    "e5-base": {
        "model": "intfloat/e5-base-unsupervised",
        "pooling": "mean",
        "normalize": True,
        "append_eos": False,
        "query_prompt": "query: ",
        "passage_prompt": "passage: ",
        "loss": {"positives": "random", "temperature": 0.01, "negatives": 7, "in_batch": True, "gather": True},
        "max_length": 350,
        "max_length_inference": 512,
        "gradient_checkpointing": True,
        "batch_size": 128,
        "gradient_accumulation": 4,
        "learning_rate": 2e-5,
        "warmup": 0.1,
        "epochs": 5,
        "precision": "bf16",
        "lora": None,
    },
    "qwen2.5-7b-lora": {
        "model": "Qwen/Qwen2.5-7B",
        "pooling": "lasttoken",
        "append_eos": True,
        "lora": {"rank": 16, "alpha": 64, "dropout": 0.1},
        "loss": {"positives": "random", "temperature": 0.01, "negatives": 7, "in_batch": True, "gather": True},
        "max_length": 350,
        "gradient_checkpointing": True,
        "batch_size": 64,
        "gradient_accumulation": 4,
        "learning_rate": 5e-6,
        "epochs": 1,
    },
    "reranker-qwen2.5-3b": {
        "model": "Qwen/Qwen2.5-3B",
        "form": "joined",
        "query_prompt": "query: ",
        "passage_prompt": "document: ",
        "lora": {"rank": 8, "alpha": 64, "dropout": 0.1},
        "loss": {"objective": "softmax", "temperature": 1.0, "negatives": 7},
        "max_length": 512,
        "learning_rate": 5e-6,
    },
    "e5-base-distillation": {
        "loss": {"positives": "random", "temperature": 0.02, "negatives": 15, "in_batch": False},
        "teacher": {"use": "distillation", "temperature": 0.1},
    },
    "qwen3-embedding-0.6b": {
        "pooling": "lasttoken",
        "query_prompt": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
        "passage_prompt": "",
    },
    "embeddinggemma-300m": {
        "query_prompt": "task: search result | query: ",
        "passage_prompt": "title: none | text: ",
    },
}
"""What their scripts, Tevatron's defaults and the models' cards say, see the page of the recipes."""


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_survives_being_written_and_read(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / "mine.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert recipe.name == name


def test_the_recipes_that_ship() -> None:
    others = {"late-interaction", "sparse", "static", "minilm", "reranker-small"}
    others |= {"modernbert", "modernbert-reranker", "multilingual-e5-base", "qwen3-reranker-0.6b"}
    assert {*shipped_recipes()} == {*AUTHORS, *others}


@pytest.mark.parametrize("name", AUTHORS)
def test_the_authors_recipes_have_the_authors_values(name: str) -> None:
    values = load_recipe(name).model_dump()
    for field, value in AUTHORS[name].items():
        found = {inner: values[field][inner] for inner in value} if isinstance(value, dict) else values[field]
        assert found == value, field


SOURCES = {"authors", "Tevatron", "paper", "card", "example", "guide", "ms-swift", "arXiv 2602.12727", "ours"}


@pytest.mark.parametrize("name", shipped_recipes())
def test_each_value_of_a_shipped_recipe_says_where_it_comes_from(name: str) -> None:
    """The page of the recipes is made of these; that it is up to date is tested with those of the commands."""
    read = {value.name: value for value in sourced_values(shipped_recipes()[name])}
    assert {value.name: value.source for value in read.values() if value.source not in SOURCES} == {}
    assert "ours" not in {read[field].source for field in ("model", "learning_rate")} or name not in AUTHORS
    written = yaml.safe_load(shipped_recipes()[name].read_text(encoding="utf-8"))
    flat = {name for name, value in written.items() if not isinstance(value, dict)} - {"kind"}
    flat |= {f"{name}.{inner}" for name, value in written.items() if isinstance(value, dict) for inner in value}
    assert {*read} == flat
    for field, value in read.items():
        assert yaml.safe_load(value.value) == _at(written, field)


def _at(values: Any, field: str) -> Any:
    for name in field.split("."):
        values = values[name]
    return values


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
        ("e5-base", {"loss": 5}, "`loss` has settings of its own: temperature, negatives"),
        ("e5-base", {"seed": 2**32}, "`seed`: input should be less than"),
        ("e5-base", {"kind": "bi-encode"}, "e5-base: there is no `kind: bi-encode`. Did you mean 'bi-encoder'?"),
        ("e5-base", {"kind": None}, "`kind` is missing"),
        ("e5-base", {"kind": ["static"]}, "there is no `kind: .'static'.`. Did you mean 'static'"),
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
    with pytest.raises(ConfigError, match=r"`loss\.in_batch: false`, `loss\.gather: false`"):
        load_recipe("e5-base", teacher=teacher.model_dump(), loss={"mini_batch": 8})
    recipe = with_teacher(load_recipe("e5-base", loss={"mini_batch": 8}), teacher)
    assert isinstance(recipe, BiEncoderRecipe)
    assert (recipe.teacher, recipe.loss.in_batch, recipe.loss.mini_batch) == (teacher, False, 8)
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
    with pytest.raises(ConfigError, match="e5-base, e5-base-distillation"):
        load_recipe("e5-large")


def test_yaml_holds_the_defaults_too() -> None:
    assert yaml.safe_load(load_recipe("static").to_yaml())["seed"] == 0
