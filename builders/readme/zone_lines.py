"""The three zones of a build by thresholds, in a line each: for cards, README files and the Space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hf_relabel.builders.judgements import Outcome

_REASON = "calibrated"
"""Of the verdicts that thresholds decided."""


def zone_lines(evidence: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """What is relabelled, what is dropped and what is kept, and what backs it, as plain text.

    Args:
        evidence: of the thresholds, as `Calibration.to_dict` gives it.
        manifest: of the build, for its counts.
    """
    zones = evidence["zones"]
    return [
        _relabelled(zones, evidence["labels"], _count(manifest, Outcome.FALSE_NEGATIVE)),
        _dropped(zones, _count(manifest, Outcome.DOUBTFUL)),
        _kept(zones, _count(manifest, Outcome.NEGATIVE)),
    ]


def _count(manifest: Mapping[str, Any], outcome: Outcome) -> int:
    """The candidates of a zone."""
    return int(manifest["verdicts"]["total"]["outcomes"].get(outcome, {}).get(_REASON, 0))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _relabelled(zones: Mapping[str, Any], labels: int, count: int) -> str:
    backed = f"{labels:,} audited labels, {_percent(zones['confidence'])} confidence"
    at = zones.get("at")
    if zones["sure"] is None and at is not None:
        return f"Relabelled: none. No score stands for a calibrated probability of {at:g}."
    if zones["sure"] is None:
        each = f", and of each candidate a calibrated probability of {zones['least']:g}" if zones.get("least") else ""
        return (
            f"Relabelled: none. No score is backed to have a precision of {_percent(zones['wanted'])} ({backed}){each}."
        )
    begin = f"Relabelled: {count:,} candidates with a score from {zones['sure']:.4f} on"
    if at is not None:
        begin += f", which stands for a calibrated probability of {at:g}."
    else:
        begin += f", each with a calibrated probability of {zones['least']:g} or more." if zones.get("least") else "."
    if not zones["wanted"]:
        return f"{begin} How precise that is the labels were not asked."
    return f"{begin} At least {_percent(zones['wanted'])} of such are false negatives ({backed})."


def _dropped(zones: Mapping[str, Any], count: int) -> str:
    if zones["unsure"] is None:
        return "Dropped from the negatives: none, as no score stands for a calibrated probability of .5."
    if zones["unsure"] == zones["sure"]:
        return "Dropped from the negatives: none, as the two thresholds are one."
    below = "" if zones["sure"] is None else " and below that"
    return (
        f"Dropped from the negatives: {count:,} with a score from {zones['unsure']:.4f} on{below}. One that is false"
        " misleads as a negative, one that is true is hardly missed: to drop them needs no precise judge."
    )


def _kept(zones: Mapping[str, Any], count: int) -> str:
    left, backed = zones.get("left"), zones.get("backed")
    among = f"{_percent(round(1 - zones['kept'], 2))} of the false negatives of the audit"
    if left is not None:
        # Rounded upwards: at most so many.
        number = f"{round(left['value'] * count):,} (at most {math.ceil(left['high'] * count):,})"
        among = f"an estimated {number} false negatives"
    promise = "" if not backed else f" {_percent(math.floor(100 * backed) / 100)} or more of all lie in the zones above"
    known = f".{promise} ({_percent(zones['confidence'])} confidence)." if promise else "."
    return f"Kept as negatives: {count:,}, with {among} among them{known}"
