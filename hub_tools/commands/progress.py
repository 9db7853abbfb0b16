"""What long work shows on standard error: a bar on a terminal, elsewhere a line every half minute.

Nothing is written to standard output, so that `--json` stays one document. Work that is done within half a minute says
nothing where nobody looks.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import IO, Any

from hf_relabel.hub_tools.commands.spelling import printable

LINE_SECONDS = 30.0
"""How often a line is written where standard error is no terminal: a log of a night has a thousand of them."""


@contextmanager
def progress_bar(description: str, unit: str = " rows", total: int | None = None) -> Iterator[Any]:
    """A progress bar of tqdm on a terminal, and what writes a line every 30 s (`ProgressLines`) elsewhere.

    Args:
        total: how much there is to do, where that is known; it may be set on the bar later.

    Example:
        >>> with progress_bar("building") as bar:
        ...     bar.update(10)
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=description, unit=unit, leave=False, dynamic_ncols=True) as bar:
            yield bar
        return
    with progress_lines(description, unit, total) as lines:
        yield lines


def say_above(text: str) -> None:
    """Print a text to standard error, above the bar where one is drawn there."""
    from tqdm import tqdm

    tqdm.write(printable(text), file=sys.stderr)


@contextmanager
def progress_lines(description: str, unit: str = " rows", total: int | None = None) -> Iterator[ProgressLines]:
    """The lines alone, for work that draws a bar of its own on a terminal: there nothing is written."""
    lines = ProgressLines(description, unit, total)
    with nullcontext() if sys.stderr.isatty() else lines.written_every(LINE_SECONDS):
        yield lines


class ProgressLines:
    """Stands in for a tqdm bar where there is no terminal: what is done, of how much, how fast, how long it will take.

    Args:
        file: where lines go; None for standard error.
        clock: seconds from any start.
    """

    def __init__(
        self,
        description: str,
        unit: str = " rows",
        total: int | None = None,
        *,
        file: IO[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description, self.unit, self.total = description, unit, total
        self.n: float = 0
        self.unit_scale = False
        self._file, self._clock, self._postfix = file or sys.stderr, clock, ""
        self._started = clock()

    def update(self, n: float = 1) -> None:
        """Count `n` more as done."""
        self.n += n

    def set_description(self, text: str, refresh: bool = True) -> None:
        """Say what is being done now."""
        self.description = text

    set_description_str = set_description

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Say something more at the end of the line."""
        self._postfix = text

    def reset(self) -> None:
        """Count from 0 again, from now."""
        self.n, self._started = 0, self._clock()

    def line(self) -> str:
        """How far the work is, such as `judging: 1200 of 2000 rows, 40.0rows/s, 00:30 so far, 00:20 left`."""
        from tqdm import tqdm

        elapsed = self._clock() - self._started
        parts = [
            "{desc}: {n_fmt} of {total_fmt}{unit}" if self.total else "{desc}: {n_fmt}{unit}",
            "{rate_fmt}" if self.n > elapsed else "",
            "{elapsed} so far",
            "{remaining} left" if self.total and self.n else "",
        ]
        written = tqdm.format_meter(
            self.n,
            self.total or 0,
            elapsed,
            prefix=self.description,
            unit=self.unit,
            unit_scale=self.unit_scale,
            postfix=self._postfix,
            bar_format=", ".join(filter(None, parts)) + "{postfix}",
        )
        return " ".join(str(written).split())  # tqdm pads rates

    @contextmanager
    def written_every(self, seconds: float) -> Iterator[None]:
        """Write a line each time so many seconds have passed, also while nothing is counted."""
        done = threading.Event()

        def write() -> None:
            with suppress(OSError, ValueError):  # nobody reads it any more
                while not done.wait(seconds):
                    print(self.line(), file=self._file, flush=True)

        writer = threading.Thread(target=write, name="progress", daemon=True)
        writer.start()
        try:
            yield
        finally:
            done.set()
            writer.join()
