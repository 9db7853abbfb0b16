"""Rows of Arrow batches as Python values, with the JSON decoded that `datasets` keeps in columns of mixed values."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

import orjson

Decode: TypeAlias = Callable[[Any], Any]


def rows_of(batch: Any) -> list[dict[str, Any]]:
    """The rows of a record batch.

    Raises:
        ValueError, OverflowError: a value that Python does not have: text that is no UTF-8, a date of no calendar.
    """
    rows: list[dict[str, Any]] = batch.to_pylist()
    for name, decode in _decoders(batch.schema).items():
        for row in rows:
            row[name] = decode(row[name])
    return rows


def _decoders(fields: Any) -> dict[str, Decode]:
    found = {field.name: _decoder(field.type) for field in fields}
    return {name: decode for name, decode in found.items() if decode is not None}


def _decoder(kind: Any) -> Decode | None:
    """How to decode a value of a type; None where nothing in it is JSON."""
    import pyarrow as pa

    if getattr(kind, "extension_name", None) == "arrow.json":
        return _unless_missing(_loads)
    if pa.types.is_struct(kind):
        return _struct_decoder(_decoders(kind.field(index) for index in range(kind.num_fields)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _decoder(kind.value_type)
        return None if inner is None else _unless_missing(lambda values: [inner(value) for value in values])
    return None


def _loads(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            # NaN, as Python writes it: whether it stands where something is read is seen later.
            return json.loads(text)
        except RecursionError:
            pass
        raise


def _struct_decoder(decoders: dict[str, Decode]) -> Decode | None:
    if not decoders:
        return None
    return _unless_missing(
        lambda values: values | {name: decode(values[name]) for name, decode in decoders.items()},
    )


def _unless_missing(decode: Decode) -> Decode:
    return lambda value: None if value is None else decode(value)
