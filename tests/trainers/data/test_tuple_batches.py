"""Rows for losses that know one positive: drawn anew each epoch, and none a false negative of another."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import TrainerCallback

from hf_relabel.trainers.data.collating import Epoch
from hf_relabel.trainers.data.device_batches import for_devices
from hf_relabel.trainers.data.rows import RowDraw, tuple_texts
from hf_relabel.trainers.data.training_data import open_training_data
from hf_relabel.trainers.data.tuple_batches import ApartBatchSampler
from hf_relabel.trainers.training.run import train
from tests.trainers.runs import rows_file, tiny_recipe
from tests.trainers.training_rows import plain_rows, row

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*", "ignore::UserWarning:torch.*")


def batches(rows: list[dict[str, Any]], size: int, epoch: int = 0, **settings: Any) -> list[list[int]]:
    number = Epoch()
    number.number = epoch
    settings = {"drop_last": False, "draw": RowDraw(1, 1), **settings}
    return list(ApartBatchSampler(Dataset.from_list(rows), size, number=number, **settings))


def test_each_row_comes_once_an_epoch_in_another_order() -> None:
    rows = plain_rows(10)
    first, second = (batches(rows, 4, epoch) for epoch in (0, 1))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(place for batch in first for place in batch) == list(range(10))
    assert first != second
    assert first == batches(rows, 4, 0)
    assert [len(batch) for batch in batches(rows, 4, drop_last=True)] == [4, 4]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (row(1, ["a"], ["b"]), {**row(1, ["c"], ["d"]), "query_id": "again"}),  # the same query
        (row(1, ["a"], ["b"]), row(2, ["c"], ["a"])),  # its positive as a negative
        (row(1, ["a"], ["b"]), row(2, ["a"], ["d"])),  # the same positive
        (row(1, ["a", "e", "f"], ["b"]), row(2, ["c"], ["e"])),  # a positive that is known, drawn or not
    ],
)
def test_rows_that_give_each_other_false_negatives_stand_in_two_batches(one: Any, other: Any) -> None:
    rows = [one, other, *plain_rows(4)]
    for epoch in range(8):
        for batch in batches(rows, 3, epoch):
            assert not {0, 1} <= set(batch)
    assert any({0, 1} <= set(batch) for epoch in range(8) for batch in batches([rows[0], *rows[2:]], 3, epoch))


def test_one_positive_of_several_and_other_negatives_each_epoch() -> None:
    (several,) = plain_rows(1, positives=3, negatives=4)
    drawn = [tuple_texts(several, RowDraw(2, 1), epoch) for epoch in range(30)]
    assert {len(each) for each in drawn} == {4}
    assert len({each["positive"] for each in drawn}) == 3
    assert len({frozenset((each["negative_1"], each["negative_2"])) for each in drawn}) == 6


class Seen(TrainerCallback):  # type: ignore[misc]
    """Which texts a model reads in which epoch."""

    def __init__(self) -> None:
        self.texts: list[Counter[str]] = []

    def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
        preprocess = model.preprocess

        def reading(texts: Any, *args: Any, prompt: str | None = None, **given: Any) -> Any:
            self.texts[-1].update(f"{prompt or ''}{text}" for text in texts)
            return preprocess(texts, *args, prompt=prompt, **given)

        self.collator._collator.preprocess_fn = reading

    def on_epoch_begin(self, *_: Any, train_dataloader: Any = None, **__: Any) -> None:
        self.texts.append(Counter())

    collator: Any = None


@pytest.mark.parametrize("kind", ["sparse", "late-interaction"])
def test_sparse_and_late_interaction_draw_anew_each_epoch(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_relabel.trainers.data import tuple_batches

    seen = Seen()
    made = tuple_batches.TupleCollator.__init__

    def keeping(self: Any, *args: Any) -> None:
        made(self, *args)
        seen.collator = self

    monkeypatch.setattr(tuple_batches.TupleCollator, "__init__", keeping)
    recipe = tiny_recipe(
        tmp_path, kind, max_steps=None, epochs=3, query_prompt="q: ", passage_prompt="p: ", loss={"negatives": 1}
    )
    data = open_training_data(rows_file(tmp_path, 8))
    report = train(recipe, data, tmp_path / "out", device="cpu", progress=False, checkpoints=False, callbacks=[seen])
    assert (report.steps, len(seen.texts)) == (3, 3)
    positives = [{text for text in texts if text.startswith("p: good")} for texts in seen.texts]
    negatives = [{text for text in texts if text.startswith("p: bad")} for texts in seen.texts]
    for found in (*positives, *negatives):
        assert len(found) == 8  # one of each row's two, and of its four
    assert len({frozenset(each) for each in positives}) == len({frozenset(each) for each in negatives}) == 3
    assert all(sum(text.startswith("q: query") for text in texts.elements()) == 8 for texts in seen.texts)


def test_several_devices_keep_such_rows_apart_too() -> None:
    sampler = ApartBatchSampler(Dataset.from_list(plain_rows(4)), 2, False, number=Epoch(), draw=RowDraw(1, 1))
    assert for_devices(sampler, 2).apart
