"""Recipes: everything that makes a training run repeatable, as data.

A recipe is a YAML file, one of those that ship with the package (`shipped_recipes`) or the user's own. Its `kind` says
which fields it has, see `recipe_kinds`.

`e5-base` and `qwen2.5-7b-lora` are those of RLHN's authors (arXiv 2505.16967): the values of their scripts
(castorini/rlhn, branch development at fa28a16, `scripts/train/embedding/e5_base.sh` and `qwen2.5_7b.sh`), and where
these name none the defaults of Tevatron, which they call (`retriever/arguments.py`: warm-up .1, LoRA with rank 16,
alpha 64, dropout .1). Their scripts of `reranker-qwen2.5-3b` and `e5-base-distillation` are not published: the model,
the negatives and the loss are the paper's, the form, the temperature and LoRA are Tevatron's, batches and the teacher's
temperature are ours. In the file of each recipe, the source of each value stands beside it; `sources` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import ValidationError

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.nearest import did_you_mean, nearest_or_all
from hf_relabel.builders.messages.problems import Place, as_written, fields_at, path, problems
from hf_relabel.builders.sources.paths import did_you_mean_beside
from hf_relabel.trainers.recipes.earlier import as_of_today
from hf_relabel.trainers.recipes.parts import (
    DistillationTeacher,
    GuideSettings,
    LoraSettings,
    LossSettings,
    PercPosTeacher,
    StaticLoss,
    TeacherSettings,
)
from hf_relabel.trainers.recipes.recipe_kinds import (
    DISTILLATION_LOSS,
    KINDS,
    AnyRecipe,
    BiEncoderRecipe,
    Kind,
    LateInteractionRecipe,
    Recipe,
    RerankerRecipe,
    SparseRecipe,
    StaticRecipe,
    TransformerRecipe,
)

__all__ = [
    "AnyRecipe",
    "BiEncoderRecipe",
    "DistillationTeacher",
    "GuideSettings",
    "Kind",
    "LateInteractionRecipe",
    "LoraSettings",
    "LossSettings",
    "PercPosTeacher",
    "Recipe",
    "RerankerRecipe",
    "SparseRecipe",
    "StaticLoss",
    "StaticRecipe",
    "TeacherSettings",
    "TransformerRecipe",
    "load_recipe",
    "shipped_recipes",
    "with_teacher",
]


@expects(recipe=(str, PathLike, Mapping))
def load_recipe(recipe: str | Path | Mapping[str, Any], **changes: Any) -> AnyRecipe:
    """Read a recipe: a YAML file, the name of one that ships with the package, or a mapping.

    Example:
            recipe = load_recipe("e5-base", epochs=1)

    Args:
        changes: fields to set otherwise, such as `max_steps=200`; those of `loss` as `loss={"negatives": 3}`, which
            leaves its other fields as they are.

    Returns:
        A recipe of the class of its kind, such as `BiEncoderRecipe`.

    Raises:
        ConfigError: there is no such recipe, it is not YAML, or a field is unknown, wrong, or of another kind.
    """
    values = dict(recipe) if isinstance(recipe, Mapping) else _read(recipe)
    name = str(recipe.get("name", "recipe") if isinstance(recipe, Mapping) else recipe)
    values = _merged(as_of_today(values), changes)
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = nearest_or_all(str(kind), get_args(Kind), "Kinds are")
        raise ConfigError(f"{name}: " + (f"there is no `kind: {kind}`.{near}" if kind else f"`kind` is missing.{near}"))
    try:
        return KINDS[kind].model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{name}: {_one_line(error, kind)}") from error


def with_teacher(recipe: Recipe, teacher: TeacherSettings) -> AnyRecipe:
    """The same training with a teacher; for distillation, its loss is set to what that does.

    Raises:
        ConfigError: a recipe of this kind has no such teacher.
    """
    changes: dict[str, Any] = {"teacher": None, "loss": {}}
    if teacher.use == "distillation":
        changes["loss"] = {name: value for name, value in DISTILLATION_LOSS.items() if hasattr(recipe.loss, name)}
    values = _merged(recipe.model_dump(), changes)
    return load_recipe(values, teacher=teacher.model_dump())


def shipped_recipes() -> dict[str, Path]:
    """The recipes that ship with the package, by name."""
    files = (Path(__file__).parent / "files").glob("*.yaml")
    return {file.stem: file for file in sorted(files, key=lambda file: file.stem)}


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings within are merged too, others replaced."""
    merged = dict(values)
    for name, value in changes.items():
        inner = merged.get(name)
        merged[name] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def _one_line(error: ValidationError, kind: str) -> str:
    """What is wrong; of a field that another kind has, which."""
    unknown = {as_written(each["loc"], KINDS[kind]) for each in error.errors() if each["type"] == "extra_forbidden"}
    said = problems(error, KINDS[kind])
    return " ".join(_other_kinds(place, kind) or text if place in unknown else text for place, text in said)


def _other_kinds(place: Place, kind: str) -> str | None:
    *above, name = place
    having = [other for other, made in KINDS.items() if name in fields_at(made, above)]
    if kind in having:
        return f"`{path(place)}` does not go with the other settings of `{path(above)}`."
    if having:
        return f"`{path(place)}`: `kind: {kind}` has no such setting. Kinds that have it: {', '.join(having)}."
    return None


def _read(recipe: str | Path) -> dict[str, Any]:
    import yaml

    file = Path(recipe)
    if not file.is_file():
        shipped = shipped_recipes()
        if str(recipe) not in shipped:
            near = did_you_mean_beside(file) or did_you_mean(str(recipe), shipped)
            raise ConfigError(f"There is no recipe {str(recipe)!r}.{near} Ready ones are: {', '.join(shipped)}.")
        file = shipped[str(recipe)]
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{recipe} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{recipe} is not a recipe: it must map names to values.")
    return cast(dict[str, Any], {"name": file.stem, **values})
