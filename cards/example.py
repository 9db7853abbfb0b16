"""The worked example of a data card: one row with a negative that was relabelled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from hf_relabel.builders.judgements import Judgement, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.techniques import DEFAULT_LIMIT, Technique, account

MOST_ROWS = 10_000
"""Rows looked at for an example."""


@dataclass(frozen=True, slots=True)
class Example:
    """A negative that `relabel` makes a positive, its row, and what each stage said of it.

    Attributes:
        stages: per stage of the cascade its judgement, None where the stage did not see it.
    """

    row: Row
    candidate: Passage
    stages: tuple[Judgement | None, ...]

    @property
    def score(self) -> float | None:
        """Of the last judge that saw it; None where that gave none."""
        said = [judgement for judgement in self.stages if judgement is not None]
        return said[-1].score if said else None

    @property
    def has_reason(self) -> bool:
        """Whether some judge said why."""
        return any(judgement is not None and judgement.rationale.strip() for judgement in self.stages)


@dataclass(slots=True)
class ExampleFinder:
    """Finds an example while rows pass by: the first where a judge gave a reason, else the first.

    Attributes:
        limit: as in `techniques.account`; rows over it are not relabelled.
        example: what was found so far.
    """

    limit: int = DEFAULT_LIMIT
    example: Example | None = None
    _seen: int = field(default=0, repr=False)

    @property
    def is_done(self) -> bool:
        """Whether further rows cannot change the example."""
        return self._seen >= MOST_ROWS or (self.example is not None and self.example.has_reason)

    def add(self, numbered: NumberedRow, verdicts: Sequence[Verdict]) -> None:
        """Look at one row."""
        if self.is_done:
            return
        self._seen += 1
        for found in examples_of_row(numbered, verdicts, limit=self.limit):
            if self.example is None or found.has_reason:
                self.example = found
            if self.is_done:
                return


def examples_of_row(
    numbered: NumberedRow, verdicts: Sequence[Verdict], *, limit: int = DEFAULT_LIMIT
) -> Iterator[Example]:
    """All that `relabel` makes positives of one row, in the order of its negatives."""
    if not any(verdict.is_false_negative for verdict in verdicts):
        return
    row = numbered.row
    moved = set(account(Technique.RELABEL, row, verdicts, limit=limit).moved)
    for verdict in sorted(verdicts, key=lambda verdict: verdict.position):
        if verdict.position in moved:
            yield Example(row, row.negative_passages[verdict.position], verdict.stages)


def example_of(
    judged_rows: Iterable[tuple[NumberedRow, Sequence[Verdict]]], *, limit: int = DEFAULT_LIMIT
) -> Example | None:
    """The example that `ExampleFinder` finds, None where nothing was relabelled. Reads no more rows than needed."""
    finder = ExampleFinder(limit)
    for numbered, verdicts in judged_rows:
        finder.add(numbered, verdicts)
        if finder.is_done:
            break
    return finder.example
