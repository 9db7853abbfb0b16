"""Tables made for one training run, on the disk and gone with it."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_ROWS_AT_ONCE = 256


def table_of(records: Callable[[], Iterator[dict[str, Any]]], schema: Any) -> Any:
    """Write records to an Arrow file and open it as a `datasets.Dataset`, which reads it from the disk.

    The file is deleted with the data set.
    """
    from datasets import Dataset

    scratch = tempfile.TemporaryDirectory(prefix="hf-relabel-rows-")
    path = f"{scratch.name}/rows.arrow"
    try:
        _write(path, records(), schema)
        rows = Dataset.from_file(path)
    except BaseException:
        scratch.cleanup()
        raise
    weakref.finalize(rows, scratch.cleanup)
    return rows


def kept_table(path: Path, records: Callable[[], Iterator[dict[str, Any]]], schema: Any) -> Any:
    """The same in a file that stays; where it is there already, it is opened and `records` is not called."""
    from datasets import Dataset

    if not path.is_file():
        unfinished = path.with_name(f"{path.name}.unfinished")
        _write(str(unfinished), records(), schema)
        unfinished.rename(path)
    return Dataset.from_file(str(path))


def _write(path: str, records: Iterator[dict[str, Any]], schema: Any) -> None:
    from datasets import Features
    from datasets.arrow_writer import ArrowWriter

    features = Features.from_arrow_schema(schema)
    with ArrowWriter(path=path, features=features, writer_batch_size=_ROWS_AT_ONCE) as writer:
        for record in records:
            writer.write(record)
        writer.finalize()
