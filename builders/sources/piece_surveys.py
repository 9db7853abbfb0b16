"""What reading a piece once tells: its rows' hashes, what was skipped, its subsets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.pieces import Piece, PieceRows, Reading
from hf_relabel.builders.sources.source_options import Skipped

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class PieceSurvey:
    """What one piece holds.

    Attributes:
        hashes: of its rows, of subset, query and positives (`row_hash`).
    """

    hashes: Hashes
    reading: Reading = field(default_factory=Reading)

    @property
    def rows(self) -> int:
        return len(self.hashes)


def survey(source: Source, piece: Piece) -> PieceSurvey:
    """Read a piece once.

    Raises:
        BadRow: see `PieceRows.rows`.
    """
    import numpy as np

    rows = PieceRows(source, piece)
    hashes = [row_hash(numbered.row) for numbered in rows.rows()]
    return PieceSurvey(np.array(hashes, dtype=np.uint64), rows.reading)


def row_hash(row: Row) -> int:
    """A 64-bit hash of the query: only rows of one hash can share a question. Of two that do the ground truths may
    differ, in those that no prompt shows."""
    digest = hashlib.blake2b(row.query.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def note_readings(source: Source, readings: Sequence[Reading]) -> None:
    """Tell a source what a reading of its pieces has found, as if it had been read itself.

    Raises:
        SourceError: no row is of a subset that was asked for.
    """
    source.skipped = Skipped(sum(reading.skipped for reading in readings))
    source.ignored_fields.update(*(reading.ignored_fields for reading in readings))
    check_subsets(source, frozenset[str]().union(*(reading.subsets for reading in readings)))


def check_subsets(source: Source, seen: frozenset[str]) -> None:
    """Whether there are rows of all subsets that were asked for.

    Raises:
        SourceError: there are none.
    """
    if missing := [subset for subset in source.options.subset or () if subset not in seen]:
        raise SourceError(
            f"{source.name}: no row is of the subset {', '.join(map(repr, missing))}. There are: "
            f"{', '.join(map(repr, sorted(seen))) or 'no rows'}."
        )


def repeated(surveys: Sequence[PieceSurvey]) -> list[Hashes]:
    """For each piece, the hashes of its rows that an earlier piece has a row of. Sorted."""
    import numpy as np

    if not surveys:
        return []
    pieces = np.repeat(np.arange(len(surveys)), [survey.rows for survey in surveys])
    everything = np.concatenate([survey.hashes for survey in surveys])
    unique, first = np.unique(everything, return_index=True)
    first_piece = pieces[first] if len(everything) else first
    found = []
    for index, one in enumerate(surveys):
        own = np.unique(one.hashes)
        found.append(own[first_piece[np.searchsorted(unique, own)] < index])
    return found
