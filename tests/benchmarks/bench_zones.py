"""Whether thresholds that were chosen for a wanted precision hold it on rows that nobody audited.

    python -m tests.benchmarks.bench_zones ../shared/data/banking77 ../shared/data/classic [--work FOLDER]

Each folder holds rows.jsonl and truth.jsonl. The scores are those of the similarity judge. In each seed so many
candidates of the rows with an even number are drawn at random and labelled by the truth file; thresholds are fitted on
them and measured on all candidates of the odd rows. A seed holds if the wanted precision is not above the upper end of
the 95 % interval (bootstrap over rows) of the precision of what lies in the sure zone; a seed without a sure zone
relabels nothing, holds trivially, and is counted apart. With --work the vectors of texts are kept (bench_judges takes
the same folder).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from tabulate import tabulate

from hf_relabel.builders.cascade.fitting import LabelledScore, fit
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.sources import open_source
from hf_relabel.trainers.students.static import PACKAGED_TEACHER
from tests.benchmarks.judged_sets import vectors_kept

RESAMPLES = 500


def scored(folder: Path) -> np.ndarray:
    """Lines of row number, score and truth, for every candidate."""
    known = TruthJudge(str(folder / "truth.jsonl")).known
    judge = SimilarityJudge(PACKAGED_TEACHER)
    rows = [numbered.row for numbered in open_source(folder / "rows.jsonl").rows()]
    said = judge.judge([(row, range(len(row.negative_passages))) for row in rows])
    return np.array(
        [
            (number, judged[place].score, row.negative_passages[place].docid in known[row.query_id])
            for number, (row, judged) in enumerate(zip(rows, said, strict=True))
            for place in judged
        ]
    )


def upper_end(rows: np.ndarray, truth: np.ndarray, chance: np.random.Generator) -> float:
    """Of the 95 % interval of the precision, by a bootstrap over rows."""
    _, of_row = np.unique(rows, return_inverse=True)
    hits, sizes = np.bincount(of_row, truth), np.bincount(of_row)
    drawn = chance.integers(0, len(hits), (RESAMPLES, len(hits)))
    return float(np.percentile(hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), 97.5))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure zones on unseen rows.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--labels", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--precision", type=float, nargs="+", default=[0.5, 0.7, 0.8, 0.9])
    parser.add_argument("--work", type=Path, help="keep vectors here")
    options = parser.parse_args(arguments)
    table = []
    for folder in options.folders:
        vectors = nullcontext() if options.work is None else vectors_kept(options.work / folder.name / "vectors.npz")
        with vectors:
            found = scored(folder)
        seen, unseen = found[found[:, 0] % 2 == 0], found[found[:, 0] % 2 == 1]
        for labels in options.labels:
            for wanted in options.precision:
                held, precisions, recalls = 0, [], []
                for seed in range(options.seeds):
                    chance = np.random.default_rng(seed)
                    drawn = seen[chance.choice(len(seen), min(labels, len(seen)), replace=False)]
                    zones = fit([LabelledScore(float(s), bool(t)) for _, s, t in drawn], precision=wanted).zones
                    if zones.sure is None:
                        held += 1
                        continue
                    sure = unseen[unseen[:, 1] >= zones.sure]
                    precisions.append(sure[:, 2].mean())
                    recalls.append(sure[:, 2].sum() / unseen[:, 2].sum())
                    held += upper_end(sure[:, 0], sure[:, 2], chance) >= wanted
                means = (np.mean(precisions), np.mean(recalls)) if precisions else (None, None)
                table.append([folder.name, labels, wanted, f"{held} of {options.seeds}", len(precisions), *means])
    header = ["set", "labels", "wanted", "held", "with a sure zone", "mean precision", "mean recall"]
    print(tabulate(table, header, floatfmt=".3f"))


if __name__ == "__main__":
    main()
