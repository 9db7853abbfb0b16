"""Rows that a teacher has scored: once, on the disk, and what follows from the scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from sentence_transformers import CrossEncoder
from torch.nn import Identity

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.data.baselines import effective_passages
from hf_relabel.trainers.data.rows import RowDraw
from hf_relabel.trainers.data.teachers import CrossEncoderScorer
from hf_relabel.trainers.data.teaching import score_table, with_scores, without_near_negatives
from tests.trainers.data.test_data import FEATURES
from tests.trainers.tiny_models import tiny_bert
from tests.trainers.training_rows import row

ROWS = [
    row(0, ["ppp", "pppp"], ["n", "nn", "nnn", "nnnn"]),
    row(1, ["pp"], ["nnnnn", "nnn"]),
    row(2, ["pppppp"], ["n", "nn", "nn n n n"]),
]


class LengthTeacher:
    """Scores a pair by the length of its passage, and counts what it was asked."""

    asked = 0

    def predict(self, pairs: Any) -> Any:
        self.asked += len(pairs)
        return np.array([len(passage) for _, passage in pairs], dtype=np.float32)


@pytest.fixture
def table() -> Dataset:
    return Dataset.from_list(ROWS, features=FEATURES)


def test_a_table_that_is_kept_is_not_asked_for_again(tmp_path: Path, table: Dataset) -> None:
    teacher, path = LengthTeacher(), tmp_path / "scores.arrow"
    first = score_table(table, lambda: teacher, path)
    assert teacher.asked == 13
    assert first[0] == {"positives": [3.0, 4.0], "negatives": [1.0, 2.0, 3.0, 4.0]}
    again = score_table(table, lambda: pytest.fail("the teacher was loaded"), path)
    assert again[:] == first[:]
    assert [each.name for each in tmp_path.iterdir()] == ["scores.arrow"]


def test_a_teacher_that_fails_leaves_no_table(tmp_path: Path, table: Dataset) -> None:
    class Broken(LengthTeacher):
        def predict(self, pairs: Any) -> Any:
            raise ConfigError("broken")

    with pytest.raises(ConfigError, match="broken"):
        score_table(table, Broken, tmp_path / "scores.arrow")
    score_table(table, LengthTeacher, tmp_path / "scores.arrow")


def test_rows_left_with_too_few_negatives_are_left_out_and_counted(table: Dataset) -> None:
    scores = score_table(table, LengthTeacher)
    found = without_near_negatives(table, scores, 0.95, 1)
    assert [[each["text"] for each in record["negative_passages"]] for record in found.rows] == [
        ["n", "nn"],
        ["n", "nn"],
    ]
    assert (found.rows_left_out, found.negatives_left_out, found.rows_without_negatives) == (1, 5, 0)
    against_batch = without_near_negatives(table, scores, 0.95, 0)
    assert (len(against_batch.rows), against_batch.rows_without_negatives) == (3, 1)


def test_the_softness_of_a_teacher_is_measured(table: Dataset) -> None:
    scores = score_table(table, LengthTeacher)
    soft, hard = (with_scores(table, scores, RowDraw(None, 1), temperature) for temperature in (1000.0, 0.001))
    assert soft.passages == pytest.approx((5 + 3 + 4) / 3)
    assert soft.effective_passages == pytest.approx(soft.passages, abs=1e-3)
    # Row 0's positive, or its best negative, may be the longest; of the others one passage is.
    assert hard.effective_passages is not None
    assert 1 <= hard.effective_passages <= 4 / 3 + 1e-6
    assert [each["score"] for each in soft.rows[1]["positive_passages"]] == [0.0]
    assert [each["score"] for each in soft.rows[1]["negative_passages"]] == pytest.approx([1.0, 1 / 3])


def test_effective_passages_are_the_exponential_of_the_entropy() -> None:
    assert effective_passages([0.3, 0.3, 0.3], 0.01) == pytest.approx(3)
    assert effective_passages([1.0, 0.0], 1e-4) == pytest.approx(1)
    weights = [math.exp(1), math.exp(0.5)]
    shares = [each / sum(weights) for each in weights]
    entropy = -sum(share * math.log(share) for share in shares)
    assert effective_passages([0.5, 0.25], 0.5) == pytest.approx(math.exp(entropy))


def test_logits_are_no_probabilities_unless_someone_says_so(tmp_path: Path) -> None:
    model = CrossEncoder(tiny_bert(tmp_path), num_labels=1, device="cpu")
    pairs = [("query", "good"), ("query", "bad")]
    assert (CrossEncoderScorer(model, "t", probabilities=True).predict(pairs) < 1).all()
    model.activation_fn = Identity()
    with pytest.raises(ConfigError, match=r"'t' gives raw logits.*activation: sigmoid"):
        CrossEncoderScorer(model, "t", probabilities=True)
    logits = CrossEncoderScorer(model, "t").predict(pairs)
    assert CrossEncoderScorer(model, "t", "sigmoid", probabilities=True).predict(pairs) == pytest.approx(
        1 / (1 + np.exp(-logits)), abs=1e-6
    )
    model.activation_fn = lambda logits: logits - 5  # code of the model's own
    with pytest.raises(ConfigError, match="gave scores from -"):
        CrossEncoderScorer(model, "t", probabilities=True).predict(pairs)


def test_a_teacher_gives_one_score(tmp_path: Path) -> None:
    model = CrossEncoder(tiny_bert(tmp_path), num_labels=2, device="cpu")
    with pytest.raises(ConfigError, match="2 scores for a pair"):
        CrossEncoderScorer(model, "t")
