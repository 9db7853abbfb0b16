"""What people see while a job judges: a bar on a terminal, and a line now and then anywhere else."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest

from hf_relabel.builders.judgements import Label
from hf_relabel.hub_tools.calls import progress_bars as bars
from hf_relabel.hub_tools.calls.progress_bars import described
from hf_relabel.hub_tools.commands.live import judging_progress
from hf_relabel.hub_tools.judging.stage_report import StageReport


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        return [line.strip() for line in re.split(r"[\r\n]", self.getvalue()) if line.strip()]


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """To be called in the test itself: between fixtures and test, pytest sets its own standard error."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(bars, "REDRAWN_SECONDS", 0.0)
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)  # no thread of tqdm's own
    return terminal


def report_of(name: str = "cheap", rows: int = 0, cost: float | None = None) -> StageReport:
    report = StageReport(name, "listwise", rows=rows, cost=cost)
    report.labels[Label.BETTER], report.labels[Label.IRRELEVANT] = 12, 3400
    report.prompt_tokens, report.completion_tokens = 1_200_000, 34_000
    return report


def test_a_bar_tells_rows_speed_time_left_labels_tokens_and_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with judging_progress(2000) as show:
        report = report_of(rows=0)
        show(report)
        report.rows, report.cost = 1000, 0.309
        time.sleep(0.12)  # tqdm draws ten times a second
        show(report)
        drawn = terminal.lines()[-1]
    assert drawn.startswith("cheap:  50%")
    assert "1000/2000" in drawn
    assert re.search(r"\[\d\d:\d\d<\d\d:\d\d, .*rows/s", drawn)
    assert "better 12, irrelevant 3,400, 1.23M tokens, 0.31 USD" in drawn


def test_rows_that_were_read_and_not_yet_judged_are_left_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small source is read in one go: `5 of 5 rows, 00:00 left` stood there for as long as its judge thought."""
    terminal = a_terminal(monkeypatch)
    with judging_progress(5) as show:
        report = StageReport("cheap", "listwise", rows=5, candidates=50)
        report.aside["free"] = 5
        show(report)
        assert terminal.lines()[-1].startswith("cheap:   0%")
        report.labels[Label.BETTER], report.known_labels[Label.WORSE] = 10, 15
        assert report.rows_done == 3
        report.labels[Label.FAILED] = 20
        assert report.rows_done == 5


def test_the_next_judge_starts_anew_and_the_cost_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with judging_progress() as show:
        show(report_of("cheap", rows=2000, cost=1.5))
        second = report_of("accurate", rows=1)
        show(second)
        assert terminal.lines()[-1].startswith("accurate: 0 rows")
        time.sleep(0.12)
        second.rows, second.cost = 20, 0.25
        show(second)
        drawn = terminal.lines()[-1]
    assert drawn.startswith("accurate: 20 rows")
    assert "1.75 USD" in drawn


def test_it_is_quiet_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with judging_progress(10) as show:
        show(report_of(rows=10))
    assert file.getvalue() == ""


def test_only_what_is_known_is_told() -> None:
    assert described(StageReport("offline", "similarity")) == ""
    assert described(report_of()) == "better 12, irrelevant 3,400, 1.23M tokens"
    assert described(report_of(), spent_before=2.0).endswith("2.00 USD")
    assert described(report_of(cost=0.0)).endswith("0.00 USD")


def test_a_flood_of_reports_is_drawn_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    monkeypatch.setattr(bars, "REDRAWN_SECONDS", 60.0)
    with judging_progress(5000) as show:
        report = report_of()
        for number in range(5001):
            report.rows = number
            show(report)
    assert len(terminal.lines()) < 10


def test_elsewhere_a_line_tells_the_same_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with judging_progress(2000) as show:
        report = report_of(rows=1000, cost=0.3)
        show(report)
        bar = show._bar  # type: ignore[attr-defined]
        assert bar.line().startswith("cheap: 1000 of 2000 rows")
        assert bar.line().endswith("better 12, irrelevant 3,400, 1.23M tokens, 0.30 USD")
