"""The pool: what runs rank high and nobody judged, as rows whose candidates any judge can be asked about."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.qrels.collection import Collection
from hf_relabel.builders.sources.files import Record
from hf_relabel.builders.sources.records import StoredRecords

Rankings = Mapping[str, Mapping[str, Sequence[str]]]
"""By run, then by query id: docids, best first."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An unjudged document of the pool of a query.

    Attributes:
        found: the runs that have it within the depth, and at which rank (from 1).
    """

    docid: str
    found: tuple[tuple[str, int], ...]

    @property
    def rank(self) -> int:
        """The best of its ranks."""
        return min(rank for _, rank in self.found)


Pool = Mapping[str, Sequence[Candidate]]
"""By query id."""


def pooled(rankings: Rankings, collection: Collection, depth: int) -> dict[str, tuple[Candidate, ...]]:
    """Of each query with a relevant document what is unjudged among the first `depth` documents of any run, once each.

    A document with the query's own id is the query itself, and never an answer (as in BEIR's evaluation).

    Returns:
        By query id, in the order of the judgements; candidates by their best rank. Queries with none are left out.

    Raises:
        ConfigError: a file of judgements could not hold the id of a candidate.
    """
    pool = {}
    for query_id in collection.grades:
        if query_id not in collection.queries or not collection.relevant(query_id):
            continue
        judged, found = collection.grades[query_id], dict[str, list[tuple[str, int]]]()
        for run, ranking in rankings.items():
            for rank, docid in enumerate(ranking.get(query_id, ())[:depth], start=1):
                if docid not in judged and docid != query_id:
                    found.setdefault(docid, []).append((run, rank))
        candidates = [Candidate(docid, tuple(places)) for docid, places in found.items()]
        for each in candidates:
            _check_holds(each.docid)
        if candidates:
            pool[query_id] = tuple(sorted(candidates, key=lambda each: (each.rank, each.docid)))
    return pool


def _check_holds(docid: str) -> None:
    """What is judged relevant becomes a line `query-id<TAB>corpus-id<TAB>score`."""
    if any(separator in docid for separator in "\t\r\n"):
        raise ConfigError(
            f"Judgements cannot hold the document id {docid[:80]!r}: it has a tab or a line break. Give the document"
            " another in the corpus."
        )


class Texts:
    """Those documents of a corpus that are asked for, in a temporary file; in memory only where each starts."""

    def __init__(self, documents: Iterable[Record], wanted: Iterable[str]) -> None:
        left, self._stored, self._places = set(wanted), StoredRecords(), dict[str, int]()
        for record in documents:
            if record["docid"] in left:
                left.discard(record["docid"])
                self._places[record["docid"]] = len(self._stored)
                self._stored.append(record)

    def __contains__(self, docid: object) -> bool:
        return docid in self._places

    def __getitem__(self, docid: str) -> Record:
        return self._stored[self._places[docid]]


def texts_of(collection: Collection, pool: Pool) -> Texts:
    """The documents that were judged or pooled. The corpus is read once.

    Raises:
        ConfigError: it does not have a document that a run found.
    """
    judged = {docid for grades in collection.grades.values() for docid in grades}
    candidates = {each.docid: each.found[0][0] for found in pool.values() for each in found}
    texts = Texts(collection.documents(), judged | candidates.keys())
    missing = [docid for docid in candidates if docid not in texts]
    if missing:
        raise ConfigError(
            f"The run {candidates[missing[0]]!r} names documents that {collection.files.corpus.name} does not have,"
            f" such as {missing[0][:80]!r} ({len(missing):,} in all runs): it is of another set."
        )
    return texts


def pool_rows(collection: Collection, pool: Pool, texts: Texts) -> Iterator[Record]:
    """A row for each query of the pool: its relevant documents are the positives, the candidates the negatives.

    Queries whose relevant documents are all missing from the corpus have none to compare with, and are left out.
    """
    for query_id, candidates in pool.items():
        positives = [texts[docid] for docid in collection.relevant(query_id) if docid in texts]
        if positives:
            yield {
                "query_id": query_id,
                "query": collection.queries[query_id],
                "positive_passages": positives,
                "negative_passages": [texts[each.docid] for each in candidates],
                "subset": collection.name,
            }


def write_pool(path: Path, rows: Iterable[Record]) -> int:
    """Write rows as JSON lines, and return how many there are. The same rows give the same bytes."""
    count = 0
    with written_whole(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count
