"""Figures of judges: reliability, Pareto and agreement. Names in them are text, whatever they hold."""

from __future__ import annotations

import json

import matplotlib as mpl
import numpy as np
import pytest

from hf_relabel.builders.calibration import LabelledScore, fit
from hf_relabel.cards.agreement import agreement_alt, agreement_png
from hf_relabel.cards.pareto import pareto_alt, pareto_png
from hf_relabel.cards.reliability import reliability_alt, reliability_png

HOSTILE = "$\\frac{1}{0}$ <script>\n\u202e" + "x" * 200


def calibration() -> dict[str, object]:
    chance = np.random.default_rng(0)
    scores = chance.random(800)
    found: dict[str, object] = fit(
        [LabelledScore(float(score), bool(chance.random() < score**2)) for score in scores], precision=0.7
    ).to_dict()
    return found


POINTS = {
    "points": [
        {"name": HOSTILE, "tokens": 1000, "false_negatives": 10, "on_front": True},
        {"name": "by row", "tokens": 9000, "false_negatives": 30, "on_front": False},
        {"name": "by candidate", "tokens": 3000, "false_negatives": 30, "on_front": True},
    ]
}
KAPPAS = {
    "rows": [
        {"name": HOSTILE, "kappa": 0.4, "lo": 0.3, "hi": 0.5},
        {"name": "b", "kappa": -0.1, "lo": None, "hi": None},
    ]
}


@pytest.mark.parametrize(
    ("draw", "data"),
    [(reliability_png, calibration()), (pareto_png, POINTS), (agreement_png, KAPPAS), (agreement_png, {"rows": []})],
)
def test_the_same_data_gives_the_same_picture_whatever_the_users_settings(
    draw: object, data: dict[str, object]
) -> None:
    first = draw(json.loads(json.dumps(data)))  # type: ignore[operator]
    with mpl.rc_context({"text.usetex": False, "axes.facecolor": "black", "font.size": 30}):
        second = draw(data)  # type: ignore[operator]

    assert first.startswith(b"\x89PNG")
    assert first == second


def test_alt_texts_hold_the_numbers_on_one_line() -> None:
    assert "3,000 tokens, 30 found (front)" in pareto_alt(POINTS)
    assert "b: -0.10" in agreement_alt(KAPPAS)
    assert "Sure zone for precision 0.70: from" in reliability_alt(calibration())
    for text in (pareto_alt(POINTS), agreement_alt(KAPPAS), reliability_alt(calibration())):
        assert "\n" not in text
