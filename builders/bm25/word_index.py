"""BM25 over a list of texts, as bm25s has it, for every script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hf_relabel.builders.bm25.words import words

QUERIES_AT_ONCE = 256


def word_tokenizer() -> Any:
    """bm25s's tokenizer for every script, without English stop words. Of a text in a spaced script it makes what bm25s
    makes of it by itself."""
    from bm25s.tokenization import Tokenizer

    return Tokenizer(stopwords="english", splitter=words)


class WordIndex:
    """A BM25 index over texts, held in memory. English stop words are left out.

    Args:
        texts: the texts; each is known by its position from then on.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        import bm25s

        self._tokenizer = word_tokenizer()
        tokens = list(self._tokenizer.streaming_tokenize(texts))
        self._size = len(tokens)
        self._index = bm25s.BM25()
        if tokens:
            self._index.index((tokens, self._tokenizer.get_vocab_dict()), show_progress=False)

    def __len__(self) -> int:
        return self._size

    def best(self, queries: Sequence[str], depth: int) -> Iterator[list[tuple[int, float]]]:
        """For each query the positions and scores of the `depth` texts with the highest scores, best first.

        A text that shares no word with the query has the score 0. Equal scores are put in the order of the texts, so
        that the answer is the same every time.
        """
        if not queries or not self._size:
            yield from ([] for _ in queries)
            return
        tokens = self._tokenizer.tokenize(queries, update_vocab=False, show_progress=False, return_as="tuple")
        depth = min(depth, self._size)
        found, scores = self._index.retrieve(
            tokens, k=depth, show_progress=False, n_threads=1, backend_selection="numpy"
        )
        for positions, values in zip(found.tolist(), scores.tolist(), strict=True):
            yield sorted(zip(positions, values, strict=True), key=lambda pair: (-pair[1], pair[0]))
