"""Data sets that a program holds, as records: `datasets` objects, data frames, Arrow tables and lists of dicts.

No library is imported to see what an object is: who holds an object of one has imported it.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import orjson

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources.arrow_values import rows_of
from hf_relabel.builders.sources.class_names import ClassNames, class_names, class_names_of_schema
from hf_relabel.builders.sources.column_names import check_names
from hf_relabel.builders.sources.files import WHOLE_ROW, Record
from hf_relabel.builders.sources.splits import is_of_split

ACCEPTED = (
    "a path, a data set on the Hub (user/repo), a datasets.Dataset, IterableDataset or DatasetDict, a pandas or polars "
    "DataFrame, an Arrow table, or a list of dicts"
)
_ROWS_AT_ONCE = 256
_READ_AGAIN = (
    "Give a `datasets.Dataset` or a list of its rows, or make it of a function that begins anew each time it is called."
)

Columns: TypeAlias = frozenset[str] | None
Read: TypeAlias = Callable[[Columns], Iterator[Any]]


@dataclass(frozen=True)
class SourceObject:
    """A data set that a program holds.

    Attributes:
        name: as messages name it.
        read: its records, from the first, each time it is called; only these columns where it is told some and can.
        count: how many there are, None where only reading them tells.
        split: which split of a larger data set it is, as far as it knows.
        subset: the subset of rows that name none.
        class_names: of columns whose numbers have names.
    """

    name: str
    read: Read
    count: int | None = None
    split: str | None = None
    subset: str = ""
    class_names: ClassNames = field(default_factory=dict)

    def records(self, columns: Columns = None) -> Iterator[tuple[int, Record | BadRow]]:
        """The records with their numbers, from 1. What is no record comes as the `BadRow` that says so."""
        for number, record in enumerate(self.read(columns), start=1):
            if isinstance(record, Mapping):
                yield number, self._checked(number, record)
            elif isinstance(record, Row):
                yield number, record.to_dict(scores=record.has_scores)
            else:
                remedy = "Give each row as a dict of its fields."
                yield number, BadRow(self.name, number, WHOLE_ROW, f"a {type(record).__name__}", remedy)

    def _checked(self, number: int, record: Mapping[Any, Any]) -> Record | BadRow:
        if all(isinstance(key, str) for key in record):
            return dict(record)
        key = next(key for key in record if not isinstance(key, str))
        found = f"{key!r} where the name of a field is needed"
        return BadRow(self.name, number, WHOLE_ROW, found, 'Name fields by text, such as "query" and "positive".')

    def digest(self) -> str:
        """SHA-256 of the records as JSON lines, in hex. All are read for it.

        It is the same for the same rows whatever object holds them, in every process; the fingerprint of a
        `datasets.Dataset` would change where it was merely made in another way.
        """
        digest = hashlib.sha256()
        for record in self.read(None):
            digest.update(_as_json(record.to_dict(scores=record.has_scores) if isinstance(record, Row) else record))
            digest.update(b"\n")
        return digest.hexdigest()


def source_object(data: Any, *, name: str | None = None, split: str | None = None) -> SourceObject:
    """An object as a data set.

    Args:
        name: as messages and manifests shall name it; None takes the name of its class.
        split: which split of a `DatasetDict`; None where it has one only.

    Raises:
        SourceError: it is nothing that holds rows, or has no such split.
    """
    name = name or type(data).__name__
    if isinstance(data, dict):
        chosen = _chosen_split(data, name, split)
        return source_object(data[chosen], name=name, split=chosen)
    read, count = _reader(data, name)
    own = getattr(data, "split", None) if _is_a(data, "datasets", "Dataset", "IterableDataset") else None
    if split is not None and own is not None and not is_of_split(str(own), split):
        raise SourceError(f"{name}: is the split {str(own)!r}, not {split!r}. Give the split that you want.")
    return SourceObject(name, read, count, split or (None if own is None else str(own)), class_names=_classes(data))


def size_told(data: Any) -> str:
    """An object in messages: its type and how many it holds, and never what."""
    size = f" of {len(data):,}" if hasattr(data, "__len__") else ""
    return f"a {type(data).__name__}{size}"


def _reader(data: Any, name: str) -> tuple[Read, int | None]:
    if isinstance(data, (list, tuple)):
        return partial(_list_records, data), len(data)
    if _is_a(data, "datasets", "Dataset"):
        return partial(_dataset_records, data), len(data)
    if _is_a(data, "datasets", "IterableDataset"):
        return _Repeated(name, partial(_dataset_records, data)), None
    if _is_a(data, "pandas", "DataFrame"):
        check_names(data.columns, name)
        return partial(_pandas_records, data), len(data)
    if _is_a(data, "pyarrow", "RecordBatchReader"):
        raise SourceError(f"{name}: can be read only once. Give a table: `reader.read_all()`.")
    if hasattr(data, "__arrow_c_stream__") or _is_a(data, "pyarrow", "RecordBatch"):
        count = len(data) if hasattr(data, "__len__") else None
        return _Repeated(name, partial(_arrow_records, name, data)), count
    raise SourceError(f"{name}: cannot be read as rows. {_remedy(data)}")


def _classes(data: Any) -> dict[str, tuple[str, ...]]:
    if _is_a(data, "datasets", "Dataset", "IterableDataset"):
        return class_names(data.features)
    if _is_a(data, "pyarrow", "Table", "RecordBatch"):
        return class_names_of_schema(data.schema)
    return {}


def _remedy(data: Any) -> str:
    if isinstance(data, Iterator):
        return "It can be read only once; give a list of its rows."
    if hasattr(data, "collect"):
        return "Give its result: `.collect()`."
    if hasattr(data, "rows") and hasattr(data, "fingerprint"):
        return "It is an open source already: use it as it is."
    return f"Give {ACCEPTED}."


def _is_a(data: Any, library: str, *classes: str) -> bool:
    module = sys.modules.get(library)
    return module is not None and isinstance(data, tuple(getattr(module, name) for name in classes))


def _chosen_split(data: dict[Any, Any], name: str, split: str | None) -> str:
    plain = [key for key, value in data.items() if isinstance(value, (list, tuple, str)) or not isinstance(key, str)]
    if plain or not data:
        raise SourceError(
            f"{name}: {'has no rows' if not data else 'a dict is no data set'}. Give {ACCEPTED}; "
            "`datasets.Dataset.from_dict(...)` makes one out of columns."
        )
    named = ", ".join(data)
    if split is None and len(data) > 1:
        raise SourceError(f"{name}: has several splits, name one of them ({argument('split')}). There are: {named}.")
    if split is not None and split not in data:
        raise SourceError(f"{name}: there is no split {split!r}. There are: {named}.")
    return split if split is not None else str(next(iter(data)))


# Reading


def _list_records(data: Sequence[Any], columns: Columns) -> Iterator[Any]:
    # Rows that came out of a data frame or an array have its values.
    return (_plain_record(record) if isinstance(record, Mapping) else record for record in data)


def _plain_record(record: Mapping[Any, Any]) -> Any:
    try:
        return _plain(record)
    except RecursionError:
        raise SourceError("A row of the list holds itself, or lists too deep in each other. Give plain rows.") from None


def _dataset_records(data: Any, columns: Columns) -> Iterator[Record]:
    # The user's own format (torch tensors, a transform) is for training.
    plain = data.with_format(None)
    names = plain.column_names
    if columns is not None and names is not None:
        plain = plain.select_columns([name for name in names if name in columns])
    for batch in plain.iter(batch_size=_ROWS_AT_ONCE):
        yield from _transposed(batch)


def _transposed(columns: Mapping[str, Sequence[Any]]) -> Iterator[Record]:
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _arrow_records(told: str, data: Any, columns: Columns) -> Iterator[Record]:
    import pyarrow as pa

    try:
        opened = pa.RecordBatchReader.from_stream(data) if hasattr(data, "__arrow_c_stream__") else _one_batch(data)
    except pa.ArrowException as error:
        # One column, such as a Series, has the same interface.
        raise SourceError(f"{told}: is no table ({str(error).splitlines()[0]}). Give {ACCEPTED}.") from error
    with opened as reader:
        check_names(reader.schema.names, told)
        names = [name for name in reader.schema.names if columns is None or name in columns]
        for batch in reader:
            chosen = batch.select(names)
            for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                yield from rows_of(chosen.slice(start, _ROWS_AT_ONCE))


class _Repeated:
    """Reads an object that may hand out its records only once, such as one made of a generator: what is read a second
    time has to begin as it did the first time."""

    def __init__(self, name: str, read: Read) -> None:
        self._name, self._read = name, read
        self._first: Record | None = None

    def __call__(self, columns: Columns) -> Iterator[Record]:
        records = iter(self._read(columns))
        first = next(records, None)
        if self._first is None:
            self._first = first
            if first is None:
                raise SourceError(
                    f"{self._name}: there are no rows in it, or they were read before and can be read only once."
                    f" {_READ_AGAIN}"
                )
        elif first is None or any(
            _alike(first[name]) != _alike(self._first[name]) for name in first.keys() & self._first.keys()
        ):
            raise SourceError(
                f"{self._name}: read again, it begins with {'no row' if first is None else 'another row'}: it can be"
                f" read only once, or never twice in the same order. {_READ_AGAIN}"
            )
        if first is not None:
            yield first
        yield from records


def _alike(value: Any) -> str:
    return json.dumps(value, default=lambda other: type(other).__name__, skipkeys=True)


def _one_batch(batch: Any) -> Any:
    import pyarrow as pa

    return pa.RecordBatchReader.from_batches(batch.schema, [batch])


def _pandas_records(data: Any, columns: Columns) -> Iterator[Record]:
    chosen = data if columns is None else data[[name for name in data.columns if name in columns]]
    for start in range(0, len(chosen), _ROWS_AT_ONCE):
        for record in chosen.iloc[start : start + _ROWS_AT_ONCE].to_dict("records"):
            yield {name: _plain(value) for name, value in record.items()}


def _plain(value: Any) -> Any:
    """A value as Python and JSON have it: what is missing as None, arrays as lists."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):  # arrays and scalars of numpy
        return _plain(value.tolist())
    is_missing = type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))
    return None if is_missing else value


def _as_json(record: Any) -> bytes:
    try:
        return orjson.dumps(record, default=_told, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except (TypeError, ValueError):
        # Half surrogate pairs and numbers of more than 64 bits.
        try:
            return json.dumps(record, default=_told).encode()
        except ValueError as error:
            raise SourceError(
                f"A row of the list has a value that no file could hold: {error}. Leave it out."
            ) from error


def _told(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Iterable):
        return list(value)
    return str(value)
