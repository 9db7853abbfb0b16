"""What a training would do, without training: its rows, steps, memory and hours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.trainers.data.rows import RowDraw
from hf_relabel.trainers.data.training_data import TrainingData
from hf_relabel.trainers.recipes.recipe import BiEncoderRecipe, Recipe, RerankerRecipe, TransformerRecipe
from hf_relabel.trainers.training.facts import steps_of_epoch, total_steps, usable
from hf_relabel.trainers.training.memory import Memory, ModelSize, flops_of_token, memory_of, size_of

_LOOKED_AT = 256
"""Rows whose tokens are counted."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A kind of device.

    Attributes:
        half, full: operations a second in 16 and in 32 bits, by the maker's data sheet (dense; of a CPU: 32 cores).
        memory: GiB; None for a CPU.
        used: the share of them that training reaches.
    """

    half: float
    full: float
    memory: int | None
    used: float = 0.35


ACCELERATORS: Mapping[str, Accelerator] = {
    "a100": Accelerator(312e12, 19.5e12, 80),
    "h100": Accelerator(989e12, 67e12, 80),
    "h200": Accelerator(989e12, 67e12, 141),
    "l4": Accelerator(121e12, 30e12, 24),
    "cpu": Accelerator(1e12, 1e12, None),
}


@dataclass(frozen=True, repr=False)
class TrainingPlan(Shown):
    """What a training would do. Parameters, rows and steps are exact, memory and hours are estimates.

    Attributes:
        rows: that would be trained on; `skipped` have no query, no positive or too few negatives.
        batch: rows of an update: per device × devices × accumulation.
        texts: put through the model for a row; `tokens` of one row on average, `longest` of a text, both of the first
            256 rows.
        steps: updates of the whole run.
        memory: of one device.
        runs: 2 where a model for a sieve is trained first, in the same steps.
        on: the kind of device; `hours` on so many of them, None where there is next to no arithmetic (static).
    """

    recipe: str
    rows: int
    skipped: int
    devices: int
    batch: int
    texts: int
    tokens: float
    longest: int
    steps_per_epoch: int
    epochs: float
    steps: int
    warmup_steps: int
    size: ModelSize
    memory: Memory
    on: str
    hours: float | None
    used: float
    runs: int = 1

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = asdict(self)
        values["memory"]["total"] = self.memory.total
        return values

    def to_text(self) -> str:
        """The table, and what is only an estimate."""
        rows = [{"what": name, "value": value} for name, value in self._lines()]
        used = f"{self.used:.0%} of the device's arithmetic"
        note = (
            "Rows, steps and parameters are exact. Memory and hours are estimates, right to a factor of two at best:"
            f" activations of the longest text of the first {_LOOKED_AT} rows, 6 operations for each weight and token"
            f" (more with recomputing, fewer with LoRA), {used}, no evaluations."
        )
        return f"{text_table(rows)}\n{note}"

    def _lines(self) -> Iterator[tuple[str, str]]:
        memory, size = self.memory, self.size
        yield "recipe", self.recipe
        if self.runs > 1:
            yield "trained", f"{self.runs} models, the first for the sieve; in the hours are both"
        yield "rows", f"{self.rows:,} ({self.skipped:,} left out)"
        yield "rows an update", f"{self.batch:,} on {self.devices} device{'s' * (self.devices != 1)}"
        yield "updates", f"{self.steps:,} ({self.steps_per_epoch:,} an epoch), {self.warmup_steps:,} of them warm-up"
        yield "epochs", f"{self.epochs:g}"
        yield "a row", f"{self.texts} texts, {self.tokens:,.0f} tokens; the longest text has {self.longest:,}"
        yield "parameters", f"{size.parameters:,}, trained {size.trainable:,}"
        parts = ", ".join(f"{name} {_gib(getattr(memory, name))}" for name in memory.__slots__)
        yield "memory of a device", f"{_gib(memory.total)} ({parts})"
        if (available := ACCELERATORS[self.on].memory) is not None and memory.total > available * 2**30:
            yield (
                "",
                f"more than the {available} GiB of one {self.on}: see gradient_checkpointing, loss.mini_batch, lora",
            )
        yield f"hours on {self.devices} × {self.on}", "next to none" if self.hours is None else f"{self.hours:,.2f}"


@needs("train", "Planning a training")
@expects(recipe="Recipe", data="TrainingData")
def plan_training(recipe: Recipe, data: TrainingData, *, devices: int = 1, on: str | None = None) -> TrainingPlan:
    """Work out what `train` would do, without training and without the model's weights.

    Example:
            print(plan_training(load_recipe("e5-base"), data, devices=4, on="h100"))

    Args:
        devices: how many there would be.
        on: `a100`, `h100`, `h200`, `l4` or `cpu`; None for what this machine has.

    Raises:
        ConfigError: no row can be trained on, the model's settings cannot be read, or there is no such device.
    """
    if devices < 1:
        raise ConfigError(f"A training has 1 device or more, not {devices}.")
    kind = on or _here()
    if kind not in ACCELERATORS:
        raise ConfigError(f"There are no figures of {kind!r}. Devices are: {', '.join(ACCELERATORS)}.")
    rows, used = usable(recipe, data)
    steps, size = total_steps(recipe, len(rows), devices), size_of(recipe)
    texts, tokens, longest = _tokens(recipe, rows)
    batch = recipe.batch_size * devices * recipe.gradient_accumulation
    runs = 1 if getattr(recipe, "sieve", None) is None else 2
    memory = memory_of(recipe, size, _at_once(recipe, texts) * longest, devices)
    return TrainingPlan(
        recipe=recipe.name,
        rows=len(rows),
        skipped=used.skipped,
        devices=devices,
        batch=batch,
        texts=texts,
        tokens=tokens,
        longest=longest,
        steps_per_epoch=steps_of_epoch(recipe, len(rows), devices),
        epochs=steps / steps_of_epoch(recipe, len(rows), devices),
        steps=steps,
        warmup_steps=round(steps * recipe.warmup),
        size=size,
        memory=memory,
        on=kind,
        hours=_hours(recipe, size, runs * tokens * batch * steps, devices, ACCELERATORS[kind]),
        used=ACCELERATORS[kind].used,
        runs=runs,
    )


def _gib(count: int) -> str:
    return f"{count / 2**30:,.2f} GiB"


def _here() -> str:
    import torch

    name = torch.cuda.get_device_name().lower() if torch.cuda.is_available() else "cpu"
    found = next((kind for kind in ACCELERATORS if kind in name.replace("-", " ").split()), None)
    if found is None:
        raise ConfigError(f"There are no figures of {name!r}: name a device ({argument('on', 'h100')}).")
    return found


def _at_once(recipe: Recipe, texts: int) -> int:
    """Texts whose activations one device holds at once."""
    all_of_them = recipe.batch_size * texts
    mini_batch = recipe.loss.mini_batch if isinstance(recipe, BiEncoderRecipe) else None
    return all_of_them if mini_batch is None else min(mini_batch, all_of_them)


def _tokens(recipe: Recipe, rows: Any) -> tuple[int, float, int]:
    """Of a row: the most texts that are encoded, and its tokens on average; and the longest text."""
    from transformers import AutoTokenizer

    from hf_relabel.builders.judges.offline.model_folder import model_folder

    tokenizer = AutoTokenizer.from_pretrained(str(model_folder(recipe.model) or recipe.model), revision=recipe.revision)
    most = recipe.max_length if isinstance(recipe, TransformerRecipe) else None
    one = getattr(recipe.loss, "positives", None) == "random" or getattr(recipe.loss, "objective", None) == "softmax"
    draw = RowDraw(recipe.loss.negatives, 1 if one else None, recipe.seed)
    counts = []
    for row in rows.select(range(min(len(rows), _LOOKED_AT))):
        drawn = draw(row)
        passages = [f"{recipe.passage_prompt}{each.text}" for each in (*drawn.positives, *drawn.negatives)]
        query = f"{recipe.query_prompt}{drawn.query}"
        is_pairs = isinstance(recipe, RerankerRecipe)
        texts = [f"{query} {each}" for each in passages] if is_pairs else [query, *passages]
        counts.append([min(len(ids), most or len(ids)) for ids in tokenizer(texts)["input_ids"]])
    return max(map(len, counts)), sum(map(sum, counts)) / len(counts), max(map(max, counts))


def _hours(recipe: Recipe, size: ModelSize, tokens: float, devices: int, kind: Accelerator) -> float | None:
    flops = tokens * flops_of_token(recipe, size)
    speed = (kind.full if recipe.precision == "fp32" else kind.half) * kind.used
    return flops / (devices * speed) / 3600 if flops else None
