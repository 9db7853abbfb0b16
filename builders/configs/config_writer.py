"""Writes the files of the configs, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs.arrow_batches import Batch
from hf_relabel.builders.configs.counts import Counts
from hf_relabel.builders.configs.layout import ConfigTable, Layout
from hf_relabel.builders.configs.manifest import FileEntry, file_entry
from hf_relabel.builders.configs.parquet_files import parquet_writer, write_row_group
from hf_relabel.builders.disk.atomic_folder import NewFolder
from hf_relabel.builders.messages.counted import counted

WRITER_THREADS = 2
"""Configs written at a time. Each holds one row group more in memory."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A complete Parquet file of a config, number `index` from 0. Its final name is known when all are written."""

    config: str
    index: int
    path: Path


@dataclass(slots=True)
class ConfigWriter:
    """Writes the shards of one config under running numbers; `finish` gives them their names."""

    building: NewFolder
    layout: Layout
    table: ConfigTable
    on_shard: Callable[[Shard], None] | None = None
    _writer: Any = None
    _shard_bytes: int = 0
    _shard_rows: list[int] = field(default_factory=list)
    _given: list[FileEntry] = field(default_factory=list)

    def write(self, batch: Batch) -> None:
        """Add the batch as one row group."""
        table = self.table.table_of(batch)
        if not table.num_rows:
            return
        if self._writer is not None and self.layout.begins_file(self._shard_bytes, table.nbytes):
            self.close()
        if self._writer is None:
            self._open()
        write_row_group(self._writer, table, self.table.schema)
        self._shard_bytes += table.nbytes
        self._shard_rows[-1] += table.num_rows

    def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
            self._give_away()

    def _give_away(self) -> None:
        if self.on_shard is None:
            return
        index = len(self._shard_rows) - 1
        path = self._path(index)
        self._given.append(file_entry(path, self.table.name, self._shard_rows[-1]))
        self.on_shard(Shard(self.table.name, index, path))
        path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Close what is open, without giving it to anybody."""
        self.on_shard = None
        self.close()

    def finish(self) -> list[FileEntry]:
        """Close and name the shards. A config without rows is one file with a schema and no rows (`EMPTY_NOTE`)."""
        if not self._shard_rows:
            self._open()
        self.close()
        entries = []
        for index, rows in enumerate(self._shard_rows):
            name = self.layout.file_name(self.table.name, index, len(self._shard_rows))
            if self.on_shard is not None:
                entries.append(replace(self._given[index], path=name))
                continue
            path = self._path(index).rename(self.building.path / name)
            entries.append(file_entry(path, name, rows))
        return entries

    def _path(self, index: int) -> Path:
        return self.building.path / self.table.name / f"shard-{index:05d}.parquet"

    def _open(self) -> None:
        path = self._path(len(self._shard_rows))
        path.parent.mkdir(exist_ok=True)
        self._writer = parquet_writer(path, self.table.schema)
        self._shard_rows.append(0)
        self._shard_bytes = 0


def write_all(
    read: Iterable[Batch],
    writers: Sequence[ConfigWriter],
    building: NewFolder,
    layout: Layout,
    counts: Counts,
) -> None:
    in_pool = [writer for writer in writers if not writer.table.reads_journal]
    in_turn = [writer for writer in writers if writer.table.reads_journal]
    try:
        with ThreadPoolExecutor(max_workers=WRITER_THREADS) as pool:
            for batch in read:
                counts.add(batch, layout)
                batch.prepare()
                building.progress = counted(counts.rows, "row")
                with building.disk_errors():
                    list(pool.map(lambda writer, batch=batch: writer.write(batch), in_pool))
                    for writer in in_turn:
                        writer.write(batch)
                del batch  # not to be in memory beside the next one
    except BaseException:
        _abandon(writers)
        raise


def _abandon(writers: Iterable[ConfigWriter]) -> None:
    """Close what is open. On a full disk closing fails as well, which changes nothing: the folder is thrown away."""
    for writer in writers:
        try:
            writer.abandon()
        except OSError:
            continue
