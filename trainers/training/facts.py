"""What a training run tells of itself: facts of the data and the machine, and its curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.adapters import cached_commit
from hf_relabel.builders.judges.offline.model_folder import model_folder
from hf_relabel.cards.training_report import (
    CurvePoint,
    DataUsed,
    Guided,
    ModelUsed,
)
from hf_relabel.trainers.data.rows import usable_rows
from hf_relabel.trainers.data.training_data import TrainingData, replace_rows
from hf_relabel.trainers.guide import Guide
from hf_relabel.trainers.recipes.recipe import Recipe
from hf_relabel.trainers.training.kinds import least_negatives


def usable(recipe: Recipe, data: TrainingData) -> tuple[Any, DataUsed]:
    """The rows that the recipe can train on, and the count of the others.

    Raises:
        ConfigError: there are none.
    """
    least = least_negatives(recipe)
    rows, counts = usable_rows(data.rows, skip=True, negatives=least)
    if not counts.kept:
        raise ConfigError(
            f"{data.used.location}: no row of {data.used.config!r} can be trained on:"
            f" {counts.without_positives} have no positive, {counts.without_query} no query,"
            f" {counts.with_too_few_negatives} fewer than {least} negatives."
        )
    used = replace_rows(data.used, counts.kept, counts.skipped)
    return rows, used.model_copy(update={"known_negatives": counts.known_negatives})


def total_steps(recipe: Recipe, rows: int, devices: int = 1) -> int:
    """Updates of a run, as the trainers of transformers count them."""
    if recipe.max_steps is not None:
        return recipe.max_steps
    return max(1, math.ceil(steps_of_epoch(recipe, rows, devices) * recipe.epochs))


def steps_of_epoch(recipe: Recipe, rows: int, devices: int = 1) -> int:
    """Updates of one epoch: the last batches of the rows are one too."""
    batches = math.ceil(rows / (recipe.batch_size * devices))
    return math.ceil(batches / recipe.gradient_accumulation)


def base_revision(model: Any) -> str | None:
    """The commit of the model that training started from, where its files tell it."""
    inner = getattr(model, "transformers_model", None)
    found = getattr(getattr(inner, "config", None), "_commit_hash", None)
    return str(found) if found else None


def model_used(name: str, revision: str | None) -> ModelUsed:
    """A model that has been loaded, with the commit of what was loaded where it came from the Hub."""
    if model_folder(name) is not None:
        return ModelUsed(name=name)
    return ModelUsed(name=name, revision=cached_commit(name, revision) or revision)


def facts_of(model: Any, kind: str) -> dict[str, Any]:
    """What a report tells of a model itself."""
    dimension = getattr(model, "get_embedding_dimension", None)
    similarity = getattr(model, "similarity_fn_name", None)
    length = None if kind == "static" else getattr(model, "max_seq_length", None)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dimensions": dimension() if dimension is not None and kind != "reranker" else None,
        "max_length": int(length) if isinstance(length, int) else None,
        "similarity": str(similarity) if similarity and kind != "reranker" else None,
    }


def guide_facts(recipe: Recipe, guide: Guide | None) -> dict[str, Any]:
    """What a report tells of the guide of a run."""
    settings = getattr(recipe.loss, "guide", None)
    if settings is None or guide is None:
        return {}
    return {
        "guide": model_used(settings.model, settings.revision),
        "guided": Guided(compared=int(guide.compared), left_out=int(guide.left_out)),
    }


def technique_of(recipe: Recipe) -> str | None:
    """How false negatives are treated beyond the config and the loss."""
    if recipe.teacher is not None:
        return recipe.teacher.use
    return None if getattr(recipe, "sieve", None) is None else "sieve"


def curve_of(history: Sequence[Mapping[str, Any]]) -> tuple[CurvePoint, ...]:
    """The log of a trainer, a point per step."""
    points: dict[int, dict[str, Any]] = {}
    for line in history:
        point = points.setdefault(int(line["step"]), {"step": int(line["step"]), "metrics": {}})
        point["epoch"] = line.get("epoch", point.get("epoch"))
        if "loss" in line:
            point["loss"] = float(line["loss"])
        timing = ("runtime", "samples_per_second", "steps_per_second")
        for name, value in line.items():
            metric = name.removeprefix("eval_")
            if name.startswith("eval_") and metric not in timing and isinstance(value, (int, float)):
                point["metrics"][metric] = float(value)
    kept = [point for _, point in sorted(points.items()) if "loss" in point or point["metrics"]]
    return tuple(CurvePoint(**point) for point in kept)
