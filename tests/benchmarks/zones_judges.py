"""Judges whose scores are probabilities, on sets whose false negatives are known: simulated ones, and real ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from hf_relabel.builders.cascade.fitting import LabelledScore, fit
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.offline.student import StudentJudge
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources import open_source
from hf_relabel.trainers.comparing.trials import Measure
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.students.judge_student import StudentExample, train_student
from hf_relabel.trainers.students.static import PACKAGED_TEACHER
from tests.benchmarks.judged_sets import vectors_kept

Values = npt.NDArray[np.float64]

FOLDS = 5
"""Of the queries: a fold's scores come from labels of the others."""
_SPREAD = 4.0
"""Sum of the parameters of the Beta distributions that simulated probabilities are drawn from."""
_DRAWN = 400_000
WORSE_AND_BETTER = (0.2, 0.5)
"""Probabilities from which a judge calls a candidate worse, and better."""


class KnownSet:
    """Rows, and for every candidate, in their order, whether it is a false negative.

    Args:
        folder: with rows.jsonl, truth.jsonl and beir/.
        work: where vectors and scores are kept.
    """

    def __init__(self, folder: Path, work: Path) -> None:
        self.name, self.folder, self.work = folder.name, folder, work / folder.name
        self._key: str | None = None
        self.rows: list[Row] = [numbered.row for numbered in open_source(folder / "rows.jsonl").rows()]
        known = TruthJudge(str(folder / "truth.jsonl")).known
        self.truth = np.array(
            [each.docid in known[row.query_id] for row in self.rows for each in row.negative_passages]
        )
        self.owner = np.repeat(np.arange(len(self.rows)), [len(row.negative_passages) for row in self.rows])
        self.place = np.concatenate([np.arange(len(row.negative_passages)) for row in self.rows])

    @cached_property
    def data(self) -> RetrievalSet:
        return read_beir(self.folder / "beir")

    def measured_as(self, measure: Measure) -> str:
        """What names it among what runs have measured."""
        if self._key is None:
            self._key = measure.key(self.data)
        return self._key

    @property
    def cosines_file(self) -> Path:
        return self.work / "cosines.npy"

    @cached_property
    def cosines(self) -> Values:
        """MiniLM's score of each candidate, as the similarity judge has it."""
        file = self.cosines_file
        if not file.exists():
            with vectors_kept(self.work / "vectors.npz"):
                judge = SimilarityJudge(PACKAGED_TEACHER)
                said = judge.judge([(row, range(len(row.negative_passages))) for row in self.rows])
            np.save(file, np.array([each[place].score for each in said for place in sorted(each)], dtype=np.float64))
        return np.asarray(np.load(file), dtype=np.float64)

    @cached_property
    def vectors(self) -> dict[tuple[str, str], Values]:
        """MiniLM's vector of each query and passage of the rows, by ("query" or "document", text), of length 1."""
        assert self.cosines.size  # encoded by now
        held = np.load(self.work / "vectors.npz")
        return dict(zip(map(tuple, held["texts"].tolist()), held["vectors"], strict=True))

    def fold(self, seed: int) -> npt.NDArray[np.int64]:
        """Of each candidate, by its query."""
        queries = dict.fromkeys(row.query_id for row in self.rows)
        chance = np.random.default_rng(seed)
        numbers = dict(zip(queries, chance.permutation(len(queries)) % FOLDS, strict=True))
        return np.array([numbers[self.rows[row].query_id] for row in self.owner])

    def drawn(self, labels: int, seed: int) -> npt.NDArray[np.int64]:
        """Candidates that people answer for, by chance."""
        return np.random.default_rng(1_000 + seed).choice(len(self.truth), labels, replace=False)

    def examples(self, candidates: Sequence[int]) -> list[StudentExample]:
        return [
            StudentExample(self.rows[self.owner[each]], int(self.place[each]), bool(self.truth[each]))
            for each in candidates
        ]


@dataclass(frozen=True)
class Judge:
    """`scores(known, seed)` is the probability of each candidate to be a false negative."""

    name: str
    scores: Callable[[KnownSet, int], Values]
    simulated: bool = False
    is_kept: Callable[[KnownSet, int], bool] = lambda known, seed: True

    def kept(self, known: KnownSet, seed: int) -> Values | None:
        """The scores, if they need no model now."""
        return self.scores(known, seed) if self.is_kept(known, seed) else None


def simulated(precision: float, recall: float) -> Judge:
    """Calibrated: of the candidates with p, a share of p are false negatives. What it calls better (p > .5) has this
    precision, and this share of the false negatives is among it. Its errors fall by chance."""

    def scores(known: KnownSet, seed: int) -> Values:
        chance = np.random.default_rng(seed)
        share = known.truth.mean()
        better = share * recall / precision
        rest = share * (1 - recall) / (1 - better)
        many = round(_DRAWN * better)
        p = np.concatenate(
            [0.5 + 0.5 * _beta(chance, 2 * precision - 1, many), 0.5 * _beta(chance, 2 * rest, _DRAWN - many)]
        )
        found = np.empty(len(known.truth))
        for truth, weights in ((True, p), (False, 1 - p)):
            drawn = chance.choice(p, int((known.truth == truth).sum()), p=weights / weights.sum())
            found[known.truth == truth] = drawn
        return found

    return Judge(f"{precision:g} / {recall:g}", scores, simulated=True)


def _beta(chance: np.random.Generator, mean: float, count: int) -> Values:
    if mean >= 1:
        return np.ones(count)
    return chance.beta(_SPREAD * mean, _SPREAD * (1 - mean), count)


def by_similarity(labels: int) -> Judge:
    """MiniLM's cosine, calibrated on so many labels, cross-fitted by query."""

    def scores(known: KnownSet, seed: int) -> Values:
        folds, drawn, found = known.fold(seed), known.drawn(labels, seed), np.empty(len(known.truth))
        for number in range(FOLDS):
            seen = drawn[folds[drawn] != number]
            pairs = zip(known.cosines[seen], known.truth[seen], strict=True)
            fitted = fit([LabelledScore(float(score), bool(truth)) for score, truth in pairs])
            found[folds == number] = fitted.probabilities(known.cosines[folds == number])
        return found

    return Judge(f"similarity, {labels:,} labels", scores, is_kept=lambda known, _: known.cosines_file.exists())


def by_student(labels: int) -> Judge:
    """A student judge trained on so many labels, cross-fitted by query."""

    def scores(known: KnownSet, seed: int) -> Values:
        file = _student_file(known, labels, seed)
        if not file.exists():
            with vectors_kept(known.work / "vectors.npz"):
                np.save(file, _taught(known, labels, seed))
        return np.asarray(np.load(file), dtype=np.float64)

    return Judge(
        f"student, {labels:,} labels", scores, is_kept=lambda known, seed: _student_file(known, labels, seed).exists()
    )


def _student_file(known: KnownSet, labels: int, seed: int) -> Path:
    return known.work / f"student-{labels}-{seed}.npy"


def _taught(known: KnownSet, labels: int, seed: int) -> Values:
    folds, drawn, found = known.fold(seed), known.drawn(labels, seed), np.empty(len(known.truth))
    for number in range(FOLDS):
        with tempfile.TemporaryDirectory() as folder:
            seen = known.examples(drawn[folds[drawn] != number])
            train_student(seen, folder, model=PACKAGED_TEACHER, seed=seed)
            wanted = np.unique(known.owner[folds == number])
            rows = [known.rows[each] for each in wanted]
            said = StudentJudge(folder).judge([(row, range(len(row.negative_passages))) for row in rows])
            found[folds == number] = [each[place].score for each in said for place in sorted(each)]
    return found


def shuffled(judge: Judge) -> Judge:
    """A control: the same probabilities, of other candidates."""

    def scores(known: KnownSet, seed: int) -> Values:
        return np.random.default_rng(9_000 + seed).permutation(judge.scores(known, seed))

    return Judge(f"{judge.name}, shuffled", scores, simulated=True)


def too_sure(judge: Judge, factor: float = 3.0) -> Judge:
    """A control: logits times a factor, so that p says more than it knows. What it calls better stays the same."""

    def scores(known: KnownSet, seed: int) -> Values:
        p = np.clip(judge.scores(known, seed), 1e-4, 1 - 1e-4)
        return 1 / (1 + ((1 - p) / p) ** factor)

    return Judge(f"{judge.name}, too sure", scores, simulated=True)


def _audited(p: Values, truth: npt.NDArray[np.bool_], labels: int, seed: int) -> list[LabelledScore]:
    """As `audit sample` draws: about a third from what the judge calls better, worse and irrelevant."""
    chance, found, left = np.random.default_rng(500 + seed), [], labels
    strata = sorted((np.flatnonzero(np.digitize(p, WORSE_AND_BETTER) == number) for number in range(3)), key=len)
    for place, stratum in enumerate(strata):
        drawn = chance.choice(stratum, min(len(stratum), left // (3 - place)), replace=False)
        left -= len(drawn)
        found += [LabelledScore(float(p[each]), bool(truth[each]), len(stratum) / len(drawn)) for each in drawn]
    return found


@dataclass(frozen=True)
class Rule:
    """How thresholds follow from labels, see `fit`."""

    name: str
    precision: float
    probability: float | None
    drop: Literal["keep", "likely"]


def by_audit(judge: Judge, labels: int, rule: Rule) -> Judge:
    """What the tool makes of a judge from so many labels: 1 in the sure zone, .7 where it drops, else 0."""

    def scores(known: KnownSet, seed: int) -> Values:
        p = judge.scores(known, seed)
        how = {"precision": rule.precision, "probability": rule.probability, "drop": rule.drop}
        zones = fit(_audited(p, known.truth, labels, seed), **how).zones  # type: ignore[arg-type]
        sure = np.inf if zones.sure is None else zones.sure
        unsure = np.inf if zones.unsure is None else zones.unsure
        return np.where(p >= sure, 1.0, np.where(p >= unsure, 0.7, 0.0))

    return Judge(f"{judge.name}, {labels} labels, {rule.name}", scores, judge.simulated, judge.is_kept)
