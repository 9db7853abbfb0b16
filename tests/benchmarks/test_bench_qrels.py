"""What the benchmark of test sets works out: what is hidden, the judge that is simulated, and tau."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from hf_relabel.builders.rows import Passage, Row
from hf_relabel.trainers.qrels.extending import pool_documents
from tests.benchmarks.bench_qrels import Outcome, Simulated, hidden_half, taus
from tests.trainers.qrels.tiny_set import MORE, tiny_set


def test_about_half_of_what_is_relevant_is_hidden_and_nothing_else() -> None:
    grades = {f"q{n}": {f"d{m}": m % 2 for m in range(10)} for n in range(100)}
    kept = hidden_half(grades, 0)
    assert all(len([docid for docid, grade in judged.items() if not grade]) == 5 for judged in kept.values())
    assert 200 < sum(sum(judged.values()) for judged in kept.values()) < 300
    assert hidden_half(grades, 0) == kept != hidden_half(grades, 1)
    assert hidden_half({"q": {"d": 1}}, 0) in ({}, {"q": {"d": 1}})


def test_a_simulated_judge_has_its_precision_and_recall(tmp_path: Path) -> None:
    pool = pool_documents(tiny_set(tmp_path), [str(tmp_path / "first.trec")], tmp_path / "out")
    truth = {**MORE, "q4": {}}
    judge = Simulated(0.5, 1.0, truth, pool, seed=0)
    right = {(query_id, docid) for query_id, docid in judge.better if truth[query_id].get(docid)}
    assert right == {("q1", "a2"), ("q2", "b2")}
    assert len(judge.better) == 4
    row = Row("q1", "?", (), (Passage("a2", "", "?"), Passage("nowhere", "", "?")))
    ((first, second),) = (found.values() for found in judge.judge([(row, [0, 1])]))
    assert (str(first.label), str(second.label)) == ("better", "irrelevant")


def test_tau_over_draws_is_that_of_scipy() -> None:
    chance = np.random.default_rng(0)
    visible, extended, whole = chance.random((3, 5, 30))
    visible[:, 3] = np.nan  # a query without anything visible counts nowhere
    outcome = Outcome(0, 0, (0, 0), 1, 1, visible, extended, whole)
    drawn = chance.multinomial(30, [1 / 30] * 30, size=4).astype(float)
    found = taus([outcome], drawn)
    for place, weights in enumerate(drawn):
        weights[3] = 0
        before, after, known = (np.nan_to_num(table) @ weights for table in (visible, extended, whole))
        assert found[0, place] == pytest.approx(kendalltau(before, known).statistic)
        assert found[1, place] == pytest.approx(kendalltau(after, known).statistic)
        assert found[3, place] == pytest.approx(np.abs(after - known).mean() / weights.sum())
