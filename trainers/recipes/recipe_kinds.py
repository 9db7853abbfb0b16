"""What a recipe says, by the kind of model: each kind has the fields that it uses, and no others."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hf_relabel.trainers.recipes.parts import (
    BiEncoderLoss,
    LateInteractionLoss,
    LoraSettings,
    LossSettings,
    PercPosTeacher,
    RerankerLoss,
    SparseLoss,
    StaticLoss,
    Teacher,
    TeacherSettings,
)
from hf_relabel.trainers.recipes.robust import SieveSettings
from hf_relabel.trainers.recipes.settings import Settings

Kind = Literal["bi-encoder", "static", "sparse", "late-interaction", "reranker"]

LAST_SEED = 2**32 - 1
"""The highest that numpy takes."""


class Recipe(Settings):
    """How to train one model: what all kinds have. Made by `load_recipe`, which knows the fields of each kind.

    Example:
            recipe = load_recipe("e5-base", epochs=1)  # checked and changed; see the recipes that ship with the package
            print(recipe.model, recipe.loss.negatives)

    Attributes:
        model: a Hub id, a folder, or `package:NAME`. Of a static student: its teacher.
        revision: branch, tag or commit of a model on the Hub; refused for folders and packages, which have none.
        query_prompt, passage_prompt: what is put before each query and each passage.
        batch_size: rows per device and step. An update sees `batch_size` × devices × `gradient_accumulation` rows.
        epochs, max_steps: the length of a run; steps win where both are given.
        warmup: share of the steps, in [0, 1].
        precision: of the arithmetic. Trained weights are kept in 32 bits.
    """

    name: str
    kind: Kind
    model: str
    revision: str | None = None
    query_prompt: str = ""
    passage_prompt: str = ""
    loss: LossSettings = LossSettings()
    teacher: TeacherSettings | None = None
    batch_size: int = Field(default=32, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = Field(default=0.0, ge=0, le=1)
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = Field(default=0, ge=0, le=LAST_SEED)

    @model_validator(mode="after")
    def _is_of_a_kind(self) -> Self:
        if type(self) in (Recipe, TransformerRecipe):
            raise ValueError(f"a recipe is made by `load_recipe`, which knows the fields of `kind: {self.kind}`")
        return self

    def to_yaml(self) -> str:
        """The recipe as YAML, defaults included, so that it says all of what was done."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class TransformerRecipe(Recipe):
    """What kinds with a transformer have too: all but static students.

    Attributes:
        max_length: tokens of a text in training; `max_length_inference` afterwards, None for the same.
        gradient_checkpointing: keep few activations and work the others out again: less memory, a third more time.
    """

    lora: LoraSettings | None = None
    max_length: int | None = Field(default=None, ge=1)
    max_length_inference: int | None = Field(default=None, ge=1)
    gradient_checkpointing: bool = False


class BiEncoderRecipe(TransformerRecipe):
    """One vector for each text.

    Attributes:
        pooling: of the tokens' vectors to one; `lasttoken` is that of the EOS where one is appended.
        append_eos: end each text with the tokenizer's EOS, within `max_length`.
        sieve: leaves out hard negatives that a model trained first takes for positives.
    """

    LATER = frozenset({"sieve"})

    kind: Literal["bi-encoder"]
    pooling: Literal["mean", "cls", "lasttoken"] = "mean"
    normalize: bool = True
    append_eos: bool = False
    loss: BiEncoderLoss = BiEncoderLoss()
    teacher: Teacher | None = None
    sieve: SieveSettings | None = None

    @model_validator(mode="after")
    def _distils(self) -> Self:
        _check_distillation(self.loss, self.teacher)
        _check_sieve(self.sieve, self.teacher)
        return self


class StaticRecipe(Recipe):
    """The mean of token vectors that come from a teacher, `model`; trains in seconds on a CPU.

    Attributes:
        dimensions: of the vectors; None for 256.
        optimizer: `sparse-adam` updates the tokens of a batch only.
        sieve: as of a bi-encoder.
    """

    LATER = frozenset({"sieve"})

    kind: Literal["static"]
    dimensions: int | None = Field(default=None, ge=1)
    optimizer: Literal["adamw", "sparse-adam"] = "adamw"
    loss: StaticLoss = StaticLoss()
    teacher: Teacher | None = None
    sieve: SieveSettings | None = None

    @model_validator(mode="after")
    def _distils(self) -> Self:
        _check_distillation(self.loss, self.teacher)
        _check_sieve(self.sieve, self.teacher)
        return self


class SparseRecipe(TransformerRecipe):
    """A weight for each word of the vocabulary (SPLADE, arXiv 2107.05720)."""

    kind: Literal["sparse"]
    loss: SparseLoss = SparseLoss()
    teacher: PercPosTeacher | None = None


class LateInteractionRecipe(TransformerRecipe):
    """A vector for each token, compared by MaxSim (ColBERT, arXiv 2004.12832)."""

    kind: Literal["late-interaction"]
    loss: LateInteractionLoss = LateInteractionLoss()
    teacher: PercPosTeacher | None = None


class RerankerRecipe(TransformerRecipe):
    """A score for each pair of query and passage.

    Attributes:
        form: how a pair is read: `pair` as the tokenizer pairs texts (BERT and its kin); `joined` as one text,
            `query_prompt` + query + " " + `passage_prompt` + passage, EOS appended (Tevatron's form for causal models);
            `qwen3` as Qwen3-Reranker has it: its chat template, and the probability of "yes".
        instruction: of `qwen3`: what counts as relevant; None for the model card's.
    """

    kind: Literal["reranker"]
    form: Literal["pair", "joined", "qwen3"] = "pair"
    instruction: str | None = None
    loss: RerankerLoss = RerankerLoss()
    teacher: PercPosTeacher | None = None

    @model_validator(mode="after")
    def _fits_its_form(self) -> Self:
        if self.form != "joined" and (self.query_prompt or self.passage_prompt):
            raise ValueError(f"`query_prompt` and `passage_prompt` are for `form: joined`, not `form: {self.form}`")
        if self.form != "qwen3" and self.instruction is not None:
            raise ValueError(f"`instruction` is for `form: qwen3`, not `form: {self.form}`")
        return self


AnyRecipe = BiEncoderRecipe | StaticRecipe | SparseRecipe | LateInteractionRecipe | RerankerRecipe
KINDS: dict[str, type[AnyRecipe]] = {
    "bi-encoder": BiEncoderRecipe,
    "static": StaticRecipe,
    "sparse": SparseRecipe,
    "late-interaction": LateInteractionRecipe,
    "reranker": RerankerRecipe,
}

DISTILLATION_LOSS = {"positives": "random", "in_batch": False, "gather": False, "guide": None, "robust": None}
"""What distillation does: a teacher's order of one positive and its hard negatives is learnt, and nothing else."""


def _check_sieve(sieve: SieveSettings | None, teacher: TeacherSettings | None) -> None:
    if sieve is not None and teacher is not None:
        raise ValueError("`sieve` and `teacher` are two answers to false negatives: take one of them")


def _check_distillation(loss: StaticLoss, teacher: TeacherSettings | None) -> None:
    if teacher is None or teacher.use != "distillation":
        return
    others = {name: value for name, value in DISTILLATION_LOSS.items() if getattr(loss, name, value) != value}
    if others:
        wanted = ", ".join(
            f"`loss.{name}: {'null' if each is None else str(each).lower()}`" for name, each in others.items()
        )
        raise ValueError(f"`distillation` learns the order of one positive and its hard negatives: it needs {wanted}")
    if not loss.negatives:
        raise ValueError("`distillation` needs `loss.negatives` of 1 or more")
