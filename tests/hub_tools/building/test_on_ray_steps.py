"""What workers write into the folder of a build, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_relabel.builders.configs.layout import ConfigTable
from hf_relabel.builders.disk.atomic_folder import NewFolder
from hf_relabel.hub_tools.building.on_ray_steps import Files, FileTask

SCHEMA = pa.schema([("query", pa.string())])


class TwoTables(Files):
    """A file of two row groups; at `fails` its writing breaks off after the first."""

    fails = False

    def _tables(self, task: FileTask, config: ConfigTable) -> Iterator[pa.Table]:
        yield pa.table({"query": ["one"]}, SCHEMA)
        if self.fails:
            raise ConnectionError("the worker was lost")
        yield pa.table({"query": ["two"]}, SCHEMA)


def test_a_file_that_was_not_written_to_its_end_does_not_get_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of half the row groups a valid Parquet file could be made."""
    place: Any = SimpleNamespace(
        folder=NewFolder(tmp_path, tmp_path / "out"),
        layout=SimpleNamespace(file_name=lambda name, index, count: f"{name}/{index}-of-{count}.parquet"),
        opened_journal=nullcontext,
        tables=lambda journal: [ConfigTable("relabel", SCHEMA, lambda batch: pa.table({}))],
    )
    write, task = TwoTables(place), FileTask(config=0, index=0, count=1, batches=(0, 1))
    monkeypatch.setattr(TwoTables, "fails", True)
    with pytest.raises(Exception, match="the worker was lost"):
        write(task)
    assert list((tmp_path / "relabel").iterdir()) == []
    monkeypatch.setattr(TwoTables, "fails", False)
    assert write(task).rows == 2
    assert pq.read_table(tmp_path / "relabel" / "0-of-1.parquet").num_rows == 2
