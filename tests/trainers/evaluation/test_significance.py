"""Comparing two systems: against scipy, calculations by hand, and draws where the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.comparing.measurements import Measurements
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.evaluation.significance import (
    DIFFERENCES,
    MEANS,
    MeanDifference,
    effect_size,
    holm,
    mean_difference,
    mean_interval,
    seeds_needed,
)
from hf_relabel.trainers.qrels.systems_measured import measure
from tests.benchmarks.coverage_comparisons import ALPHA, Cell, drawn, false_positives, power, welch
from tests.trainers.runs import beir_folder


def table(seeds: int, queries: int, *, gain: float = 0.0, run_sd: float = 0.0, number: int = 0) -> Any:
    """Differences of shape (seeds, queries)."""
    chance = np.random.default_rng(number)
    runs = chance.normal(0, run_sd, size=(seeds, 1))
    return gain + runs + chance.normal(0, 0.1, size=queries) + chance.normal(0, 0.02, size=(seeds, queries))


def found_in(*tables: Any, **options: Any) -> Any:
    return mean_difference(tables, [np.zeros(np.shape(each)) for each in tables], **options)


def test_a_small_example_by_hand() -> None:
    # Two seeds, four queries: means over queries 2 and 4, over seeds 1, 2, 4, 5.
    found = found_in([[0, 1, 3, 4], [2, 3, 5, 6]])
    of_runs, of_queries = 2 / 2, (4 + 1 + 1 + 4) / 3 / 4
    reach = (12.706205**2 * of_runs + 3.182446**2 * of_queries) ** 0.5
    assert (found.difference, found.seeds, found.queries) == (3.0, 2, (4,))
    assert (found.seed_error, found.query_error) == pytest.approx((of_runs**0.5, of_queries**0.5))
    assert (found.low, found.high) == pytest.approx((3 - reach, 3 + reach), rel=1e-6)


def test_without_a_difference_of_runs_it_is_the_paired_t_test_and_without_one_of_queries_that_of_runs() -> None:
    queries = table(1, 60, gain=0.02)[0]
    found = found_in(np.tile(queries, (3, 1)))
    expected = stats.ttest_1samp(queries, 0.0)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(expected.pvalue)

    runs = np.array([0.01, 0.03, 0.04])
    found = found_in(np.tile(runs[:, None], (1, 50)), np.tile(runs[:, None], (1, 20)))
    assert found.p == pytest.approx(stats.ttest_1samp(runs, 0.0).pvalue)


def test_the_luck_of_a_run_is_shared_by_all_sets() -> None:
    """Were the sets taken as independent, five of them would halve the luck of three runs, and more."""
    one = table(3, 400, run_sd=0.01)
    assert found_in(*[one] * 5).seed_error == pytest.approx(found_in(one).seed_error)
    assert found_in(*[one] * 5).query_error == pytest.approx(found_in(one).query_error / 5**0.5)


def test_each_set_counts_alike_however_many_queries_it_has() -> None:
    assert found_in(np.full((2, 3), 0.1), np.full((2, 300), 0.3)).difference == pytest.approx(0.2)


@pytest.mark.parametrize("cell", [Cell(7, 2, 0.01, 100), Cell(2, 3, 0.005, 100)], ids=str)
def test_the_5_percent_test_fires_in_no_more_than_6_percent_where_there_is_nothing(cell: Cell) -> None:
    found = drawn(cell, 400)
    assert false_positives(found) <= 0.06
    assert power(found, 0.1) > 0.7


def test_one_t_quantile_for_all_would_fire_too_often() -> None:
    """Why the method is not the one of the textbooks."""
    assert np.mean([welch(each) < ALPHA for each in drawn(Cell(7, 2, 0.01), 300)]) > 0.06


def test_the_chance_is_that_at_which_the_bounds_reach_0() -> None:
    tables = [table(3, 40, gain=0.03, run_sd=0.01, number=number) for number in range(3)]
    p = found_in(*tables).p
    assert found_in(*tables, confidence=1 - p).low == pytest.approx(0, abs=1e-9)
    swapped = mean_difference([np.zeros(each.shape) for each in tables], tables)
    assert swapped.p == pytest.approx(p)


def test_one_seed_or_one_query_says_nothing_of_others() -> None:
    for tables in ([table(1, 50, gain=5)], [table(3, 50, gain=5), table(3, 1, gain=5)], [table(2, 1)]):
        found = found_in(*tables)
        assert (found.low, found.high, found.p) == (None, None, 1.0)
    assert found_in(table(1, 50)).seed_error is None
    assert found_in(table(3, 50), table(3, 1)).query_error is None


def test_a_set_with_equal_results_counts_as_no_difference() -> None:
    found = found_in(table(3, 50, gain=0.2), np.zeros((3, 50)))
    assert found.difference == pytest.approx(0.1, abs=0.03)
    assert found.low > 0


def test_equal_systems_do_not_differ() -> None:
    for shape in ((2, 20), (1, 20), (2, 1)):
        same = np.full(shape, 0.3)
        found = mean_difference([same], [same])
        assert (found.difference, found.p) == (0.0, 1.0)
    assert (found_in(np.zeros((2, 20))).low, found_in(np.zeros((2, 20))).high) == (0.0, 0.0)


def test_a_difference_that_is_the_same_everywhere_shows_no_chance_to_judge_by() -> None:
    baseline = np.random.default_rng(0).uniform(size=(2, 3))
    found = mean_difference([baseline + 0.1], [baseline])
    assert (found.low, found.p) == (None, 1.0)


def test_errors_of_rounding_are_no_differences() -> None:
    # 0.3 - 0.2 and 0.1 - 0.2: their sum is not exactly 0.
    found = mean_difference([[[0.3, 0.1], [0.1, 0.2]]], [[[0.2, 0.1], [0.2, 0.2]]])
    assert (found.difference, found.p) == (0.0, 1.0)


def test_seeds_that_would_do_are_told() -> None:
    found = MeanDifference(0.02, -0.2, 0.2, 0.3, seeds=2, queries=(50,), seed_error=0.01, query_error=0.0)
    # A run's variance is .0002. With 4 seeds 3.18 ** 2 * .0002 / 4 > .02 ** 2, with 5 2.78 ** 2 * .0002 / 5 is less.
    assert seeds_needed(found, 0.05) == 5
    # Queries leave .02 ** 2 - (1.96 * .009) ** 2 = .0000888, where 2.23 ** 2 * .0002 / 11 is more; with 12 it is less.
    assert seeds_needed(replace(found, query_error=0.009), 0.05) == 12
    for hopeless in ({"query_error": 0.011}, {"seed_error": None}, {"query_error": None}, {"difference": 0.0}):
        assert seeds_needed(replace(found, **hopeless), 0.05) is None


def test_effect_size_by_hand() -> None:
    assert effect_size([[0.6, 0.5, 0.9, 0.4]], [[0.5, 0.5, 0.6, 0.5]]) == pytest.approx(0.075 / (0.0875 / 3) ** 0.5)
    assert effect_size([[0.6, 0.5]], [[0.5, 0.4]]) == effect_size([[0.6]], [[0.5]]) == 0.0


@pytest.mark.parametrize(
    ("system", "baseline", "settings_", "message"),
    [
        ([[[0.1, 0.2]]], [[[0.1]]], {}, "cannot be paired"),
        ([[[0.1]], [[0.1], [0.2]]], [[[0.1]], [[0.1], [0.2]]], {}, "cannot be paired"),
        ([], [], {}, "cannot be paired"),
        ([[0.1, 0.2]], [[0.1, 0.2]], {}, r"\(seeds, queries\)"),
        ([[[]]], [[[]]], {}, "at least one of each"),
        ([[[0.1, float("nan")]]], [[[0.1, 0.2]]], {}, "no number"),
        ([[[0.1, 0.2], [0.1]]], [[[0.1, 0.2], [0.1]]], {}, "as many queries"),
        ([[["many"]]], [[[0.1]]], {}, "are numbers"),
        ([[[0.1, 0.2]]], [[[0.1, 0.2]]], {"confidence": 1.0}, "between 0 and 1"),
        ([[[0.1, 0.2]]], [[[0.1, 0.2]]], {"confidence": float("nan")}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(system: Any, baseline: Any, settings_: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mean_difference(system, baseline, **settings_)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 4), st.lists(st.integers(1, 6), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_every_result_is_in_its_range_whatever_the_order(seeds: int, sizes: list[int], chance: Any) -> None:
    def values() -> list[Any]:
        made = [[[chance.choice((0.0, 0.5, 1.0)) for _ in range(size)] for _ in range(seeds)] for size in sizes]
        return list(map(np.array, made))

    one, other = values(), values()
    found = mean_difference(one, other)
    assert 0 < found.p <= 1
    if found.low is not None and found.high is not None:
        assert found.low <= found.difference <= found.high
        assert (found.p < 0.0499) <= (found.low > 0 or found.high < 0) <= (found.p < 0.0501)
    turned = mean_difference([each[::-1, ::-1] for each in one[::-1]], [each[::-1, ::-1] for each in other[::-1]])
    assert (turned.difference, turned.p) == pytest.approx((found.difference, found.p), rel=1e-6)


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm((0.6, 0.7)) == [1.0, 1.0]
    assert (holm({}), holm([]), holm([0.2])) == ({}, [], [0.2])


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_p_value(value: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        holm([0.5, value])


def test_sets_that_share_a_weight_count_as_one() -> None:
    """CQADupStack's forums: the mean, its share of the spread from query to query, and that from run to run."""
    draw = np.random.default_rng(5)
    nq, tex, gis = (draw.normal(mean, 0.1, (3, 40)) for mean in (0.1, 0.3, 0.5))
    zeros = [np.zeros((3, 40))] * 3
    found = mean_difference([nq, tex, gis], zeros, weights=[0.5, 0.25, 0.25])
    assert found.difference == pytest.approx((nq.mean() + (tex.mean() + gis.mean()) / 2) / 2)
    spread = [table.mean(axis=0).var(ddof=1) / 40 for table in (nq, tex, gis)]
    assert found.query_error == pytest.approx((spread[0] / 4 + spread[1] / 16 + spread[2] / 16) ** 0.5)
    by_seed = nq.mean(axis=1) / 2 + tex.mean(axis=1) / 4 + gis.mean(axis=1) / 4
    assert found.seed_error == pytest.approx((by_seed.var(ddof=1) / 3) ** 0.5)
    equal = mean_difference([nq, tex], zeros[:2])
    assert mean_difference([nq, tex], zeros[:2], weights=[0.5, 0.5]) == equal
    for wrong in ([0.5, 0.5], [0.5, 0.25, 0.5], [1.5, -0.25, -0.25]):
        with pytest.raises(ConfigError, match="not one for each of 3 sets, adding up to 1"):
            mean_difference([nq, tex, gis], zeros, weights=wrong)


def test_bounds_end_where_no_mean_and_no_difference_can_be() -> None:
    """Of two queries they reached far beyond. What lies within is as it was."""
    few = [[0.0, 1.0]]
    low, high = mean_interval([few]) or (0, 0)
    assert low < 0 < 1 < high
    assert mean_interval([few], within=MEANS) == (0, 1)
    high_up = [[0.9, 1.0, 1.0, 0.95]]
    low, high = mean_interval([high_up]) or (0, 0)
    assert high > 1
    assert mean_interval([high_up], within=MEANS) == (low, 1)
    tables, baseline = [np.array([[0.0, 1.0], [0.2, 1.0]])], [np.array([[1.0, 0.0], [0.9, 0.2]])]
    free, cut = mean_difference(tables, baseline), mean_difference(tables, baseline, within=DIFFERENCES)
    assert free.low is not None
    assert free.low < -1
    assert cut == replace(free, low=-1, high=1)
    found = mean_difference([table(3, 50)], [np.zeros((3, 50))])
    assert mean_difference([table(3, 50)], [np.zeros((3, 50))], within=DIFFERENCES) == found


def test_what_is_reported_of_tiny_sets_lies_within_what_can_be(tmp_path: Path) -> None:
    data = read_beir(beir_folder(tmp_path))
    values = {
        data.about.name: {"original": np.array([[0.0, 1.0], [0.1, 1.0]]), "b": np.array([[1.0, 0.0], [0.8, 0.1]])}
    }
    found = Measurements("ndcg@10", (0, 1), (data,), values, {"original": 1, "b": 1})
    for difference in (found.difference("b", "original"), found.difference_on(data.about.name, "b", "original")):
        assert (difference.low, difference.high) == (-1, 1)
    runs = {"bm25": {"q1": {"a": 1.0}, "q2": {"b": 1.0}}}
    before, after = {"q1": {"a": 1}, "q2": {"a": 1}}, {"q1": {"a": 1}, "q2": {"a": 1, "b": 1}}
    [system] = measure(runs, {"bm25": {"q1": ["a"], "q2": ["b"]}}, before, after, after)
    assert (system.before.interval, system.change.interval) == ((0, 1), (-1, 1))


def test_the_interval_of_a_mean_holds_what_it_promises() -> None:
    """Simulated: sets of unlike sizes and spreads, two of which share a weight."""
    draw = np.random.default_rng(3)
    sizes, spreads, shares = (8, 30, 60), (0.3, 0.1, 0.2), (0.5, 0.25, 0.25)
    held = 0
    for _ in range(600):
        tables = [draw.normal(0.4, spread, (1, size)) for size, spread in zip(sizes, spreads, strict=True)]
        bounds = mean_interval(tables, weights=shares)
        assert bounds is not None
        held += bounds[0] <= 0.4 <= bounds[1]
    assert 0.94 <= held / 600 <= 0.99
    assert mean_interval([[[0.5]], [[0.1, 0.2]]]) is None  # one query
    assert mean_interval([[[0.5, 0.5]]]) is None
