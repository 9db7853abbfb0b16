"""What all benchmarks share: figures, the table they make, processes that are watched, and the machine they ran on.

A benchmark is a module with a command line. With `--json` it prints one object:

    {"name": "build", "rows": [figure, …], "peak_rss_mb": 440.1}

A figure is what `Figure.to_dict` gives; only `what`, `value` and `unit` must be there. `peak_rss_mb` is the most memory
of the process that is measured, or null. Anything else in the object is kept in the JSON and not shown.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = (
    "aiohttp",
    "datasets",
    "huggingface_hub",
    "numpy",
    "pyarrow",
    "pytrec_eval-terrier",
    "ray",
    "sentence-transformers",
    "torch",
)
_POLL_SECONDS = 0.05
_TARGET = re.compile(r"(<=|>=|=) ?([\d.,]+)")


# Figures


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        what: what was done.
        size: on how much, such as `100,000 rows, 1.9 GB`.
        value: what was measured, in `unit`; None where it was not run, which `note` explains.
        beside: what ran beside it in the same run, with its own figure: `pyarrow copy 12.3 s`.
        ratio: of the value to that of what ran beside it.
        target: what the design asks for: `<= 1.10`, `>= 0.95` or `= 0`; empty where it asks nothing.
        of: which number the target is about, `value` or `ratio`.
        peak_mb: most memory of the process that did it, in MB.
    """

    what: str
    value: float | None
    unit: str
    size: str = ""
    beside: str = ""
    ratio: float | None = None
    target: str = ""
    of: str = "value"
    peak_mb: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def verdict(figure: Mapping[str, Any]) -> str:
    """`met`, by how much the target is missed, or nothing where there is none."""
    found = _TARGET.fullmatch(figure.get("target") or "")
    reached = figure.get(figure.get("of") or "value")
    if found is None:
        return ""
    if reached is None:
        return "not run"
    wanted = float(found[2].replace(",", ""))
    if {"<=": reached <= wanted, ">=": reached >= wanted, "=": reached == wanted}[found[1]]:
        return "met"
    off = abs(reached / wanted - 1) if wanted else None
    return f"missed by {reached:g}" if off is None else f"missed by {off:.{0 if off >= 0.1 else 1}%}"


def table(reports: Iterable[Mapping[str, Any]], layout: str = "simple") -> str:
    """The figures of some reports as one table."""
    from tabulate import tabulate

    lines = [
        [
            report["name"],
            figure["what"],
            figure.get("size", ""),
            "not run" if figure["value"] is None else f"{_short(figure['value'])} {figure['unit']}".strip(),
            figure.get("beside", ""),
            _short(figure.get("ratio")),
            _target(figure),
            verdict(figure),
            _short(figure.get("peak_mb")),
            figure.get("note", ""),
        ]
        for report in reports
        for figure in report["rows"]
    ]
    header = ["benchmark", "what", "size", "measured", "beside it", "ratio", "target", "", "peak MB", "note"]
    kept = [column for column in range(len(header)) if column < 4 or any(line[column] for line in lines)]
    return tabulate(
        [[line[column] for column in kept] for line in lines],
        [header[column] for column in kept],
        tablefmt=layout,
        disable_numparse=True,
    )


def _target(figure: Mapping[str, Any]) -> str:
    target = figure.get("target") or ""
    return f"ratio {target}" if target and figure.get("of") == "ratio" else target


def _short(value: float | None) -> str:
    if value is None:
        return ""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def emit(name: str, figures: Sequence[Figure], *, as_json: bool, peak_mb: float | None = None, **more: Any) -> None:
    """Print what a benchmark found, as a table or as JSON."""
    peaks = [figure.peak_mb for figure in figures if figure.peak_mb is not None]
    report = {
        "name": name,
        "rows": [figure.to_dict() for figure in figures],
        "peak_rss_mb": peak_mb if peak_mb is not None else max(peaks, default=None),
        **more,
    }
    print(json.dumps(report) if as_json else table([report]))


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the module's text, with `--json`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


# Comparing


def taking_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each side measures, round by round, in an order that changes, so that none is always the first."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(sides[name]())
    return found


def median_ratio(ours: Sequence[float], other: Sequence[float]) -> float:
    """The median of the ratios of neighbouring runs, which a machine that is busy for a while slows alike."""
    return statistics.median(one / two for one, two in zip(ours, other, strict=True))


# Watching processes


def own_peak_mb() -> float:
    """Most memory this process had. Not ru_maxrss, which a new process takes over from the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def reset_own_peak() -> None:
    """Let `own_peak_mb` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def tree_mb(pid: int) -> float:
    """Memory of a process and all that descend from it. Pages that they share count for each."""
    total = 0
    waiting = [pid]
    while waiting:
        each = Path(f"/proc/{waiting.pop()}")
        with suppress(OSError):  # it may end at any moment
            total += int((each / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for thread in (each / "task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
    return total / 1024**2


class Peak:
    """The most memory that a process and its children have while this is open."""

    def __init__(self, pid: int) -> None:
        self.pid, self.mb = pid, 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._end.wait(_POLL_SECONDS):
            self.mb = max(self.mb, tree_mb(self.pid))

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended. `cpu_seconds` and `peak_mb` are its own and its children's."""

    code: int
    output: str
    errors: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


def watched(command: Sequence[str], *, timeout: float = 3600, **settings: Any) -> Finished:
    """Run a command and watch its memory. One that takes longer than `timeout` seconds is killed with all that it
    started (code -9)."""
    begin, used = time.perf_counter(), os.times()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **settings
    )
    with Peak(process.pid) as peak:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            errors += f"\nkilled after {timeout:g} seconds"
    now = os.times()
    cpu = now.children_user - used.children_user + now.children_system - used.children_system
    return Finished(process.returncode, output, errors, time.perf_counter() - begin, cpu, peak.mb)


@dataclass(frozen=True, slots=True)
class Called:
    """What a function gave that ran in a process of its own. `seconds` and `cpu_seconds` are of the call alone."""

    result: Any
    seconds: float
    cpu_seconds: float
    peak_mb: float


def called(function: Callable[..., Any], *arguments: Any) -> Called:
    """Call a function of a module in a new process, so that its memory is its own.

    Raises:
        RuntimeError: it failed.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(function, arguments, there))
    process.start()
    there.close()
    try:
        given: Called = here.recv()
    except EOFError:
        raise RuntimeError(f"{function.__name__} failed") from None
    finally:
        process.join()
    return given


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], pipe: Any) -> None:
    begin, used = time.perf_counter(), time.process_time()
    result = function(*arguments)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - used
    pipe.send(Called(result, seconds, cpu, own_peak_mb()))


# The machine


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures were measured on. `load` is that of the last minute before: above 0.2, others worked too."""

    system: str
    processor: str
    cores: int
    memory_gb: float
    python: str
    libraries: Mapping[str, str]
    load: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        libraries = ", ".join(f"{name} {number}" for name, number in self.libraries.items())
        return (
            f"{self.cores} cores ({self.processor}), {self.memory_gb:.0f} GB, {self.system}, Python {self.python};"
            f" {libraries}; load before the run {self.load:.2f}"
        )


def machine() -> Machine:
    """This machine."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    libraries = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            libraries[name] = version(name)
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=found[1] if found else platform.processor() or "unknown",
        cores=len(os.sched_getaffinity(0)),
        memory_gb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3,
        python=platform.python_version(),
        libraries=libraries,
        load=os.getloadavg()[0],
    )


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a benchmark."""
    return [sys.executable, "-m", module, *arguments]
