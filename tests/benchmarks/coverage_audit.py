"""The intervals of an audit: precision, recall and prevalence.

A population of judged candidates whose truth is known, fixed within a cell of the grid; in each repetition another
sample of it is drawn and answered. "Part" answers six of ten items, chosen at random. Two people both answer; of what
is relevant and of what is not, each errs on some. Subsets differ in size, prevalence and how good the judges are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt
from tabulate import tabulate

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.people import consensus
from hf_relabel.builders.audit.report import Reporting
from hf_relabel.builders.audit.sample import AuditSample, Item
from hf_relabel.builders.audit.selection import sample_of
from hf_relabel.builders.audit.strata import CellKey, JudgedCandidate, StratumKey, allocated, cell_key
from hf_relabel.builders.judgements import Judgement, Label, Outcome
from hf_relabel.builders.rows import Passage, Row

FIGURES = ("precision", "recall", "prevalence")
PART = 0.6
ERRORS = {True: 0.05, False: 0.01}
"""How often a person of two errs, on what is relevant and on what is not."""
_POSITIVE = (Passage("p", "", "truth"),)
_OUTCOMES = {
    Label.BETTER: Outcome.FALSE_NEGATIVE,
    Label.WORSE: Outcome.DOUBTFUL,
    Label.IRRELEVANT: Outcome.NEGATIVE,
}
_LABELS = (Label.BETTER, Label.WORSE, Label.IRRELEVANT)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the grid."""

    subsets: int
    labels: int
    answered: float = 1.0
    people: int = 1


GRID = tuple(Cell(*each) for each in product((1, 7, 20), (100, 400, 1000), (1.0, PART), (1, 2)))
QUICK = (Cell(1, 100, PART), Cell(7, 400), Cell(20, 400, PART, 2))


class Population:
    """Judged candidates by stratum, and which of them are relevant: `more` times as many as usual."""

    def __init__(self, subsets: int, size: int = 12_000, seed: int = 0, more: float = 1.0) -> None:
        chance = np.random.default_rng(seed)
        self.strata: dict[StratumKey, list[JudgedCandidate]] = {}
        self.cells: Counter[CellKey] = Counter()
        self._census: AuditSample | None = None
        self._items: dict[StratumKey, list[Item]] = {}
        self.relevant: set[str] = set()
        shares = 1 / np.arange(1, subsets + 1)
        numbers = np.maximum(20, size * shares / shares.sum()).astype(int)
        for subset, number in enumerate(numbers):
            prevalence, precise = chance.uniform(0.03, 0.15), chance.uniform(0.6, 0.98)
            flagged = (precise, 0.7 * (1 - precise), 0.3 * (1 - precise))
            relevant = chance.random(number) < prevalence * more
            cheap = _said(chance, relevant, (0.6, 0.3, 0.1), (0.05, 0.1, 0.85))
            accurate = _said(chance, relevant, flagged, (0.04, 0.26, 0.7))
            for place in range(number):
                self._add(f"{subset}-{place}", f"s{subset}", bool(relevant[place]), cheap[place], accurate[place])

    def _add(self, name: str, subset: str, relevant: bool, cheap: Label, accurate: Label) -> None:
        """The accurate judge is asked about what the cheap one does not call irrelevant."""
        asked = cheap is not Label.IRRELEVANT
        row = Row(name, "query", _POSITIVE, (Passage(name, "", "text"),), subset)
        said = {"cheap": Judgement(cheap), "accurate": Judgement(accurate) if asked else None}
        outcome = _OUTCOMES[accurate if asked else cheap]
        candidate = JudgedCandidate(row, 0, outcome, said, "accurate" if asked else "cheap")
        key = cell_key(candidate)
        self.cells[key] += 1
        self.strata.setdefault(key.stratum, []).append(candidate)
        if relevant:
            self.relevant.add(name)

    def truth(self) -> dict[str, float]:
        """The figures that an audit estimates."""
        everything = [candidate for stratum in self.strata.values() for candidate in stratum]
        called = [each for each in everything if each.outcome is Outcome.FALSE_NEGATIVE]
        hits = sum(each.row.query_id in self.relevant for each in called)
        return {
            "precision": hits / len(called),
            "recall": hits / len(self.relevant),
            "prevalence": len(self.relevant) / len(everything),
        }

    def sample(self, size: int, chance: np.random.Generator) -> AuditSample:
        """Another one each time, of items that are made once."""
        if self._census is None:
            everything = [candidate for stratum in self.strata.values() for candidate in stratum]
            self._census = sample_of(self.cells, everything, seed=0, left_out={})
            for item in self._census.items:
                self._items.setdefault(StratumKey(item.outcome, item.settled_by), []).append(item)
        drawn = [
            self._items[key][place]
            for key, number in allocated(self.cells, size).items()
            for place in chance.choice(len(self._items[key]), number, replace=False)
        ]
        return replace(self._census, items=tuple(drawn))


def _said(
    chance: np.random.Generator,
    relevant: npt.NDArray[np.bool_],
    of_relevant: Sequence[float],
    of_other: Sequence[float],
) -> list[Label]:
    """A judge's labels, of what is relevant with one set of shares and of the rest with others."""
    ends = np.where(relevant[:, None], np.cumsum(of_relevant), np.cumsum(of_other))
    return [_LABELS[place] for place in (chance.random(len(relevant))[:, None] > ends[:, :2]).sum(axis=1)]


def answers(population: Population, sample: AuditSample, cell: Cell, chance: np.random.Generator) -> list[Answer]:
    """What people say of the sample."""
    given = []
    for item in sample.items:
        if chance.random() >= cell.answered:
            continue
        relevant = item.query_id in population.relevant
        for person in range(cell.people):
            errs = cell.people > 1 and chance.random() < ERRORS[relevant]
            given.append(Answer(item.id, f"person {person}", Label.BETTER if relevant != errs else Label.IRRELEVANT))
    return given


def covered(cell: Cell, repetitions: int, size: int = 12_000, seed: int = 0) -> dict[str, dict[str, float]]:
    """How often each interval holds the truth of `size` candidates (`held`), and how wide it is on average."""
    population = Population(cell.subsets, size)
    truth = population.truth()
    chance = np.random.default_rng(seed)
    held: Counter[str] = Counter()
    width: Counter[str] = Counter()
    for _ in range(repetitions):
        sample = population.sample(cell.labels, chance)
        found = Reporting(sample, *consensus(answers(population, sample, cell, chance)), seed=0)
        verdict = found.verdict()
        for name, estimate in zip(FIGURES, (verdict.precision, verdict.recall, found.prevalence()), strict=True):
            assert estimate.low is not None
            assert estimate.high is not None
            held[name] += estimate.low <= truth[name] <= estimate.high
            width[name] += estimate.high - estimate.low
    return {name: {"held": held[name] / repetitions, "width": width[name] / repetitions} for name in FIGURES}


def shown(held: float, width: float) -> str:
    return f"{held:.3f} ({width:.3f})"


def report(quick: bool) -> Iterator[str]:
    """The lines of the table."""
    lines = []
    for cell in QUICK if quick else GRID:
        found = covered(cell, 100 if quick else 500)
        figures = [shown(found[name]["held"], found[name]["width"]) for name in FIGURES]
        lines.append([cell.subsets, cell.labels, f"{cell.answered:.0%}", cell.people, *figures])
    yield "How often the 95 % interval holds the truth (and how wide it is on average):"
    yield ""
    yield tabulate(lines, ["subsets", "labels", "answered", "people", *FIGURES], tablefmt="github")
