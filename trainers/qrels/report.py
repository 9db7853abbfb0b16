"""What extending the judgements of a test set found and changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.audit.figures import Estimate
from hf_relabel.builders.cascade.judged_share import JudgedShare
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import fitted, text_table
from hf_relabel.builders.qrels.collection import Findings, listed
from hf_relabel.trainers.qrels.systems_measured import DEPTH, System


@dataclass(frozen=True, slots=True)
class Found:
    """The candidates that became judgements.

    Attributes:
        judged: called relevant by a judge.
        copies: copies of a relevant document, which need no judge.
        queries: for which something was found.
        precision, recall: of what is judged relevant in the pool; None where nobody measured it.
        measured_by: what measured them, such as a file's name.
    """

    judged: int
    copies: int
    queries: int
    precision: Estimate | None = None
    recall: Estimate | None = None
    measured_by: str = ""

    @property
    def total(self) -> int:
        return self.judged + self.copies

    def to_dict(self) -> dict[str, Any]:
        measured = {
            name: None if each is None else each.to_dict()
            for name, each in (("precision", self.precision), ("recall", self.recall))
        }
        counts = {"judged": self.judged, "copies": self.copies, "queries": self.queries}
        return {**counts, **measured, "measured_by": self.measured_by or None}


@dataclass(frozen=True, slots=True, repr=False)
class QrelsReport(Shown):
    """See the module's text.

    Attributes:
        name, split: of the set.
        out: the folder that was written.
        depth: documents of each run that were looked at.
        queries: judged ones that are there; `pooled` of them have candidates.
        share: how much of the pool was judged.
        calibrated: whether thresholds of an audit decided.
        systems: in the order of nDCG@10 after.
        tau: Kendall's, between the orders before and after; None for fewer than two systems.
        dropped: dangling judgements that were left out.
        notes: what to beware of.
    """

    name: str
    split: str
    out: str
    depth: int
    queries: int
    pooled: int
    share: JudgedShare
    calibrated: bool
    found: Found
    systems: tuple[System, ...]
    tau: float | None
    findings: Findings
    dropped: int = 0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        plain = ("name", "split", "out", "depth", "queries", "pooled", "calibrated", "tau", "dropped")
        return {
            **{name: getattr(self, name) for name in plain},
            "candidates": self.share.candidates,
            "share_judged": self.share.to_dict(),
            "found": self.found.to_dict(),
            "systems": [system.to_dict() for system in self.systems],
            "findings": self.findings.to_dict(),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Plain tables."""
        lines = [self.pool_line(), self.found_line(), *self.finding_lines(), *self.notes]
        said = "\n".join(fitted(line) for line in lines)
        table = text_table(self.table(), disable_numparse=True, stralign="right")
        return f"{said}\n\n{table}\n{fitted(self.order_line())}"

    def pool_line(self) -> str:
        unjudged = self.share.needed - self.share.judged
        rest = f" {unjudged:,} of them got no verdict and stay unjudged." if unjudged else ""
        exempt = (
            f" {self.share.exempt:,} of them are of a set that the judge leaves alone." if self.share.exempt else ""
        )
        of = f"{counted(self.queries, 'judged query')}. Pool of {counted(self.pooled, 'query')}"
        return (
            f"{self.name}, {self.split}: {of}:"
            f" {counted(self.share.candidates, 'unjudged document')} among the first {self.depth} of"
            f" {counted(len(self.systems), 'run')}.{rest}{exempt}"
        )

    def found_line(self) -> str:
        found = self.found
        copies = f", {found.copies:,} of them copies of a relevant one" if found.copies else ""
        by = " by the thresholds of the calibration" if self.calibrated else ""
        if found.precision is None:
            measured = "Nobody measured how many of them are right: draw an audit of pool.jsonl."
        else:
            measured = f"Precision {_shown(found.precision)} by {found.measured_by}"
            measured += "." if found.recall is None else f", recall in the pool {_shown(found.recall)}."
        return f"New relevant documents: {found.total:,}{copies}, for {counted(found.queries, 'query')}{by}. {measured}"

    def finding_lines(self) -> list[str]:
        """What is wrong with the judgements that were there, in a line each."""
        found = self.findings
        same = tuple(" = ".join(ids) for ids in found.same_queries)
        told = (
            (found.dangling_queries, "judged query is", "judged queries are", "not in queries.jsonl"),
            (found.dangling_documents, "judgement names", "judgements name", "no document of the corpus"),
            (same, "text is", "texts are", "the query of several ids"),
            (found.without_relevant, "query has", "queries have", f"no relevant document: {_LEFT_OUT}"),
            (found.never_judged, "query is", "queries are", "judged in no split"),
        )
        lines = [f"{counted(len(ids), one, many)} {what} ({listed(ids)})." for ids, one, many, what in told if ids]
        if self.dropped:
            lines.append(f"{counted(self.dropped, 'dangling judgement was', 'dangling judgements were')} left out.")
        return lines

    def table(self) -> list[dict[str, Any]]:
        """A line for each system."""
        return [
            {
                "system": each.name,
                "nDCG@10": str(each.before),
                "after": str(each.after),
                "change": _signed(each),
                f"judged@{DEPTH}": f"{each.judged_before:.2f}",
                "judged after": f"{each.judged_after:.2f}",
                "place": f"{each.place_before} > {each.place_after}",
            }
            for each in self.systems
        ]

    def order_line(self) -> str:
        if self.tau is None:
            return "Intervals: where other queries would put it."
        return (
            f"Kendall's tau between the orders before and after: {self.tau:.2f}. Intervals: where other queries would"
            " put it."
        )


_LEFT_OUT = "judges compare with one, so nothing is asked for them"


def _shown(estimate: Estimate) -> str:
    """Without an interval where all were looked up: both ends are then one, but for what rounding leaves."""
    low, high = estimate.low, estimate.high
    if low is not None and high is not None and math.isclose(low, high, abs_tol=1e-9):
        return f"{estimate.value:.3f}"
    return str(estimate)


def _signed(system: System) -> str:
    change = system.change
    bounds = "" if change.interval is None else " [{:+.3f}, {:+.3f}]".format(*change.interval)
    return f"{change.mean:+.3f}{bounds}"
