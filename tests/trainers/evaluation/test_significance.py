"""Comparing two systems: against scipy, statsmodels and calculations by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.evaluation import significance
from hf_relabel.trainers.evaluation.significance import holm, paired_comparison, random_effects

EXACT = ("mean_system", "mean_baseline", "difference", "p_ttest", "effect_size", "hedges_g", "standard_error")


def scores(seeds: int, queries: int, *, gain: float = 0.0, number: int = 0) -> tuple[Any, Any]:
    """A system and a baseline, shape (seeds, queries) each."""
    chance = np.random.default_rng(number)
    baseline = chance.uniform(0.2, 0.7, size=(seeds, queries))
    return baseline + gain + chance.normal(0, 0.1, size=(seeds, queries)), baseline


def test_a_small_example_by_hand() -> None:
    found = paired_comparison([0.6, 0.5, 0.9, 0.4], [0.5, 0.5, 0.6, 0.4 + 0.1])

    # Differences 0.1, 0, 0.3, -0.1: mean 0.075, squared deviations 0.0875 in sum.
    spread = (0.0875 / 3) ** 0.5
    assert (found.queries, found.seeds, found.seed_sd) == (4, 1, None)
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.mean_system == pytest.approx(0.6)
    assert found.mean_baseline == pytest.approx(0.525)
    assert found.difference == pytest.approx(0.075)
    assert found.effect_size == pytest.approx(0.075 / spread)
    assert found.hedges_g == pytest.approx(0.075 / spread * (1 - 3 / 11))
    assert found.standard_error == pytest.approx(spread / 2)


def test_the_interval_is_that_of_scipy() -> None:
    system, baseline = scores(1, 120, gain=0.02)
    found = paired_comparison(system, baseline)
    expected = stats.bootstrap(
        (system[0] - baseline[0],), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval

    tolerance = found.standard_error / 10
    assert found.low == pytest.approx(expected.low, abs=tolerance)
    assert found.high == pytest.approx(expected.high, abs=tolerance)
    assert found.p_ttest == pytest.approx(stats.ttest_rel(system[0], baseline[0]).pvalue)
    assert found.p_bootstrap == pytest.approx(found.p_ttest, abs=0.02)


def test_the_t_test_is_over_queries_on_the_means_over_seeds() -> None:
    system, baseline = scores(4, 60, gain=0.01)
    found = paired_comparison(system, baseline, resamples=100)

    assert found.p_ttest == pytest.approx(stats.ttest_rel(system.mean(axis=0), baseline.mean(axis=0)).pvalue)
    assert found.seed_sd == pytest.approx((system - baseline).mean(axis=1).std(ddof=1))


def test_both_queries_and_seeds_are_drawn_anew() -> None:
    seeds_differ = np.array([[-0.1], [0.0], [0.1]]) + np.zeros((3, 80))
    found = paired_comparison(seeds_differ + 0.5, np.full((3, 80), 0.5))
    # The mean of three draws out of three seeds is at an end in one of 27: more than 2.5 %.
    assert (found.low, found.high) == pytest.approx((-0.1, 0.1))
    assert found.p_bootstrap > 0.5

    repeated = np.repeat(scores(1, 80)[0] - 0.4, 3, axis=0)
    one = paired_comparison(repeated[0], np.zeros(80))
    three = paired_comparison(repeated, np.zeros((3, 80)))
    assert (three.low, three.high) == pytest.approx((one.low, one.high), abs=one.standard_error / 5)


def test_the_spread_of_the_bootstrap_is_that_of_the_theory() -> None:
    system, baseline = scores(5, 40)
    differences = system - baseline
    of_queries, of_seeds = differences.mean(axis=0), differences.mean(axis=1, keepdims=True)
    rest = differences - of_queries - of_seeds + differences.mean()
    expected = of_queries.var() / 40 + of_seeds.var() / 5 + rest.var() / 200

    # The draws themselves: with five seeds they are not normal, and an interval does not give their variance.
    drawn = significance._bootstrap(differences, 40_000, np.random.default_rng(0))
    assert drawn.var() == pytest.approx(expected, rel=0.03)
    assert drawn.mean() == pytest.approx(differences.mean(), abs=expected**0.5 / 50)


@pytest.mark.parametrize(("seeds", "least"), [(1, 0.90), (5, 0.90)])
def test_the_interval_covers_the_true_difference(seeds: int, least: float) -> None:
    covered = significant = 0
    for number in range(200):
        system, baseline = scores(seeds, 50, gain=0.03, number=number)
        found = paired_comparison(system, baseline, resamples=200)
        covered += found.low <= 0.03 <= found.high
        nothing = paired_comparison(system - 0.03, baseline, resamples=200)
        significant += nothing.p_bootstrap < 0.05
    assert covered / 200 >= least
    assert significant / 200 <= 1 - least


def test_swapped_systems_give_the_negated_difference() -> None:
    system, baseline = scores(3, 50, gain=0.02)
    one, other = paired_comparison(system, baseline), paired_comparison(baseline, system)

    assert other.difference == -one.difference
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    assert (other.p_bootstrap, other.p_ttest) == pytest.approx((one.p_bootstrap, one.p_ttest))
    assert (other.wins, other.ties, other.losses) == (one.losses, one.ties, one.wins)
    assert other.effect_size == pytest.approx(-one.effect_size)


def test_the_same_seed_gives_the_same_result() -> None:
    system, baseline = scores(2, 30)
    found = paired_comparison(system, baseline, resamples=1_700)
    assert found == paired_comparison(system, baseline, resamples=1_700)
    assert found != paired_comparison(system, baseline, resamples=1_700, seed=1)


def test_memory_is_bounded_with_many_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(significance, "_DRAWN_AT_ONCE", 90)
    system, baseline = scores(2, 30, gain=0.05)
    few_at_once = paired_comparison(system, baseline, resamples=1_000)
    monkeypatch.undo()
    usual = paired_comparison(system, baseline, resamples=1_000)
    assert few_at_once.low == pytest.approx(usual.low, abs=usual.standard_error / 3)
    monkeypatch.setattr(significance, "_DRAWN_AT_ONCE", 1)
    assert paired_comparison(system, baseline, resamples=7).queries == 30


def test_equal_systems_do_not_differ() -> None:
    same = scores(2, 20)[0]
    found = paired_comparison(same, same)
    assert (found.difference, found.low, found.high, found.effect_size, found.standard_error) == (0, 0, 0, 0, 0)
    assert (found.p_bootstrap, found.p_ttest, found.ties) == (1.0, 1.0, 20)


def test_a_gain_that_is_the_same_everywhere_is_sure() -> None:
    baseline = scores(1, 50)[1]
    found = paired_comparison(baseline + 0.1, baseline, resamples=999)
    assert found.p_ttest == 0.0
    assert found.p_bootstrap == pytest.approx(2 / 1_000)
    assert (found.standard_error, found.effect_size) == (0.0, 0.0)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))


def test_errors_of_rounding_are_ties() -> None:
    # The first query's differences are 0.3 - 0.2 and 0.1 - 0.2: their sum is not exactly 0.
    found = paired_comparison([[0.3, 0.1], [0.1, 0.2]], [[0.2, 0.1], [0.2, 0.2]])
    assert (found.wins, found.ties, found.losses) == (0, 2, 0)
    assert (found.difference, found.p_ttest, found.p_bootstrap) == (0.0, 1.0, 1.0)


def test_one_query_says_nothing_of_others() -> None:
    found = paired_comparison([0.9], [0.1])
    assert (found.queries, found.p_bootstrap, found.p_ttest) == (1, 1.0, 1.0)


def test_a_result_can_be_written_as_json() -> None:
    found = paired_comparison(*scores(2, 10), resamples=50)
    values = found.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["queries"] == 10
    assert {type(value) for value in values.values()} == {int, float}


@pytest.mark.parametrize(
    ("system", "baseline", "settings_", "message"),
    [
        ([0.1, 0.2], [0.1], {}, "cannot be paired"),
        ([[0.1, 0.2]], [[0.1], [0.2]], {}, "cannot be paired"),
        ([], [], {}, "at least one of each"),
        (np.zeros((1, 2, 3)), np.zeros((1, 2, 3)), {}, r"\(seeds, queries\)"),
        ([0.1, float("nan")], [0.1, 0.2], {}, "no number"),
        ([0.1, 0.2], [0.1, float("inf")], {}, "no number"),
        ([[0.1, 0.2], [0.1]], [[0.1, 0.2], [0.1]], {}, "as many queries"),
        (["many"], [0.1], {}, "are numbers"),
        ([0.1, 0.2], [0.1, 0.2], {"confidence": 1.0}, "between 0 and 1"),
        ([0.1, 0.2], [0.1, 0.2], {"confidence": float("nan")}, "between 0 and 1"),
        ([0.1, 0.2], [0.1, 0.2], {"resamples": 0}, "1 or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(system: Any, baseline: Any, settings_: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        paired_comparison(system, baseline, **settings_)


tables = st.integers(1, 3).flatmap(
    lambda seeds: st.lists(
        st.lists(st.floats(0, 1).map(lambda value: round(value, 3)), min_size=2 * seeds, max_size=2 * seeds),
        min_size=2,
        max_size=12,
    ).map(lambda columns: np.array(columns).T.reshape(2, seeds, -1))
)


@settings(deadline=None)
@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_queries_and_seeds_does_not_matter(values: Any, chance: Any) -> None:
    one = paired_comparison(*values, resamples=5)
    queries, seeds = list(range(values.shape[2])), list(range(values.shape[1]))
    chance.shuffle(queries)
    chance.shuffle(seeds)
    other = paired_comparison(*values[:, seeds][:, :, queries], resamples=5)

    for name in EXACT:
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6, abs=1e-9)
    assert (other.wins, other.ties, other.losses) == (one.wins, one.ties, one.losses)
    assert other.wins + other.ties + other.losses == other.queries


@settings(deadline=None)
@given(tables)
def test_every_result_is_in_its_range(values: Any) -> None:
    found = paired_comparison(*values, resamples=50)
    assert -1 <= found.low <= found.high <= 1
    assert 0 < found.p_bootstrap <= 1
    assert 0 <= found.p_ttest <= 1
    assert abs(found.hedges_g) <= abs(found.effect_size)
    swapped = paired_comparison(values[1], values[0], resamples=50)
    assert swapped.p_bootstrap == found.p_bootstrap


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm((0.6, 0.7)) == [1.0, 1.0]
    assert (holm({}), holm([]), holm([0.2])) == ({}, [], [0.2])


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_p_value(value: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        holm([0.5, value])


def test_random_effects_by_hand() -> None:
    found = random_effects([1.0, 3.0], [0.5, 0.5])
    # Fixed weights 4 and 4, mean 2: Q = 8, c = 8 - 32 / 8 = 4, tau² = (8 - 1) / 4.
    error = ((0.25 + 1.75) / 2) ** 0.5
    assert found.tau_squared == pytest.approx(1.75)
    assert found.i_squared == pytest.approx(7 / 8)
    assert (found.mean, found.weights) == (pytest.approx(2.0), pytest.approx((0.5, 0.5)))
    assert (found.low, found.high) == pytest.approx((2 - 1.959964 * error, 2 + 1.959964 * error))
    assert found.p == pytest.approx(0.0455003, rel=1e-5)


def test_random_effects_are_those_of_statsmodels_where_sets_differ() -> None:
    differences, errors = np.array([1.7, -0.4, 2.2, 0.1]), np.array([0.4, 0.3, 0.6, 0.2])
    found = random_effects(differences.tolist(), errors.tolist(), confidence=0.9)
    expected = combine_effects(differences, errors**2, method_re="dl", alpha=0.1)
    interval = expected.conf_int(alpha=0.1)[1]

    assert found.tau_squared == pytest.approx(expected.tau2)
    assert found.i_squared == pytest.approx(expected.i2)
    assert found.mean == pytest.approx(expected.mean_effect_re)
    assert found.weights == pytest.approx(expected.weights_rel_re)
    assert (found.low, found.high) == pytest.approx(interval)


@pytest.mark.parametrize("differences", [(1.0, 1.02, 0.97), (1.0, 1.0, 1.0)])
def test_sets_that_agree_have_no_variance_between_them(differences: tuple[float, ...]) -> None:
    errors = (1.0, 1.0, 2.0)
    found = random_effects(differences, errors)
    weights = np.array(errors) ** -2 / (np.array(errors) ** -2).sum()

    assert (found.tau_squared, found.i_squared) == (0.0, 0.0)
    assert found.weights == pytest.approx(weights)
    assert found.mean == pytest.approx(weights @ differences)
    assert found.high - found.mean == pytest.approx(1.959964 * 2.25**-0.5)


def test_one_set_keeps_its_own_interval() -> None:
    found = random_effects([0.8], [0.2])
    assert (found.mean, found.weights, found.tau_squared, found.i_squared) == (pytest.approx(0.8), (1.0,), 0.0, 0.0)
    assert (found.low, found.high) == pytest.approx((0.8 - 1.959964 * 0.2, 0.8 + 1.959964 * 0.2))


def test_systems_that_are_equal_on_every_set_do_not_differ() -> None:
    found = random_effects([0.0, 0.0], [0.0, 0.0])
    assert (found.mean, found.low, found.high, found.p, found.weights) == (0.0, 0.0, 0.0, 1.0, (0.5, 0.5))


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.05, 5)), min_size=1, max_size=8))
def test_a_summary_lies_between_the_sets(sets: list[tuple[float, float]]) -> None:
    differences, errors = zip(*sets, strict=True)
    found = random_effects(differences, errors)
    assert min(differences) - 1e-9 <= found.mean <= max(differences) + 1e-9
    assert found.low < found.mean < found.high
    assert sum(found.weights) == pytest.approx(1)
    assert 0 <= found.i_squared <= 1
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    turned = random_effects(differences[::-1], errors[::-1])
    assert (turned.mean, turned.tau_squared) == pytest.approx((found.mean, found.tau_squared), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("differences", "errors", "confidence", "message"),
    [
        ([], [], 0.95, "cannot be summarised"),
        ([0.1, 0.2], [0.1], 0.95, "cannot be summarised"),
        ([[0.1]], [[0.1]], 0.95, "cannot be summarised"),
        ([0.1, 0.2], [0.1, 0.0], 0.95, "above 0"),
        ([0.1, 0.2], [0.1, -0.1], 0.95, "above 0"),
        ([0.1, float("nan")], [0.1, 0.1], 0.95, "must be numbers"),
        ([0.1, 0.2], [0.1, float("inf")], 0.95, "must be numbers"),
        ([0.1, 0.2], [0.1, 0.1], 95.0, "between 0 and 1"),
    ],
)
def test_what_cannot_be_summarised_is_refused(differences: Any, errors: Any, confidence: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        random_effects(differences, errors, confidence=confidence)
