"""Distillation against the loss of sentence-transformers and against what it is defined to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss
from sentence_transformers.util import pairwise_cos_sim
from torch.nn.functional import cosine_similarity

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.data.rows import RowDraw
from hf_relabel.trainers.distillation_loss import DistillationLoss
from hf_relabel.trainers.row_trainer import RowTrainer
from tests.trainers.test_guide import columns
from tests.trainers.test_losses import batch_of
from tests.trainers.training_rows import bert_model, plain_rows, static_model, training_arguments


def scored_rows(count: int, *, positives: int = 1, negatives: int = 3) -> list[dict[str, Any]]:
    """Rows with scores of their own in all passages."""
    rows = plain_rows(count, positives=positives, negatives=negatives)
    for number, row in enumerate(rows):
        for place, passage in enumerate((*row["positive_passages"], *row["negative_passages"])):
            passage["score"] = ((7 * number + 5 * place) % 11) / 10
    return rows


def test_it_is_the_librarys_without_the_factor_of_the_temperature() -> None:
    model, rows = static_model(), scored_rows(6)
    labels = [[each["score"] for each in (*row["positive_passages"], *row["negative_passages"])] for row in rows]
    draw = RowDraw(None, 1)
    # The order of a draw's negatives is the row's where all are drawn.
    ours = DistillationLoss(model, temperature=0.1, teacher_temperature=0.3)(batch_of(model, rows, draw))
    theirs = DistillKLDivLoss(model, pairwise_cos_sim, student_temperature=0.1, teacher_temperature=0.3)
    value = theirs(columns(model, rows), torch.tensor(labels)) / 0.1**2
    assert ours.item() == pytest.approx(value.item(), abs=1e-5)
    for mine, other in zip(
        *(torch.autograd.grad(each, list(model.parameters())) for each in (ours, value)), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=0)


def test_rows_may_have_fewer_negatives_and_are_alone_in_the_batch(tmp_path: Path) -> None:
    model, rows = bert_model(tmp_path), scored_rows(3, positives=2)
    rows[1]["negative_passages"] = rows[1]["negative_passages"][:1]
    draw = RowDraw(None, 1)
    expected = 0.0
    for row in rows:
        drawn = draw(row)
        texts = [each.text for each in (*drawn.positives, *drawn.negatives)]
        query, *passages = (model(model.preprocess([text]))["sentence_embedding"] for text in (drawn.query, *texts))
        student = torch.cat([cosine_similarity(query, each) for each in passages]).div(0.05).softmax(0)
        scores = torch.tensor([each.score for each in (*drawn.positives, *drawn.negatives)], dtype=torch.float64)
        teacher = scores.div(0.2).softmax(0)
        expected += (teacher * (teacher / student).log()).sum().item() / len(rows)
    gradients = []
    for size in (None, 2):
        model.zero_grad()
        loss = DistillationLoss(model, temperature=0.05, teacher_temperature=0.2, mini_batch_size=size)
        value = loss(batch_of(model, rows, draw))
        value.backward()
        assert value.item() == pytest.approx(expected, abs=1e-6)
        gradients.append([each.grad for each in model.parameters() if each.grad is not None])
    for plain, cached in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, cached, atol=1e-9, rtol=0)


def test_one_positive_and_other_negatives_are_drawn_each_epoch_with_their_scores(tmp_path: Path) -> None:
    rows = scored_rows(2, positives=3, negatives=6)
    model = static_model(dtype=torch.float32)
    arguments = training_arguments(tmp_path, num_train_epochs=3, per_device_train_batch_size=2)
    trainer = RowTrainer(model, arguments, Dataset.from_list(rows), loss=DistillationLoss(model), negatives=2)
    seen = []
    collate = trainer.data_collator
    for epoch in range(4):
        collate.epoch.number = epoch
        structure = collate(rows)["row_structure"]
        assert structure["scores"].shape == (2, 3)
        seen.append(structure["scores"].tolist())
    assert len({str(each) for each in seen}) == 4
    by_text = {each["text"]: each["score"] for each in (*rows[0]["positive_passages"], *rows[0]["negative_passages"])}
    drawn = RowDraw(2, 1, arguments.seed)(rows[0], 3)
    expected = [by_text[each.text] for each in (*drawn.positives, *drawn.negatives)]
    assert seen[3][0] == pytest.approx(expected)
    trainer.train()


def test_rows_without_scores_are_refused() -> None:
    model = static_model()
    with pytest.raises(ConfigError, match="without a teacher's `score`"):
        DistillationLoss(model)(batch_of(model, plain_rows(2)))
    with pytest.raises(ConfigError, match="teacher's temperature"):
        DistillationLoss(model, teacher_temperature=0)
