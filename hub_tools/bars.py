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
def judging(wanted: Wanted) -> Iterator[Callable[[Any], None] | None]:
    """What is called with what the running judge did so far (a `StageReport`)."""
    if wanted is not True:
        yield wanted or None
        return
    with bar("judging") as drawn:
        yield _Judging(drawn)


class _Judging:
    """Keeps a bar up to date with reports, which come one judge after the other."""

    def __init__(self, drawn: Any) -> None:
        self._bar, self._now, self._drawn = drawn, "", 0.0

    def __call__(self, report: Any) -> None:
        now = time.monotonic()
        if report.name != self._now:
            self._now = report.name
            self._bar.reset()
            self._bar.set_description_str(report.name)
        elif now - self._drawn < REDRAWN_SECONDS:
            return
        self._drawn = now
        found = [f"{label} {number:,}" for label, number in report.labels.items() if number]
        if report.cost is not None:
            found.append(f"{report.cost:,.2f} USD")
        self._bar.set_postfix_str(", ".join(found), refresh=False)
        self._bar.update(report.rows - self._bar.n)
