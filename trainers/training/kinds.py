"""The trainer of each kind of model, all of them sentence-transformers' own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from transformers import PrinterCallback

from hf_relabel.builders.judges.offline.model_loading import load_model
from hf_relabel.trainers.data.collating import Epoch, EpochBatchSampler, EpochCallback, ListwiseCollator
from hf_relabel.trainers.data.rows import RowDraw, tuple_prompts
from hf_relabel.trainers.data.tuple_batches import ApartBatchSampler, TupleCollator
from hf_relabel.trainers.distillation_loss import DistillationLoss
from hf_relabel.trainers.group_loss import GroupSoftmaxLoss
from hf_relabel.trainers.guide import Guide
from hf_relabel.trainers.losses import MultiPositiveLoss, losses_in
from hf_relabel.trainers.models.adapters import check_precision, has_adapters, load_checkpoint
from hf_relabel.trainers.recipes.recipe import (
    BiEncoderRecipe,
    DistillationTeacher,
    GuideSettings,
    LateInteractionRecipe,
    Recipe,
    RerankerRecipe,
    SparseRecipe,
    StaticRecipe,
    TransformerRecipe,
)
from hf_relabel.trainers.row_trainer import RowTrainer
from hf_relabel.trainers.training.on_devices import on_devices

QUERY_FLOPS, DOCUMENT_FLOPS = 5e-5, 3e-5
"""Weights of the FLOPS regulariser (SPLADE v2, arXiv 2109.10086), those of the sentence-transformers example."""


def least_negatives(recipe: Recipe) -> int:
    """Fewest hard negatives of a row that the recipe can train on."""
    if isinstance(recipe, (BiEncoderRecipe, StaticRecipe)):
        return 0 if recipe.loss.in_batch else 1
    return 1 if isinstance(recipe, RerankerRecipe) else recipe.loss.negatives


def make_trainer(
    recipe: Recipe, model: Any, rows: Any, arguments: dict[str, Any], evaluator: Any, callbacks: Sequence[Any]
) -> Any:
    """The trainer for a recipe, ready to train.

    Args:
        rows: of a config, those that the recipe can train on, as its teacher leaves them.
        arguments: of the library's training arguments.
    """
    check_precision(model)
    if isinstance(recipe, TransformerRecipe) and recipe.gradient_checkpointing:
        _recompute_activations(model.transformers_model)
    settings: dict[str, Any] = {"evaluator": evaluator, "callbacks": list(callbacks)}
    trainer = _MAKERS[recipe.kind](recipe, model, rows, arguments, settings)
    trainer.remove_callback(PrinterCallback)
    if has_adapters(model):
        trainer._load_from_checkpoint = partial(load_checkpoint, model)
    on_devices(trainer)
    return trainer


def _recompute_activations(transformer: Any) -> None:
    """By the transformer's own method: the trainer's argument for it is deprecated where the model that it calls is one
    of sentence-transformers (6.2 with transformers 5.23)."""
    enable = getattr(transformer, "activation_checkpointing_enable", None) or transformer.gradient_checkpointing_enable
    enable({"use_reentrant": False})  # the other way gives no gradients to adapters below frozen embeddings


def has_sparse_gradients(recipe: Recipe) -> bool:
    """Whether a step gives gradients of the tokens of its batch only."""
    return isinstance(recipe, StaticRecipe) and recipe.optimizer == "sparse-adam"


def _rows(
    recipe: BiEncoderRecipe | StaticRecipe, model: Any, rows: Any, arguments: dict[str, Any], settings: dict[str, Any]
) -> Any:
    """One vector per text, by our own loss."""
    from sentence_transformers import SentenceTransformerTrainingArguments

    loss = _loss(recipe, model, "cpu" if arguments["use_cpu"] else None)
    return _trainer_class(recipe, RowTrainer)(
        model,
        SentenceTransformerTrainingArguments(**arguments),
        rows,
        loss=loss,
        negatives=recipe.loss.negatives,
        **_optimizers(recipe, model),
        **settings,
    )


def _loss(recipe: BiEncoderRecipe | StaticRecipe, model: Any, device: str | None) -> MultiPositiveLoss:
    given, teacher = recipe.loss, recipe.teacher
    mini_batch = recipe.loss.mini_batch if isinstance(recipe, BiEncoderRecipe) else None
    if isinstance(teacher, DistillationTeacher):
        return DistillationLoss(
            model,
            temperature=given.temperature,
            teacher_temperature=teacher.temperature,
            mini_batch_size=mini_batch,
        )
    return MultiPositiveLoss(
        model,
        positives=given.positives,
        temperature=given.temperature,
        in_batch=given.in_batch,
        mini_batch_size=mini_batch,
        gather_across_devices=given.gather,
        guide=None if given.guide is None else load_guide(given.guide, device),
        robust=given.robust,
    )


def guide_of(trainer: Any) -> Guide | None:
    """The guide of a trainer's loss, which counts what it does."""
    guides = (getattr(loss, "guide", None) for loss in losses_in(trainer.loss))
    return next((guide for guide in guides if guide is not None), None)


def load_guide(settings: GuideSettings, device: str | None = None) -> Guide:
    """The guide of a recipe.

    Raises:
        ConfigError: it cannot be loaded.
    """
    from sentence_transformers import SentenceTransformer

    model = load_model(SentenceTransformer, settings.model, revision=settings.revision, device=device)
    prompts = {"query": settings.query_prompt, "document": settings.passage_prompt}
    own = {name: prompt for name, prompt in prompts.items() if prompt is not None}
    return Guide(model, margin=settings.margin, strategy=settings.strategy, prompts={**model.prompts, **own})


def _sparse(recipe: SparseRecipe, model: Any, rows: Any, arguments: dict[str, Any], settings: dict[str, Any]) -> Any:
    from sentence_transformers import SparseEncoderTrainer, SparseEncoderTrainingArguments
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss

    ranking = SparseMultipleNegativesRankingLoss(model, scale=1 / recipe.loss.temperature)
    loss = SpladeLoss(model, ranking, document_regularizer_weight=DOCUMENT_FLOPS, query_regularizer_weight=QUERY_FLOPS)
    args = SparseEncoderTrainingArguments(**arguments, prompts=_prompts(recipe))
    return _drawing_tuples(SparseEncoderTrainer, recipe)(model, args, rows, loss=loss, **settings)


def _late_interaction(
    recipe: LateInteractionRecipe, model: Any, rows: Any, arguments: dict[str, Any], settings: dict[str, Any]
) -> Any:
    from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
    from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss

    loss = MultiVectorMultipleNegativesRankingLoss(
        model, scale=1 / recipe.loss.temperature, mini_batch_size=recipe.loss.mini_batch
    )
    args = MultiVectorEncoderTrainingArguments(**arguments, prompts=_prompts(recipe))
    return _drawing_tuples(MultiVectorEncoderTrainer, recipe)(model, args, rows, loss=loss, **settings)


def _prompts(recipe: Recipe) -> dict[str, str] | None:
    prompts = tuple_prompts(recipe.query_prompt, recipe.passage_prompt, recipe.loss.negatives)
    return prompts if any(prompts.values()) else None


def _drawing_tuples(base: Any, recipe: Recipe) -> Any:
    """The trainer of a loss that knows one positive: one of each row's, and its hard negatives, drawn anew each
    epoch."""

    class Trainer(base):  # type: ignore[misc]
        def get_data_collator(self, model: Any, args: Any, processing_class: Any = None) -> TupleCollator:
            draw = RowDraw(recipe.loss.negatives, 1, args.seed)
            return TupleCollator(super().get_data_collator(model, args, processing_class), draw, Epoch())

        def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, **given: Any) -> Any:
            drawn = {"number": self.data_collator.epoch, "draw": self.data_collator.draw}
            return ApartBatchSampler(dataset, batch_size, drop_last, **drawn, **given)

        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            """Not wanted: the card is ours, and the library would look for texts in our columns."""

    def made(*args: Any, **given: Any) -> Any:
        trainer = Trainer(*args, **given)
        trainer.add_callback(EpochCallback(trainer.data_collator.epoch))
        return trainer

    return made


def _reranker(
    recipe: RerankerRecipe, model: Any, rows: Any, arguments: dict[str, Any], settings: dict[str, Any]
) -> Any:
    from sentence_transformers import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import LambdaLoss

    one = recipe.loss.objective == "softmax"
    loss = GroupSoftmaxLoss(model, temperature=recipe.loss.temperature) if one else LambdaLoss(model)
    draw = RowDraw(recipe.loss.negatives, 1 if one else None, arguments["seed"])
    collator = ListwiseCollator(model.preprocess, draw=draw)

    class Trainer(CrossEncoderTrainer):  # type: ignore[misc]
        def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, **given: Any) -> Any:
            return EpochBatchSampler(dataset, batch_size, drop_last, number=collator.epoch, **given)

    settings["callbacks"].append(EpochCallback(collator.epoch))
    args = CrossEncoderTrainingArguments(**arguments)
    return Trainer(model, args, rows, loss=loss, data_collator=collator, **settings)


_MAKERS: dict[str, Callable[[Any, Any, Any, dict[str, Any], dict[str, Any]], Any]] = {
    "bi-encoder": _rows,
    "static": _rows,
    "sparse": _sparse,
    "late-interaction": _late_interaction,
    "reranker": _reranker,
}


def _optimizers(recipe: Recipe, model: Any) -> dict[str, Any]:
    if not has_sparse_gradients(recipe):
        return {}
    from torch.optim import SparseAdam

    return {"optimizers": (SparseAdam(list(model.parameters()), lr=recipe.learning_rate), None)}


def _trainer_class(recipe: Recipe, base: Any) -> Any:
    """The trainer, for sparse gradients without their norm: torch cannot take it, and transformers (5.23) always asks
    for it, even where nothing is clipped."""
    if not has_sparse_gradients(recipe):
        return base

    class Trainer(base):  # type: ignore[misc]
        def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
            return grad_norm

    return Trainer
