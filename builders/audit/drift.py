"""What changed since an earlier audit, of another release or another part of the data.

Differences of two audits have the intervals of Zou and Donner (2008), from the intervals of the two. Besides, the share
of relevant candidates that the same judges' errors of then would make of what they call better now, see
`hf_relabel.builders.audit.expected`. Where it lies apart from what people find now, the judges err in another way than
they did, or the data has changed in kind.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.audit.expected import UNKNOWN, Called, check_comparable, corrected
from hf_relabel.builders.audit.figures import DIGITS, Estimate
from hf_relabel.builders.configs.manifest import read_manifest
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.builders.sources.paths import did_you_mean_beside


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
        reason: why they are not those of now, such as other judges; None where nothing says so.
    """

    called_better: tuple[float, float]
    changes: tuple[Change, ...]
    expected: Estimate
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "called_better": list(self.called_better),
            "changes": [change.to_dict() for change in self.changes],
            "expected": self.expected.to_dict(),
            "reason": self.reason,
        }

    def to_text(self) -> str:
        """A plain table."""
        rows = [["called better", *(f"{share:.3f}" for share in self.called_better), ""]]
        rows += [[each.name, str(each.then), str(each.now), str(each.difference)] for each in self.changes]
        table = text_table(rows, ["since the earlier audit", "then", "now", "difference"])
        if self.reason is not None:
            return f"{table}\n\n{self.reason}"
        if self.expected == UNKNOWN:
            return f"{table}\n\n{SAYS_NOTHING}"
        return (
            f"{table}\n\nWith the errors of then, what is called better now means a share relevant\n"
            f"of {self.expected} (Rogan and Gladen)."
        )


SAYS_NOTHING = """\
The errors of then say nothing of how much is relevant now: by that audit the
judges may call better what is not relevant as often as what is."""


def drift(earlier: Mapping[str, Any], now: Mapping[str, Any], called: Called | None = None) -> Drift:
    """Compare two audits, as `AuditReport.to_dict` gives them.

    Example:
            print(drift(earlier_audit("v1/manifest-or-report"), report.to_dict()))

    Args:
        called: what judges said of the release of now, to see whether the errors of then are theirs.
    """
    shares = [audit["verdict"]["positives"] / audit["verdict"]["candidates"] for audit in (earlier, now)]
    changes = []
    for name in ("precision", "recall", "false_alarms", "prevalence"):
        then, newly = (
            _estimate((audit if name == "prevalence" else audit["verdict"])[name]) for audit in (earlier, now)
        )
        changes.append(Change(_NAMES.get(name, name), then, newly, difference(then, newly)))
    recall, alarms = (_estimate(earlier["verdict"][name]) for name in ("recall", "false_alarms"))
    rounded = round(shares[0], DIGITS), round(shares[1], DIGITS)
    try:
        if called is not None:
            check_comparable(earlier, called)
    except ConfigError as error:
        return Drift(rounded, tuple(changes), UNKNOWN, str(error))
    expected = corrected(now["verdict"]["positives"], now["verdict"]["candidates"], recall, alarms)
    return Drift(rounded, tuple(changes), expected)


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


def earlier_audit(path: str | Path) -> Mapping[str, Any]:
    """An audit of before: what `audit report --json` printed, or a built folder that it was written to.

    Raises:
        ConfigError: it is neither, or of a version that did not count false alarms.
        BuildError: the folder cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise ConfigError(f"There is no file or folder {path}.{did_you_mean_beside(path)} {_expected()}")
    try:
        audit = audit_in(read_manifest(path)) if path.is_dir() else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as the report of an audit: {' '.join(str(error).split())}") from None
    if not isinstance(audit, Mapping) or "false_alarms" not in audit.get("verdict", {}):
        raise ConfigError(f"{path} holds no audit to compare with. {_expected()}")
    return audit


def _expected() -> str:
    return f"Give what `{program()} audit report --json` printed, or a folder that `audit report --write` wrote to."


def audit_in(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The audit in the manifest of a release, with the stages that it is of; None where there is none."""
    audit = (manifest.get("evidence") or {}).get("audit")
    return None if audit is None else {**audit, "stages": (manifest.get("run") or {}).get("stages")}


def _estimate(values: Mapping[str, float | None]) -> Estimate:
    return Estimate(values["value"], values["low"], values["high"])
