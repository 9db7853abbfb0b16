"""Long work where standard error is no terminal: a line every half minute."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hf_relabel.hub_tools.calls import progress_bars
from hf_relabel.hub_tools.commands import progress
from hf_relabel.hub_tools.commands.progress import ProgressLines, progress_bar


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Log(io.StringIO):
    """A file that says when it has a line."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def flush(self) -> None:
        self.written.set()


def test_a_line_says_what_is_done_of_how_much_how_fast_and_how_long_it_takes() -> None:
    clock = Clock()
    lines = ProgressLines("judging", " rows", 2000, clock=clock)
    clock.now += 30
    assert lines.line() == "judging: 0 of 2000 rows, 00:30 so far"
    lines.update(1200)
    lines.set_postfix_str("better 12")
    assert lines.line() == "judging: 1200 of 2000 rows, 40.00 rows/s, 00:30 so far, 00:20 left, better 12"


def test_slow_work_has_no_speed_and_unknown_work_no_end() -> None:
    clock = Clock()
    lines = ProgressLines("relabel, seed 1", " runs", clock=clock)
    clock.now += 120
    lines.update(3)
    assert lines.line() == "relabel, seed 1: 3 runs, 02:00 so far"
    lines.total = 18
    assert lines.line() == "relabel, seed 1: 3 of 18 runs, 02:00 so far, 10:00 left"


def test_bytes_are_shown_short_and_a_new_count_starts_anew() -> None:
    clock = Clock()
    lines = ProgressLines("pushing", "B", 10**9, clock=clock)
    lines.unit_scale = True
    lines.update(123_456_789)
    clock.now += 30
    assert lines.line().startswith("pushing: 123M of 1.00GB, 4.12MB/s")
    lines.reset()
    assert lines.line() == "pushing: 0.00 of 1.00GB, 00:00 so far"


def test_a_line_is_written_while_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.001)
    with progress_bar("comparing", unit=" runs", total=18):
        assert log.written.wait(60)
    assert log.getvalue().splitlines()[0] == "comparing: 0 of 18 runs, 00:00 so far"


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("building") as bar:
        bar.update(10)
    assert capsys.readouterr() == ("", "")


def test_training_tells_its_steps() -> None:
    from types import SimpleNamespace

    from hf_relabel.trainers.training.callbacks import StepsCallback

    told: list[tuple[int, int]] = []
    callback = StepsCallback(lambda done, total: told.append((done, total)))
    callback.on_train_begin(None, SimpleNamespace(global_step=20, max_steps=100), None)
    callback.on_step_end(None, SimpleNamespace(global_step=21, max_steps=100), None)
    assert told == [(20, 100), (21, 100)]


def test_a_bar_of_runs_is_drawn_anew_as_a_run_goes_on_and_not_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of minutes looked as if it stood still: tqdm draws by what is counted, which are whole runs."""
    clock, drawn = Clock(), []

    class Bar(ProgressLines):
        def set_description(self, text: str, refresh: bool = True) -> None:
            super().set_description(text)
            if refresh:
                drawn.append(text)

    monkeypatch.setattr(progress_bars.time, "monotonic", clock)
    bar = Bar("comparing", " runs", clock=clock)
    show = progress_bars.runs_on(bar)
    for step in range(40):
        show(f"relabel, seed 0 (step {step})", 2, 9)
        clock.now += 0.03
    assert drawn == [f"relabel, seed 0 (step {step})" for step in range(0, 40, 4)]
    assert bar.line().startswith("relabel, seed 0 (step 39): 2 of 9 runs, ")


def test_the_time_left_of_a_training_is_that_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before takes as long as a hundred steps: the model is made and measured."""
    from types import SimpleNamespace

    from hf_relabel.hub_tools.commands import train_command

    now = [0.0]
    shown: list[ProgressLines] = []

    @contextmanager
    def lines(description: str, unit: str) -> Iterator[ProgressLines]:
        shown.append(ProgressLines(description, unit, clock=lambda: now[0]))
        yield shown[0]

    monkeypatch.setattr(train_command, "progress_lines", lines)
    with train_command._steps_told("training") as (callback,):
        now[0] = 100
        assert shown[0].line() == "before training (the model, and what it reaches untrained): 0 steps, 01:40 so far"
        callback.on_train_begin(None, SimpleNamespace(global_step=0, max_steps=200), None)
        now[0] = 110
        callback.on_step_end(None, SimpleNamespace(global_step=20, max_steps=200), None)
        assert shown[0].line() == "training: 20 of 200 steps, 2.00 steps/s, 00:10 so far, 01:30 left"
