"""The difference of two releases, worked out in the background and shown a page at a time.

The comparison is that of `hf relabel diff`; both sides are streamed, and the changes go to a file that is removed with
`close`.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hf_relabel.builders.configs.release import Release
from hf_relabel.builders.differences.counts import (
    ROW_ADDED,
    ROW_CHANGED,
    ROW_DROPPED,
    VERDICT_CHANGED,
    Difference,
    LabelChange,
)
from hf_relabel.builders.differences.folder import CHANGES_NAME
from hf_relabel.builders.errors import ConfigError, RelabelError
from hf_relabel.hub_tools.hub.source import HubLocation
from hf_relabel.hub_tools.releases.diff import DiffReport, diff
from hf_relabel.hub_tools.releases.opening import open_release
from hf_relabel.hub_tools.space.data.index_reading import ordered
from hf_relabel.hub_tools.space.data.ranges import Opened, opened

KINDS = (ROW_ADDED, ROW_DROPPED, ROW_CHANGED, VERDICT_CHANGED)
_CACHE_BYTES = 64_000_000
_AHEAD = 1
"""Row groups that are read ahead of the comparison, for each side and config."""


class _Closed(Exception):
    """The comparison is no longer wanted."""


@dataclass(frozen=True)
class StreamedRelease(Release):
    """A release whose files are read by the row group over HTTP, and never kept."""

    parts: Opened | None = None

    def _records(self, config: str, batch: int) -> Iterator[dict[str, Any]]:
        assert self.parts is not None
        files = self.parts.config(config)
        with ThreadPoolExecutor(1, "space-diff-read") as pool:
            for table in ordered(pool, files.read, files.runs(), _AHEAD):
                for some in table.to_batches(max_chunksize=batch):
                    yield from some.to_pylist()


def streamed(location: str | Path, token: str | bool | None) -> StreamedRelease:
    """Open a release for reading it once, from the first row to the last.

    Raises:
        ReleaseError, BuildError: it cannot be opened.
    """
    release = open_release(location, token=token)
    hub = None if release.revision is None else HubLocation.parse(str(location))
    parts = opened(release, None if hub is None else hub.repo_id, token, _CACHE_BYTES)
    return StreamedRelease(release.name, release.revision, release.manifest, release.open_file, parts)


@dataclass(frozen=True, slots=True)
class ComparisonState:
    """How far a comparison is: `rows` read `of` those of both sides together.

    Attributes:
        error: one line, where it failed.
    """

    rows: int
    of: int
    is_finished: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Some of the changes, in the order in which the comparison gives them. `total` is of all pages."""

    total: int
    offset: int
    changes: tuple[Difference, ...]


class Comparison:
    """A comparison of two releases that runs, or has run. Safe to use from several threads.

    Attributes:
        before, after: names of the releases.
    """

    def __init__(self, before: StreamedRelease, after: StreamedRelease, folder: Path) -> None:
        self.before, self.after = before.name, after.name
        self._sides, self._folder = (before, after), folder
        self._of = sum(int(side.manifest["rows"]["count"]) for side in self._sides)
        self._rows = 0
        self._report: DiffReport | None = None
        self._error: str | None = None
        self._stop = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="space-diff", daemon=True)

    @classmethod
    def start(
        cls,
        before: str | Path,
        after: str | Path,
        *,
        token: str | bool | None = None,
        scratch: Path | None = None,
    ) -> Comparison:
        """Open both sides and begin to compare them.

        Args:
            before, after: as `location` of `Browser.open`.
            token: None takes the stored token or `HF_TOKEN`, False sends none.
            scratch: where the changes are put; None for the system's folder for temporary files. They go with `close`.

        Raises:
            ReleaseError, BuildError: a side cannot be opened.
        """
        sides = [streamed(side, token) for side in (before, after)]
        folder = Path(tempfile.mkdtemp(prefix="hf-relabel-diff-", dir=scratch))
        found = cls(sides[0], sides[1], folder)
        found._thread.start()
        return found

    def state(self) -> ComparisonState:
        """How far it is."""
        with self._change:
            return ComparisonState(self._rows, self._of, self._report is not None, self._error)

    def wait(self, seconds: float | None = None) -> ComparisonState:
        """Wait until it has finished or failed, or the time is over."""
        with self._change:
            self._change.wait_for(lambda: self._report is not None or self._error is not None, seconds)
        return self.state()

    def counts(self) -> Mapping[str, Any] | None:
        """What `DiffReport.to_dict` gives; None until it has finished."""
        with self._change:
            return None if self._report is None else self._report.to_dict()

    def page(
        self, *, offset: int = 0, size: int = 50, kind: str | None = None, subset: str | None = None
    ) -> ChangePage:
        """Some of the changes, in the order in which they were found: rows of `before`, then added rows.

        Args:
            kind: `row_added`, `row_dropped`, `row_changed` or `verdict_changed`; None for all.
            subset: only of this one.

        Raises:
            ConfigError: it has not finished, an unknown kind, or a negative offset or size.
        """
        if kind is not None and kind not in KINDS:
            raise ConfigError(f"There is no kind of change {kind[:60]!r}. There are: {', '.join(KINDS)}.")
        if offset < 0 or size < 0:
            raise ConfigError("A page cannot begin before the first change or hold less than none.")
        with self._change:
            if self._report is None:
                raise ConfigError(self._error or "The releases are being compared. Try again in a moment.")
            return self._page(offset, size, kind, subset)

    def close(self) -> None:
        """Stop, and remove the changes."""
        self._stop = True
        self._thread.join()
        for side in self._sides:
            if side.parts is not None:
                side.parts.close()
        with self._change:
            if self._report is not None:
                self._report, self._error = None, "This comparison was closed."
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        error: str | None = None
        report = None
        try:
            report = diff(*self._sides, out=self._folder / "changes", examples=0, progress=self._progress)
        except _Closed:
            error = "This comparison was closed."
        except RelabelError as failed:
            error = str(failed)
        except Exception as failed:  # a thread has nobody to raise to
            error = f"The releases cannot be compared: {type(failed).__name__}."
        with self._change:
            self._report, self._error = report, error
            self._change.notify_all()

    def _progress(self, rows: int) -> None:
        if self._stop:
            raise _Closed
        self._rows = rows

    def _page(self, offset: int, size: int, kind: str | None, subset: str | None) -> ChangePage:
        """Read row group by row group; only those of the page are made into changes."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        total, lines = 0, []
        with pq.ParquetFile(self._folder / "changes" / CHANGES_NAME) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                first, last = max(0, offset - total), offset + size - total
                if kind is None and subset is None:
                    if first < min(rows, last):
                        lines += file.read_row_group(group).slice(first, last - first).to_pylist()
                    total += rows
                    continue
                names = file.read_row_group(group, columns=["kind", "subset"])
                wanted = [
                    pc.equal(names[name], value)
                    for name, value in (("kind", kind), ("subset", subset))
                    if value is not None
                ]
                places = pc.indices_nonzero(pc.and_(*wanted) if len(wanted) == 2 else wanted[0])
                if first < min(len(places), last):
                    lines += file.read_row_group(group).take(places.slice(first, last - first)).to_pylist()
                total += len(places)
        return ChangePage(total, offset, tuple(map(_change_of, lines)))


def _change_of(line: Mapping[str, Any]) -> Difference:
    by = tuple(LabelChange(**label) for label in line["by"])
    return Difference(**{**line, "fields": tuple(line["fields"]), "by": by})
