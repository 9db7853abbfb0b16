"""Searching a corpus with a model: encoded in blocks, the best of each merged with the best so far.

In memory are the queries, one block of documents and the best `top_k` of each query, however large the corpus.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.bm25.word_index import word_tokenizer
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.rows import joined_text
from hf_relabel.trainers.evaluation.sets import Document, RetrievalSet, Run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TOP_K = 100
BLOCK = 16_384
"""Documents encoded at once. Texts are sorted by length within a block, so larger ones pad less."""
BLOCK_LATE = 2_048
"""The same for a late-interaction model, which has a vector per token."""
_QUERIES_AT_ONCE = 1_024

Progress = Callable[[int], None]
"""Called with the number of documents done so far."""


def search(
    model: Any,
    data: RetrievalSet,
    *,
    top_k: int = TOP_K,
    block: int | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> dict[str, dict[str, float]]:
    """The documents a bi-encoder ranks highest for each query, with their scores.

    Args:
        model: a `SentenceTransformer`, `SparseEncoder` or `MultiVectorEncoder`. Its prompts for queries and documents
            and its similarity function are used.
        top_k: documents kept per query.
        block: documents in memory at once.
        batch_size: texts put through the model at once.

    Returns:
        By query id: `top_k` documents, or as many as there are, and their scores.

    Raises:
        ConfigError: the model gave a score that is no number, or the corpus is empty.
    """
    import numpy as np

    query_ids = list(data.queries)
    settings: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": False}
    if not _is_late(model):
        settings["convert_to_tensor"] = True
    queries = model.encode_query(list(data.queries.values()), **settings)
    # One more for each document that may have to be left out afterwards.
    spare = max((len(each) for each in data.excluded.values()), default=0)
    best = _Best(len(query_ids), top_k + spare)
    done = 0
    for documents in _blocks(data.corpus(), block or (BLOCK_LATE if _is_late(model) else BLOCK)):
        texts = [joined_text(document.title, document.text) for document in documents]
        encoded = model.encode_document(texts, **settings)
        docids = np.array([document.docid for document in documents], dtype=object)
        for first in range(0, len(query_ids), _QUERIES_AT_ONCE):
            some = slice(first, min(first + _QUERIES_AT_ONCE, len(query_ids)))
            best.add(some, *_top(model, _rows(queries, some), encoded, docids, best.size))
        done += len(documents)
        if progress is not None:
            progress(done)
    if not done:
        raise ConfigError(f"The corpus of {data.about.name} is empty: there is nothing to search.")
    return {
        query_id: _kept(*best.of(number), data.excluded.get(query_id, frozenset()), top_k)
        for number, query_id in enumerate(query_ids)
    }


def rerank(
    model: Any, data: RetrievalSet, run: Run, *, depth: int = TOP_K, batch_size: int = 64, queries_at_once: int = 16
) -> dict[str, dict[str, float]]:
    """Order the first `depth` documents of each query anew by a cross-encoder.

    Args:
        model: a `CrossEncoder` with one label.
        run: the first stage. Queries that are not of the set are left out.

    Raises:
        ConfigError: a document of the run is not in the corpus, or a score is no number.
    """
    import numpy as np

    chosen = {query_id: first(run[query_id], depth) for query_id in data.queries if query_id in run}
    texts = _texts_of({docid for docids in chosen.values() for docid in docids}, data)
    result: dict[str, dict[str, float]] = {}
    remaining = iter(chosen.items())
    while some := list(islice(remaining, queries_at_once)):
        pairs = [(data.queries[query_id], texts[docid]) for query_id, docids in some for docid in docids]
        scores = np.asarray(
            model.predict(pairs, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True)
            if pairs
            else np.zeros(0),
            dtype=np.float64,
        )
        if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
            raise ConfigError(
                f"The reranker gave scores of shape {scores.shape} for {len(pairs)} pairs, or some that are no numbers."
                " It must have one label."
            )
        place = 0
        for query_id, docids in some:
            values = scores[place : place + len(docids)].tolist()
            result[query_id] = dict(zip(docids, values, strict=True))
            place += len(docids)
    return result


def bm25(data: RetrievalSet, *, top_k: int = TOP_K) -> dict[str, dict[str, float]]:
    """A first stage without a model: BM25 as bm25s has it, English stop words left out, Chinese, Thai and their kin by
    pairs of characters. Holds the index in memory."""
    import bm25s

    docids: list[str] = []

    def texts() -> Iterator[str]:
        for document in data.corpus():
            docids.append(document.docid)
            yield f"{document.title} {document.text}"

    tokenizer, index = word_tokenizer(), bm25s.BM25()
    index.index((list(tokenizer.streaming_tokenize(texts())), tokenizer.get_vocab_dict()), show_progress=False)
    spare = max((len(each) for each in data.excluded.values()), default=0)
    tokens = tokenizer.tokenize(list(data.queries.values()), update_vocab=False, show_progress=False, return_as="tuple")
    found, scores = index.retrieve(
        tokens, k=min(top_k + spare, len(docids)), show_progress=False, n_threads=1, backend_selection="numpy"
    )
    return {
        query_id: _kept([docids[place] for place in places], values, data.excluded.get(query_id, frozenset()), top_k)
        for query_id, places, values in zip(data.queries, found.tolist(), scores.tolist(), strict=True)
    }


class _Best:
    """The best documents of each query so far, in falling order of score."""

    def __init__(self, queries: int, size: int) -> None:
        import numpy as np

        self.size = size
        self.scores = np.full((queries, size), -np.inf, dtype=np.float32)
        self.docids = np.full((queries, size), None, dtype=object)

    def add(self, queries: slice, scores: npt.NDArray[np.float32], docids: npt.NDArray[Any]) -> None:
        """Merge what a block has. Shapes (queries, any number)."""
        import numpy as np

        together = np.concatenate([self.scores[queries], scores], axis=1)
        # Stable: of equal scores, the document that comes first in the corpus.
        order = np.argsort(-together, axis=1, kind="stable")[:, : self.size]
        names = np.concatenate([self.docids[queries], docids], axis=1)
        self.scores[queries] = np.take_along_axis(together, order, axis=1)
        self.docids[queries] = np.take_along_axis(names, order, axis=1)

    def of(self, query: int) -> tuple[Sequence[str], Sequence[float]]:
        found = [docid for docid in self.docids[query].tolist() if docid is not None]
        return found, self.scores[query].tolist()[: len(found)]


def _rows(vectors: Any, rows: slice) -> Any:
    """Some of the queries' vectors: a tensor, sparse ones too, or a list of a tensor per query."""
    import torch

    if isinstance(vectors, torch.Tensor) and vectors.is_sparse:
        return vectors.index_select(0, torch.arange(rows.start, rows.stop, device=vectors.device))
    return vectors[rows]


def _top(
    model: Any, queries: Any, documents: Any, docids: npt.NDArray[Any], size: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")  # said of the library's own product
        scores = model.similarity(queries, documents)
    scores = (scores.to_dense() if scores.is_sparse else scores).float()
    # A sum is finite only where all its parts are, and is had in a tenth of the time.
    if not bool(torch.isfinite(scores.sum())) and not bool(torch.isfinite(scores).all()):
        raise ConfigError("The model gave scores that are no numbers: it has not learned, or its weights are broken.")
    values, places = scores.topk(min(size, scores.shape[1]), dim=1)
    return values.cpu().numpy(), docids[places.cpu().numpy()]


def _blocks(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    remaining = iter(documents)
    while some := list(islice(remaining, size)):
        yield some


def _kept(docids: Sequence[str], scores: Sequence[float], excluded: frozenset[str], top_k: int) -> dict[str, float]:
    pairs = [(docid, score) for docid, score in zip(docids, scores, strict=True) if docid not in excluded]
    return dict(pairs[:top_k])


def first(scores: Mapping[str, float], depth: int) -> list[str]:
    """The first documents of a ranking, ties as trec_eval breaks them."""
    return sorted(sorted(scores, reverse=True), key=lambda docid: -scores[docid])[:depth]


def _texts_of(docids: set[str], data: RetrievalSet) -> dict[str, str]:
    texts = {
        document.docid: joined_text(document.title, document.text)
        for document in data.corpus()
        if document.docid in docids
    }
    if missing := docids - texts.keys():
        raise ConfigError(
            f"The first stage names {len(missing)} documents, such as {min(missing)!r}, that are not in the corpus of"
            f" {data.about.name}: it is of another set."
        )
    return texts


def _is_late(model: Any) -> bool:
    from sentence_transformers import MultiVectorEncoder

    return isinstance(model, MultiVectorEncoder)
