"""The three zones of a build by thresholds, in a line each: for cards, README files and the Space."""

from __future__ import annotations

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
    return f"{100 * share:g} %"


def _relabelled(zones: Mapping[str, Any], labels: int, count: int) -> str:
    backed = f"{labels:,} audited labels, {_percent(zones['confidence'])} confidence"
    if zones["sure"] is None:
        return f"Relabelled: none. No score is backed to have a precision of {_percent(zones['wanted'])} ({backed})."
    return (
        f"Relabelled: {count:,} candidates with a score from {zones['sure']:.4f} on. At least"
        f" {_percent(zones['wanted'])} of such are false negatives ({backed})."
    )


def _dropped(zones: Mapping[str, Any], count: int) -> str:
    if zones["unsure"] == zones["sure"]:
        return "Dropped: none, as the two thresholds are one."
    below = "" if zones["sure"] is None else " and below that"
    return (
        f"Dropped from the negatives: {count:,} with a score from {zones['unsure']:.4f} on{below}. One that is false"
        " misleads as a negative, one that is true is hardly missed: to drop them needs no precise judge."
    )


def _kept(zones: Mapping[str, Any], count: int) -> str:
    below = _percent(round(1 - zones["kept"], 2))
    return f"Kept as negatives: {count:,}, with about {below} of the false negatives among them."
