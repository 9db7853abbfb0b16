"""Parts of recipes: adapters, the losses of each kind of model, and teachers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


class Settings(BaseModel):
    """Frozen, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


class Debiased(Settings):
    """Debiased contrastive loss (Chuang et al., arXiv 2007.00224, equations 7 and 8): what positives that are sampled
    as negatives add to the sum of the negatives is taken off again.

    -log exp(s₊) / (exp(s₊) + N·g), where of N negatives and M positives, s = similarity / t,
    g = max{(mean over negatives of exp(s) - τ⁺ · mean over positives of exp(s)) / (1 - τ⁺), e^(-1/t)}: the paper's
    estimator with its floor, the least that exp(s) of a cosine can be. The M positives are those of the row in this
    step. The paper draws negatives from all texts; ours are mostly hard ones, so that τ⁺ is the share of positives
    among *them*. `tau_plus: 0` is InfoNCE.

    Attributes:
        tau_plus: the class prior τ⁺; .1 is that of the authors' experiments.
    """

    name: Literal["debiased"] = "debiased"
    tau_plus: float = Field(default=0.1, ge=0, lt=1)


class GeneralisedCrossEntropy(Settings):
    """Generalised cross-entropy (Zhang and Sabuncu, arXiv 1805.07836, equation 6): (1 - P^q) / q, with P the softmax
    probability of the positive among itself and the negatives. For q towards 0 it is InfoNCE, at 1 it is 1 - P: half
    the mean absolute error. A row that the model finds unlikely weighs P^q of what it does in InfoNCE.

    Attributes:
        q: in (0, 1]; .7 is that of all of the paper's experiments. Its truncated form is left out.
    """

    name: Literal["gce"] = "gce"
    q: float = Field(default=0.7, gt=0, le=1)


class ConfidenceRegularised(Settings):
    """Contrastive confidence regularisation (Wang, Zhang and Nguyen, arXiv 2401.00165, equation 8): InfoNCE less
    β · mean over a row's passages p of -log P(p), so that the model stays sure of what it finds.

    The passages are the positive and all its negatives of the step, and P is the softmax over them. By its gradient,
    β = 0 weighs negatives by their probabilities (InfoNCE), and β = 1 all alike; above, the hardest would be drawn
    nearer. The authors' code (wangskyGit/passage-sieve) softmaxes cosines as they are, at a temperature of 1; here it
    is the recipe's. They add the term after some plain training, we from the first step.

    Attributes:
        beta: the weight; the authors try .1 to 1 with cosines, and advise .5.
    """

    name: Literal["ccr"] = "ccr"
    beta: float = Field(default=0.5, ge=0, le=1)


class WeakenedLabels(Settings):
    """Label weakening: in place of one label, all that are plausible, of the data's label and the model's confidence.

    After "Learning to Retrieve with Weakened Labels" (Sharma, arXiv 2512.13237), of which only the abstract could be
    had: its formula is not established here. This is the published loss that fits its words, data ambiguation (Lienen
    and Hüllermeier, arXiv 2305.13764, and its code julilien/MitigatingLabelNoiseDataAmbiguation), with a row's passages
    for classes: the positive is plausible, and so is each negative whose softmax probability P is above β. With S the
    sum of P over them, the loss is 0 where S ≥ 1 - α, and else the divergence of P from the nearest distribution that
    has 1 - α there: (1 - α) log((1 - α) / S) + α log(α / (1 - S)). Which are plausible is judged without gradient.
    `{alpha: 0, beta: 1}` is InfoNCE.

    Attributes:
        alpha: what implausible passages may have together; that code's default.
        beta: probability from which a negative is plausible. Their example lowers it from .75 to .6 in training; here
            it is .6 throughout.
    """

    name: Literal["label-weakening"] = "label-weakening"
    alpha: float = Field(default=0.1, ge=0, lt=1)
    beta: float = Field(default=0.6, gt=0, le=1)


Robust = Debiased | GeneralisedCrossEntropy | ConfidenceRegularised | WeakenedLabels
"""Losses that expect some negatives to be positives, and need no judge."""


class StaticLoss(LossSettings):
    """`losses.MultiPositiveLoss`.

    Attributes:
        positives: what a row with several positives is trained on, see there.
        in_batch: whether the passages of other rows are negatives too.
        gather: whether those of other devices are.
        guide: leaves out negatives that another model finds near.
        robust: a loss that expects some negatives to be positives, in place of InfoNCE.
    """

    positives: Literal["logsumexp", "random", "joint"] = "logsumexp"
    in_batch: bool = True
    gather: bool = False
    guide: GuideSettings | None = None
    robust: Annotated[Robust, Field(discriminator="name")] | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `robust` where there is none: runs that were kept before there was such a loss are found again."""
        values: dict[str, Any] = written(self)
        return values if self.robust is not None else {name: values[name] for name in values if name != "robust"}

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
