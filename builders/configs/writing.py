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

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.cascade.judged_share import JudgedShare
from hf_relabel.builders.cascade.run_choice import told as run_told
from hf_relabel.builders.cascade.suspects import Suspect
from hf_relabel.builders.configs.arrow_batches import batches
from hf_relabel.builders.configs.build_notes import build_notes, gone_configs
from hf_relabel.builders.configs.config_writer import ConfigWriter, Shard, write_all
from hf_relabel.builders.configs.counts import Counts
from hf_relabel.builders.configs.layout import MAX_SHARD_BYTES, Layout
from hf_relabel.builders.configs.manifest import (
    MANIFEST_NAME,
    ConfigCounts,
    FileEntry,
    VerdictCounts,
    by_subset,
    is_ours,
    make_manifest,
    manifest_text,
    read_manifest,
)
from hf_relabel.builders.configs.parquet_files import (
    MAX_ROW_GROUP_ROWS,
    ROW_GROUP_BYTES,
)
from hf_relabel.builders.configs.views.view import View, check_shown
from hf_relabel.builders.disk.atomic_folder import NewFolder, check_place, new_folder
from hf_relabel.builders.disk.gc_pause import fewer_collections
from hf_relabel.builders.journal.runs import Run
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.messages.counted import counted, percent
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.builders.readme.configs_readme import (
    EMPTY_NOTE,
    SHORTER,
    format_lines,
    readme_text,
    totals,
    view_lines,
)
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.techniques import DEFAULT_LIMIT, Technique, canonical, default_of

README_NAME = "README.md"


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
        lines = [
            {SHORTER.get(name, name): f"{value} *" if value == default else value for name, value in line.items()}
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
        default_of(techniques) if default_config is None else canonical(default_config),
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
        writers = [ConfigWriter(building, layout, table, on_shard) for table in layout.tables(suspects)]
        counts = Counts.none(layout)
        write_all(read, writers, building, layout, counts)
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


def _earlier_files(folder: Path) -> list[str]:
    """The files that the earlier build of a folder wrote; they go even where the new build has none of that name."""
    if not (folder / MANIFEST_NAME).is_file():
        return []
    manifest = read_manifest(folder, any_version=True)
    return [*manifest["files"], *(manifest.get("formats") or {}).get("files", ())]
