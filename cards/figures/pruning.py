"""What leaving out each subset does to a student: the figure of `prune`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from hf_relabel.builders.readme.markdown import Markdown, as_code, as_text, table
from hf_relabel.cards.figures.forest import ForestLine, forest_alt, forest_png, points_of

PRUNE, KEEP = "Better without", "Keep"


def pruning_lines(report: Mapping[str, Any]) -> list[ForestLine]:
    """The lines of a pruning, as `PruneReport.to_dict` gives it: those to prune first, the size of a square after the
    subset's rows."""
    most = max((each["rows"] for each in report["subsets"]), default=1)
    return [
        ForestLine(
            each["subset"] or "(none)",
            *points_of(each["harm"], each["low"], each["high"]),
            weight=each["rows"] / most,
            group=KEEP if each["keep"] else PRUNE,
        )
        for each in sorted(report["subsets"], key=lambda each: bool(each["keep"]))
    ]


def pruning_png(report: Mapping[str, Any]) -> bytes:
    """Draw a pruning. The same one gives the same bytes."""
    unit = f"change of {report['metric']} × 100 without the subset"
    return forest_png(pruning_lines(report), title="What leaving a subset out does", unit=unit)


def pruning_alt(report: Mapping[str, Any]) -> str:
    """The numbers in words: plain text on one line, not Markdown."""
    means = f"With all subsets {report['metric']} is {report['with_all']:.4f}"
    means += _kept(report)
    return f"What leaving a subset out does, in points of {report['metric']} × 100. {means}. " + forest_alt(
        pruning_lines(report)
    )


def pruning_report(report: Mapping[str, Any], figure: str) -> str:
    """A pruning as a page of Markdown.

    Args:
        figure: name of the picture, which stands beside the page.
    """
    metric = as_text(report["metric"])
    rows = [
        [
            as_code(each["subset"]),
            each["rows"],
            Markdown(f"{report['with_all'] + each['harm']:.4f}"),
            Markdown(f"{100 * each['harm']:+.2f}"),
            "not known" if each["low"] is None else Markdown(f"{100 * each['low']:+.2f} to {100 * each['high']:+.2f}"),
            None if each["p_holm"] is None else Markdown(f"{each['p_holm']:.4f}"),
            "keep" if each["keep"] else "prune",
        ]
        for each in report["subsets"]
    ]
    header = ["left out", "rows", f"{report['metric']} without it", "change", "95 % interval", "p (Holm)", "advice"]
    means = f"With all subsets {metric} is {report['with_all']:.4f}"
    means += _kept(report)
    return (
        "# What leaving a subset out does\n\n"
        f"![{as_text(pruning_alt(report), breaks=False)}]({quote(figure)})\n\n"
        f"{table(header, rows)}\n\n"
        f"Changes are in points of {metric} × 100; above 0, training went better without the subset. {means}.\n"
        f"Keep{_rule(report)}: {', '.join(as_code(name) for name in report['kept']) or 'none'}.\n"
    )


def _kept(report: Mapping[str, Any]) -> str:
    """What training on the subsets that are kept gave, against all of them."""
    if report.get("with_kept") is None:
        return ""
    text = f", with those kept {report['with_kept']:.4f}"
    gain = report.get("kept_gain")
    if gain is None or gain["low"] is None:
        return text
    difference, low, high = (100 * gain[name] for name in ("difference", "low", "high"))
    return (
        f"{text}: {difference:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}; chosen on the same runs and"
        " queries, so a little too good"
    )


def _rule(report: Mapping[str, Any]) -> str:
    return f", by the rule {as_code(report['rule'])}" if report.get("rule") else ""
