"""Each recipe gives the model it names; adapters are kept, or merged on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.models import build_model, merge_adapters, set_inference_length
from hf_relabel.trainers.recipes.recipe import load_recipe
from tests.trainers.tiny_models import tiny_bert, tiny_qwen

TEXTS = ["where is my card?", "a parcel from far away, late"]

RECIPES: dict[str, Callable[[Path], str]] = {
    "e5-base": tiny_bert,
    "minilm": tiny_bert,
    "static": tiny_bert,
    "sparse": lambda folder: tiny_bert(folder, masked=True),
    "late-interaction": tiny_bert,
    "reranker-small": tiny_bert,
    "qwen2.5-7b-lora": tiny_qwen,
}


def built(name: str, folder: Path, **changes: Any) -> Any:
    if name == "static":
        changes["dimensions"] = 16
    return build_model(load_recipe(name, model=RECIPES[name](folder), **changes), device="cpu")


def scores(model: Any) -> np.ndarray:
    """What the model makes of two texts, as one flat array."""
    if hasattr(model, "predict"):
        return np.asarray(model.predict([(TEXTS[0], text) for text in TEXTS]), dtype=np.float64)
    vectors = model.encode_document(TEXTS)
    if hasattr(vectors, "to_dense"):
        vectors = vectors.to_dense().cpu().numpy()
    return np.concatenate([np.asarray(vector, dtype=np.float64).ravel() for vector in vectors])


@pytest.mark.parametrize(
    "name", [name for name in RECIPES if "lora" not in name]
)  # run whole in training/test_real_shaped.py
def test_every_recipe_gives_a_model_that_saves_and_loads(name: str, tmp_path: Path) -> None:
    model = built(name, tmp_path / "base")
    before = scores(model)
    assert before.size
    assert np.isfinite(before).all()
    model.save_pretrained(str(tmp_path / "saved"))
    again = type(model)(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(scores(again), before, atol=1e-6)


def test_prompts_and_lengths_are_the_recipes(tmp_path: Path) -> None:
    recipe = load_recipe("e5-base", model=tiny_bert(tmp_path / "base"), max_length=20, max_length_inference=40)
    model = build_model(recipe, device="cpu")
    assert model.prompts == {"query": "query: ", "document": "passage: "}
    assert model.max_seq_length == 20
    np.testing.assert_allclose(model.encode_query(TEXTS[0]), model.encode(f"query: {TEXTS[0]}"), atol=1e-6)
    set_inference_length(model, recipe)
    assert model.max_seq_length == 40


@pytest.mark.parametrize("name", ["e5-base", "sparse", "late-interaction", "reranker-small"])
def test_weights_that_are_trained_have_32_bits_whatever_the_file_holds(name: str, tmp_path: Path) -> None:
    import json

    from safetensors.torch import load_file, save_file

    file = Path(RECIPES[name](tmp_path / "base")) / "model.safetensors"
    save_file({key: value.half() for key, value in load_file(file).items()}, file, metadata={"format": "pt"})
    config = file.with_name("config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "dtype": "float16"}))
    model = build_model(load_recipe(name, model=str(file.parent)), device="cpu")
    assert {str(weights.dtype) for weights in model.parameters()} == {"torch.float32"}


def test_the_pooling_is_the_recipes(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "base")
    mean, first = (
        build_model(load_recipe("minilm", model=folder, pooling=mode), device="cpu") for mode in ("mean", "cls")
    )
    assert not np.allclose(scores(mean), scores(first))


def test_adapters_are_what_is_trained_and_can_be_merged(tmp_path: Path) -> None:
    import torch

    model = built("qwen2.5-7b-lora", tmp_path / "base")
    plain = built("qwen2.5-7b-lora", tmp_path / "base2", lora=None)
    trained = [name for name, weights in model.named_parameters() if weights.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)
    np.testing.assert_allclose(scores(model), scores(plain), atol=1e-6)  # adapters start at nothing
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.1)
    adapted = scores(model)
    assert not np.allclose(adapted, scores(plain), atol=1e-3)
    merged = merge_adapters(model)
    np.testing.assert_allclose(scores(merged), adapted, atol=1e-5)
    merged.save_pretrained(str(tmp_path / "merged"))
    assert not list((tmp_path / "merged").rglob("adapter_config.json"))
    np.testing.assert_allclose(scores(type(merged)(str(tmp_path / "merged"), device="cpu")), adapted, atol=1e-5)


def test_a_model_without_adapters_has_nothing_to_merge(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no adapters"):
        merge_adapters(built("minilm", tmp_path / "base"))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty"):
        build_model(load_recipe("minilm", model=str(tmp_path / "empty")), device="cpu")


def test_adapters_that_fit_no_layer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Adapters cannot be added"):
        built("minilm", tmp_path / "base", lora={"target_modules": ["no_such_layer"]})


@pytest.mark.parametrize("name", ["minilm", "reranker-small", "sparse"])
@pytest.mark.parametrize("field", ["max_length", "max_length_inference"])
def test_texts_longer_than_the_model_has_positions_for_are_refused(tmp_path: Path, name: str, field: str) -> None:
    with pytest.raises(ConfigError, match=f"reads 512 tokens of a text at most, and `{field}` is 513"):
        built(name, tmp_path, **{field: 513})
    built(name, tmp_path, **{field: 512})


def test_a_sparse_model_is_made_of_a_masked_language_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Name a masked language model"):
        build_model(load_recipe("sparse", model=tiny_bert(tmp_path)), device="cpu")
