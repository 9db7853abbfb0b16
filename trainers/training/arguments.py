"""What the trainers of sentence-transformers are told, as a recipe and the options of a run have it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.torch_device import is_cpu
from hf_relabel.trainers.recipes.recipe import Recipe, RerankerRecipe
from hf_relabel.trainers.training.facts import total_steps
from hf_relabel.trainers.training.kinds import has_sparse_gradients
from hf_relabel.trainers.training.options import TrainOptions

EVALUATIONS = 10
"""Times a run is evaluated and saved where nothing else was asked for."""


def trainer_arguments(
    recipe: Recipe, options: TrainOptions, out: Path, seed: int, rows: int, devices: int = 1
) -> dict[str, Any]:
    """Those of a run over so many rows that evaluates nothing."""
    steps = total_steps(recipe, rows, devices)
    every = options.evaluate_every or max(1, -(-steps // EVALUATIONS))
    progress = sys.stderr.isatty() if options.progress is None else options.progress
    values: dict[str, Any] = {
        "output_dir": str(out),
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "lr_scheduler_type": recipe.scheduler,
        "warmup_steps": round(steps * recipe.warmup),
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "seed": seed,
        "bf16": recipe.precision == "bf16",
        "fp16": recipe.precision == "fp16",
        "use_cpu": is_cpu(options.device),
        "save_strategy": "steps" if options.checkpoints else "no",
        "save_steps": every,
        "save_total_limit": 2,
        "eval_strategy": "no",
        "eval_steps": every,
        "logging_steps": max(1, every // 2),
        "logging_nan_inf_filter": False,
        "report_to": list(options.log_to),
        "log_level_replica": "error",
        "disable_tqdm": not progress,
        "dataloader_pin_memory": False,
        # What sentence-transformers wants for several devices, and warns without; `on_devices` needs no row left out.
        "dataloader_drop_last": devices > 1,
        # torch finds all weights of a reranker unused, and stops at the first that is used.
        "ddp_find_unused_parameters": False if isinstance(recipe, RerankerRecipe) else None,
    }
    if has_sparse_gradients(recipe):
        values["max_grad_norm"] = 0.0  # norms of sparse gradients are not implemented
    return values


def check_precision(recipe: Recipe, device: str | None) -> None:
    """Raises: ConfigError, the device cannot calculate in the recipe's precision."""
    from transformers.utils import is_torch_bf16_gpu_available

    cpu = is_cpu(device)
    if recipe.precision == "fp16" and cpu:
        raise ConfigError(f"{recipe.name}: `precision: fp16` needs a GPU, and this is a CPU. Take fp32 or bf16.")
    if recipe.precision == "bf16" and not cpu and not is_torch_bf16_gpu_available():
        raise ConfigError(f"{recipe.name}: this GPU does not know `precision: bf16`. Take fp16 or fp32.")


def best_by(metric: str) -> dict[str, Any]:
    """Those that keep the step with the highest metric."""
    return {"load_best_model_at_end": True, "metric_for_best_model": f"eval_{metric}", "greater_is_better": True}
