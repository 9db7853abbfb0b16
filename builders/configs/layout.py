"""What decides the bytes of the configs: which tables there are, and where their files end."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.suspects import Suspect, suspects_schema
from hf_relabel.builders.config_names import SUSPECTS
from hf_relabel.builders.configs.arrow_batches import Batch
from hf_relabel.builders.configs.parquet_files import with_features
from hf_relabel.builders.configs.verdict_records import verdicts_schema
from hf_relabel.builders.configs.views.view import View
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.rows import NumberedRow, arrow_schema
from hf_relabel.builders.techniques import Technique, check_default

if TYPE_CHECKING:
    import pyarrow as pa

VERDICTS = "verdicts"
MAX_SHARD_BYTES = 250_000_000
"""Of Arrow, in a file. `datasets` keeps what it streams of a file until its end, and a Xet upload most of a file: with
files twice as large both take 0.8 GB."""


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


def _suspects_table(find: Callable[[NumberedRow], Sequence[Suspect]]) -> Callable[[Batch], pa.Table]:
    def table(batch: Batch) -> pa.Table:
        import pyarrow as pa

        found = [suspect.to_dict() for judged in batch.rows for suspect in find(NumberedRow(judged.number, judged.row))]
        return pa.Table.from_pylist(found, suspects_schema())

    return table


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
