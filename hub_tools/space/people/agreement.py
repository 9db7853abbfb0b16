"""How people's answers agree, with each other and with the judges."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.estimation import Answered
from hf_relabel.builders.audit.people import agreement as agreement_of
from hf_relabel.builders.audit.people import kappa
from hf_relabel.builders.audit.report import VERDICT, audit_report
from hf_relabel.builders.audit.sample import AuditSample, Item
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Label, Outcome

_LONG_SECONDS = 0.5
"""Figures of agreement that take longer are not worked out after every answer."""


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


@dataclass(frozen=True, slots=True)
class _Kept:
    """An agreement that was worked out: from how many events, and until when it is good enough."""

    version: int
    until: float
    found: Agreement


class AgreementByNow:
    """The agreement as it is asked for, often: kept until the next answer, and longer where it takes long."""

    def __init__(self) -> None:
        self._kept: _Kept | None = None

    def found(self, sample: AuditSample, answers: Sequence[Answer], version: int, *, newest: bool) -> Agreement:
        """How these answers agree, or how those a moment ago did.

        Args:
            version: grows with every event.
            newest: never those a moment ago.
        """
        known, began = self._kept, time.monotonic()
        if known is not None and (known.version == version or (not newest and began < known.until)):
            return known.found
        found = measured_agreement(sample, answers)
        took = time.monotonic() - began
        # The first time most of it is imports.
        until = began + (11 * took if known is not None and took > _LONG_SECONDS else 0)
        self._kept = _Kept(version, until, found)
        return found


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
