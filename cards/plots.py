"""Axes in the house style: white ground, the font that matplotlib ships, and nothing of the user's settings."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GREY, SERIES, RED = "#1f2933", "#667382", "#2f6db5", "#d1495b"
_DPI = 200
_SIZE, _SMALL, _LARGE = 8.5, 7.5, 11.5


def new_axes(width: float, height: float, *, title: str) -> tuple[Figure, Any]:
    """A figure of so many inches with one pair of axes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager

    fontManager.addfont(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"))
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white", edgecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(GREY)
        axes.tick_params(colors=GREY, labelsize=_SMALL, labelcolor=INK)
        axes.xaxis.label.set(size=_SIZE, color=INK)
        axes.yaxis.label.set(size=_SIZE, color=INK)
        axes.set_title(title, loc="left", fontsize=_LARGE, fontweight="bold", color=INK)
    return figure, axes


def plain_name(name: object, longest: int = 60) -> str:
    """A name as it may stand in a figure: one short line, and no mathematics between dollar signs."""
    text = "".join(char if char.isprintable() else " " for char in " ".join(str(name).split()))
    return (text if len(text) <= longest else text[: longest - 1] + "…").replace("$", r"\$")


def png_of(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
