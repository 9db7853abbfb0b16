"""Records out of files: JSON, Parquet, Arrow, CSV and TSV, one batch or one line at a time."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import orjson

from hf_relabel.builders.disk.parquet import opened as open_parquet
from hf_relabel.builders.disk.parquet import record_batches
from hf_relabel.builders.errors import BadRow
from hf_relabel.builders.sources.arrow_values import rows_of
from hf_relabel.builders.sources.class_names import class_names_of_schema
from hf_relabel.builders.sources.column_names import check_names
from hf_relabel.builders.sources.delimited import read_delimited
from hf_relabel.builders.sources.files import (
    LONGEST_LINE,
    WHOLE_ROW,
    Record,
    SourceFile,
    bare_name,
    decompressed,
    opened,
    read_lines,
)
from hf_relabel.builders.sources.foreign import HEAD_BYTES, refuse_foreign
from hf_relabel.builders.sources.json_documents import is_document, read_document
from hf_relabel.builders.sources.json_repair import needs_repair

PARQUET_BATCH_ROWS = 64


def read_records(
    file: SourceFile, columns: frozenset[str] | None = None, batch_rows: int = PARQUET_BATCH_ROWS
) -> Iterator[tuple[int, Record | BadRow]]:
    """The records of a file with their numbers, from 1: in JSON lines the number of the line, in CSV and TSV that of
    the row below the line of names.

    A record that cannot be read at all comes as the `BadRow` that says so, so that the caller can skip it.

    Args:
        columns: read only these columns of a parquet file; None reads all.
        batch_rows: parquet rows to hold at once.

    Raises:
        SourceError: the file cannot be opened, is cut off or is damaged.
    """
    match kind_of(file):
        case Kind.PARQUET:
            yield from _read_parquet(file, columns, batch_rows)
        case Kind.ARROW_FILE | Kind.ARROW_STREAM as kind:
            yield from _read_arrow(file, columns, batch_rows, is_stream=kind is Kind.ARROW_STREAM)
        case Kind.DELIMITED:
            yield from read_delimited(file)
        case Kind.JSON_DOCUMENT:
            yield from read_document(file)
        case Kind.JSON_LINES:
            for number, line in read_lines(file):
                yield number, _parse(file, number, line)


def class_names_of(file: SourceFile) -> dict[str, tuple[str, ...]]:
    """The names that a file gives the numbers of its label columns; none but Parquet and Arrow files do.

    Raises:
        SourceError: as `read_records`.
    """
    kind = kind_of(file)
    if kind not in (Kind.PARQUET, Kind.ARROW_FILE, Kind.ARROW_STREAM):
        return {}
    with opened(file) as stream:
        return class_names_of_schema(_schema(stream, kind))


def _schema(stream: BinaryIO, kind: Kind) -> Any:
    import pyarrow as pa

    if kind is Kind.PARQUET:
        with open_parquet(stream) as parquet:
            return parquet.schema_arrow
    with pa.ipc.open_stream(stream) if kind is Kind.ARROW_STREAM else pa.ipc.open_file(stream) as reader:
        return reader.schema


class Kind(Enum):
    """How a file is written."""

    PARQUET = auto()
    ARROW_FILE = auto()
    ARROW_STREAM = auto()
    DELIMITED = auto()
    JSON_DOCUMENT = auto()
    JSON_LINES = auto()


def kind_of(file: SourceFile) -> Kind:
    """How a file is written, by its first bytes, and by its name where they do not tell.

    Raises:
        SourceError: it cannot be opened, or is of a kind that is not read.
    """
    with opened(file) as stream:
        start = stream.read(6)
    suffix = PurePosixPath(bare_name(file.name)).suffix
    if start.startswith(b"PAR1"):
        return Kind.PARQUET
    if start == b"ARROW1":
        return Kind.ARROW_FILE
    with decompressed(file) as stream:
        head = stream.read(HEAD_BYTES)
        refuse_foreign(file.name, head)
        named = {".parquet": Kind.PARQUET, ".arrow": Kind.ARROW_STREAM, ".csv": Kind.DELIMITED, ".tsv": Kind.DELIMITED}
        if suffix in named:
            return named[suffix]
        return Kind.JSON_DOCUMENT if is_document(_first_line(head, stream)) else Kind.JSON_LINES


def _first_line(head: bytes, stream: BinaryIO) -> bytes:
    """The first line that is not blank; of a list only its beginning."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    while not text and (block := stream.read(HEAD_BYTES)):
        text = block.lstrip()
    if text.startswith(b"["):
        return text
    line, end, _ = text.partition(b"\n")
    return line if end else line + stream.readline(LONGEST_LINE)


def _parse(file: SourceFile, number: int, line: bytes) -> Record | BadRow:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        value = _as_python_writes(line)
        if value is None and b"\t" in line and not line.lstrip().startswith(b"{"):
            found, remedy = "text with tabs, not JSON", "Name a file of tab-separated columns .tsv, of commas .csv."
            return BadRow(file.name, number, WHOLE_ROW, found, remedy)
        if value is None:
            remedy = "Give one JSON object per line, in UTF-8."
            return BadRow(file.name, number, WHOLE_ROW, f"not JSON ({error})", remedy)
    if isinstance(value, dict):
        return value
    found = "a list" if isinstance(value, list) else type(value).__name__
    remedy = "Give one JSON object per line: `jq -c '.[]' file.json > file.jsonl` makes them out of one long list."
    return BadRow(file.name, number, WHOLE_ROW, f"{found}, not a JSON object", remedy)


def _as_python_writes(line: bytes) -> Any:
    """A line that is JSON but for NaN, Infinity and halves of surrogate pairs, as Python and pandas write them; None
    where it is none even then.

    Whether they stand where something is read is seen when the record becomes a row.
    """
    if not needs_repair(line):
        return None
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError):
        return None


def _read_parquet(
    file: SourceFile, columns: frozenset[str] | None, batch_rows: int
) -> Iterator[tuple[int, Record | BadRow]]:
    number = file.rows[0] if file.rows else 0
    with opened(file) as stream:
        for batch in record_batches(stream, batch_rows, columns, file.rows):
            check_names(batch.schema.names, file.name)
            for record in _batch_records(file, number, batch):
                number += 1
                yield number, record


def _read_arrow(
    file: SourceFile, columns: frozenset[str] | None, batch_rows: int, is_stream: bool
) -> Iterator[tuple[int, Record | BadRow]]:
    """An Arrow file, or a stream as `save_to_disk` of the datasets library writes it."""
    import pyarrow as pa

    number = 0
    with opened(file) as stream, pa.ipc.open_stream(stream) if is_stream else pa.ipc.open_file(stream) as reader:
        check_names(reader.schema.names, file.name)
        names = [name for name in reader.schema.names if columns is None or name in columns]
        batches = reader if is_stream else map(reader.get_batch, range(reader.num_record_batches))
        for batch in batches:
            for start in range(0, batch.num_rows, batch_rows):
                for record in _batch_records(file, number, batch.select(names).slice(start, batch_rows)):
                    number += 1
                    yield number, record


def _batch_records(file: SourceFile, before: int, batch: Any) -> Sequence[Record | BadRow]:
    try:
        return rows_of(batch)
    except (ValueError, OverflowError):
        # Text that is not UTF-8, dates that no calendar has: find the rows that hold it.
        return [_slice_record(file, before + index + 1, batch.slice(index, 1)) for index in range(batch.num_rows)]


def _slice_record(file: SourceFile, number: int, batch: Any) -> Record | BadRow:
    record: Record = {}
    for name in batch.schema.names:
        try:
            record |= rows_of(batch.select([name]))[0]
        except json.JSONDecodeError as error:
            return BadRow(file.name, number, name, f"not JSON, though its type says so ({error})", "Write it as JSON.")
        except (ValueError, OverflowError) as error:
            reason = str(error).splitlines()[0]
            return BadRow(file.name, number, name, f"a value that cannot be read ({reason})", "Write it as UTF-8 text.")
    return record
