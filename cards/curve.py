"""The training curve of a model card as PNG bytes: the loss and, below it, what evaluations gave, by step.

Drawn as the figures of a data card are, see `figures`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hf_relabel.builders.readme_markdown import Markdown, as_text, one_line
from hf_relabel.cards.figures import Pen
from hf_relabel.cards.model_results import metric_name, shown_name
from hf_relabel.cards.training_report import TrainingReport

CURVE = "figures/training-curve.png"
MOST_SETS = 4
"""Sets with a line of their own. Where there are more, only their mean is drawn."""
MOST_POINTS = 400
"""Points of a line. Where there are more, neighbours are drawn as their mean."""
MOST_DOTS = 30
"""Points of a line that are marked."""

_LINE, _MEAN, _KEPT, _FAINT, _TRACK = "#2f6db5", "#1f2933", "#d1495b", "#667382", "#eef1f4"
_SETS = ("#2f6db5", "#5fa2dc", "#f2c14e", "#a3cbee")
_DPI = 200
_WIDTH, _LEFT, _TOP, _PANEL, _GAP, _BOTTOM = 5.6, 0.78, 0.84, 1.3, 0.46, 0.58
"""Inches, as in `figures`."""
_MARGIN, _DOT = 0.16, 0.028
_SMALL, _LARGE = 7.5, 11.5
"""Of letters, in points."""
_LARGEST = 1e30
"""What is beyond is drawn at this value."""


@dataclass(frozen=True, slots=True)
class Line:
    """A name, and a value for each of some steps, in order."""

    name: str
    points: tuple[tuple[int, float], ...]


def model_figures(report: TrainingReport) -> dict[str, bytes]:
    """The figures of a model card, by their path in its repository; none where nothing was logged."""
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
            (first, start), (last, end) = line.points[0], line.points[-1]
            parts.append(f"{name}: {start:.4g} at step {first:,}, {end:.4g} at step {last:,}")
    return as_text(f"Training curve. {'; '.join(parts)}.", breaks=False)


def _line(name: str, values: Sequence[tuple[int, float | None]]) -> Line:
    known = [(step, value) for step, value in values if value is not None and math.isfinite(value)]
    return Line(name, tuple(sorted(known)))


def _curve_png(report: TrainingReport) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    loss, metrics = loss_line(report), metric_lines(report)
    panels = [("Loss", [loss])] if loss.points else []
    panels += [(metric_name(curve_metric(report) or ""), metrics)] if metrics else []
    height = _TOP + len(panels) * _PANEL + (len(panels) - 1) * _GAP + _BOTTOM
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white", edgecolor="white", frameon=True)
    canvas = FigureCanvasAgg(figure)
    pen = _Pen(figure)
    pen.text(_MARGIN, height - 0.3, "Training, by step", size=_LARGE, bold=True)
    steps = _Axis.of([step for _, lines in panels for line in lines for step, _ in line.points] + [0], whole=True)
    steps = _Axis(steps.low, steps.high, steps.ticks, _LEFT, _WIDTH - 2 * _MARGIN - _LEFT)
    for index, (title, lines) in enumerate(panels):
        bottom = height - _TOP - _PANEL - index * (_PANEL + _GAP)
        _panel(pen, title, lines, steps, bottom)
        if lines is metrics and report.best_step is not None:
            _mark(pen, report.best_step, steps, bottom)
    for tick in steps.ticks:
        pen.text(steps.at(tick), 0.36, f"{tick:,.0f}", align="center", size=_SMALL, color=_FAINT)
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _panel(pen: _Pen, title: str, lines: Sequence[Line], steps: _Axis, bottom: float) -> None:
    values = _Axis.of([value for line in lines for _, value in line.points])
    values = _Axis(values.low, values.high, values.ticks, bottom, _PANEL)
    decimals = _decimals(values.ticks)
    for tick in values.ticks:
        pen.box(_LEFT, values.at(tick) - 0.004, steps.length, 0.008, _TRACK)
        label = f"{tick:.{decimals}f}" if decimals <= 5 and abs(tick) < 1e5 else f"{tick:.3g}"
        pen.text(_LEFT - 0.1, values.at(tick), label, align="right", size=_SMALL, color=_FAINT)
    pen.text(_MARGIN, bottom + _PANEL + 0.18, pen.fitted(title, 1.2), bold=True)
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
    width = (_WIDTH - _MARGIN - start) / len(lines)
    for index, line in enumerate(lines):
        x = start + index * width
        pen.box(x, y - 0.06, 0.12, 0.12, _color(index, of=len(lines)))
        pen.text(x + 0.18, y, pen.fitted(one_line(line.name) or "(none)", width - 0.24))


def _color(index: int, *, of: int) -> str:
    """The first line is the mean where there are several."""
    return _LINE if of == 1 else (_MEAN, *_SETS)[index]


def _mark(pen: Pen, step: int, steps: _Axis, bottom: float) -> None:
    """Where the weights that were kept come from."""
    if steps.low <= step <= steps.high:
        pen.box(steps.at(step) - 0.005, bottom, 0.01, _PANEL, _KEPT)
        is_left = step > (steps.low + steps.high) / 2
        place = steps.at(step) + (-0.06 if is_left else 0.06)
        align = "right" if is_left else "left"
        pen.text(place, bottom + 0.1, "kept", align=align, size=_SMALL, color=_KEPT)


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    size = -(-len(points) // MOST_POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [
        (sum(step for step, _ in group) / len(group), sum(value / len(group) for _, value in group)) for group in groups
    ]


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values to inches.

    Attributes:
        start, length: where the axis begins on the figure, and how long it is.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    start: float = 0.0
    length: float = 1.0

    @classmethod
    def of(cls, values: Sequence[float], *, whole: bool = False) -> _Axis:
        """An axis that shows these values, with ticks at round ones.

        Args:
            whole: from the least to the largest value, with ticks at whole numbers; otherwise with room at both ends.
        """
        limited = [max(-_LARGEST, min(_LARGEST, float(value))) for value in values]
        low, high = min(limited), max(limited)
        if high - low <= 1e-9 * max(abs(low), abs(high)):
            pad = max(1.0 if whole else 1e-3, abs(high) * 0.05)
            low, high = (low, high + pad) if whole else (low - pad, high + pad)
        elif not whole:
            low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
        step = _round_step((high - low) / (5 if whole else 4))
        step = max(1.0, step) if whole else step
        first = math.ceil(low / step - 1e-9)
        count = math.floor(high / step + 1e-9) - first + 1
        return cls(low, high, tuple((first + index) * step for index in range(count)))

    def at(self, value: float) -> float:
        limited = max(self.low, min(self.high, value))
        return self.start + (limited - self.low) / (self.high - self.low) * self.length


def _round_step(step: float) -> float:
    """The next of 1, 2, 5, 10, … times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return float(next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= step * (1 - 1e-9)))


def _decimals(ticks: Sequence[float]) -> int:
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) if ticks and ticks[0] else 1.0
    return max(0, -math.floor(math.log10(step) + 1e-9))


class _Pen(Pen):
    """Draws lines and dots, too."""

    def line(self, places: Sequence[tuple[float, float]], color: str) -> None:
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        if len(places) > 1:
            path = Path(list(places))
            path.should_simplify = False
            line = PathPatch(path, fill=False, edgecolor=color, linewidth=1.4, linestyle="-", antialiased=True)
            line.set(capstyle="round", joinstyle="round")
            self._add(line)
            line.set(snap=False)

    def dot(self, x: float, y: float, color: str) -> None:
        from matplotlib.patches import Circle

        dot = Circle((x, y), _DOT, facecolor=color, edgecolor="none", linewidth=0, antialiased=True)
        self._add(dot)
        dot.set(snap=False)
