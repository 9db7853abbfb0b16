"""The index of a release's rows: a thread reads it, and what is there can be searched meanwhile."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from hf_relabel.builders.errors import BuildError, ConfigError, RelabelError
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.space.data.filters import Filter, checked, condition_of
from hf_relabel.hub_tools.space.data.index_reading import IndexReader
from hf_relabel.hub_tools.space.data.index_tables import IndexTables, RowLine
from hf_relabel.hub_tools.space.data.ranges import Opened

_SEARCHES = 16
"""Searches of which it is kept how much they found, for the next page."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the rows that were found, in the order of their numbers.

    Attributes:
        total: rows found so far, all pages together. While the index is being read, more may come; those that are
            there keep their places.
        searched: rows that were looked at; `rows` are in the release. The page is final where both are equal.
    """

    total: int
    offset: int
    lines: tuple[RowLine, ...]
    searched: int
    rows: int

    @property
    def is_complete(self) -> bool:
        return self.searched == self.rows


@dataclass(frozen=True, slots=True)
class IndexState:
    """How far the index is.

    Attributes:
        error: one line, where it cannot be read; None otherwise. What was read before stays searchable.
    """

    rows: int
    of: int
    is_finished: bool
    error: str | None
    seconds: float


class RowIndex:
    """The index of one release. A thread reads it, from the first row to the last; what is there can be searched.

    It lies on the disk, in a SQLite file, so it takes little memory however many rows there are: about 150 bytes and
    twice the query for each row.

    Args:
        scratch: where its folder is made, None for the system's folder for temporary files.
    """

    def __init__(self, opened: Opened, scratch: Path | None = None) -> None:
        self._opened, self._scratch = opened, scratch
        self.first_row = int(opened.release.manifest["rows"]["first"])
        self.rows = opened.config(Technique.ORIGINAL).lines
        self._there = 0
        self._tables: IndexTables | None = None
        self._subsets: dict[str, None] = {}
        self._totals: OrderedDict[Filter, tuple[int, int]] = OrderedDict()
        self._change = threading.Condition()
        self._counting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._folder: Path | None = None
        self._error: str | None = None
        self._began = self._seconds = 0.0
        self._stop = False

    def start(self) -> None:
        """Begin to read, unless that has begun."""
        with self._change:
            if self._thread is not None or self._stop:
                return
            self._began = time.monotonic()
            self._thread = threading.Thread(target=self._run, name="space-index", daemon=True)
            self._thread.start()

    def state(self) -> IndexState:
        with self._change:
            finished = self._is_done()
            seconds = self._seconds or (time.monotonic() - self._began if self._thread else 0.0)
            return IndexState(self._there, self.rows, finished and self._error is None, self._error, seconds)

    def wait(self, seconds: float | None = None, rows: int | None = None) -> IndexState:
        """Wait until so many rows are there (all for None), reading has failed, or the time is over."""
        wanted = self.rows if rows is None else min(rows, self.rows)
        with self._change:
            self._change.wait_for(lambda: self._there >= wanted or self._is_done(), seconds)
        return self.state()

    def close(self) -> None:
        with self._change:
            self._stop = True
            thread = self._thread
        if thread is not None:
            thread.join()
        with self._change:
            tables, self._tables, self._there = self._tables, None, 0
        if tables is not None:
            tables.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def find(self, wanted: Filter, offset: int, size: int) -> Page:
        """See `Browser.find`."""
        wanted = checked(wanted)
        if offset < 0 or size < 0:
            raise ConfigError("A page cannot begin before the first row or hold less than no rows.")
        self.start()
        # Without a filter a page can be had as soon as its rows are there; any search begins with something.
        tables, there = self._searchable(offset + size if wanted == checked(Filter()) else 1)
        if tables is None:
            return Page(0, offset, (), 0, self.rows)
        total = self._total(tables, wanted, there)
        reach = (min(offset, self.rows), min(size, self.rows))
        lines = tables.lines(condition_of(wanted), self.first_row + there, *reach)
        return Page(total, offset, lines, there, self.rows)

    def around(self, number: int, wanted: Filter) -> tuple[int | None, int | None]:
        """See `Browser.around`."""
        wanted = checked(wanted)
        self.start()
        tables, there = self._searchable(1)
        if tables is None:
            return None, None
        number = min(max(number, self.first_row - 1), self.first_row + there)
        return tables.around(condition_of(wanted), self.first_row + there, number)

    def verdict_lines(self, number: int) -> tuple[int, int] | None:
        """From which line up to which the `verdicts` speak of a row; None where the index does not hold it yet."""
        with self._change:
            tables, place = self._tables, number - self.first_row
            if tables is None or not 0 <= place < self._there:
                return None
        return tables.verdict_lines(number)

    def subsets(self) -> list[str]:
        """The subsets seen so far."""
        return list(self._subsets)

    def _searchable(self, rows: int) -> tuple[IndexTables | None, int]:
        """The tables, and how many rows can be searched, once so many are there; None after `close`."""
        self.wait(rows=rows)
        with self._change:
            if self._error is not None and not self._there:
                raise BuildError(self._error)
            return self._tables, self._there

    def _total(self, tables: IndexTables, wanted: Filter, there: int) -> int:
        """How many of the rows that are there match; only those that came since it was last asked are looked at."""
        with self._counting:
            searched, total = self._totals.pop(wanted, (0, 0))
            if searched > there:  # another thread has been here with more rows
                searched, total = 0, 0
            total += tables.count(condition_of(wanted), self.first_row + searched, self.first_row + there)
            self._totals[wanted] = (there, total)
            if len(self._totals) > _SEARCHES:
                self._totals.popitem(last=False)
            return total

    def _is_done(self) -> bool:
        return self._error is not None or self._stop or self._there == self.rows

    def _run(self) -> None:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="hf-relabel-index-", dir=self._scratch))
            self._read(IndexTables(self._folder / "rows.sqlite"))
        except RelabelError as error:
            self._fail(str(error))
        except (OSError, sqlite3.OperationalError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._fail(f"The index cannot be written to {self._scratch or tempfile.gettempdir()}: {reason}.")
        except Exception as error:  # a thread has nobody to raise to
            self._fail(f"The index cannot be read: {type(error).__name__}.")
        finally:
            with self._change:
                self._seconds = time.monotonic() - self._began
                self._change.notify_all()

    def _read(self, tables: IndexTables) -> None:
        self._tables = tables
        for rows, subsets in IndexReader(self._opened, tables, self.first_row).read():
            with self._change:
                self._subsets |= dict.fromkeys(sorted(subsets - self._subsets.keys()))
                self._there += rows
                self._change.notify_all()
            if self._stop:
                return

    def _fail(self, reason: str) -> None:
        with self._change:
            self._error = reason
