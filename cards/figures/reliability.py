"""The reliability diagram: observed shares against calibrated probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_relabel.cards.style import BLUE, FAINT, MARGIN, RED, SMALL, TRACK, WIDTH, Axis, Sheet

RELIABILITY = "figures/reliability.png"

_LEFT, _TOP, _PANEL, _BOTTOM = 0.6, 1.12, 2.9, 0.56
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def reliability_png(calibration: Mapping[str, Any]) -> bytes:
    """Draw a calibration, as `Calibration.to_dict` gives it. The same one gives the same bytes."""
    sheet = Sheet(_TOP + _PANEL + _BOTTOM, "Reliability of the calibrated scores")
    pen = sheet.pen
    across = Axis(0.0, 1.0, _TICKS, _LEFT, WIDTH - MARGIN - 0.1 - _LEFT)
    up = Axis(0.0, 1.0, _TICKS, _BOTTOM, _PANEL)
    for tick in _TICKS:
        pen.box(_LEFT, up.at(tick) - 0.004, across.length, 0.008, TRACK)
        pen.text(_LEFT - 0.1, up.at(tick), f"{tick:.1f}", align="right", size=SMALL, color=FAINT)
        pen.text(across.at(tick), _BOTTOM - 0.15, f"{tick:.1f}", align="center", size=SMALL, color=FAINT)
    pen.line([(across.at(0), up.at(0)), (across.at(1), up.at(1))], FAINT, width=0.8)
    zones = calibration["zones"]
    wanted = up.at(zones["wanted"])
    pen.box(_LEFT, wanted - 0.005, across.length, 0.01, RED)
    pen.text(_LEFT + 0.06, wanted + 0.08, f"wanted precision {zones['wanted']:.2f}", size=SMALL, color=RED)
    for each in calibration["bins"]:
        x = across.at(each["probability"])
        pen.box(x - 0.01, up.at(each["low"]), 0.02, up.at(each["high"]) - up.at(each["low"]), BLUE)
    for each in calibration["bins"]:
        x, y = across.at(each["score"]), up.at(each["observed"])
        pen.box(x - 0.035, y - 0.035, 0.07, 0.07, FAINT)
        pen.dot(across.at(each["probability"]), y, BLUE, 0.045)
    _legend(sheet)
    pen.text(across.at(0.5), _BOTTOM - 0.36, "score or probability", align="center", size=SMALL, color=FAINT)
    pen.text(MARGIN, _BOTTOM + _PANEL + 0.2, "share that is relevant", size=SMALL, color=FAINT)
    return sheet.png()


def _legend(sheet: Sheet) -> None:
    pen, y = sheet.pen, sheet.height - 0.58
    pen.dot(MARGIN + 0.05, y, BLUE, 0.045)
    pen.text(MARGIN + 0.16, y, "calibrated probability, with 95 % interval")
    pen.box(WIDTH - 2.16, y - 0.035, 0.07, 0.07, FAINT)
    pen.text(WIDTH - 2.02, y, "score as the judge gives it")


def reliability_alt(calibration: Mapping[str, Any]) -> str:
    """The numbers in words: plain text on one line, not Markdown."""
    zones = calibration["zones"]
    pairs = "; ".join(
        f"{each['probability']:.2f}: {each['observed']:.2f} [{each['low']:.2f}, {each['high']:.2f}]"
        for each in calibration["bins"]
    )
    sure = "none" if zones["sure"] is None else f"from {zones['sure']:.3f}"
    return (
        f"Calibrated probability and observed share of relevant candidates: {pairs}. Sure zone for precision"
        f" {zones['wanted']:.2f}: {sure}."
    )
