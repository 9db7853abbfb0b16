"""A training run: what it leaves, what it tells, and how it goes on after it was stopped."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_relabel.builders.disk.one_process import one_process
from hf_relabel.builders.errors import ConfigError
from hf_relabel.cards.training_report import TrainingReport, read_training_report
from hf_relabel.trainers.data.training_data import open_training_data
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.evaluation.evaluator import evaluate_model
from hf_relabel.trainers.evaluation.leaks import without_queries
from hf_relabel.trainers.evaluation.search import search
from hf_relabel.trainers.loading import load_model
from hf_relabel.trainers.models import build_model
from hf_relabel.trainers.recipes.recipe import load_recipe, shipped_recipes
from hf_relabel.trainers.training.arguments import trainer_arguments
from hf_relabel.trainers.training.kinds import make_trainer
from hf_relabel.trainers.training.options import TrainOptions
from hf_relabel.trainers.training.publishing import publish
from hf_relabel.trainers.training.run import train
from tests import forked
from tests.hub_tools.releases_data import built
from tests.trainers.runs import beir_folder, rows_file, tiny_recipe
from tests.trainers.tiny_models import tiny_bert
from tests.trainers.training.test_real_shaped import BASES as REAL_SHAPED

KINDS = [
    "bi-encoder",
    "lora",
    *(pytest.param(kind, marks=pytest.mark.soak) for kind in ("sparse", "late-interaction")),
    "reranker",
]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*", "ignore::UserWarning:torch.*")


STEPS = 4
SHORT = {"max_steps": 1}


def run(folder: Path, kind: str = "bi-encoder", name: str = "model", **options: Any) -> tuple[Path, TrainingReport]:
    recipe_options = {"max_steps": STEPS, **options.pop("recipe", {})}
    out = folder / name
    rows = folder / "rows.jsonl"
    data = open_training_data(rows if rows.exists() else rows_file(folder))
    recipe = tiny_recipe(folder / kind, kind, **recipe_options)
    return out, train(recipe, data, out, device="cpu", progress=False, **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(str(folder), device="cpu").state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_trains_and_its_folder_loads(tmp_path: Path, kind: str) -> None:
    sets = [read_beir(beir_folder(tmp_path))]
    out, report = run(tmp_path, kind, sets=sets)
    assert report == read_training_report(out)
    assert (report.steps, report.data.rows, report.data.config) == (STEPS, 24, "original")
    assert [point.step for point in report.curve if point.metrics] == list(range(1, STEPS + 1))
    assert 0 <= report.evaluations[0].metrics["ndcg@10"] <= 1
    model = load_model(str(out), device="cpu")
    if kind != "reranker":
        assert set(search(model, sets[0])) == set(sets[0].queries)
    assert not list(out.glob("checkpoint-*"))


def test_the_last_step_is_kept_unless_a_dev_set_chooses(tmp_path: Path) -> None:
    sets, dev = [read_beir(beir_folder(tmp_path))], [read_beir(beir_folder(tmp_path, name="dev", ask="tell"))]
    # So fast that it is worse at the end than on the way.
    recipe = {"max_steps": 12, "learning_rate": 1e-2, "scheduler": "constant"}
    _, report = run(tmp_path, sets=sets, evaluate_every=2, recipe=recipe)
    by_step = {point.step: point.metrics["ndcg@10"] for point in report.curve if point.metrics}
    assert max(by_step.values()) > by_step[12]
    assert (report.best_step, report.dev) == (None, ())
    assert report.evaluations[0].metrics["ndcg@10"] == pytest.approx(by_step[12])
    assert report.evaluations[0].metrics["ndcg@10"] > report.before[0].metrics["ndcg@10"]

    out, report = run(tmp_path, name="chosen", sets=sets, dev=dev, evaluate_every=2, recipe=recipe)
    by_step = {point.step: point.metrics["ndcg@10"] for point in report.curve if point.metrics}
    assert report.best_step == max(by_step, key=lambda step: (by_step[step], -step)) < 12
    assert [each.set.name for each in report.evaluations] == [sets[0].about.name]
    assert [each.name for each in report.dev] == [dev[0].about.name]
    kept = evaluate_model(load_model(str(out), device="cpu"), dev[0], metrics=("ndcg@10",))
    assert kept.measured.metrics["ndcg@10"] == pytest.approx(by_step[report.best_step])


def test_no_step_is_chosen_on_the_set_that_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    same, partly = (read_beir(beir_folder(tmp_path, name=name)) for name in ("a", "b"))
    with pytest.raises(ConfigError, match="a has the queries of a dev set"):
        run(tmp_path, sets=[same], dev=[partly])
    assert not (tmp_path / "model").exists()
    with pytest.raises(ConfigError, match="without checkpoints takes no dev set"):
        run(tmp_path, dev=[same], checkpoints=False)
    partly = without_queries(partly, list(partly.queries)[1:])
    run(tmp_path, sets=[same], dev=[partly], recipe={"max_steps": 1})
    assert "a: 1 of its 24 queries are in the dev sets. The step is chosen on them too." in caplog.text


def test_queries_that_are_trained_on_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sets = [read_beir(beir_folder(tmp_path, trained=3))]
    _, report = run(tmp_path, sets=sets, recipe={"max_steps": 1})
    assert report.trained_queries == {sets[0].about.name: 3}
    assert "3 of its 24 queries are in the rows that are trained on. What is measured there says little" in caplog.text


def test_lora_is_kept_as_adapters_or_merged(tmp_path: Path) -> None:
    kept, _ = run(tmp_path, "lora", "kept", recipe=SHORT)
    merged, _ = run(tmp_path, "lora", "merged", recipe=SHORT, merge_adapters=True)
    assert any(kept.rglob("adapter_config.json"))
    assert not any(merged.rglob("adapter_config.json"))
    texts = ["good 1 k 0", "bad 2 p 1"]
    one, other = (load_model(str(folder), device="cpu").encode(texts) for folder in (kept, merged))
    torch.testing.assert_close(torch.tensor(one), torch.tensor(other), atol=1e-5, rtol=0)


def test_the_same_run_again_is_the_same_report_and_trains_nothing(tmp_path: Path) -> None:
    out, report = run(tmp_path, recipe=SHORT)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert run(tmp_path, recipe=SHORT)[1] == report
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_another_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path, recipe=SHORT)
    other = {**SHORT, "learning_rate": 1e-4}
    with pytest.raises(ConfigError, match=r"holds another training run.*`overwrite=True`"):
        run(tmp_path, recipe=other)
    assert run(tmp_path, recipe=other, overwrite=True)[1].recipe["learning_rate"] == 1e-4
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ConfigError, match="holds other files"):
        run(tmp_path, name="mine")
    with pytest.raises(ConfigError, match="holds other files"):
        run(tmp_path, name="mine", overwrite=True)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_a_run_that_stopped_before_it_made_anything_gives_up_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model folder"):
        run(tmp_path, recipe={**SHORT, "model": "./nope"})
    assert (tmp_path / "model" / "run.json").is_file()
    assert run(tmp_path, recipe=SHORT)[1].steps == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": -1}, "A seed is a number from 0 to 4,294,967,295, not -1"),
        ({"device": "gpu7"}, "torch knows no device 'gpu7'. Here there are: cpu"),
        ({"device": "meta"}, "There is no device 'meta' here"),
    ],
)
def test_what_no_machine_can_do_is_refused_before_the_folder_is_made(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    data = open_training_data(rows_file(tmp_path))
    with pytest.raises(ConfigError, match=said):
        train(tiny_recipe(tmp_path / "tiny"), data, tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()


def test_without_a_gpu_bf16_is_trained_on_the_cpu_and_fp16_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    data = open_training_data(rows_file(tmp_path))
    bf16, fp16 = (tiny_recipe(tmp_path / "tiny", precision=each, **SHORT) for each in ("bf16", "fp16"))
    assert train(bf16, data, tmp_path / "bf16", progress=False).steps == 1
    with pytest.raises(ConfigError, match="`precision: fp16` needs a GPU"):
        train(fp16, data, tmp_path / "fp16", progress=False)


def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_relabel.builders.errors import TrainingError

    whole = torch.save

    def full(values: Any, file: Any, *given: Any, **options: Any) -> None:
        if Path(str(file)).name == "optimizer.pt":
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 118592 vs 118484")
        whole(values, file, *given, **options)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"could not be written to .* MiB are free"):
        run(tmp_path, recipe=SHORT)
    monkeypatch.undo()
    assert run(tmp_path, recipe=SHORT)[1].steps == 1


def test_adapters_of_a_model_that_nobody_else_has_are_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_relabel.trainers.training.publishing.push_model", lambda *_, **__: "pushed")
    out, _ = run(tmp_path, "lora", recipe=SHORT)
    file = out / "adapter_config.json"
    settings = json.loads(file.read_text())
    assert Path(settings["base_model_name_or_path"]).is_dir()
    for named in (settings["base_model_name_or_path"], "./base", "C:\\models\\base"):
        file.write_text(json.dumps({**settings, "base_model_name_or_path": named}))
        with pytest.raises(ConfigError, match="nobody could load them from the Hub"):
            publish(out, "user/model")
    file.write_text(json.dumps({**settings, "base_model_name_or_path": "Qwen/Qwen2.5-7B"}))
    assert str(publish(out, "user/model")) == "pushed"


def test_a_run_that_learns_nothing_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path, recipe={**SHORT, "batch_size": 1, "loss": {"negatives": 0}})
    assert "The loss was 0 at every step" in caplog.text
    caplog.clear()
    run(tmp_path, name="other", recipe=SHORT)
    assert "The loss was 0" not in caplog.text


def test_a_run_of_an_earlier_release_is_known(tmp_path: Path) -> None:
    out, report = run(tmp_path, recipe=SHORT)
    state = json.loads((out / "run.json").read_text())
    added = ("append_eos", "gradient_checkpointing")
    recipe = {name: value for name, value in state["settings"]["recipe"].items() if name not in added}
    loss = {name: value for name, value in recipe["loss"].items() if name not in ("gather", "guide")}
    state["settings"]["recipe"] = {**recipe, "loss": loss, "dimensions": None, "optimizer": "adamw"}
    (out / "run.json").write_text(json.dumps(state))
    assert run(tmp_path, recipe=SHORT)[1] == report


def test_a_folder_where_another_process_trains_is_refused(tmp_path: Path) -> None:
    with (
        one_process(tmp_path / ".model.lock", lambda: None),
        pytest.raises(ConfigError, match="Another process is training in"),
    ):
        run(tmp_path)
    assert not (tmp_path / "model").exists()
    run(tmp_path, recipe=SHORT)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


CODE = """
import os, sys, signal
from pathlib import Path
from transformers import TrainerCallback
from tests.trainers.training.test_training import run

class Slow(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == 7:
            os.kill(os.getpid(), signal.SIGKILL)

run(Path(sys.argv[1]), sys.argv[2], evaluate_every=3, callbacks=[Slow()], recipe={"max_steps": 8})
"""


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["bi-encoder", "reranker"])
def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    eight = {"max_steps": 8}
    whole, report = run(tmp_path / "a", kind, evaluate_every=3, recipe=eight)
    done = forked.run(CODE, str(tmp_path / "b"), kind, modules=forked.MODELS)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert [path.name for path in (tmp_path / "b" / "model").glob("checkpoint-6")] == ["checkpoint-6"]
    resumed, again = run(tmp_path / "b", kind, evaluate_every=3, recipe=eight)
    assert (report.resumed, again.resumed, again.steps) == (0, 1, 8)
    assert again.curve[-1].step == report.curve[-1].step
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(resumed)[name], tensor, atol=1e-6, rtol=0)


def test_rows_that_cannot_be_trained_on_are_counted(tmp_path: Path) -> None:
    path = rows_file(tmp_path, 24)
    bare = {**json.loads(path.read_text().splitlines()[0]), "query_id": "x", "negative_passages": []}
    path.write_text(path.read_text() + "\n" + json.dumps(bare))
    _, report = run(tmp_path, "reranker", recipe=SHORT)
    assert (report.data.rows, report.data.skipped) == (24, 1)


def test_a_config_of_a_release_names_what_it_was_built_from(tmp_path: Path) -> None:
    built(tmp_path / "release", rows=12)
    data = open_training_data(tmp_path / "release", "relabel")
    assert (data.used.config, data.used.rows, data.used.repo_id) == ("relabel", 12, None)
    assert data.rows[0]["positive_passages"]
    assert open_training_data(tmp_path / "release").used.config == "remove-hn"
    assert open_training_data(tmp_path / "release", "original").fingerprint != data.fingerprint


def test_what_a_recipe_says_of_memory_and_devices_reaches_the_model_and_the_loss(tmp_path: Path) -> None:
    rows = open_training_data(rows_file(tmp_path, 4)).rows
    for wanted in (True, False):
        recipe = tiny_recipe(tmp_path, gradient_checkpointing=wanted, loss={"negatives": 2, "gather": wanted})
        model = build_model(recipe, device="cpu")
        arguments = trainer_arguments(recipe, TrainOptions(device="cpu"), tmp_path / "out", 0, len(rows))
        trainer = make_trainer(recipe, model, rows, arguments, None, [])
        assert trainer.loss.gather_across_devices is wanted
        assert model.transformers_model.is_activation_checkpointing is wanted


def test_distillation_tells_how_soft_its_teacher_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = {"use": "distillation", "model": tiny_bert(tmp_path / "teacher"), "kind": "bi-encoder"}
    loss = {"negatives": 3, "positives": "random", "in_batch": False}
    for temperature in (1000.0, 0.001):
        caplog.clear()
        recipe = {"teacher": {**base, "temperature": temperature}, "loss": loss, **SHORT}
        out, report = run(tmp_path, name=f"at-{temperature}", recipe=recipe)
        assert (report.technique, report.steps, report.data.rows) == ("distillation", 1, 24)
        assert report.teaching is not None
        assert report.teaching.passages == 4
        assert (report.teaching.effective_passages > 2) == (temperature == 1000.0)
        assert ("to it they are all the same" in caplog.text) == (temperature == 1000.0)
        assert ("says no more than a label" in caplog.text) == (temperature == 0.001)
        assert not list(out.glob("*.arrow"))


@pytest.mark.parametrize("kind", ["reranker", pytest.param("sparse", marks=pytest.mark.soak)])
def test_rows_that_perc_pos_leaves_without_negatives_are_left_out(tmp_path: Path, kind: str) -> None:
    teacher = {"use": "perc-pos", "model": tiny_bert(tmp_path / "teacher"), "kind": "bi-encoder", "share": 1.01}
    _, report = run(tmp_path, kind, recipe={"teacher": teacher, **SHORT})
    assert report.teaching is not None
    assert report.data.rows == 24 - report.teaching.rows_left_out < 24
    assert report.teaching.negatives_left_out >= report.teaching.rows_left_out
    none_left = {**teacher, "share": 1e-6}
    with pytest.raises(ConfigError, match=r"leaves no row of 'original' to train on.*each of 24 rows"):
        run(tmp_path, kind, "none", recipe={"teacher": none_left, **SHORT})


def test_a_teacher_is_asked_once_by_a_run_that_stops_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_relabel.trainers.training import run as runs
    from hf_relabel.trainers.training import teaching

    teacher = {"use": "perc-pos", "model": tiny_bert(tmp_path / "teacher"), "kind": "bi-encoder"}
    recipe = {"teacher": teacher, **SHORT}
    with monkeypatch.context() as stopped:
        stopped.setattr(runs, "make_trainer", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, recipe=recipe)
    monkeypatch.setattr(teaching, "load_teacher", lambda *_, **__: pytest.fail("the teacher was asked again"))
    assert run(tmp_path, recipe=recipe)[1].steps == 1


def test_a_guide_of_a_recipe_leaves_out_negatives_and_is_reported(tmp_path: Path) -> None:
    guide = {"model": tiny_bert(tmp_path / "guide"), "query_prompt": "ask: "}
    _, report = run(tmp_path, recipe={"loss": {"negatives": 2, "guide": guide}, **SHORT})
    assert report.guide is not None
    assert report.guide.name == guide["model"]
    assert report.guided is not None
    assert 0 < report.guided.left_out < report.guided.compared


def test_a_logger_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pip install trackio"):
        run(tmp_path, log_to=["trackio"])
    with pytest.raises(ConfigError, match="no logger 'paper'"):
        run(tmp_path, log_to=["paper"])


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    from hf_relabel.builders.errors import TrainingError

    with pytest.raises((TrainingError, ConfigError), match=r"loss became|no numbers"):
        run(tmp_path, recipe={"learning_rate": 1e30, "max_steps": 8}, evaluate_every=1)


def test_time_adds_up_over_sittings(tmp_path: Path) -> None:
    started = time.monotonic()
    _, report = run(tmp_path, recipe=SHORT)
    assert 0 < report.seconds <= time.monotonic() - started


@pytest.mark.parametrize("name", sorted(set(shipped_recipes()) - {"static", *REAL_SHAPED}))
def test_each_recipe_that_ships_trains_on_a_tiny_model(tmp_path: Path, name: str) -> None:
    shipped = load_recipe(name)
    model = tiny_bert(tmp_path / "base", masked=shipped.kind == "sparse")
    changes: dict[str, Any] = {"model": model, "batch_size": 4, "gradient_accumulation": 1, "precision": "fp32"}
    changes |= {"max_steps": 2, "teacher": shipped.teacher and {"model": model, "kind": "bi-encoder"}}
    recipe = load_recipe(name, **changes, max_length=64, max_length_inference=96, loss={"negatives": 2})
    data = open_training_data(rows_file(tmp_path))
    report = train(recipe, data, tmp_path / "model", device="cpu", progress=False)
    model = load_model(str(tmp_path / "model"), device="cpu")
    assert (report.steps, report.kind) == (2, shipped.kind)
    assert model.max_seq_length == 96
    if shipped.kind != "reranker":
        assert model.prompts.get("query", "") == shipped.query_prompt
