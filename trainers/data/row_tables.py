"""Tables made for one training run, on the disk and gone with it."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator
from typing import Any

_ROWS_AT_ONCE = 256


def table_of(records: Callable[[], Iterator[dict[str, Any]]], schema: Any) -> Any:
    """Write records to an Arrow file and open it as a `datasets.Dataset`, which reads it from the disk.

    The file is deleted with the data set.
    """
    from datasets import Dataset, Features
    from datasets.arrow_writer import ArrowWriter

    scratch = tempfile.TemporaryDirectory(prefix="hf-relabel-rows-")
    path = f"{scratch.name}/rows.arrow"
    try:
        with ArrowWriter(
            path=path, features=Features.from_arrow_schema(schema), writer_batch_size=_ROWS_AT_ONCE
        ) as writer:
            for record in records():
                writer.write(record)
            writer.finalize()
        rows = Dataset.from_file(path)
    except BaseException:
        scratch.cleanup()
        raise
    weakref.finalize(rows, scratch.cleanup)
    return rows
