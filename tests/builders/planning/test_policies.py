"""Policies on a pilot: who is asked, what is relabelled, what that costs, and when it is backed."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.planning.choosing import Wanted, choose, parted
from hf_relabel.builders.planning.guarantee import (
    backed_in_order,
    chance,
    chance_of_rows,
    effective,
    trials_needed,
)
from hf_relabel.builders.planning.policy import Pilot, PilotStage, Policy, Step, measured, policies


def pilot(levels: list[list[float]], truth: list[bool], row: list[int] | None = None, scored: bool = True) -> Pilot:
    """One candidate a row unless told otherwise; a request costs .1 of the first stage, 1 of the second."""
    rows = np.arange(len(truth)) if row is None else np.array(row)
    stages = (PilotStage("cheap", True), PilotStage("accurate", scored, 2))
    of_rows = int(rows.max()) + 1
    costs = np.tile([0.1, 1.0], (of_rows, 1))
    weight = np.ones(len(truth))
    return Pilot(stages, of_rows, rows, np.array(levels), np.array(truth), weight, costs, np.zeros_like(costs))


def test_a_step_settles_below_and_above_and_hands_on_what_lies_between() -> None:
    found = pilot([[0.1, 1.0], [0.5, 1.0], [0.5, 0.0], [0.9, 0.0]], [False, True, False, True])
    policy = Policy((Step(0, 0.4, 0.8), Step(1, 1.0, 1.0)))
    called, asked = policy.found(found)
    assert called.tolist() == [False, True, False, True]
    assert [each.tolist() for each in asked] == [[True] * 4, [False, True, True, False]]
    assert measured(policy, found, 7).cost.tolist() == pytest.approx([0.1, 1.1, 1.1, 0.1])


def test_no_answer_is_neither_handed_on_nor_relabelled() -> None:
    found = pilot([[np.nan, 1.0], [0.5, np.nan]], [True, True])
    called, asked = Policy((Step(0, 0.0), Step(1, 0.0, 0.0))).found(found)
    assert not called.any()
    assert asked[1].tolist() == [False, True]


def test_candidates_of_one_row_share_a_request() -> None:
    found = pilot([[0.9, 1.0]] * 3, [True] * 3, row=[0, 0, 0])
    assert measured(Policy((Step(0, 0.5), Step(1, 1.0, 1.0))), found, 7).cost.tolist() == pytest.approx([3 * 0.1 + 2])


def test_rows_of_which_too_much_would_be_relabelled_are_left_out() -> None:
    found = pilot([[0.9, 1.0]] * 3, [True] * 3, row=[0, 0, 1])
    only = Policy((Step(0, 0.5, 0.5),))
    assert measured(only, found, 1).hits.tolist() == [0, 1]
    assert measured(only, found, 2).hits.tolist() == [2, 1]


def test_a_judge_of_labels_is_never_relabelled_by_its_worse() -> None:
    tried = list(policies(pilot([[0.9, 1.0], [0.8, 0.5], [0.1, 0.0]], [True, True, False], scored=False)))
    last = {policy.steps[-1] for policy in tried if policy.steps[-1].stage == 1}
    assert last == {Step(1, 1.0, 1.0)}
    assert {len(policy.steps) for policy in tried} == {1, 2}
    assert any(policy.steps[0].accepts < inf for policy in tried if len(policy.steps) == 2)


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    from statsmodels.stats.proportion import proportion_confint

    for hits, trials in ((58, 58), (59, 59), (195, 200), (90, 100)):
        low = proportion_confint(hits, trials, alpha=0.1, method="beta")[0]
        assert (chance(hits, trials, 0.95) <= 0.05) == (low >= 0.95)


def test_candidates_of_one_row_count_as_one() -> None:
    alone, together = np.ones(60), np.full(20, 3.0)
    assert (effective(alone), effective(together)) == pytest.approx((60, 20))
    assert chance_of_rows(alone, alone, 0.95) < 0.05 < chance_of_rows(together, together, 0.95)


def test_nothing_is_backed_behind_the_first_that_is_not() -> None:
    assert backed_in_order([0.01, 0.05, 0.06, 0.01], lambda each: each, 0.95) == [0.01, 0.05]


def test_how_many_trials_would_do() -> None:
    assert trials_needed(1.0, 0.95, 0.95) == 59
    assert trials_needed(0.95, 0.95, 0.95) is None
    assert 59 < (trials_needed(0.98, 0.95, 0.95) or 0) < 600


def clear(rows: int, accurate: float, noise: float = 0.15, seed: int = 0) -> Pilot:
    """The cheap judge ranks well, the accurate one's yes is right with a probability."""
    drawn = np.random.default_rng(seed)
    truth = drawn.random(4 * rows) < 0.3
    cheap = np.clip(0.25 + 0.4 * truth + drawn.normal(0, noise, len(truth)), 0, 1).round(3)
    said = np.where(truth, drawn.random(len(truth)) < 0.9, drawn.random(len(truth)) < (1 - accurate) / 3)
    levels = np.column_stack([cheap, said.astype(float)])
    return pilot(levels.tolist(), truth.tolist(), np.repeat(np.arange(rows), 4).tolist(), scored=False)


def test_what_is_chosen_keeps_within_the_budget_and_costs_less_than_asking_everybody() -> None:
    found = clear(600, 0.999)
    free = choose(found, Wanted())
    assert free.option is not None
    assert free.option.recall > 0.8
    assert free.option.recall_range[0] < free.option.recall < free.option.recall_range[1]
    everybody = found.rows * (4 * 0.1 + 2 * 1.0)
    assert free.option.cost < everybody
    assert [option.cost for option in free.frontier] == sorted(option.cost for option in free.frontier)
    less = choose(found, Wanted(budget=free.option.cost * 0.8))
    assert less.option is None or (less.option.cost_range or (0, 0))[1] <= free.option.cost * 0.8
    none = choose(found, Wanted(budget=0.01))
    assert none.option is None
    assert (none.cheapest or 0) > 0.01


def test_a_pilot_that_is_too_small_says_how_many_rows_would_do() -> None:
    small = choose(clear(60, 0.999), Wanted())
    assert small.option is None
    assert (small.rows_needed or 0) > 60
    assert small.labels_needed == (small.rows_needed or 0) * 4


def test_judges_that_are_not_precise_enough_are_never_backed() -> None:
    hopeless = choose(clear(600, 0.6, noise=0.6), Wanted())
    assert hopeless.option is None
    assert hopeless.rows_needed is None


def test_the_two_parts_share_no_row_and_lose_none() -> None:
    found = clear(90, 0.9)
    laying, testing = parted(found, 3)
    assert (laying.rows, testing.rows) == (30, 60)
    assert len(laying.row) + len(testing.row) == len(found.row)


def test_what_cannot_be_planned_says_so() -> None:
    with pytest.raises(ConfigError, match="30 rows"):
        choose(clear(20, 0.9), Wanted())
    found = clear(40, 0.9)
    with pytest.raises(ConfigError, match="none of the 160 is a false negative"):
        choose(replace(found, truth=np.zeros_like(found.truth)), Wanted())
    with pytest.raises(ConfigError, match="precision"):
        Wanted(precision=1.0)
