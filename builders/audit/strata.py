"""Strata of judged candidates, and how many are drawn from each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hf_relabel.builders.judgements import Judgement, Outcome
from hf_relabel.builders.rows import Row

AUDITED = (Outcome.FALSE_NEGATIVE, Outcome.DOUBTFUL, Outcome.NEGATIVE)
LEAST_PER_STRATUM = 2
StratumKey = tuple[str, Outcome, str, tuple[tuple[str, str | None], ...]]
"""Subset, verdict, the stage that had the last word, and each judge's label by its name."""


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
    """

    row: Row
    position: int
    outcome: Outcome
    judges: Mapping[str, Judgement | None]
    settled_by: str = ""
    signal: float | None = None


class Stratum(Stored):
    """Candidates of one subset with the same verdict and labels: how many there are, and how many were drawn."""

    subset: str
    outcome: Outcome
    settled_by: str
    labels: dict[str, str | None]
    size: int = Field(ge=1)
    drawn: int = Field(ge=0)


def is_audited(candidate: JudgedCandidate) -> bool:
    """Whether judges had the word on it, all that were asked with an answer."""
    said = [judgement for judgement in candidate.judges.values() if judgement is not None]
    return candidate.outcome in AUDITED and bool(said) and all(judgement.label.is_answer for judgement in said)


def stratum_key(candidate: JudgedCandidate, by_subset: bool) -> StratumKey:
    labels = tuple(
        (name, None if judgement is None else str(judgement.label)) for name, judgement in candidate.judges.items()
    )
    return candidate.row.subset if by_subset else "", candidate.outcome, candidate.settled_by, labels


def allocate(
    sizes: Mapping[StratumKey, int], outcomes: Mapping[StratumKey, Outcome], size: int
) -> dict[StratumKey, int]:
    """How many to draw from each stratum: at most its size, together `size` or all there are."""
    by_outcome: dict[Outcome, list[StratumKey]] = {}
    for key, outcome in outcomes.items():
        by_outcome.setdefault(outcome, []).append(key)
    totals = {outcome: sum(sizes[key] for key in keys) for outcome, keys in by_outcome.items()}
    budgets = _filled(dict.fromkeys(by_outcome, 1), totals, size)
    taken: dict[StratumKey, int] = {}
    for outcome, keys in by_outcome.items():
        budget = budgets[outcome]
        least: dict[StratumKey, int] = {}
        for key in sorted(keys, key=lambda key: (-sizes[key], repr(key))):
            least[key] = min(LEAST_PER_STRATUM, sizes[key], budget - sum(least.values()))
        rest = {key: sizes[key] - least[key] for key in keys}
        more = _filled({key: sizes[key] for key in keys}, rest, budget - sum(least.values()))
        taken |= {key: least[key] + more[key] for key in keys}
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


def stratum_of(key: StratumKey, size: int, drawn: int) -> Stratum:
    subset, outcome, settled_by, labels = key
    return Stratum(subset=subset, outcome=outcome, settled_by=settled_by, labels=dict(labels), size=size, drawn=drawn)
