"""Building on a Ray cluster: the same files, byte for byte, written by many.

Where a row group and a file end depends on all rows before, so it is worked out in three steps: pieces of the source
get their verdicts, then batches of rows are turned into what their row groups are made of, then each file is written
from those. In between, everything lies in the new folder, which the workers must see.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.judged_share import JudgedShare
from hf_relabel.builders.cascade.verdicts import stages_of_run, verdicts
from hf_relabel.builders.configs.arrow_batches import Batch, batch_ends, complete
from hf_relabel.builders.configs.manifest import MANIFEST_NAME, FileEntry, VerdictCounts, file_entry
from hf_relabel.builders.configs.verdict_records import BuiltRow
from hf_relabel.builders.configs.writing import (
    MAX_ROW_GROUP_ROWS,
    ROW_GROUP_BYTES,
    BuildReport,
    ConfigTable,
    Counts,
    Layout,
    folder_of_configs,
    parquet_writer,
    write_manifest,
    write_row_group,
)
from hf_relabel.builders.disk.atomic_folder import NewFolder
from hf_relabel.builders.job.job_file import BuildSettings
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.rows import NumberedRow, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.pieces import (
    Piece,
    PieceRows,
    Reading,
    cuttable,
    note_readings,
    pieces_of,
    pieces_wanted,
    placed,
)
from hf_relabel.builders.techniques import Technique, account_all
from hf_relabel.hub_tools.building.run import (
    calibration_of,
    check_earlier,
    check_names,
    check_share,
    finder_of_suspects,
    formats_of,
    origin,
    views_of_settings,
)
from hf_relabel.hub_tools.ray_cluster.cluster import Cluster, Engine, SharedFolder, TaskFailed, all_of, cluster

if TYPE_CHECKING:
    import pyarrow as pa

    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.builders.judgements import Verdict


def build_on_ray(
    source: Source,
    journal: Journal,
    settings: BuildSettings,
    engine: Engine,
    *,
    min_judged: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> BuildReport:
    """Build the configs of a source from the last run in a journal, on the cluster that `RAY_ADDRESS` names or on one
    that is started for it. The folder is what `build_configs` gives, byte for byte.

    Args:
        source: on the Hub, or where all workers see it.
        journal: open for writing, so that nobody else writes to it meanwhile; where all workers see it.
        settings: `out` is in a folder that all workers see.
        engine: how many workers and pieces.
        min_judged: as for `build_configs`.
        progress: called with the rows that have their verdicts so far.

    Raises:
        As `build_configs` does; ConfigError also where Ray is missing or a worker does not see the files.
    """
    check_names(settings)
    check_share("min_judged", min_judged)
    beside = formats_of(settings, source, source.records)
    run = journal.last_run()
    check_earlier(settings, source, journal)
    stages = stages_of_run(run)
    layout = Layout(
        tuple(Technique(name) for name in dict.fromkeys(settings.techniques)),
        settings.limit,
        tuple(stage.name for stage in stages),
        tuple(stage.describe() for stage in stages),
        "train",
        settings.max_shard_bytes,
        ROW_GROUP_BYTES,
        settings.default,
        finder_of_suspects(journal, run) is not None,
        source.scored,
        views_of_settings(settings, scored=source.scored),
    )
    layout.check()
    calibration = calibration_of(settings)
    journal.checkpoint()
    with cluster(engine) as connected, folder_of_configs(Path(settings.out)) as building:
        scratch = building.path / ".scratch"
        with building.disk_errors():
            scratch.mkdir()
            shared = SharedFolder.mark(scratch)
        place = _Place(shared, building.path, building.target, journal.path.absolute(), run, calibration, layout)
        try:
            steps = _Steps(source, place, connected, engine)
            counts, files = steps.run(
                progress, lambda found: _share_judged(found).check(source.name, journal, min_judged)
            )
        except TaskFailed as failed:
            raise failed.error from failed
        with building.disk_errors():
            shutil.rmtree(scratch)
            extra = origin(source, run, calibration)
            if beside is not None:  # by one process, which reads the source once more
                extra["formats"] = beside(building.path)
            manifest = write_manifest(building, layout, counts, files, extra)
            replaced = building.earlier_text(MANIFEST_NAME) is not None
    return BuildReport(folder=Path(settings.out), manifest=manifest, replaced=replaced)


@dataclass(frozen=True, slots=True)
class _Place:
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


class _Steps:
    """The three steps: pieces get their verdicts, batches become tables, tables become files."""

    def __init__(self, source: Source, place: _Place, connected: Cluster, engine: Engine) -> None:
        self.source, self.place, self.connected, self.engine = source, place, connected, engine

    def run(
        self, progress: Callable[[int], None] | None, check: Callable[[Counts], None]
    ) -> tuple[Counts, list[FileEntry]]:
        pieces = self._pieces(progress)
        counts = Counts.none(self.place.layout)
        for piece in pieces:
            counts.take(piece.counts)
        check(counts)
        tables = all_of(_Batches(self.place), _batch_tasks(pieces, self.place.layout), self.connected)
        files = all_of(_Files(self.place), _file_tasks(tables, self.place.layout), self.connected)
        return counts, files

    def _pieces(self, progress: Callable[[int], None] | None) -> list[_JudgedPiece]:
        wanted = self.engine.shards or pieces_wanted(self.source, self.connected.workers)
        source = cuttable(self.source, wanted, self.place.shared.path / "rows.jsonl")
        pieces = pieces_of(source, wanted)
        done = 0

        def note(piece: _JudgedPiece) -> None:
            nonlocal done
            done += piece.counts.rows
            if progress is not None:
                progress(done)

        try:
            found = all_of(_Verdicts(self.place, source), pieces, self.connected, note=note)
        except TaskFailed as failed:
            raise placed(failed.error, source, pieces[failed.number]) from failed
        if source is self.source:
            note_readings(source, [piece.reading for piece in found])
        return found


def _share_judged(counts: Counts) -> JudgedShare:
    return JudgedShare.of(VerdictCounts.summed(counts.verdicts.values()).to_dict()["outcomes"])


# First: verdicts


@dataclass(frozen=True, slots=True)
class _JudgedPiece:
    """What is known of a piece with its verdicts. `sizes` is that of each row, see `BuiltRow.size`."""

    counts: Counts
    sizes: tuple[int, ...]
    reading: Reading


@dataclass(frozen=True, slots=True)
class _Verdicts:
    """Works out the verdicts of a piece and saves rows and verdicts."""

    place: _Place
    source: Source

    def __call__(self, piece: Piece) -> _JudgedPiece:
        folder = self.place.folder
        layout = self.place.layout
        rows = PieceRows(self.source, piece)
        batch = Batch()
        saved: list[tuple[Row, list[Verdict]]] = []
        with self.place.opened_journal() as journal:
            for numbered, said in verdicts(rows, journal, self.place.run, calibration=self.place.calibration):
                batch.add(_judged(layout, numbered, said))
                saved.append((numbered.row, said))
        counts = Counts.none(layout)
        if batch.rows:
            counts.add(batch, layout)
        with folder.disk_errors():
            self.place.save(_piece_name(piece.number), saved)
        return _JudgedPiece(counts, tuple(judged.size for judged in batch.rows), rows.reading)


def _judged(layout: Layout, numbered: NumberedRow, said: Sequence[Verdict]) -> BuiltRow:
    changes = account_all(layout.techniques, numbered.row, said, limit=layout.limit)
    return BuiltRow(numbered.number, numbered.row, complete(numbered.row, said), changes)


def _piece_name(number: int) -> str:
    return f"piece-{number:06d}"


# Second: batches of rows, whatever piece they came in


@dataclass(frozen=True, slots=True)
class _BatchTask:
    """Rows `first` to `end` (not included) of all, and the pieces they are in, each with the number of its first."""

    number: int
    first: int
    end: int
    pieces: tuple[tuple[int, int], ...]


def _batch_tasks(pieces: Sequence[_JudgedPiece], layout: Layout) -> list[_BatchTask]:
    sizes = [size for piece in pieces for size in piece.sizes]
    starts: list[tuple[int, int, int]] = []
    place = 0
    for number, piece in enumerate(pieces):
        starts.append((number, place, place + len(piece.sizes)))
        place += len(piece.sizes)
    tasks: list[_BatchTask] = []
    first = 0
    for end in batch_ends(sizes, batch_bytes=layout.batch_bytes, batch_rows=MAX_ROW_GROUP_ROWS):
        while starts and starts[0][2] <= first:
            starts.pop(0)
        inside = tuple((number, start) for number, start, stop in starts if start < end and stop > first)
        tasks.append(_BatchTask(len(tasks), first, end, inside))
        first = end
    return tasks


@dataclass(frozen=True, slots=True)
class _TableSize:
    """Of the table that a batch is in one config."""

    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class _Batches:
    """Turns rows into what the tables of all configs are made of, saves that, and says how large the tables are."""

    place: _Place

    def __call__(self, task: _BatchTask) -> list[_TableSize]:
        folder = self.place.folder
        batch = Batch(scores=self.place.layout.has_scores)
        for numbered, said in self._rows(task):
            batch.add(_judged(self.place.layout, numbered, said))
        batch.prepare()
        sizes: list[_TableSize] = []
        with self.place.opened_journal() as journal, folder.disk_errors():
            self.place.save(_batch_name(task.number), batch.without_texts())
            for index, config in enumerate(self.place.tables(journal)):
                table = config.table_of(batch)
                sizes.append(_TableSize(table.num_rows, table.nbytes))
                if not _is_technique(index, self.place.layout):
                    self.place.save(_batch_name(task.number, config.name), table)
        return sizes

    def _rows(self, task: _BatchTask) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
        for number, start in task.pieces:
            saved: list[tuple[Row, list[Verdict]]] = self.place.load(_piece_name(number))
            for place in range(max(task.first, start), min(task.end, start + len(saved))):
                row, said = saved[place - start]
                yield NumberedRow(place, row), said


def _is_technique(config: int, layout: Layout) -> bool:
    return config < len(layout.techniques)


def _batch_name(number: int, config: str = "rows") -> str:
    return f"batch-{number:06d}-{config}"


# Third: files


@dataclass(frozen=True, slots=True)
class _FileTask:
    """A file of a config, and the batches whose tables are its row groups."""

    config: int
    index: int
    count: int
    batches: tuple[int, ...]


def _file_tasks(tables: Sequence[Sequence[_TableSize]], layout: Layout) -> list[_FileTask]:
    """The files of all configs, in the order in which the manifest lists them."""
    tasks: list[_FileTask] = []
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
        tasks += [_FileTask(config, index, len(files), tuple(file)) for index, file in enumerate(files)]
    return tasks


@dataclass(frozen=True, slots=True)
class _Files:
    """Writes one file of a config."""

    place: _Place

    def __call__(self, task: _FileTask) -> FileEntry:
        folder, layout = self.place.folder, self.place.layout
        with self.place.opened_journal() as journal:
            config = self.place.tables(journal)[task.config]
        name = layout.file_name(config.name, task.index, task.count)
        path = folder.path / name
        rows = 0
        with folder.disk_errors():
            path.parent.mkdir(exist_ok=True)
            with parquet_writer(path, config.schema) as writer:
                for table in self._tables(task, config):
                    write_row_group(writer, table, config.schema)
                    rows += table.num_rows
            folder.sync(path)
            return file_entry(path, name, rows)

    def _tables(self, task: _FileTask, config: ConfigTable) -> Iterator[pa.Table]:
        for batch in task.batches:
            if _is_technique(task.config, self.place.layout):
                yield config.table_of(self.place.load(_batch_name(batch)))
            else:
                yield self.place.load(_batch_name(batch, config.name))
