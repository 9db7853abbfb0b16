"""What is trained beside a base of 16 bits has 32: else the steps of a usual learning rate are lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.models import build_model, merge_adapters
from hf_relabel.trainers.models.adapters import check_precision, load_checkpoint
from hf_relabel.trainers.recipes.recipe import load_recipe

Real = Callable[[str], str]
TEXTS = ["where is my card?", "a parcel", "the passage answers", "no"]
LORA = {"rank": 2, "alpha": 4, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}


def built(folder: str, kind: str = "bi-encoder", **changes: Any) -> Any:
    fixed: dict[str, Any] = {"name": "lora", "kind": kind, "model": folder, "learning_rate": 5e-6, "lora": LORA}
    if kind == "bi-encoder":
        fixed |= {"pooling": "lasttoken", "append_eos": True}
    return build_model(load_recipe({**fixed, **changes}), device="cpu")


def trained(model: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, weights) for name, weights in model.named_parameters() if weights.requires_grad)


def randomise(model: Any) -> None:
    """As if it had been trained."""
    torch.manual_seed(1)
    for _, weights in trained(model):
        weights.data = weights.data + torch.randn_like(weights) * 0.1


def moved(model: Any) -> float:
    """How far 50 steps at 5e-6 move the matrices A, in the mean."""
    torch.manual_seed(0)
    first = {name: weights.detach().clone() for name, weights in trained(model) if "lora_A" in name}
    optimizer = torch.optim.AdamW([weights for _, weights in trained(model)], lr=5e-6, weight_decay=0)
    features = model.preprocess(TEXTS)
    aim = torch.randn(len(TEXTS), model.get_embedding_dimension())
    model.train()
    for _ in range(50):
        optimizer.zero_grad()
        (model(dict(features))["sentence_embedding"].float() * aim).sum().backward()
        optimizer.step()
    ways = [
        (weights.detach().float() - first[name].float()).abs().mean()
        for name, weights in trained(model)
        if name in first
    ]
    return float(torch.stack(ways).mean())


def test_adapters_move_as_far_on_a_base_of_16_bits_as_on_one_of_32(real: Real) -> None:
    coarse = built(real("qwen2"))
    assert coarse.transformers_model.dtype == torch.bfloat16
    fine = built(real("qwen2")).float()
    distance = moved(fine)
    assert distance > 5e-5
    assert moved(coarse) > 0.8 * distance


@pytest.mark.parametrize(
    ("name", "kind", "changes", "heads"),
    [
        ("qwen2", "bi-encoder", {}, 0),
        ("qwen2", "reranker", {"form": "joined"}, 1),
        ("qwen3", "reranker", {"form": "qwen3"}, 0),
        ("xlm_roberta", "reranker", {"lora": {**LORA, "target_modules": ["query"]}}, 4),
    ],
)
def test_what_is_trained_has_32_bits_and_is_saved(
    name: str, kind: str, changes: dict[str, Any], heads: int, real: Real, tmp_path: Path
) -> None:
    model = built(real(name), kind, **changes)
    found = dict(trained(model))
    assert {weights.dtype for weights in found.values()} == {torch.float32}
    assert len([each for each in found if "lora" not in each]) == heads
    check_precision(model)
    randomise(model)
    scores = outputs(model)
    model.save_pretrained(str(tmp_path / "saved"))
    again = (SentenceTransformer if kind == "bi-encoder" else CrossEncoder)(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(outputs(again), scores, atol=0.02, rtol=0.02)  # loaded, adapters are as the base is
    fresh = built(real(name), kind, **changes)
    assert not np.allclose(outputs(fresh), scores, atol=0.02, rtol=0.02)
    load_checkpoint(fresh, tmp_path / "saved")
    np.testing.assert_array_equal(outputs(fresh), scores)
    kept = model.transformers_model.dtype
    merged = merge_adapters(model)
    assert {weights.dtype for weights in merged.transformers_model.parameters()} == {kept}
    np.testing.assert_allclose(outputs(merged), scores, atol=0.02, rtol=0.02)
    merged.save_pretrained(str(tmp_path / "merged"))
    assert not list((tmp_path / "merged").rglob("adapter*"))
    np.testing.assert_allclose(outputs(type(again)(str(tmp_path / "merged"), device="cpu")), outputs(merged), atol=1e-5)


def outputs(model: Any) -> Any:
    if hasattr(model, "predict"):
        return np.asarray(model.predict([(TEXTS[0], text) for text in TEXTS], activation_fn=torch.nn.Identity()))
    return np.asarray(model.encode(TEXTS))


def test_a_weight_of_16_bits_that_is_to_be_trained_is_refused(real: Real) -> None:
    model = SentenceTransformer(real("qwen2"), device="cpu")
    with pytest.raises(ConfigError, match=r"such as 0\.model.* are bfloat16.*float32"):
        check_precision(model)
