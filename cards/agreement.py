"""Agreement with people: Cohen's kappa of each judge, beside those of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_relabel.cards.plots import GREY, INK, RED, SERIES, new_axes, plain_name, png_of

AGREEMENT = "figures/agreement.png"
PAPER = {"GPT-4o-mini": 0.320, "GPT-4o": 0.390}
"""Against people on 670 pairs (RLHN, arXiv 2505.16967)."""
MOST_ROWS = 30


def agreement_png(data: Mapping[str, Any]) -> bytes:
    """Draw `data["rows"]`, each with `name`, `kappa`, and `lo` and `hi` or None."""
    rows = list(data["rows"])[:MOST_ROWS]
    figure, axes = new_axes(5.6, 1.5 + 0.3 * len(rows), title="Agreement (Cohen's kappa)")
    for place, row in enumerate(rows):
        if row.get("lo") is not None and row.get("hi") is not None:
            axes.plot([row["lo"], row["hi"]], [place, place], color=SERIES, linewidth=1.4)
        axes.plot(row["kappa"], place, marker="o", markersize=5, color=SERIES, linestyle="none")
        axes.text(1.03, place, f"{row['kappa']:.2f}", fontsize=7.5, color=INK, va="center")
    for name, value in PAPER.items():
        axes.axvline(value, color=RED if name == "GPT-4o" else GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlabel("dashed: GPT-4o-mini .32 and GPT-4o .39 against people, in the paper", fontsize=7)
    low = min([0.0, *(row["lo"] for row in rows if row.get("lo") is not None), *(row["kappa"] for row in rows)])
    axes.set_xlim(low - 0.02, 1.0)
    axes.set_ylim(len(rows) - 0.1, -0.6)
    axes.set_yticks(range(len(rows)), [plain_name(row["name"], 30) for row in rows])
    return png_of(figure)


def agreement_alt(data: Mapping[str, Any]) -> str:
    """The numbers in words: plain text on one line, not Markdown."""
    parts = [f"{' '.join(str(row['name']).split())}: {row['kappa']:.2f}" for row in list(data["rows"])[:MOST_ROWS]]
    return f"Cohen's kappa. {'; '.join(parts)}. In the paper: GPT-4o-mini 0.32, GPT-4o 0.39."
