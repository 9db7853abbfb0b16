"""Writing the configs: one pass over rows and verdicts gives a folder that `load_dataset(folder, config)` loads.

    original/train-00000-of-00001.parquet     one folder per technique, rows in the Tevatron/RLHN schema
    …
    verdicts/train-00000-of-00001.parquet     one line for each negative of each row, see `verdicts_schema`
    relabel-tuples/…                          views, where some were asked for, see hf_relabel.builders.configs.views
    README.md                                 front matter that names the configs, and a table of counts
    manifest.json                             see hf_relabel.builders.configs.manifest

Memory stays bounded whatever the number of rows, the same inputs give the same bytes, and the folder appears complete
or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hf_relabel.builders.cascade.judged_share import JudgedShare
from hf_relabel.builders.cascade.run_choice import told as run_told
from hf_relabel.builders.cascade.suspects import Suspect, suspects_schema
from hf_relabel.builders.config_names import SUSPECTS
from hf_relabel.builders.configs.arrow_batches import Batch, batches
from hf_relabel.builders.configs.build_notes import build_notes, gone_configs
from hf_relabel.builders.configs.manifest import (
    MANIFEST_NAME,
    ConfigCounts,
    FileEntry,
    VerdictCounts,
    by_subset,
    file_entry,
    is_ours,
    make_manifest,
    manifest_text,
    read_manifest,
)
from hf_relabel.builders.configs.verdict_records import verdicts_from_records, verdicts_schema
from hf_relabel.builders.configs.views.view import View, ViewCounts, check_shown
from hf_relabel.builders.disk.atomic_folder import NewFolder, check_place, new_folder
from hf_relabel.builders.disk.gc_pause import fewer_collections
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.runs import Run
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.messages.counted import counted, percent
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.builders.readme.configs_readme import EMPTY_NOTE, format_lines, readme_text, totals, view_lines
from hf_relabel.builders.rows import NumberedRow, arrow_schema
from hf_relabel.builders.techniques import DEFAULT_LIMIT, Technique, check_default, default_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "BuildReport",
    "ConfigTable",
    "Counts",
    "Layout",
    "Shard",
    "build_report",
    "folder_of_configs",
    "parquet_writer",
    "verdicts_from_records",
    "write_configs",
    "write_manifest",
    "write_row_group",
]

VERDICTS = "verdicts"
README_NAME = "README.md"

ROW_GROUP_BYTES = 3_000_000
"""Of Arrow, in a row group. What is in memory at a time is a multiple of it, and who looks at one row fetches its row
group. All configs have the same rows in a row group, so that they have pages in common."""
MAX_SHARD_BYTES = 250_000_000
"""Of Arrow, in a file. `datasets` keeps what it streams of a file until its end, and a Xet upload most of a file: with
files twice as large both take 0.8 GB."""
MAX_ROW_GROUP_ROWS = 10_000
"""So that rows of a few bytes do not make row groups that take long to read."""
WRITER_THREADS = 2
"""Configs written at a time. Each holds one row group more in memory."""
COLUMNS_WITH_STATISTICS = ["query_id", "subset", "row", "position", "outcome", "reason", "label", "score"]
"""Columns that readers filter on. The minimum of a passage text helps nobody and would be in every footer."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A complete Parquet file of a config, number `index` from 0. Its final name is known when all are written."""

    config: str
    index: int
    path: Path


@dataclass(frozen=True, slots=True, repr=False)
class BuildReport(Shown):
    """What was built.

    Attributes:
        manifest: the content of manifest.json.
        gone: configs and files of other formats that the earlier build had, and this one does not.
        run: of the journal, whose judgements it was built of; None where it was built of a release.
    """

    folder: Path
    manifest: Mapping[str, Any]
    gone: tuple[str, ...] = ()
    run: Run | None = None

    @property
    def rows(self) -> int:
        """Rows read."""
        return int(self.manifest["rows"]["count"])

    def to_dict(self) -> dict[str, Any]:
        told = {"judged": self.judged.to_dict(), "gone": list(self.gone)}
        number = None if self.run is None else self.run.number
        return {"folder": str(self.folder), **self.manifest, **told, "run_number": number}

    @property
    def judged(self) -> JudgedShare:
        """How much of what needs a judge was judged."""
        return JudgedShare.of(self.manifest["verdicts"]["total"]["outcomes"])

    def to_text(self) -> str:
        """The counts as a plain table, with a line on what was not judged."""
        default = self.manifest["settings"]["default_config"]
        shorter = {"negatives relabelled": "relabelled", "negatives dropped": "left out"}
        lines = [
            {shorter.get(name, name): f"{value} *" if value == default else value for name, value in line.items()}
            for line in totals(self.manifest)
        ]
        table = text_table(lines)
        judged = self.judged
        exempt = f" ({judged.exempt:,} exempt)" if judged.exempt else ""
        text = (
            f"{table}\n* loads by default. {counted(judged.candidates, 'candidate')}, {judged.needed:,}"
            f" {'needs' if judged.needed == 1 else 'need'} a judge{exempt};"
            f" unjudged: {judged.reasons()}."
        )
        if self.run is not None:
            text += (
                f"\nOf the judges of {run_told(self.run)}: the journal holds their answers for"
                f" {percent(judged.share)} of what needs a judge."
            )
        empty = [line["config"] for line in totals(self.manifest) if not line["rows"]]
        notes = [EMPTY_NOTE.format(", ".join(empty))] if empty else []
        notes += build_notes(self.manifest, self.gone)
        return "\n".join([text, *notes, *view_lines(self.manifest), *format_lines(self.manifest)])


@expects(numbered_verdicts=Iterable, folder=PATH)
def write_configs(
    numbered_verdicts: Iterable[tuple[NumberedRow, Sequence[Verdict]]],
    folder: str | Path,
    *,
    techniques: Sequence[Technique] = tuple(Technique),
    limit: int = DEFAULT_LIMIT,
    min_negatives: int = 0,
    stage_names: Sequence[str],
    stage_judges: Sequence[str] = (),
    split: str = "train",
    max_shard_bytes: int = MAX_SHARD_BYTES,
    row_group_bytes: int = ROW_GROUP_BYTES,
    default_config: str | None = None,
    manifest_extra: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
    suspects: Callable[[NumberedRow], Sequence[Suspect]] | None = None,
    on_shard: Callable[[Shard], None] | None = None,
    scores: bool = False,
    views: Sequence[View] = (),
    beside: Callable[[Path], Mapping[str, Any]] | None = None,
) -> BuildReport:
    """Write all configs of a training set, and the verdicts they follow from, into `folder`.

    A folder that was built before is replaced in one step when the new one is complete; until then, and if anything
    fails, it stays as it is. Files in it that are not ours, and what the user wrote in its README.md, are kept.

    Example:
            with Journal("journal.sqlite", write=False) as journal:
                found = verdicts("train.jsonl", journal)
                write_configs(found, Path("cleaned"), stage_names=["listwise"])  # build_configs does this and more

    Args:
        numbered_verdicts: rows in order and without gaps, each with the verdicts on its negatives. Read once.
        limit: most distinct false negatives in a row, see `techniques.account`.
        min_negatives: rows that `relabel-filter` would leave with fewer keep their doubtful ones.
        stage_names: the names of the cascade's stages, in order.
        stage_judges: what judged at each stage, in order; none to leave that out of the verdicts config.
        max_shard_bytes: most bytes of Arrow (uncompressed) in a file, give or take a row.
        row_group_bytes: about the bytes of Arrow in a row group; also what bounds the memory.
        default_config: the technique that loads when no config is named; None for `remove-hn` where it is among the
            techniques, else the first.
        manifest_extra: entries to add to the manifest, such as the source and the judges' settings, or what gives them
            once all rows have been read.
        suspects: finds the suspected ground truths of a row, for the config `suspects`; None writes no such config.
        on_shard: takes each shard as soon as it is complete, and away from the folder, which then holds the manifest
            and the README.md only: so that a release needs no room for a second copy. The manifest lists the shards of
            a config in the order in which they were given.
        scores: whether passages have a `score`, see `rows.arrow_schema`.
        views: further configs, each a view of a technique that is built.
        beside: given the new folder when all configs are in it, writes more files there, and gives the entry `formats`
            of the manifest. Not with `on_shard`, which takes the configs away.

    Raises:
        ConfigError: settings that make no sense.
        BuildError: the folder is not ours to replace or cannot be written, rows and verdicts do not fit, or a view
            would show nothing.
    """
    layout = Layout(
        tuple(Technique(technique) for technique in dict.fromkeys(techniques)),
        limit,
        tuple(stage_names),
        tuple(stage_judges),
        split,
        max_shard_bytes,
        row_group_bytes,
        default_of(techniques) if default_config is None else str(default_config),
        suspects is not None,
        scores,
        tuple(views),
        min_negatives,
    )
    layout.check()
    read = batches(
        numbered_verdicts,
        layout.techniques,
        limit=limit,
        batch_bytes=layout.batch_bytes,
        batch_rows=MAX_ROW_GROUP_ROWS,
        scores=scores,
        min_negatives=min_negatives,
    )
    with fewer_collections(), folder_of_configs(Path(folder)) as building:
        writers = [_ConfigWriter(building, layout, table, on_shard) for table in layout.tables(suspects)]
        counts = Counts.none(layout)
        _write_all(read, writers, building, layout, counts)
        with building.disk_errors():
            files = [entry for writer in writers for entry in writer.finish()]
            extra = dict(manifest_extra() if callable(manifest_extra) else manifest_extra or {})
            if beside is not None:
                extra["formats"] = beside(building.path)
            manifest = write_manifest(building, layout, counts, files, extra)
            report = build_report(building, Path(folder), manifest)
    return report


def build_report(building: NewFolder, folder: Path, manifest: Mapping[str, Any]) -> BuildReport:
    """What is told of a new folder, while the one that it replaces is still there."""
    return BuildReport(folder, manifest, gone_configs(building.target, manifest))


def folder_of_configs(folder: Path) -> AbstractContextManager[NewFolder]:
    """The folder of some configs, while it is written; see `new_folder`.

    Raises:
        BuildError: as `write_configs` does for folders.
    """
    return new_folder(folder, is_ours=is_ours)


def check_folder(folder: Path) -> None:
    """Raises: BuildError, where the folder may not be replaced by a build."""
    check_place(folder, is_ours)


def write_manifest(
    building: NewFolder, layout: Layout, counts: Counts, files: Iterable[FileEntry], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Write manifest.json and README.md beside the complete files of the configs, and take over what is the user's."""
    for view in layout.views:
        check_shown(view, counts.views[view.name])
    shown = {"views": {name: view.to_dict() for name, view in counts.views.items()}} if layout.views else {}
    manifest = make_manifest(
        settings=layout.settings(),
        rows={"first": counts.first_row, "count": counts.rows},
        configs={
            name: by_subset(subsets, ConfigCounts.summed(subsets.values())) for name, subsets in counts.configs.items()
        },
        verdicts=by_subset(counts.verdicts, VerdictCounts.summed(counts.verdicts.values())),
        files=files,
        extra={**extra, **shown},
    )
    building.write(README_NAME, readme_text(manifest, building.earlier_text(README_NAME)).encode())
    building.write(MANIFEST_NAME, manifest_text(manifest))
    building.keep_others(ours=_earlier_files(building.target))
    return manifest


@dataclass(frozen=True, slots=True)
class ConfigTable:
    """One config, as it is made of batches.

    Attributes:
        reads_journal: whether making its table reads a journal, which only the thread that opened it may do.
    """

    name: str
    schema: pa.Schema
    table_of: Callable[[Batch], pa.Table]
    reads_journal: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What decides the bytes of the configs of some rows and verdicts, whoever writes them. See `write_configs`."""

    techniques: tuple[Technique, ...]
    limit: int
    stage_names: tuple[str, ...]
    stage_judges: tuple[str, ...]
    split: str
    max_shard_bytes: int
    row_group_bytes: int
    default_config: str
    has_suspects: bool
    has_scores: bool = False
    views: tuple[View, ...] = ()
    min_negatives: int = 0

    @property
    def batch_bytes(self) -> int:
        return min(self.row_group_bytes, self.max_shard_bytes)

    def check(self) -> None:
        """Whether the settings make sense.

        Raises:
            ConfigError: they do not.
        """
        _check_settings(
            self.techniques,
            self.default_config,
            self.split,
            self.stage_names,
            self.stage_judges,
            self.limit,
            self.max_shard_bytes,
        )
        for view in self.views:
            if view.technique not in self.techniques:
                raise ConfigError(f"The view {view.name} needs the config {str(view.technique)!r}, which is not built.")

    def settings(self) -> dict[str, Any]:
        """As the manifest tells them."""
        return {
            "techniques": [str(technique) for technique in self.techniques],
            "limit": self.limit,
            "default_config": self.default_config,
            "split": self.split,
            "stages": list(self.stage_names),
            "max_shard_bytes": self.max_shard_bytes,
            "row_group_bytes": self.row_group_bytes,
            **({"min_negatives": self.min_negatives} if self.min_negatives else {}),
            **({"suspects": True} if self.has_suspects else {}),
            **({"scores": True} if self.has_scores else {}),
            **({"views": [view.settings() for view in self.views]} if self.views else {}),
        }

    def tables(self, suspects: Callable[[NumberedRow], Sequence[Suspect]] | None) -> list[ConfigTable]:
        """All configs, in the order in which the manifest lists their files."""
        rows_schema = with_features(arrow_schema(scores=self.has_scores))
        tables = [
            ConfigTable(str(technique), rows_schema, partial(_rows_table, technique)) for technique in self.techniques
        ]
        tables.append(ConfigTable(VERDICTS, with_features(verdicts_schema()), self._verdicts_table))
        if suspects is not None:
            tables.append(ConfigTable(SUSPECTS, with_features(suspects_schema()), _suspects_table(suspects), True))
        tables += [ConfigTable(view.name, with_features(view.schema()), view.table) for view in self.views]
        return tables

    def file_name(self, config: str, index: int, count: int) -> str:
        """Where a file of a config lies in the folder."""
        return f"{config}/{self.split}-{index:05d}-of-{count:05d}.parquet"

    def begins_file(self, file_bytes: int, table_bytes: int) -> bool:
        """Whether a table goes into a new file, and not into one that holds so many bytes already."""
        return file_bytes + table_bytes > self.max_shard_bytes

    def _verdicts_table(self, batch: Batch) -> pa.Table:
        return batch.verdicts_table(self.stage_names, self.stage_judges)


def _rows_table(technique: Technique, batch: Batch) -> pa.Table:
    return batch.table(technique)


@dataclass(slots=True)
class Counts:
    """How many rows and passages of all went where."""

    configs: dict[str, dict[str, ConfigCounts]]
    rows: int = 0
    first_row: int = 0
    verdicts: dict[str, VerdictCounts] = field(default_factory=dict)
    views: dict[str, ViewCounts] = field(default_factory=dict)

    @classmethod
    def none(cls, layout: Layout) -> Counts:
        configs: dict[str, dict[str, ConfigCounts]] = {str(technique): {} for technique in layout.techniques}
        return cls(configs, views={view.name: ViewCounts() for view in layout.views})

    def take(self, more: Counts) -> None:
        """Add the counts of the rows that come next."""
        if not self.rows:
            self.first_row = more.first_row
        self.rows += more.rows
        for name, subsets in more.configs.items():
            own = self.configs[name]
            for subset, counts in subsets.items():
                own[subset] = ConfigCounts.summed([own[subset], counts]) if subset in own else counts
        for subset, found in more.verdicts.items():
            known = self.verdicts.get(subset)
            self.verdicts[subset] = found if known is None else VerdictCounts.summed([known, found])
        for name, view in more.views.items():
            self.views[name].take(view)

    def add(self, batch: Batch, layout: Layout) -> None:
        if not self.rows:
            self.first_row = batch.rows[0].number
        self.rows += len(batch.rows)
        for judged in batch.rows:
            subset = judged.row.subset
            for technique, change in judged.changes.items():
                self.configs[technique].setdefault(subset, ConfigCounts()).add(judged.row, change)
            self.verdicts.setdefault(subset, VerdictCounts()).add(judged.verdicts, layout.stage_names)
        for view in layout.views:
            for shown in view.shown(batch.rows):
                self.views[view.name].add(shown)


@dataclass(slots=True)
class _ConfigWriter:
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


def parquet_writer(place: Path | BinaryIO, schema: pa.Schema) -> Any:
    """A writer whose every setting is fixed here, because equal inputs must give equal bytes.

    Chunk boundaries follow the content, with the sizes that `datasets` uses, so that the Hub stores pages that configs
    and releases have in common once.
    """
    import pyarrow.parquet as pq

    return pq.ParquetWriter(
        place,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["subset", "outcome", "reason", "label", "stages.list.element.stage"]
        + [f"stages.list.element.{name}" for name in ("judge", "label")],
        write_statistics=COLUMNS_WITH_STATISTICS,
        write_page_index=True,
        use_content_defined_chunking={"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0},
    )


def write_row_group(writer: Any, table: pa.Table, schema: pa.Schema) -> None:
    """Add a table to a file of `parquet_writer`, as one row group."""
    writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=table.num_rows)


def _suspects_table(find: Callable[[NumberedRow], Sequence[Suspect]]) -> Callable[[Batch], pa.Table]:
    def table(batch: Batch) -> pa.Table:
        import pyarrow as pa

        found = [suspect.to_dict() for judged in batch.rows for suspect in find(NumberedRow(judged.number, judged.row))]
        return pa.Table.from_pylist(found, suspects_schema())

    return table


def with_features(schema: pa.Schema) -> pa.Schema:
    """The schema with the metadata by which `load_dataset` knows the features, whatever the first rows look like."""
    import datasets

    return datasets.Features.from_arrow_schema(schema).arrow_schema


def _write_all(
    read: Iterable[Batch],
    writers: Sequence[_ConfigWriter],
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


def _abandon(writers: Iterable[_ConfigWriter]) -> None:
    """Close what is open. On a full disk closing fails as well, which changes nothing: the folder is thrown away."""
    for writer in writers:
        try:
            writer.abandon()
        except OSError:
            continue


def _check_settings(
    techniques: Sequence[Technique],
    default_config: str,
    split: str,
    stage_names: Sequence[str],
    stage_judges: Sequence[str],
    limit: int,
    max_shard_bytes: int,
) -> None:
    check_default(default_config, techniques)
    if not re.fullmatch(r"\w+(\.\w+)*", split):
        raise ConfigError(f"{split!r} cannot name a split: use letters, digits, underscores and dots.")
    if stage_judges and len(stage_judges) != len(stage_names):
        raise ConfigError(f"There are {len(stage_names)} stages but {len(stage_judges)} judges of stages.")
    if limit < 0 or max_shard_bytes < 1:
        raise ConfigError("The limit must be 0 or more, and a shard must be allowed at least one byte.")


def _earlier_files(folder: Path) -> list[str]:
    """The files that the earlier build of a folder wrote; they go even where the new build has none of that name."""
    if not (folder / MANIFEST_NAME).is_file():
        return []
    manifest = read_manifest(folder, any_version=True)
    return [*manifest["files"], *(manifest.get("formats") or {}).get("files", ())]
