"""Which rows of a source are read, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.sources.beir import MINED_NEGATIVES
from hf_relabel.builders.sources.columns import Columns
from hf_relabel.builders.sources.given_columns import given_columns
from hf_relabel.builders.sources.samples import Sample

MESSAGES_KEPT = 20


@dataclass
class Skipped:
    """Bad rows that were left out: how many, and what was wrong with the first 20."""

    count: int = 0
    messages: list[str] = field(default_factory=list)

    def add(self, bad: BadRow) -> None:
        self.count += 1
        if len(self.messages) < MESSAGES_KEPT:
            self.messages.append(str(bad))

    def to_dict(self) -> dict[str, Any]:
        return {"count": self.count, "messages": list(self.messages)}


@dataclass(frozen=True)
class Options:
    """Which rows of a source to read. See `open_source`."""

    subset: tuple[str, ...] | None = None
    sample: Sample | None = None
    skip_bad_rows: bool = False
    limit: int | None = None
    mined_negatives: int = MINED_NEGATIVES
    columns: Columns = field(default_factory=dict)
    relevant_from: float | None = None

    @classmethod
    def checked(
        cls,
        name: str,
        subset: str | Sequence[str] | None,
        sample: Sample | None,
        skip_bad_rows: bool,
        limit: int | None,
        mined_negatives: int,
        columns: Mapping[str, str | Sequence[str]] | None = None,
        relevant_from: float | None = None,
    ) -> Options:
        """The options as `open_source` takes them.

        Raises:
            SourceError: one of them is out of range.
        """
        if limit is not None and (limit < 0 or isinstance(limit, bool)):
            raise SourceError(f"{name}: the limit cannot be {limit}.")
        if relevant_from is not None and not abs(relevant_from) < math.inf:
            found = argument("relevant_from", relevant_from)
            raise SourceError(f"{name}: {found} is no label. Give the least label of a relevant passage, such as 2.")
        if mined_negatives < 1 or isinstance(mined_negatives, bool):
            raise SourceError(f"{name}: at least one negative has to be mined for each query, not {mined_negatives}.")
        if subset is not None and not isinstance(subset, str) and not subset:
            raise SourceError(f"{name}: {argument('subset', [])} keeps no row. Name one, or leave it out to keep all.")
        subsets = (subset,) if isinstance(subset, str) else None if subset is None else tuple(subset)
        given = given_columns(columns, name)
        return cls(subsets, sample, skip_bad_rows, limit, mined_negatives, given, relevant_from)
