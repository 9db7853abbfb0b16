"""Recipes as earlier releases wrote them: one class for all kinds, which ignored what a kind did not use.

`recipe.yaml` and `training.json` of their runs hold all of its fields. Of those, what was ignored is dropped, and what
was done where there was no field for it is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_relabel.builders.messages.problems import fields_at
from hf_relabel.trainers.recipes.recipe_kinds import DISTILLATION_LOSS, KINDS

_ALL_KINDS = {
    *("name", "kind", "model", "revision", "loss", "teacher", "lora", "dimensions", "pooling", "normalize"),
    *("query_prompt", "passage_prompt", "max_length", "max_length_inference", "batch_size", "gradient_accumulation"),
    *("learning_rate", "optimizer", "weight_decay", "scheduler", "warmup", "epochs", "max_steps", "precision", "seed"),
}
"""No kind of today has all of these."""


def as_of_today(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe, those of an earlier release in the fields of today."""
    kind = KINDS.get(str(values.get("kind")))
    if kind is None or not set(values) >= _ALL_KINDS or not isinstance(values["loss"], Mapping):
        return dict(values)
    teacher = values["teacher"] and dict(values["teacher"])
    loss = {name: value for name, value in values["loss"].items() if name in fields_at(kind, ["loss"])}
    if values["kind"] in ("sparse", "late-interaction"):
        loss["positives"] = "random"
    if values["kind"] == "reranker":
        loss |= {"objective": "lambda", "temperature": 1.0}
    if teacher and teacher["use"] == "distillation":
        loss |= {name: value for name, value in DISTILLATION_LOSS.items() if name in loss}
        teacher["temperature"] = loss["temperature"]
        teacher.pop("share", None)
    kept = {name: value for name, value in values.items() if name in fields_at(kind, [])}
    if values["kind"] == "reranker":
        kept |= {"query_prompt": "", "passage_prompt": ""}
    return {**kept, "loss": loss, "teacher": teacher}
