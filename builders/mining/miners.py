"""What finds negatives: a miner is given queries and answers with the positions of passages, hardest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from hf_relabel.builders.bm25.word_index import QUERIES_AT_ONCE, WordIndex
from hf_relabel.builders.mining.pairs import Candidates, Query
from hf_relabel.builders.mining.settings import MiningSettings


class Miner(Protocol):
    """Finds negatives.

    Attributes:
        queries_at_once: how many queries it likes to get.
    """

    queries_at_once: int

    def negatives(self, queries: Sequence[Query]) -> list[list[int]]:
        """For each query the positions of its negatives, hardest first, none of them left out by the query."""
        ...

    def models(self) -> dict[str, str | None]:
        """The models it used with their revisions."""
        ...


class WordMiner:
    """Finds negatives by BM25: passages that share words with the query."""

    queries_at_once = QUERIES_AT_ONCE

    def __init__(self, settings: MiningSettings, candidates: Candidates, progress: Callable[[int], None]) -> None:
        self._settings = settings
        self._index = WordIndex(_counted(candidates, progress))

    def negatives(self, queries: Sequence[Query]) -> list[list[int]]:
        settings = self._settings
        last = settings.range_min + settings.negatives
        spare = max(len(query.left_out) for query in queries)
        found = self._index.best([query.text for query in queries], last + spare)
        mined = []
        for query, ranked in zip(queries, found, strict=True):
            left_out = query.left_out
            kept = [position for position, score in ranked if score > 0 and position not in left_out]
            mined.append(kept[settings.range_min : last])
        return mined

    def models(self) -> dict[str, str | None]:
        return {}


def _counted(candidates: Candidates, progress: Callable[[int], None]) -> Iterator[str]:
    for number, text in enumerate(candidates.words(), start=1):
        yield text
        progress(number)
