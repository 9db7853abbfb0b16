"""What is told of a comparison before it trains anything: what the config of each arm does to the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.builders.readme.configs_readme import SHORTER, config_totals
from hf_relabel.trainers.comparing.trials import Arm
from hf_relabel.trainers.comparing.zone_arms import ZoneArms

_TOLD = ("rows", "rows changed", "rows dropped", "negatives relabelled", "negatives dropped")

Changes = Mapping[str, int]
"""`rows` of a config, of these `rows_changed`, `rows_dropped` of the source, negatives `relabelled` and `left_out`."""


def changes_of(zones: ZoneArms, arms: Sequence[Arm]) -> dict[str, Changes]:
    """By arm, what its config does to the rows; arms of configs that are of no technique, such as views, are left out.

    An arm such as `zones@0.7` is built for it, which training on it needs too.
    """
    counts = {arm.name: zones.counts(arm.config) for arm in arms}
    totals = {name: config_totals(found) for name, found in counts.items() if found is not None}
    return {
        name: {SHORTER.get(key, key).replace(" ", "_"): found[key] for key in _TOLD} for name, found in totals.items()
    }


def told_beforehand(arms: Sequence[Arm], changes: Mapping[str, Changes]) -> str:
    """A table with a line per config."""
    by_config = {arm.config: changes[arm.name] for arm in arms if arm.name in changes}
    lines = [
        {"config": name, **{key.replace("_", " "): number for key, number in found.items()}}
        for name, found in by_config.items()
    ]
    return f"What the configs to compare did to the rows and their negatives:\n{text_table(lines)}"
