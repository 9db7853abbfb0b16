"""Verdicts by calibrated thresholds instead of the judges' own labels.

The last word on a candidate becomes a number in [0, 1], its signal, and an audit says from which signal on candidates
are false negatives with the wanted precision (sure: relabelled), and below which they are left alone (clear). Between
the two they are doubtful: `relabel-filter` drops them, the other techniques keep them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from hf_relabel.builders.cascade.combining import level
from hf_relabel.builders.cascade.rules import RELEVANT
from hf_relabel.builders.judgements import Outcome, Verdict

Zone = Literal["sure", "unsure", "clear"]
CALIBRATED = "calibrated"

_OUTCOMES: dict[Zone, Outcome] = {
    "sure": Outcome.FALSE_NEGATIVE,
    "unsure": Outcome.DOUBTFUL,
    "clear": Outcome.NEGATIVE,
}


def signal(verdict: Verdict) -> float | None:
    """The last word on a candidate as a number in [0, 1]; None where there is none.

    It is the score of the stage that had the last word, or 0, .5 and 1 for its labels where it gives no score. Of a
    cascade, what came to a later stage lies above what nobody doubted before: each stage has its own share of the
    range. What an earlier stage calls relevant and nobody else was asked about (it `accepts` that) lies where the last
    stage would have put it: it is as sure, if of another judge.
    """
    if verdict.reason not in ("judged", CALIBRATED):
        return None
    said = [(number, judgement) for number, judgement in enumerate(verdict.stages) if judgement is not None]
    if not said or not said[-1][1].label.is_answer:
        return None
    (number, judgement), stages = said[-1], len(verdict.stages)
    share = stages - 1 if judgement.label in RELEVANT else number
    return round((share + level(judgement)) / stages, 9)


def zoned(verdicts: Sequence[Verdict], zone: Callable[[float], Zone]) -> list[Verdict]:
    """The verdicts as the zones have them. What no judge had the last word on stays as it is."""
    found = []
    for verdict in verdicts:
        value = signal(verdict)
        outcome = verdict.outcome if value is None else _OUTCOMES[zone(value)]
        found.append(verdict if value is None else replace(verdict, outcome=outcome, reason=CALIBRATED))
    return found
