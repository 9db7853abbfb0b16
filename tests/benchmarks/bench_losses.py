"""The three multi-positive losses on relabelled data, and the original data beside them.

    python -m tests.benchmarks.bench_losses ../shared/data/banking77 ../shared/data/classic [--seeds 5] [--json]

Each folder holds rows.jsonl, truth.jsonl (the known false negatives, the judge here) and beir/ (to evaluate on). The
static student is trained with each loss on the `relabel` config, and on `original`, where all losses are the same.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs.release import Release
from hf_relabel.trainers.comparing.compare import report_on
from hf_relabel.trainers.comparing.measurements import Measuring, measure
from hf_relabel.trainers.comparing.trials import Arm
from hf_relabel.trainers.data.training_data import open_config
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.recipes.recipe import Recipe, load_recipe
from hf_relabel.trainers.students.static import default_student
from tests.benchmarks.judged_sets import STEPS, built_from_truth

LOSSES = ("random", "logsumexp", "joint")


def arm(name: str, release: Release, config: str, recipe: Recipe) -> Arm:
    return Arm(name, config, recipe, lambda: open_config(release, config))


def compared(folder: Path, seeds: int, runs: Path, scratch: Path) -> Any:
    release = built_from_truth(folder, scratch)
    steps = STEPS.get(folder.name, 200)
    recipes = {
        name: load_recipe(default_student().model_dump(), max_steps=steps, loss={"positives": name}) for name in LOSSES
    }
    arms = [arm("original", release, "original", recipes["random"])]
    arms += [arm(f"relabel, {name}", release, "relabel", recipes[name]) for name in LOSSES]
    return report_on(measure(arms, [read_beir(folder / "beir")], Measuring(seeds=range(seeds), folder=runs)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the multi-positive losses.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, help="folder that keeps what was measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        reports = {
            folder.name: compared(folder, options.seeds, options.runs or Path(scratch) / "runs", Path(scratch))
            for folder in options.folders
        }
    if options.json:
        print(json.dumps({name: report.evidence()["arms"] for name, report in reports.items()}))
        return
    for report in reports.values():
        print(report.to_text().rpartition("\n")[0], end="\n\n")


if __name__ == "__main__":
    main()
