"""What each way to run a cascade costs and finds: tokens against false negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hf_relabel.cards.style import BLUE, FAINT, LIGHT_BLUE, MARGIN, SMALL, TRACK, WIDTH, Axis, Sheet

MOST_POINTS = 24

_LEFT, _TOP, _PANEL, _SCALE, _LINE, _BOTTOM = 0.78, 0.78, 2.1, 0.62, 0.25, 0.12
_TOKENS, _FOUND = 1.0, 0.6
"""Width of the columns of numbers below the panel."""
_CLOSE = 0.11
"""Points nearer than this share one label."""


def pareto_png(data: Mapping[str, Any]) -> bytes:
    """Draw `data["points"]`, each with `name`, `tokens`, `false_negatives` and `on_front`. The same points give the
    same bytes."""
    points = list(data["points"])[:MOST_POINTS]
    below = _SCALE + len(points) * _LINE + 0.12
    sheet = Sheet(_TOP + _PANEL + below + _BOTTOM, "Tokens and false negatives found")
    bottom = below + _BOTTOM
    tokens = Axis.of([0.0, *(float(point["tokens"]) for point in points)], whole=True)
    found = Axis.of([0.0, *(float(point["false_negatives"]) for point in points)], whole=True)
    # Room for labels above the highest and right of the farthest point.
    across = tokens.on(_LEFT, (WIDTH - MARGIN - _LEFT) * 0.93)
    up = found.on(bottom, _PANEL * 0.92)
    _axes(sheet, across, up, bottom)
    places = [(across.at(point["tokens"]), up.at(point["false_negatives"])) for point in points]
    front = sorted(place for point, place in zip(points, places, strict=True) if point["on_front"])
    sheet.pen.line(_steps(front), LIGHT_BLUE)
    for point, (x, y) in zip(points, places, strict=True):
        sheet.pen.dot(x, y, BLUE if point["on_front"] else FAINT, 0.045)
    for label, (x, y) in _labels(places):
        sheet.pen.text(x + 0.07, y + 0.09, label, size=SMALL, bold=True)
    _key(sheet, points, bottom - _SCALE)
    return sheet.png()


def _axes(sheet: Sheet, across: Axis, up: Axis, bottom: float) -> None:
    pen = sheet.pen
    for tick in up.ticks:
        pen.box(_LEFT, up.at(tick) - 0.004, WIDTH - MARGIN - _LEFT, 0.008, TRACK)
        pen.text(_LEFT - 0.1, up.at(tick), f"{tick:,.0f}", align="right", size=SMALL, color=FAINT)
    for tick in across.ticks:
        pen.box(across.at(tick) - 0.004, bottom - 0.04, 0.008, 0.04, FAINT)
        pen.text(across.at(tick), bottom - 0.14, short_number(tick), align="center", size=SMALL, color=FAINT)
    pen.text(MARGIN, bottom + _PANEL + 0.14, "false negatives", color=FAINT, size=SMALL)
    pen.text(WIDTH - MARGIN, bottom - 0.34, "tokens, prompt and completion", align="right", color=FAINT, size=SMALL)


def _key(sheet: Sheet, points: Sequence[Mapping[str, Any]], y: float) -> None:
    """A line for each point, since names beside points would lie over each other."""
    pen, writer = sheet.pen, sheet.writer
    right = WIDTH - MARGIN
    pen.text(right - _FOUND, y, "tokens", align="right", size=SMALL, color=FAINT)
    pen.text(right, y, "found", align="right", size=SMALL, color=FAINT)
    for number, point in enumerate(points, start=1):
        y -= _LINE
        color = BLUE if point["on_front"] else FAINT
        pen.dot(MARGIN + 0.05, y, color, 0.045)
        pen.text(MARGIN + 0.34, y, str(number), align="right", bold=True, size=SMALL)
        name_width = right - _FOUND - _TOKENS - MARGIN - 0.44
        writer.write(MARGIN + 0.44, y, str(point["name"]), width=name_width)
        writer.write(right - _FOUND, y, f"{point['tokens']:,}", width=_TOKENS, align="right")
        writer.write(right, y, f"{point['false_negatives']:,}", width=_FOUND - 0.1, align="right")


def _steps(front: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The front as steps: with so many tokens, no more than this is found."""
    path: list[tuple[float, float]] = []
    for x, y in front:
        if path:
            path.append((x, path[-1][1]))
        path.append((x, y))
    return path


def _labels(places: Sequence[tuple[float, float]]) -> list[tuple[str, tuple[float, float]]]:
    """Numbers of points and where they stand; those of points that nearly coincide are written together."""
    groups: list[tuple[list[int], tuple[float, float]]] = []
    for number, (x, y) in enumerate(places, start=1):
        for numbers, (other_x, other_y) in groups:
            if abs(x - other_x) < _CLOSE and abs(y - other_y) < _CLOSE:
                numbers.append(number)
                break
        else:
            groups.append(([number], (x, y)))
    return [(", ".join(map(str, numbers)), place) for numbers, place in groups]


def short_number(value: float) -> str:
    """12,000,000 as `12M`, for the ticks of an axis."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
