"""The training curve of a model card as PNG bytes: the loss and, below it, what evaluations gave, by step.

Drawn as the figures of a data card are, see `figures`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hf_relabel.builders.readme.markdown import Markdown, as_text, one_line
from hf_relabel.cards.model_results import metric_name, shown_name
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
    Axis,
    Pen,
    Sheet,
    decimals_of,
)
from hf_relabel.cards.training_report import TrainingReport

CURVE = "figures/training-curve.png"
MOST_SETS = 4
"""Sets with a line of their own. Where there are more, only their mean is drawn."""
MOST_POINTS = 400
"""Points of a line. Where there are more, neighbours are drawn as their mean."""
MOST_DOTS = 30
"""Points of a line that are marked."""

_LINE, _MEAN, _KEPT = BLUE, INK, RED
_SETS = (BLUE, LIGHT_BLUE, YELLOW, PALE_BLUE)
_LEFT, _TOP, _PANEL, _GAP, _BOTTOM = 0.78, 0.84, 1.3, 0.46, 0.58


@dataclass(frozen=True, slots=True)
class Line:
    """A name, and a value for each of some steps, in order."""

    name: str
    points: tuple[tuple[int, float], ...]


def curve_figures(report: TrainingReport) -> dict[str, bytes]:
    """The curve by its path in the model's repository; none where nothing was logged."""
    return {CURVE: _curve_png(report)} if has_curve(report) else {}


def has_curve(report: TrainingReport) -> bool:
    """Whether anything was logged that can be drawn."""
    return bool(loss_line(report).points or metric_lines(report))


def loss_line(report: TrainingReport) -> Line:
    """The loss by step."""
    return _line("loss", [(point.step, point.loss) for point in report.curve])


def curve_metric(report: TrainingReport) -> str | None:
    """The metric whose course is drawn: the first of the evaluation, as it chooses the best step."""
    logged = dict.fromkeys(name for point in report.curve for name in point.metrics)
    of_sets = [name for measured in report.evaluations for name in measured.metrics if name in logged]
    return next(iter([*of_sets, *logged]), None)


def metric_lines(report: TrainingReport) -> list[Line]:
    """The metric by step: of each set and their mean, or of the mean alone. Lines without a value are left out."""
    metric = curve_metric(report)
    if metric is None:
        return []
    keys = {f"{measured.set.name}_{metric}": shown_name(measured.set.name) for measured in report.evaluations}
    names = {metric: "mean" if len(keys) > 1 else metric_name(metric)}
    if 1 < len(keys) <= MOST_SETS:
        names |= keys
    lines = [
        _line(name, [(point.step, point.metrics.get(key)) for point in report.curve]) for key, name in names.items()
    ]
    return [line for line in lines if line.points]


def curve_alt(report: TrainingReport) -> Markdown:
    """The course in words, for those who do not see it."""
    metric = metric_name(curve_metric(report) or "")
    parts = []
    for line in (loss_line(report), *metric_lines(report)):
        if line.points:
            name = line.name if line.name in ("loss", metric) else f"{metric}, {line.name}"
            ends = dict.fromkeys((line.points[0], line.points[-1]))  # of a run of one step they are one
            parts.append(f"{name}: {', '.join(f'{value:.4g} at step {step:,}' for step, value in ends)}")
    return as_text(f"Training curve. {'; '.join(parts)}.", breaks=False)


def _line(name: str, values: Sequence[tuple[int, float | None]]) -> Line:
    known = [(step, value) for step, value in values if value is not None and math.isfinite(value)]
    return Line(name, tuple(sorted(known)))


def _curve_png(report: TrainingReport) -> bytes:
    loss, metrics = loss_line(report), metric_lines(report)
    panels = [("Loss", [loss])] if loss.points else []
    panels += [(metric_name(curve_metric(report) or ""), metrics)] if metrics else []
    height = _TOP + len(panels) * _PANEL + (len(panels) - 1) * _GAP + _BOTTOM
    sheet = Sheet(height, "Training, by step")
    pen = sheet.pen
    steps = Axis.of([step for _, lines in panels for line in lines for step, _ in line.points] + [0], whole=True)
    steps = Axis(steps.low, steps.high, steps.ticks, _LEFT, WIDTH - 2 * MARGIN - _LEFT)
    for index, (title, lines) in enumerate(panels):
        bottom = height - _TOP - _PANEL - index * (_PANEL + _GAP)
        _panel(pen, title, lines, steps, bottom)
        if lines is metrics and report.best_step is not None:
            _mark(pen, report.best_step, steps, bottom)
    for tick in steps.ticks:
        pen.text(steps.at(tick), 0.36, f"{tick:,.0f}", align="center", size=SMALL, color=FAINT)
    return sheet.png()


def _panel(pen: Pen, title: str, lines: Sequence[Line], steps: Axis, bottom: float) -> None:
    values = Axis.of([value for line in lines for _, value in line.points])
    values = Axis(values.low, values.high, values.ticks, bottom, _PANEL)
    decimals = decimals_of(values.ticks)
    for tick in values.ticks:
        pen.box(_LEFT, values.at(tick) - 0.004, steps.length, 0.008, TRACK)
        label = f"{tick:.{decimals}f}" if decimals <= 5 and abs(tick) < 1e5 else f"{tick:.3g}"
        pen.text(_LEFT - 0.1, values.at(tick), label, align="right", size=SMALL, color=FAINT)
    pen.text(MARGIN, bottom + _PANEL + 0.18, pen.fitted(title, 1.2), bold=True)
    if len(lines) > 1:
        _legend(pen, lines, bottom + _PANEL + 0.18)
    for index, line in reversed(list(enumerate(lines))):
        color = _color(index, of=len(lines))
        places = [(steps.at(step), values.at(value)) for step, value in _thinned(line.points)]
        pen.line(places, color)
        for x, y in places if len(places) <= MOST_DOTS else ():
            pen.dot(x, y, color)


def _legend(pen: Pen, lines: Sequence[Line], y: float) -> None:
    start = _LEFT + 0.7
    width = (WIDTH - MARGIN - start) / len(lines)
    for index, line in enumerate(lines):
        x = start + index * width
        pen.box(x, y - 0.06, 0.12, 0.12, _color(index, of=len(lines)))
        pen.text(x + 0.18, y, pen.fitted(one_line(line.name) or "(none)", width - 0.24))


def _color(index: int, *, of: int) -> str:
    """The first line is the mean where there are several."""
    return _LINE if of == 1 else (_MEAN, *_SETS)[index]


def _mark(pen: Pen, step: int, steps: Axis, bottom: float) -> None:
    """Where the weights that were kept come from."""
    if steps.low <= step <= steps.high:
        pen.box(steps.at(step) - 0.005, bottom, 0.01, _PANEL, _KEPT)
        is_left = step > (steps.low + steps.high) / 2
        place = steps.at(step) + (-0.06 if is_left else 0.06)
        align = "right" if is_left else "left"
        pen.text(place, bottom + 0.1, "kept", align=align, size=SMALL, color=_KEPT)


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    size = -(-len(points) // MOST_POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [
        (sum(step for step, _ in group) / len(group), sum(value / len(group) for _, value in group)) for group in groups
    ]
