"""Mined rows on the disk: a file that appears whole or not at all, and the record beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO

import orjson

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.mining.report import record_path
from hf_relabel.builders.rows import Row, arrow_schema

ROWS_PER_GROUP = 256


def check_place(path: Path) -> None:
    """Whether rows can be written there, before anything long begins.

    Raises:
        ConfigError: the name ends in neither .jsonl nor .parquet, something lies there, or the folder is missing or
            not writable.
    """
    if path.suffix not in (".jsonl", ".parquet"):
        raise ConfigError(f"{path}: the rows can be written as JSON lines or parquet: name it .jsonl or .parquet.")
    try:
        is_there, has_folder = path.exists(), path.parent.is_dir()
    except OSError as error:
        raise ConfigError(f"{str(path)[:80]}…: can be no file: {error.strerror}. Give another name.") from error
    if is_there:
        raise ConfigError(f"{path}: is there already. Delete it, or give another name.")
    if (other := _told_of(record_path(path))) is not None and path.with_name(other).exists():
        raise ConfigError(
            f"{path}: how it is mined would be told in {record_path(path).name}, which tells that of {other}. Give"
            " another name."
        )
    if not has_folder:
        raise ConfigError(f"{path.parent}: there is no such folder. Make it first.")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path.parent}: cannot be written to.")


def _told_of(record: Path) -> str | None:
    """The file of rows that a record is about; None where it tells of none."""
    import yaml

    try:
        found = yaml.safe_load(record.read_bytes())
    except (OSError, yaml.YAMLError):
        return None
    name = found.get("rows_file") if isinstance(found, dict) else None
    return name if isinstance(name, str) and PurePath(name).name == name else None


@contextmanager
def row_writer(path: Path, file: BinaryIO, *, scores: bool) -> Iterator[Callable[[Row], None]]:
    """What writes rows to an open file, as the path's ending says; with the scores of passages where there are some."""
    if path.suffix == ".jsonl":
        yield lambda row: _write_line(file, row, scores)
        return
    with _parquet_writer(file, scores) as write:
        yield write


def _write_line(file: BinaryIO, row: Row, scores: bool) -> None:
    file.write(orjson.dumps(row.to_dict(scores=scores), option=orjson.OPT_APPEND_NEWLINE))


@contextmanager
def _parquet_writer(file: BinaryIO, scores: bool) -> Iterator[Callable[[Row], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features

    schema = Features.from_arrow_schema(arrow_schema(scores=scores)).arrow_schema
    held: list[Row] = []

    with pq.ParquetWriter(file, schema, compression="zstd") as writer:

        def write_held() -> None:
            writer.write_table(pa.Table.from_pylist([row.to_dict(scores=scores) for row in held], schema))
            held.clear()

        def write(row: Row) -> None:
            held.append(row)
            if len(held) == ROWS_PER_GROUP:
                write_held()

        yield write
        if held:
            write_held()
