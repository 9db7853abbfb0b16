"""The figures of a data card, as PNG bytes.

Drawn in the house style, see `style`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.readme.markdown import one_line
from hf_relabel.cards.style import (
    BLUE,
    FAINT,
    INK,
    LIGHT_BLUE,
    MARGIN,
    PALE_BLUE,
    RED,
    SMALL,
    TRACK,
    WIDTH,
    YELLOW,
    Pen,
    Sheet,
)

FALSE_NEGATIVES = "figures/false-negatives.png"
BINS = (("1", 1, 1), ("2", 2, 2), ("3", 3, 3), ("4", 4, 4), ("5–7", 5, 7), ("8+", 8, None))
"""(name, least, most) false negatives in a row; the paper counts rows with eight or more as ambiguous queries."""
ALL = "all"

_COLORS = ("#1d3f72", BLUE, LIGHT_BLUE, PALE_BLUE, YELLOW, RED)
_LEFT, _RIGHT, _TOP, _BOTTOM = 1.4, 1.5, 0.96, 0.34
_BAR, _STEP, _GAP = 0.2, 0.3, 0.12
MOST_SUBSETS = 40
"""Shown at most, the largest. Others are in manifest.json."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How the false negatives of a subset spread over its rows.

    Attributes:
        rows: all rows of the subset.
        counts: rows per entry of `BINS`.
    """

    name: str
    rows: int
    counts: tuple[int, ...]

    @property
    def affected(self) -> int:
        """Rows with at least one false negative."""
        return sum(self.counts)

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the affected rows, the share in each bin; zeros where none is affected."""
        return tuple(count / self.affected if self.affected else 0.0 for count in self.counts)


def figures(manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """The figures of a release, by their path in it."""
    return {FALSE_NEGATIVES: false_negatives_png(manifest)}


def spreads(manifest: Mapping[str, Any]) -> list[Spread]:
    """The spread over all rows, and over those of each subset where there are several, largest subset first."""
    verdicts = manifest["verdicts"]
    subsets = [_spread(name, counts) for name, counts in verdicts["subsets"].items()]
    subsets.sort(key=lambda spread: (-spread.rows, spread.name))
    return [_spread(ALL, verdicts["total"]), *(subsets if len(subsets) > 1 else [])]


def _spread(name: str, counts: Mapping[str, Any]) -> Spread:
    rows = {int(number): count for number, count in counts["false_negatives_per_row"].items()}
    binned = tuple(
        sum(count for number, count in rows.items() if least <= number and (most is None or number <= most))
        for _, least, most in BINS
    )
    return Spread(name, sum(rows.values()), binned)


def false_negatives_png(manifest: Mapping[str, Any]) -> bytes:
    """The paper's figure: of the rows with false negatives, which share has one, two, three …, per subset."""
    lines = spreads(manifest)[: MOST_SUBSETS + 1]
    height = _TOP + _BOTTOM + len(lines) * _STEP + (_GAP if len(lines) > 1 else 0.0)
    sheet = Sheet(height, "Rows with false negatives, by how many they have")
    pen = sheet.pen
    _legend(pen, height - 0.6)
    pen.text(WIDTH - MARGIN, height - 0.6, "rows (of all)", align="right", color=FAINT)
    for index, spread in enumerate(lines):
        gap = _GAP if index else 0.0
        _bar(pen, spread, height - _TOP - index * _STEP - gap, is_total=not index)
    _scale(pen, 0.24)
    return sheet.png()


def _legend(pen: Pen, y: float) -> None:
    x = _LEFT
    for (name, _, _), color in zip(BINS, _COLORS, strict=True):
        pen.box(x, y - 0.06, 0.12, 0.12, color)
        pen.text(x + 0.18, y, name)
        x += 0.32 + 0.06 * len(name)


def _bar(pen: Pen, spread: Spread, y: float, *, is_total: bool) -> None:
    width = WIDTH - _LEFT - _RIGHT
    pen.text(
        _LEFT - 0.12,
        y,
        pen.fitted(one_line(spread.name) or "(none)", _LEFT - 0.12 - MARGIN),
        align="right",
        bold=is_total,
    )
    pen.box(_LEFT, y - _BAR / 2, width, _BAR, TRACK)
    x = _LEFT
    for share, color in zip(spread.shares, _COLORS, strict=True):
        pen.box(x, y - _BAR / 2, share * width, _BAR, color)
        if share >= 0.1:
            light = color in _COLORS[:2] or color == _COLORS[-1]
            pen.text(
                x + share * width / 2, y, f"{share:.0%}", align="center", size=SMALL, color="white" if light else INK
            )
        x += share * width
    if not spread.affected:
        pen.text(_LEFT + 0.1, y, "none", size=SMALL, color=FAINT)
    part = f" ({spread.affected / spread.rows:.1%})" if spread.rows else ""
    pen.text(WIDTH - MARGIN, y, f"{spread.affected:,}{part}", align="right", bold=is_total)


def _scale(pen: Pen, y: float) -> None:
    width = WIDTH - _LEFT - _RIGHT
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        pen.text(_LEFT + share * width, y, f"{share:.0%}", align="center", color=FAINT, size=SMALL)
