"""What people are asked, and how their answers agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.estimation import Answered
from hf_relabel.builders.audit.people import agreement as agreement_of
from hf_relabel.builders.audit.people import kappa
from hf_relabel.builders.audit.report import VERDICT, audit_report
from hf_relabel.builders.audit.sample import AuditSample, Item, Text
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Label, Outcome


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


@dataclass(frozen=True, slots=True)
class Agreement:
    """How people and judges agree, as of now.

    Attributes:
        answers: of all people.
        people: see `audit.people.agreement`.
        report: see `AuditReport.to_dict`; None while nobody has answered.
        text: the same as plain tables, "" while nobody has answered.
        by_person: for each person, each judge's Cohen's kappa with them (`better` against the rest, weighted by what
            their answers stand for), None where it is not defined; "verdict" is the cascade's last word.
        reason: why there is no report, in a sentence; None where there is one.
    """

    answers: int
    people: Mapping[str, Any]
    report: Mapping[str, Any] | None
    text: str
    by_person: Mapping[str, Mapping[str, float | None]]
    reason: str | None


def shown_passage(text: Text) -> Shown:
    return Shown(text.title, text.text)


def measured_agreement(sample: AuditSample, answers: Sequence[Answer]) -> Agreement:
    people = agreement_of(answers)
    by_person = {
        person: _kappas(sample, [answer for answer in answers if answer.person == person])
        for person in people["people"]
    }
    try:
        found = audit_report(sample, answers)
    except ConfigError as error:
        return Agreement(len(answers), people, None, "", by_person, str(error))
    return Agreement(len(answers), people, found.to_dict(), found.to_text(), by_person, None)


def _kappas(sample: AuditSample, answers: Sequence[Answer]) -> dict[str, float | None]:
    """How far each judge and the verdict agree with one person."""
    said = {answer.id: answer.value is Label.BETTER for answer in answers if answer.value is not None}
    items = [item for item in sample.items if item.id in said]
    labels = {id_: Label.BETTER if is_better else Label.IRRELEVANT for id_, is_better in said.items()}
    weights = Answered(sample, labels, (), seed=0).weights()
    kappas: dict[str, float | None] = {}
    for judge in (VERDICT, *sample.judges):
        seen = [item for item in items if judge == VERDICT or item.labels.get(judge) is not None]
        pairs = [(int(_is_better(item, judge)), int(said[item.id])) for item in seen]
        kappas[judge] = kappa(pairs, weights=[float(weights[sample.cells[item.cell].stratum]) for item in seen])
    return kappas


def _is_better(item: Item, judge: str) -> bool:
    if judge == VERDICT:
        return item.outcome is Outcome.FALSE_NEGATIVE
    return item.labels[judge] == Label.BETTER
