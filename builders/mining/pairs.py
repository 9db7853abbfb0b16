"""Queries with their positives, and the passages that may become their negatives: on the disk, known by numbers."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hf_relabel.builders.rows import Passage, Row, folded, joined_text
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.findings import is_blank, likeness
from hf_relabel.builders.sources.records import StoredRecords

NONE = -1


@dataclass(frozen=True, slots=True)
class Query:
    """A query as a miner sees it.

    Attributes:
        text: the query.
        positives: the positions of all its known positives, those of other rows with the same text too.
        alike: the positions of further passages that are the query itself or one of its positives: by their id, or by
            their text, but for case, punctuation, blanks, the form of its Unicode and its title.
    """

    text: str
    positives: tuple[int, ...]
    alike: tuple[int, ...] = ()

    @property
    def left_out(self) -> frozenset[int]:
        """The positions of what can be no negative."""
        return frozenset((*self.positives, *self.alike))


class _Positions:
    """The positions under each key, once each and in the order they came. Most keys have one, which is kept bare: an
    `int` is an eighth of a dict with it. A few may have as many as there are passages."""

    def __init__(self) -> None:
        self._found: dict[bytes, int | dict[int, None]] = {}

    def add(self, key: bytes, position: int) -> None:
        found = self._found.setdefault(key, position)
        if isinstance(found, dict):
            found[position] = None
        elif found != position:
            self._found[key] = {found: None, position: None}

    def all(self, key: bytes) -> Iterable[int]:
        found = self._found.get(key, {})
        return (found,) if isinstance(found, int) else found


class Candidates:
    """All passages that may become negatives, each text once, on the disk. In memory are some bytes for each."""

    def __init__(self) -> None:
        self._passages = StoredRecords()
        self._by_content: dict[bytes, int] = {}
        self._documents: dict[str, int] = {}
        self._like = _Positions()
        self.copies = 0
        self.blank = 0

    def __len__(self) -> int:
        return len(self._passages)

    def __getitem__(self, position: int) -> Passage:
        return Passage(**self._passages[position])

    def text(self, position: int) -> str:
        """A passage as models read it."""
        passage = self[position]
        return joined_text(passage.title, passage.text)

    def words(self) -> Iterator[str]:
        """All passages as BM25 reads them, from the first."""
        for position in range(len(self)):
            passage = self[position]
            yield f"{passage.title} {passage.text}"

    def add_corpus(self, passages: Iterable[Passage], *, of_queries: bool = False) -> None:
        """Add a corpus.

        Args:
            of_queries: queries are documents of it where they have the same id, as in BEIR.
        """
        for passage in passages:
            before = len(self)
            position = self.add(passage)
            self.copies += position not in (NONE, before)
            self.blank += position == NONE
            if of_queries:
                self._documents.setdefault(passage.docid, position)

    def add(self, passage: Passage) -> int:
        """The position of the passage, that of an equal one where there is one; -1 for one without text."""
        if is_blank(passage):
            return NONE
        position = self._by_content.setdefault(_digest(passage.title, passage.text), len(self))
        if position == len(self):
            self._passages.append(passage.to_dict())
        for key in _likeness(passage):
            self._like.add(key, position)
        return position

    def like(self, query: str, query_id: str, positives: Iterable[int]) -> set[int]:
        """The positions of all passages that are the query, or one of these positives: by id, or by `likeness`."""
        keys = {_digest("text", key) for key in likeness("", query)}
        for position in positives:
            keys.update(_likeness(self[position]))
        found = {position for key in keys for position in self._like.all(key)}
        return found | {self._documents[query_id]} if query_id in self._documents else found


class Pairs:
    """The rows of a source, those of one query and id as one, on the disk. In memory are some bytes for each.

    Args:
        source: its negatives are left out, and counted in `left_out`; `scores` says whether positives have some.
        candidates: gets the positives.
        progress: called with the number of rows read so far.
    """

    def __init__(self, source: Source, candidates: Candidates, progress: Callable[[int], None]) -> None:
        self._candidates = candidates
        self._rows = StoredRecords()
        self._members: list[array[int]] = []
        self._positives = _Positions()
        self.left_out = 0
        self.scores = False
        numbers: dict[bytes, int] = {}
        for numbered in source.rows():
            row = numbered.row
            number = numbers.setdefault(_digest(row.subset, row.query_id, row.query), len(self._members))
            if number == len(self._members):
                self._members.append(array("q"))
            self._members[number].append(len(self._rows))
            self._add(row)
            progress(numbered.number + 1)

    def __len__(self) -> int:
        return len(self._members)

    @property
    def read(self) -> int:
        """How many rows the source had."""
        return len(self._rows)

    def _add(self, row: Row) -> None:
        self.left_out += len(row.negative_passages)
        self.scores = self.scores or any(passage.score is not None for passage in row.positive_passages)
        self._rows.append({**row.to_dict(scores=True), "negative_passages": []})
        positions = (self._candidates.add(passage) for passage in row.positive_passages)
        key = _digest(folded(row.query))
        for position in positions:
            if position != NONE:
                self._positives.add(key, position)

    def row(self, number: int) -> Row:
        """A row with all positives of its query and id, and without negatives."""
        records = [self._rows[member] for member in self._members[number]]
        passages = (Passage(**passage) for record in records for passage in record["positive_passages"])
        first = records[0]
        return Row(first["query_id"], first["query"], tuple(dict.fromkeys(passages)), (), first["subset"])

    def query(self, row: Row) -> Query:
        """The row's query as a miner sees it."""
        positives = tuple(self._positives.all(_digest(folded(row.query))))
        like = self._candidates.like(row.query, row.query_id, positives)
        return Query(row.query, positives, tuple(sorted(like.difference(positives))))


def _likeness(passage: Passage) -> list[bytes]:
    """What passages that say the same have in common: the id, or a key of their texts."""
    texts = [_digest("text", key) for key in likeness(passage.title, passage.text)]
    return [_digest("docid", passage.docid), *texts]


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
