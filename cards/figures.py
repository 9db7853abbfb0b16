"""The figures of a data card, as PNG bytes.

They are drawn with matplotlib's Agg canvas itself, without pyplot: no setting of the process is changed, and the user's
style does not show (but for how letters are hinted), so that the same numbers give the same bytes. The background is
white, so that they read the same on a light and on a dark page.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.readme_markdown import one_line

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

FALSE_NEGATIVES = "figures/false-negatives.png"
BINS = (("1", 1, 1), ("2", 2, 2), ("3", 3, 3), ("4", 4, 4), ("5–7", 5, 7), ("8+", 8, None))
"""(name, least, most) false negatives in a row; the paper counts rows with eight or more as ambiguous queries."""
ALL = "all"

_COLORS = ("#1d3f72", "#2f6db5", "#5fa2dc", "#a3cbee", "#f2c14e", "#d1495b")
_INK, _FAINT, _TRACK = "#1f2933", "#667382", "#eef1f4"
_DPI = 200
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 5.6, 1.4, 1.5, 0.96, 0.34
"""Inches, as all lengths here. Narrow, so that the letters can still be read on a phone."""
_MARGIN = 0.16
_BAR, _STEP, _GAP = 0.2, 0.3, 0.12
_SIZE, _SMALL, _LARGE = 8.5, 7.5, 11.5
"""Of letters, in points."""
_LONGEST_NAME = 40
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = spreads(manifest)[: MOST_SUBSETS + 1]
    height = _TOP + _BOTTOM + len(lines) * _STEP + (_GAP if len(lines) > 1 else 0.0)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white", edgecolor="white", frameon=True)
    canvas = FigureCanvasAgg(figure)
    pen = Pen(figure)
    pen.text(_MARGIN, height - 0.3, "Rows with false negatives, by how many they have", size=_LARGE, bold=True)
    _legend(pen, height - 0.6)
    pen.text(_WIDTH - _MARGIN, height - 0.6, "rows (of all)", align="right", color=_FAINT)
    for index, spread in enumerate(lines):
        gap = _GAP if index else 0.0
        _bar(pen, spread, height - _TOP - index * _STEP - gap, is_total=not index)
    _scale(pen, 0.24)
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _legend(pen: Pen, y: float) -> None:
    x = _LEFT
    for (name, _, _), color in zip(BINS, _COLORS, strict=True):
        pen.box(x, y - 0.06, 0.12, 0.12, color)
        pen.text(x + 0.18, y, name)
        x += 0.32 + 0.06 * len(name)


def _bar(pen: Pen, spread: Spread, y: float, *, is_total: bool) -> None:
    width = _WIDTH - _LEFT - _RIGHT
    pen.text(
        _LEFT - 0.12,
        y,
        pen.fitted(one_line(spread.name) or "(none)", _LEFT - 0.12 - _MARGIN),
        align="right",
        bold=is_total,
    )
    pen.box(_LEFT, y - _BAR / 2, width, _BAR, _TRACK)
    x = _LEFT
    for share, color in zip(spread.shares, _COLORS, strict=True):
        pen.box(x, y - _BAR / 2, share * width, _BAR, color)
        if share >= 0.1:
            light = color in _COLORS[:2] or color == _COLORS[-1]
            pen.text(
                x + share * width / 2, y, f"{share:.0%}", align="center", size=_SMALL, color="white" if light else _INK
            )
        x += share * width
    if not spread.affected:
        pen.text(_LEFT + 0.1, y, "none", size=_SMALL, color=_FAINT)
    part = f" ({spread.affected / spread.rows:.1%})" if spread.rows else ""
    pen.text(_WIDTH - _MARGIN, y, f"{spread.affected:,}{part}", align="right", bold=is_total)


def _scale(pen: Pen, y: float) -> None:
    width = _WIDTH - _LEFT - _RIGHT
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        pen.text(_LEFT + share * width, y, f"{share:.0%}", align="center", color=_FAINT, size=_SMALL)


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
        size: float = _SIZE,
        bold: bool = False,
        color: str = _INK,
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
        self.ruler.set_size(_SIZE, 72)
        self.ruler.set_text(text)
        return float(self.ruler.get_width_height()[0]) / 64 / 72

    def _drawable(self, text: str) -> str:
        """A character that the font lacks would be drawn as an empty box, with a warning."""
        return "".join(character if ord(character) in self.known else "?" for character in text)

    def _add(self, artist: Artist) -> None:
        artist.set_transform(self.figure.dpi_scale_trans)
        artist.set(snap=True, sketch_params=None, path_effects=[])
        self.figure.add_artist(artist)


_FONT_FILES = {False: "DejaVuSans.ttf", True: "DejaVuSans-Bold.ttf"}
