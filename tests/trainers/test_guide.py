"""The guide of our loss against sentence-transformers' GISTEmbed losses, which it is with one positive a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers.sentence_transformer.losses import CachedGISTEmbedLoss, GISTEmbedLoss

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.guide import Guide
from hf_relabel.trainers.losses import MultiPositiveLoss
from hf_relabel.trainers.passage_pool import read_batch
from hf_relabel.trainers.row_trainer import RowTrainer
from tests.trainers.test_losses import RAGGED, batch_of, guide_model
from tests.trainers.training_rows import bert_model, plain_rows, row, static_model, training_arguments

PLAIN = {"contrast_anchors": False, "contrast_positives": False}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model, and one to guide it, which finds another order."""
    folder = tmp_path_factory.mktemp("models")
    model, guide = bert_model(folder / "model"), bert_model(folder / "guide")
    torch.nn.init.normal_(guide[0].auto_model.embeddings.word_embeddings.weight)
    return model, guide


def columns(model: Any, rows: list[dict[str, Any]]) -> list[Any]:
    """Query, positive and negatives as the losses of the library read them."""
    texts = [[each["query"] for each in rows], [each["positive_passages"][0]["text"] for each in rows]]
    count = len(rows[0]["negative_passages"])
    texts += [[each["negative_passages"][place]["text"] for each in rows] for place in range(count)]
    return [model.preprocess(column) for column in texts]


@pytest.mark.parametrize(
    ("strategy", "margin"), [("absolute", 0.0), ("absolute", 0.02), ("relative", 0.0), ("relative", 0.05)]
)
def test_with_one_positive_it_is_gist_embed(models: Any, strategy: Any, margin: float) -> None:
    model, rows = models[0], plain_rows(6, negatives=1)
    guide = Guide(models[1], margin=margin, strategy=strategy)
    ours = MultiPositiveLoss(model, temperature=0.05, guide=guide)
    theirs = GISTEmbedLoss(model, guide.model, 0.05, strategy, margin, **PLAIN)
    values = [ours(batch_of(model, rows, guide=guide)), theirs(columns(model, rows), None)]
    weights = [each for name, each in model.named_parameters() if "pooler" not in name]
    gradients = [torch.autograd.grad(value, weights) for value in values]
    assert 0.05 < (guide.share_left_out() or 0) < 0.95
    assert values[0].item() == pytest.approx(values[1].item(), abs=1e-6)
    assert abs(values[0].item() - MultiPositiveLoss(model, temperature=0.05)(batch_of(model, rows)).item()) > 1e-3
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=0)


def test_gradient_caching_and_several_negatives_are_cached_gist_embed(models: Any) -> None:
    model, rows = models[0], plain_rows(5, negatives=3)
    guide = Guide(models[1], margin=0.001)
    gradients, values = [], []
    theirs = CachedGISTEmbedLoss(model, guide.model, 0.05, 2, margin=0.001, **PLAIN)
    for size in (None, 2):
        model.zero_grad()
        value = MultiPositiveLoss(model, guide=guide, mini_batch_size=size)(batch_of(model, rows, guide=guide))
        value.backward()
        values.append(value.item())
        gradients.append([each.grad for each in model.parameters() if each.grad is not None])
    assert 0 < (guide.share_left_out() or 0) < 1
    assert values[0] == pytest.approx(values[1], abs=1e-12)
    assert values[0] == pytest.approx(theirs(columns(model, rows), None).item(), abs=1e-6)
    for plain, cached in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, cached, atol=1e-10, rtol=0)


@pytest.mark.parametrize("in_batch", [True, False])
def test_of_several_positives_the_farthest_sets_the_limit(in_batch: bool) -> None:
    model, guide = static_model(), guide_model(margin=0.01)
    rows = RAGGED if in_batch else [each for each in RAGGED if each["negative_passages"]]
    loss = MultiPositiveLoss(model, guide=guide, in_batch=in_batch)
    (batch,) = batch_of(model, rows, guide=guide)
    names = ("queries", "passages")
    queries, passages = (guide.model(dict(batch["guide"][name]))["sentence_embedding"] for name in names)
    scores = torch.nn.functional.cosine_similarity(queries[:, None], passages[None], dim=-1)
    structure = guide.looked_at(batch, read_batch([batch])[2], None)
    pool = structure.pool(torch.zeros(len(structure.ids), 8))
    found = loss._negatives(pool, structure)
    plain = MultiPositiveLoss(model, in_batch=in_batch)._negatives(pool, structure)
    for number, places in enumerate(structure.positives.tolist()):
        limit = min(scores[number, place] for place in places if place >= 0) - 0.01
        assert found[number].tolist() == (plain[number] & (scores[number] <= limit)).tolist()
    assert not torch.equal(found, plain)


def test_the_guide_reads_texts_its_own_way_and_stays_as_it_is(tmp_path: Path) -> None:
    model = static_model(dtype=torch.float32)
    guide = Guide(bert_model(tmp_path), prompts={"query": "ask: ", "document": "read: "})
    before = [each.clone() for each in guide.model.parameters()]
    dataset = Dataset.from_list(plain_rows(8, positives=2))
    loss = MultiPositiveLoss(model, guide=guide)
    trainer = RowTrainer(model, training_arguments(tmp_path, max_steps=2), dataset, dataset, loss=loss)
    batch = trainer.data_collator([dataset[0]])
    by_hand = guide.model.preprocess(["ask: " + dataset[0]["query"]])
    assert torch.equal(batch["row_guide"]["queries"]["input_ids"], by_hand["input_ids"])
    trainer.train()
    assert guide.compared > 0
    seen = int(guide.compared)
    trainer.evaluate()
    assert int(guide.compared) == seen
    assert not guide.model.training
    assert all(torch.equal(one, other) for one, other in zip(before, guide.model.parameters(), strict=True))


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    model, guide = static_model(), guide_model()
    with pytest.raises(ConfigError, match="not read for it"):
        MultiPositiveLoss(model, guide=guide)(batch_of(model, [row(0, ["a"], ["b"])]))
    with pytest.raises(ConfigError, match="the model that is trained"):
        MultiPositiveLoss(model, guide=Guide(model))
    with pytest.raises(ConfigError, match="absolute, relative"):
        guide_model(strategy="none")
    with pytest.raises(ConfigError, match="0 or more"):
        guide_model(margin=-1)
