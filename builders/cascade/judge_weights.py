"""The weights of judges that are combined, from the report of an audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import ConfigError

MEMBER_MARK = " · "
"""Between the name of a stage and one of its several judges."""


def audited_weights(report: Path, stage: str) -> tuple[dict[str, dict[str, dict[str, float]]], float]:
    """The confusions of a stage's judges by their names, and the share of candidates that are relevant.

    Args:
        report: what `hf relabel audit report --json` printed of a run in which the stage had the same judges.
        stage: its name.

    Raises:
        ConfigError: no such file, not such a report, or it does not know the stage's judges.
    """
    try:
        judges = json.loads(report.read_text(encoding="utf-8"))["judges"]
        named = {str(judge["name"]): judge["confusion"] for judge in judges}
    except FileNotFoundError:
        raise ConfigError(f"weights: there is no file {report}.") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(f"weights: {report} is not the JSON report of an audit ({error}).") from None
    mark = stage + MEMBER_MARK
    found = {name.removeprefix(mark): confusion for name, confusion in named.items() if name.startswith(mark)}
    if not found:
        raise ConfigError(f"weights: {report} has no audited judges of a stage {stage!r} with several judges.")
    relevant, other = (_total(next(iter(found.values())), column) for column in ("relevant", "other"))
    share = relevant / (relevant + other) if relevant + other else 0.15
    return found, min(max(share, 0.001), 0.999)


def _total(confusion: Any, column: str) -> float:
    try:
        return sum(float(counts[column]) for counts in confusion.values())
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ConfigError("weights: the audit's confusion must be {label: {relevant: …, other: …}}.") from None
