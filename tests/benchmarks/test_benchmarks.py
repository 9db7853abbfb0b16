"""The benchmarks run and say what they measured. What they measure is no matter of tests: nothing here is timed."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.__main__ import BENCHMARKS, flat, main, summary
from tests.benchmarks.bench_growth import exponent
from tests.benchmarks.measuring import (
    Figure,
    called,
    machine,
    median_ratio,
    own_peak_mb,
    table,
    taking_turns,
    verdict,
    watched,
)
from tests.benchmarks.peers.server import Slots


@pytest.mark.parametrize(
    ("target", "of", "said"),
    [
        ("<= 1.10", "value", "met"),
        ("<= 0.95", "value", "missed by 5.3%"),
        (">= 2", "ratio", "met"),
        (">= 6", "ratio", "missed by 50%"),
        ("= 0", "value", "missed by 1"),
        ("= 1", "value", "met"),
        (">= 1,500", "value", "missed by 100%"),
        ("", "value", ""),
    ],
)
def test_a_figure_meets_its_target_or_says_by_how_much_it_misses(target: str, of: str, said: str) -> None:
    assert verdict(Figure("time", 1.0, "s", ratio=3.0, target=target, of=of).to_dict()) == said


def test_what_was_not_run_meets_nothing() -> None:
    figure = Figure("peer", None, "", target="<= 1", note="not run: cannot be installed").to_dict()
    assert verdict(figure) == "not run"
    shown = table([{"name": "peers", "rows": [figure]}])
    assert "not run: cannot be installed" in shown
    assert summary([{"name": "peers", "rows": [figure]}]) == "0 of 1 targets met.\n  peers: peer, not run"


def test_a_report_of_another_form_becomes_figures_by_name() -> None:
    figures = list(flat({"rate": 3, "lost": {"first": 0.5, "name": "x"}, "ok": True}))
    assert [(figure.what, figure.value) for figure in figures] == [("rate", 3.0), ("lost first", 0.5)]


def test_sides_take_turns_and_none_is_always_the_first() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> Any:
        def run() -> float:
            order.append(name)
            return value

        return run

    taken = taking_turns({"ours": side("ours", 2.0), "plain": side("plain", 1.0)}, 2)
    assert order == ["ours", "plain", "plain", "ours"]
    assert median_ratio(taken["ours"], taken["plain"]) == 2.0


def grown(mb: int) -> int:
    return len(bytearray(mb << 20))


def test_memory_is_that_of_the_process_that_did_it() -> None:
    mine = called(grown, 200)
    assert mine.result == 200 << 20
    assert mine.peak_mb > 200
    assert called(grown, 1).peak_mb < mine.peak_mb - 150
    assert own_peak_mb() > 0


def test_memory_of_children_counts_and_they_end_with_their_parent(tmp_path: Path) -> None:
    hold = "import sys, time; held = bytearray(150 << 20); print('ready', flush=True); time.sleep({})"
    code = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {hold.format(0.5)!r}])
child.wait()
"""
    done = watched([sys.executable, "-c", code])
    assert (done.code, done.output) == (0, "ready\n")
    assert done.peak_mb > 150
    pid = tmp_path / "pid"
    code = f"""
import subprocess, sys
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", {hold.format(60)!r}], stdout=subprocess.DEVNULL)
Path({str(pid)!r}).write_text(str(child.pid))
child.wait()
"""
    done = watched([sys.executable, "-c", code], timeout=2)
    assert done.code == -9
    for _ in range(100):
        try:
            os.kill(int(pid.read_text()), 0)
        except ProcessLookupError:
            break
        state = Path(f"/proc/{pid.read_text()}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":  # dead, and nobody asked for it yet
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child lives")


def test_the_exponent_of_linear_growth_is_one() -> None:
    assert exponent([10, 100, 1000], [2.0, 20.0, 200.0]) == pytest.approx(1.0)
    assert exponent([10, 100], [1.0, 100.0]) == pytest.approx(2.0)


def test_slots_are_busy_as_long_as_requests_are_in_them() -> None:
    slots = Slots(2, mean=1.0, sigma=0.5, refused=0.0, seed=0)
    # One slot is taken all the time, the other half of it.
    slots.changes = [(0.0, 1), (0.0, 1), (5.0, -1), (10.0, -1)]
    assert slots.busy(0.0, 10.0) == pytest.approx(0.75)
    assert slots.busy(5.0, 10.0) == pytest.approx(0.5)
    slots.taken = 2
    assert slots.latency() is None
    assert slots.turned_away == 1


def test_the_machine_is_told() -> None:
    told = machine()
    assert told.cores >= 1
    assert "pyarrow" in told.to_text()


def test_every_benchmark_is_a_module_with_a_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    for each in BENCHMARKS:
        assert (Path(__file__).parent / f"{each.module}.py").is_file()
        assert f"tests.benchmarks.{each.module}" in listed


def test_the_cheap_ones_run_and_their_figures_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    assert main(["--quick", "--only", "metrics", "journal", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["machine"]["cores"] >= 1
    assert [report["name"] for report in found["reports"]] == ["metrics", "journal"]
    figures = {figure["what"]: figure for report in found["reports"] for figure in report["rows"]}
    assert figures["ndcg@10"]["ratio"] > 0
    assert 0 < figures["disk besides the raw replies"]["value"] < 2_048
    shown = capsys.readouterr().out
    assert "no target means anything" in shown
    assert "sqlite3 executemany" in shown


def test_judged_sets_that_are_not_there_are_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "techniques", "--data", str(tmp_path)]) == 0
    assert "not run: no judged sets" in capsys.readouterr().out
