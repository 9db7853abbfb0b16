"""The judges, rows and losses of `bench_zones_training` are what their names say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hf_relabel.builders.audit.draw import LIKELY, SURE
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.trainers.losses import MultiPositiveLoss
from hf_relabel.trainers.passage_pool import Pool, Structure
from tests.benchmarks.zones_arms import DEFAULT, LOW, ORIGINAL, RELABEL, REMOVE_HN, ZONES, cells
from tests.benchmarks.zones_judges import by_audit, shuffled, simulated, too_sure
from tests.benchmarks.zones_report import default_rule
from tests.benchmarks.zones_soft import expected, inside, outside, soft_negatives


def known(share: float = 0.15, count: int = 20_000) -> Any:
    chance = np.random.default_rng(0)
    return SimpleNamespace(truth=chance.random(count) < share)


@pytest.mark.parametrize(("precision", "recall"), [(1.0, 0.7), (0.9, 0.7), (0.82, 0.76), (0.6, 0.7)])
def test_a_simulated_judge_has_its_precision_and_recall_and_its_probabilities_hold(
    precision: float, recall: float
) -> None:
    of = known()
    p = simulated(precision, recall).scores(of, 0)
    better = p > 0.5
    assert of.truth[better].mean() == pytest.approx(precision, abs=0.02)
    assert better[of.truth].mean() == pytest.approx(recall, abs=0.02)
    for low in np.arange(0, 1, 0.2):
        inside = (p >= low) & (p < low + 0.2)
        if inside.sum() > 500:
            assert of.truth[inside].mean() == pytest.approx(p[inside].mean(), abs=0.04)


def test_controls_know_less_or_say_more() -> None:
    of, judge = known(), simulated(0.82, 0.76)
    p = judge.scores(of, 0)
    of_others = shuffled(judge).scores(of, 0)
    assert sorted(of_others) == sorted(p)
    assert of.truth[of_others > 0.9].mean() == pytest.approx(0.15, abs=0.04)
    sure = too_sure(judge).scores(of, 0)
    assert ((sure > 0.5) == (p > 0.5)).all()
    assert (sure > 0.9).sum() > (p > 0.9).sum()


def test_the_default_relabels_what_labels_back_and_nothing_of_a_judge_that_guesses() -> None:
    of = known()
    good = by_audit(simulated(1, 0.7), 400, DEFAULT).scores(of, 0)
    assert of.truth[good == 1].mean() > 0.9
    assert not (by_audit(shuffled(simulated(0.9, 0.7)), 400, DEFAULT).scores(of, 0) == 1).any()


def test_the_thresholds_that_are_measured_are_those_of_the_tool() -> None:
    for rule, wanted in ((DEFAULT, SURE), (LOW[1], LIKELY)):
        assert (rule.precision, rule.probability) == (wanted.precision, wanted.probability)
    passage = Passage("p", "", "text")
    once: Any = SimpleNamespace(rows=[Row("q", "query", (passage,), ())])
    often: Any = SimpleNamespace(rows=[Row("q", "query", (passage,), (passage,) * 9)])
    assert (default_rule(once), default_rule(often)) == (LOW[1], DEFAULT)


def test_techniques_move_drop_and_keep_by_probability() -> None:
    row = Row("q", "query", (Passage("p", "", "positive"),), tuple(Passage(f"n{n}", "", f"text {n}") for n in range(3)))
    bare = Row("bare", "query", (Passage("p", "", "positive"),), ())
    of: Any = SimpleNamespace(rows=[bare, row, bare], owner=np.ones(3, int), cosines=None)
    p = np.array([0.95, 0.6, 0.1])

    def made(way: Any) -> tuple[list[str], list[str]]:
        (found,) = (each for each in way.rows(of, p) if each.query_id == "q")
        return [each.docid for each in found.positive_passages], [each.docid for each in found.negative_passages]

    assert made(REMOVE_HN) == (["p"], ["n2"])
    assert made(RELABEL) == (["p", "n0", "n1"], ["n2"])
    assert made(ZONES[1]) == (["p", "n0"], ["n2"])
    assert list(ORIGINAL.rows(of, None)) == [bare, row, bare]


def test_no_two_cells_have_one_name_but_those_of_the_same_run() -> None:
    named: dict[str, Any] = {}
    for cell in cells():
        assert named.setdefault(cell.name, cell.way) == cell.way


def test_soft_losses_with_sure_labels_are_the_hard_ones() -> None:
    torch.manual_seed(0)
    queries, passages = torch.randn(2, 8), torch.randn(8, 8)
    structure = Structure(
        positives=torch.tensor([[0, 1], [2, -1]]),
        negatives=torch.tensor([[3, 4], [5, 6]]),
        known=torch.tensor([[[1, 1], [2, 2]], [[3, 3], [0, 0]]]),
        queries=torch.tensor([[1, 1], [2, 2]]),
        ids=torch.tensor([[n + 1, n + 1] for n in range(8)]),
        scores=torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]),
    )
    pool, hard = Pool(passages, structure.ids), MultiPositiveLoss(None)
    together = hard._row_losses(queries, pool, structure)
    for loss in (soft_negatives, inside):
        assert torch.allclose(loss(hard, queries, pool, structure), together, atol=1e-4)
    each = MultiPositiveLoss(None, positives="joint")._row_losses(queries, pool, structure)
    counts = torch.tensor([2.0, 1.0])
    for loss in (outside(), outside(4), expected):
        assert torch.allclose(loss(hard, queries, pool, structure), each / counts, atol=1e-4)
