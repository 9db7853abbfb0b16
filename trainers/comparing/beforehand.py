"""What is told of a comparison before it trains anything: what the config of each arm did to the rows, and which arms
will take long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.text_table import fitted, text_table
from hf_relabel.builders.readme.configs_readme import SHORTER, config_totals
from hf_relabel.trainers.comparing.matched_steps import work_of
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
    """A table with a line per config, and a sentence for each arm with a guide."""
    by_config = {arm.config: changes[arm.name] for arm in arms if arm.name in changes}
    lines = [
        {"config": name, **{key.replace("_", " "): number for key, number in found.items()}}
        for name, found in by_config.items()
    ]
    table = f"What the configs to compare did to the rows and their negatives:\n{text_table(lines)}"
    return "\n".join([table, *_guides_told(arms)])


def _guides_told(arms: Sequence[Arm]) -> Iterator[str]:
    """How much each guide encodes: its vectors are kept neither for other batches nor for other runs."""
    for arm in arms:
        guide = getattr(arm.recipe.loss, "guide", None)
        if guide is not None:
            texts = counted(round(work_of(arm).texts), "text")
            yield fitted(
                f"{arm.name}: the guide {guide.model} encodes each batch beside the student, up to {texts} a run. On a"
                " CPU that may take far longer than the student's training."
            )
