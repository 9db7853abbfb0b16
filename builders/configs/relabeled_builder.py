"""A `datasets` builder with one versioned config per technique, for people who build without a release.

    builder = RelabeledBuilder(config_name="relabel", configs_folder="cleaned")
    builder.download_and_prepare()
    builder.as_dataset(split="train")

The only module that imports `datasets` when it is imported: nothing else here may import it at its top.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.builder import Key

from hf_relabel.builders.config_names import ALL_VIEWS, DEFAULT_NEGATIVES
from hf_relabel.builders.configs.arrow_batches import batches
from hf_relabel.builders.configs.manifest import manifest_text, package_version, read_manifest
from hf_relabel.builders.configs.release import release_from_folder
from hf_relabel.builders.configs.views import ScoresOf, View
from hf_relabel.builders.disk.parquet import record_batches
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.rows import NumberedRow, arrow_schema
from hf_relabel.builders.techniques import DEFAULT_LIMIT, Technique

VERSION = "1.0.0"
"""The version of every config. It changes when a technique does, so that nobody reads an old one from the cache."""

Rows = Callable[[], Iterable[NumberedRow]]
VerdictsOf = Callable[[NumberedRow], Sequence[Verdict]]

_BATCH_BYTES = 32_000_000
_BATCH_ROWS = 1_000


@dataclass
class RelabeledConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """One technique, and the data it is applied to: a built folder, or rows and verdicts.

    Attributes:
        name: the technique, or a view of it, such as `relabel-tuples`.
        limit: most distinct false negatives in a row, see `techniques.account`. A built folder has its own.
        configs_folder: a folder that `write_configs` wrote. A technique that was not built follows from its `original`.
        source: gives the rows, from the first, each time it is called.
        verdicts: gives the verdicts on the negatives of a row.
        data_digest: changes whenever `source` or `verdicts` would give something else, such as a digest of the source's
            fingerprint and the journal. Left out, all rows and verdicts are read once more to make one.
        scores: whether passages have a `score`, see `rows.arrow_schema`. A built folder knows that itself.
        negatives: of a view that a built folder does not hold, see `views.View`.
    """

    version: Any = VERSION
    limit: int = DEFAULT_LIMIT
    configs_folder: str | os.PathLike[str] | None = None
    source: Rows | None = None
    verdicts: VerdictsOf | None = None
    data_digest: str | None = None
    scores: bool = False
    negatives: int = DEFAULT_NEGATIVES

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """The name of the cache folder. It follows the data, not where it lies: new verdicts, new cache.

        Raises:
            ConfigError: the data is given in two ways, or half.
            BuildError: the folder is not one that `write_configs` wrote.
        """
        self._check()
        if self.configs_folder is None and self.source is None:
            return str(super().create_config_id(config_kwargs, custom_features=custom_features))
        parts = [
            self.name,
            str(self.limit),
            str(self.scores),
            str(self.negatives),
            package_version("hf-relabel"),
            self._digest(),
        ]
        if custom_features is not None:
            parts.append(repr(custom_features))
        return f"{self.name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"

    @property
    def technique(self) -> Technique:
        return ALL_VIEWS[self.name][0] if self.name in ALL_VIEWS else Technique(self.name)

    @property
    def view(self) -> View | None:
        """The view that the config is: as the folder was built with it, where it was. None for a technique."""
        if self.name not in ALL_VIEWS:
            return None
        for settings in self._folder_settings().get("views", ()):
            if settings["name"] == self.name:
                return View.from_settings(settings)
        technique, kind = ALL_VIEWS[self.name]
        return View(technique, kind, self.negatives, ScoresOf.SOURCE if self.has_scores else ScoresOf.JUDGE)

    @property
    def has_scores(self) -> bool:
        """Whether passages have a `score`."""
        return bool(self._folder_settings().get("scores")) if self.configs_folder is not None else self.scores

    def schema(self) -> pa.Schema:
        """The schema of the rows."""
        view = self.view
        return arrow_schema(scores=self.has_scores) if view is None else view.schema()

    def _folder_settings(self) -> Mapping[str, Any]:
        return {} if self.configs_folder is None else read_manifest(Path(self.configs_folder))["settings"]

    def judged_rows(self) -> Iterator[tuple[NumberedRow, Sequence[Verdict]]]:
        """The rows of `source` with their verdicts, from the first."""
        if self.source is None or self.verdicts is None:
            raise ConfigError("Give RelabeledBuilder a configs_folder, or a source and verdicts.")
        for numbered in self.source():
            yield numbered, self.verdicts(numbered)

    def _check(self) -> None:
        if (self.source is None) != (self.verdicts is None):
            raise ConfigError("RelabeledBuilder needs both a source and verdicts, or a configs_folder.")
        if self.configs_folder is not None and self.source is not None:
            raise ConfigError("Give RelabeledBuilder a configs_folder, or a source and verdicts, not both.")

    def _digest(self) -> str:
        if self.configs_folder is not None:
            return hashlib.sha256(manifest_text(read_manifest(Path(self.configs_folder)))).hexdigest()
        if self.data_digest is not None:
            return f"given {self.data_digest}"
        digest = hashlib.sha256()
        for numbered, verdicts in self.judged_rows():
            outcomes = [(verdict.position, verdict.docid, str(verdict.outcome)) for verdict in verdicts]
            digest.update(repr((numbered, outcomes)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


class RelabeledBuilder(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Builds one config. Takes the fields of `RelabeledConfig` as keyword arguments, besides those of `datasets`.

    Example:
            builder = RelabeledBuilder(config_name="relabel", folder="cleaned")
            builder.download_and_prepare()
            train = builder.as_dataset(split="train")
    """

    BUILDER_CONFIG_CLASS = RelabeledConfig
    BUILDER_CONFIGS = [RelabeledConfig(name=str(name)) for name in (*Technique, *ALL_VIEWS)]  # noqa: RUF012 - as in datasets
    DEFAULT_CONFIG_NAME = str(Technique.REMOVE_HN)

    config: RelabeledConfig

    def _info(self) -> Any:
        return datasets.DatasetInfo(features=datasets.Features.from_arrow_schema(self.config.schema()))

    def _split_generators(self, dl_manager: Any) -> list[Any]:
        if self.config.configs_folder is None:
            if self.config.source is None:
                raise ConfigError("Give RelabeledBuilder a configs_folder, or a source and verdicts.")
            return [datasets.SplitGenerator(name="train", gen_kwargs={"files": None, "folder": None})]
        folder = Path(self.config.configs_folder)
        manifest = read_manifest(folder)
        files = _files_of(self.config.name, folder, manifest)
        given = {"files": files, "folder": None if files is not None else str(folder)}
        return [datasets.SplitGenerator(name=manifest["settings"]["split"], gen_kwargs=given)]

    def _generate_tables(self, files: list[str] | None, folder: str | None) -> Iterator[tuple[Key, pa.Table]]:
        if files is not None:
            yield from _tables_of_files(files)
            return
        config, view = self.config, self.config.view
        release = None if folder is None else release_from_folder(Path(folder))
        settings = {"limit": config.limit} if release is None else release.manifest["settings"]
        read = batches(
            config.judged_rows() if release is None else release.judged_rows(),
            [config.technique],
            limit=int(settings["limit"]),
            min_negatives=int(settings.get("min_negatives", 0)),
            batch_bytes=_BATCH_BYTES,
            batch_rows=_BATCH_ROWS,
            scores=config.has_scores,
        )
        for index, batch in enumerate(read):
            table = batch.table(config.technique) if view is None else view.table(batch)
            if table.num_rows:
                yield Key(0, index), table

    def _as_dataset(self, split: Any = datasets.Split.TRAIN, in_memory: bool = False) -> Any:
        # datasets refuses to read a split without rows (its pull request 8401); `remove` may well leave none.
        name = str(split)
        if name in self.info.splits and not self.info.splits[name].num_examples:
            empty = self.info.features.arrow_schema.empty_table()
            return datasets.Dataset(empty, info=self.info.copy(), split=datasets.NamedSplit(name))
        return super()._as_dataset(split=split, in_memory=in_memory)

    def _generate_shards(self, files: list[str] | None, folder: str | None) -> Iterator[str]:
        yield from files if files is not None else [folder or "source"]


def _files_of(name: str, folder: Path, manifest: Mapping[str, Any]) -> list[str] | None:
    """The files of a config; None for one that was not built, but follows from `original` and `verdicts`."""
    files = sorted(file for file in manifest["files"] if file.startswith(f"{name}/"))
    if files:
        return [str(folder / file) for file in files]
    if any(file.startswith(f"{Technique.ORIGINAL}/") for file in manifest["files"]):
        return None
    built = ", ".join(manifest["settings"]["techniques"])
    raise BuildError(
        f"{folder} has neither the config {name!r} nor `original`, from which it follows. It has: {built}."
    )


def _tables_of_files(files: Sequence[str]) -> Iterator[tuple[Key, pa.Table]]:
    for index, path in enumerate(files):
        for group, batch in enumerate(record_batches(Path(path), _BATCH_ROWS)):
            yield Key(index, group), pa.Table.from_batches([batch])
