"""Which rows of a release to find, and the same as a condition in SQL."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Label, Outcome
from hf_relabel.builders.techniques import Technique

NOT_ASKED = "not-asked"
OUTCOMES = tuple(str(outcome) for outcome in Outcome)
LABELS = (*(str(label) for label in Label), NOT_ASKED)
"""What `Filter.outcomes` and `Filter.labels` may name."""

_CHANGED = (Outcome.FALSE_NEGATIVE, Outcome.DUPLICATE, Outcome.EMPTY)
CHANGING: dict[str, tuple[Outcome, ...]] = {
    Technique.ORIGINAL: (),
    Technique.REMOVE: _CHANGED,
    Technique.REMOVE_HN: _CHANGED,
    Technique.RELABEL: _CHANGED,
    Technique.RELABEL_FILTER: (*_CHANGED, Outcome.DOUBTFUL),
}
"""A technique changes or drops a row exactly where a candidate has one of these outcomes (`techniques.account`)."""

_MOST_TEXT = 1_000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows to find. All that is given must hold; what is empty or False holds for every row.

    `outcomes`, `labels` and `disagreement` speak of candidates: a row is found where one and the same candidate has one
    of the outcomes and one of the labels and (with `disagreement`) two stages that do not agree on whether it is
    `better`.

    Attributes:
        text: words that all must occur in the query or in the query id, each anywhere in it, in any case. Passages,
            titles, docids and rationales are not searched: the index does not hold them.
        subset: exactly this one; None is all, "" the rows without one.
        outcomes: values of `Outcome`.
        labels: values of `Label`, of the last stage that saw the candidate; "not-asked" where none did.
        disagreement: see above.
        suspects: rows with a suspected ground truth only.
        changed_by: the name of a technique that changes the row or drops it.
    """

    text: str = ""
    subset: str | None = None
    outcomes: Collection[str] = ()
    labels: Collection[str] = ()
    disagreement: bool = False
    suspects: bool = False
    changed_by: str | None = None


def checked(wanted: Filter) -> Filter:
    """The filter in the one form that all equal filters have.

    Raises:
        ConfigError: an unknown outcome, label or technique, or a text of more than 1,000 characters.
    """
    if len(wanted.text) > _MOST_TEXT:
        raise ConfigError(f"A search has at most {_MOST_TEXT:,} characters, found {len(wanted.text):,}.")
    outcomes, labels = frozenset(map(str, wanted.outcomes)), frozenset(map(str, wanted.labels))
    for what, given, known in (("outcome", outcomes, OUTCOMES), ("label", labels, LABELS)):
        unknown = sorted(given - set(known))
        if unknown:
            raise ConfigError(f"There is no {what} {unknown[0][:60]!r}. There are: {', '.join(known)}.")
    if wanted.changed_by is not None and wanted.changed_by not in CHANGING:
        raise ConfigError(f"There is no technique {wanted.changed_by[:60]!r}. There are: {', '.join(CHANGING)}.")
    return replace(wanted, text=" ".join(wanted.text.split()), outcomes=outcomes, labels=labels)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition in SQL, and the values of its question marks."""

    sql: str = "TRUE"
    values: tuple[str, ...] = ()

    def and_(self, sql: str, *values: str) -> Condition:
        return Condition(f"{self.sql} AND {sql}", (*self.values, *values))

    def and_among(self, column: str, names: Collection[str]) -> Condition:
        return self.and_(f"{column} IN ({', '.join('?' * len(names))})", *names)

    def and_said(self, said: Condition) -> Condition:
        """And some candidates of the row are as `said`, a condition on the table `said`."""
        sql = f"EXISTS (SELECT 1 FROM said WHERE said.number = rows.number AND {said.sql})"  # noqa: S608 - ours
        return self.and_(sql, *said.values)


def condition_of(wanted: Filter) -> Condition:
    """The condition on the table `rows` of the index (see `index_tables`) that holds for the rows to find."""
    found = Condition()
    if wanted.subset is not None:
        found = found.and_("subset = ?", wanted.subset)
    if wanted.suspects:
        found = found.and_("number IN (SELECT number FROM suspects)")
    said = Condition()
    if wanted.outcomes:
        said = said.and_among("outcome", wanted.outcomes)
    if wanted.labels:
        said = said.and_among("label", wanted.labels)
    if wanted.disagreement:
        said = said.and_("disagree")
    if said != Condition():
        found = found.and_said(said)
    if wanted.changed_by is not None:
        found = found.and_said(Condition().and_among("outcome", CHANGING[wanted.changed_by]))
    for word in wanted.text.split():
        found = found.and_("instr(text, ?)", word.casefold())
    try:
        "".join(found.values).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which no text of a file holds
        return Condition("FALSE")
    return found
