"""Thresholds fitted on the answers to an audit: does what they relabel have the precision that was wanted?

A population of judged candidates with scores, of which an audit draws as many of each verdict. Not all items are
answered, and of some verdicts fewer than of others. In each repetition another sample is drawn, thresholds are fitted,
and the precision of the sure zone in the whole population is held against the wanted one. Thresholds that relabel
nothing hold it too, and are counted apart.

The same for what is promised of the lower threshold (the share of all false negatives that is not kept as negatives,
the share of false negatives among what is) by either rule, and of the places where the sure zone could begin instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import get_args

import numpy as np
from tabulate import tabulate

from hf_relabel.builders.audit.draw import LIKELY, SURE
from hf_relabel.builders.cascade.calibration import Calibration, Drop, Method
from hf_relabel.builders.cascade.fitting import LabelledScore, fit

ANSWERED = (0.95, 0.5, 0.8)
"""Share of the items that is answered: of those drawn from the false negatives, the doubtful and the negatives."""
SIZE = 20_000
JUDGES = ("good", "too sure", "useless")


@dataclass(frozen=True, slots=True)
class Population:
    """Scores, truth, and verdicts (0 to 2: false negative, doubtful, negative) that follow the scores loosely."""

    scores: np.ndarray
    truth: np.ndarray
    verdicts: np.ndarray


@cache
def population(judge: str, wanted: float) -> Population:
    """A good judge's precision reaches 1 at its highest scores; one that is too sure never gets to the wanted
    precision, if nearly; the scores of a useless one say nothing, and precision is nearly the wanted one everywhere."""
    chance = np.random.default_rng(0)
    scores = chance.beta(0.7, 1.6, SIZE).round(3)
    share = 1 / (1 + np.exp(-12 * (scores - 0.55)))
    shares = {
        "good": share,
        "too sure": np.minimum(share, wanted - 0.02),
        "useless": np.full(SIZE, wanted - 0.02),
    }
    noisy = scores + chance.normal(0, 0.12, SIZE)
    verdicts = np.select([noisy > 0.75, noisy > 0.45], [0, 1], 2)
    return Population(scores, chance.random(SIZE) < shares[judge], verdicts)


def audited(found: Population, labels: int, chance: np.random.Generator) -> list[LabelledScore]:
    """The answers to an audit that drew as many as give about so many labels."""
    items = []
    for verdict, share in enumerate(ANSWERED):
        stratum = np.flatnonzero(found.verdicts == verdict)
        drawn = chance.choice(stratum, min(len(stratum), round(labels / sum(ANSWERED))), replace=False)
        answered = drawn[chance.random(len(drawn)) < share]
        weight = len(stratum) / max(len(answered), 1)
        items += [LabelledScore(float(found.scores[each]), bool(found.truth[each]), weight) for each in answered]
    return items


def precision(found: Population, calibration: Calibration) -> float | None:
    """Of the sure zone in the whole population; None where there is none."""
    sure = calibration.zones.sure
    return None if sure is None else float(found.truth[found.scores >= sure].mean())


def held(
    judge: str, labels: int, wanted: float, repetitions: int, seed: int = 0, probability: float | None = None
) -> tuple[float, float, float]:
    """How often the wanted precision is held, how often anything is sure, and what share of the false negatives is."""
    found, chance = population(judge, wanted), np.random.default_rng(seed)
    precisions, recalls = [], []
    for _ in range(repetitions):
        fitted = fit(audited(found, labels, chance), precision=wanted, probability=probability, method="platt")
        if (reached := precision(found, fitted)) is not None:
            precisions.append(reached)
            sure = found.truth[found.scores >= (fitted.zones.sure or 0)].sum()
            recalls.append(float(sure / found.truth.sum()))
    missed = sum(each < wanted for each in precisions)
    return 1 - missed / repetitions, len(precisions) / repetitions, float(np.mean(recalls)) if recalls else 0.0


@dataclass(frozen=True, slots=True)
class Below:
    """What is promised of the lower threshold, over many audits.

    Attributes:
        reached: mean share of all false negatives that is not kept.
        backed: mean of what is promised of it.
        held: how often it is that or more.
        left_held: how often the share among what is kept lies at or below its upper bound.
        levels_held: how often the precision of all places for the sure zone is at least their lower bound.
        dropped: mean share of all candidates that is dropped.
    """

    reached: float
    backed: float
    held: float
    left_held: float
    levels_held: float
    dropped: float


def below(judge: str, labels: int, drop: Drop, repetitions: int, *, method: Method = "platt", seed: int = 0) -> Below:
    """Draw audits, fit, and hold the promises against the whole population."""
    found, chance = population(judge, 0.9), np.random.default_rng(seed)
    seen = []
    for _ in range(repetitions):
        fitted = fit(audited(found, labels, chance), drop=drop, method=method)
        zones = fitted.zones
        sure, unsure = (2.0 if each is None else each for each in (zones.sure, zones.unsure))
        clear = found.scores < unsure
        reached = 1 - found.truth[clear].sum() / found.truth.sum()
        left = found.truth[clear].mean() if clear.any() else 0.0
        levels = all(
            found.truth[found.scores >= level.score].mean() >= level.precision.low
            for level in fitted.levels
            if level.score is not None and level.precision is not None
        )
        backed = zones.backed or 0.0
        holds = zones.left is None or left <= zones.left.high
        dropped = ((found.scores < sure) & ~clear).mean()
        seen.append((reached, backed, reached >= backed, holds, levels, dropped))
    return Below(*(float(column) for column in np.mean(np.array(seen, dtype=np.float64), axis=0)))


def report(quick: bool) -> Iterator[str]:
    """The lines of the tables."""
    yield from _sure_zone(quick)
    yield ""
    yield "The lower threshold (confidence .95): share of all false negatives that is not kept, what is promised of it,"
    yield "how often that holds, and the bounds of the share among what is kept, and of the precision from p on:"
    yield ""
    grid = product(JUDGES, get_args(Drop), (400,) if quick else (100, 400, 1000))
    lines: list[list[object]] = []
    for judge, drop, labels in grid:
        one = below(judge, labels, drop, 60 if quick else 300, method="isotonic" if labels >= 500 else "platt")
        shares = (one.reached, one.backed, one.dropped)
        holds = (one.held, one.left_held, one.levels_held)
        lines.append([judge, drop, labels, *(f"{each:.2f}" for each in shares), *(f"{each:.3f}" for each in holds)])
    header = ["judge", "rule", "labels", "not kept", "promised", "dropped", "held", "left held", "levels held"]
    yield tabulate(lines, header, tablefmt="github")


def _sure_zone(quick: bool) -> Iterator[str]:
    """By a precision alone, and by the pairs that are the defaults."""
    pairs = [(wanted.precision, wanted.probability) for wanted in (SURE, LIKELY)]
    alone = [(wanted, None) for wanted in ((0.9,) if quick else (0.8, 0.9, 0.95))]
    lines = []
    for judge, labels, (wanted, probability) in product(
        JUDGES, (400,) if quick else (100, 400, 1000), [*alone, *pairs]
    ):
        kept, any_sure, recall = held(judge, labels, wanted, 60 if quick else 300, probability=probability)
        shown = "" if probability is None else f"{probability:g}"
        lines.append([judge, labels, f"{wanted:.2g}", shown, f"{kept:.3f}", f"{any_sure:.2f}", f"{recall:.2f}"])
    yield "How often the sure zone has the wanted precision in the whole set (confidence .95), and what it finds:"
    yield ""
    header = ["judge", "labels", "wanted", "from p", "held", "any sure", "recall then"]
    yield tabulate(lines, header, tablefmt="github", disable_numparse=True)
