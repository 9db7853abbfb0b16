"""The kinds of views, and the names of their configs."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from hf_relabel.builders.techniques import Technique

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
    """The technique that views show where none is named: `relabel`, if it is built, else the default config."""
    return str(Technique.RELABEL) if Technique.RELABEL in techniques else default
