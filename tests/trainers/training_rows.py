"""Rows and models for the tests of losses and batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from tests.trainers.tiny_models import tiny_bert, tokenizer


def passage(docid: str, text: str, title: str = "") -> dict[str, str]:
    return {"docid": docid, "title": title, "text": text}


def row(number: int, positives: list[Any], negatives: list[Any], subset: str = "s") -> dict[str, Any]:
    """Passages are given as they are, or by their text alone."""

    def made(values: list[Any]) -> list[dict[str, str]]:
        return [value if isinstance(value, dict) else passage(f"d-{value}", value) for value in values]

    return {
        "query_id": f"q{number}",
        "query": f"query {number} {'abcdefghij'[number % 10] * 3}",
        "positive_passages": made(positives),
        "negative_passages": made(negatives),
        "subset": subset,
    }


def plain_rows(count: int, *, positives: int = 1, negatives: int = 3) -> list[dict[str, Any]]:
    """Rows that share no passage."""
    return [
        row(
            number,
            [f"good {number} {'klmno'[place % 5]} {place}" for place in range(positives)],
            [f"bad {number} {'pqrst'[place % 5]} {place}" for place in range(negatives)],
        )
        for number in range(count)
    ]


def static_model(dimensions: int = 8, *, dtype: torch.dtype = torch.float64) -> SentenceTransformer:
    torch.manual_seed(0)
    module = StaticEmbedding(tokenizer(), embedding_dim=dimensions)
    return SentenceTransformer(modules=[module], device="cpu").to(dtype)


def bert_model(folder: Path) -> SentenceTransformer:
    """In double precision, and without dropout: it is not in training mode."""
    return SentenceTransformer(tiny_bert(folder), device="cpu").to(torch.float64).eval()


def training_arguments(folder: Path, **settings: Any) -> SentenceTransformerTrainingArguments:
    quiet = {"report_to": [], "disable_tqdm": True, "dataloader_pin_memory": False, "save_strategy": "no"}
    return SentenceTransformerTrainingArguments(str(folder), **{"use_cpu": True, **quiet, **settings})
