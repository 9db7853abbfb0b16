"""README.md of a folder of configs: the front matter by which `load_dataset` finds them, and tables of counts.

What the user wrote is kept: other entries of the front matter, and all text outside our two markers. A release has the
same block with more in it, see hf_relabel.cards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.readme.evidence_tables import audit_section, compare_section, zones_section
from hf_relabel.builders.readme.markdown import as_code, table
from hf_relabel.builders.readme.merging import config_values, merge_readme

EMPTY_NOTE = "Without rows: {}. load_dataset reads these only with streaming=True (a limit of datasets)."
"""Seen in datasets 5.2, `Instruction "train" corresponds to no data!`; huggingface/datasets pull request 8401."""
SHORTER = {"negatives relabelled": "relabelled", "negatives dropped": "left out"}
"""What a table on a terminal calls them."""


def readme_text(manifest: Mapping[str, Any], earlier: str | None) -> str:
    """The README.md for a manifest.

    Args:
        earlier: the README.md that is there, None if there is none.

    Raises:
        CardError: the earlier one's front matter cannot be read or edited, or its markers are broken.
    """
    return merge_readme(
        earlier,
        title="Relabelled retrieval training set",
        values=lambda metadata: config_values(metadata, manifest["settings"], manifest["files"]),
        content=lambda _: _section(manifest),
    )


def totals(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line of counts for each config."""
    return [
        {"config": name, **config_totals(manifest["configs"][name]["total"])}
        for name in manifest["settings"]["techniques"]
    ]


def config_totals(counts: Mapping[str, Any]) -> dict[str, int]:
    """The counts of one config, by what a table calls them.

    Args:
        counts: as `ConfigCounts.to_dict` gives them.
    """
    reasons = {reason: number for reason, number in counts["dropped"].items() if reason != "row"}
    return {
        "rows": counts["rows_out"],
        "rows changed": counts["rows_changed"],
        "rows dropped": sum(counts["rows_dropped"].values()),
        "positives": counts["positives"],
        "negatives": counts["negatives"],
        "negatives relabelled": counts["moved"],
        "negatives dropped": sum(reasons.values()),
    }


def view_lines(manifest: Mapping[str, Any]) -> list[str]:
    """What each view holds, and which rows it does not, in a line for each."""
    return [_view_line(view, manifest["views"][view["name"]]) for view in manifest["settings"].get("views", ())]


def _view_line(view: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    notes = [
        f"{counted(rows, 'row')} {reason.replace('_', ' ')} left out"
        for reason, rows in counts["left_out"].items()
        if rows
    ]
    if counts["rows_repeating"]:
        notes.append(
            f"{counted(counts['rows_repeating'], 'row')} with fewer than {view['negatives']} negatives repeat some"
        )
    if "scores" in view:
        judge = "the judge's, those of the source's positives 1"
        notes.append(f"scores are {judge if view['scores'] == 'judge' else 'those of the source'}")
    lines, rows = counted(counts["lines"], "line"), counted(counts["rows_out"], "row")
    return "; ".join([f"{view['name']}: {lines} of {rows} of {view['technique']}", *notes]) + "."


def format_lines(manifest: Mapping[str, Any]) -> list[str]:
    """What was written in other formats, in a line for each file."""
    formats = manifest.get("formats") or {"files": {}}
    return [_format_line(path, formats["format"], counts) for path, counts in formats["files"].items()]


def _format_line(path: str, format: str, counts: Mapping[str, Any]) -> str:
    notes = {"rows_without_record": "without negatives left out", "rows_repeating": "with fewer negatives repeat some"}
    told = [f"{counted(counts[name], 'row')} {note}" for name, note in notes.items() if counts[name]]
    words = {
        "fields_moved": "moved with the passages in",
        "fields_dropped": "left out, as it could not follow them, in",
    }
    told += [
        f"{name} {say} {counted(rows, 'row')}"
        for key, say in words.items()
        for name, rows in counts.get(key, {}).items()
    ]
    return (
        "; ".join(
            [f"{path}: {counted(counts['records'], 'record')} ({format}) of {counted(counts['rows'], 'row')}", *told]
        )
        + "."
    )


def _section(manifest: Mapping[str, Any]) -> str:
    settings = manifest["settings"]
    lines = totals(manifest)
    empty = [f"`{line['config']}`" for line in lines if not line["rows"]]
    note = f" {EMPTY_NOTE.format(', '.join(empty))}" if empty else ""
    headers = list(lines[0]) if lines else []
    return (
        f"Rows {{query_id, query, positive_passages, negative_passages, subset}}, one config per technique; "
        f"`{settings['default_config']}` loads by default. Rows with more than {settings['limit']} false negatives are "
        "in none of `remove-hn`, `relabel` and `relabel-filter`. `verdicts` says of every negative what was found, and "
        f"manifest.json how.{note}\n\n{table(headers, [list(line.values()) for line in lines])}\n\n"
        f"{_views(manifest)}{_subset_table(manifest)}{_evidence(manifest)}"
    )


def _views(manifest: Mapping[str, Any]) -> str:
    """The views, where there are any."""
    lines = "".join(f"- {line}\n" for line in view_lines(manifest))
    return f"Views, for the losses of sentence-transformers:\n\n{lines}\n" if lines else ""


def _evidence(manifest: Mapping[str, Any]) -> str:
    """What backs the default config, where something does."""
    evidence = manifest.get("evidence") or {}
    sections: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "compare": compare_section,
        "audit": audit_section,
        "zones": lambda zones: zones_section(zones, manifest),
    }
    parts = [section(evidence[name]) for name, section in sections.items() if name in evidence]
    return "\n\n## Evidence\n\n" + "\n".join(parts) if parts else ""


def _subset_table(manifest: Mapping[str, Any]) -> str:
    """A line for each subset: what was concluded about its negatives."""
    rows = []
    outcome_names: list[str] = []
    for name, counts in sorted(manifest["verdicts"]["subsets"].items()):
        outcomes = {outcome: sum(reasons.values()) for outcome, reasons in counts["outcomes"].items()}
        outcome_names = [outcome.replace("_", " ") for outcome in outcomes] + list(counts["failures"])
        rows.append(
            [
                as_code(name) if name else "(none)",
                sum(counts["false_negatives_per_row"].values()),
                counts["rows_with_false_negatives"],
                counts["candidates"],
                *outcomes.values(),
                *counts["failures"].values(),
            ]
        )
    return table(["subset", "rows", "rows with false negatives", "candidates", *outcome_names], rows)
