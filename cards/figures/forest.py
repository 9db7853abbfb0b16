"""The forest plot (the paper's "ranger" plot): differences with their intervals, one under the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.readme.markdown import Markdown, as_text, cut, one_line
from hf_relabel.cards.style import BLUE, FAINT, INK, MARGIN, RED, SMALL, WIDTH, Sheet, Writer

COMPARE = "figures/compare.png"
MOST_LINES = 40

_BETTER, _WORSE, _UNSURE = BLUE, RED, FAINT
_LEFT, _RIGHT, _TOP, _BOTTOM = 1.6, 1.55, 0.8, 0.5
_STEP, _GROUP, _GAP = 0.27, 0.3, 0.12
_TICKS = 5
_LONGEST = 100
"""Characters of a text, at most."""


@dataclass(frozen=True, slots=True)
class ForestLine:
    """A difference, in points.

    Attributes:
        low, high: None where they are not known: the line is a point then.
        weight: of a set in a summary, in [0, 1]: the size of its square; None for a usual one.
        group: lines of one group stand together, under its name; none for "" and None.
        is_summary: drawn as a diamond.
    """

    name: str
    difference: float
    low: float | None
    high: float | None
    weight: float | None = None
    group: str | None = ""
    is_summary: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """Of the line that is drawn."""
        if self.low is None or self.high is None:
            return self.difference, self.difference
        return self.low, self.high


def compare_lines(evidence: Mapping[str, Any]) -> list[ForestLine]:
    """The lines of a comparison: each config on each set, and over all sets where there are several."""
    lines = []
    for arm in evidence["arms"]:
        if "difference" not in arm:
            continue
        name = arm["name"]
        several = len(arm["differences"]) > 1
        for each, values in sorted(arm["differences"].items()):  # as a manifest has them
            label, group = (each, name) if several else (name, "")
            lines.append(ForestLine(label, *points_of(*values), group=group))
        if several:
            values = points_of(arm["difference"], arm["low"], arm["high"])
            lines.append(ForestLine("all", *values, group=name, is_summary=True))
    return lines


def points_of(difference: float, low: float | None, high: float | None) -> tuple[float, float | None, float | None]:
    """In points; a bound that is not known stays so."""
    return 100 * difference, None if low is None else 100 * low, None if high is None else 100 * high


def compare_png(evidence: Mapping[str, Any]) -> bytes:
    """The comparison of a manifest's evidence."""
    return forest_png(
        compare_lines(evidence), title=f"Against {evidence['baseline']}", unit=f"{evidence['metric']} × 100, points"
    )


def compare_alt(evidence: Mapping[str, Any]) -> Markdown:
    return as_text(forest_alt(compare_lines(evidence)), breaks=False)


def forest_alt(lines: Sequence[ForestLine]) -> str:
    """The numbers in words: plain text on one line, not Markdown."""
    if not lines:
        return "No differences."
    parts = [
        f"{cut(line.group, _LONGEST) + ', ' if line.group else ''}{cut(line.name, _LONGEST)}: {_numbers(line)}"
        for line in lines[:MOST_LINES]
    ]
    if len(lines) > MOST_LINES:
        parts.append(f"{len(lines) - MOST_LINES} more are not shown")
    return f"Differences with 95 % intervals. {'; '.join(parts)}."


def forest_png(lines: Sequence[ForestLine], *, title: str, unit: str = "nDCG@10, points") -> bytes:
    """Draw differences with their intervals, the first `MOST_LINES` of them. The same lines give the same bytes.

    Raises:
        ConfigError: a difference or a bound is no finite number.
    """
    shown = list(lines[:MOST_LINES])
    for line in shown:
        if not all(map(math.isfinite, (line.difference, *line.ends))):
            raise ConfigError(f"{one_line(line.name)}: {_numbers(line)} cannot be drawn, as a number is not finite.")
    below = _heights(shown)
    height = _TOP + _BOTTOM + sum(below) + len(shown) * _STEP
    sheet = Sheet(height, title)
    writer = sheet.writer
    scale = _Scale.of(shown)
    y = height - _TOP
    writer.pen.box(scale.at(0.0) - 0.006, _BOTTOM, 0.012, height - _TOP - _BOTTOM + 0.15, INK)
    for line, space in zip(shown, below, strict=True):
        if space >= _GROUP:
            heading = y - (space - _GROUP)
            writer.write(MARGIN, heading, line.group or "", width=_LEFT - MARGIN, bold=True)
        y -= space
        _draw(writer, line, y, scale)
        y -= _STEP
    for tick in scale.ticks():
        writer.pen.text(scale.at(tick), 0.34, f"{tick:+g}" if tick else "0", align="center", size=SMALL, color=_UNSURE)
    if len(lines) > len(shown):
        unit = f"{cut(unit, 40)}; the first {len(shown)} of {len(lines)}"
    middle = _LEFT + (WIDTH - _LEFT - _RIGHT) / 2
    width = 2 * min(middle, WIDTH - middle) - 2 * MARGIN
    writer.write(middle, 0.14, unit, width=width, align="center", size=SMALL, color=_UNSURE)
    return sheet.png()


def _heights(lines: Sequence[ForestLine]) -> list[float]:
    """The space above each line: for the name of a group where one starts, and a gap where one ends."""
    spaces = []
    group = ""
    for number, line in enumerate(lines):
        starts = (line.group or "") != group
        group = line.group or ""
        spaces.append((_GROUP if starts and group else 0.0) + (_GAP if starts and number else 0.0))
    return spaces


@dataclass(frozen=True, slots=True)
class _Scale:
    """Points to inches."""

    least: float
    most: float
    step: float

    @classmethod
    def of(cls, lines: Sequence[ForestLine]) -> _Scale:
        low = min([0.0, *(min(line.ends[0], line.difference) for line in lines)])
        high = max([0.0, *(max(line.ends[1], line.difference) for line in lines)])
        if high - low < 1e-6:
            low, high = -1.0, 1.0
        rough = (high - low) / _TICKS
        power = 10 ** math.floor(math.log10(rough))
        step = next(nice * power for nice in (1, 2, 5, 10, 20) if nice * power >= rough)
        return cls(math.floor(low / step) * step, math.ceil(high / step) * step, step)

    def at(self, value: float) -> float:
        width = WIDTH - _LEFT - _RIGHT
        return _LEFT + 0.1 + (width - 0.2) * (value - self.least) / (self.most - self.least)

    def ticks(self) -> list[float]:
        count = round((self.most - self.least) / self.step)
        return [round(self.least + number * self.step, 10) for number in range(count + 1)]


def _draw(writer: Writer, line: ForestLine, y: float, scale: _Scale) -> None:
    pen, bold = writer.pen, line.is_summary
    low, high = line.ends
    color = _UNSURE if line.low is None else _BETTER if low > 0 else _WORSE if high < 0 else _UNSURE
    writer.write(_LEFT - 0.1, y, line.name, width=_LEFT - 0.1 - MARGIN, align="right", bold=bold)
    pen.box(scale.at(low), y - 0.01, scale.at(high) - scale.at(low), 0.02, color)
    if line.is_summary and line.low is not None:
        pen.diamond(scale.at(low), scale.at(line.difference), scale.at(high), y, 0.075, color)
    else:
        side = 0.1 if line.weight is None else 0.05 + 0.12 * min(max(line.weight, 0.0), 1.0) ** 0.5
        pen.box(scale.at(line.difference) - side / 2, y - side / 2, side, side, color)
    width = _RIGHT - MARGIN - 0.04
    forms = [_numbers(line, digits) for digits in (2, 1, 0)]
    numbers = next((form for form in forms if writer.fits(form, width, SMALL, bold)), forms[-1])
    writer.write(WIDTH - MARGIN, y, numbers, width=width, align="right", size=SMALL, bold=bold)


def _numbers(line: ForestLine, digits: int = 2) -> str:
    difference, low, high = (round(value, digits) + 0.0 for value in (line.difference, *line.ends))
    bounds = "" if line.low is None or line.high is None else f" [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{difference:+.{digits}f}{bounds}"
