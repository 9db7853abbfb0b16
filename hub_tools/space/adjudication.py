"""Blind adjudication: people answer for a sample of the candidates, without seeing what the judges said.

The sample is that of an audit (builders/audit/sampling): stratified and seeded, so a release, a size and a seed always
give the same one. Each person has an order of their own. An answer is on the disk before `answer` returns, and goes to
the config `human` of the data set in the background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.exports import CHOICES, QUESTION
from hf_relabel.builders.audit.sampling import AuditSample
from hf_relabel.hub_tools.space.browsing import Browser
from hf_relabel.hub_tools.space.human import SyncState

__all__ = ["CHOICES", "QUESTION", "Adjudication", "Agreement", "Progress", "Question", "SampleState", "Shown"]


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
    """

    person: str
    answered: int
    of: int
    everybody: int
    can_undo: bool


@dataclass(frozen=True, slots=True)
class SampleState:
    """How far the sample is: `lines` of the verdicts read, `of` all.

    Attributes:
        is_ready: questions can be asked.
        error: one line, where it cannot be drawn.
    """

    lines: int
    of: int
    is_ready: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How people and judges agree, as of now.

    Attributes:
        answers: of all people.
        people: see `audit.people.agreement`.
        report: see `AuditReport.to_dict`; None while nobody has answered.
        text: the same as plain tables, "" while nobody has answered.
        by_person: for each person, each judge's Cohen's kappa with them (`better` against the rest, weighted by what
            the items stand for), None where it is not defined; "verdict" is the cascade's last word.
        reason: why there is no report, in a sentence; None where there is one.
    """

    answers: int
    people: Mapping[str, Any]
    report: Mapping[str, Any] | None
    text: str
    by_person: Mapping[str, Mapping[str, float | None]]
    reason: str | None


class Adjudication:
    """The adjudication of one release by any number of people. Safe to use from several threads."""

    @classmethod
    def open(
        cls,
        browser: Browser,
        folder: Path,
        *,
        size: int = 400,
        seed: int = 0,
        token: str | None = None,
        push: bool = True,
    ) -> Adjudication:
        """Begin, or go on: reads what is in `folder` and in the config `human`, and draws the sample in the background.

        Args:
            folder: where answers are kept on this machine. Several processes may share it.
            size, seed: of the sample.
            token: with which answers are committed, the server's own; None takes the stored token or `HF_TOKEN`.
            push: commit answers to the data set that was opened (its main branch); never for a folder.

        Raises:
            ConfigError: the folder cannot be written to, or the size is below 1.
            ReleaseError: the config `human` cannot be read.
        """
        raise NotImplementedError

    def sample_state(self) -> SampleState:
        """How far the drawing of the sample is."""
        raise NotImplementedError

    def wait_for_sample(self, seconds: float | None = None) -> SampleState:
        """Wait until the sample is drawn, has failed, or the time is over."""
        raise NotImplementedError

    def next(self, person: str) -> Question | None:
        """The first item in the person's order that they have not answered; None where none is left.

        Raises:
            ConfigError: the sample is not ready, see `sample_state`.
        """
        raise NotImplementedError

    def answer(self, person: str, item: str, value: str) -> Progress:
        """Keep an answer. It is on the disk when this returns.

        The same answer to the same item again changes nothing, so that a key pressed twice or a request sent twice
        counts once; another answer to it takes the place of the first.

        Args:
            item: of the question.
            value: one of `CHOICES`.

        Raises:
            ConfigError: no such item, or no such answer.
            BuildError: the disk would not take it; nothing was kept.
        """
        raise NotImplementedError

    def undo(self, person: str) -> Question | None:
        """Take the person's last answer back and give its question again; None where there is nothing to take back.

        Raises:
            BuildError: the disk would not take it; nothing was taken back.
        """
        raise NotImplementedError

    def progress(self, person: str) -> Progress:
        raise NotImplementedError

    def agreement(self) -> Agreement:
        """How people and judges agree by now. Kept until the next answer, so it may be asked for often."""
        raise NotImplementedError

    def sync_state(self) -> SyncState:
        """How many answers are not yet on the Hub, and why."""
        raise NotImplementedError

    def flush(self, seconds: float = 30) -> SyncState:
        """Send what is unsent now and wait for it, at most so long."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Read what other servers have committed and other processes have written since."""
        raise NotImplementedError

    def to_audit(self) -> tuple[AuditSample, list[Answer]]:
        """The sample and all answers, as `builders.audit.report.report` takes them. Not blind."""
        raise NotImplementedError

    def close(self) -> None:
        """Send what is unsent, for some seconds at most, and stop. What could not be sent is sent the next time."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
