"""Configs of a set whose false negatives are known."""

from __future__ import annotations

from pathlib import Path

from hf_relabel.builders.job import BuildSettings
from hf_relabel.builders.journal import Journal
from hf_relabel.builders.judges.registry import make_judge
from hf_relabel.builders.released import Release, release_from_folder
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.building import build_configs
from hf_relabel.hub_tools.judging import Stage, judge

STEPS = {"banking77": 200, "classic": 60}
"""Of the static student: few rows, few steps."""
NO_LIMIT = 1_000


def built_by(stage_judge: str, folder: Path, scratch: Path, **settings: object) -> Release:
    """Judge `rows.jsonl` and build all configs, without a limit on false negatives per row."""
    source = open_source(folder / "rows.jsonl")
    out = scratch / f"{folder.name}-{stage_judge}"
    with Journal(scratch / f"{out.name}.sqlite") as journal:
        judge(source, [Stage(stage_judge, make_judge(stage_judge, **settings))], journal)
        build_configs(source, journal, BuildSettings(out=str(out), limit=NO_LIMIT))
    return release_from_folder(out)


def built_from_truth(folder: Path, scratch: Path) -> Release:
    """With `truth.jsonl` for a judge."""
    return built_by("truth", folder, scratch, file=str(folder / "truth.jsonl"))
