"""The figures of a card."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from hf_relabel.cards.figures.of_data_card import BINS, FALSE_NEGATIVES, MOST_SUBSETS, figures, spreads
from tests.cards.card_data import HARD_TO_DRAW, manifest, without_false_negatives


def with_subsets(names: list[str]) -> dict[str, Any]:
    counts = manifest()["verdicts"]["subsets"]["nq"]
    return {"verdicts": {"total": counts, "subsets": dict.fromkeys(names, counts)}}


def picture(values: Any) -> Any:
    image = Image.open(io.BytesIO(figures(values)[FALSE_NEGATIVES]))
    image.load()
    return np.asarray(image.convert("RGB"))


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert figures(manifest()) == figures(manifest())
    assert figures(manifest())[FALSE_NEGATIVES] != figures(without_false_negatives())[FALSE_NEGATIVES]


def test_the_users_style_does_not_show() -> None:
    plain = figures(manifest())
    style = {
        "font.size": 30, "font.family": "monospace", "axes.facecolor": "red", "figure.facecolor": "black",
        "figure.dpi": 50, "text.color": "red", "patch.edgecolor": "red", "patch.force_edgecolor": True,
        "text.usetex": True, "path.sketch": (5, 100, 2), "savefig.dpi": 30, "savefig.transparent": True,
        "patch.linewidth": 9,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        assert figures(manifest()) == plain


def test_no_state_of_matplotlib_is_touched() -> None:
    code = """
import sys, warnings
import matplotlib
# As a plain dict: reading the backend would choose one.
before, filters = dict(dict.items(matplotlib.rcParams)), list(warnings.filters)
from tests.cards.card_data import manifest
from hf_relabel.cards.figures.of_data_card import figures
assert "matplotlib.pyplot" not in sys.modules
figures(manifest())
assert "matplotlib.pyplot" not in sys.modules
assert dict(dict.items(matplotlib.rcParams)) == before and list(warnings.filters) == filters
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("text", HARD_TO_DRAW)
def test_any_name_can_be_drawn(text: str) -> None:
    assert figures(with_subsets([text, "nq"]))[FALSE_NEGATIVES].startswith(b"\x89PNG")


def test_names_keep_clear_of_the_edge_and_of_the_bars() -> None:
    short, long = (picture(with_subsets([name, "nq"])) for name in ("W", "W" * 400))
    left = short.shape[1] // 60

    assert (long[:, :left] == 255).all()
    assert (short[:, 280:] == long[:, 280:]).all()


@pytest.mark.parametrize(("subsets", "bars"), [(0, 1), (1, 1), (7, 8), (30, 31), (1_000, MOST_SUBSETS + 1)])
def test_there_is_a_bar_for_all_and_one_for_each_of_several_subsets(subsets: int, bars: int) -> None:
    image = picture(with_subsets([f"subset {number}" for number in range(subsets)]))
    is_dark_blue = (np.abs(image[:, 320].astype(int) - (0x1D, 0x3F, 0x72)).sum(axis=1) < 12).astype(int)

    assert (np.diff(is_dark_blue) == 1).sum() == bars


def test_bars_are_as_long_as_their_shares() -> None:
    image = picture(manifest()).astype(int)
    spread = spreads(manifest())[0]
    middle = next(y for y in range(image.shape[0]) if (np.abs(image[y, 320] - (0x1D, 0x3F, 0x72)).sum()) < 12) + 3
    bar = image[middle, 280:820]
    dark = (np.abs(bar - (0x1D, 0x3F, 0x72)).sum(axis=1) < 12).sum()

    assert dark / 540 == pytest.approx(spread.shares[0], abs=0.01)


def test_rows_are_put_in_bins() -> None:
    counts = {"false_negatives_per_row": {"0": 10, "1": 5, "2": 4, "4": 3, "5": 1, "7": 1, "8": 2, "90": 1}}
    spread = spreads({"verdicts": {"total": counts, "subsets": {}}})[0]

    assert dict(zip([name for name, _, _ in BINS], spread.counts, strict=True)) == {
        "1": 5, "2": 4, "3": 0, "4": 3, "5–7": 2, "8+": 3,
    }  # fmt: skip
    assert (spread.rows, spread.affected) == (27, 17)
    assert sum(spread.shares) == pytest.approx(1)
