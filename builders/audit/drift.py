"""What changed since an earlier audit, of another release or another part of the data.

Differences of two audits have the intervals of Zou and Donner (2008), from the intervals of the two. Besides, the share
of relevant candidates that the same judges' errors of then would make of what they call better now (Rogan and Gladen,
1978): of the share called better q, with recall r and false alarms f (the share called better of what is not relevant),
it is (q - f) / (r - f). It needs no new answers. Where it lies apart from what people find now, the judges err in
another way than they did, or the data has changed in kind.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.audit.figures import DIGITS, Estimate
from hf_relabel.builders.configs.manifest import read_manifest
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table


@dataclass(frozen=True, slots=True)
class Change:
    """A figure of the verdict then and now. The difference is significant where its interval leaves out 0."""

    name: str
    then: Estimate
    now: Estimate
    difference: Estimate

    def to_dict(self) -> dict[str, Any]:
        parts = {"then": self.then, "now": self.now, "difference": self.difference}
        return {"name": self.name, **{name: each.to_dict() for name, each in parts.items()}}


@dataclass(frozen=True, slots=True, repr=False)
class Drift(Shown):
    """See the module's text.

    Attributes:
        called_better: shares of the candidates that the verdict calls false negatives, then and now.
        expected: share of relevant candidates now, by the errors of then; None in it where these say nothing.
    """

    called_better: tuple[float, float]
    changes: tuple[Change, ...]
    expected: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "called_better": list(self.called_better),
            "changes": [change.to_dict() for change in self.changes],
            "expected": self.expected.to_dict(),
        }

    def to_text(self) -> str:
        """A plain table."""
        rows = [["called better", *(f"{share:.3f}" for share in self.called_better), ""]]
        rows += [[each.name, str(each.then), str(each.now), str(each.difference)] for each in self.changes]
        return (
            f"{text_table(rows, ['since the earlier audit', 'then', 'now', 'difference'])}\n\n"
            f"With the errors of then, what is called better now means a share relevant\nof {self.expected}"
            " (Rogan and Gladen)."
        )


def drift(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> Drift:
    """Compare two audits, as `AuditReport.to_dict` gives them.

    Example:
            print(drift(earlier_audit("v1/manifest-or-report"), report.to_dict()))
    """
    shares = [audit["verdict"]["positives"] / audit["verdict"]["candidates"] for audit in (earlier, now)]
    changes = []
    for name in ("precision", "recall", "false_alarms", "prevalence"):
        then, newly = (
            _estimate((audit if name == "prevalence" else audit["verdict"])[name]) for audit in (earlier, now)
        )
        changes.append(Change(_NAMES.get(name, name), then, newly, difference(then, newly)))
    recall, alarms = (_estimate(earlier["verdict"][name]) for name in ("recall", "false_alarms"))
    return Drift(
        (round(shares[0], DIGITS), round(shares[1], DIGITS)), tuple(changes), corrected(shares[1], recall, alarms)
    )


_NAMES = {"false_alarms": "false alarms", "prevalence": "share relevant"}


def difference(then: Estimate, now: Estimate) -> Estimate:
    """`now` less `then`, of two independent samples (Zou and Donner, 2008)."""
    known = [end for each in (then, now) for end in (each.value, each.low, each.high) if end is not None]
    if len(known) < 6:
        return Estimate(None, None, None)
    first, first_low, first_high, second, second_low, second_high = known
    value = second - first
    down = math.hypot(second - second_low, first_high - first)
    up = math.hypot(second_high - second, first - first_low)
    return Estimate(round(value, DIGITS), round(value - down, DIGITS), round(value + up, DIGITS))


def corrected(called: float, recall: Estimate, alarms: Estimate) -> Estimate:
    """The share that is relevant, of the share called better and the errors that are known (Rogan and Gladen, 1978).

    It falls with the recall and with the false alarms; its ends take those of both. Values are None where the recall is
    not above the false alarms: such a judge's word says nothing of how much is relevant.
    """
    ends = [(recall.value, alarms.value), (recall.high, alarms.high), (recall.low, alarms.low)]
    found = []
    for caught, false in ends:
        if caught is None or false is None or caught <= false:
            return Estimate(None, None, None)
        found.append(round(min(1.0, max(0.0, (called - false) / (caught - false))), DIGITS))
    return Estimate(*found)


def earlier_audit(path: str | Path) -> Mapping[str, Any]:
    """An audit of before: what `audit report --json` printed, or a built folder that it was written to.

    Raises:
        ConfigError: it is neither, or of a version that did not count false alarms.
        BuildError: the folder cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            audit = (read_manifest(path).get("evidence") or {}).get("audit")
        else:
            audit = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as the report of an audit: {' '.join(str(error).split())}") from None
    if not isinstance(audit, Mapping) or "false_alarms" not in audit.get("verdict", {}):
        raise ConfigError(
            f"{path} holds no audit to compare with. Give what `{program()} audit report --json` printed, or a folder"
            " that `audit report --write` wrote to."
        )
    return audit


def _estimate(values: Mapping[str, float | None]) -> Estimate:
    return Estimate(values["value"], values["low"], values["high"])
