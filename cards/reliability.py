"""The reliability diagram: observed shares against calibrated probabilities, with the zones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_relabel.cards.plots import GREY, INK, RED, SERIES, new_axes, png_of

RELIABILITY = "figures/reliability.png"


def reliability_png(calibration: Mapping[str, Any]) -> bytes:
    """Draw a calibration, as `Calibration.to_dict` gives it. The same one gives the same bytes."""
    figure, axes = new_axes(5.6, 3.4, title="Reliability of the calibrated scores")
    bins, zones = calibration["bins"], calibration["zones"]
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    for key, color, marker, label in (
        ("score", GREY, "s", "score as the judge gives it"),
        ("probability", SERIES, "o", "calibrated probability"),
    ):
        values, observed = [each[key] for each in bins], [each["observed"] for each in bins]
        if key == "probability":
            low = [each["observed"] - each["low"] for each in bins]
            high = [each["high"] - each["observed"] for each in bins]
            axes.errorbar(values, observed, yerr=[low, high], fmt="none", ecolor=color, elinewidth=1.2)
        axes.plot(values, observed, linestyle="none", marker=marker, markersize=5, color=color, label=label)
    axes.axhline(zones["wanted"], color=RED, linewidth=0.8)
    axes.text(0.01, zones["wanted"] + 0.015, f"wanted precision {zones['wanted']:.2f}", color=RED, fontsize=7.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.05)
    axes.set_xlabel("score or probability")
    axes.set_ylabel("share that is relevant")
    axes.legend(frameon=False, fontsize=7.5, loc="lower right", labelcolor=INK)
    return png_of(figure)


def reliability_alt(calibration: Mapping[str, Any]) -> str:
    """The numbers in words: plain text on one line, not Markdown."""
    zones = calibration["zones"]
    pairs = "; ".join(f"{each['probability']:.2f}: {each['observed']:.2f}" for each in calibration["bins"])
    sure = "none" if zones["sure"] is None else f"from {zones['sure']:.3f}"
    return (
        f"Calibrated probability and observed share of relevant candidates: {pairs}. Sure zone for precision"
        f" {zones['wanted']:.2f}: {sure}."
    )
