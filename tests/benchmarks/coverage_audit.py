"""The intervals of an audit: precision, recall and prevalence.

A population of judged candidates whose truth is known, fixed within a cell of the grid; in each repetition another
sample of it is drawn and answered. "Part" answers six of ten items, chosen at random. Two people both answer; of what
is relevant and of what is not, each errs on some. Subsets differ in size, prevalence and how good the judges are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from tabulate import tabulate

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.report import AuditReport, audit_report
from hf_relabel.builders.audit.sample import AuditSample, sample_of
from hf_relabel.builders.audit.strata import JudgedCandidate, StratumKey, stratum_key
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
    """Judged candidates by stratum, and which of them are relevant."""

    def __init__(self, subsets: int, size: int = 12_000, seed: int = 0) -> None:
        chance = np.random.default_rng(seed)
        self.strata: dict[StratumKey, list[JudgedCandidate]] = {}
        self.relevant: set[str] = set()
        shares = 1 / np.arange(1, subsets + 1)
        numbers = np.maximum(20, size * shares / shares.sum()).astype(int)
        for subset, number in enumerate(numbers):
            prevalence, precise = chance.uniform(0.03, 0.15), chance.uniform(0.6, 0.98)
            for place, relevant in enumerate(chance.random(number) < prevalence):
                self._add(f"{subset}-{place}", f"s{subset}", bool(relevant), precise, chance)

    def _add(self, name: str, subset: str, relevant: bool, precise: float, chance: np.random.Generator) -> None:
        cheap = _said(chance, [0.6, 0.3, 0.1] if relevant else [0.05, 0.1, 0.85])
        flagged = [precise, 0.7 * (1 - precise), 0.3 * (1 - precise)]
        accurate = None if cheap is Label.IRRELEVANT else _said(chance, flagged if relevant else [0.04, 0.26, 0.7])
        last = accurate or cheap
        row = Row(name, "query", _POSITIVE, (Passage(name, "", "text"),), subset)
        said = {"cheap": Judgement(cheap), "accurate": None if accurate is None else Judgement(accurate)}
        candidate = JudgedCandidate(row, 0, _OUTCOMES[last], said, "accurate" if accurate else "cheap")
        self.strata.setdefault(stratum_key(candidate, by_subset=True), []).append(candidate)
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
        """Another one each time."""

        def drawn(key: StratumKey, number: int) -> list[JudgedCandidate]:
            stratum = self.strata[key]
            return [stratum[place] for place in chance.choice(len(stratum), number, replace=False)]

        sizes = {key: len(stratum) for key, stratum in self.strata.items()}
        return sample_of(sizes, drawn, size, seed=0, left_out={})


def _said(chance: np.random.Generator, shares: Sequence[float]) -> Label:
    return _LABELS[int(chance.choice(3, p=shares))]


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


def covered(cell: Cell, repetitions: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """How often each interval holds the truth (`held`), and how wide it is on average (`width`)."""
    population = Population(cell.subsets)
    truth = population.truth()
    chance = np.random.default_rng(seed)
    held: Counter[str] = Counter()
    width: Counter[str] = Counter()
    for _ in range(repetitions):
        sample = population.sample(cell.labels, chance)
        report = audit_report(sample, answers(population, sample, cell, chance))
        for name in FIGURES:
            found = _estimate(report, name)
            held[name] += found.low <= truth[name] <= found.high
            width[name] += found.high - found.low
    return {name: {"held": held[name] / repetitions, "width": width[name] / repetitions} for name in FIGURES}


def _estimate(report: AuditReport, name: str) -> Any:
    return report.prevalence if name == "prevalence" else getattr(report.verdict, name)


def report(quick: bool) -> Iterator[str]:
    """The lines of the table."""
    lines = []
    for cell in QUICK if quick else GRID:
        found = covered(cell, 100 if quick else 500)
        figures = [f"{found[name]['held']:.3f} ({found[name]['width']:.2f})" for name in FIGURES]
        lines.append([cell.subsets, cell.labels, f"{cell.answered:.0%}", cell.people, *figures])
    yield "How often the 95 % interval holds the truth (and how wide it is on average):"
    yield ""
    yield tabulate(lines, ["subsets", "labels", "answered", "people", *FIGURES], tablefmt="github")
