"""What relabelling is compared with: hard negatives filtered by a teacher's scores, and distillation from a teacher.

Both need no judge, only a model that scores (query, passage) pairs: a cross-encoder, or a bi-encoder's cosine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.model_loading import load_model
from hf_relabel.builders.rows import Passage, Row, joined_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PERC_POS = 0.95
"""Share of the positive's score from which a negative is left out: the paper's "TopK-PercPos 95 %"."""
_ROWS_AT_ONCE = 64


class Scorer(Protocol):
    """Scores pairs of (query, passage). A `sentence_transformers.CrossEncoder` is one."""

    def predict(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        """Shape (pairs,): a higher score is more relevant."""
        ...


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A row with the teacher's scores of its passages, in their order."""

    row: Row
    positives: tuple[float, ...]
    negatives: tuple[float, ...]


class BiEncoderScorer:
    """The cosine of a bi-encoder as a `Scorer`: cheaper than a cross-encoder, and less sure.

    Args:
        model: a folder, a Hub id, or `package:NAME`; or a `SentenceTransformer`.
        revision: of a model on the Hub.
    """

    def __init__(self, model: Any, *, revision: str | None = None, device: str | None = None) -> None:
        from sentence_transformers import SentenceTransformer

        is_named = isinstance(model, str)
        self._model = load_model(SentenceTransformer, model, revision=revision, device=device) if is_named else model

    def predict(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        import numpy as np

        queries = list(dict.fromkeys(query for query, _ in pairs))
        passages = list(dict.fromkeys(passage for _, passage in pairs))
        settings: dict[str, Any] = {"normalize_embeddings": True, "show_progress_bar": False}
        query_vectors = dict(zip(queries, self._model.encode_query(queries, **settings), strict=True))
        passage_vectors = dict(zip(passages, self._model.encode_document(passages, **settings), strict=True))
        scores = [query_vectors[query] @ passage_vectors[passage] for query, passage in pairs]
        return np.asarray(scores, dtype=np.float32)


def teacher_scores(rows: Iterable[Row], teacher: Scorer, *, rows_at_once: int = _ROWS_AT_ONCE) -> Iterator[ScoredRow]:
    """Score every passage of every row. Streams: holds `rows_at_once` rows.

    Raises:
        ConfigError: the teacher gave a score that is no number, or not one per pair.
    """
    import numpy as np

    remaining = iter(rows)
    while batch := list(islice(remaining, rows_at_once)):
        pairs = [
            (row.query, joined_text(passage.title, passage.text))
            for row in batch
            for passage in (*row.positive_passages, *row.negative_passages)
        ]
        scores = np.asarray(teacher.predict(pairs), dtype=np.float64) if pairs else np.zeros(0)
        if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
            raise ConfigError(
                f"The teacher gave scores of shape {scores.shape} for {len(pairs)} pairs, or some that are no numbers."
                " It must give one finite score per pair (a cross-encoder with one label)."
            )
        start = 0
        for row in batch:
            middle = start + len(row.positive_passages)
            end = middle + len(row.negative_passages)
            yield ScoredRow(row, tuple(scores[start:middle].tolist()), tuple(scores[middle:end].tolist()))
            start = end


def perc_pos(scored: ScoredRow, *, share: float = PERC_POS) -> Row:
    """The row without the negatives that score above `share` of its positives' lowest score.

    TopK-PercPos of NV-Retriever (arXiv 2407.15831, section 3.2), which knows one positive per query; with several, the
    lowest score is the strictest reading. Where it is below 0, as a cosine may be, the limit lies as far below it as it
    would above 0, so that a share under 1 is always below the positive.

    Args:
        scored: with scores whose 0 means something: a probability or a cosine. A logit's does not.
    """
    read = [
        score
        for passage, score in zip(scored.row.positive_passages, scored.positives, strict=True)
        if _is_read(passage)
    ]
    if not read:
        return scored.row
    lowest = min(read)
    limit = lowest * (share if lowest >= 0 else 2 - share)
    kept = tuple(
        passage for passage, score in zip(scored.row.negative_passages, scored.negatives, strict=True) if score <= limit
    )
    return replace(scored.row, negative_passages=kept)


def passage_sieve(scored: ScoredRow) -> Row:
    """The row without the negatives that a model takes for positives: those that score no less than the mean of the
    row's passages. If these are all of them, the lowest stays. See `recipes.robust.SieveSettings`.

    Args:
        scored: by a model that was trained with contrastive confidence regularisation.
    """
    row = scored.row
    positives, negatives = (
        [(passage, score) for passage, score in zip(passages, scores, strict=True) if _is_read(passage)]
        for passages, scores in (
            (row.positive_passages, scored.positives),
            (row.negative_passages, scored.negatives),
        )
    )
    if not negatives or not positives:
        return row
    scores = [score for _, score in (*positives, *negatives)]
    limit = min(sum(scores) / len(scores), max(scores))  # a mean of equals may be above them by rounding
    kept = [passage for passage, score in negatives if score < limit]
    if not kept:
        kept = [min(negatives, key=lambda each: each[1])[0]]
    return replace(row, negative_passages=tuple(kept))


def _is_read(passage: Passage) -> bool:
    """Whether it is trained on: a blank one is not."""
    return bool(joined_text(passage.title, passage.text).strip())


def effective_passages(scores: Sequence[float], temperature: float) -> float:
    """How many passages a teacher's distribution speaks of: exp of the entropy of softmax(scores / temperature).

    1 where one has all the weight, so that distillation teaches no more than a label does; their number where all
    weigh the same.
    """
    import numpy as np

    logits = np.asarray(scores, dtype=np.float64) / temperature
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    return float(np.exp(-(weights * np.log(np.maximum(weights, np.finfo(float).tiny))).sum()))


def normalised(scored: ScoredRow) -> ScoredRow:
    """The row with its scores moved and stretched to [0, 1], so that teachers of any scale distil alike.

    Scores that are all the same become 0.5: they say nothing of the order.
    """
    scores = (*scored.positives, *scored.negatives)
    if not scores:
        return scored
    low, high = min(scores), max(scores)
    if high == low:
        same = [0.5] * len(scores)
        return replace(
            scored, positives=tuple(same[: len(scored.positives)]), negatives=tuple(same[: len(scored.negatives)])
        )

    def scaled(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple((value - low) / (high - low) for value in values)

    return replace(scored, positives=scaled(scored.positives), negatives=scaled(scored.negatives))
