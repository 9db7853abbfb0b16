"""What each way to run a cascade costs and finds: tokens against false negatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_relabel.cards.plots import GREY, INK, SERIES, new_axes, plain_name, png_of

PARETO = "figures/pareto.png"


def pareto_png(data: Mapping[str, Any]) -> bytes:
    """Draw `data["points"]`, each with `name`, `tokens`, `false_negatives` and `on_front`."""
    points = list(data["points"])
    figure, axes = new_axes(6.4, 1.9 + 0.28 * len(points), title="Tokens and false negatives found")
    front = sorted((point for point in points if point["on_front"]), key=lambda point: point["tokens"])
    axes.plot(
        [point["tokens"] for point in front],
        [point["false_negatives"] for point in front],
        color=SERIES,
        linewidth=1.0,
        drawstyle="steps-post",
        zorder=1,
    )
    # A number beside each point, and names below: names beside points would lie over each other.
    for number, point in enumerate(points, start=1):
        color = SERIES if point["on_front"] else GREY
        axes.plot(point["tokens"], point["false_negatives"], marker="o", markersize=5, color=color, linestyle="none")
        axes.annotate(
            str(number),
            (point["tokens"], point["false_negatives"]),
            xytext=(4, 4 + 8 * (_twins(points, number) % 3)),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
        )
    axes.margins(0.12, 0.2)
    axes.set_xlabel("tokens, prompt and completion")
    axes.set_ylabel("false negatives found")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    key = "\n".join(f"{number}  {plain_name(point['name'])}" for number, point in enumerate(points, start=1))
    figure.supxlabel(key, fontsize=7.5, color=INK, ha="left", x=0.02)
    return png_of(figure)


def _twins(points: list[Any], number: int) -> int:
    """How many points before this one lie at the same place."""
    here = points[number - 1]
    same = [(point["tokens"], point["false_negatives"]) for point in points[: number - 1]]
    return same.count((here["tokens"], here["false_negatives"]))


def pareto_alt(data: Mapping[str, Any]) -> str:
    """The numbers in words: plain text on one line, not Markdown."""
    parts = [
        f"{' '.join(str(point['name']).split())}: {point['tokens']:,} tokens, {point['false_negatives']} found"
        f"{' (front)' if point['on_front'] else ''}"
        for point in data["points"]
    ]
    return f"Tokens and false negatives of each escalation rule. {'; '.join(parts)}."
