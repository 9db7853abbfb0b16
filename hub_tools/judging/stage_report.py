"""What one judge of a stage did in a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from hf_relabel.builders.judgements import Label
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.shown import Shown

ASIDE = {
    "free": "needing no judge (a copy of a positive, or no text)",
    "exempt": "in rows that the judge leaves alone",
    "settled": "settled before this stage",
    "repeated": "the same text again under its query, asked about once",
}
"""Why a judge is not asked about a candidate, as tables say it."""
FEWER_POSITIVES = "asked now beside the shortest ground truths of their row: all are too many or too long for a prompt"


@dataclass(slots=True, repr=False)
class StageReport(Shown):
    """What one judge of a stage did in this run.

    Attributes:
        asked, labels: new judgements.
        known, known_labels: judgements found in the journal.
        cut: how many of the new ones were made on a part of the text.
        fewer_positives: how many of the new ones were made beside a part of the row's ground truths, which were too
            many or too long for a prompt.
        unknown: of those that failed, new or known, the ones in rows that the judge does not know.
        exempt: rows that a judge leaves alone: they stay unjudged.
        candidates: negatives of the rows: those of `totals` and those of `aside`.
        aside: candidates that this judge is not asked about, by reason, see `ASIDE`.
        prompt_tokens, completion_tokens: of the new replies, so far while it runs.
        untold: replies whose tokens the server did not tell, or not all of them.
        cost: in the currency of the prices, None without prices. Tokens that were not told are counted at an estimate,
            and so are attempts that failed and are billed.
        instead: what the judge's servers were sent instead of what they refuse, by parameter.
    """

    name: str
    judge: str
    rows: int = 0
    asked: int = 0
    known: int = 0
    requests: int = 0
    labels: dict[Label, int] = field(default_factory=lambda: dict.fromkeys(Label, 0))
    cut: int = 0
    fewer_positives: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    untold: int = 0
    cost: float | None = None
    seconds: float = 0.0
    known_labels: dict[Label, int] = field(default_factory=lambda: dict.fromkeys(Label, 0))
    unknown: int = 0
    exempt: int = 0
    candidates: int = 0
    aside: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ASIDE, 0))
    instead: tuple[tuple[str, str], ...] = ()

    def sums(self) -> str:
        """How the candidates add up: `630 candidates: 629 in the table, 1 needing no judge …`; and which of them were
        shown less than all ground truths."""
        judged = sum(self.totals.values())
        parts = [f"{judged:,} in the table", *(f"{n:,} {ASIDE[why]}" for why, n in self.aside.items() if n)]
        sums = f"{counted(self.candidates, 'candidate')}: {', '.join(parts)}"
        return f"{sums}; {self.fewer_positives:,} {FEWER_POSITIVES}" if self.fewer_positives else sums

    @property
    def totals(self) -> dict[Label, int]:
        """All judgements of this judge on the source so far, of this run and of earlier ones, by label."""
        return {label: self.labels[label] + self.known_labels[label] for label in Label}

    @property
    def rows_done(self) -> int:
        """Of the rows that were read, as many as the share of their candidates that have an answer or need none."""
        settled = sum(self.totals.values()) + sum(self.aside.values())
        return self.rows if settled >= self.candidates else self.rows * settled // self.candidates

    @property
    def is_answered(self) -> bool:
        """Whether something got a verdict, or nothing was to get one."""
        totals = self.totals
        return any(totals[label] for label in totals if label.is_answer) or not any(totals.values())

    @property
    def share_answered(self) -> float:
        """Of what it was asked about, in this run and before, the share with a verdict; 1 where that was nothing."""
        totals = self.totals
        asked = sum(totals.values())
        return sum(number for label, number in totals.items() if label.is_answer) / asked if asked else 1.0

    @property
    def has_failures(self) -> bool:
        """Whether a candidate is without an answer, of this run or of an earlier one."""
        return any(number for label, number in self.totals.items() if not label.is_answer)

    def to_text(self) -> str:
        """What it said so far, in a line."""
        said = ", ".join(f"{label} {number:,}" for label, number in self.by_label().items() if number)
        text = f"{self.name}, {self.judge}: {counted(self.rows, 'row')}, {self.sums()}; {said or 'nothing judged'}."
        return f"{text} Its server takes not all: {self.adapted()}." if self.instead else text

    def by_label(self) -> dict[str, int]:
        """`totals` as people read them: what the judge does not know did not fail."""
        named = {str(label): number for label, number in self.totals.items()}
        named[str(Label.FAILED)] -= self.unknown
        return named | ({"unknown": self.unknown} if self.unknown else {})

    def to_dict(self) -> dict[str, Any]:
        counts = {"labels": self.labels, "known_labels": self.known_labels, "totals": self.totals}
        named = {name: {str(label): number for label, number in labels.items()} for name, labels in counts.items()}
        return asdict(self) | named | {"instead": dict(self.instead)}

    def adapted(self) -> str:
        """What the servers were sent instead, as people read it: `temperature: none, system: user`; "" for nothing."""
        return ", ".join(f"{name}: {value}" for name, value in self.instead)


Progress: TypeAlias = Callable[[StageReport], None]
"""Called with what the running judge did so far."""
