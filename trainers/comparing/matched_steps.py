"""`config+steps`: the same training, as long as the arm that encodes most.

Arms of as many steps are not of as much work: a row of `relabel` has more positives, and a sieve trains twice. What is
matched is the number of texts that the student encodes in a run: of each row that a step sees, the query, the positives
and the hard negatives that are drawn of it (of a reranker, the pairs), counted before a batch takes each text once; and
with a sieve, those of its first model's training, and a third of all texts of all rows, which it encodes once to score
them: the way back of a step costs twice the way there. Not counted is what other models do, teachers and guides, and
judges before that; nor how long a text is. A teacher that leaves out negatives is taken to leave out none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_relabel.trainers.comparing.trials import Arm
from hf_relabel.trainers.recipes.recipe import Recipe, RerankerRecipe, load_recipe
from hf_relabel.trainers.training.facts import steps_of_epoch, total_steps, usable

FORWARD = 1 / 3
"""What a text costs that is only encoded, of one that is trained on."""


@dataclass(frozen=True)
class Work:
    """What a run of an arm encodes.

    Attributes:
        rows: that can be trained on.
        of_row: texts that a step encodes of a row, the mean.
        texts: that the student encodes in a run, in those that it is trained on.
    """

    rows: int
    of_row: float
    texts: float


def with_matched_steps(arm: Arm, others: Sequence[Arm]) -> Arm:
    """The arm, trained for as many more steps as it takes to encode what the one of the others does that encodes most;
    as it is, where none encodes more."""
    own = work_of(arm)
    works = {each.name: work_of(each) for each in others}
    most = max(works, key=lambda name: works[name].texts, default=None)
    if most is None or works[most].texts <= own.texts:
        return replace(arm, note=f"no arm encodes more than its {own.texts:,.0f} texts a run: as many steps")
    steps = steps_for(works[most].texts / own.of_row, arm.recipe, own.rows)
    note = f"{steps:,} steps, to encode as many texts a run as {most} ({works[most].texts:,.0f})"
    return replace(arm, recipe=load_recipe(arm.recipe.model_dump(), max_steps=steps), note=note)


def work_of(arm: Arm) -> Work:
    """What a run of the arm encodes."""
    recipe, data = arm.recipe, arm.data()
    rows, _ = usable(recipe, data)
    of_row = sum(texts_of_rows(recipe, rows)) / len(rows)
    texts = of_row * rows_seen(recipe, len(rows), total_steps(recipe, len(rows)))
    if getattr(recipe, "sieve", None) is not None:
        texts = 2 * texts + FORWARD * sum(1 + positives + negatives for positives, negatives in _lengths(data.rows))
    return Work(len(rows), of_row, texts)


def texts_of_rows(recipe: Recipe, rows: Any) -> Iterator[int]:
    """How many texts a step encodes of each row; of a reranker, pairs."""
    one = getattr(recipe.loss, "positives", None) == "random" or getattr(recipe.loss, "objective", None) == "softmax"
    queries = 0 if isinstance(recipe, RerankerRecipe) else 1
    for positives, negatives in _lengths(rows):
        yield queries + (1 if one else positives) + min(negatives, recipe.loss.negatives)


def rows_seen(recipe: Recipe, rows: int, steps: int) -> int:
    """Rows that so many steps see: the last one of an epoch has what is left."""
    epochs, rest = divmod(steps, steps_of_epoch(recipe, rows))
    return epochs * rows + min(rest * recipe.batch_size * recipe.gradient_accumulation, rows)


def steps_for(seen: float, recipe: Recipe, rows: int) -> int:
    """The fewest steps that see so many rows."""
    epochs, rest = divmod(seen, rows)
    return int(epochs) * steps_of_epoch(recipe, rows) + math.ceil(
        rest / (recipe.batch_size * recipe.gradient_accumulation)
    )


def _lengths(rows: Any) -> Iterator[tuple[int, int]]:
    """Positives and negatives of each row, without reading the passages."""
    import pyarrow.compute as pc

    columns = ["positive_passages", "negative_passages"]
    for batch in rows.select_columns(columns).with_format("arrow").iter(batch_size=1000):
        yield from zip(*(pc.list_value_length(batch[name]).to_pylist() for name in columns), strict=True)
