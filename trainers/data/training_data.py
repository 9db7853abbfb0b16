"""Opening the rows that a model is trained on: a config of a release, or any training set that can be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.configs.manifest import MANIFEST_NAME
from hf_relabel.builders.configs.release import Release
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.rows import arrow_schema
from hf_relabel.builders.techniques import canonical
from hf_relabel.cards.training_report import DataUsed
from hf_relabel.hub_tools.hub.source import HubLocation
from hf_relabel.hub_tools.releases.opening import is_on_the_hub, open_release
from hf_relabel.hub_tools.releases.versions import Version
from hf_relabel.trainers.data.row_tables import table_of

if TYPE_CHECKING:
    from hf_relabel.builders.sources import Source

AS_IT_IS = "original"
"""The config of a training set that is no release."""


@dataclass(frozen=True)
class TrainingData:
    """Rows to train on, and where they came from.

    Attributes:
        rows: a `datasets.Dataset` of rows, on the disk.
        fingerprint: what changes when the rows do.
        judges: the models that judged them, where a release tells.
    """

    used: DataUsed
    rows: Any
    fingerprint: str
    judges: tuple[str, ...] = ()


@expects(location=PATH)
def open_training_data(
    location: str | Path, config: str | None = None, *, revision: str | None = None, split: str | None = None
) -> TrainingData:
    """Open a config of a release (a folder, `user/repo`, `user/repo@v1.0.0`), or a training set as it is.

    Example:
            data = open_training_data("user/train-relabeled@v1.0.0", "relabel")

    Args:
        config: of a release, None for its default one; of a data set on the Hub that is no release, as there.
        revision: of a data set on the Hub. It is pinned to its commit.

    Raises:
        ConfigError: the config has no rows.
        SourceError, BuildError, ReleaseError: there is nothing of that name, or it cannot be read.
    """
    release = _release(location, revision)
    if release is not None:
        return open_config(release, config, location=str(location), revision=revision)
    from hf_relabel.hub_tools.hub.source import open_source

    return _from_source(open_source(location, config=config, revision=revision, split=split), str(location), config)


def open_config(
    release: Release, config: str | None = None, *, location: str | None = None, revision: str | None = None
) -> TrainingData:
    """Open a config of an open release."""
    settings = release.manifest["settings"]
    chosen = canonical(config or settings["default_config"])
    files = release.files(chosen)
    rows = release.manifest["configs"][chosen]["total"]["rows_out"] if chosen in release.manifest["configs"] else None
    if rows == 0:
        raise ConfigError(f"{release.name}: the config {chosen!r} has no rows to train on.")
    hub = HubLocation.parse(location or release.name) if release.revision else None
    version = release.manifest.get("release", {}).get("version")
    used = DataUsed(
        location=location or release.name,
        config=chosen,
        split=settings["split"],
        repo_id=None if hub is None else hub.repo_id,
        revision=release.revision,
        version=version if release.revision and isinstance(version, str) and Version.parse(version) else None,
        source=release.manifest.get("source"),
        rows=rows,
    )
    digests = [release.manifest["files"][name]["sha256"] for name in files]
    from datasets import Dataset  # takes seconds; the name of the config is known to be right by now

    table = Dataset.from_parquet([str(release.open_file(name)) for name in files], split=settings["split"])
    judges = () if chosen == AS_IT_IS else _judges(release.manifest.get("run"))
    return TrainingData(used, table, ",".join(digests), judges)


def _judges(run: Any) -> tuple[str, ...]:
    """The models of a run's judges, each once."""
    stages = stages_of_run(run) if isinstance(run, dict) and run.get("stages") else []
    return tuple(dict.fromkeys(judge.model for stage in stages for judge in stage.judges))


def _release(location: str | Path, revision: str | None) -> Release | None:
    """The release of that name; None where it is something else."""
    path = Path(location)
    if path.exists():
        return open_release(path) if (path / MANIFEST_NAME).is_file() else None
    hub = HubLocation.parse(str(location))
    if hub is None or not is_on_the_hub(hub.repo_id, revision or hub.revision):
        return None
    return open_release(hub.repo_id, revision=revision or hub.revision)


def _from_source(source: Source, location: str, config: str | None) -> TrainingData:
    record = source.record()
    rows = table_of(
        lambda: (numbered.row.to_dict(scores=source.scored) for numbered in source.rows()),
        arrow_schema(scores=source.scored),
    )
    on_hub = bool(record.get("revision"))
    used = DataUsed(
        location=location,
        config=config or AS_IT_IS,
        repo_id=str(record.get("name", "")).partition(":")[0] if on_hub else None,
        revision=record.get("revision"),
        source=record,
        rows=len(rows),
    )
    return TrainingData(used, rows, source.fingerprint())


def replace_rows(used: DataUsed, rows: int, skipped: int = 0) -> DataUsed:
    """The same with the counts of what was trained on."""
    return used.model_copy(update={"rows": rows, "skipped": skipped})
