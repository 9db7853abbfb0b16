"""What is trained beside a base of 16 bits has 32: else the steps of a usual learning rate are lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.models import build_model, merge_adapters
from hf_relabel.trainers.models.adapters import check_precision, load_checkpoint
from hf_relabel.trainers.recipes.recipe import load_recipe
from hf_relabel.trainers.training.kinds import make_trainer
from tests.trainers.training_rows import plain_rows

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
    """How far 20 steps at 5e-6 move the matrices A, in the mean."""
    torch.manual_seed(0)
    first = {name: weights.detach().clone() for name, weights in trained(model) if "lora_A" in name}
    optimizer = torch.optim.AdamW([weights for _, weights in trained(model)], lr=5e-6, weight_decay=0)
    features = model.preprocess(TEXTS)
    aim = torch.randn(len(TEXTS), model.get_embedding_dimension())
    model.train()
    for _ in range(20):
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
    assert distance > 3e-5
    assert moved(coarse) > 0.8 * distance


@pytest.mark.parametrize(
    ("name", "heads", "changes"),
    [("qwen2", 1, {"form": "joined"}), ("xlm_roberta", 4, {"lora": {**LORA, "target_modules": ["query"]}})],
)
def test_what_is_trained_has_32_bits_and_is_saved(
    name: str, heads: int, changes: dict[str, Any], real: Real, tmp_path: Path
) -> None:
    model = built(real(name), "reranker", **changes)
    found = dict(trained(model))
    assert {weights.dtype for weights in found.values()} == {torch.float32}
    assert len([each for each in found if "lora" not in each]) == heads
    check_precision(model)
    randomise(model)
    scores = outputs(model)
    model.save_pretrained(str(tmp_path / "saved"))
    again = CrossEncoder(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(outputs(again), scores, atol=0.02, rtol=0.02)  # loaded, adapters are as the base is
    fresh = built(real(name), "reranker", **changes)
    assert not np.allclose(outputs(fresh), scores, atol=0.02, rtol=0.02)
    load_checkpoint(fresh, tmp_path / "saved")
    np.testing.assert_array_equal(outputs(fresh), scores)
    kept = model.transformers_model.dtype
    merged = merge_adapters(model)
    assert {weights.dtype for weights in merged.transformers_model.parameters()} == {kept}
    np.testing.assert_allclose(outputs(merged), scores, atol=0.02, rtol=0.02)
    merged.save_pretrained(str(tmp_path / "merged"))
    assert not list((tmp_path / "merged").rglob("adapter*"))
    np.testing.assert_allclose(
        outputs(CrossEncoder(str(tmp_path / "merged"), device="cpu")), outputs(merged), atol=1e-5
    )


def outputs(model: Any) -> Any:
    if hasattr(model, "predict"):
        return np.asarray(model.predict([(TEXTS[0], text) for text in TEXTS], activation_fn=torch.nn.Identity()))
    return np.asarray(model.encode(TEXTS))


def test_a_weight_of_16_bits_that_is_to_be_trained_is_refused(real: Real) -> None:
    model = SentenceTransformer(real("qwen2"), device="cpu")
    with pytest.raises(ConfigError, match=r"such as 0\.model.* are bfloat16.*float32"):
        check_precision(model)


def test_a_run_refuses_such_a_weight_and_goes_on_from_a_checkpoint_exactly(real: Real, tmp_path: Path) -> None:
    recipe = load_recipe("qwen2.5-7b-lora", model=real("qwen2"), loss={"mini_batch": None})
    arguments = {"output_dir": str(tmp_path / "run"), "use_cpu": True, "seed": 0, "report_to": []}
    rows = Dataset.from_list(plain_rows(4))
    with pytest.raises(ConfigError, match="are bfloat16"):
        make_trainer(recipe, build_model(recipe, device="cpu").to(torch.bfloat16), rows, arguments, None, ())
    model = build_model(recipe, device="cpu")
    trainer = make_trainer(recipe, model, rows, arguments, None, ())
    randomise(model)
    before = outputs(model)
    model.save_pretrained(str(tmp_path / "checkpoint"))
    randomise(model)
    assert not np.array_equal(outputs(model), before)
    trainer._load_from_checkpoint(str(tmp_path / "checkpoint"))
    np.testing.assert_array_equal(outputs(model), before)
