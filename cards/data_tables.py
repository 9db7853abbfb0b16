"""The tables of a data card: its source, its judges' settings, the packages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.readme.markdown import Markdown, as_code, as_text, cut, table
from hf_relabel.cards import tables

if TYPE_CHECKING:
    pass


def source_line(manifest: Mapping[str, Any]) -> Markdown | None:
    """Where the rows came from, as a table of what is known."""
    source = manifest.get("source")
    if not source:
        return None
    names = (
        "name",
        "revision",
        "fingerprint",
        "config",
        "split",
        "format",
        "columns",
        "relevant_from",
        "subset",
        "sample",
        "limit",
        "skipped",
    )
    known = [(name, source[name]) for name in names if source.get(name) not in (None, "", [])]
    return table(["source", ""], [[name, as_code(_plain(value))] for name, value in known])


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value, sort_keys=True)


def judge_settings(manifest: Mapping[str, Any]) -> Markdown | None:
    """Every setting of every judge, long texts cut; the whole is in manifest.json."""
    rows = [
        [as_code(judge_name(stage, number)), as_code(name), as_code(cut(_plain(value), 120))]
        for stage in manifest.get("run", {}).get("stages", ())
        for number, judge in enumerate(tables.judges_of(stage), start=1)
        for name, value in sorted(judge["settings"].items())
        if value is not None
    ]
    return table(["stage", "setting", "value"], rows) if rows else None


def judge_name(stage: Mapping[str, Any], number: int) -> str:
    return f"{stage['name']} #{number}" if stage.get("judges") else str(stage["name"])


def packages(manifest: Mapping[str, Any]) -> Markdown:
    tool = manifest.get("tool", {})
    versions = {str(tool.get("name", "hf-relabel")): tool.get("version"), **manifest.get("packages", {})}
    return Markdown(", ".join(f"{as_text(name)} {as_text(version)}" for name, version in versions.items() if version))
