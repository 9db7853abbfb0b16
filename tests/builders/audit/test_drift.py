"""What changed since an earlier audit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_relabel.builders.audit.drift import corrected, difference, earlier_audit
from hf_relabel.builders.audit.figures import Estimate
from hf_relabel.builders.errors import ConfigError
from tests.benchmarks.coverage_audit import Cell
from tests.benchmarks.coverage_prevalence import drifted

UNKNOWN = Estimate(None, None, None)


def exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


def test_the_share_that_is_relevant_follows_from_the_share_called_better_and_the_errors() -> None:
    # Of 1,000 candidates 200 are relevant: 180 of them are called better, and 40 of the 800 others.
    assert corrected(0.22, exactly(0.9), exactly(0.05)).value == pytest.approx(0.2)
    found = corrected(0.22, Estimate(0.9, 0.8, 0.95), Estimate(0.05, 0.03, 0.08))
    assert found.low == pytest.approx((0.22 - 0.08) / (0.95 - 0.08), abs=1e-4)
    assert found.high == pytest.approx((0.22 - 0.03) / (0.8 - 0.03), abs=1e-4)
    assert corrected(0.01, exactly(0.9), exactly(0.05)).value == 0
    assert corrected(0.22, exactly(0.05), exactly(0.05)) == UNKNOWN
    assert corrected(0.22, UNKNOWN, exactly(0.05)) == UNKNOWN


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
    with pytest.raises(ConfigError, match="cannot be read"):
        earlier_audit(tmp_path / "none.json")
