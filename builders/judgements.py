"""What a judge says of a candidate, and what a cascade concludes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Label(StrEnum):
    """A judge's label for one candidate (RLHN, arXiv 2505.16967, section 3).

    `UNPARSABLE` (the reply could not be read) and `FAILED` (no reply came) say nothing about the candidate: they are
    never read as irrelevant and never stored as answers.
    """

    BETTER = "better"
    WORSE = "worse"
    IRRELEVANT = "irrelevant"
    UNPARSABLE = "unparsable"
    FAILED = "failed"

    @property
    def is_answer(self) -> bool:
        return self is not Label.UNPARSABLE and self is not Label.FAILED


@dataclass(frozen=True, slots=True)
class Judgement:
    """One judge's word on one candidate.

    Attributes:
        label: see `Label`.
        score: confidence in [0, 1] that the candidate is relevant, or None where the judge has none.
        rationale: the judge's reason for this candidate, "" where it gave none. For `UNPARSABLE` and `FAILED`: what
            went wrong, in one line.
        prompt_tokens, completion_tokens: usage of the reply that holds this judgement, divided evenly among the
            candidates it answers for; None where the server does not say.
        place: 1-based place of the candidate among those its prompt showed, None where there was no order. Not part of
            what was said, so judgements that differ in it alone are equal.
        cut: whether the query or the passage was too long and only a part of it was shown.
        reply: number of the reply in its journal that holds this judgement, None where none is kept. Not part of what
            was said either.
    """

    label: Label
    score: float | None = None
    rationale: str = ""
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    place: int | None = field(default=None, compare=False)
    cut: bool = field(default=False, compare=False)
    reply: int | None = field(default=None, compare=False)

    @property
    def is_unknown(self) -> bool:
        """Whether there is no answer because the judge does not know the row: asking again changes nothing."""
        return self.label is Label.FAILED and self.rationale.startswith(UNKNOWN_ROW)


ANSWERS_BY = "answers_by"
"""The setting of a judge whose answers hang on more than query, ground truths and candidate: on `ids`, or on the other
candidates of the `row`. Its journal keys then hold those too."""

UNKNOWN_ROW = "The judge does not know this row"
"""How the rationale begins of a judge that has no answer because it knows some rows only."""


class Outcome(StrEnum):
    """The cascade's final word on a candidate."""

    FALSE_NEGATIVE = "false_negative"
    """Relevant, at least as good as the ground truth."""
    DUPLICATE = "duplicate"
    """A copy of a positive (same text): a false negative that needs no second copy among the positives."""
    DOUBTFUL = "doubtful"
    """Some stage called it relevant, the final word did not make it a false negative."""
    NEGATIVE = "negative"
    """Judged, and nobody doubted it."""
    EMPTY = "empty"
    """No text: nothing to judge."""
    UNJUDGED = "unjudged"
    """Not judged: exempt, failed, unparsable, unknown to the judge or not reached."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The final word on candidate `position` (0-based in `negative_passages`) of one row.

    Attributes:
        reason: why, in a word: `judged`, `calibrated` (thresholds of an audit decided), `same-text`, `same-docid`,
            `empty`, `exempt`, `failed`, `unparsable`, `unknown` (the judge does not know the row), `not-reached`.
        stages: per stage of the cascade its judgement of this candidate, None where the stage did not see it.
    """

    position: int
    docid: str
    outcome: Outcome
    reason: str
    stages: tuple[Judgement | None, ...] = ()

    @property
    def is_false_negative(self) -> bool:
        return self.outcome in (Outcome.FALSE_NEGATIVE, Outcome.DUPLICATE)
