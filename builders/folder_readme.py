"""README.md of a folder of configs: the front matter by which `load_dataset` finds them, and a table of counts.

What the user wrote is kept: other entries of the front matter, and all text outside our two markers.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hf_relabel.builders.errors import BuildError

BEGIN = "<!-- hf-relabel:begin configs -->"
END = "<!-- hf-relabel:end configs -->"
EMPTY_NOTE = "Without rows: {}. load_dataset reads these only with streaming=True (a limit of datasets)."
"""Seen in datasets 5.2, `Instruction "train" corresponds to no data!`; huggingface/datasets pull request 8401."""
_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def readme_text(manifest: Mapping[str, Any], earlier: str | None) -> str:
    """The README.md for a manifest.

    Args:
        earlier: the README.md that is there, None if there is none.

    Raises:
        BuildError: the earlier one's front matter is not YAML.
    """
    import yaml

    metadata, body = _split(earlier or "# Relabelled retrieval training set\n")
    metadata = {**metadata, "configs": _configs(manifest["settings"])}
    front_matter = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return f"---\n{front_matter}---\n{_with_section(body, _section(manifest))}"


def totals(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line of counts for each config."""
    lines = []
    for name in manifest["settings"]["techniques"]:
        counts = manifest["configs"][name]["total"]
        reasons = {reason: number for reason, number in counts["dropped"].items() if reason != "row"}
        lines.append(
            {
                "config": name,
                "rows": counts["rows_out"],
                "rows changed": counts["rows_changed"],
                "rows dropped": sum(counts["rows_dropped"].values()),
                "positives": counts["positives"],
                "negatives": counts["negatives"],
                "negatives relabelled": counts["moved"],
                "negatives dropped": sum(reasons.values()),
            }
        )
    return lines


def _configs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The `configs` of the front matter. None is called "default": datasets mishandles that name."""
    configs = []
    for name in [*settings["techniques"], "verdicts"]:
        path = f"{name}/{settings['split']}-*"
        config: dict[str, Any] = {"config_name": name, "data_files": [{"split": settings["split"], "path": path}]}
        configs.append(config | ({"default": True} if name == settings["default_config"] else {}))
    return configs


def _split(text: str) -> tuple[dict[str, Any], str]:
    import yaml

    match = _FRONT_MATTER.match(text)
    if match is None:
        return {}, text
    try:
        metadata = yaml.safe_load(match[1]) or {}
    except yaml.YAMLError as error:
        raise BuildError(
            f"The front matter of README.md is not valid YAML: {error}. Correct it, build again."
        ) from error
    if not isinstance(metadata, dict):
        raise BuildError("The front matter of README.md is not a list of names and values. Correct it, build again.")
    return metadata, text[match.end() :]


def _with_section(body: str, section: str) -> str:
    """The body with our section in place of the earlier one, or at the end."""
    ours = f"{BEGIN}\n{section}{END}"
    start, end = body.find(BEGIN), body.find(END)
    if 0 <= start < end:
        return body[:start] + ours + body[end + len(END) :]
    return f"{body.rstrip()}\n\n{ours}\n".lstrip("\n")


def _section(manifest: Mapping[str, Any]) -> str:
    settings = manifest["settings"]
    empty = [f"`{line['config']}`" for line in totals(manifest) if not line["rows"]]
    note = f" {EMPTY_NOTE.format(', '.join(empty))}" if empty else ""
    return (
        f"Rows {{query_id, query, positive_passages, negative_passages, subset}}, one config per technique; "
        f"`{settings['default_config']}` loads by default. Rows with more than {settings['limit']} false negatives are "
        "in none of `remove-hn`, `relabel` and `relabel-filter`. `verdicts` says of every negative what was found, and "
        f"manifest.json how.{note}\n\n{_markdown_table(totals(manifest))}\n\n"
        f"{_markdown_table(list(_subsets(manifest)))}\n"
    )


def _subsets(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for each subset: what was concluded about its negatives."""
    for name, counts in sorted(manifest["verdicts"]["subsets"].items()):
        outcomes = {outcome: sum(reasons.values()) for outcome, reasons in counts["outcomes"].items()}
        yield {
            "subset": name or "(none)",
            "rows": sum(counts["false_negatives_per_row"].values()),
            "rows with false negatives": counts["rows_with_false_negatives"],
            "candidates": counts["candidates"],
            **{outcome.replace("_", " "): number for outcome, number in outcomes.items()},
            **counts["failures"],
        }


def _markdown_table(lines: list[dict[str, Any]]) -> str:
    from tabulate import tabulate

    if not lines:
        return "No rows."
    cells = [{name: _cell(value) for name, value in line.items()} for line in lines]
    return tabulate(cells, headers="keys", tablefmt="github", disable_numparse=True)


def _cell(value: Any) -> str:
    """A value as text in a Markdown table. Names of subsets come from the data: none may break or inject anything."""
    text = html.escape(" ".join(str(value).split()))
    return (
        re.sub(r"([\\|`*_{}\[\]()#!~:@])", lambda match: f"&#{ord(match[1])};", text)
        if isinstance(value, str)
        else text
    )
