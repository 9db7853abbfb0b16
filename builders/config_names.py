"""The names of the configs of a release: techniques, verdicts, suspects, and views of techniques."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from hf_relabel.builders.techniques import Technique

VERDICTS = "verdicts"
"""The config of all verdicts."""
SUSPECTS = "suspects"
"""The config of positives that judges doubt, and the kind of run that asks about them."""
DEFAULT_NEGATIVES = 7
"""Hard negatives in a line, as in the groups of eight that the paper's authors train on."""


class ViewKind(StrEnum):
    """What a line of a view is. See `hf_relabel.builders.configs.views`."""

    TUPLES = "tuples"
    TRIPLETS = "triplets"
    LISTS = "lists"
    SCORES = "scores"

    def config_of(self, technique: Technique | str) -> str:
        """The name of the config that shows a technique's rows in this way."""
        return f"{technique}-{self}"


ALL_VIEWS = {kind.config_of(technique): (technique, kind) for technique in Technique for kind in ViewKind}
"""Every config that can be a view: its technique and its kind, by name."""


def viewed_by_default(techniques: Sequence[str], default: str) -> str:
    """The technique that views and examples show where none is named: `relabel`, unless that is not built or the
    default config is `relabel-filter`, which has several positives too; then the default config."""
    relabels = Technique.RELABEL in techniques and default != Technique.RELABEL_FILTER
    return str(Technique.RELABEL) if relabels else default


def config_names(settings: Mapping[str, Any]) -> list[str]:
    """The configs of a release, in their order.

    Args:
        settings: the `settings` of its manifest.
    """
    views = [view["name"] for view in settings.get("views", ())]
    return [*settings["techniques"], VERDICTS, *([SUSPECTS] if settings.get("suspects") else []), *views]
