"""Strata and cells of judged candidates, and how many are drawn from each stratum.

A stratum holds the candidates with one verdict on which one stage had the last word: few strata, so that each has
answers enough to say something of it. A cell holds those of a stratum that are of one subset and have the same label
from every judge; nothing is drawn by cells, but their sizes are known, so each judge's and each subset's figures can be
of all candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from hf_relabel.builders.judgements import Judgement, Outcome
from hf_relabel.builders.rows import Row

AUDITED = (Outcome.FALSE_NEGATIVE, Outcome.DOUBTFUL, Outcome.NEGATIVE)


class StratumKey(NamedTuple):
    """The verdict, and the stage that had the last word."""

    outcome: Outcome
    settled_by: str


class CellKey(NamedTuple):
    """A stratum, a subset, and each judge's label by its name."""

    stratum: StratumKey
    subset: str
    labels: tuple[tuple[str, str | None], ...]


class Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class JudgedCandidate:
    """A candidate with its verdict and everything that was said of it.

    Attributes:
        position: 0-based in `row.negative_passages`.
        judges: by name, what each judge said; None where it was not asked.
        settled_by: the stage that had the last word.
        signal: see hf_relabel.builders.cascade.zones.
        number: of the row in its source.
    """

    row: Row
    position: int
    outcome: Outcome
    judges: Mapping[str, Judgement | None]
    settled_by: str = ""
    signal: float | None = None
    number: int = 0


class Stratum(Stored):
    """How many candidates have this verdict by this stage, and how many were drawn."""

    outcome: Outcome
    settled_by: str
    size: int = Field(ge=1)
    drawn: int = Field(ge=0)


class Cell(Stored):
    """How many candidates of a stratum (index into `AuditSample.strata`) are of one subset and have these labels."""

    stratum: int = Field(ge=0)
    subset: str
    labels: dict[str, str | None]
    size: int = Field(ge=1)


def is_audited(candidate: JudgedCandidate) -> bool:
    """Whether judges had the word on it, all that were asked with an answer."""
    said = [judgement for judgement in candidate.judges.values() if judgement is not None]
    return candidate.outcome in AUDITED and bool(said) and all(judgement.label.is_answer for judgement in said)


def cell_key(candidate: JudgedCandidate) -> CellKey:
    labels = tuple(
        (name, None if judgement is None else str(judgement.label)) for name, judgement in candidate.judges.items()
    )
    return CellKey(StratumKey(candidate.outcome, candidate.settled_by), candidate.row.subset, labels)


def stratum_sizes(cells: Mapping[CellKey, int]) -> Counter[StratumKey]:
    sizes: Counter[StratumKey] = Counter()
    for key, size in cells.items():
        sizes[key.stratum] += size
    return sizes


def allocated(cells: Mapping[CellKey, int], size: int) -> dict[StratumKey, int]:
    """How many to draw from each stratum: at most its size, together `size` or all there are.

    A third to each verdict; within one in proportion to the square root of the stratum's size, between equal numbers
    (which compare the stages best) and proportional ones (which measure the whole best).
    """
    sizes = dict(sorted(stratum_sizes(cells).items()))
    totals: Counter[Outcome] = Counter()
    for key, number in sizes.items():
        totals[key.outcome] += number
    budgets = _filled(dict.fromkeys(totals, 1), totals, size)
    taken: dict[StratumKey, int] = {}
    for outcome, budget in budgets.items():
        inside = {key: number for key, number in sizes.items() if key.outcome is outcome}
        taken |= _filled({key: number**0.5 for key, number in inside.items()}, inside, budget)
    return taken


def _filled(shares: Mapping[Any, float], room: Mapping[Any, int], amount: int) -> dict[Any, int]:
    """`amount` split in proportion to `shares`, none more than its room; what does not fit goes to the others."""
    given = dict.fromkeys(shares, 0)
    left = min(amount, sum(room.values()))
    while left:
        open_ = [key for key in shares if given[key] < room[key]]
        whole = sum(shares[key] for key in open_)
        wanted = {key: left * shares[key] / whole for key in open_}
        added = {key: min(int(wanted[key]), room[key] - given[key]) for key in open_}
        if not any(added.values()):  # less than one each: the largest shares first
            for key in sorted(open_, key=lambda key: (-wanted[key], repr(key)))[:left]:
                added[key] = 1
        for key, number in added.items():
            given[key] += number
        left -= sum(added.values())
    return given
