"""The steps of building on a Ray cluster, as workers do them: verdicts, batches, files."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.configs.arrow_batches import Batch, batch_ends, complete
from hf_relabel.builders.configs.counts import Counts
from hf_relabel.builders.configs.layout import ConfigTable, Layout
from hf_relabel.builders.configs.manifest import FileEntry, file_entry
from hf_relabel.builders.configs.parquet_files import MAX_ROW_GROUP_ROWS, parquet_writer, write_row_group
from hf_relabel.builders.configs.verdict_records import BuiltRow
from hf_relabel.builders.disk.atomic_file import written_beside
from hf_relabel.builders.disk.atomic_folder import NewFolder
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.rows import NumberedRow, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.pieces import (
    Piece,
    PieceRows,
    Reading,
)
from hf_relabel.builders.techniques import account_all
from hf_relabel.hub_tools.building.run import (
    finder_of_suspects,
)
from hf_relabel.hub_tools.ray_cluster.cluster import SharedFolder

if TYPE_CHECKING:
    import pyarrow as pa

    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.builders.judgements import Verdict


@dataclass(frozen=True, slots=True)
class Place:
    """What all workers need.

    Attributes:
        shared: where the steps leave things for each other.
        path, target: of the new folder, see `NewFolder`.
        journal: nobody writes to it.
    """

    shared: SharedFolder
    path: Path
    target: Path
    journal: Path
    run: Mapping[str, Any]
    calibration: Calibration | None
    layout: Layout

    @property
    def folder(self) -> NewFolder:
        self.shared.check()
        return NewFolder(self.path, self.target)

    def opened_journal(self) -> Journal:
        return Journal(self.journal, write=False, frozen=True)

    def tables(self, journal: Journal) -> list[ConfigTable]:
        """All configs, in their order."""
        return self.layout.tables(finder_of_suspects(journal, self.run))

    def save(self, name: str, value: Any) -> None:
        with (self.shared.path / name).open("wb") as file:
            pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)

    def load(self, name: str) -> Any:
        with (self.shared.path / name).open("rb") as file:
            return pickle.load(file)  # noqa: S301 - saved by our own workers, in a folder of this build


@dataclass(frozen=True, slots=True)
class JudgedPiece:
    """What is known of a piece with its verdicts. `sizes` is that of each row, see `BuiltRow.size`."""

    counts: Counts
    sizes: tuple[int, ...]
    reading: Reading


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Works out the verdicts of a piece and saves rows and verdicts."""

    place: Place
    source: Source

    def __call__(self, piece: Piece) -> JudgedPiece:
        folder = self.place.folder
        layout = self.place.layout
        rows = PieceRows(self.source, piece)
        batch = Batch()
        saved: list[tuple[Row, list[Verdict]]] = []
        with self.place.opened_journal() as journal:
            for numbered, said in verdicts(rows, journal, self.place.run, calibration=self.place.calibration):
                batch.add(judged(layout, numbered, said))
                saved.append((numbered.row, said))
        counts = Counts.none(layout)
        if batch.rows:
            counts.add(batch, layout)
        with folder.disk_errors():
            self.place.save(piece_name(piece.number), saved)
        return JudgedPiece(counts, tuple(judged.size for judged in batch.rows), rows.reading)


def judged(layout: Layout, numbered: NumberedRow, said: Sequence[Verdict]) -> BuiltRow:
    row, least = numbered.row, layout.min_negatives
    changes = account_all(layout.techniques, row, said, limit=layout.limit, min_negatives=least)
    return BuiltRow(numbered.number, numbered.row, complete(numbered.row, said), changes)


def piece_name(number: int) -> str:
    return f"piece-{number:06d}"


@dataclass(frozen=True, slots=True)
class BatchTask:
    """Rows `first` to `end` (not included) of all, and the pieces they are in, each with the number of its first."""

    number: int
    first: int
    end: int
    pieces: tuple[tuple[int, int], ...]


def batch_tasks(pieces: Sequence[JudgedPiece], layout: Layout) -> list[BatchTask]:
    sizes = [size for piece in pieces for size in piece.sizes]
    starts: list[tuple[int, int, int]] = []
    place = 0
    for number, piece in enumerate(pieces):
        starts.append((number, place, place + len(piece.sizes)))
        place += len(piece.sizes)
    tasks: list[BatchTask] = []
    first = 0
    for end in batch_ends(sizes, batch_bytes=layout.batch_bytes, batch_rows=MAX_ROW_GROUP_ROWS):
        while starts and starts[0][2] <= first:
            starts.pop(0)
        inside = tuple((number, start) for number, start, stop in starts if start < end and stop > first)
        tasks.append(BatchTask(len(tasks), first, end, inside))
        first = end
    return tasks


@dataclass(frozen=True, slots=True)
class TableSize:
    """Of the table that a batch is in one config."""

    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class Batches:
    """Turns rows into what the tables of all configs are made of, saves that, and says how large the tables are."""

    place: Place

    def __call__(self, task: BatchTask) -> list[TableSize]:
        folder = self.place.folder
        batch = Batch(scores=self.place.layout.has_scores)
        for numbered, said in self._rows(task):
            batch.add(judged(self.place.layout, numbered, said))
        batch.prepare()
        sizes: list[TableSize] = []
        with self.place.opened_journal() as journal, folder.disk_errors():
            self.place.save(batch_name(task.number), batch.without_texts())
            for index, config in enumerate(self.place.tables(journal)):
                table = config.table_of(batch)
                sizes.append(TableSize(table.num_rows, table.nbytes))
                if not _is_technique(index, self.place.layout):
                    self.place.save(batch_name(task.number, config.name), table)
        return sizes

    def _rows(self, task: BatchTask) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
        for number, start in task.pieces:
            saved: list[tuple[Row, list[Verdict]]] = self.place.load(piece_name(number))
            for place in range(max(task.first, start), min(task.end, start + len(saved))):
                row, said = saved[place - start]
                yield NumberedRow(place, row), said


def _is_technique(config: int, layout: Layout) -> bool:
    return config < len(layout.techniques)


def batch_name(number: int, config: str = "rows") -> str:
    return f"batch-{number:06d}-{config}"


@dataclass(frozen=True, slots=True)
class FileTask:
    """A file of a config, and the batches whose tables are its row groups."""

    config: int
    index: int
    count: int
    batches: tuple[int, ...]


def file_tasks(tables: Sequence[Sequence[TableSize]], layout: Layout) -> list[FileTask]:
    """The files of all configs, in the order in which the manifest lists them."""
    tasks: list[FileTask] = []
    for config in range(len(layout.techniques) + 1 + layout.has_suspects + len(layout.views)):
        files: list[list[int]] = []
        size = 0
        for batch, of_batch in enumerate(tables):
            table = of_batch[config]
            if not table.rows:
                continue
            if not files or layout.begins_file(size, table.size):
                files.append([])
                size = 0
            files[-1].append(batch)
            size += table.size
        files = files or [[]]  # without rows, a file with a schema
        tasks += [FileTask(config, index, len(files), tuple(file)) for index, file in enumerate(files)]
    return tasks


@dataclass(frozen=True, slots=True)
class Files:
    """Writes one file of a config."""

    place: Place

    def __call__(self, task: FileTask) -> FileEntry:
        folder, layout = self.place.folder, self.place.layout
        with self.place.opened_journal() as journal:
            config = self.place.tables(journal)[task.config]
        name = layout.file_name(config.name, task.index, task.count)
        path = folder.path / name
        rows = 0
        with folder.disk_errors():
            path.parent.mkdir(exist_ok=True)
            # A writer ends its file even where it fails: what is not all of it must not get the name.
            with written_beside(path) as file, parquet_writer(file, config.schema) as writer:
                for table in self._tables(task, config):
                    write_row_group(writer, table, config.schema)
                    rows += table.num_rows
            return file_entry(path, name, rows)

    def _tables(self, task: FileTask, config: ConfigTable) -> Iterator[pa.Table]:
        for batch in task.batches:
            if _is_technique(task.config, self.place.layout):
                yield config.table_of(self.place.load(batch_name(batch)))
            else:
                yield self.place.load(batch_name(batch, config.name))
