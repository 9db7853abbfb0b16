"""The trainer of each kind of model, all of them sentence-transformers' own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sentence_transformers.base.training_args import BatchSamplers
from transformers import PrinterCallback

from hf_relabel.trainers.data.collating import EpochBatchSampler, EpochCallback, ListwiseCollator
from hf_relabel.trainers.data.distillation import distillation_rows, load_teacher, perc_pos_rows
from hf_relabel.trainers.data.rows import RowDraw, tuple_prompts, tuple_rows
from hf_relabel.trainers.losses import MultiPositiveLoss
from hf_relabel.trainers.recipes.recipe import Recipe
from hf_relabel.trainers.row_trainer import RowTrainer

QUERY_FLOPS, DOCUMENT_FLOPS = 5e-5, 3e-5
"""Weights of the FLOPS regulariser (SPLADE v2, arXiv 2109.10086), those of the sentence-transformers example."""


def least_negatives(recipe: Recipe) -> int:
    """Fewest hard negatives of a row that the recipe can train on."""
    if _distils(recipe) or recipe.kind in ("sparse", "late-interaction"):
        return recipe.loss.negatives
    return 1 if recipe.kind == "reranker" or not recipe.loss.in_batch else 0


def make_trainer(
    recipe: Recipe, model: Any, rows: Any, arguments: dict[str, Any], evaluator: Any, callbacks: Sequence[Any]
) -> Any:
    """The trainer for a recipe, ready to train.

    Args:
        rows: of a config, those that the recipe can train on.
        arguments: of the library's training arguments.
    """
    teacher = None
    if recipe.teacher is not None:
        teacher = load_teacher(recipe.teacher, device="cpu" if arguments["use_cpu"] else None)
        if recipe.teacher.use == "perc-pos":
            rows = perc_pos_rows(rows, teacher, recipe.teacher.share)
    settings: dict[str, Any] = {"evaluator": evaluator, "callbacks": list(callbacks)}
    if _distils(recipe):
        trainer = _distillation(recipe, model, rows, teacher, arguments, settings)
    else:
        makers = {"sparse": _sparse, "late-interaction": _late_interaction, "reranker": _reranker}
        trainer = makers.get(recipe.kind, _bi_encoder)(recipe, model, rows, arguments, settings)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _distils(recipe: Recipe) -> bool:
    return recipe.teacher is not None and recipe.teacher.use == "distillation"


def _bi_encoder(recipe: Recipe, model: Any, rows: Any, arguments: dict[str, Any], settings: dict[str, Any]) -> Any:
    from sentence_transformers import SentenceTransformerTrainingArguments

    loss = MultiPositiveLoss(
        model,
        positives=recipe.loss.positives,
        temperature=recipe.loss.temperature,
        in_batch=recipe.loss.in_batch,
        mini_batch_size=recipe.loss.mini_batch,
    )
    return _trainer_class(recipe, RowTrainer)(
        model,
        SentenceTransformerTrainingArguments(**arguments),
        rows,
        loss=loss,
        negatives=recipe.loss.negatives,
        **_optimizers(recipe, model),
        **settings,
    )


def _distillation(
    recipe: Recipe, model: Any, rows: Any, teacher: Any, arguments: dict[str, Any], settings: dict[str, Any]
) -> Any:
    """KL divergence from the teacher's order of one positive and its hard negatives."""
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss
    from sentence_transformers.util import pairwise_cos_sim

    count = recipe.loss.negatives
    tuples = distillation_rows(rows, teacher, RowDraw(count, None, arguments["seed"]))
    prompts = tuple_prompts(recipe.query_prompt, recipe.passage_prompt, count)
    return _trainer_class(recipe, SentenceTransformerTrainer)(
        model,
        SentenceTransformerTrainingArguments(**arguments, prompts=prompts),
        tuples,
        loss=DistillKLDivLoss(model, similarity_fct=pairwise_cos_sim, temperature=recipe.loss.temperature),
        **_optimizers(recipe, model),
        **settings,
    )


def _sparse(recipe: Recipe, model: Any, rows: Any, arguments: dict[str, Any], settings: dict[str, Any]) -> Any:
    from sentence_transformers import SparseEncoderTrainer, SparseEncoderTrainingArguments
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss

    ranking = SparseMultipleNegativesRankingLoss(model, scale=1 / recipe.loss.temperature)
    loss = SpladeLoss(model, ranking, document_regularizer_weight=DOCUMENT_FLOPS, query_regularizer_weight=QUERY_FLOPS)
    tuples, prompts = _tuples(recipe, rows, arguments)
    args = SparseEncoderTrainingArguments(**arguments, prompts=prompts, batch_sampler=BatchSamplers.NO_DUPLICATES)
    return SparseEncoderTrainer(model, args, tuples, loss=loss, **settings)


def _late_interaction(
    recipe: Recipe, model: Any, rows: Any, arguments: dict[str, Any], settings: dict[str, Any]
) -> Any:
    from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
    from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss

    loss = MultiVectorMultipleNegativesRankingLoss(
        model, scale=1 / recipe.loss.temperature, mini_batch_size=recipe.loss.mini_batch
    )
    tuples, prompts = _tuples(recipe, rows, arguments)
    args = MultiVectorEncoderTrainingArguments(**arguments, prompts=prompts, batch_sampler=BatchSamplers.NO_DUPLICATES)
    return MultiVectorEncoderTrainer(model, args, tuples, loss=loss, **settings)


def _tuples(recipe: Recipe, rows: Any, arguments: dict[str, Any]) -> tuple[Any, dict[str, str] | None]:
    """One row per positive, for losses that know one; drawn once, as a table has no epochs."""
    count = recipe.loss.negatives
    prompts = tuple_prompts(recipe.query_prompt, recipe.passage_prompt, count)
    tuples = tuple_rows(rows, RowDraw(count, None, arguments["seed"]))
    return tuples, prompts if any(prompts.values()) else None


def _reranker(recipe: Recipe, model: Any, rows: Any, arguments: dict[str, Any], settings: dict[str, Any]) -> Any:
    from sentence_transformers import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import LambdaLoss

    collator = ListwiseCollator(model.preprocess, draw=RowDraw(recipe.loss.negatives, None, arguments["seed"]))

    class Trainer(CrossEncoderTrainer):  # type: ignore[misc]
        def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, **given: Any) -> Any:
            return EpochBatchSampler(dataset, batch_size, drop_last, number=collator.epoch, **given)

    settings["callbacks"].append(EpochCallback(collator.epoch))
    args = CrossEncoderTrainingArguments(**arguments)
    return Trainer(model, args, rows, loss=LambdaLoss(model), data_collator=collator, **settings)


def _optimizers(recipe: Recipe, model: Any) -> dict[str, Any]:
    if recipe.optimizer != "sparse-adam":
        return {}
    from torch.optim import SparseAdam

    return {"optimizers": (SparseAdam(list(model.parameters()), lr=recipe.learning_rate), None)}


def _trainer_class(recipe: Recipe, base: Any) -> Any:
    """The trainer, for sparse gradients without their norm: torch cannot take it, and transformers (5.23) always asks
    for it, even where nothing is clipped."""
    if recipe.optimizer != "sparse-adam":
        return base

    class Trainer(base):  # type: ignore[misc]
        def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
            return grad_norm

    return Trainer
