"""What escalating by candidate saves against escalating by row, on the same replies of real judges.

    python -m tests.benchmarks.bench_escalation ../shared/data/banking77 ../shared/data/classic [--work FOLDER] [--json]

Each folder holds rows.jsonl and truth.jsonl. The cheap stage is a student of 500 labels or similarity, the accurate one
a student of 2,000 labels (better from a probability of .5 on) or the truth. The cheap one passes on everything from a
score on above which lie 90, 95, 99 % or all of what the accurate one calls better among 2,000 candidates of the rows
with an even number. The rows with an odd number are judged once, by row, so that the journal holds every answer of both
ways; what each would have judged and found is worked out offline by the code of `hf relabel report`.

`lost` are false negatives of the way by row that the way by candidate does not find: the accurate judge calls them
better, and the cheap one did not pass them on. With --work, models and judgements are kept (bench_judges takes the same
folder).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tabulate import tabulate

from hf_relabel.builders.cascade.fitting import LabelledScore, fit
from hf_relabel.builders.cascade.report import judging_report
from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.cascade.verdicts import judged_rows
from hf_relabel.builders.cascade.ways import Escalation
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.offline.student import StudentJudge
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.judges.protocols import BatchJudge
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from hf_relabel.trainers.students.static import PACKAGED_TEACHER
from tests.benchmarks.bench_judges import Truth, halves, labelled_candidates, trained_student
from tests.benchmarks.judged_sets import vectors_kept

LABELS = 2000
KEPT = (0.9, 0.95, 0.99, 1.0)


Cheap = Callable[[float], BatchJudge]
"""A cheap judge that passes on what has this score or more."""


def thresholds(source: Source, truth: Truth, cheap: BatchJudge, accurate: BatchJudge) -> list[float]:
    """The cheap scores above which lie so many of the candidates that the accurate judge calls better."""
    labelled = []
    for row, place, _ in labelled_candidates(source, truth, LABELS, seed=0):
        batch = [(row, [place])]
        is_better = accurate.judge(batch)[0][place].label is Label.BETTER
        labelled.append(LabelledScore(cheap.judge(batch)[0][place].score or 0.0, is_better))
    return [fit(labelled, keep=keep).zones.unsure for keep in KEPT]


def pairs(even: Source, truth: Truth, folder: Path, work: Path) -> Iterator[tuple[str, Cheap, str, BatchJudge]]:
    """Names and judges: cheap and accurate."""
    few, many = (
        trained_student(even, truth, labels, work / "students" / f"student-{labels}-0", seed=0)
        for labels in (500, 2000)
    )

    def similarity(worse: float) -> BatchJudge:
        return SimilarityJudge(PACKAGED_TEACHER, better=1.0, worse=worse)

    def student(worse: float) -> BatchJudge:
        return StudentJudge(str(few.folder), better=1.0, worse=worse)

    yield "student, 500 labels", student, "student, 2000 labels", many
    yield "similarity", similarity, "student, 2000 labels", many
    yield "similarity", similarity, "truth", TruthJudge(str(folder / "truth.jsonl"))


def both_ways(source: Source, cheap: BatchJudge, accurate: BatchJudge, journal: Path) -> tuple[Escalation, Escalation]:
    """The report's lines of the cascade by row, as it ran, and by candidate."""
    stages = [Stage("cheap", cheap, Rule("row")), Stage("accurate", accurate)]
    with Journal(journal) as kept:
        judge(source, stages, kept)
        run = kept.last_run()
        report = judging_report(judged_rows(source, kept, run), stages_of_run(run))
    ways = {way.name: way for way in report.escalation}
    return ways["cheap > accurate, as it ran"], ways["cheap > accurate, by candidate"]


def measured(folder: Path, work: Path) -> list[dict[str, Any]]:
    work.mkdir(parents=True, exist_ok=True)
    truth = TruthJudge(str(folder / "truth.jsonl")).known
    even, odd_file = halves(folder, work)
    odd = open_source(odd_file)
    found = []
    for cheap_name, cheap, name, accurate in pairs(even, truth, folder, work):
        for keep, worse in zip(KEPT, thresholds(even, truth, cheap(0.5), accurate), strict=True):
            by_row, by_candidate = both_ways(odd, cheap(worse), accurate, work / "escalation.sqlite")
            assert not by_candidate.missing
            found.append(
                {
                    "set": folder.name,
                    "cheap": cheap_name,
                    "accurate": name,
                    "kept": keep,
                    "candidates": by_row.judged[0],
                    "by row": by_row.judged[1],
                    "by candidate": by_candidate.judged[1],
                    "times fewer": by_row.judged[1] / by_candidate.judged[1],
                    "found by row": by_row.false_negatives,
                    "lost": by_candidate.lost,
                    "share lost": by_candidate.lost / by_row.false_negatives if by_row.false_negatives else 0.0,
                }
            )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare escalation by candidate with escalation by row.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, help="keep models and judgements here")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    table = []
    with tempfile.TemporaryDirectory() if options.work is None else nullcontext(options.work) as work:
        for folder in options.folders:
            with vectors_kept(Path(work) / folder.name / "vectors.npz"):
                table += measured(folder, Path(work) / folder.name)
    if options.json:
        print(json.dumps(table, indent=1))
        return
    print(
        tabulate(
            [list(line.values()) for line in table],
            list(table[0]),
            floatfmt=["", "", "", ".2f", *["g"] * 3, ".2f", "g", "g", ".3f"],
        )
    )


if __name__ == "__main__":
    main()
