"""Our rows through the trainers of sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers import SentenceTransformerTrainer as PlainTrainer
from sentence_transformers.cross_encoder.losses import LambdaLoss
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from transformers import TrainerCallback

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.data.collating import Epoch, EpochBatchSampler, EpochCallback, ListwiseCollator, RowCollator
from hf_relabel.trainers.data.rows import RowDraw, tuple_rows
from hf_relabel.trainers.losses import MultiPositiveLoss
from hf_relabel.trainers.row_trainer import RowTrainer
from tests.trainers.data.test_data import FEATURES
from tests.trainers.tiny_models import tiny_bert
from tests.trainers.training_rows import passage, plain_rows, row, static_model, training_arguments

ROWS = plain_rows(10, positives=3, negatives=8)
TABLE = Dataset.from_list(ROWS, features=FEATURES)


class Seen:
    """A model's `preprocess` that remembers the passages it was given."""

    def __init__(self, model: Any) -> None:
        self.model, self.passages = model, []  # type: ignore[var-annotated]

    def __call__(self, texts: list[str], prompt: str | None = None, task: str | None = None) -> Any:
        if task == "document":
            self.passages.append(texts)
        return self.model.preprocess(texts, prompt=prompt, task=task)


class StopAt(TrainerCallback):
    """As a run that is killed: no work after this step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step == self.step


def trained(folder: Path, dataset: Any = TABLE, *, resume: Any = None, callbacks: Any = (), **settings: Any) -> Any:
    """A tiny model after training, and the passages of each step."""
    arguments = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "learning_rate": 0.05}
    own = {name: settings.pop(name) for name in ("negatives", "positives") if name in settings}
    model = static_model()
    loss = MultiPositiveLoss(model, positives=settings.pop("variant", "logsumexp"))
    args = training_arguments(folder, **{**arguments, **settings})
    trainer = RowTrainer(model, args, dataset, loss=loss, callbacks=list(callbacks), **{"negatives": 3, **own})
    seen = trainer.data_collator.preprocess_fn = Seen(model)
    trainer.train(resume_from_checkpoint=resume)
    return model, seen.passages


def weights(model: Any) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in model.parameters()])


@pytest.mark.parametrize("streaming", [False, True])
def test_a_config_trains_as_it_is(tmp_path: Path, streaming: bool) -> None:
    before = weights(static_model())
    dataset = TABLE.to_iterable_dataset() if streaming else TABLE
    model, steps = trained(tmp_path, dataset, max_steps=9)
    assert not torch.allclose(weights(model), before)
    assert [len(texts) for texts in steps] == [24, 24, 12] * 3  # (3 positives + 3 negatives) of 4, 4 and 2 rows
    epochs = [sorted(text for texts in steps[first : first + 3] for text in texts) for first in (0, 3, 6)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    goods = [[text for text in epoch if text.startswith("good")] for epoch in epochs]
    assert goods[0] == goods[1] == goods[2] == sorted(p["text"] for each in ROWS for p in each["positive_passages"])


def test_one_random_positive_is_all_that_is_encoded(tmp_path: Path) -> None:
    _, steps = trained(tmp_path, variant="random")
    assert [len(texts) for texts in steps] == [16, 16, 8] * 3
    assert {text for texts in steps for text in texts if text.startswith("good 4")} > {"good 4 k 0"}


@pytest.mark.parametrize("step", [3, 5])  # at the end of the first epoch, and within the second
def test_a_resumed_run_ends_as_an_undisturbed_one(tmp_path: Path, step: int) -> None:
    undisturbed, all_steps = trained(tmp_path / "a", positives=2)
    saving = {"save_strategy": "steps", "save_steps": step}
    trained(tmp_path / "b", positives=2, callbacks=[StopAt(step)], **saving)
    resumed, last_steps = trained(tmp_path / "b", positives=2, resume=str(tmp_path / f"b/checkpoint-{step}"), **saving)
    assert last_steps == all_steps[step:]
    torch.testing.assert_close(weights(resumed), weights(undisturbed), atol=1e-12, rtol=0)


def test_workers_know_the_epoch(tmp_path: Path) -> None:
    collator = RowCollator(static_model().preprocess, draw=RowDraw(negatives=3))
    loader = torch.utils.data.DataLoader(
        TABLE, batch_size=5, collate_fn=collator, num_workers=1, persistent_workers=True
    )
    epochs = []
    for number in range(2):
        collator.epoch.number = number
        epochs.append([batch["row_structure"]["ids"].tolist() for batch in loader])
        assert epochs[number] == [
            collator([TABLE[place] for place in places])["row_structure"]["ids"].tolist()
            for places in (range(5), range(5, 10))
        ]
    assert epochs[0] != epochs[1]


def test_the_order_of_the_rows_follows_from_seed_and_epoch() -> None:
    number = Epoch()
    sampler = EpochBatchSampler(TABLE, 4, False, number=number, seed=1)
    first = list(sampler)
    assert list(sampler) == first
    assert sorted(place for batch in first for place in batch) == list(range(10))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert list(EpochBatchSampler(TABLE, 4, True, number=number, seed=1)) == first[:2]
    number.number = 1
    assert list(sampler) != first


def test_each_evaluation_is_on_the_same_passages(tmp_path: Path) -> None:
    model = static_model()
    arguments = training_arguments(tmp_path, per_device_eval_batch_size=4)
    trainer = RowTrainer(model, arguments, TABLE, TABLE, negatives=2)
    values = []
    for epoch in range(3):
        trainer.data_collator.epoch.number = epoch
        values.append(trainer.evaluate()["eval_loss"])
    assert values[0] == values[1] == values[2]


def test_prompts_are_put_before_queries_and_passages() -> None:
    model = static_model()
    rows = [row(0, [passage("d", "good", "title")], ["bad"])]
    with_prompts = RowCollator(model.preprocess, prompts={"query": "ask: ", "document": "read: "})(rows)
    plain = RowCollator(model.preprocess)
    by_hand = plain([{**row(0, ["read: title\ngood"], ["read: bad"]), "query": "ask: " + rows[0]["query"]}])
    assert torch.equal(with_prompts["row_input_ids"], by_hand["row_input_ids"])
    assert torch.equal(with_prompts["row_passages"]["input_ids"], by_hand["row_passages"]["input_ids"])
    with pytest.raises(ConfigError, match="Prompts for our rows"):
        RowCollator(model.preprocess, prompts={"anchor": "ask: "})


def test_the_models_own_prompts_are_used(tmp_path: Path) -> None:
    model = static_model()
    model.prompts = {"query": "ask: ", "document": "read: "}
    assert RowTrainer(model, training_arguments(tmp_path), TABLE).data_collator.prompts == model.prompts


def test_the_cards_examples_are_queries_and_passages(tmp_path: Path) -> None:
    model = static_model()
    RowTrainer(model, training_arguments(tmp_path), TABLE)
    examples = model.model_card_data.widget
    assert [each["source_sentence"] for each in examples] == [each["query"] for each in ROWS[:3]]
    assert [text.split()[0] for text in examples[0]["sentences"]] == ["good", "bad", "bad"]
    assert "query 0 aaa" in model.model_card_data.usage_examples


def test_each_text_is_encoded_once() -> None:
    rows = [row(0, ["same"], ["shared"]), row(1, ["same"], ["shared", "own"])]
    batch = RowCollator(static_model().preprocess)(rows)
    assert batch["row_structure"]["passages"] == 3
    assert batch["row_structure"]["positives"].tolist() == [[0], [0]]


@pytest.mark.parametrize("dataset", [Dataset.from_dict({"anchor": ["a"], "positive": ["b"]}), DatasetDict(a=TABLE)])
def test_text_pairs_are_refused_and_our_rows_are_not(tmp_path: Path, dataset: Any) -> None:
    arguments, model = training_arguments(tmp_path, max_steps=1), static_model()
    if isinstance(dataset, DatasetDict):
        RowTrainer(model, arguments, dataset).train()
        return
    with pytest.raises(ConfigError, match="train_dataset has the columns anchor, positive"):
        RowTrainer(model, arguments, dataset)
    with pytest.raises(ConfigError, match="given 2 columns of texts"):
        PlainTrainer(model, arguments, dataset, loss=MultiPositiveLoss(model)).train()


def test_a_plain_loss_is_refused_and_a_wrapper_of_ours_is_not(tmp_path: Path) -> None:
    arguments, model = training_arguments(tmp_path, max_steps=1), static_model()
    with pytest.raises(ConfigError, match=r"MultipleNegativesRankingLoss does not know.*tuple_rows"):
        RowTrainer(model, arguments, TABLE, loss=MultipleNegativesRankingLoss(model))
    collator = RowCollator(model.preprocess)
    with pytest.raises(ValueError, match="Expected at least 2"):  # nor does the plain trainer train on rows with it
        PlainTrainer(model, arguments, TABLE, loss=MultipleNegativesRankingLoss(model), data_collator=collator).train()
    with pytest.raises(ConfigError, match="its own collator"):
        RowTrainer(model, arguments, TABLE, data_collator=collator)
    RowTrainer(model, arguments, TABLE, loss=MatryoshkaLoss(model, MultiPositiveLoss(model), [8, 4])).train()


def test_the_plain_trainer_takes_our_collator_and_loss(tmp_path: Path) -> None:
    model = static_model()
    collator = RowCollator(seen := Seen(model), draw=RowDraw(negatives=3))
    arguments = training_arguments(tmp_path, num_train_epochs=2, per_device_train_batch_size=10)
    PlainTrainer(
        model,
        arguments,
        TABLE,
        loss=MultiPositiveLoss(model),
        data_collator=collator,
        callbacks=[EpochCallback(collator.epoch)],
    ).train()
    assert len(seen.passages) == 2
    assert set(seen.passages[0]) != set(seen.passages[1])


def test_a_row_without_positives_stops_training(tmp_path: Path) -> None:
    bad = Dataset.from_list([*ROWS, row(99, [], ["n"])], features=FEATURES)
    with pytest.raises(ConfigError, match=r"'q99' has no positive.*skip=True"):
        trained(tmp_path, bad)


def test_without_other_rows_passages_a_row_needs_a_negative(tmp_path: Path) -> None:
    bad = Dataset.from_list([*ROWS, row(99, ["p"], [])], features=FEATURES)
    model = static_model()
    trainer = RowTrainer(model, training_arguments(tmp_path), bad, loss=MultiPositiveLoss(model, in_batch=False))
    with pytest.raises(ConfigError, match=r"'q99' has 0 usable negatives, not 1.*negatives=1"):
        trainer.train()


def test_rows_train_a_reranker(tmp_path: Path) -> None:
    model = CrossEncoder(tiny_bert(tmp_path / "base"), num_labels=1, device="cpu")
    before = weights(model)
    collator = ListwiseCollator(model.preprocess, draw=RowDraw(negatives=2))
    quiet = {"report_to": [], "disable_tqdm": True, "dataloader_pin_memory": False, "save_strategy": "no"}
    arguments = CrossEncoderTrainingArguments(str(tmp_path), max_steps=3, use_cpu=True, **quiet)
    trainer = CrossEncoderTrainer(
        model,
        arguments,
        TABLE,
        loss=LambdaLoss(model),
        data_collator=collator,
        callbacks=[EpochCallback(collator.epoch)],
    )
    trainer.train()
    assert not torch.allclose(weights(model), before)
    assert collator.epoch.number == 1
    assert [list(each) for each in collator(ROWS[:1])["label"]] == [[1, 1, 1, 0, 0]]


def test_rows_as_tuples_train_with_a_plain_loss(tmp_path: Path) -> None:
    model = static_model()
    before = weights(model)
    tuples = tuple_rows(TABLE, RowDraw(negatives=2))
    assert len(tuples) == 30
    arguments = training_arguments(tmp_path, max_steps=2, batch_sampler="no_duplicates")
    PlainTrainer(model, arguments, tuples, loss=MultipleNegativesRankingLoss(model)).train()
    assert not torch.allclose(weights(model), before)
