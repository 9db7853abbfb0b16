"""The share that is relevant, of what judges call better and the errors that an earlier audit found in them.

Rogan and Gladen (1978): of the share called better q, with recall r and false alarms f (the share called better of what
is not relevant), (q - f) / (r - f) is relevant. It needs no answers of people to the release itself, and it holds as
far as the judges err there as they did. The interval is Zou and Donner's (2008), from the intervals of the three: those
of r and f are the audit's, that of q is Clopper and Pearson's exact one, since of few candidates more or fewer than
usual are caught by chance. `python -m tests.benchmarks.bench_coverage --only coverage_prevalence` shows how often it
holds the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.audit.figures import DIGITS, Estimate
from hf_relabel.builders.audit.sample import AuditSample
from hf_relabel.builders.audit.strata import AUDITED
from hf_relabel.builders.cascade.same_judges import check_same_judges, tell_unknown
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Outcome
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.shown import Shown

UNKNOWN = Estimate(None, None, None)


@dataclass(frozen=True, slots=True)
class Called:
    """What judges said of a release.

    Attributes:
        name: as messages name it.
        candidates: on which judges had the word; `positives` of them are called better.
        calibrated: whether thresholds of an audit decided, and not the judges' labels.
        stages: of its run, as the run records them; None where that is not known.
    """

    name: str
    candidates: int
    positives: int
    calibrated: bool
    stages: Sequence[Mapping[str, Any]] | None

    @classmethod
    def of_sample(cls, name: str, sample: AuditSample) -> Called:
        """Of the release that a sample was drawn from."""
        sizes = [(stratum.outcome is Outcome.FALSE_NEGATIVE, stratum.size) for stratum in sample.strata]
        positives = sum(size for is_better, size in sizes if is_better)
        return cls(name, sum(size for _, size in sizes), positives, sample.calibrated, sample.stages)

    @classmethod
    def of_release(cls, name: str, manifest: Mapping[str, Any]) -> Called:
        """Of a release, by its manifest."""
        found = manifest["verdicts"]["total"]["outcomes"]
        counts = {outcome: sum(found.get(str(outcome), {}).values()) for outcome in AUDITED}
        evidence = manifest.get("evidence") or {}
        stages = (manifest.get("run") or {}).get("stages")
        return cls(name, sum(counts.values()), counts[Outcome.FALSE_NEGATIVE], "zones" in evidence, stages)


@dataclass(frozen=True, slots=True, repr=False)
class Expected(Shown):
    """The share relevant of a release that nobody answered for. See the module's text."""

    called: Called
    share: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        counts = {"candidates": self.called.candidates, "positives": self.called.positives}
        return {**counts, "expected": self.share.to_dict()}

    def to_text(self) -> str:
        """A few lines."""
        called = self.called
        return (
            f"{called.positives:,} of {called.candidates:,} candidates of {called.name} are called better.\n"
            f"With the errors that the earlier audit found, that means a share relevant\nof {self.share} (Rogan and"
            " Gladen), if the judges err here as they did there.\nNobody has answered for this release: answers to a"
            " sample of it would tell."
        )


@needs("audit", "An audit")
def expected_share(earlier: Mapping[str, Any], called: Called) -> Expected:
    """The share relevant of a release that nobody answered for, by the audit of another.

    Example:
            earlier = earlier_audit("v1")
            print(expected_share(earlier, Called.of_release("v2", read_manifest(Path("v2")))))

    Args:
        earlier: as `earlier_audit` gives it.

    Raises:
        ConfigError: it cannot be said: other judges, thresholds on one side only, nothing judged, or by that audit the
            judges may call what is not relevant better as often as what is.
    """
    check_comparable(earlier, called)
    verdict = earlier["verdict"]
    recall, alarms = (Estimate(**verdict[name]) for name in ("recall", "false_alarms"))
    found = corrected(called.positives, called.candidates, recall, alarms)
    if found == UNKNOWN:
        raise ConfigError(
            f"The share relevant of {called.name} cannot be told from the earlier audit: by that the judges call better"
            f" {recall} of what is relevant and {alarms} of what is not, which may be as much. Let people answer for a"
            " sample of this release, or for more of the earlier one."
        )
    return Expected(called, found)


def check_comparable(earlier: Mapping[str, Any], called: Called) -> None:
    """Whether the errors of an audit are those of the verdicts of a release, as far as both say. Warns where not.

    Raises:
        ConfigError: they are not, or there are no verdicts.
    """
    if not called.candidates:
        raise ConfigError(f"No candidate of {called.name} has a verdict of a judge. Judge first.")
    if bool(earlier.get("calibrated")) != called.calibrated:
        sides = ("the thresholds of a calibration", "the judges' labels")
        then, now = sides if earlier.get("calibrated") else sides[::-1]
        raise ConfigError(
            f"The earlier audit is of verdicts by {then}, while those of {called.name} are by {now}: the errors of one"
            " say nothing of the other. Give an audit of verdicts of the same kind."
        )
    known = check_same_judges(
        earlier.get("stages"),
        called.stages,
        what="The earlier audit is of the verdicts of",
        of=f"{called.name} has those of",
        then="The errors of one say nothing of the other: give an audit of the same judges.",
    )
    if not known:
        tell_unknown(
            "The earlier audit" if earlier.get("stages") is None else called.name, "the earlier audit", called.name
        )


def corrected(positives: int, candidates: int, recall: Estimate, alarms: Estimate) -> Estimate:
    """The share that is relevant where so many candidates are called better by judges with these errors.

    All of it is unknown where the recall is not above the false alarms, at either end of their intervals: such judges'
    word says nothing of how much is relevant.
    """
    from statsmodels.stats.proportion import proportion_confint

    known = [end for each in (recall, alarms) for end in (each.value, each.low, each.high) if end is not None]
    if len(known) < 6 or not candidates:
        return UNKNOWN
    r, r_low, r_high, f, f_low, f_high = known
    if r_low <= f or r <= f_high:
        return UNKNOWN
    q = positives / candidates
    q_low, q_high = map(float, proportion_confint(positives, candidates, method="beta"))
    value = _relevant(q, r, f)
    # It rises with q, and falls with the recall and (where q is below the recall) with the false alarms.
    downs = (_relevant(q_low, r, f), _relevant(q, r_high, f), _relevant(q, r, f_high))
    ups = (_relevant(q_high, r, f), _relevant(q, r_low, f), _relevant(q, r, f_low))
    low = value - math.hypot(*(max(0.0, value - end) for end in downs))
    high = value + math.hypot(*(max(0.0, end - value) for end in ups))
    value, low, high = (round(min(1.0, max(0.0, each)), DIGITS) for each in (value, low, high))
    return Estimate(value, low, high)


def _relevant(called: float, recall: float, alarms: float) -> float:
    return (called - alarms) / (recall - alarms)
