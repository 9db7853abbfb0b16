"""The progress bars of Python calls: tqdm's, at a terminal and in notebooks; nothing where nobody looks.

The commands have bars of their own, which also write to logs (hf_relabel.hub_tools.commands.progress): they give the
calls a function as `progress`, and no second bar is shown.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from hf_relabel.builders.messages.dollars import dollars

REDRAWN_SECONDS = 0.1
"""Reports come thousands of times a second; nobody reads that fast."""

Wanted: TypeAlias = "bool | Callable[..., Any] | None"
"""True for a bar, False or None for none, or what is called in its place."""


def looked_at() -> bool:
    """Whether somebody sees standard error as it is written: at a terminal, or in a notebook."""
    return sys.stderr.isatty() or "ipykernel.zmqshell" in sys.modules


@contextmanager
def bar(description: str, unit: str = " rows", total: int | None = None) -> Iterator[Any]:
    """A bar of tqdm that is gone when the work is done: as text at a terminal, as a widget in a notebook."""
    with warnings.catch_warnings():
        # tqdm says that a notebook lacks ipywidgets; text does as well.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    quiet: dict[str, Any] = {} if looked_at() else {"disable": True}  # TQDM_DISABLE decides otherwise
    with tqdm(total=total, desc=description, unit=unit, leave=False, dynamic_ncols=True, **quiet) as drawn:
        yield drawn


@contextmanager
def counting(wanted: Wanted, description: str) -> Iterator[Callable[[int], None] | None]:
    """What is called with the rows done so far."""
    if wanted is not True:
        yield wanted or None
        return
    with bar(description) as drawn:
        yield lambda done: drawn.update(done - drawn.n)


@contextmanager
def sending(wanted: Wanted, description: str = "pushing") -> Iterator[Callable[[str, int], None] | None]:
    """What is called with the name and the bytes of each file that has been dealt with. The Hub clients' own bars, one
    for each file, are not shown."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where HF_HUB_DISABLE_PROGRESS_BARS decides, they say so
        disable_progress_bars()
    try:
        if wanted is not True:
            yield wanted or None
            return
        with bar(description, unit="B") as drawn:
            drawn.unit_scale = True
            yield lambda name, size: drawn.update(size)
    finally:
        if shown:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                enable_progress_bars()


@contextmanager
def running(wanted: Wanted, description: str) -> Iterator[Callable[[str, int, int], None] | None]:
    """What is called before each of several runs, and as it goes, with its name, the runs done and their number."""
    if wanted is not True:
        yield wanted or None
        return
    with bar(description, unit=" runs") as drawn:
        yield runs_on(drawn)


def runs_on(drawn: Any) -> Callable[[str, int, int], None]:
    """What shows on a bar which run is made, and how many are done."""
    redrawn = float("-inf")

    def show(name: str, done: int, total: int) -> None:
        nonlocal redrawn
        drawn.total = total
        drawn.update(done - drawn.n)
        now = time.monotonic()
        is_due = now - redrawn >= REDRAWN_SECONDS
        redrawn = now if is_due else redrawn
        drawn.set_description(name, refresh=is_due)

    return show


@contextmanager
def judging(wanted: Wanted) -> Iterator[Callable[[Any], None] | None]:
    """What is called with what the running judge did so far (a `StageReport`)."""
    if wanted is not True:
        yield wanted or None
        return
    with bar("judging") as drawn:
        yield JudgingBar(drawn)


class JudgingBar:
    """Keeps a bar of a terminal, a notebook or a log up to date with each `StageReport`, one judge after the other."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._now: Any = None
        self._spent_before: float | None = None
        self._drawn = 0.0

    def __call__(self, report: Any) -> None:
        if report is not self._now:
            self._start(report)
        now = time.monotonic()
        done = report.rows_done  # not `rows`: small sources are read at once, and nothing would be left to do
        just_read = done == self._bar.total != self._bar.n
        if now - self._drawn < REDRAWN_SECONDS and not just_read:
            return
        self._drawn = now
        self._bar.set_description_str(report.name, refresh=False)
        self._bar.set_postfix_str(described(report, self._spent_before), refresh=False)
        self._bar.update(done - self._bar.n)

    def _start(self, report: Any) -> None:
        self._bar.set_description_str(report.name, refresh=self._now is None)
        if self._now is not None:
            self._spent_before = _sum(self._spent_before, self._now.cost)
            self._bar.set_postfix_str("", refresh=False)
            self._bar.reset()  # draws too
        self._now = report
        self._drawn = 0.0


def described(report: Any, spent_before: float | None = None) -> str:
    """Labels, tokens and cost so far, such as `better 12, irrelevant 340, 1.2M tokens, 0.31 USD`.

    Args:
        spent_before: cost of the judges before this one, None where that is not known.
    """
    parts = [f"{label} {number:,}" for label, number in report.by_label().items() if number]
    tokens = report.prompt_tokens + report.completion_tokens
    if tokens:
        parts.append(f"{_short(tokens)} tokens")
    cost = _sum(spent_before, report.cost)
    if cost is not None:
        parts.append(f"{dollars(cost)} USD")
    return ", ".join(parts)


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one + (other or 0.0)


def _short(number: float) -> str:
    from tqdm import tqdm

    return str(tqdm.format_sizeof(number))
