"""Building anew from a release, with the verdicts it holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.zones import zoned
from hf_relabel.builders.configs.config_writer import Shard
from hf_relabel.builders.configs.earlier_build import refuse_other_build
from hf_relabel.builders.configs.release import Release
from hf_relabel.builders.configs.writing import BuildReport, write_configs
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.techniques import Technique, default_of
from hf_relabel.hub_tools.building.run import as_settings, counted_rows, formats_of, views_of_settings
from hf_relabel.hub_tools.calls import progress_bars as bars

if TYPE_CHECKING:
    from hf_relabel.builders.cascade.calibration import Calibration


def rebuild_configs(
    release: Release,
    settings: BuildSettings | str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] | bool | None = True,
    on_shard: Callable[[Shard], None] | None = None,
) -> BuildReport:
    """Build configs again from a release's `original` and `verdicts` alone: no journal, no judge, any technique.

    With the release's own settings the Parquet files come out byte for byte as they are in it.

    Example:
            release = open_release("user/train-relabeled@v1.0.0")
            rebuild_configs(release, BuildSettings(out="again", limit=3))

    Args:
        release: what `open_release` gives.
        settings: what to build, or the folder to write alone.
        overwrite, progress, on_shard: as for `build_configs`.

    Raises:
        ConfigError: an unknown technique or default config, or `zones_at` of a release without zones.
        BuildError: the release is not whole, or the folder cannot be written.
    """
    wanted = as_settings(settings, overwrite=overwrite)
    with bars.counting(progress, "building") as show:
        return _rebuild(release, wanted, show, on_shard)


def _rebuild(
    release: Release,
    settings: BuildSettings,
    progress: Callable[[int], None] | None,
    on_shard: Callable[[Shard], None] | None,
) -> BuildReport:
    stages = release.manifest["settings"]["stages"]
    scored = bool(release.manifest["settings"].get("scores"))
    if not settings.overwrite and "source" in release.manifest:
        run, source = release.manifest.get("run"), release.manifest["source"]
        refuse_other_build(
            Path(settings.out), source, lambda: source.get("fingerprint"), lambda there: there == run, release.name
        )
    # What says how the release came to be; its own name and version are not those of what is built now.
    kept = ("source", "run")
    zones = (release.manifest.get("evidence") or {}).get("zones")
    rows = release.judged_rows()
    if settings.zones_at is not None:
        moved = _moved(release.name, zones, settings.zones_at)
        rows = ((numbered, zoned(said, moved.zones.zone)) for numbered, said in rows)
        zones = moved.to_dict()
    built_from = {"name": release.name if release.revision else Path(release.name).name, "revision": release.revision}
    return write_configs(
        counted_rows(rows, progress),
        Path(settings.out),
        techniques=[Technique(name) for name in settings.techniques],
        limit=settings.limit,
        min_negatives=settings.min_negatives,
        stage_names=stages,
        stage_judges=_judges_of(release, stages),
        split=release.manifest["settings"]["split"],
        max_shard_bytes=settings.max_shard_bytes,
        row_group_bytes=release.manifest["settings"]["row_group_bytes"],
        default_config=settings.default,
        manifest_extra={
            **{name: release.manifest[name] for name in kept if name in release.manifest},
            "built_from": built_from,
            **({} if zones is None else {"evidence": {"zones": zones}}),
        },
        suspects=release.suspect_reader(),
        on_shard=on_shard,
        scores=scored,
        views=views_of_settings(settings, scored=scored),
        beside=formats_of(settings, None, lambda: ((numbered, ()) for numbered in release.rows())),
    )


def _moved(name: str, zones: Any, at: float) -> Calibration:
    """The calibration of a release, with a sure zone that begins at another probability."""
    from hf_relabel.builders.cascade.calibration import Calibration

    if zones is None:
        raise ConfigError(
            f"{argument('zones_at', at)}: {name} was not built by a calibration, so it has no zones. Audit it first."
        )
    return Calibration.from_dict(zones, f"What {name} says of its zones").at(at)


def settings_of(release: Release, out: str, **changes: Any) -> BuildSettings:
    """The settings a release was built with.

    Args:
        changes: fields of `BuildSettings` to set otherwise. Where the techniques are and leave out the default config,
            it is what `default_of` says.
    """
    settings = release.manifest["settings"]
    values: dict[str, Any] = {
        "techniques": tuple(settings["techniques"]),
        "limit": settings["limit"],
        "min_negatives": settings.get("min_negatives", 0),
        "default": settings["default_config"],
        "max_shard_bytes": settings["max_shard_bytes"],
        **_view_settings(settings.get("views", ())),
        **changes,
    }
    if "techniques" in changes and "view_of" not in changes:
        values["view_of"] = tuple(name for name in values.get("view_of", ()) if name in values["techniques"])
    if values["default"] not in values["techniques"] and "default" not in changes:
        calibrated = "zones" in (release.manifest.get("evidence") or {})
        values["default"] = default_of(values["techniques"], calibrated=calibrated)
    return BuildSettings(out=out, **values)


def _view_settings(views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The views of a release as settings; none where it has none."""
    if not views:
        return {}
    kinds, techniques = ([view[name] for view in views] for name in ("kind", "technique"))
    return {
        "views": tuple(dict.fromkeys(kinds)),
        "view_of": tuple(dict.fromkeys(techniques)),
        "view_negatives": views[0]["negatives"],
    }


def _judges_of(release: Release, stages: Sequence[str]) -> list[str]:
    """Who judged at each stage, as `verdicts` says it; none where it does not."""
    for record in release.verdict_records():
        if len(record["stages"]) == len(stages):
            judges = [stage["judge"] for stage in record["stages"]]
            return [] if None in judges else judges
    return []
