"""The house style of the figures: one width, one font, six colours, and a pen that draws in inches.

Drawn with matplotlib's Agg canvas itself, without pyplot: no setting of the process is changed, and the user's style
does not show (but for how letters are hinted), so that the same numbers give the same bytes. The background is white,
so that they read the same on a light and on a dark page. Narrow, so that the letters can still be read on a phone.
"""

from __future__ import annotations

import io
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hf_relabel.builders.readme.markdown import cut

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

INK, FAINT, TRACK = "#1f2933", "#667382", "#eef1f4"
BLUE, LIGHT_BLUE, PALE_BLUE, YELLOW, RED = "#2f6db5", "#5fa2dc", "#a3cbee", "#f2c14e", "#d1495b"
DPI = 200
WIDTH, MARGIN = 5.6, 0.16
"""Inches, as all lengths of figures."""
SIZE, SMALL, LARGE = 8.5, 8.0, 11.5
"""Of letters, in points."""
_LONGEST_NAME = 40
_LONGEST = 100
"""Characters of a text, at most."""
_LARGEST = 1e30
"""What is beyond is drawn at this value."""
_FONT_FILES = {False: "DejaVuSans.ttf", True: "DejaVuSans-Bold.ttf"}
_DOT = 0.028


class Sheet:
    """A figure of the usual width to draw on.

    Attributes:
        height: in inches.
        pen, writer: what draws on it.
    """

    def __init__(self, height: float, title: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.height = height
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", edgecolor="white", frameon=True)
        self._canvas = FigureCanvasAgg(figure)
        self.writer = Writer(self._canvas)
        self.pen = self.writer.pen
        self.writer.write(MARGIN, height - 0.3, title, width=WIDTH - 2 * MARGIN, size=LARGE, bold=True)

    def png(self) -> bytes:
        """What is drawn, as PNG."""
        return png_of(self._canvas)


def png_of(canvas: FigureCanvasAgg) -> bytes:
    """A canvas as PNG that does not say what wrote it."""
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


class Pen:
    """Draws on a figure in inches from its lower left corner. Every property is set, so that no setting of the user's
    matplotlib matters; the font is the one matplotlib ships."""

    def __init__(self, figure: Figure) -> None:
        import matplotlib
        from matplotlib.font_manager import FontProperties
        from matplotlib.ft2font import FT2Font

        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self.figure = figure
        figure.patch.set(sketch_params=None, path_effects=[])
        self.fonts = {bold: FontProperties(fname=folder / name) for bold, name in _FONT_FILES.items()}
        self.ruler = FT2Font(str(folder / _FONT_FILES[False]))
        self.known = frozenset(self.ruler.get_charmap())

    def box(self, x: float, y: float, width: float, height: float, color: str) -> None:
        from matplotlib.patches import Rectangle

        if width > 0:
            box = Rectangle((x, y), width, height, facecolor=color, edgecolor="none", linewidth=0, antialiased=True)
            self._add(box)

    def diamond(self, left: float, middle: float, right: float, y: float, height: float, color: str) -> None:
        from matplotlib.patches import Polygon

        corners = [(left, y), (middle, y + height), (right, y), (middle, y - height)]
        self._add(Polygon(corners, closed=True, facecolor=color, edgecolor="none", linewidth=0, antialiased=True))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        align: str = "left",
        size: float = SIZE,
        bold: bool = False,
        color: str = INK,
    ) -> None:
        from matplotlib.text import Text

        font = self.fonts[bold].copy()
        font.set_size(size)
        shown = self._drawable(text)
        artist = Text(x, y, shown, fontproperties=font, color=color, parse_math=False, usetex=False, antialiased=True)
        artist.set(horizontalalignment=align, verticalalignment="center_baseline")
        self._add(artist)

    def fitted(self, text: str, width: float) -> str:
        """The text, cut where it is wider than this."""
        shown = self._drawable(text[:_LONGEST_NAME])
        if len(text) <= _LONGEST_NAME and self._width(shown) <= width:
            return shown
        while shown and self._width(f"{shown}…") > width:
            shown = shown[:-1]
        return f"{shown.rstrip()}…"

    def _width(self, text: str) -> float:
        self.ruler.set_size(SIZE, 72)
        self.ruler.set_text(text)
        return float(self.ruler.get_width_height()[0]) / 64 / 72

    def _drawable(self, text: str) -> str:
        """A character that the font lacks would be drawn as an empty box, with a warning."""
        return "".join(character if ord(character) in self.known else "?" for character in text)

    def _add(self, artist: Artist) -> None:
        artist.set_transform(self.figure.dpi_scale_trans)
        artist.set(snap=True, sketch_params=None, path_effects=[])
        self.figure.add_artist(artist)

    def line(self, places: Sequence[tuple[float, float]], color: str, width: float = 1.4) -> None:
        """A line through places, of so many points."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        if len(places) > 1:
            path = Path(list(places))
            path.should_simplify = False
            line = PathPatch(path, fill=False, edgecolor=color, linewidth=width, linestyle="-", antialiased=True)
            line.set(capstyle="round", joinstyle="round")
            self._add(line)
            line.set(snap=False)

    def dashes(self, x: float, y: float, height: float, color: str) -> None:
        """A dashed line upwards."""
        for number in range(int(height / 0.1)):
            self.box(x - 0.005, y + number * 0.1, 0.01, 0.06, color)

    def dot(self, x: float, y: float, color: str, radius: float = _DOT) -> None:
        from matplotlib.patches import Circle

        dot = Circle((x, y), radius, facecolor=color, edgecolor="none", linewidth=0, antialiased=True)
        self._add(dot)
        dot.set(snap=False)


class Writer:
    """Writes text that never takes more than its place, in the pen's two fonts, which know different letters.

    It measures with what draws: a font's own widths, at another hinting, are some percent off.
    """

    def __init__(self, canvas: FigureCanvasAgg) -> None:
        from matplotlib.ft2font import FT2Font

        self.pen = Pen(canvas.figure)
        self._renderer = canvas.get_renderer()
        fonts = self.pen.fonts.items()
        self._known = {bold: frozenset(FT2Font(str(font.get_file())).get_charmap()) for bold, font in fonts}

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        width: float,
        align: str = "left",
        size: float = SIZE,
        bold: bool = False,
        color: str = INK,
    ) -> None:
        fitted = self._fitted(text, width, size, bold)
        self.pen.text(x, y, fitted, align=align, size=size, bold=bold, color=color)

    def fits(self, text: str, width: float, size: float, bold: bool) -> bool:
        font = self.pen.fonts[bold].copy()
        font.set_size(size)
        pixels, _, _ = self._renderer.get_text_width_height_descent(text, font, ismath=False)
        return float(pixels) / DPI <= width

    def _fitted(self, text: str, width: float, size: float, bold: bool) -> str:
        known = self._known[bold]
        line = cut(text, _LONGEST) or "(none)"
        shown = "".join(character if ord(character) in known else "?" for character in line)
        if self.fits(shown, width, size, bold):
            return shown
        too_long = bisect_left(
            range(len(shown)), True, key=lambda length: not self.fits(f"{shown[:length]}…", width, size, bold)
        )
        return f"{shown[: max(too_long - 1, 0)].rstrip()}…"


@dataclass(frozen=True, slots=True)
class Axis:
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
    def of(cls, values: Sequence[float], *, whole: bool = False) -> Axis:
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
        step = round_step((high - low) / (5 if whole else 4))
        step = max(1.0, step) if whole else step
        first = math.ceil(low / step - 1e-9)
        count = math.floor(high / step + 1e-9) - first + 1
        return cls(low, high, tuple((first + index) * step for index in range(count)))

    @classmethod
    def between(cls, low: float, high: float, start: float, length: float) -> Axis:
        """An axis from bound to bound."""
        step = round_step((high - low) / 6)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return cls(low, high, tuple(number * step for number in range(first, last + 1)), start, length)

    def on(self, start: float, length: float) -> Axis:
        """The same axis at another place."""
        return Axis(self.low, self.high, self.ticks, start, length)

    def at(self, value: float) -> float:
        limited = max(self.low, min(self.high, value))
        return self.start + (limited - self.low) / (self.high - self.low) * self.length


def round_step(step: float) -> float:
    """The next of 1, 2, 5, 10, … times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return float(next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= step * (1 - 1e-9)))


def decimals_of(ticks: Sequence[float]) -> int:
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) if ticks and ticks[0] else 1.0
    return max(0, -math.floor(math.log10(step) + 1e-9))
