"""Reading the narrow columns of a release into its index."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hf_relabel.builders.config_names import SUSPECTS
from hf_relabel.builders.configs.layout import VERDICTS
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.space.data.filters import LABELS, NOT_ASKED, OUTCOMES
from hf_relabel.hub_tools.space.data.index_tables import IndexTables
from hf_relabel.hub_tools.space.data.ranges import ConfigFiles, Group, Opened

if TYPE_CHECKING:
    import pyarrow as pa

_READERS = 2
"""Runs of row groups that are read at a time. With more, whoever looks at a row meanwhile waits longer."""
_RUN_BYTES = 24_000_000
"""Of uncompressed data: row groups of `original` that are read together. The last column of one and the first columns
of the next lie side by side, so they are one request."""
_ROW_COLUMNS = ["query_id", "query", "subset"]
_VERDICT_COLUMNS = ["row", "outcome", "label", "score", "agreement"]

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class IndexReader:
    """Reads a release into an index."""

    opened: Opened
    tables: IndexTables
    first_row: int

    def read(self) -> Iterator[tuple[int, set[str]]]:
        """Read all; whenever some rows are in the index, gives how many, and the names of their subsets.

        Raises:
            ReleaseError, BuildError: the release cannot be read, or rows and verdicts do not fit.
        """
        original = self.opened.config(Technique.ORIGINAL)
        with ThreadPoolExecutor(_READERS, "space-index") as pool:
            self._add_suspects()
            said = _SaidReader(self.opened.config(VERDICTS), self.tables, pool, self.first_row)
            number, end = self.first_row, self.first_row + original.lines
            groups = original.runs(_RUN_BYTES)
            for table in ordered(pool, lambda group: original.read(group, _ROW_COLUMNS), groups):
                said.read_up_to(number + table.num_rows, end)
                query_ids, queries, subsets = (table[name].to_pylist() for name in _ROW_COLUMNS)
                subsets = [subset or "" for subset in subsets]  # rows may come without one
                numbers = range(number, number + table.num_rows)
                self.tables.add_rows(zip(numbers, query_ids, queries, subsets, strict=True))
                number += table.num_rows
                yield table.num_rows, set(subsets)

    def _add_suspects(self) -> None:
        if not self.opened.release.manifest["settings"].get("suspects"):
            return
        config = self.opened.config(SUSPECTS)
        for group in config.runs():
            counted = config.read(group, ["row"]).group_by("row").aggregate([("row", "count")])
            self.tables.add_suspects(_tuples(counted.select(["row", "row_count"])))


class _SaidReader:
    """Puts the lines of `verdicts` into the index, as far as they are wanted."""

    def __init__(self, verdicts: ConfigFiles, tables: IndexTables, pool: ThreadPoolExecutor, first_row: int) -> None:
        self._tables, self._name = tables, verdicts.release.name
        self._groups = ordered(pool, lambda group: _Lines.read(verdicts, group), verdicts.runs())
        self._first, self._last = first_row, first_row - 1

    def read_up_to(self, stop: int, end: int) -> None:
        """Read until the lines of all rows before number `stop` are there.

        Raises:
            BuildError: they speak of rows from number `end` on, which `original` does not have.
        """
        while self._last < stop and (lines := next(self._groups, None)) is not None:
            self._add(lines)
        if self._last >= end:
            raise self._lacking(self._last)

    def _add(self, lines: _Lines) -> None:
        if lines.low is None or lines.high is None:
            return
        if lines.low < self._first:
            raise self._lacking(lines.low)
        if lines.low < self._last:
            raise BuildError(f"{self._name}: the lines of {VERDICTS!r} are not in the order of their rows.")
        self._last = lines.high
        self._tables.add_said(_tuples(lines.said))

    def _lacking(self, row: int) -> BuildError:
        return BuildError(f"{self._name}: `verdicts` speaks of row {row}, which `original` lacks.")


@dataclass(frozen=True, slots=True)
class _Lines:
    """What some lines of `verdicts` say, see `index_tables.Said`, and the least and greatest row they speak of."""

    said: pa.Table
    low: int | None
    high: int | None

    @classmethod
    def read(cls, verdicts: ConfigFiles, group: Group) -> _Lines:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        table = verdicts.read(group, _VERDICT_COLUMNS)
        rows = table["row"].to_numpy()
        if np.any(np.diff(rows) < 0):
            raise BuildError(f"{verdicts.release.name}: the lines of {VERDICTS!r} are not in the order of their rows.")
        columns: dict[str, Any] = {
            "number": table["row"],
            "outcome": _known(table["outcome"], OUTCOMES, verdicts),
            "label": _known(table["label"].fill_null(NOT_ASKED), LABELS, verdicts),
            "disagree": pc.less(table["agreement"].fill_null(1), 1),
            "line": pa.array(np.arange(group.first, group.first + len(rows))),
            "score": table["score"],
        }
        alike = pa.table(columns).group_by(["number", "outcome", "label", "disagree"], use_threads=False)
        said = alike.aggregate([("line", "min"), ("line", "count"), ("score", "max")])
        said = said.select(["number", "outcome", "label", "disagree", "line_min", "line_count", "score_max"])
        return cls(said, *((int(rows[0]), int(rows[-1])) if len(rows) else (None, None)))


def _known(column: pa.ChunkedArray, names: tuple[str, ...], verdicts: ConfigFiles) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pc.all(pc.is_in(column, value_set=pa.array(names))).as_py():
        raise BuildError(
            f"{verdicts.release.name}: {VERDICTS!r} holds an outcome or a label that this version does not know."
            " Install the version of hf-relabel that wrote it."
        )
    return column


def _tuples(table: pa.Table) -> Iterator[Any]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def ordered(
    pool: ThreadPoolExecutor, make: Callable[[Given], Made], items: Iterable[Given], ahead: int = _READERS
) -> Iterator[Made]:
    """What `make` gives for each item, in order; a few are made ahead, in the threads of the pool."""
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
