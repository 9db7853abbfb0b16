"""Evidence as Markdown, for README files and cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_relabel.builders.readme_markdown import Markdown, as_code, as_text, table


def compare_section(evidence: Mapping[str, Any]) -> str:
    """The outcome of `compare`: how it was measured, a table, and what follows."""
    sets = " and ".join(
        f"{as_text(each['name'])} ({each.get('queries') or '?'} queries)" for each in evidence.get("sets", ())
    )
    student = evidence.get("student", {})
    seeds = len(evidence.get("seeds", ()))
    baseline = as_code(evidence["baseline"])
    return (
        f"A small student ({as_text(student.get('recipe', 'static'))}, {as_text(student.get('model', ''))}) was trained"
        f" on each config, {seeds} {'seed' if seeds == 1 else 'seeds'}, and measured on {sets}. Differences to"
        f" {baseline} are in points of {as_text(evidence['metric'])} × 100, with 95 % intervals over queries and seeds;"
        f" p is Holm's correction of a paired test.\n\n{compare_table(evidence)}\n\n"
        f"{as_code(evidence['chosen'])} is what this speaks for: {as_text(evidence['reason'])}.\n"
    )


def compare_table(evidence: Mapping[str, Any]) -> Markdown:
    """A line per config."""
    rows = []
    for arm in evidence["arms"]:
        rows.append([as_code(arm["name"]), arm["rows"], Markdown(f"{arm['mean']:.4f}"), *_difference(arm)])
    return table(["config", "rows", evidence["metric"], "difference", "95 % interval", "p"], rows)


def _difference(arm: Mapping[str, Any]) -> list[Any]:
    if "difference" not in arm:
        return [None, None, None]
    low, high = 100 * arm["low"], 100 * arm["high"]
    return [
        Markdown(f"{100 * arm['difference']:+.2f}"),
        Markdown(f"{low:+.2f} to {high:+.2f}"),
        Markdown(f"{arm['p_holm']:.4f}"),
    ]
