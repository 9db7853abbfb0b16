"""Scores become probabilities, and thresholds that hold a wanted precision on rows nobody looked at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.cascade.calibration import Calibration, Drop, Method
from hf_relabel.builders.cascade.fitting import LabelledScore, fit
from hf_relabel.builders.cascade.zones import CALIBRATED, signal, zoned
from hf_relabel.builders.configs.evidence import audited_default
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.techniques import Technique
from tests.benchmarks.coverage_calibration import below, held
from tests.examples import drawn


def synthetic(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and labels whose probability is the score to the power of 1.5: a judge that is too sure of itself."""
    chance = np.random.default_rng(seed)
    scores = chance.beta(0.8, 1.2, number)
    return scores, chance.random(number) < scores**1.5


def labelled(scores: np.ndarray, truth: np.ndarray, weight: float = 1.0) -> list[LabelledScore]:
    return [LabelledScore(float(score), bool(label), weight) for score, label in zip(scores, truth, strict=True)]


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_probabilities_come_near_the_truth(method: str) -> None:
    fitted = fit(labelled(*synthetic(4000, 1)), method=method)  # type: ignore[arg-type]

    scores = np.linspace(0.1, 0.9, 9)
    assert np.abs(fitted.probabilities(scores) - scores**1.5).max() < 0.12
    assert fitted.brier < fitted.brier_before
    assert fitted.method == method


def test_the_method_follows_the_number_of_labels() -> None:
    assert fit(labelled(*synthetic(400, 1))).method == "platt"
    assert fit(labelled(*synthetic(600, 1))).method == "isotonic"


def test_a_zone_can_be_held_above_a_probability_too() -> None:
    items = labelled(*synthetic(1500, 2))
    whole, held_above = fit(items, precision=0.6), fit(items, precision=0.6, probability=0.8)
    assert whole.zones.sure is not None
    assert held_above.zones.sure is not None
    assert whole.probability(whole.zones.sure) < 0.7
    assert held_above.probability(held_above.zones.sure) >= 0.8
    assert (held_above.zones.least, held_above.zones.wanted) == (0.8, 0.6)
    assert fit(items, precision=0.6, probability=0.9999, method="platt").zones.sure is None
    with pytest.raises(ConfigError, match="probability: expected a number between 0 and 1, found 1"):
        fit(items, probability=1)


@pytest.mark.parametrize("judge", ["good", "too sure", "useless"])
def test_the_default_of_an_audit_holds_its_precision(judge: str) -> None:
    holds, _, _ = held(judge, 400, 0.8, 60, probability=0.9)
    assert holds >= 0.95


@pytest.mark.parametrize("wanted", [0.5, 0.7, 0.8])
def test_a_wanted_precision_holds_on_unseen_rows(wanted: float) -> None:
    """In at least 9 of 10 seeds, and the sure zone is not empty for fear of failing."""
    held, recalls = 0, []
    for seed in range(10):
        zones = fit(labelled(*synthetic(1500, seed)), precision=wanted).zones
        if zones.sure is None:
            held += 1
            continue
        scores, truth = synthetic(20_000, 100 + seed)
        sure = scores >= zones.sure
        precision = truth[sure].mean()
        held += precision + 1.96 * (precision * (1 - precision) / sure.sum()) ** 0.5 >= wanted
        recalls.append(truth[sure].sum() / truth.sum())
    assert held >= 9
    assert len(recalls) >= 9
    assert min(recalls) > 0.1


@pytest.mark.parametrize(("wanted", "share"), [(0.5, 0.49), (0.8, 0.79), (0.9, 0.88)])
def test_the_luckiest_of_many_scores_is_not_believed(wanted: float, share: float) -> None:
    """Where the score says nothing and no threshold has the precision, one is found in one seed of twenty at most."""
    found = 0
    for seed in range(40):
        chance = np.random.default_rng(seed)
        scores, truth = chance.random(400), chance.random(400) < share
        found += fit(labelled(scores, truth), precision=wanted).zones.sure is not None
    assert found <= 3


@pytest.mark.parametrize("judge", ["good", "too sure"])
def test_the_sure_zone_of_an_audit_has_the_wanted_precision(judge: str) -> None:
    """Of strata drawn and answered unevenly, in a cell of the benchmark of coverage."""
    kept, any_sure, _ = held(judge, labels=400, wanted=0.8, repetitions=25)
    assert kept >= 0.92
    assert any_sure > 0.9 if judge == "good" else any_sure < 0.1


def test_labels_that_chose_a_threshold_back_no_more_than_was_wanted() -> None:
    """What they say beyond that would make `relabel` the default."""
    fitted = fit(labelled(*synthetic(1500, 2)), precision=0.7)
    precision = fitted.zones.precision
    assert precision is not None
    assert precision.low == 0.7 < precision.value <= precision.high

    manifest = {"settings": {"techniques": ["original", "remove-hn", "relabel"], "default_config": "original"}}
    audit = {"calibrated": False, "verdict": {"precision": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    for wanted, default in ((0.9, "remove-hn"), (0.95, "relabel")):
        zones = {"wanted": wanted, "precision": {"value": 0.99, "low": 0.97, "high": 1.0}}
        evidence = {"zones": {"zones": zones}}
        found, why = audited_default({**manifest, "evidence": evidence}, audit)
        assert found == default
        assert f"what is relabelled is {wanted:.3f} or more by its interval" in why


@pytest.mark.parametrize(
    ("now", "calibrated", "high", "default"),
    [
        ("relabel-filter", False, 0.6, "relabel-filter"),  # of the judges' labels, which decide nothing here
        ("relabel-filter", True, 0.95, "relabel-filter"),
        ("relabel-filter", True, 0.89, "remove-hn"),
        ("relabel", True, 0.89, "remove-hn"),
        ("original", True, 0.89, "original"),  # relabels nothing
        ("remove-hn", False, 0.6, "remove-hn"),  # named by hand
        ("relabel-filter", True, None, "relabel-filter"),  # nobody answered
    ],
)
def test_an_audit_leaves_a_build_by_thresholds_its_default_unless_it_refutes_them(
    now: str, calibrated: bool, high: float | None, default: str
) -> None:
    zones = {"wanted": 0.9, "precision": {"value": 0.97, "low": 0.9, "high": 1.0}}
    settings = {"techniques": list(Technique), "default_config": now}
    precision = {"value": high and high - 0.1, "low": high and high - 0.2, "high": high}
    audit = {"calibrated": calibrated, "verdict": {"precision": precision}}
    found, why = audited_default({"settings": settings, "evidence": {"zones": {"zones": zones}}}, audit)
    assert found == default
    assert ("below the 0.9 that was wanted" in why) == (found != now)

    compared = {"zones": {"zones": zones}, "compare": {"chosen": "relabel"}}
    assert audited_default({"settings": settings, "evidence": compared}, audit)[0] == "relabel"


def test_where_no_score_holds_it_there_is_no_sure_zone() -> None:
    chance = np.random.default_rng(0)
    zones = fit(labelled(chance.random(500), chance.random(500) < 0.2), precision=0.9).zones

    assert zones.sure is None
    assert zones.zone(1.0) == "unsure"
    assert zones.precision is None


def test_unsure_keeps_nine_tenths_of_the_false_negatives() -> None:
    scores, truth = synthetic(3000, 3)
    zones = fit(labelled(scores, truth)).zones

    assert truth[scores < zones.unsure].sum() <= 0.1 * truth.sum()
    assert zones.kept >= 0.9
    assert zones.zone(zones.unsure) in ("unsure", "sure")
    assert zones.zone(max(0.0, zones.unsure - 0.01)) == "clear"


@pytest.mark.parametrize("drop", ["keep", "likely"])
def test_what_is_promised_of_the_lower_threshold_holds(drop: Drop) -> None:
    """In a cell of the benchmark of coverage, where the plain bound of so many labels fails in one draw of seven."""
    found = below("good", 100, drop, 20)
    assert min(found.held, found.left_held, found.levels_held) >= 0.95
    assert 0.3 < found.backed < found.reached


def test_the_lower_threshold_follows_either_rule() -> None:
    items = labelled(*synthetic(1500, 3))
    kept, likely = (fit(items, drop=drop).zones for drop in ("keep", "likely"))  # type: ignore[arg-type]
    fitted = fit(items, drop="likely")
    assert kept.unsure is not None
    assert likely.unsure is not None
    assert fitted.probability(likely.unsure) == pytest.approx(0.5, abs=1e-6)
    assert (kept.drop, likely.drop) == ("keep", "likely")
    for zones in (kept, likely):
        assert zones.left is not None
        assert 0 < zones.backed < zones.kept < 1  # type: ignore[operator]
        below_it = [item.relevant for item in items if item.score < (zones.unsure or 0)]
        assert zones.left.value == pytest.approx(np.mean(below_it), abs=1e-5)

    with pytest.raises(ConfigError, match="drop: expected one of keep, likely, found 'some'"):
        fit(items, drop="some")  # type: ignore[arg-type]


def test_where_no_score_is_likely_nothing_is_dropped_by_that_rule() -> None:
    chance = np.random.default_rng(0)
    fitted = fit(labelled(chance.random(300), chance.random(300) < 0.2), drop="likely")
    zones = fitted.zones
    assert (zones.sure, zones.unsure, zones.kept, zones.backed) == (None, None, 0, 0)
    assert zones.zone(1.0) == "clear"
    assert "no score is doubtful" in str(fitted.note())


def test_few_labels_promise_little() -> None:
    """Ten false negatives of the audit, none of them below: not all that there are need lie above."""
    few = fit([LabelledScore(number / 20, number >= 10) for number in range(20)], keep=1)
    assert few.zones.kept == 1
    assert few.zones.backed == pytest.approx(0.05 ** (1 / 10), abs=1e-6)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_the_sure_zone_may_begin_at_a_probability(method: Method) -> None:
    fitted = fit(labelled(*synthetic(1500, 4)), method=method)
    for level in fitted.levels:
        moved = fitted.at(level.probability)
        assert moved.zones.at == level.probability
        if level.score is None:
            assert moved.zones.sure is None
            continue
        assert fitted.probability(level.score) == pytest.approx(level.probability, abs=1e-4)
        assert fitted.probability(level.score - 0.02) < level.probability
        assert level.precision is not None
        assert moved.zones.wanted == level.precision.low < level.precision.value
        assert moved.zones.zone(level.score) == "sure"
    assert [level.probability for level in fitted.levels] == [0.5, 0.7, 0.9, 0.95]
    assert fitted.levels[0].labels > fitted.levels[1].labels > 0
    assert fitted.at(0.6).zones.wanted == 0  # nobody asked the labels of it
    low = fitted.at(0.01).zones
    assert low.sure == low.unsure
    with pytest.raises(ConfigError, match="zones_at: expected a probability between 0 and 1, found 1"):
        fitted.at(1)


def test_weights_stand_for_candidates_that_were_not_drawn() -> None:
    """A stratified sample with weights gives what the whole gives; without weights it does not."""
    scores, truth = synthetic(40_000, 5)
    whole = fit(labelled(scores, truth))
    high = scores >= 0.5
    chance = np.random.default_rng(1)
    picked = np.concatenate([chance.choice(np.flatnonzero(part), 1500, replace=False) for part in (high, ~high)])
    weights = np.where(high[picked], high.sum() / 1500, (~high).sum() / 1500)
    weighted = [
        LabelledScore(float(scores[place]), bool(truth[place]), float(weight))
        for place, weight in zip(picked, weights, strict=True)
    ]

    assert fit(weighted).zones.unsure == pytest.approx(whole.zones.unsure, abs=0.04)
    assert abs(fit(labelled(scores[picked], truth[picked])).zones.unsure - whole.zones.unsure) > 0.06


def test_three_labels_are_scores_too() -> None:
    """A judge without scores: irrelevant 0, worse .5, better 1."""
    chance = np.random.default_rng(2)
    scores = chance.choice([0.0, 0.5, 1.0], 900, p=[0.7, 0.15, 0.15])
    truth = chance.random(900) < np.select([scores == 0, scores == 0.5], [0.02, 0.3], 0.95)

    zones = fit(labelled(scores, truth), precision=0.85).zones

    assert (zones.sure, zones.zone(0.5), zones.zone(0.0)) == (1.0, "unsure", "clear")


@drawn(20)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0.01, 100)), min_size=20, max_size=60),
    st.floats(0.05, 0.99),
)
def test_any_labels_give_a_calibration_that_survives_being_stored(
    found: list[tuple[float, bool, float]], wanted: float
) -> None:
    items = [LabelledScore(*each) for each in found]
    if len({item.relevant for item in items}) < 2:
        with pytest.raises(ConfigError, match="both kinds"):
            fit(items)
        return
    fitted = fit(items, precision=wanted)

    again = Calibration.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted
    for item in items:
        assert 0 <= fitted.probability(item.score) <= 1
        assert again.zones.zone(item.score) == fitted.zones.zone(item.score)


def test_bad_labels_are_refused() -> None:
    good = labelled(*synthetic(100, 1))
    for items, message in (
        (good[:10], "at least 20 labels, there are 10"),
        ([*good, LabelledScore(1.5, True)], r"in \[0, 1\]"),
        ([*good, LabelledScore(0.5, True, 0.0)], "must be positive"),
        ([*good, LabelledScore(float("nan"), True)], r"in \[0, 1\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit(items)
    with pytest.raises(ConfigError, match="precision: expected"):
        fit(good, precision=1.5)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    fit(labelled(*synthetic(100, 1))).write(tmp_path / "good.json")
    assert Calibration.read(tmp_path / "good.json").labels == 100

    values = json.loads((tmp_path / "good.json").read_text())
    (tmp_path / "bad.json").write_text(json.dumps({**values, "zones": {**values["zones"], "sure": "high"}}))
    (tmp_path / "unsorted.json").write_text(json.dumps({**values, "method": "isotonic", "points": [[1, 0], [0, 0]]}))
    (tmp_path / "none.json").write_text("[1, 2")
    for name, message in (
        ("bad.json", "`zones.sure`"),
        ("unsorted.json", "no calibration of hf-relabel: points must be given in ascending order.$"),
        ("none.json", "cannot be read"),
        ("missing.json", "no calibration at"),
    ):
        with pytest.raises(ConfigError, match=message):
            Calibration.read(tmp_path / name)


def verdict(*stages: Judgement | None, outcome: Outcome = Outcome.NEGATIVE, reason: str = "judged") -> Verdict:
    return Verdict(0, "d", outcome, reason, stages)


def test_the_signal_is_the_last_word_and_later_stages_lie_higher() -> None:
    low, high = Judgement(Label.IRRELEVANT, 0.9), Judgement(Label.IRRELEVANT)

    assert signal(verdict(Judgement(Label.BETTER, 0.25))) == 0.25
    assert signal(verdict(Judgement(Label.WORSE))) == 0.5
    assert signal(verdict(low, None)) == 0.45
    assert signal(verdict(low, high)) == 0.5
    assert signal(verdict(low, outcome=Outcome.UNJUDGED, reason="failed")) is None
    assert signal(verdict(reason="exempt")) is None
    assert signal(verdict(high, Judgement(Label.FAILED))) is None  # of the last stage there is no word
    assert signal(verdict(Judgement(Label.FAILED), high)) is not None


def test_what_an_early_stage_accepts_lies_where_the_last_stage_would_put_it() -> None:
    """Else the surest candidates of a cascade lie below what its last stage calls irrelevant."""
    better, irrelevant = Judgement(Label.BETTER, 0.97), Judgement(Label.IRRELEVANT, 0.02)
    accepted = verdict(better, None, outcome=Outcome.FALSE_NEGATIVE)
    denied = verdict(Judgement(Label.WORSE, 0.4), irrelevant)
    undoubted = verdict(irrelevant, None)

    assert signal(accepted) == signal(verdict(Judgement(Label.WORSE), better))
    assert signal(undoubted) < signal(denied) < signal(accepted)  # type: ignore[operator]
    assert signal(zoned([accepted], lambda _: "clear")[0]) == signal(accepted)


def test_zones_decide_in_place_of_labels_and_leave_the_rest_alone() -> None:
    unsure = [
        verdict(Judgement(Label.BETTER, 0.3)),
        verdict(Judgement(Label.IRRELEVANT, 0.95)),
        verdict(outcome=Outcome.DUPLICATE, reason="same-text"),
        verdict(Judgement(Label.UNPARSABLE), outcome=Outcome.UNJUDGED, reason="unparsable"),
        verdict(Judgement(Label.WORSE, 0.1), outcome=Outcome.DOUBTFUL),
    ]
    zones = fit(labelled(*synthetic(1500, 1)), precision=0.7).zones.model_copy(update={"sure": 0.9, "unsure": 0.2})

    found = zoned(unsure, zones.zone)

    outcomes = [Outcome.DOUBTFUL, Outcome.FALSE_NEGATIVE, Outcome.DUPLICATE, Outcome.UNJUDGED, Outcome.NEGATIVE]
    assert [each.outcome for each in found] == outcomes
    assert [each.reason for each in found] == [CALIBRATED, CALIBRATED, "same-text", "unparsable", CALIBRATED]
