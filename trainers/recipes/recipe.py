"""Recipes: everything that makes a training run repeatable, as data.

A recipe is a YAML file, one of those that ship with the package (`shipped_recipes`) or the user's own. The numbers of
`e5-base`, `qwen2.5-7b-lora` and `reranker-qwen2.5-3b` are those of RLHN (arXiv 2505.16967) as far as the paper gives
them: models, prompts, pooling, temperature, negatives, lengths, learning rates and epochs. Batch sizes, warm-up and the
rank of the adapters are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.messages.problems import one_line
from hf_relabel.builders.sources.paths import did_you_mean_beside

Kind = Literal["bi-encoder", "static", "sparse", "late-interaction", "reranker"]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LoraSettings(_Settings):
    """Low-rank adapters (arXiv 2106.09685) in place of training all weights."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LossSettings(_Settings):
    """The loss, and what of a row it sees in a step."""

    positives: Literal["logsumexp", "random", "joint"] = "logsumexp"
    """What a row with several positives is trained on, see `losses.MultiPositiveLoss`."""
    temperature: float = Field(default=0.05, gt=0)
    negatives: int = Field(default=7, ge=0)
    """Hard negatives of a row in a step, drawn anew each epoch."""
    in_batch: bool = True
    """Whether the passages of other rows are negatives too."""
    mini_batch: int | None = Field(default=None, ge=1)
    """Texts encoded at once with gradient caching (arXiv 2101.06983); None encodes the batch as one."""


class TeacherSettings(_Settings):
    """What a teacher's scores are used for: the baselines that relabelling is compared with, see `baselines`.

    Attributes:
        use: `distillation` trains on the scores (1 positive and `loss.negatives` hard negatives, none of the batch);
            `perc-pos` leaves out negatives above `share` of the positive's score.
        model: a Hub id, a folder, or `package:NAME`.
        kind: a bi-encoder's score is its cosine.
    """

    use: Literal["distillation", "perc-pos"]
    model: str
    revision: str | None = None
    kind: Literal["cross-encoder", "bi-encoder"] = "cross-encoder"
    share: float = Field(default=0.95, gt=0)


class Recipe(_Settings):
    """How to train one model.

    Example:
            recipe = load_recipe("e5-base", epochs=1)  # checked and changed; see the recipes that ship with the package
            print(recipe.model, recipe.loss.negatives)

    Attributes:
        model: a Hub id, a folder, or `package:NAME`. Of a static student: its teacher.
        pooling: of a base model that has no pooling of its own.
        max_length: tokens of a text in training; `max_length_inference` afterwards, None for the same.
        batch_size: rows per device and step.
        epochs, max_steps: the length of a run; steps win where both are given.
        warmup: share of the steps, in [0, 1].
    """

    name: str
    kind: Kind
    model: str
    revision: str | None = None
    loss: LossSettings = LossSettings()
    teacher: TeacherSettings | None = None
    lora: LoraSettings | None = None
    dimensions: int | None = Field(default=None, ge=1)
    pooling: Literal["mean", "cls", "lasttoken"] = "mean"
    normalize: bool = True
    query_prompt: str = ""
    passage_prompt: str = ""
    max_length: int | None = Field(default=None, ge=1)
    max_length_inference: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(gt=0)
    optimizer: Literal["adamw", "sparse-adam"] = "adamw"
    weight_decay: float = Field(default=0.0, ge=0)
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = Field(default=0.0, ge=0, le=1)
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.lora is not None and self.kind == "static":
            raise ValueError("a static student has no layers for `lora`")
        if self.dimensions is not None and self.kind != "static":
            raise ValueError("`dimensions` is for `kind: static`")
        if self.optimizer == "sparse-adam" and self.kind != "static":
            raise ValueError("`sparse-adam` is for `kind: static`, whose gradients are sparse")
        if self.teacher is not None and self.teacher.use == "distillation":
            if self.kind not in ("bi-encoder", "static"):
                raise ValueError("`distillation` is for `kind: bi-encoder` and `kind: static`")
            if self.loss.mini_batch is not None or not self.loss.negatives:
                raise ValueError("`distillation` needs `loss.negatives` and no `loss.mini_batch`")
        if self.kind == "reranker" and self.loss.mini_batch is not None:
            raise ValueError("a reranker has no gradient caching, leave out `loss.mini_batch`")
        return self

    def to_yaml(self) -> str:
        """The recipe as YAML, defaults included, so that it says all of what was done."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


@expects(recipe=(str, PathLike, Mapping))
def load_recipe(recipe: str | Path | Mapping[str, Any], **changes: Any) -> Recipe:
    """Read a recipe: a YAML file, the name of one that ships with the package, or a mapping.

    Example:
            recipe = load_recipe("e5-base", epochs=1)

    Args:
        changes: fields to set otherwise, such as `max_steps=200`; those of `loss` as `loss={"negatives": 3}`, which
            leaves its other fields as they are.

    Raises:
        ConfigError: there is no such recipe, it is not YAML, or a field is unknown or wrong.
    """
    name, values = ("recipe", dict(recipe)) if isinstance(recipe, Mapping) else (str(recipe), _read(recipe))
    for field, value in changes.items():
        inner = values.get(field)
        values[field] = {**inner, **value} if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{name}: {one_line(error, Recipe)}") from error


def shipped_recipes() -> dict[str, Path]:
    """The recipes that ship with the package, by name."""
    return {file.stem: file for file in sorted((Path(__file__).parent / "files").glob("*.yaml"))}


def _read(recipe: str | Path) -> dict[str, Any]:
    import yaml

    path = Path(recipe)
    if not path.is_file():
        shipped = shipped_recipes()
        if str(recipe) not in shipped:
            near = did_you_mean_beside(path) or did_you_mean(str(recipe), shipped)
            raise ConfigError(f"There is no recipe {str(recipe)!r}.{near} Ready ones are: {', '.join(shipped)}.")
        path = shipped[str(recipe)]
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{recipe} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{recipe} is not a recipe: it must map names to values.")
    return {"name": path.stem, **values}
