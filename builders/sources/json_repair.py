"""What Python and pandas write as JSON though it is none: NaN, Infinity and halves of surrogate pairs.

ijson stops at the first two, whether anybody reads the field or not, and makes a `?` of the third. So they go through
it as numbers and a character that nobody writes, and are put back into the values: whether they stand where something
is read is seen when the record becomes a row.
"""

from __future__ import annotations

import math
import re
from typing import Any

_NUMBERS = {
    b"NaN": (b"1.7976931348623149e308", math.nan),
    b"Infinity": (b"1.7976931348623153e308", math.inf),
    b"-Infinity": (b"-1.7976931348623153e308", -math.inf),
}
_PUT_BACK = {float(written): value for written, value in _NUMBERS.values()}
_MARK = "\ufdd0"
"""A code point that Unicode keeps from all texts; the four digits after it are those of half a pair."""
_MARKED = re.compile(f"{_MARK}([0-9a-f]{{4}})")

# A whole string, or one that goes on to the end; or a number that is none.
_PARTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|-?\b(?:NaN|Infinity)\b', re.DOTALL)
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u([dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_IN_THEM = frozenset(b"NaInfity-\\uU0123456789abcdefABCDEF")


def may_be_cut(block: bytes) -> bool:
    """Whether a block of JSON may end inside one of these."""
    return bool(block) and block[-1] in _IN_THEM


def needs_repair(block: bytes) -> bool:
    """Whether one of these may be in a block."""
    return b"NaN" in block or b"Infinity" in block or (b"\\u" in block and _HALF.search(block) is not None)


def repaired(block: bytes, open_string: bytes = b"") -> bytes:
    """A block of JSON, cut where `may_be_cut` says no, as ijson takes it.

    Args:
        open_string: the quote of a string that the block begins in, b"" where it begins in none.
    """
    return _PARTS.sub(_part, open_string + block)[len(open_string) :]


def _part(found: re.Match[bytes]) -> bytes:
    part = found[0]
    if not part.startswith(b'"'):
        return _NUMBERS[part][0] if part in _NUMBERS else part  # -NaN is nobody's.
    return _ESCAPES.sub(_escape, part) if _HALF.search(part) else part


def _escape(found: re.Match[bytes]) -> bytes:
    half: bytes | None = found[1]
    return found[0] if half is None else _MARK.encode() + half.lower()


def put_back(value: Any) -> Any:
    """A value out of repaired JSON as it was written."""
    if isinstance(value, str):
        return _MARKED.sub(lambda found: chr(int(found[1], 16)), value) if _MARK in value else value
    if isinstance(value, float):
        return _PUT_BACK.get(value, value)
    if isinstance(value, list):
        return [put_back(one) for one in value]
    if isinstance(value, dict):
        return {put_back(name): put_back(one) for name, one in value.items()}
    return value
