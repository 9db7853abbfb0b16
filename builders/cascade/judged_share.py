"""How much of what needs a judge was judged, and what to say where it is too little.

Candidates without an answer stay negatives: a set with many of them would be called relabelled and hardly be.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.errors import BuildError, NotJudged
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Outcome, Verdict
from hf_relabel.builders.messages.counted import counted, percent
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.rows import NumberedRow

ENOUGH = 0.95
"""With less judging fails and there is no build, unless they were told how much is enough."""
WITHOUT_ANSWER = ("failed", "unparsable", "not-reached")
UNKNOWN = "unknown"
"""Of rows that the judge does not know, such as those that a truth file lacks."""
WHY_UNJUDGED = {UNKNOWN: "in rows that the judge does not know", "not-reached": "not reached"}
"""Reasons that people read in other words."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JudgedShare:
    """Candidates by whether they were judged.

    Attributes:
        candidates: negatives of all rows.
        exempt: those of subsets that the judge leaves alone.
        needed: those that need a judge: no copies of a positive, no empty texts, nothing exempt.
        unjudged: those of them without an answer, by reason: `failed`, `unparsable`, `not-reached`, and `unknown` where
            the judge does not know the row.
    """

    candidates: int
    exempt: int
    needed: int
    unjudged: Mapping[str, int]

    @classmethod
    def of(cls, outcomes: Mapping[str, Mapping[str, int]]) -> JudgedShare:
        """From the candidates by outcome and reason, as a manifest has them under `verdicts`."""
        found = {outcome: dict(outcomes.get(str(outcome), {})) for outcome in Outcome}
        candidates = sum(sum(reasons.values()) for reasons in found.values())
        unjudged = found[Outcome.UNJUDGED]
        exempt = unjudged.pop("exempt", 0)
        free = sum(sum(found[outcome].values()) for outcome in (Outcome.DUPLICATE, Outcome.EMPTY))
        return cls(candidates, exempt, candidates - free - exempt, dict.fromkeys(WITHOUT_ANSWER, 0) | unjudged)

    @property
    def judged(self) -> int:
        return self.needed - sum(self.unjudged.values())

    @property
    def share(self) -> float:
        """From 0 to 1; 1 where nothing needs a judge."""
        return self.judged / self.needed if self.needed else 1.0

    def reasons(self) -> str:
        """What became of those without an answer: `0 failed, 2 unparsable, 488 not reached`."""
        return ", ".join(f"{number:,} {WHY_UNJUDGED.get(reason, reason)}" for reason, number in self.unjudged.items())

    def to_dict(self) -> dict[str, Any]:
        return {
            "needed": self.needed,
            "judged": self.judged,
            "unjudged": self.needed - self.judged,
            "without_answer": dict(self.unjudged),
        }

    def check(
        self,
        source: str,
        journal: Journal,
        min_judged: float | None,
        by: str = "",
        failure: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Whether enough was judged to build.

        Args:
            source: its name.
            min_judged: the share that must have been; None for `ENOUGH`.
            by: the run that was looked at, as messages name it.
            failure: gives what went wrong first in that run, for the message; None where nothing did.

        Raises:
            NotJudged: too little was.
            BuildError: a share is wanted, and there is nothing to judge.
        """
        if min_judged:
            self._check_any()
        least = ENOUGH if min_judged is None else min_judged
        if least and self.needed and not self.judged:
            raise NotJudged(self._nothing(source, f"{journal.path} by {by}" if by else str(journal.path), failure))
        if self.judged < least * self.needed:
            raise NotJudged(self._too_little(f" by {by}" if by else "", failure, least))

    def tell(self, source: str) -> None:
        """Warn of those that were not judged, where there are any."""
        if self.judged < self.needed:
            _logger.warning(
                "Only %s of %s of %s that need a judge were judged (%s): %s. The others stay negatives."
                " Judge the rest for a set that is relabelled as a whole.",
                f"{self.judged:,}",
                counted(self.needed, "candidate"),
                source,
                percent(self.share),
                self.reasons(),
            )

    def _nothing(self, source: str, where: str, failure: Callable[[], str | None]) -> str:
        found = f"None of the {self.needed:,} candidates of {source} was judged in {where}"
        if self.unjudged["not-reached"] == self.needed:
            return f"{found}: run judge on it, or name another with {argument('journal')}."
        return f"{found} ({self.reasons()}).{_the_first(failure())} {self._remedy()}."

    def _remedy(self) -> str:
        """What makes it more, in one sentence without its full stop."""
        failed = self.unjudged["failed"] + self.unjudged["unparsable"]
        steps = {
            f"judge again with {argument('retry_failed', True)} to ask about those that failed": failed,
            "judge the rest": self.unjudged["not-reached"],
            "give the judge what it lacks (a truth file needs a line for each row)": self.unjudged.get(UNKNOWN, 0),
        }
        first, *others = [step for step, number in steps.items() if number] or ["judge it"]
        return ", and ".join([f"{first[0].upper()}{first[1:]}", *others])

    def _check_any(self) -> None:
        if not self.candidates:
            raise BuildError("There is nothing to judge: no row has a negative. Mine hard negatives first.")
        if self.exempt == self.candidates:
            raise BuildError(
                f"Nothing was judged: all {self.exempt:,} candidates are of subsets that the judge leaves alone."
            )

    def _too_little(self, by: str, failure: Callable[[], str | None], least: float) -> str:
        return (
            f"Only {self.judged:,} of {counted(self.needed, 'candidate')} were judged{by}: {self.reasons()};"
            f" {percent(least)} must be.{_the_first(failure())} {self._remedy()},"
            f" or build with {argument('min_judged', 0)} to take it as it is."
        )


def judged_enough(
    items: Iterable[tuple[NumberedRow, list[Verdict]]],
    source: str,
    journal: Journal,
    min_judged: float | None,
    by: str = "",
) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    """The rows, and an error after the last, before anything takes its place, where too little of them was judged."""
    outcomes: Counter[tuple[str, str]] = Counter()
    failure: str | None = None
    for item in items:
        outcomes.update((str(verdict.outcome), verdict.reason) for verdict in item[1])
        failure = failure or _failure_in(item[1])
        yield item
    share_of(outcomes).check(source, journal, min_judged, by, lambda: failure)


def check_any_judged(items: Iterable[tuple[NumberedRow, list[Verdict]]], source: str, journal: Journal) -> None:
    """Whether anything was judged, where something needs a judge. Reads no further than to the first that was.

    Raises:
        BuildError: nothing was.
    """
    outcomes: Counter[tuple[str, str]] = Counter()
    failure: str | None = None
    for _, verdicts in items:
        outcomes.update((str(verdict.outcome), verdict.reason) for verdict in verdicts)
        failure = failure or _failure_in(verdicts)
        if share_of(outcomes).judged:
            return
    share_of(outcomes).check(source, journal, None, failure=lambda: failure)


def share_of(outcomes: Counter[tuple[str, str]]) -> JudgedShare:
    """From the candidates by outcome and reason."""
    nested: dict[str, dict[str, int]] = {}
    for (outcome, reason), number in outcomes.items():
        nested.setdefault(outcome, {})[reason] = number
    return JudgedShare.of(nested)


def _failure_in(verdicts: Iterable[Verdict]) -> str | None:
    """What is said of the first that failed: verdicts are of one run, while a journal holds those of others too."""
    unjudged = (verdict for verdict in verdicts if verdict.outcome is Outcome.UNJUDGED)
    said = (judgement for verdict in unjudged for judgement in verdict.stages if judgement is not None)
    return next((judgement.rationale for judgement in said if not judgement.label.is_answer), None)


def _the_first(failure: str | None) -> str:
    message = "" if failure is None else " ".join(failure.split())[:200].rstrip(".")
    return f" The first: {message}." if message else ""
