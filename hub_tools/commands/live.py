"""What judging shows while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hf_relabel.hub_tools.calls.progress_bars import JudgingBar
from hf_relabel.hub_tools.commands.progress import progress_bar

if TYPE_CHECKING:
    from hf_relabel.builders.sources import Source
    from hf_relabel.builders.sources.files import SourceFile
    from hf_relabel.hub_tools.judging.stage_report import StageReport


@contextmanager
def judging_progress(total: int | None = None) -> Iterator[Callable[[StageReport], None]]:
    """A progress bar for `hf_relabel.hub_tools.judging.run.judge`: rows, rows/s and time left, labels, tokens and cost.

    It is drawn on standard error; where that is not a terminal, a line of the same is written every 30 s.

    Args:
        total: rows of the source; without it there is no time left to tell.

    Yields:
        What to give `judge` as its `progress`.
    """
    with progress_bar("judging", total=total) as bar:
        yield JudgingBar(bar)


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
