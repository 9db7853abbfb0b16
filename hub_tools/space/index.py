"""An index of a release's rows: what is searched and filtered by, read from the narrow columns alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class RowLine:
    """A row as a list shows it.

    Attributes:
        number: of the row, as `verdicts` counts it; what `Browser.row` takes.
        false_negatives: copies of positives included.
        disagreements: candidates on which stages do not agree.
        suspects: suspected ground truths.
        score: the highest of its candidates, None where there is none.
    """

    number: int
    query_id: str
    query: str
    subset: str
    candidates: int
    false_negatives: int
    doubtful: int
    unjudged: int
    disagreements: int
    suspects: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the rows that were found, in the order of their numbers.

    Attributes:
        total: rows found so far, all pages together. While the index is being read, more may come; those that are
            there keep their places.
        searched: rows that were looked at; `rows` are in the release. The page is final where both are equal.
    """

    total: int
    offset: int
    lines: tuple[RowLine, ...]
    searched: int
    rows: int

    @property
    def is_complete(self) -> bool:
        return self.searched == self.rows


@dataclass(frozen=True, slots=True)
class IndexState:
    """How far the index is.

    Attributes:
        error: one line, where it cannot be read; None otherwise. What was read before stays searchable.
    """

    rows: int
    of: int
    is_finished: bool
    error: str | None
    seconds: float
