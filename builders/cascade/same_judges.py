"""Whether what was measured of some judges is held against the verdicts of the same judges.

Precision and thresholds are of one cascade: said of another's verdicts they are wrong, and nothing shows it. Audits and
calibrations therefore remember the stages of their run, as it records them (`RunStage.to_dict`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from hf_relabel.builders.cascade.run_stages import RunStage, stages_of_run
from hf_relabel.builders.errors import ConfigError

_logger = logging.getLogger(__name__)

Recorded = Sequence[Mapping[str, Any]]


def check_same_judges(measured: Recorded | None, used: Recorded | None, *, what: str, of: str, then: str) -> bool:
    """Whether both are known, and then the same. What stages are called does not matter.

    Args:
        measured, used: the stages of the run that was measured, and of the one that it is held against; None where
            that is not known.
        what, of: how the message names the two: `{what} X, while {of} Y`.
        then: what to do.

    Raises:
        ConfigError: they are of other judges, or of the same with other settings or rules; or cannot be read.
    """
    if measured is None or used is None:
        return False
    first, second = _stages(measured), _stages(used)
    if len(first) != len(second) or not all(map(_same, first, second)):
        one, other = _told(first, second)
        raise ConfigError(f"{what} {one}, while {of} {other}. {then}")
    return True


def tell_unknown(what: str, measured: str, used: str) -> None:
    """Warn that nothing says whether it is of the same judges."""
    _logger.warning(
        "%s does not say whose verdicts it is of: make sure that %s measured the judges of %s.", what, measured, used
    )


def _stages(recorded: Recorded) -> list[RunStage]:
    try:
        return stages_of_run({"stages": recorded})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"The record of the judges cannot be read: {type(error).__name__} {error}.") from None


def _same(first: RunStage, second: RunStage) -> bool:
    return (
        (first.rule, first.combine) == (second.rule, second.combine)
        and len(first.judges) == len(second.judges)
        and all(one.says_the_same_as(other) for one, other in zip(first.judges, second.judges, strict=True))
    )


def _told(first: Sequence[RunStage], second: Sequence[RunStage]) -> tuple[str, str]:
    """The judges of both, with what differs where their names are the same."""
    names = tuple(", then ".join(stage.describe() for stage in stages) for stages in (first, second))
    if names[0] != names[1]:
        return names[0], names[1]
    one, other = ([_settings(stage) for stage in stages] for stages in (first, second))
    return f"{names[0]} with {_apart(one, other)}", f"{names[1]} with {_apart(other, one)}"


def _apart(values: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> str:
    """What is set in one and not so in the other, stage by stage: of one name they have as many."""
    found = {
        name: value
        for own, theirs in zip(values, others, strict=False)
        for name, value in own.items()
        if name not in theirs or theirs[name] != value
    }
    return json.dumps(found, ensure_ascii=False)[:200]


def _settings(stage: RunStage) -> dict[str, Any]:
    values = stage.to_dict()
    own: dict[str, Any] = {name: values[name] for name in ("escalate", "passes")}
    own |= {"accepts": values.get("accepts"), "combine": values.get("combine"), "revision": stage.judges[0].revision}
    several = len(stage.judges) > 1
    return own | {
        f"{name} of judge {number}" if several else name: value
        for number, judge in enumerate(stage.judges, start=1)
        for name, value in judge.settings.items()
    }
