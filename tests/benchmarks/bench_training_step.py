"""Time of a training step on our rows, next to plain sentence-transformers on as many texts.

    python -m tests.benchmarks.bench_training_step [--json] [--device cuda]

Both train the same model with batches of the same queries, positives and hard negatives: RowTrainer with
MultiPositiveLoss on a config's rows, SentenceTransformerTrainer with MultipleNegativesRankingLoss on
(query, positive, negative_1 … negative_7). A step is all that happens between two updates: reading rows, drawing,
tokenizing, forward, backward, update. Runs take turns, so that a busy machine slows both; the ratio is the median of
the ratios of neighbouring runs.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tabulate import tabulate
from transformers import BertConfig, BertModel, TrainerCallback

from hf_relabel.trainers.losses import MultiPositiveLoss
from hf_relabel.trainers.row_trainer import RowTrainer
from tests.trainers.tiny_models import VOCABULARY, tokenizer

NEGATIVES = 7
ROWS = 512


class StepTimes(TrainerCallback):
    """Seconds from update to update, wall clock."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds, self._last = device, [], 0.0  # type: ignore[var-annotated]

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        if state.global_step > 3:  # the first ones warm up
            self.seconds.append(now - self._last)
        self._last = now


def bert(size: int, layers: int, device: str) -> SentenceTransformer:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=size,
        num_hidden_layers=layers,
        num_attention_heads=size // 32,
        intermediate_size=size * 4,
        max_position_embeddings=128,
    )
    with tempfile.TemporaryDirectory() as folder:
        BertModel(config).save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        return SentenceTransformer(folder, device=device)


def static(device: str) -> SentenceTransformer:
    torch.manual_seed(0)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer(), embedding_dim=256)], device=device)


def rows(negatives: int, letters: int) -> list[dict[str, Any]]:
    """Rows of distinct passages of about `letters` tokens (the tokenizer of the tests has one per letter)."""
    chance = random.Random(0)

    def text() -> str:
        return "".join(chance.choices("abcdefghij ", k=chance.randint(letters // 2, letters)))

    def passages(count: int) -> list[dict[str, str]]:
        return [{"docid": f"{chance.random()}", "title": "", "text": text()} for _ in range(count)]

    return [
        {
            "query_id": str(number),
            "query": text()[: letters // 3],
            "positive_passages": passages(1),
            "negative_passages": passages(negatives),
            "subset": "bench",
        }
        for number in range(ROWS)
    ]


def columns(made: list[dict[str, Any]]) -> Dataset:
    return Dataset.from_list(
        [
            {
                "query": row["query"],
                "positive": row["positive_passages"][0]["text"],
                **{f"negative_{n}": row["negative_passages"][n]["text"] for n in range(NEGATIVES)},
            }
            for row in made
        ]
    )


def run(
    trainer: Callable[..., Any], loss: Any, data: Dataset, model: Any, steps: int, batch: int, device: str
) -> float:
    """Median seconds of a step."""
    times = StepTimes(device)
    with tempfile.TemporaryDirectory() as folder:
        args = SentenceTransformerTrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=batch,
            bf16=device == "cuda",
            use_cpu=device == "cpu",
            dataloader_pin_memory=device == "cuda",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer(model, args, data, loss=loss, callbacks=[times]).train()
    return statistics.median(times.seconds)


def compare(
    name: str, model: Any, made: list[dict[str, Any]], options: Any, cached: int | None = None
) -> dict[str, Any]:
    """One line of the table."""
    ours_data, plain_data = Dataset.from_list(made), columns(made)
    plain_loss = (
        MultipleNegativesRankingLoss(model)
        if cached is None
        else CachedMultipleNegativesRankingLoss(model, mini_batch_size=cached)
    )
    ours_loss = MultiPositiveLoss(model, mini_batch_size=cached)
    settings = (model, options.steps, options.batch, options.device)
    pairs = [
        (
            run(RowTrainer, ours_loss, ours_data, *settings),
            run(SentenceTransformerTrainer, plain_loss, plain_data, *settings),
        )
        for _ in range(options.rounds)
    ]
    return {
        "what": name,
        "ours_ms": 1000 * statistics.median(ours for ours, _ in pairs),
        "plain_ms": 1000 * statistics.median(plain for _, plain in pairs),
        "ratio": statistics.median(ours / plain for ours, plain in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of a training step, ours and plain sentence-transformers.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    short, long = rows(NEGATIVES, 48), rows(20, 48)
    small = bert(128, 4, options.device)
    lines = [
        compare("transformer", small, short, options),
        compare("transformer, 7 drawn of 20", small, long, options),
        compare("transformer, mini-batches of 32 texts", small, short, options, cached=32),
        compare("static embedding", static(options.device), short, options),
        compare("static embedding, 7 drawn of 20", static(options.device), long, options),
    ]
    if options.json:
        print(json.dumps({"batch": options.batch, "negatives": NEGATIVES, "device": options.device, "lines": lines}))
        return
    print(tabulate(lines, "keys", floatfmt=".3f"))


if __name__ == "__main__":
    main()
