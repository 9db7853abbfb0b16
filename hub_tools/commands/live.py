"""What judging shows while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hf_relabel.hub_tools.commands.progress import progress_bar

if TYPE_CHECKING:
    from hf_relabel.builders.sources import Source
    from hf_relabel.builders.sources.files import SourceFile
    from hf_relabel.hub_tools.judging import StageReport

REDRAWN_SECONDS = 0.1
"""Reports come thousands of times a second; nobody reads that fast."""


@contextmanager
def judging_progress(total: int | None = None) -> Iterator[Callable[[StageReport], None]]:
    """A progress bar for `hf_relabel.hub_tools.judging.judge`: rows, rows/s and time left, labels, tokens and cost.

    It is drawn on standard error; where that is not a terminal, a line of the same is written every 30 s.

    Args:
        total: rows of the source; without it there is no time left to tell.

    Yields:
        What to give `judge` as its `progress`.
    """
    with progress_bar("judging", total=total) as bar:
        yield _Live(bar)


class _Live:
    """Keeps a bar up to date with reports that come one judge after the other."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._now: StageReport | None = None
        self._spent_before: float | None = None
        self._drawn = 0.0

    def __call__(self, report: StageReport) -> None:
        if report is not self._now:
            self._start(report)
        now = time.monotonic()
        just_read = report.rows == self._bar.total != self._bar.n
        if now - self._drawn < REDRAWN_SECONDS and not just_read:
            return
        self._drawn = now
        self._bar.set_description_str(report.name, refresh=False)
        self._bar.set_postfix_str(described(report, self._spent_before), refresh=False)
        self._bar.update(report.rows - self._bar.n)

    def _start(self, report: StageReport) -> None:
        self._bar.set_description_str(report.name, refresh=False)
        if self._now is not None:
            self._spent_before = _sum(self._spent_before, self._now.cost)
            self._bar.set_postfix_str("", refresh=False)
            self._bar.reset()  # draws too
        self._now = report
        self._drawn = 0.0


def described(report: StageReport, spent_before: float | None = None) -> str:
    """Labels, tokens and cost so far, such as `better 12, irrelevant 340, 1.2M tokens, 0.31 USD`.

    Args:
        spent_before: cost of the judges before this one, None where that is not known.
    """
    parts = [f"{label} {number:,}" for label, number in report.totals.items() if number]
    tokens = report.prompt_tokens + report.completion_tokens
    if tokens:
        parts.append(f"{_short(tokens)} tokens")
    cost = _sum(spent_before, report.cost)
    if cost is not None:
        parts.append(f"{cost:,.2f} USD")
    return ", ".join(parts)


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one + (other or 0.0)


def _short(number: float) -> str:
    from tqdm import tqdm

    return str(tqdm.format_sizeof(number))


def rows_expected(source: Source) -> int | None:
    """How many rows a source will yield, where that is cheap to know: Parquet says it, JSON lines are counted.

    Only for files on this machine. Rows of other subsets and outside of a sample are not told apart without reading
    them, so with those it is None.
    """
    if source.revision is not None:
        return None
    options = source.options
    if options.subset is not None or options.sample is not None or source.format == "beir":
        return None
    counts = [_rows_of(file) for file in source.files] if source.data is None else [source.data.count]
    if None in counts:
        return None
    found = sum(count for count in counts if count is not None)
    return found if options.limit is None else min(found, options.limit)


def _rows_of(file: SourceFile) -> int | None:
    from hf_relabel.builders.sources.files import is_plain
    from hf_relabel.builders.sources.reading import Kind, kind_of

    if file.name.endswith(".parquet"):
        import pyarrow.parquet as pq

        with file.open() as stream:
            return int(pq.read_metadata(stream).num_rows)
    if is_plain(file) and kind_of(file) is Kind.JSON_LINES:
        with file.open() as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    return None
