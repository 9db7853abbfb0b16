"""Parts of the files of a release: footers, columns of row groups, and single rows, from a folder or over HTTP ranges.

What is needed of a file is worked out from its footer and fetched in a few ranges at once. A single row is read by the
page index: only the pages that hold it are fetched (some 100 KB of a row group's 20 MB), put together with a footer of
their own, and read by pyarrow as a small file. Files without a page index are read by the row group.
"""

from __future__ import annotations

import io
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from hf_relabel.builders.configs.release import Release
from hf_relabel.builders.errors import BuildError, ReleaseError
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.space.data.thrift import I32, I64, LIST, STRUCT, Reader, Struct, written

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Range = tuple[int, int]
"""From where up to where."""

_TAIL_BYTES = 256 * 1024
"""Fetched from the end of a file at first: footer and page index of a common shard."""
_GAP_BYTES = 128 * 1024
"""Ranges that are closer than this are fetched as one: about what a request costs."""
_CONNECTIONS = 8
_RETRIES = 3
"""Of a request; somebody waits for it."""
_MAGIC = b"PAR1"


class Files(Protocol):
    """Where bytes of files come from."""

    def fetch(self, path: str, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`."""


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """Files of a release in a folder."""

    release: Release

    def fetch(self, path: str, start: int, stop: int) -> bytes:
        """Raises: BuildError, the file is missing or too short."""
        try:
            with self.release.open_file(path).open("rb") as file:
                file.seek(start)
                content = file.read(stop - start)
        except OSError as error:
            raise BuildError(f"{self.release.name}: {path} cannot be read: {error.strerror}.") from error
        if len(content) != stop - start:
            raise BuildError(f"{self.release.name}: {path} is shorter than its manifest says. Build or pull again.")
        return content


@dataclass(frozen=True, slots=True)
class HubFiles:
    """Files of one commit of a data set on the Hub.

    Attributes:
        sha: the commit.
        token: None takes the stored token or `HF_TOKEN`, False sends none.
    """

    repo_id: str
    sha: str
    token: str | bool | None = None

    def fetch(self, path: str, start: int, stop: int) -> bytes:
        """Raises: ReleaseError, the Hub would not give them."""
        from huggingface_hub import hf_hub_url

        # Public names (docs, "Utilities"), which the package does not mark as such for type checkers.
        from huggingface_hub.utils import (  # type: ignore[attr-defined, unused-ignore]
            build_hf_headers,
            hf_raise_for_status,
            http_backoff,
        )

        with hub_errors(self.repo_id, self.sha[:12], self.token):
            url = hf_hub_url(self.repo_id, path, repo_type="dataset", revision=self.sha)
            headers = {**build_hf_headers(token=self.token), "Range": f"bytes={start}-{stop - 1}"}
            response = http_backoff("GET", url, headers=headers, timeout=60, max_retries=_RETRIES)
            hf_raise_for_status(response)
            content = bytes(response.content)
        if len(content) != stop - start:
            raise ReleaseError(f"{self.repo_id}: the Hub gave another part of {path} than it was asked for.")
        return content


@dataclass(frozen=True, slots=True)
class Group:
    """A row group: number `index` of the file `path`, with `rows` lines from line `first` of its config on.

    Attributes:
        low, high: the least and greatest number of a row, of the configs that have the column `row`; None where the
            file does not say.
    """

    path: str
    index: int
    first: int
    rows: int
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class _Footer:
    """The end of a file.

    Attributes:
        metadata: as pyarrow reads it, and `raw` as it is written.
        tail: the last bytes of the file, from `tail_start` on.
    """

    metadata: pq.FileMetaData
    raw: Struct
    tail: bytes
    tail_start: int

    @property
    def bytes(self) -> int:
        """About what it takes: as Python objects, a footer is some twenty times as large as on the disk."""
        return len(self.tail) + 20 * int(self.metadata.serialized_size)

    def leaves(self, names: Iterable[str] | None) -> list[int]:
        """The numbers of the leaf columns that lie under one of these names; of all for None."""
        paths = [self.metadata.schema.column(index).path for index in range(self.metadata.num_columns)]
        if names is None:
            return list(range(len(paths)))
        wanted = tuple(names)
        return [
            index
            for index, path in enumerate(paths)
            if any(path == name or path.startswith(f"{name}.") for name in wanted)
        ]


@dataclass(frozen=True, slots=True)
class _Pages:
    """Pages of one leaf column that follow each other.

    Attributes:
        dictionary: where the dictionary page is, None where there is none.
        start, stop: where the data pages are.
        first, rows: the rows they hold, counted from the start of the row group.
    """

    leaf: int
    dictionary: Range | None
    start: int
    stop: int
    first: int
    rows: int

    def ranges(self) -> list[Range]:
        return [*([self.dictionary] if self.dictionary else []), (self.start, self.stop)]


class ByteLimited:
    """What was read last, up to so many bytes in all."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Any:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: Any, value: Any, size: int) -> None:
        with self._lock:
            earlier = self._kept.pop(key, None)
            self._bytes += size - (earlier[1] if earlier else 0)
            self._kept[key] = (value, size)
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1]

    @property
    def bytes(self) -> int:
        return self._bytes


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
            metadata = self._footer(path).metadata
            for index in range(metadata.num_row_groups):
                group = metadata.row_group(index)
                groups.append(Group(path, index, first, group.num_rows, *_bounds(group)))
                first += group.num_rows
        if first != self.starts[number + 1]:
            raise BuildError(f"{self.release.name}: {path} has another number of rows than manifest.json says.")
        self._groups[number] = groups
        return groups

    def groups(self) -> Iterator[Group]:
        """All row groups in their order."""
        for number in range(len(self.paths)):
            yield from self.groups_of(number)

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
        """A row group, or some of its columns (`stages.list.element.label` for one inside of lists).

        Raises:
            ReleaseError, BuildError: it cannot be read.
        """
        import pyarrow.parquet as pq

        with self._reading(group.path):
            footer = self._footer(group.path)
            leaves = footer.leaves(columns)
            chunks = [footer.metadata.row_group(group.index).column(leaf) for leaf in leaves]
            parts = self._fetch(group.path, [_chunk_range(chunk) for chunk in chunks])
            with pq.ParquetFile(_PartsFile(parts, self._size(group.path)), metadata=footer.metadata) as file:
                return file.read_row_group(group.index, columns=columns, use_threads=False)

    def rows(self, group: Group, first: int, count: int) -> list[dict[str, Any]]:
        """Some rows of a row group, all columns, as plain values.

        Args:
            first: counted from the start of the row group.

        Raises:
            ReleaseError, BuildError: they cannot be read.
        """
        with self._reading(group.path):
            footer = self._footer(group.path)
            pages = self._pages(footer, group, first, count)
            if pages is None:
                return self._rows_of_group(group, first, count)
            tables = self._page_tables(footer, group, pages)
            found: list[dict[str, Any]] = [{} for _ in range(count)]
            for part, table in zip(pages, tables, strict=True):
                values = table.slice(first - part.first, count).to_pylist()
                if len(values) != count:
                    raise ValueError("the page index does not fit the pages")
                found = [_merged(one, other) for one, other in zip(found, values, strict=True)]
            return found

    def _rows_of_group(self, group: Group, first: int, count: int) -> list[dict[str, Any]]:
        key = (group.path, group.index)
        table = self.cache.get(key)
        if table is None:
            table = self.read(group)
            self.cache.put(key, table, table.nbytes)
        return cast(list[dict[str, Any]], table.slice(first, count).to_pylist())

    def _page_tables(self, footer: _Footer, group: Group, pages: Sequence[_Pages]) -> list[pa.Table]:
        keys = [(group.path, group.index, part.leaf, part.start, part.stop) for part in pages]
        tables = [self.cache.get(key) for key in keys]
        missing = [number for number, table in enumerate(tables) if table is None]
        wanted = [reach for number in missing for reach in pages[number].ranges()]
        parts = self._fetch(group.path, wanted, footer)
        for number in missing:
            content = [_cut(parts, reach) for reach in pages[number].ranges()]
            table = _read_pages(footer, group, pages[number], content)
            tables[number] = table
            self.cache.put(keys[number], table, table.nbytes)
        return tables

    def _pages(self, footer: _Footer, group: Group, first: int, count: int) -> list[_Pages] | None:
        """The pages that hold some rows, for each leaf column; None where the file does not say where they are."""
        chunks = footer.raw.items(4)[group.index].items(1)
        places = [(chunk.get(4), chunk.get(5)) for chunk in chunks]
        if any(offset is None or not length for offset, length in places):
            return None
        ranges = [(offset, offset + length) for offset, length in places]
        parts = self._fetch(group.path, ranges, footer)
        found = []
        for leaf, (chunk, reach) in enumerate(zip(chunks, ranges, strict=True)):
            locations = Reader(_cut(parts, reach)).struct().items(1)
            starts = [location.get(3) for location in locations]
            begin, end = bisect_right(starts, first) - 1, bisect_right(starts, first + count - 1) - 1
            if begin < 0:
                return None
            last = locations[end]
            stop = starts[end + 1] if end + 1 < len(starts) else group.rows
            found.append(
                _Pages(
                    leaf,
                    _dictionary(chunk, locations[0].get(1)),
                    locations[begin].get(1),
                    last.get(1) + last.get(2),
                    starts[begin],
                    stop - starts[begin],
                )
            )
        return found

    def _footer(self, path: str) -> _Footer:
        known: _Footer | None = self.cache.get(path)
        if known is None:
            known = self._read_footer(path)
            self.cache.put(path, known, known.bytes)
        return known

    def _read_footer(self, path: str) -> _Footer:
        import pyarrow.parquet as pq

        size = self._size(path)
        start = max(0, size - _TAIL_BYTES)
        tail = self.files.fetch(path, start, size)
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] != _MAGIC or length > size:
            raise BuildError(f"{self.release.name}: {path} is no whole Parquet file.")
        if length > len(tail):
            tail = self.files.fetch(path, size - length, start) + tail
            start = size - length
        metadata = pq.read_metadata(_PartsFile({start: tail}, size))
        raw = Reader(tail[-length:-8]).struct()
        # Of the tail, nothing but the page index is wanted again.
        kept = max(start, min([size - length, *_page_index_starts(raw)]))
        return _Footer(metadata, raw, tail[kept - start :], kept)

    def _size(self, path: str) -> int:
        return int(self.release.manifest["files"][path]["bytes"])

    def _fetch(self, path: str, ranges: Sequence[Range], footer: _Footer | None = None) -> dict[int, bytes]:
        """The bytes of ranges, by where they start; those that are close to each other as one."""
        if footer is not None:
            inside = [reach for reach in ranges if reach[0] >= footer.tail_start]
            ranges = [reach for reach in ranges if reach[0] < footer.tail_start]
            known = {footer.tail_start: footer.tail} if inside else {}
        else:
            known = {}
        if any(not 0 <= start <= stop <= self._size(path) for start, stop in ranges):
            raise ValueError("its footer names a part that it does not have")
        joined = _joined(ranges)
        if len(joined) < 2:
            fetched = [self.files.fetch(path, *reach) for reach in joined]
        else:
            fetched = list(self.pool.map(lambda reach: self.files.fetch(path, *reach), joined))
        return known | {start: content for (start, _), content in zip(joined, fetched, strict=True)}

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


class _PartsFile(io.RawIOBase):
    """A file of which only some parts are there, for pyarrow to read just these."""

    def __init__(self, parts: dict[int, bytes], size: int) -> None:
        self._parts, self._size, self._at = parts, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        stop = self._size if size is None or size < 0 else min(self._at + size, self._size)
        content = _cut(self._parts, (self._at, stop))
        self._at = stop
        return content


def _cut(parts: dict[int, bytes], reach: Range) -> bytes:
    """A range out of the parts that were fetched."""
    for start, content in parts.items():
        if start <= reach[0] and reach[1] <= start + len(content):
            return content[reach[0] - start : reach[1] - start]
    raise ValueError("the reader wants a part of the file that its footer does not name")


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order, those that are close to each other as one."""
    joined: list[Range] = []
    for start, stop in sorted(ranges):
        if joined and start - joined[-1][1] <= _GAP_BYTES:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def _chunk_range(chunk: Any) -> Range:
    """Where a column of a row group is."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page:
        start = min(start, chunk.dictionary_page_offset)
    return start, start + chunk.total_compressed_size


def _page_index_starts(footer: Struct) -> list[int]:
    """Where the page indexes of the columns of all row groups begin."""
    chunks = [chunk for group in footer.items(4) for chunk in group.items(1)]
    return [chunk.get(4) for chunk in chunks if chunk.get(4) is not None]


def _dictionary(chunk: Struct, first_page: int) -> Range | None:
    """Where the dictionary of a column of a row group is: from its start to the first page of data."""
    start = chunk.get(3).get(11)
    return None if not start or start >= first_page else (start, first_page)


def _read_pages(footer: _Footer, group: Group, pages: _Pages, content: Sequence[bytes]) -> pa.Table:
    """Pages of one leaf column as a table: written as a file of their own, with a footer that names just these."""
    import pyarrow.parquet as pq

    chunk = footer.raw.items(4)[group.index].items(1)[pages.leaf].get(3)
    at = len(_MAGIC)
    size = sum(map(len, content))
    dictionary = at if pages.dictionary else None
    meta = chunk.changed(
        f5=(I64, _values_in(content[-1])),
        f7=(I64, size),
        f8=None,
        f9=(I64, at + (len(content[0]) if pages.dictionary else 0)),
        f10=None,
        f11=None if dictionary is None else (I64, dictionary),
        **{f"f{number}": None for number in (12, 13, 14, 15, 16, 17)},
    )
    column = Struct({2: (I64, 0), 3: (STRUCT, meta)})
    rows = Struct({1: (LIST, (STRUCT, [column])), 2: (I64, size), 3: (I64, pages.rows)})
    schema = _schema_of(footer.raw.items(2), [bytes(part) for part in chunk.items(3)])
    ours = footer.raw.changed(f2=(LIST, (STRUCT, schema)), f3=(I64, pages.rows), f4=(LIST, (STRUCT, [rows])), f5=None)
    end = written(ours.changed(f7=None, f8=None, f9=None))
    whole = b"".join([_MAGIC, *content, end, len(end).to_bytes(4, "little"), _MAGIC])
    return pq.read_table(io.BytesIO(whole), use_threads=False)


def _schema_of(elements: Sequence[Struct], path: Sequence[bytes]) -> list[Struct]:
    """The schema with nothing but one leaf and what it lies in."""
    kept = [elements[0].changed(f5=(I32, 1))]
    at = 1
    for name in path:
        while elements[at].get(4) != name:
            at = _after(elements, at)
        is_group = elements[at].get(5) is not None
        kept.append(elements[at].changed(f5=(I32, 1)) if is_group else elements[at])
        at += 1
    return kept


def _after(elements: Sequence[Struct], at: int) -> int:
    """The element that follows one and all that lies in it."""
    end = at + 1
    for _ in range(elements[at].get(5) or 0):
        end = _after(elements, end)
    return end


def _values_in(pages: bytes) -> int:
    """How many values data pages hold, nulls and ends of lists included, as their headers say."""
    total, at = 0, 0
    while at < len(pages):
        reader = Reader(pages, at)
        header = reader.struct()
        data = header.get(5) or header.get(8)
        total += data.get(1) if data is not None else 0
        size = int(header.get(3))
        if size < 0:
            raise ValueError("a page of less than no bytes")
        at = reader.at + size
    return total


def _bounds(group: Any) -> tuple[int | None, int | None]:
    """The least and greatest number of a row; None where there is no such column, or no statistics."""
    column = group.column(0)
    statistics = column.statistics if column.path_in_schema == "row" else None
    if statistics is None or not statistics.has_min_max:
        return None, None
    return int(statistics.min), int(statistics.max)


def _merged(one: Any, other: Any) -> Any:
    """Values of which each holds some of the fields, as one that holds them all."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **{name: _merged(one[name], value) if name in one else value for name, value in other.items()}}
    if isinstance(one, list) and isinstance(other, list):
        return [_merged(first, second) for first, second in zip(one, other, strict=True)]
    return other


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
