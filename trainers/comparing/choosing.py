"""How each arm of a comparison differs from the baseline, and which config that speaks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hf_relabel.builders.techniques import Technique
from hf_relabel.trainers.comparing.measurements import Measurements
from hf_relabel.trainers.evaluation.significance import (
    MeanDifference,
    effect_size,
    holm,
    interval_text,
    seeds_needed,
)

ALPHA = 0.05
"""Below this chance, after Holm's correction over the arms, a difference is called significant."""
ZONES = str(Technique.RELABEL_FILTER)
SAFE = str(Technique.REMOVE_HN)
"""The config that a wrong judge harms least."""


@dataclass(frozen=True)
class Difference:
    """One arm against the baseline.

    Attributes:
        overall: of the mean over all sets.
        by_set: on each set alone.
        over_safe: `overall`, but against `remove-hn`; None for itself, and where it was not measured.
        effect_sizes: Cohen's d over the queries of each set.
        p_holm: chance of `overall` after Holm's correction over all arms.
    """

    arm: str
    overall: MeanDifference
    by_set: Mapping[str, MeanDifference]
    over_safe: MeanDifference | None = None
    effect_sizes: Mapping[str, float] | None = None
    p_holm: float = 1.0

    @property
    def difference(self) -> float:
        return self.overall.difference

    @property
    def is_better(self) -> bool:
        return self.p_holm < ALPHA and self.difference > 0

    @property
    def known_p(self) -> float | None:
        """`p_holm`; None where the values say nothing of other runs or queries."""
        return None if self.overall.low is None else self.p_holm

    @property
    def is_above_safe(self) -> bool:
        """Whether it is shown to be above `remove-hn`, where that was measured."""
        return self.over_safe is None or (self.over_safe.low is not None and self.over_safe.low > 0)

    def record(self) -> dict[str, Any]:
        """What goes into a manifest, rounded. A bound that is not known is None."""
        return {
            "difference": rounded(self.difference),
            "low": rounded(self.overall.low),
            "high": rounded(self.overall.high),
            "p_holm": rounded(self.known_p),
            "effect_size": {name: rounded(each) for name, each in (self.effect_sizes or {}).items()},
            "differences": {
                name: [rounded(each.difference), rounded(each.low), rounded(each.high)]
                for name, each in self.by_set.items()
            },
        }


def differences_to(baseline: str, measured: Measurements) -> dict[str, Difference]:
    """Each other arm against the baseline, by name."""
    found = {name: _difference(measured, name, baseline) for name in measured.rows if name != baseline}
    corrected = holm({name: each.overall.p for name, each in found.items()})
    return {name: replace(each, p_holm=corrected[name]) for name, each in found.items()}


def choose(
    differences: Mapping[str, Difference], baseline: str = str(Technique.ORIGINAL), *, calibrated: bool = False
) -> tuple[str, str]:
    """The config to load by default, and why.

    The one with the greatest gain among those that are significantly better than the baseline; other techniques than
    `remove-hn` must be shown to be better than that too: the lower bound of the difference is above 0. Where there is
    none, `remove-hn`, which a wrong judge harms least, unless it measured lower; then the baseline. Arms with a teacher
    (`config+distillation`) are no configs, and are not chosen.

    Args:
        calibrated: thresholds of an audit made the configs. What shows nothing does not speak against them, so
            `relabel-filter` comes before `remove-hn` there, unless it measured lower than the baseline.
    """
    configs = {name: each for name, each in differences.items() if "+" not in name}
    better = sorted((each for each in configs.values() if each.is_better), key=lambda each: -each.difference)
    for each in better:
        if each.is_above_safe:
            over_safe = "" if each.over_safe is None else f", and {in_points(each.over_safe)} over {SAFE}"
            return each.arm, f"{_gain(each, baseline)}{over_safe}"
    if better:
        first = better[0]
        assert first.over_safe is not None
        why = f"{first.arm} has {_gain(first, baseline)}, but is not shown to be better than {SAFE}"
        why += f" ({in_points(first.over_safe)}{_for_more(first.over_safe, ALPHA)})"
    else:
        why = f"no technique is significantly better than {baseline}{undecided(configs)}"
    if calibrated and ZONES in configs and configs[ZONES].difference >= 0:
        return ZONES, f"{why}; {ZONES}, made by the thresholds of an audit, is not lower"
    if SAFE in configs and configs[SAFE].difference >= 0:
        return SAFE, f"{why}; {SAFE} is the safe one, and not lower"
    return baseline, why


def undecided(differences: Mapping[str, Difference]) -> str:
    """What it would take to show the greatest gain that is not significant, in parentheses; nothing where there is no
    gain, or nothing is known to help."""
    gains = [each for each in differences.values() if each.difference > 0 and not each.is_better]
    if not gains:
        return ""
    alpha = ALPHA / len(differences)
    best = min(gains, key=lambda each: (seeds_needed(each.overall, alpha) or float("inf"), -each.difference))
    needed = _for_more(best.overall, alpha)
    return f" ({best.arm}: {in_points(best.overall)}{needed})" if needed else ""


def _for_more(found: MeanDifference, alpha: float) -> str:
    """Whether more seeds would help."""
    if found.seeds == 1:
        return "; one seed says nothing of other runs"
    needed = seeds_needed(found, alpha)
    return f"; {found.seeds} seeds are too few to say, about {needed} would" if needed and needed > found.seeds else ""


def _gain(each: Difference, baseline: str) -> str:
    return f"{in_points(each.overall)} over {baseline}, p = {each.p_holm:.4f} (Holm)"


def in_points(found: MeanDifference) -> str:
    """`+1.20 [+0.40, +2.00]`, or without bounds where they are not known."""
    return f"{100 * found.difference:+.2f} {interval_text(found.low, found.high)} points".replace(" not known", "")


def p_text(p: float | None) -> str:
    return "" if p is None else f"{p:.4f}"


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _difference(measured: Measurements, arm: str, baseline: str) -> Difference:
    return Difference(
        arm,
        measured.difference(arm, baseline),
        {name: measured.difference_on(name, arm, baseline) for name in measured.values},
        measured.difference(arm, SAFE) if SAFE in measured.rows and arm != SAFE else None,
        {name: effect_size(arms[arm], arms[baseline]) for name, arms in measured.values.items()},
    )
