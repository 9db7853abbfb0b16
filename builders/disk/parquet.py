"""Reading Parquet files in some megabytes of memory, whatever the size of the files and of their row groups."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import pyarrow as pa

READ_BYTES = 8 * 2**20
"""Of a column, read at a time. Less would mean more round trips where the file is on a network."""


def opened(file: Path | BinaryIO, read_bytes: int = READ_BYTES) -> Any:
    """The file as a `pyarrow.parquet.ParquetFile` that keeps nothing of what was read.

    By itself pyarrow reads every column of a row group whole, and keeps them until the file is closed.

    Args:
        read_bytes: of a column, read at a time; 0 for all of it in a row group, which is faster where all is wanted.
    """
    import pyarrow.parquet as pq

    return pq.ParquetFile(file, pre_buffer=False, buffer_size=read_bytes)


def record_batches(
    file: Path | BinaryIO, rows: int, columns: Container[str] | None = None, part: tuple[int, int] | None = None
) -> Iterator[pa.RecordBatch]:
    """A file's rows, so many at a time.

    Args:
        columns: those to read, as far as the file has them; None for all.
        part: the first row to read, and the first one not to read; None for all. Row groups outside are not touched.
    """
    with opened(file) as parquet:
        names = [name for name in parquet.schema_arrow.names if columns is None or name in columns]
        # In one thread: each one that decodes keeps memory of its own.
        if part is None:
            yield from parquet.iter_batches(batch_size=rows, columns=names, use_threads=False)
            return
        groups, place = _groups_of(parquet.metadata, part)
        for batch in parquet.iter_batches(batch_size=rows, row_groups=groups, columns=names, use_threads=False):
            first, last = max(part[0] - place, 0), min(part[1] - place, batch.num_rows)
            place += batch.num_rows
            if first < last:
                yield batch.slice(first, last - first)
            if place >= part[1]:
                return


def _groups_of(metadata: Any, part: tuple[int, int]) -> tuple[list[int], int]:
    """The row groups that hold some rows, and the number of the first row in them."""
    groups: list[int] = []
    first, place = 0, 0
    for group in range(metadata.num_row_groups):
        end = place + metadata.row_group(group).num_rows
        if place < part[1] and end > part[0]:
            if not groups:
                first = place
            groups.append(group)
        place = end
    return groups, first
