"""Time of a training step on our rows, next to plain sentence-transformers on as many texts.

    python -m tests.benchmarks.bench_training_step [--json]
    python -m tests.benchmarks.bench_training_step --device cuda --size 768 --layers 12 --tokens 200 --batch 64

Both train the same model with batches of the same queries, positives and hard negatives: RowTrainer with
MultiPositiveLoss on a config's rows, SentenceTransformerTrainer with MultipleNegativesRankingLoss on
(query, positive, negative_1 … negative_7). A step is all that happens between two updates: reading rows, drawing,
tokenizing, forward, backward, update. Runs take turns, so that a busy machine slows both; a ratio is the median of
the ratios of neighbouring runs. On a CPU the ratio of CPU time is the one to go by where other work shares the cores.
"""

from __future__ import annotations

import argparse
import logging
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
from transformers import BertConfig, BertModel, PrinterCallback, TrainerCallback

from hf_relabel.trainers.losses import MultiPositiveLoss
from hf_relabel.trainers.row_trainer import RowTrainer
from tests.benchmarks.measuring import Figure, emit, own_peak_mb
from tests.trainers.tiny_models import VOCABULARY, tokenizer

NEGATIVES = 7
ROWS = 512


class StepTimes(TrainerCallback):
    """Seconds from update to update: by the clock, and of this process's CPU time."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.clock: list[float] = []
        self.cpu: list[float] = []
        self._last = (0.0, 0.0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
        now = (time.perf_counter(), time.process_time())
        if state.global_step > 3:  # the first ones warm up
            self.clock.append(now[0] - self._last[0])
            self.cpu.append(now[1] - self._last[1])
        self._last = now


def bert(size: int, layers: int, device: str) -> SentenceTransformer:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=size,
        num_hidden_layers=layers,
        num_attention_heads=size // 32,
        intermediate_size=size * 4,
        max_position_embeddings=512,
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
) -> tuple[float, float]:
    """Median milliseconds of a step: clock, CPU."""
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
        made = trainer(model, args, data, loss=loss, callbacks=[times])
        made.remove_callback(PrinterCallback)
        made.train()
    return 1000 * statistics.median(times.clock), 1000 * statistics.median(times.cpu)


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
    pairs = []
    for number in range(options.rounds):
        sides = [(RowTrainer, ours_loss, ours_data), (SentenceTransformerTrainer, plain_loss, plain_data)]
        order = (0, 1) if number % 2 == 0 else (1, 0)  # neither is always the first
        times = {side: run(*sides[side], *settings) for side in order}
        pairs.append((times[0], times[1]))
    return {
        "what": name,
        "ours_ms": statistics.median(ours[0] for ours, _ in pairs),
        "plain_ms": statistics.median(plain[0] for _, plain in pairs),
        "ratio": statistics.median(ours[0] / plain[0] for ours, plain in pairs),
        "ratio_cpu": statistics.median(ours[1] / plain[1] for ours, plain in pairs),
    }


def figure(line: dict[str, Any], options: argparse.Namespace) -> Figure:
    """A line as the benchmarks' common table has it. On a CPU the target is about CPU time."""
    is_cpu = options.device == "cpu"
    return Figure(
        f"step of a {line['what']}",
        line["ours_ms"],
        "ms",
        f"batch {options.batch}, {NEGATIVES} negatives, {options.device}",
        beside=f"plain sentence-transformers {line['plain_ms']:.1f} ms",
        ratio=line["ratio_cpu" if is_cpu else "ratio"],
        target="<= 1.05",
        of="ratio",
        peak_mb=own_peak_mb(),
        note=f"ratio of CPU time; by the clock {line['ratio']:.3f}" if is_cpu else "",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of a training step, ours and plain sentence-transformers.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--size", type=int, default=64, help="dimensions of the transformer")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=40, help="of the longest texts")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)  # threads that wait for cores others use would be most of what is measured
    short, long = rows(NEGATIVES, options.tokens), rows(20, options.tokens)
    small = bert(options.size, options.layers, options.device)
    lines = [
        compare("transformer", small, short, options),
        compare("transformer, 7 drawn of 20", small, long, options),
        compare("transformer, mini-batches of 32 texts", small, short, options, cached=32),
        compare("static embedding", static(options.device), short, options),
        compare("static embedding, 7 drawn of 20", static(options.device), long, options),
    ]
    if options.json:
        settings = {"batch": options.batch, "negatives": NEGATIVES, "device": options.device, "lines": lines}
        emit("training step", [figure(line, options) for line in lines], as_json=True, **settings)
        return
    print(tabulate(lines, "keys", floatfmt=("", ".1f", ".1f", ".3f", ".3f")))


if __name__ == "__main__":
    main()
