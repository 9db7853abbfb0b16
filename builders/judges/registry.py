"""Judges by kind, as job files name them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.base import BatchJudge, PromptJudge
from hf_relabel.builders.judges.listwise import ListwiseJudge
from hf_relabel.builders.judges.similarity import SimilarityJudge
from hf_relabel.builders.judges.truth import TruthJudge

JUDGES: dict[str, Callable[..., PromptJudge | BatchJudge]] = {
    "listwise": ListwiseJudge,
    "similarity": SimilarityJudge,
    "truth": TruthJudge,
}
"""What makes a judge of each kind. The parameters are its settings."""


def make_judge(kind: str, **settings: Any) -> PromptJudge | BatchJudge:
    """A judge of that kind. Loads no model and opens no connection.

    Raises:
        ConfigError: no such kind, no such setting, or a value out of its range.
    """
    make = JUDGES.get(kind)
    if make is None:
        raise ConfigError(f"There is no judge of kind {kind!r}; there is {', '.join(sorted(JUDGES))}.")
    valid = list(inspect.signature(make).parameters)
    unknown = sorted(set(settings) - set(valid))
    if unknown:
        raise ConfigError(f"A {kind} judge has no setting {', '.join(unknown)}; it has {', '.join(valid)}.")
    try:
        return make(**settings)
    except ConfigError as error:
        raise ConfigError(f"Judge {kind}: {error}") from None
