"""Building on a Ray cluster: the same files, byte for byte, written by many.

Where a row group and a file end depends on all rows before, so it is worked out in three steps: pieces of the source
get their verdicts, then batches of rows are turned into what their row groups are made of, then each file is written
from those. In between, everything lies in the new folder, which the workers must see.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hf_relabel.builders.cascade.judged_share import JudgedShare
from hf_relabel.builders.cascade.run_choice import telling_of_others, told
from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.cascade.unanswered import first_failure
from hf_relabel.builders.configs.counts import Counts
from hf_relabel.builders.configs.layout import Layout
from hf_relabel.builders.configs.manifest import FileEntry, VerdictCounts
from hf_relabel.builders.configs.parquet_files import ROW_GROUP_BYTES
from hf_relabel.builders.configs.writing import BuildReport, build_report, folder_of_configs, write_manifest
from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.builders.journal.runs import Run
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.piece_surveys import note_readings
from hf_relabel.builders.sources.pieces import cuttable, pieces_of, pieces_wanted, placed
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.building.on_ray_steps import (
    Batches,
    Files,
    JudgedPiece,
    Place,
    Verdicts,
    batch_tasks,
    file_tasks,
)
from hf_relabel.hub_tools.building.run import (
    as_settings,
    calibration_for,
    check_earlier,
    check_share,
    finder_of_suspects,
    formats_of,
    origin,
    run_to_build,
    views_of_settings,
)
from hf_relabel.hub_tools.ray_cluster.cluster import Cluster, Engine, SharedFolder, TaskFailed, all_of, cluster


def build_on_ray(
    source: Source,
    journal: Journal,
    settings: BuildSettings,
    engine: Engine,
    *,
    run: int | None = None,
    min_judged: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> BuildReport:
    """Build the configs of a source from a run in a journal, on the cluster that `RAY_ADDRESS` names or on one
    that is started for it. The folder is what `build_configs` gives, byte for byte.

    Args:
        source: on the Hub, or where all workers see it.
        journal: open for writing, so that nobody else writes to it meanwhile; where all workers see it.
        settings: `out` is in a folder that all workers see.
        engine: how many workers and pieces.
        run, min_judged: as for `build_configs`.
        progress: called with the rows that have their verdicts so far.

    Raises:
        As `build_configs` does; ConfigError also where Ray is missing or a worker does not see the files.
    """
    check_share("min_judged", min_judged)
    settings = as_settings(settings, min_judged=min_judged)
    beside = formats_of(settings, source, source.records)
    check_earlier(settings, source, journal)
    used = run_to_build(source, journal, settings, run)
    layout = _layout(source, journal, settings, used)
    layout.check()
    calibration = calibration_for(used.settings, settings)
    journal.checkpoint()
    with cluster(engine) as connected, folder_of_configs(Path(settings.out)) as building:
        scratch = building.path / ".scratch"
        with building.disk_errors():
            scratch.mkdir()
            shared = SharedFolder.mark(scratch)
        place = Place(
            shared, building.path, building.target, journal.path.absolute(), used.settings, calibration, layout
        )
        try:
            steps = _Steps(source, place, connected, engine)
            counts, files = steps.run(
                progress,
                lambda found: _check_judged(found, source, journal, settings, used),
            )
        except TaskFailed as failed:
            raise failed.error from failed
        with building.disk_errors():
            shutil.rmtree(scratch)
            extra = origin(source, used.settings, calibration)
            if beside is not None:  # by one process, which reads the source once more
                extra["formats"] = beside(building.path)
            manifest = write_manifest(building, layout, counts, files, extra)
            report = build_report(building, Path(settings.out), manifest)
    return replace(report, run=used)


def _layout(source: Source, journal: Journal, settings: BuildSettings, run: Run) -> Layout:
    """What `build_configs` would write."""
    stages = stages_of_run(run.settings)
    return Layout(
        tuple(Technique(name) for name in dict.fromkeys(settings.techniques)),
        settings.limit,
        tuple(stage.name for stage in stages),
        tuple(stage.describe() for stage in stages),
        "train",
        settings.max_shard_bytes,
        ROW_GROUP_BYTES,
        settings.default,
        finder_of_suspects(journal, run.settings) is not None,
        source.scored,
        views_of_settings(settings, scored=source.scored),
        settings.min_negatives,
    )


class _Steps:
    """The three steps: pieces get their verdicts, batches become tables, tables become files."""

    def __init__(self, source: Source, place: Place, connected: Cluster, engine: Engine) -> None:
        self.source, self.place, self.connected, self.engine = source, place, connected, engine

    def run(
        self, progress: Callable[[int], None] | None, check: Callable[[Counts], None]
    ) -> tuple[Counts, list[FileEntry]]:
        pieces = self._pieces(progress)
        counts = Counts.none(self.place.layout)
        for piece in pieces:
            counts.take(piece.counts)
        check(counts)
        tables = all_of(Batches(self.place), batch_tasks(pieces, self.place.layout), self.connected)
        files = all_of(Files(self.place), file_tasks(tables, self.place.layout), self.connected)
        return counts, files

    def _pieces(self, progress: Callable[[int], None] | None) -> list[JudgedPiece]:
        wanted = self.engine.shards or pieces_wanted(self.source, self.connected.workers)
        source = cuttable(self.source, wanted, self.place.shared.path / "rows.jsonl")
        pieces = pieces_of(source, wanted)
        done = 0

        def note(piece: JudgedPiece) -> None:
            nonlocal done
            done += piece.counts.rows
            if progress is not None:
                progress(done)

        try:
            found = all_of(Verdicts(self.place, source), pieces, self.connected, note=note)
        except TaskFailed as failed:
            raise placed(failed.error, source, pieces[failed.number]) from failed
        if source is self.source:
            note_readings(source, [piece.reading for piece in found])
        return found


def _check_judged(counts: Counts, source: Source, journal: Journal, settings: BuildSettings, used: Run) -> None:
    with telling_of_others(source, journal, used):
        _share_judged(counts).check(
            source.name,
            journal,
            settings.min_judged,
            told(used),
            lambda: first_failure(source, journal, used.settings),
        )


def _share_judged(counts: Counts) -> JudgedShare:
    return JudgedShare.of(VerdictCounts.summed(counts.verdicts.values()).to_dict()["outcomes"])


# First: verdicts


# Second: batches of rows, whatever piece they came in


# Third: files
