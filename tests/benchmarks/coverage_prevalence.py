"""The share that is relevant: by the sample of an audit, by PPI++, by the errors of an earlier audit; and differences.

PPI++ (Angelopoulos et al., 2023) takes a simple random sample and the verdicts on everything: the mean of the labels
less lambda times what the verdict's mean in the sample is off, with a normal interval. Differences take two audits of
sets with the same judges, of which the second has half as many relevant candidates again. By the errors of an earlier
audit the share is of a release that nobody answered for: another set by the same judges, drawn anew each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from tabulate import tabulate

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.drift import drift
from hf_relabel.builders.audit.expected import corrected
from hf_relabel.builders.audit.figures import Estimate
from hf_relabel.builders.audit.people import consensus
from hf_relabel.builders.audit.report import Reporting
from hf_relabel.builders.judgements import Outcome
from tests.benchmarks.coverage_audit import Cell, Population, answers, covered, shown

SIZES = (100, 400, 1000)
RELEASES = (300, 2_000, 12_000)


def plus_plus(population: Population, labels: int, repetitions: int, seed: int = 0) -> tuple[float, float]:
    """How often the interval of PPI++ holds the prevalence, and how wide it is on average."""
    everything = [candidate for stratum in population.strata.values() for candidate in stratum]
    called = np.array([each.outcome is Outcome.FALSE_NEGATIVE for each in everything], dtype=float)
    truth = np.array([each.row.query_id in population.relevant for each in everything], dtype=float)
    chance = np.random.default_rng(seed)
    held, widths = 0, []
    for _ in range(repetitions):
        drawn = chance.choice(len(truth), labels, replace=False)
        y, f = truth[drawn], called[drawn]
        ratio = labels / len(truth)
        power = float(np.cov(y, f)[0, 1] / ((1 + ratio) * called.var()))
        value = y.mean() - power * (f.mean() - called.mean())
        half = 1.96 * np.sqrt((y - power * f).var(ddof=1) / labels + power**2 * called.var() / len(truth))
        held += abs(value - truth.mean()) <= half
        widths.append(2 * half)
    return held / repetitions, float(np.mean(widths))


def drifted(cell: Cell, repetitions: int, size: int = 12_000, seed: int = 0) -> dict[str, float]:
    """How often the intervals of differences hold the true ones, and the corrected share the share of now."""
    populations = Population(cell.subsets, size), Population(cell.subsets, size, more=1.5)
    (then, now), chance = (population.truth() for population in populations), np.random.default_rng(seed)
    held: Counter[str] = Counter()
    for _ in range(repetitions):
        found = drift(*(_audited(population, cell, chance) for population in populations))
        for change in found.changes:
            name = {"share relevant": "prevalence"}.get(change.name, change.name)
            if name in then:
                held[name] += _holds(change.difference, now[name] - then[name])
        held["corrected"] += _holds(found.expected, now["prevalence"])
    return {name: number / repetitions for name, number in held.items()}


def unanswered(
    cell: Cell, size: int, more: float, repetitions: int, seed: int = 0, audited: int = 12_000
) -> tuple[float, float]:
    """How often the interval holds the share relevant of a release of `size` candidates, and how wide it is on average.

    Args:
        cell: of the audit of another set of `audited` candidates, with which the release has the judges' errors in
            common.
        more: how many times as much of the release is relevant.
    """
    population, chance = Population(cell.subsets, audited), np.random.default_rng(seed)
    truth, everything = population.truth(), [each for stratum in population.strata.values() for each in stratum]
    called = sum(each.outcome is Outcome.FALSE_NEGATIVE for each in everything)
    relevant = len(population.relevant)
    alarms = (called - truth["recall"] * relevant) / (len(everything) - relevant)
    held, widths = 0, []
    for _ in range(repetitions):
        number = chance.binomial(size, truth["prevalence"] * more)
        better = int(chance.binomial(number, truth["recall"]) + chance.binomial(size - number, alarms))
        verdict = _audited(population, cell, chance)["verdict"]
        found = corrected(better, size, *(Estimate(**verdict[name]) for name in ("recall", "false_alarms")))
        held += _holds(found, number / size)
        widths.append(1.0 if found.low is None or found.high is None else found.high - found.low)
    return held / repetitions, float(np.mean(widths))


def _audited(population: Population, cell: Cell, chance: np.random.Generator) -> dict[str, Any]:
    sample = population.sample(cell.labels, chance)
    given: list[Answer] = answers(population, sample, cell, chance)
    found = Reporting(sample, *consensus(given), seed=0)
    return {"verdict": found.verdict().to_dict(), "prevalence": found.prevalence().to_dict()}


def _holds(estimate: Estimate, value: float) -> bool:
    """A share that cannot be given leaves nothing out."""
    return estimate.low is None or estimate.high is None or estimate.low <= value <= estimate.high


def report(quick: bool) -> Iterator[str]:
    """The lines of the tables."""
    repetitions = 60 if quick else 500
    sizes = SIZES[:2] if quick else SIZES
    population, lines = Population(1), []
    for labels in sizes:
        ours = covered(Cell(1, labels), repetitions)["prevalence"]
        lines.append([labels, shown(ours["held"], ours["width"]), shown(*plus_plus(population, labels, repetitions))])
    yield "How often the 95 % interval of the prevalence holds it (and how wide it is on average), one subset:"
    yield ""
    yield tabulate(lines, ["labels", "audit", "PPI++"], tablefmt="github")
    yield ""
    names = ("precision", "recall", "prevalence", "corrected")
    lines = []
    for labels in sizes:
        found = drifted(Cell(7, labels), repetitions)
        lines.append([labels, *(f"{found[name]:.3f}" for name in names)])
    yield "How often intervals of differences between two audits hold them, 7 subsets, and that of Rogan and Gladen:"
    yield ""
    yield tabulate(lines, ["labels", *names], tablefmt="github")
    yield ""
    kinds = [(number, more) for number in RELEASES for more in (0.5, 1.5)]
    lines = [
        [labels, *(shown(*unanswered(Cell(7, labels), number, more, repetitions)) for number, more in kinds)]
        for labels in sizes
    ]
    yield "How often the interval of the share relevant of a release that nobody answered for holds it (and how wide"
    yield "it is), by the audit of another with 12,000 candidates, 7 subsets; candidates, times as many relevant:"
    yield ""
    yield tabulate(lines, ["labels", *(f"{number:,}, {more}" for number, more in kinds)], tablefmt="github")
