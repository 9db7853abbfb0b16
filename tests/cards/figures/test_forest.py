"""The forest plot: what it shows, and that nothing in it runs into something else."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.readme.markdown import one_line
from hf_relabel.cards.figures.forest import (
    MOST_LINES,
    ForestLine,
    compare_alt,
    compare_lines,
    compare_png,
    forest_alt,
    forest_png,
)
from tests.cards.card_data import HARD_TO_DRAW
from tests.examples import drawn

BLUE, RED, GREY, INK = (0x2F, 0x6D, 0xB5), (0xD1, 0x49, 0x5B), (0x66, 0x73, 0x82), (0x1F, 0x29, 0x33)
PLOT = slice(320, 810)
"""The columns of pixels between the names and the numbers."""
NUMBERS = slice(815, None)

SETS = [
    ForestLine("nq", 1.7, 0.9, 2.5, 0.3, "relabel"),
    ForestLine("fever", -0.4, -1.1, 0.3, 0.5, "relabel"),
    ForestLine("fiqa", -2.2, -3.9, -0.5, 0.2, "relabel"),
    ForestLine("all", 0.8, 0.2, 1.4, None, "relabel", is_summary=True),
]
EVIDENCE = {
    "metric": "ndcg@10",
    "baseline": "original",
    "arms": [
        {"name": "original", "mean": 0.5},
        {
            "name": "relabel",
            "difference": 0.012,
            "low": 0.004,
            "high": 0.02,
            "differences": {"nq": [0.017, 0.009, 0.025], "fiqa": [-0.001, -0.01, 0.008]},
        },
    ],
}


def picture(lines: Sequence[ForestLine], title: str = "Against original", **settings_: str) -> Any:
    """Shape (height, width, 3)."""
    image = Image.open(io.BytesIO(forest_png(lines, title=title, **settings_)))
    image.load()
    return np.asarray(image.convert("RGB")).astype(int)


def columns(pixels: Any, color: tuple[int, int, int]) -> Any:
    """Where in the plot this colour is, from its left edge."""
    is_it = np.abs(pixels[:, PLOT] - color).sum(axis=2) < 12
    return np.flatnonzero(is_it.any(axis=0))


def area(pixels: Any, color: tuple[int, int, int]) -> int:
    return int((np.abs(pixels[:, PLOT] - color).sum(axis=2) < 12).sum())


def zero(pixels: Any) -> float:
    """The column of the zero line."""
    return float(columns(pixels, INK).mean())


def test_the_same_lines_give_the_same_bytes() -> None:
    assert forest_png(SETS, title="t") == forest_png(list(SETS), title="t")
    assert forest_png(SETS, title="t") != forest_png(SETS[:3], title="t")


def test_the_users_style_does_not_show() -> None:
    plain = forest_png(SETS, title="t")
    style = {
        "font.size": 30, "font.family": "monospace", "axes.facecolor": "red", "figure.facecolor": "black",
        "figure.dpi": 50, "text.color": "red", "patch.edgecolor": "red", "patch.force_edgecolor": True,
        "text.usetex": True, "path.sketch": (5, 100, 2), "savefig.dpi": 30, "savefig.transparent": True,
        "patch.linewidth": 9,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        assert forest_png(SETS, title="t") == plain


def test_pyplot_is_not_needed_and_matplotlib_only_for_drawing() -> None:
    code = """
import sys
from hf_relabel.cards.figures.forest import ForestLine, forest_alt, forest_png
forest_alt([ForestLine("nq", 1.0, 0.5, 1.5)])
assert not any(name.split(".")[0] in {"matplotlib", "numpy"} for name in sys.modules)
forest_png([ForestLine("nq", 1.0, 0.5, 1.5)], title="t")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize(
    ("low", "high", "color"), [(0.5, 1.5, BLUE), (-1.5, -0.5, RED), (-0.5, 1.5, GREY), (0.0, 1.0, GREY)]
)
def test_the_colour_says_on_which_side_of_zero_the_interval_is(
    low: float, high: float, color: tuple[int, int, int]
) -> None:
    pixels = picture([ForestLine("nq", (low + high) / 2, low, high)])
    found = columns(pixels[:220], color)  # above the axis, which is grey as well
    assert found.size
    assert all(not columns(pixels[:220], other).size for other in {BLUE, RED, GREY} - {color})


def test_the_whisker_spans_the_interval_and_the_square_stands_at_the_difference() -> None:
    pixels = picture([ForestLine("nq", 2.0, 1.0, 4.0), ForestLine("fiqa", -2.0, -4.0, -1.0)])
    better, worse, middle = columns(pixels, BLUE), columns(pixels, RED), zero(pixels)

    inch = (better[-1] - middle) / 4
    assert better[0] - middle == pytest.approx(inch, abs=3)
    assert middle - worse[0] == pytest.approx(4 * inch, abs=4)
    heights = (np.abs(pixels[:, PLOT] - BLUE).sum(axis=2) < 12).sum(axis=0)
    square = np.flatnonzero(heights > heights.max() * 0.8)
    assert square.mean() - middle == pytest.approx(2 * inch, abs=3)


def test_a_heavier_set_has_a_larger_square() -> None:
    areas = [area(picture([ForestLine("nq", 1.0, 0.9, 1.1, weight)]), BLUE) for weight in (0.0, 0.1, 0.5, 1.0)]
    assert areas == sorted(set(areas))
    outside = [area(picture([ForestLine("nq", 1.0, 0.9, 1.1, weight)]), BLUE) for weight in (-3.0, 7.0)]
    assert outside == [areas[0], areas[-1]]


def test_a_summary_is_a_diamond_from_bound_to_bound() -> None:
    pixels = picture([ForestLine("all", 2.0, 1.0, 4.0, is_summary=True)])
    heights = (np.abs(pixels[:, PLOT] - BLUE).sum(axis=2) < 12).sum(axis=0)
    found = np.flatnonzero(heights)
    peak = (int(heights.argmax()) - found[0]) / (found[-1] - found[0])
    assert peak == pytest.approx(1 / 3, abs=0.03)
    rising, falling = heights[found[0] + 12 : heights.argmax()], heights[heights.argmax() : found[-1] - 12]
    assert (np.diff(rising) >= -1).all()
    assert (np.diff(falling) <= 1).all()


def test_a_group_has_its_heading_wherever_its_lines_stand_and_all_lines_are_above_the_axis() -> None:
    def line(group: str | None) -> ForestLine:
        return ForestLine("nq", 1.0, 0.5, 1.5, group=group)

    plain, mixed = picture([line(""), line(None)]), picture([line(group) for group in ("g", "h", "g", None, "h")])
    for pixels, number in ((plain, 2), (mixed, 5)):
        rows = np.flatnonzero((np.abs(pixels[:, PLOT] - BLUE).sum(axis=2) < 12).any(axis=1))
        assert 1 + (np.diff(rows) > 1).sum() == number
        assert rows[-1] < pixels.shape[0] - 100
    assert mixed.shape[0] - plain.shape[0] == pytest.approx(200 * (3 * 0.27 + 4 * 0.3 + 4 * 0.12), abs=3)


@pytest.mark.parametrize(("number", "shown"), [(0, 0), (1, 1), (MOST_LINES, MOST_LINES), (1_000, MOST_LINES)])
def test_only_so_many_lines_are_drawn_and_what_is_left_out_is_said(number: int, shown: int) -> None:
    lines = [ForestLine(f"config {place}", 1.0, 0.5, 1.5) for place in range(number)]
    rows = np.flatnonzero((np.abs(picture(lines)[:, PLOT] - BLUE).sum(axis=2) < 12).any(axis=1))
    assert (1 + (np.diff(rows) > 1).sum() if rows.size else 0) == shown
    assert forest_alt(lines).count("[+0.50, +1.50]") == shown
    assert ("960 more are not shown" in forest_alt(lines)) == (number == 1_000)


@pytest.mark.parametrize("text", [*HARD_TO_DRAW, "", "\U0001d5a0 only in the font of plain letters", "W" * 5_000])
def test_any_text_can_be_drawn(text: str) -> None:
    lines = [ForestLine(text, 1.0, 0.5, 1.5, 0.5, text), ForestLine(text, 1.0, 0.5, 1.5, None, text, is_summary=True)]
    assert forest_png(lines, title=text, unit=text).startswith(b"\x89PNG")
    words = forest_alt(lines)
    assert words == one_line(words)
    assert len(words) < 600


@pytest.mark.parametrize("letter", ["W", "i", "\u4e00", "\u0644"])
@pytest.mark.parametrize("is_summary", [False, True])
def test_long_texts_keep_clear_of_the_edges_and_of_the_plot(letter: str, is_summary: bool) -> None:
    def drawn(text: str) -> Any:
        lines = [ForestLine(text, 1.0, -1.0, 3.0, None, text, is_summary), ForestLine("b", -1.0, -3.0, 2.0)]
        return picture(lines, title=text, unit=text)

    short, long = drawn("x"), drawn(letter * 400)
    edge = 20
    assert (long[:, :edge] == 255).all()
    assert (long[:, -edge:] == 255).all()
    assert (long[-4:] == 255).all()
    between = slice(110, -50)  # below the title, above the unit
    assert (short[between, PLOT] == long[between, PLOT]).all()


@pytest.mark.parametrize("size", [1.0, 30.0, 100.0, 1e4, 1e9])
@pytest.mark.parametrize("is_summary", [False, True])
def test_numbers_keep_clear_of_the_plot_however_large(size: float, is_summary: bool) -> None:
    pixels = picture([ForestLine("nq", -size, -1.5 * size, -0.5 * size, is_summary=is_summary)])
    rows = slice(110, 220)
    assert (pixels[rows, 806:814] == 255).all()
    assert (pixels[rows, NUMBERS] != 255).any()


def test_a_difference_that_rounds_to_nothing_has_no_minus() -> None:
    assert forest_alt([ForestLine("nq", -0.001, -0.004, 0.0)]).endswith("nq: +0.00 [+0.00, +0.00].")


def test_zero_stands_in_the_middle_where_nothing_differs() -> None:
    pixels = picture([ForestLine("nq", 0.0, 0.0, 0.0)])
    assert 320 + zero(pixels) == pytest.approx(565, abs=3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["difference", "low", "high"])
def test_what_is_no_number_is_refused(bad: float, field: str) -> None:
    values = {"difference": 0.0, "low": -1.0, "high": 1.0, field: bad}
    with pytest.raises(ConfigError, match=r"fever: .* cannot be drawn"):
        forest_png([ForestLine("fever", **values)], title="t")


def test_the_words_hold_every_number() -> None:
    assert forest_alt(SETS) == (
        "Differences with 95 % intervals. relabel, nq: +1.70 [+0.90, +2.50]; relabel, fever: -0.40 [-1.10, +0.30];"
        " relabel, fiqa: -2.20 [-3.90, -0.50]; relabel, all: +0.80 [+0.20, +1.40]."
    )
    assert forest_alt([ForestLine("nq", 1, 0, 2, group=None)]).startswith("Differences with 95 % intervals. nq: +1.00")
    assert forest_alt([]) == "No differences."


def test_a_comparison_has_a_line_for_each_set_and_one_for_all() -> None:
    lines = compare_lines(EVIDENCE)
    assert [(line.group, line.name, line.is_summary) for line in lines] == [
        ("relabel", "fiqa", False), ("relabel", "nq", False), ("relabel", "all", True),
    ]  # fmt: skip
    assert lines[1].difference == pytest.approx(1.7)
    assert compare_png(EVIDENCE) == forest_png(lines, title="Against original", unit="ndcg@10 × 100, points")
    assert "+1.20" in compare_alt(EVIDENCE)


@drawn(8)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=60), st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3).map(sorted), st.booleans()
        ),
        max_size=5,
    )
)
def test_any_lines_can_be_drawn(values: list[tuple[str, list[float], bool]]) -> None:
    lines = [
        ForestLine(name, middle, low, high, is_summary=is_summary, group=name[:1])
        for name, (low, middle, high), is_summary in values
    ]
    assert (picture(lines)[:, :20] == 255).all()
