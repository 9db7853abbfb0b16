"""Parts of recipes: adapters, the losses of each kind of model, and teachers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hf_relabel.trainers.recipes.robust import Robust
from hf_relabel.trainers.recipes.settings import Settings


class LoraSettings(Settings):
    """Low-rank adapters (arXiv 2106.09685) in place of training all weights. The defaults are Tevatron's for retrievers
    (`retriever/arguments.py`), which RLHN's scripts leave as they are."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class GuideSettings(Settings):
    """A second model that leaves out negatives that it finds too near to the query (GISTEmbed, arXiv 2402.16829).

    A negative counts for a query unless the guide's similarity of the two is above that of the query and its positive,
    less the margin.

    Attributes:
        model: a bi-encoder: a Hub id, a folder, or `package:NAME`.
        margin: of `absolute`, what is taken from the similarity of the positive; of `relative`, its share that is.
        query_prompt, passage_prompt: what the guide reads before each; None for what its own files say.
    """

    model: str
    revision: str | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    margin: float = Field(default=0.0, ge=0)
    strategy: Literal["absolute", "relative"] = "absolute"

    @model_validator(mode="after")
    def _a_share(self) -> Self:
        if self.strategy == "relative" and self.margin >= 1:
            raise ValueError(f"a relative `margin` is a share of the positive's similarity, below 1, not {self.margin}")
        return self


class LossSettings(Settings):
    """What all losses know.

    Attributes:
        temperature: similarities or scores are divided by it.
        negatives: hard negatives of a row in a step, drawn anew each epoch.
    """

    temperature: float = Field(default=0.05, gt=0)
    negatives: int = Field(default=7, ge=0)


class StaticLoss(LossSettings):
    """`losses.MultiPositiveLoss`.

    Attributes:
        positives: what a row with several positives is trained on, see there.
        in_batch: whether the passages of other rows are negatives too.
        gather: whether those of other devices are.
        guide: leaves out negatives that another model finds near.
        robust: a loss that expects some negatives to be positives, in place of InfoNCE.
    """

    LATER = frozenset({"robust"})

    positives: Literal["logsumexp", "random", "joint"] = "logsumexp"
    in_batch: bool = True
    gather: bool = False
    guide: GuideSettings | None = None
    robust: Annotated[Robust, Field(discriminator="name")] | None = None

    @model_validator(mode="after")
    def _has_negatives(self) -> Self:
        if self.gather and not self.in_batch:
            raise ValueError("`gather` takes the passages of other devices as negatives: it needs `in_batch`")
        if not self.in_batch and not self.negatives:
            raise ValueError("without `in_batch`, `negatives` must be 1 or more: nothing else is compared with")
        return self


class BiEncoderLoss(StaticLoss):
    """The same.

    Attributes:
        mini_batch: texts encoded at once with gradient caching (arXiv 2101.06983); None encodes the batch as one.
    """

    mini_batch: int | None = Field(default=None, ge=1)


class SparseLoss(LossSettings):
    """Contrast with all passages of the batch, and the FLOPS regulariser.

    Attributes:
        positives: one of a row's positives in each epoch, drawn anew: the loss knows one.
    """

    positives: Literal["random"] = "random"


class LateInteractionLoss(SparseLoss):
    """Contrast of MaxSim scores with all passages of the batch.

    Attributes:
        mini_batch: as of a bi-encoder.
    """

    mini_batch: int | None = Field(default=None, ge=1)


class RerankerLoss(LossSettings):
    """A row's passages in order, positives first.

    Attributes:
        objective: `softmax` is cross-entropy of one positive among its negatives, as Tevatron has it; `lambda` is
            LambdaLoss (NDCG-Loss2++), which knows several positives.
        temperature: of `softmax`.
    """

    objective: Literal["softmax", "lambda"] = "lambda"
    temperature: float = Field(default=1.0, gt=0)
    negatives: int = Field(default=7, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.objective == "lambda" and self.temperature != 1:
            raise ValueError("`temperature` is for `objective: softmax`")
        return self


class TeacherSettings(Settings):
    """A model whose scores are used: the baselines that relabelling is compared with, see `baselines`.

    Attributes:
        model: a Hub id, a folder, or `package:NAME`.
        kind: a bi-encoder's score is its cosine.
        activation: what a cross-encoder's logits go through; None for what the model's own files say. `perc-pos` needs
            probabilities: a model whose files say that it gives raw logits is refused, unless this is `sigmoid`.
    """

    use: Literal["distillation", "perc-pos"]
    model: str
    revision: str | None = None
    kind: Literal["cross-encoder", "bi-encoder"] = "cross-encoder"
    activation: Literal["sigmoid", "none"] | None = None

    @model_validator(mode="after")
    def _has_logits(self) -> Self:
        if self.activation is not None and self.kind == "bi-encoder":
            raise ValueError("`activation` is for `kind: cross-encoder`: a bi-encoder's score is a cosine")
        return self

    def for_use(self, use: str) -> DistillationTeacher | PercPosTeacher:
        """The same model for that use.

        Raises:
            ValueError: there is no such use.
        """
        made: dict[str, type[DistillationTeacher | PercPosTeacher]] = {
            "distillation": DistillationTeacher,
            "perc-pos": PercPosTeacher,
        }
        if use not in made:
            raise ValueError(f"A teacher is used for {' or '.join(made)}, not {use!r}.")
        shared = self.model_dump(include=set(made[use].model_fields), exclude={"use"})
        return made[use].model_validate({**shared, "use": use})


class DistillationTeacher(TeacherSettings):
    """The student is trained on the teacher's scores of one positive, drawn anew each epoch, and `loss.negatives` hard
    negatives, none of the batch.

    Attributes:
        temperature: the teacher's own: its scores, moved and stretched to [0, 1], are divided by it. The student's is
            `loss.temperature`.
    """

    use: Literal["distillation"]
    temperature: float = Field(default=0.1, gt=0)


class PercPosTeacher(TeacherSettings):
    """Negatives above a share of the positive's score are left out (TopK-PercPos of NV-Retriever, arXiv 2407.15831)."""

    use: Literal["perc-pos"]
    share: float = Field(default=0.95, gt=0)


Teacher = Annotated[DistillationTeacher | PercPosTeacher, Field(discriminator="use")]
