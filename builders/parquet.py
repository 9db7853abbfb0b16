"""Reading Parquet files in a few megabytes of memory, whatever the size of their row groups."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import pyarrow as pa

READ_BYTES = 2**20
"""Of a column, read at a time."""


def opened(file: Path | BinaryIO) -> Any:
    """The file as a `pyarrow.parquet.ParquetFile` that keeps nothing of what was read.

    By itself pyarrow reads every column of a row group whole, and keeps them until the file is closed.
    """
    import pyarrow.parquet as pq

    return pq.ParquetFile(file, pre_buffer=False, buffer_size=READ_BYTES)


def record_batches(file: Path | BinaryIO, rows: int, columns: Container[str] | None = None) -> Iterator[pa.RecordBatch]:
    """A file's rows, so many at a time.

    Args:
        columns: those to read, as far as the file has them; None for all.
    """
    with opened(file) as parquet:
        names = [name for name in parquet.schema_arrow.names if columns is None or name in columns]
        # In one thread: each one that decodes keeps memory of its own.
        yield from parquet.iter_batches(batch_size=rows, columns=names, use_threads=False)
