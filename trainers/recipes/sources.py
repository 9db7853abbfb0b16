"""Where the values of the shipped recipes come from: the remark beside each in its file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"^(?P<indent> *)(?P<name>\w+):(?: (?P<value>.*?))?(?:  # (?P<remark>.*))?$")
_REMARK = re.compile(r"(?P<source>[\w. -]+?)(?:[:,;] (?P<note>.+)| (?P<aside>\(.+\)))?")


@dataclass(frozen=True, slots=True)
class Sourced:
    """One value of a recipe.

    Attributes:
        name: of the field, such as `loss.negatives`.
        value: as it is written.
        source: such as `authors`; "" where no remark names one.
        note: what else the remark says.
    """

    name: str
    value: str
    source: str
    note: str


def described(file: Path) -> str:
    """The first line of a recipe: what it trains."""
    return file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def sourced_values(file: Path) -> Iterator[Sourced]:
    """The values of a recipe that ships with the package, in the order of its file, but for its kind.

    Raises:
        ValueError: a line is none of a recipe.
    """
    above = ""
    for line in file.read_text(encoding="utf-8").splitlines()[1:]:
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"{file.name}: {line!r} is no line of a recipe.")
        name = found["name"]
        if not found["indent"]:
            above = name
        if not found["value"]:
            continue
        full = f"{above}.{name}" if found["indent"] else name
        if full != "kind":
            yield Sourced(full, found["value"], *_read(found["remark"] or ""))


def _read(remark: str) -> tuple[str, str]:
    found = _REMARK.fullmatch(remark)
    if found is None:
        return "", remark
    return found["source"], found["note"] or (found["aside"] or "").strip("()")
