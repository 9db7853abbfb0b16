"""Recipes: read, changed, written, and refused when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.recipes.recipe import load_recipe, shipped_recipes

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
    ("change", "message"),
    [
        ({"learning_rat": 1e-5}, "`learning_rat`: there is no such setting. Did you mean 'learning_rate'"),
        ({"learning_rate": -1}, "`learning_rate`"),
        ({"loss": {"temperature": 0}}, "`loss.temperature`"),
        ({"kind": "static", "lora": {}}, "no layers"),
        ({"optimizer": "sparse-adam"}, "sparse"),
        ({"dimensions": 64}, "dimensions"),
        ({"kind": "reranker"}, "gradient caching"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe("e5-base", **change)


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
