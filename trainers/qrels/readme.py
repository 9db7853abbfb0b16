"""README.md of a test set whose judgements were extended: by it `load_dataset(folder, "qrels")` works."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import CardError
from hf_relabel.builders.readme.markdown import as_code, as_text, table
from hf_relabel.builders.readme.merging import merge_readme
from hf_relabel.builders.sources.files import file_digest, local_file
from hf_relabel.trainers.qrels.report import QrelsReport

README_NAME = "README.md"
OURS = ("qrels", "judged")
"""Corpus and queries are no configs: `datasets` reads all configs of a folder as files of one kind."""

_COLUMNS = """\
`qrels` has a line for each judgement: `query-id`, `corpus-id`, `score` (the grade), and who judged it: `judge` is
`human`, or the judge, or `same-text` for a copy of a relevant document; then `label`, `judge_score` and, by a
calibration, `probability` of being relevant; and the `runs` that found it, at which `ranks`. `judged` has all documents
that were pooled, with the `outcome`; those without a `score` are no judgements of `qrels`. The same judgements without
provenance are in qrels/, as BEIR has them, beside corpus and queries. pool.jsonl is what the judges were asked."""


def readme(report: QrelsReport, folder: Path, earlier: str | None) -> str:
    """The text for a folder whose judgements are written, merged with the one that was there.

    Raises:
        CardError: the one that was there cannot be merged with.
    """
    files = {
        "qrels": (report.split, "qrels.parquet"),
        "judged": (report.split, "judged.parquet"),
    }
    return merge_readme(
        earlier,
        title=f"{as_text(report.name)}, with more judgements",
        values=lambda metadata: {"configs": [*_configs(folder, files), *_others(metadata)]},
        content=lambda _: _content(report),
    )


def _configs(folder: Path, files: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """`datasets` keeps what it loads by the folder's name and what stands here: the content is a part of it."""
    return [
        {
            "config_name": name,
            "data_files": [{"split": split, "path": path}],
            "description": f"content {file_digest(local_file(folder / path, path)).hex()[:16]}",
            **({"default": True} if name == "qrels" else {}),
        }
        for name, (split, path) in files.items()
    ]


def _others(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    configs = metadata.get("configs") or []
    if not isinstance(configs, list) or not all(isinstance(each, dict) and "config_name" in each for each in configs):
        raise CardError("README.md: `configs` in the front matter must be a list, each entry with a config_name.")
    return [each for each in configs if each["config_name"] not in OURS]


def _content(report: QrelsReport) -> str:
    rows = [[as_code(line.pop("system")), *line.values()] for line in report.table()]
    headers = list(report.table()[0])
    said = [report.pool_line(), report.found_line(), *report.finding_lines(), *report.notes]
    told = "\n".join(f"- {as_text(line)}" for line in said)
    return f"{_COLUMNS}\n\n{told}\n\n{table(headers, rows)}\n\n{as_text(report.order_line())}"
