"""What `train --dry-run` says, held against the run itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools import commands
from hf_relabel.trainers.data.training_data import open_training_data
from hf_relabel.trainers.models import build_model
from hf_relabel.trainers.recipes.authors import authors_batch
from hf_relabel.trainers.recipes.recipe import load_recipe
from hf_relabel.trainers.training.memory import Memory, ModelSize, flops_of_token, memory_of, size_of
from hf_relabel.trainers.training.plan import plan_training
from hf_relabel.trainers.training.run import train
from tests.trainers.runs import rows_file, tiny_recipe

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*", "ignore::UserWarning:torch.*")


@pytest.mark.parametrize("kind", ["bi-encoder", "lora", "sparse", "reranker"])
def test_parameters_are_those_of_the_model_though_no_weights_are_loaded(tmp_path: Path, kind: str) -> None:
    recipe = tiny_recipe(tmp_path, kind)
    model = build_model(recipe, device="cpu")
    size = size_of(recipe)
    assert size.parameters == sum(each.numel() for each in model.parameters())
    assert size.trainable == sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert (size.layers, size.width) == (2, 32)


def test_a_plan_has_the_rows_and_steps_of_the_run(tmp_path: Path) -> None:
    path = rows_file(tmp_path, 21)
    bare = {**json.loads(path.read_text().splitlines()[0]), "query_id": "x", "negative_passages": []}
    path.write_text(f"{path.read_text()}\n{json.dumps(bare)}")
    data = open_training_data(path)
    loss = {"negatives": 2, "in_batch": False}
    recipe = tiny_recipe(tmp_path, max_steps=None, epochs=1.5, warmup=0.25, loss=loss)
    plan = plan_training(recipe, data, on="cpu")
    report = train(recipe, data, tmp_path / "model", device="cpu", progress=False, checkpoints=False)
    assert (plan.rows, plan.skipped, plan.steps) == (report.data.rows, report.data.skipped, report.steps) == (21, 1, 5)
    assert (plan.batch, plan.steps_per_epoch, plan.warmup_steps) == (report.batch, 3, 1)
    assert plan.size.parameters == report.parameters
    assert plan.texts == 5  # a query, two positives and two negatives
    assert plan_training(recipe, data, devices=4, on="h100").batch == 32


def test_memory_and_operations_follow_the_settings(tmp_path: Path) -> None:
    size = ModelSize(parameters=1000, trainable=1000, embedding=200, layers=10, width=8)
    plain = tiny_recipe(tmp_path)
    assert memory_of(plain, size, tokens=0) == Memory(4000, 4000, 8000, 0)
    assert flops_of_token(plain, size) == 6 * 800
    half = plain.model_copy(update={"precision": "bf16"})
    assert memory_of(half, size, tokens=5).weights == 6000
    assert memory_of(half, size, tokens=5).activations == 5 * 10 * 8 * 34
    recomputed = half.model_copy(update={"gradient_checkpointing": True})
    assert memory_of(recomputed, size, tokens=5).activations == 5 * 8 * (34 + 2 * 10)
    assert flops_of_token(recomputed, size) == 8 * 800
    lora = ModelSize(parameters=1100, trainable=100, embedding=200, layers=10, width=8, bytes=2)
    assert memory_of(plain, lora, tokens=0).total == 2 * 1000 + (4 + 4 + 8) * 100
    assert memory_of(plain, size, tokens=0, devices=2).gradients == 8000


def test_the_estimate_is_near_what_a_run_holds(tmp_path: Path) -> None:
    """Of the parts that can be counted on a CPU: weights, gradients and the optimizer's states."""
    from transformers import TrainerCallback

    held: dict[str, int] = {}

    class Count(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **given: Any) -> None:
            states = given["optimizer"].state.values()
            held["optimizer"] = sum(each.nbytes for values in states for each in values.values())

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            held["weights"] = sum(each.nbytes for each in model.parameters())
            held["gradients"] = sum(each.grad.nbytes for each in model.parameters() if each.grad is not None)

    data, recipe = open_training_data(rows_file(tmp_path, 8)), tiny_recipe(tmp_path, max_steps=1)
    train(recipe, data, tmp_path / "model", device="cpu", progress=False, checkpoints=False, callbacks=[Count()])
    memory = plan_training(recipe, data, on="cpu").memory
    assert held["weights"] == memory.weights
    assert 0.9 * memory.gradients <= held["gradients"] <= memory.gradients  # the pooler of BERT has none
    assert 0.9 * memory.optimizer <= held["optimizer"] <= 1.01 * memory.optimizer


def test_the_command_prints_a_plan_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(tiny_recipe(tmp_path).to_yaml())
    call = ["train", str(rows_file(tmp_path, 21)), "--recipe", str(recipe), "--dry-run", "--on", "l4"]
    assert commands.run([*call, "--devices", "2"]) == 0
    text = capsys.readouterr().out
    assert "21 (0 left out)" in text
    assert "16 on 2 devices" in text
    assert "hours on 2 × l4" in text
    assert "estimates" in text
    assert commands.run([*call, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["steps"], plan["on"], plan["memory"]["total"] > plan["memory"]["weights"]) == (8, "l4", True)
    with pytest.raises(ConfigError, match="no figures of 'tpu'"):
        plan_training(load_recipe(str(recipe)), open_training_data(tmp_path / "rows.jsonl"), on="tpu")


def test_the_batch_of_the_authors_stands_in_their_recipe() -> None:
    theirs = authors_batch(load_recipe("e5-base", batch_size=8))
    assert theirs is not None
    assert (theirs.devices, theirs.rows) == (4, 2048)
    assert authors_batch(load_recipe("minilm")) is None
