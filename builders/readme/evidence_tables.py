"""Evidence as Markdown, for README files and cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_relabel.builders.readme.markdown import Markdown, as_code, as_text, table
from hf_relabel.builders.readme.zone_lines import zone_lines

_CHANGES = {"rows_changed": "rows changed", "relabelled": "relabelled", "left_out": "left out"}
"""What a config did, of the negatives how many, by what the table calls it."""


def compare_section(evidence: Mapping[str, Any]) -> str:
    """The outcome of `compare`: how it was measured, a table, and what follows."""
    sets = " and ".join(
        f"{as_text(each['name'])} ({each.get('queries') or '?'} queries)" for each in evidence.get("sets", ())
    )
    student = evidence.get("student", {})
    seeds = len(evidence.get("seeds", ()))
    baseline = as_code(evidence["baseline"])
    gone = [f"{count} more of {as_text(name)}" for name, count in sorted(evidence.get("left_out", {}).items())]
    left_out = f" ({' and '.join(gone)} left out, being trained on)" if gone else ""
    return (
        f"A small student ({as_text(student.get('recipe', 'static'))}, {as_text(student.get('model', ''))}) was trained"
        f" on each config, {seeds} {'seed' if seeds == 1 else 'seeds'}, and measured on {sets}{left_out}. Differences"
        f" to {baseline} are in points of {as_text(evidence['metric'])} × 100, with 95 % intervals over queries and"
        f" seeds; p has Holm's correction for the number of configs.\n\n{compare_table(evidence)}\n\n"
        f"{as_code(evidence['chosen'])} is what this speaks for: {as_text(evidence['reason'])}.{_at(evidence)}\n"
    )


def _at(evidence: Mapping[str, Any]) -> str:
    """Whether the thresholds moved because of it."""
    if "zones_at" not in evidence:
        return ""
    return (
        f" That is of `zones@{evidence['zones_at']:g}`, as which it is built now; the other configs but `original` were"
        " measured by the thresholds before."
    )


def compare_table(evidence: Mapping[str, Any]) -> Markdown:
    """A line per config. Comparisons of earlier releases do not say what a config did to the rows."""
    told = _CHANGES if any("changes" in arm for arm in evidence["arms"]) else {}
    rows = []
    for arm in evidence["arms"]:
        changes = [arm.get("changes", {}).get(key) for key in told]
        rows.append([as_code(arm["name"]), arm["rows"], *changes, Markdown(f"{arm['mean']:.4f}"), *_difference(arm)])
    return table(["config", "rows", *told.values(), evidence["metric"], "difference", "95 % interval", "p"], rows)


def _difference(arm: Mapping[str, Any]) -> list[Any]:
    if "difference" not in arm:
        return [None, None, None]
    difference, low, high, p = (arm[name] for name in ("difference", "low", "high", "p_holm"))
    return [
        Markdown(f"{100 * difference:+.2f}"),
        "not known" if low is None else Markdown(f"{100 * low:+.2f} to {100 * high:+.2f}"),
        None if p is None else Markdown(f"{p:.4f}"),
    ]


def audit_section(evidence: Mapping[str, Any]) -> str:
    """What an audit says of the verdict and of each judge."""
    people = evidence["people"]
    names = [name for name in people["people"] if name != "truth"]
    who = f"{len(names)} {'person' if len(names) == 1 else 'people'}" if names else "A file of known false negatives"
    verdict = evidence["verdict"]
    rows = [
        [as_text(judge["name"]), judge["candidates"], *map(_estimated, _shares(judge))]
        for judge in (verdict, *evidence["judges"])
    ]
    header = ["", "candidates", "precision", "recall", "F1", "kappa"]
    text = (
        f"{who} answered for {verdict['answers']} of {evidence['drawn']} candidates drawn blind from all verdicts."
        " Figures are of all judged candidates, with 95 % intervals that allow for how the sample was drawn; positives"
        f" are what a judge calls better.{_of_thresholds(evidence)}\n\n{table(header, rows)}\n"
    )
    fleiss = people.get("fleiss")
    if fleiss and fleiss["binary"] is not None:
        text += f"\nFleiss' kappa between the people: {fleiss['binary']:.3f} (better against the rest).\n"
    return text


def _of_thresholds(evidence: Mapping[str, Any]) -> str:
    """Whose the audited verdict is, where it is not that of the judges' labels."""
    return " The verdict is that of the thresholds." if evidence.get("calibrated") else ""


def zones_section(evidence: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """By which thresholds the verdicts were decided: a line for each zone."""
    # Words of ours and formatted numbers: nothing in them is to be escaped.
    parts = (line.partition(":") for line in zone_lines(evidence, manifest))
    lines = "".join(f"- **{zone}**:{told}\n" for zone, _, told in parts)
    return (
        f"Three zones, by thresholds on the score that {evidence['labels']:,} audited labels chose"
        f" ({as_text(evidence['method'])} calibration); `relabel-filter` has them all:\n\n{lines}"
    )


def _shares(judge: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [judge[name] for name in ("precision", "recall", "f1", "kappa")]


def _estimated(estimate: Mapping[str, Any]) -> Markdown | None:
    return None if estimate["value"] is None else Markdown(_plain_estimate(estimate))


def _plain_estimate(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
