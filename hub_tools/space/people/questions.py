"""What people are asked, and how far they are."""

from __future__ import annotations

from dataclasses import dataclass

from hf_relabel.builders.audit.sample import Text


@dataclass(frozen=True, slots=True)
class Shown:
    """A passage as people see it."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a person sees before they answer: nothing in it depends on what judges said.

    Attributes:
        item: an id, to be given back with the answer.
        number: 1-based place in this person's order, of `of`.
        earlier: their own answer that was taken back or is to be changed, None where there is none.
    """

    item: str
    number: int
    of: int
    query: str
    positives: tuple[Shown, ...]
    candidate: Shown
    earlier: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a person is.

    Attributes:
        answered: of the `of` items of the sample.
        everybody: items with an answer of anybody.
        can_undo: whether there is an answer to take back.
        kept: answers of theirs to candidates that this sample does not draw, such as those of an earlier one.
    """

    person: str
    answered: int
    of: int
    everybody: int
    can_undo: bool
    kept: int = 0


@dataclass(frozen=True, slots=True)
class SampleState:
    """How far the sample is: `lines` of the verdicts, and then rows of what was drawn, read `of` all.

    Attributes:
        is_ready: questions can be asked.
        error: one line, where it cannot be drawn.
    """

    lines: int
    of: int
    is_ready: bool
    error: str | None

    @property
    def is_over(self) -> bool:
        """Drawn, or given up."""
        return self.is_ready or self.error is not None


def shown_passage(text: Text) -> Shown:
    return Shown(text.title, text.text)
