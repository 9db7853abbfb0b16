"""Training on two devices, here two processes on a CPU: what one device does with the rows of both, and what of it one
process does for all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from transformers import TrainerCallback, TrainingArguments

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools import commands
from hf_relabel.trainers.data.device_batches import DeviceBatches
from hf_relabel.trainers.data.row_tables import kept_table, table_of
from hf_relabel.trainers.data.training_data import open_training_data
from hf_relabel.trainers.devices import one_process_only
from hf_relabel.trainers.recipes.recipe import Recipe, load_recipe
from hf_relabel.trainers.training.run import train
from tests import forked
from tests.trainers.runs import rows_file, tiny_recipe
from tests.trainers.tiny_models import tiny_bert

ROWS, BATCH = 16, 4
CASES: dict[str, dict[str, Any]] = {
    "bi-encoder": {},
    "cached": {"loss": {"negatives": 2, "mini_batch": 3}},
    "gathered": {"loss": {"negatives": 2, "gather": True}},
    "cached and gathered": {"loss": {"negatives": 2, "gather": True, "mini_batch": 3}},
    "static": {"kind": "static", "dimensions": 16},
    "static, sparse gradients": {"kind": "static", "dimensions": 16, "optimizer": "sparse-adam"},
    "sparse": {"kind": "sparse"},
    "late-interaction": {"kind": "late-interaction"},
    "reranker": {"kind": "reranker"},
}

FAST = ("cached and gathered", "reranker")
"""The others are tested in `make soak`."""


def recipe_of(folder: Path, name: str, **changes: Any) -> Recipe:
    """That of a case, on a model without dropout."""
    case = CASES[name]
    kind = case.get("kind", "bi-encoder")
    model = folder / ("masked" if kind == "sparse" else "base")
    values = {"name": name, "kind": kind, "model": str(model), "loss": {"negatives": 2}, "batch_size": BATCH}
    length = {} if kind == "static" else {"max_length": 32}
    return load_recipe({**values, **length, "learning_rate": 1e-3, "max_steps": 1, **case, **changes})


class Gradients(TrainerCallback):  # type: ignore[misc]
    """Keeps the gradients of the first step, and its loss."""

    def __init__(self) -> None:
        self.found: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and name not in self.found:
                self.found[name] = parameter.grad.detach().to_dense().clone()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs:
            self.found.setdefault("loss", torch.tensor(logs["loss"]))


def gradients(folder: Path, name: str, out: Path, **changes: Any) -> dict[str, torch.Tensor]:
    callback = Gradients()
    data = open_training_data(folder / "rows.jsonl")
    train(recipe_of(folder, name, **changes), data, out, device="cpu", progress=False, callbacks=[callback])
    return callback.found


def on_device(rank: int, folder: Path, fast: bool) -> None:
    """What each of two devices does; the results go to files."""
    torch.set_num_threads(1)
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "OMP_NUM_THREADS": 1}
    os.environ |= {name: str(value) for name, value in numbers.items()}
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for name in CASES:
        if (name in FAST) == fast:
            torch.save(gradients(folder, name, folder / "two" / name), folder / f"{name}-{rank}.pt")
    found = {check.__name__: check(folder) for check in (uneven, refused, made_once, stopped) if fast}
    (folder / f"found-{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def uneven(folder: Path) -> list[dict[str, Any]]:
    """Runs over rows that are not so many batches for each: 21 of them."""
    data = open_training_data(folder / "uneven.jsonl")
    recipes = [recipe_of(folder, name, max_steps=None, epochs=2, warmup=0.5) for name in ("static", "sparse")]
    options: dict[str, Any] = {"device": "cpu", "progress": False, "checkpoints": False}
    return [train(each, data, folder / "uneven" / each.name, **options).model_dump(mode="json") for each in recipes]


def refused(folder: Path) -> list[Any]:
    try:
        gradients(folder, "static", folder)
    except ConfigError as error:
        return [str(error), error.said_elsewhere]
    return []


def made_once(folder: Path) -> list[int]:
    """How many records each device has of a table and of one that is kept, and how often it made them."""
    made = []

    def records() -> Iterator[dict[str, str]]:
        made.append(1)
        yield {"text": "a"}

    schema = pa.schema([("text", pa.string())])
    return [len(table_of(records, schema)), len(kept_table(folder / "scores.arrow", records, schema)), len(made)]


class Stop(TrainerCallback):  # type: ignore[misc]
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 3:
            raise InterruptedError


def stopped(folder: Path) -> list[int]:
    """A run that stops in its third step and is started again: how often it was resumed, and its steps."""
    data, recipe = open_training_data(folder / "rows.jsonl"), recipe_of(folder, "static", max_steps=4)
    options: dict[str, Any] = {"device": "cpu", "progress": False, "evaluate_every": 2}
    with suppress(InterruptedError):
        train(recipe, data, folder / "stopped", callbacks=[Stop()], **options)
    report = train(recipe, data, folder / "stopped", **options)
    return [report.resumed, report.steps, train(recipe, data, folder / "stopped", **options).resumed]


DEVICE = """
import sys
from pathlib import Path
from tests.trainers.training.test_devices import on_device
on_device(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "fast")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return after_both(tmp_path_factory.mktemp("devices"), "fast")


@pytest.fixture(scope="module")
def slow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return after_both(tmp_path_factory.mktemp("devices"), "slow")


def after_both(folder: Path, what: str) -> Path:
    """Where two devices have done all of `on_device`."""
    rows_file(folder, 21).rename(folder / "uneven.jsonl")
    rows_file(folder, ROWS)
    for name in ("base", "masked"):
        tiny_bert(folder / name, masked=name == "masked")
        config = json.loads((folder / name / "config.json").read_text())
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (folder / name / "config.json").write_text(json.dumps(config))
    devices = [forked.start(DEVICE, str(rank), str(folder), what, modules=forked.MODELS) for rank in range(2)]
    told = [device.communicate(timeout=300) for device in devices]
    assert [device.returncode for device in devices] == [0, 0], told
    return folder


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in CASES if name not in FAST])
def test_each_kind_trains_on_two_devices_as_on_one_with_the_rows_of_both(slow_folder: Path, name: str) -> None:
    check_gradients(slow_folder, name)


@pytest.mark.parametrize("name", FAST)
def test_two_devices_train_as_one_with_the_rows_of_both(folder: Path, name: str) -> None:
    check_gradients(folder, name)


def check_gradients(folder: Path, name: str) -> None:
    """With passages gathered: those of one device with twice the batch; without: the mean of two batches."""
    loss = CASES[name].get("loss", {})
    changes = {"batch_size": 2 * BATCH} if loss.get("gather") else {"gradient_accumulation": 2}
    one = gradients(folder, name, folder / "one" / name, **changes)
    two = [torch.load(folder / f"{name}-{rank}.pt") for rank in range(2)]
    assert len(one) > 1
    assert set(one) == set(two[0])
    for each in one:
        torch.testing.assert_close(two[0][each], one[each], atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(two[0][each], two[1][each], atol=0, rtol=0)


def found_by(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(2)]


def test_rows_that_do_not_fill_the_batches_of_all_end_in_as_many_steps(folder: Path) -> None:
    first, second = (found["uneven"] for found in found_by(folder))
    assert first == second
    assert [(report["devices"], report["steps"], report["epochs"]) for report in first] == [(2, 6, 2.0)] * 2


def test_the_first_device_refuses_for_all(folder: Path) -> None:
    (text, said), (other, elsewhere) = (found["refused"] for found in found_by(folder))
    assert "holds other files" in text
    assert (text, said, elsewhere) == (other, False, True)


def test_a_table_is_made_by_one_device_and_read_by_all(folder: Path) -> None:
    assert [found["made_once"] for found in found_by(folder)] == [[1, 1, 2], [1, 1, 0]]


def test_a_run_goes_on_from_its_checkpoint_on_as_many_devices(folder: Path) -> None:
    assert [found["stopped"] for found in found_by(folder)] == [[1, 4, 1]] * 2
    assert not list((folder / "stopped").glob("checkpoint-*"))
    state = json.loads((folder / "stopped" / "run.json").read_text())
    assert state["devices"] == 2


def test_batches_are_shared_out_so_that_no_device_waits() -> None:
    class Batches(list[list[int]]):
        batch_size, drop_last = 4, False

    def shared(rows: int, devices: int, *, apart: bool = False) -> list[list[int]]:
        batches = [list(range(rows))[begin : begin + 4] for begin in range(0, rows, 4)]
        found = DeviceBatches(Batches(batches), devices, apart=apart)
        assert len(found) == len(list(found))
        return list(found)

    assert shared(8, 2) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert shared(10, 2) == [[0, 1, 2, 3], [4, 5, 6, 7], [8], [9]]
    assert shared(5, 2) == [[0, 2, 4], [1, 3]]
    assert shared(9, 2) == [[0, 1, 2, 3], [4, 5, 6, 7], [8], [0]]
    assert shared(4, 2, apart=True) == [[0, 1], [2, 3]]
    assert shared(1, 3, apart=True) == [[0], [0], [0]]


def test_other_commands_and_calls_are_refused_where_they_would_be_done_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "LINGER", 0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("RANK", "0")
    assert commands.run(["compare", "cleaned"]) == 2
    assert "runs in one process, and this is one of 2: start it without torchrun" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    assert commands.run(["judge", "rows.jsonl"]) == 2
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigError, match="Training a student runs in one process"):
        one_process_only("Training a student")


def test_a_run_that_is_not_over_wants_the_devices_it_began_with(tmp_path: Path) -> None:
    data, recipe = open_training_data(rows_file(tmp_path, ROWS)), tiny_recipe(tmp_path, max_steps=1)
    options: dict[str, Any] = {"device": "cpu", "progress": False}
    report = train(recipe, data, tmp_path / "model", **options)
    state = json.loads((tmp_path / "model" / "run.json").read_text())
    (tmp_path / "model" / "run.json").write_text(json.dumps({**state, "devices": 4}))
    assert train(recipe, data, tmp_path / "model", **options) == report
    (tmp_path / "model" / "training.json").unlink()
    with pytest.raises(ConfigError, match=r"a run on 4 devices, and this is one on 1. Start it on as many"):
        train(recipe, data, tmp_path / "model", **options)


def test_one_process_uses_one_gpu_and_its_batch_is_not_cut_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = TrainingArguments.__post_init__

    def with_two_gpus(self: Any) -> None:
        made(self)
        self._n_gpu = 2

    monkeypatch.setattr(TrainingArguments, "__post_init__", with_two_gpus)
    data, recipe = open_training_data(rows_file(tmp_path, ROWS)), tiny_recipe(tmp_path, max_steps=None, batch_size=4)
    report = train(recipe, data, tmp_path / "model", device="cpu", progress=False, checkpoints=False)
    assert (report.steps, report.batch) == (4, 4)
    assert "One of 2 GPUs is used" in caplog.text
