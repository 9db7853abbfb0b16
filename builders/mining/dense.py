"""Negatives by a model's vectors, found by sentence-transformers' own `mine_hard_negatives`.

It is given numbers in place of texts, and a model that knows their vectors: each passage is encoded once, however many
batches of queries there are, and neither the corpus nor the scores of all queries are held. In memory are the vectors
of the passages, and of one batch of queries the best scores.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.extras import require
from hf_relabel.builders.mining.pairs import Candidates, Query
from hf_relabel.builders.mining.settings import MiningSettings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

PASSAGES_AT_ONCE = 2048
"""Encoded in one call. The model sorts them by length, so more of them pad less."""

SCORES_AT_ONCE = 2**25
"""Held in memory at once, as 4-byte numbers: queries times passages."""


class DenseMiner:
    """Finds negatives whose vectors are close to the query's.

    Raises:
        ConfigError: a library is not installed, or a model cannot be loaded.
    """

    queries_at_once = 2048

    def __init__(self, settings: MiningSettings, candidates: Candidates, progress: Callable[[int], None]) -> None:
        check_installed(settings)
        self._settings, self._candidates = settings, candidates
        self._model, self._named = _bi_encoder(settings)
        self._reranker, self._reranker_named = _cross_encoder(settings)
        self._vectors = self._encoded(progress)

    def models(self) -> dict[str, str | None]:
        return dict(named for named in (self._named, self._reranker_named) if named is not None)

    def negatives(self, queries: Sequence[Query]) -> list[list[int]]:
        from datasets import Dataset
        from sentence_transformers.util import mine_hard_negatives

        settings = self._settings
        pairs = [(number, positive) for number, query in enumerate(queries) for positive in query.positives]
        data = Dataset.from_dict({"query": [pair[0] for pair in pairs], "positive": [pair[1] for pair in pairs]})
        # More where a query may find itself or a copy of a positive: those are taken out afterwards.
        more = max(len(query.alike) for query in queries)
        with redirect_stderr(io.StringIO()):  # its progress bars, one for each batch
            mined = mine_hard_negatives(
                data,
                _KnownVectors(self._model, self._vectors, queries, settings),
                corpus=list(range(len(self._candidates))),
                cross_encoder=self._reranker and _KnownTexts(self._reranker, self._candidates, queries),
                range_min=settings.range_min,
                range_max=None if settings.range_max is None else settings.range_max + more,
                max_score=settings.max_score,
                absolute_margin=settings.absolute_margin,
                relative_margin=settings.relative_margin,
                num_negatives=settings.negatives + more,
                output_format="labeled-list",
                batch_size=settings.batch_size,
                faiss_batch_size=max(1, SCORES_AT_ONCE // len(self._candidates)),
                use_faiss=settings.faiss,
                verbose=False,
            ).to_dict()
        # One for each positive, all with the same negatives after it; none for a query without negatives.
        found = {number: passages[1:] for number, passages in zip(mined["query"], mined["positive"], strict=True)}
        left_out = [query.left_out for query in queries]
        return [
            [position for position in found.get(number, ()) if position not in unwanted][: settings.negatives]
            for number, unwanted in enumerate(left_out)
        ]

    def _encoded(self, progress: Callable[[int], None]) -> Vectors:
        import numpy as np

        count = len(self._candidates)
        vectors = np.empty((count, self._model.get_embedding_dimension()), dtype=np.float32)
        for start in range(0, count, PASSAGES_AT_ONCE):
            numbers = range(start, min(start + PASSAGES_AT_ONCE, count))
            vectors[numbers.start : numbers.stop] = self._model.encode_document(
                [self._candidates.text(number) for number in numbers],
                prompt=self._settings.passage_prompt,
                batch_size=self._settings.batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            progress(numbers.stop)
        return vectors


class _KnownVectors:
    """A bi-encoder as `mine_hard_negatives` asks it, for which passages and queries are numbers."""

    def __init__(self, model: Any, vectors: Vectors, queries: Sequence[Query], settings: MiningSettings) -> None:
        self._model, self._vectors, self._queries, self._settings = model, vectors, queries, settings
        self.device = model.device

    def get_embedding_dimension(self) -> int:
        return int(self._vectors.shape[1])

    def encode_document(self, numbers: Sequence[int], **_: Any) -> Vectors:
        if len(numbers) != len(self._vectors):
            raise ValueError(f"{len(numbers)} passages were asked for, there are {len(self._vectors)}.")
        return self._vectors

    def encode_query(self, numbers: Sequence[int], **_: Any) -> Vectors:
        found: Vectors = self._model.encode_query(
            [self._queries[number].text for number in numbers],
            prompt=self._settings.query_prompt,
            batch_size=self._settings.batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        ).astype("float32", copy=False)
        return found

    def similarity(self, queries: Any, passages: Any) -> Any:
        import torch

        if self._model.similarity_fn_name in ("cosine", "dot"):
            # The same for vectors of length 1, without the copy of all passages that the cosine would make of them.
            return torch.as_tensor(queries) @ torch.as_tensor(passages).T
        return self._model.similarity(queries, passages)

    def similarity_pairwise(self, queries: Any, passages: Any) -> Any:
        return self._model.similarity_pairwise(queries, passages)


class _KnownTexts:
    """A cross-encoder as `mine_hard_negatives` asks it, for which passages and queries are numbers."""

    def __init__(self, model: Any, candidates: Candidates, queries: Sequence[Query]) -> None:
        self._model, self._candidates, self._queries = model, candidates, queries

    def predict(self, pairs: Sequence[tuple[int, int]], **settings: Any) -> Any:
        texts = [(self._queries[query].text, self._candidates.text(passage)) for query, passage in pairs]
        return self._model.predict(texts, show_progress_bar=False, **settings)


def check_installed(settings: MiningSettings) -> None:
    """Whether the libraries that the settings ask for are there.

    Raises:
        MissingExtra: one is not.
    """
    if settings.method != "dense":
        return
    require("similarity", what="Dense mining")
    if settings.faiss:
        require("faiss", what="Searching with FAISS")


_Named = tuple[str, str | None]


def _bi_encoder(settings: MiningSettings) -> tuple[Any, _Named]:
    from hf_relabel.builders.judges.offline.similarity import SimilarityJudge

    if not isinstance(settings.model, str):
        return settings.model, (_name_of(settings.model), None)
    judge = SimilarityJudge(settings.model, revision=settings.revision, device=settings.device)
    return judge.loaded, judge.model()


def _cross_encoder(settings: MiningSettings) -> tuple[Any, _Named | None]:
    from hf_relabel.builders.judges.offline.cross_encoder import CrossEncoderJudge

    given = settings.cross_encoder
    if given is None:
        return None, None
    judge = CrossEncoderJudge(given, device=settings.device) if isinstance(given, str) else None
    model = given if judge is None else judge.loaded
    if model.num_labels != 1:
        raise ConfigError(f"The cross-encoder has {model.num_labels} labels; mining needs one with one score.")
    return model, (_name_of(given), None) if judge is None else judge.model()


def _name_of(model: Any) -> str:
    return str(getattr(model.model_card_data, "base_model", None) or type(model).__name__)
