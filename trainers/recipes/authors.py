"""The batch that the authors of a recipe had, where the recipe is theirs."""

from __future__ import annotations

import re

from hf_relabel.cards.training_report import AuthorsBatch
from hf_relabel.trainers.recipes.recipe import Recipe, shipped_recipes
from hf_relabel.trainers.recipes.sources import sourced_values

_DEVICES = re.compile(r"on each of (\d+) GPUs")


def authors_batch(recipe: Recipe) -> AuthorsBatch | None:
    """What stands beside the batch size of a shipped recipe, found by its name: so many rows on each of so many GPUs.

    None for recipes whose batch is not the authors', and for the user's own.
    """
    file = shipped_recipes().get(recipe.name)
    values = {} if file is None else {each.name: each for each in sourced_values(file)}
    batch = values.get("batch_size")
    if batch is None or batch.source != "authors" or not (found := _DEVICES.search(batch.note)):
        return None
    devices = int(found[1])
    accumulated = int(values["gradient_accumulation"].value) if "gradient_accumulation" in values else 1
    return AuthorsBatch(devices=devices, rows=int(batch.value) * devices * accumulated)
