"""Tables made for one training run, on the disk and gone with it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.one_process import one_process
from hf_relabel.trainers.devices import all_devices

_ROWS_AT_ONCE = 256


def table_of(records: Callable[[], Iterator[dict[str, Any]]], schema: Any) -> Any:
    """Write records to an Arrow file and open it as a `datasets.Dataset`, which reads it from the disk.

    Of several processes on a machine one writes it, and all read: `records` is called in that one only. The file is
    deleted with the data set and those that were made of it by `select` and `concatenate_datasets`.
    """
    from datasets import Dataset

    devices = all_devices()
    scratch = devices.by_first_of_machine(lambda: _scratch(records, schema))
    rows = devices.alike(lambda: Dataset.from_file(f"{scratch}/rows.arrow"))
    devices.gathered(None)  # all have it open
    if devices.local == 0:
        weakref.finalize(rows.data, shutil.rmtree, scratch, ignore_errors=True)
    return rows


def kept_table(path: Path, records: Callable[[], Iterator[dict[str, Any]]], schema: Any) -> Any:
    """The same in a file that stays; where it is there already, it is opened and `records` is not called. Of several
    processes that want it one makes it, and the others wait."""
    from datasets import Dataset

    def make() -> None:
        if path.is_file():
            return
        with one_process(path.with_name(f".{path.name}.lock"), lambda: None):
            if not path.is_file():
                unfinished = path.with_name(f"{path.name}.unfinished")
                _write(str(unfinished), records(), schema)
                unfinished.rename(path)

    devices = all_devices()
    devices.by_first(make)
    devices.by_first_of_machine(make)  # on another machine, which may not see the file
    return devices.alike(lambda: Dataset.from_file(str(path)))


def _scratch(records: Callable[[], Iterator[dict[str, Any]]], schema: Any) -> str:
    """A new folder with the file."""
    scratch = tempfile.mkdtemp(prefix="hf-relabel-rows-")
    try:
        _write(f"{scratch}/rows.arrow", records(), schema)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return scratch


def _write(path: str, records: Iterator[dict[str, Any]], schema: Any) -> None:
    from datasets import Features
    from datasets.arrow_writer import ArrowWriter

    features = Features.from_arrow_schema(schema)
    with ArrowWriter(path=path, features=features, writer_batch_size=_ROWS_AT_ONCE) as writer:
        for record in records:
            writer.write(record)
        writer.finalize()
