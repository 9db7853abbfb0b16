"""The passage sieve: a first model says which hard negatives the model proper is not trained on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hf_relabel.cards.training_report import Teaching, TrainingReport
from hf_relabel.trainers.data.baselines import BiEncoderScorer
from hf_relabel.trainers.data.teaching import score_table, without_sieved
from hf_relabel.trainers.data.training_data import TrainingData
from hf_relabel.trainers.devices import all_devices
from hf_relabel.trainers.loading import load_trained
from hf_relabel.trainers.recipes.recipe import BiEncoderRecipe, Recipe, StaticRecipe, load_recipe
from hf_relabel.trainers.training.options import TrainOptions

SIEVE = "sieve"
"""The first model, in the run's folder until it has scored all passages."""
SIEVE_SCORES = "sieve-scores.arrow"
"""Its scores, there until the run is over."""


def sieved(
    recipe: Recipe,
    data: TrainingData,
    train: Callable[..., TrainingReport],
    *,
    out: Path,
    seed: int,
    options: TrainOptions,
) -> tuple[TrainingData, Teaching | None]:
    """The rows without the negatives that the recipe's sieve leaves out, see `recipes.robust.SieveSettings`, and how
    many these are; as they are, where it has none.

    Args:
        train: `run.train`, for the first model.
        out: the run's folder.
    """
    if not isinstance(recipe, (BiEncoderRecipe, StaticRecipe)) or recipe.sieve is None:
        return data, None
    place, scores, devices = out / SIEVE, out / SIEVE_SCORES, all_devices(options.device)
    scorer = None
    if devices.by_first(lambda: not scores.is_file()):
        alike = {"device": options.device, "progress": options.progress, "checkpoints": options.checkpoints}
        report = train(first_recipe(recipe), replace(data, judges=()), place, seed=seed, **alike)
        scorer = BiEncoderScorer(devices.in_turn(lambda: load_trained(place, report, device=options.device)))

    def loaded() -> BiEncoderScorer:
        assert scorer is not None
        return scorer

    rows, left_out = without_sieved(data.rows, score_table(data.rows, loaded, scores))
    devices.by_first(lambda: shutil.rmtree(place, ignore_errors=True))
    return replace(data, rows=rows), Teaching(negatives_left_out=left_out)


def first_recipe(recipe: BiEncoderRecipe | StaticRecipe) -> Recipe:
    """What the first model is trained by."""
    assert recipe.sieve is not None
    values = {**recipe.model_dump(), "sieve": None}
    return load_recipe(values, loss={"robust": {"name": "ccr", "beta": recipe.sieve.beta}})
