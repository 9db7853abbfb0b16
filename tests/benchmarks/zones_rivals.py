"""What needs no judge: MiniLM, whose vectors are known, says which negatives are too near to be negatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from hf_relabel.builders.rows import Passage, Row, joined_text
from hf_relabel.trainers.guide import Guide
from hf_relabel.trainers.training import kinds
from tests.benchmarks.zones_judges import KnownSet

CHARACTERS = 8_000
"""That the similarity judge reads of a text."""


def perc_pos(share: float) -> Callable[[KnownSet], Iterator[Row]]:
    """Without negatives above a share of the positive's cosine (TopK-PercPos, arXiv 2407.15831)."""

    def rows(known: KnownSet) -> Iterator[Row]:
        for row in known.rows:
            query = known.vectors["query", row.query[:CHARACTERS]]
            limit = share * min(_of(known, each) @ query for each in row.positive_passages)
            kept = tuple(each for each in row.negative_passages if _of(known, each) @ query <= limit)
            yield replace(row, negative_passages=kept)

    return rows


def _of(known: KnownSet, passage: Passage) -> Any:
    return known.vectors["document", joined_text(passage.title, passage.text)[:CHARACTERS]]


class KnownGuide(Guide):
    """A guide whose vectors are known."""

    def __init__(self, known: KnownSet, margin: float) -> None:
        self.known, self.margin, self.strategy, self.model = known, margin, "absolute", None
        self.compared, self.left_out = 0, 0

    def read(self, queries: Sequence[str], passages: Sequence[str]) -> dict[str, Any]:
        def vectors(side: str, texts: Sequence[str]) -> dict[str, Tensor]:
            found = np.stack([self.known.vectors[side, text[:CHARACTERS]] for text in texts])
            return {"vectors": torch.from_numpy(found).float()}

        return {"queries": vectors("query", queries), "passages": vectors("document", passages)}

    def _embedded(self, features: Any, at_once: int | None) -> Tensor:
        return features["vectors"]

    def settings(self) -> dict[str, Any]:
        return {"model": "MiniLM", "margin": self.margin}


def guided(margin: float) -> Callable[[KnownSet], Any]:
    return lambda known: patch.object(kinds, "load_guide", lambda *_: KnownGuide(known, margin))
