"""Parts of the files of a release: row groups or columns of them, and single rows, from a folder or over HTTP ranges.

Where things are follows from a file's footer, and what is needed is fetched in a few ranges at once. A single row is
read with its whole row group, of some 2 MB, which is kept for its neighbours. Row groups of other sizes can be read as
well: very large ones piece by piece.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from hf_relabel.builders.configs.release import Release
from hf_relabel.builders.disk.parquet import record_batches
from hf_relabel.builders.errors import BuildError
from hf_relabel.hub_tools.space.data.files import Files, FolderFiles, HubFiles, Range, RangedFile
from hf_relabel.hub_tools.space.data.kept import ByteLimited

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_TAIL_BYTES = 256 * 1024
"""Fetched from the end of a file at first: the footer of a common file."""
RUN_BYTES = 4_000_000
"""Of uncompressed data: small row groups are read together up to this."""
_WHOLE_BYTES = 64_000_000
"""Of uncompressed data: a row group up to this is read whole and kept. We write smaller ones; others may not."""
_PART_ROWS = 100
"""Rows of a larger row group that are read at a time."""
_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Group:
    """A row group: number `index` of the file `path`, with `rows` lines from line `first` of its config on.

    Attributes:
        size: its bytes, uncompressed.
        low, high: the least and greatest number of a row, of the configs that have the column `row`; None where the
            file does not say.
        span: how many row groups it is, those that follow each other being read as one.
    """

    path: str
    index: int
    first: int
    rows: int
    size: int
    low: int | None = None
    high: int | None = None
    span: int = 1

    def with_next(self, other: Group) -> Group:
        """This and the one that follows it, to be read as one."""
        return replace(
            self, rows=self.rows + other.rows, size=self.size + other.size, high=other.high, span=self.span + 1
        )


@dataclass
class ConfigFiles:
    """The Parquet files of one config of a release. Footers are read when they are needed, and kept while there is
    room; where row groups are is kept for good."""

    release: Release
    config: str
    files: Files
    pool: ThreadPoolExecutor
    cache: ByteLimited
    paths: list[str] = field(init=False)
    starts: list[int] = field(init=False)
    _groups: dict[int, list[Group]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.paths = self.release.files(self.config)
        self.starts = [0]
        for path in self.paths:
            self.starts.append(self.starts[-1] + int(self.release.manifest["files"][path]["rows"]))

    @property
    def lines(self) -> int:
        """Lines of the config, all files together."""
        return self.starts[-1]

    def groups_of(self, number: int) -> list[Group]:
        """The row groups of the `number`-th file.

        Raises:
            ReleaseError, BuildError: its footer cannot be read, or is not that of the file in the manifest.
        """
        known = self._groups.get(number)
        if known is not None:
            return known
        path, first = self.paths[number], self.starts[number]
        groups = []
        with self._reading(path):
            metadata = self._footer(path)
            for index in range(metadata.num_row_groups):
                group = metadata.row_group(index)
                groups.append(Group(path, index, first, group.num_rows, group.total_byte_size, *_bounds(group)))
                first += group.num_rows
        if first != self.starts[number + 1]:
            raise BuildError(f"{self.release.name}: {path} has another number of rows than manifest.json says.")
        self._groups[number] = groups
        return groups

    def groups(self) -> Iterator[Group]:
        """All row groups in their order."""
        for number in range(len(self.paths)):
            yield from self.groups_of(number)

    def runs(self, most: int = RUN_BYTES) -> Iterator[Group]:
        """All row groups in their order, those of a file together up to so many bytes: for who reads all of them."""
        run: Group | None = None
        for group in self.groups():
            if run is not None and run.path == group.path and run.size + group.size <= most:
                run = run.with_next(group)
                continue
            if run is not None:
                yield run
            run = group
        if run is not None:
            yield run

    def group_with_line(self, line: int) -> Group:
        """The row group that holds a line of the config, counted from 0."""
        groups = self.groups_of(bisect_right(self.starts, line) - 1)
        return groups[bisect_right([group.first for group in groups], line) - 1]

    def groups_with_row(self, row: int) -> list[Group]:
        """The row groups that may hold lines of a row, of a config with the column `row`, ascending."""
        low, high = 0, len(self.paths) - 1
        while low < high:  # files are in the order of their rows, so few footers need be read
            middle = (low + high) // 2
            greatest = next((group.high for group in reversed(self.groups_of(middle)) if group.high is not None), None)
            if greatest is None or greatest >= row:
                high = middle
            else:
                low = middle + 1
        found: list[Group] = []
        for number in range(low, len(self.paths)):
            groups = self.groups_of(number)
            found += [each for each in groups if each.low is None or each.high is None or each.low <= row <= each.high]
            if any(each.low is not None and each.low > row for each in groups):
                break
        return found

    def read(self, group: Group, columns: Sequence[str] | None = None) -> pa.Table:
        """A row group or a run of them, or some of its columns (`stages.list.element.label` for one inside of lists).

        Raises:
            ReleaseError, BuildError: it cannot be read.
        """
        import pyarrow.parquet as pq

        with self._reading(group.path):
            metadata = self._footer(group.path)
            numbers = range(group.index, group.index + group.span)
            leaves = _leaves(metadata, columns)
            chunks = [metadata.row_group(number).column(leaf) for number in numbers for leaf in leaves]
            file = self._opened(group.path)
            file.fetch([_chunk_range(chunk) for chunk in chunks], self.pool)
            with pq.ParquetFile(file, metadata=metadata) as parquet:
                return parquet.read_row_groups(numbers, columns=columns, use_threads=False)

    def rows(self, group: Group, first: int, count: int) -> list[dict[str, Any]]:
        """Some rows of a row group, all columns, as plain values.

        Args:
            first: counted from the start of the row group.

        Raises:
            ReleaseError, BuildError: they cannot be read.
        """
        with self._reading(group.path):
            if group.size > _WHOLE_BYTES:
                return self._rows_of_large(group, first, count)
            key = (group.path, group.index)
            table = self.cache.get_or_make(key, lambda: self.read(group), lambda table: table.nbytes)
            return cast(list[dict[str, Any]], table.slice(first, count).to_pylist())

    def _rows_of_large(self, group: Group, first: int, count: int) -> list[dict[str, Any]]:
        start = group.first - self.starts[self.paths.index(group.path)] + first
        file = cast(BinaryIO, self._opened(group.path))
        batches = record_batches(file, _PART_ROWS, part=(start, start + count))
        return [row for batch in batches for row in batch.to_pylist()]

    def _footer(self, path: str) -> pq.FileMetaData:
        # In memory, a footer is some ten times as large as on the disk.
        return self.cache.get_or_make(path, lambda: self._read_footer(path), lambda read: 10 * read.serialized_size)

    def _read_footer(self, path: str) -> pq.FileMetaData:
        import pyarrow.parquet as pq

        file, size = self._opened(path), self._size(path)
        file.fetch([(max(0, size - _TAIL_BYTES), size)], self.pool)
        return pq.read_metadata(file)

    def _opened(self, path: str) -> RangedFile:
        return RangedFile(self.files, path, self._size(path))

    def _size(self, path: str) -> int:
        return int(self.release.manifest["files"][path]["bytes"])

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        import pyarrow as pa

        # A footer that says what cannot be leads anywhere: to fields that are missing, of another type or too large.
        broken = (OSError, pa.ArrowException, LookupError, ValueError, TypeError, AttributeError, OverflowError)
        try:
            yield
        except broken as error:
            reason = " ".join(str(error).split())
            raise BuildError(f"{self.release.name}: {path} cannot be read: {reason}") from error


def _leaves(metadata: pq.FileMetaData, names: Iterable[str] | None) -> list[int]:
    """The numbers of the leaf columns that lie under one of these names; of all for None."""
    paths = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    if names is None:
        return list(range(len(paths)))
    wanted = tuple(names)
    return [
        index for index, path in enumerate(paths) if any(path == name or path.startswith(f"{name}.") for name in wanted)
    ]


def _chunk_range(chunk: Any) -> Range:
    """Where a column of a row group is."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page:
        start = min(start, chunk.dictionary_page_offset)
    return start, start + chunk.total_compressed_size


def _bounds(group: Any) -> tuple[int | None, int | None]:
    """The least and greatest number of a row; None where there is no such column, or no statistics."""
    column = group.column(0)
    statistics = column.statistics if column.path_in_schema == "row" else None
    if statistics is None or not statistics.has_min_max:
        return None, None
    return int(statistics.min), int(statistics.max)


@dataclass
class Opened:
    """The configs of a release that is open for reading in parts."""

    release: Release
    files: Files
    cache: ByteLimited
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_CONNECTIONS, "space-ranges"))
    _configs: dict[str, ConfigFiles] = field(default_factory=dict)

    def config(self, name: str) -> ConfigFiles:
        """The files of a config.

        Raises:
            BuildError: there is none of that name.
        """
        known = self._configs.get(name)
        if known is None:
            known = self._configs.setdefault(name, ConfigFiles(self.release, name, self.files, self.pool, self.cache))
        return known

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


def opened(release: Release, repo_id: str | None, token: str | bool | None, cache_bytes: int) -> Opened:
    """A release, open for reading in parts."""
    files: Files = FolderFiles(release)
    if repo_id is not None and release.revision is not None:
        files = HubFiles(repo_id, release.revision, token)
    return Opened(release, files, ByteLimited(cache_bytes))
