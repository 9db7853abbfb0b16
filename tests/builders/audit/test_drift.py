"""What changed since an earlier audit."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from statsmodels.stats.proportion import proportion_confint

from hf_relabel.builders.audit.drift import difference, earlier_audit
from hf_relabel.builders.audit.expected import Called, corrected, expected_share
from hf_relabel.builders.audit.figures import Estimate
from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.cascade.run_stages import RunStage
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.keys import JudgeIdentity
from tests.benchmarks.coverage_audit import Cell
from tests.benchmarks.coverage_prevalence import drifted, unanswered

UNKNOWN = Estimate(None, None, None)


def exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


def test_the_share_that_is_relevant_follows_from_the_share_called_better_and_the_errors() -> None:
    # Of 1,000 candidates 200 are relevant: 180 of them are called better, and 40 of the 800 others.
    alone = corrected(220, 1000, exactly(0.9), exactly(0.05))
    low, high = ((end - 0.05) / 0.85 for end in proportion_confint(220, 1000, method="beta"))
    assert alone == Estimate(0.2, pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    found = corrected(10**9 * 22, 10**11, Estimate(0.9, 0.8, 0.95), Estimate(0.05, 0.03, 0.08))
    downs = [0.2 - (0.22 - 0.05) / 0.9, 0.2 - (0.22 - 0.08) / 0.82]
    ups = [(0.22 - 0.05) / 0.75 - 0.2, (0.22 - 0.03) / 0.87 - 0.2]
    assert found.low == pytest.approx(0.2 - math.hypot(*downs), abs=1e-3)
    assert found.high == pytest.approx(0.2 + math.hypot(*ups), abs=1e-3)
    assert corrected(10, 1000, exactly(0.9), exactly(0.05)).value == 0
    for recall, alarms in ((0.05, 0.05), (0.04, 0.05)):
        assert corrected(220, 1000, exactly(recall), exactly(alarms)) == UNKNOWN
    assert corrected(220, 1000, Estimate(0.5, 0.1, 0.9), exactly(0.2)) == UNKNOWN
    assert corrected(220, 1000, exactly(0.5), Estimate(0.2, 0.1, 0.6)) == UNKNOWN
    assert corrected(220, 1000, UNKNOWN, exactly(0.05)) == UNKNOWN
    assert corrected(0, 0, exactly(0.9), exactly(0.05)) == UNKNOWN


def test_intervals_hold_for_a_release_that_nobody_answered_for() -> None:
    held, width = unanswered(Cell(1, 400), 300, 0.5, repetitions=30, audited=1500)
    assert held >= 0.93
    assert width < 0.15


def test_a_difference_is_as_unsure_as_both_sides() -> None:
    found = difference(Estimate(0.5, 0.46, 0.53), Estimate(0.6, 0.56, 0.7))
    assert found == Estimate(0.1, pytest.approx(0.1 - (0.04**2 + 0.03**2) ** 0.5), pytest.approx(0.2077, abs=1e-4))
    assert difference(UNKNOWN, exactly(0.5)) == UNKNOWN


def test_intervals_of_drift_hold() -> None:
    assert min(drifted(Cell(7, 200), repetitions=25, size=2000).values()) >= 0.92


def test_what_is_no_audit_is_refused(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    for content in ("{}", "[[", json.dumps({"verdict": {"recall": {}}})):
        report.write_text(content)
        with pytest.raises(ConfigError, match=r"report.json (holds no audit|cannot be read)"):
            earlier_audit(report)
    with pytest.raises(ConfigError, match=r"There is no file or folder .*none\.json"):
        earlier_audit(tmp_path / "none.json")


def test_why_a_share_cannot_be_told_is_said_plainly() -> None:
    stages = [RunStage("one", Rule(), (JudgeIdentity("listwise", "m", "1", {}),)).to_dict()]
    other = [RunStage("one", Rule(), (JudgeIdentity("listwise", "another", "1", {}),)).to_dict()]
    verdict = {"recall": exactly(0.9).to_dict(), "false_alarms": exactly(0.05).to_dict()}
    earlier = {"verdict": verdict, "calibrated": False, "stages": stages}
    called = Called("v2", 1000, 220, False, stages)
    assert expected_share(earlier, called).share.value == 0.2
    weak = {**verdict, "recall": Estimate(0.5, 0.03, 0.9).to_dict()}
    for audit, release, said in (
        (
            earlier,
            replace(called, stages=other),
            "of the verdicts of listwise m@1, while v2 has those of listwise an",
        ),
        (earlier, replace(called, calibrated=True), "by the judges' labels, while those of v2 are by the thresholds"),
        ({**earlier, "verdict": weak}, called, "call better 0.500 .0.030, 0.900. of what is relevant and 0.050"),
        (earlier, replace(called, candidates=0, positives=0), "No candidate of v2 has a verdict"),
    ):
        with pytest.raises(ConfigError, match=said):
            expected_share(audit, release)
