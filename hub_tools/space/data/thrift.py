"""Thrift's compact protocol, as Parquet writes its footers and page headers.

A struct is read as what it is on the wire, so that it can be changed in a field and written again without knowing all
of its fields (thrift-compact-protocol.md of Apache Thrift).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from hf_relabel.builders.errors import BuildError

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
_MOST_NESTED = 32


@dataclass(slots=True)
class Struct:
    """Values by field number, each with its type on the wire. A list is (type of its elements, elements)."""

    fields: dict[int, tuple[int, Any]] = field(default_factory=dict)

    def get(self, number: int, default: Any = None) -> Any:
        found = self.fields.get(number)
        return default if found is None else found[1]

    def items(self, number: int) -> list[Any]:
        """The elements of a list; none where there is no such list."""
        return list(self.get(number, (STRUCT, ()))[1])

    def changed(self, **values: tuple[int, Any] | None) -> Struct:
        """The same with other fields, named `f1`, `f2` …; None takes one out."""
        fields = dict(self.fields)
        for name, value in values.items():
            fields.pop(int(name[1:]), None)
            if value is not None:
                fields[int(name[1:])] = value
        return Struct(dict(sorted(fields.items())))


@dataclass(slots=True)
class Reader:
    """Reads structs from bytes that somebody else wrote."""

    data: bytes
    at: int = 0

    def struct(self, depth: int = 0) -> Struct:
        """The struct that begins here.

        Raises:
            BuildError: it is none.
        """
        try:
            return self._struct(depth)
        except (IndexError, struct.error) as error:
            raise BuildError("A Parquet footer or page header ends too early.") from error

    def _struct(self, depth: int) -> Struct:
        if depth > _MOST_NESTED:
            raise BuildError("A Parquet footer or page header is nested too deep.")
        found = Struct()
        number = 0
        while header := self._byte():
            kind, step = header & 15, header >> 4
            number = number + step if step else self._signed()
            found.fields[number] = (kind, self._value(kind, depth))
        return found

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2:
                return kind == TRUE
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._signed()
            case 7:
                return struct.unpack("<d", self._bytes(8))[0]
            case 8:
                return self._bytes(self._number())
            case 9 | 10:
                return self._list(depth)
            case 12:
                return self._struct(depth + 1)
        raise BuildError(f"A Parquet footer or page header holds a value of type {kind}, which Parquet does not use.")

    def _list(self, depth: int) -> tuple[int, list[Any]]:
        header = self._byte()
        kind, size = header & 15, header >> 4
        if size == 15:
            size = self._number()
        if size > len(self.data):
            raise BuildError("A Parquet footer or page header holds a list that is longer than itself.")
        if kind in (TRUE, FALSE):
            return kind, [self._byte() == TRUE for _ in range(size)]
        return kind, [self._value(kind, depth + 1) for _ in range(size)]

    def _byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def _bytes(self, size: int) -> bytes:
        value = self.data[self.at : self.at + size]
        if len(value) != size:
            raise IndexError
        self.at += size
        return value

    def _number(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise BuildError("A Parquet footer or page header holds a number of more than 64 bits.")

    def _signed(self) -> int:
        value = self._number()
        return (value >> 1) ^ -(value & 1)


def written(value: Struct) -> bytes:
    """A struct as bytes."""
    out = bytearray()
    _write_struct(out, value)
    return bytes(out)


def _write_struct(out: bytearray, value: Struct) -> None:
    last = 0
    for number, (kind, content) in sorted(value.fields.items()):
        if kind in (TRUE, FALSE):
            kind = TRUE if content else FALSE
        step = number - last
        if 0 < step < 16:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            _write_number(out, _zigzag(number))
        last = number
        if kind not in (TRUE, FALSE):
            _write_value(out, kind, content)
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    match kind:
        case 3:
            out.append(value)
        case 4 | 5 | 6:
            _write_number(out, _zigzag(value))
        case 7:
            out += struct.pack("<d", value)
        case 8:
            _write_number(out, len(value))
            out += value
        case 9 | 10:
            _write_list(out, *value)
        case _:
            _write_struct(out, value)


def _write_list(out: bytearray, kind: int, values: list[Any]) -> None:
    if len(values) < 15:
        out.append(len(values) << 4 | kind)
    else:
        out.append(0xF0 | kind)
        _write_number(out, len(values))
    for value in values:
        if kind in (TRUE, FALSE):
            out.append(TRUE if value else FALSE)
        else:
            _write_value(out, kind, value)


def _write_number(out: bytearray, value: int) -> None:
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _zigzag(value: int) -> int:
    return (value << 1) ^ (value >> 63)
