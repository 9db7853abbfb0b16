"""From a recipe to the untrained model it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.models.adapters import add_adapters
from hf_relabel.trainers.models.bi_encoder import bi_encoder, prompts
from hf_relabel.trainers.models.place import Place, check_revisions
from hf_relabel.trainers.models.reranker import reranker
from hf_relabel.trainers.models.texts import leave_out_template, pad_with_something
from hf_relabel.trainers.recipes.recipe import Recipe, StaticRecipe, TransformerRecipe
from hf_relabel.trainers.students.static import DIMENSIONS, static_student


def build_model(recipe: Recipe, *, device: str | None = None) -> Any:
    """The model a recipe starts from, adapters included.

    Args:
        device: torch device, None for the library's choice.

    Returns:
        A `SentenceTransformer`, `SparseEncoder`, `MultiVectorEncoder` or `CrossEncoder`, by the recipe's kind, with the
        recipe's prompts and training length set.

    Raises:
        ConfigError: the model cannot be loaded, or the recipe asks for what it cannot do.
    """
    builders: dict[str, Callable[[Any, str | None], Any]] = {
        "bi-encoder": bi_encoder,
        "static": _static,
        "sparse": _sparse,
        "late-interaction": _late_interaction,
        "reranker": reranker,
    }
    check_revisions(recipe)
    try:
        model = builders[recipe.kind](recipe, device)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(f"The model {recipe.model!r} cannot be loaded: {reason}") from error
    if isinstance(recipe, TransformerRecipe):
        _check_lengths(model, recipe)
        if recipe.max_length is not None:
            model.max_seq_length = recipe.max_length
        if recipe.lora is not None:
            add_adapters(model, recipe)
    return model


def _check_lengths(model: Any, recipe: TransformerRecipe) -> None:
    """Raises: ConfigError, the recipe wants longer texts than the model has positions for."""
    most = _positions(model)
    for name in ("max_length", "max_length_inference"):
        asked = getattr(recipe, name)
        if most is not None and asked is not None and asked > most:
            raise ConfigError(
                f"{recipe.name}: the model {recipe.model!r} reads {most:,} tokens of a text at most, and `{name}` is"
                f" {asked:,}. Set it to {most} or less."
            )


def _positions(model: Any) -> int | None:
    """So many tokens have a vector of their place; None where places are worked out (rotary), for any length."""
    from torch.nn import Embedding

    counts = [
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, Embedding)
    ]
    return min(counts, default=None)


def set_inference_length(model: Any, recipe: Recipe) -> None:
    """Let a trained model read as much of a text as the recipe says it may."""
    if isinstance(recipe, TransformerRecipe) and recipe.max_length_inference is not None:
        model.max_seq_length = recipe.max_length_inference


def _static(recipe: StaticRecipe, device: str | None) -> Any:
    model = static_student(recipe.model, revision=recipe.revision, dimensions=recipe.dimensions or DIMENSIONS)
    model[0].embedding.sparse = recipe.optimizer == "sparse-adam"
    model.prompts = prompts(recipe)
    return model.to(device) if device else model


def _sparse(recipe: TransformerRecipe, device: str | None) -> Any:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

    model = _with_its_own_modules(SparseEncoder, recipe, device)
    if isinstance(model[-1], SparseAutoEncoder):
        raise ConfigError(
            f"{recipe.name}: the model {recipe.model!r} predicts no words that were left out of a text, and a sparse"
            " model weighs words by that. Name a masked language model, such as distilbert/distilbert-base-uncased."
        )
    return model


def _late_interaction(recipe: TransformerRecipe, device: str | None) -> Any:
    from sentence_transformers import MultiVectorEncoder

    return _with_its_own_modules(MultiVectorEncoder, recipe, device)


def _with_its_own_modules(made: Any, recipe: TransformerRecipe, device: str | None) -> Any:
    from sentence_transformers.util import is_sentence_transformer_model

    place = Place.of(recipe)
    model = made(place.location, **place.hub, prompts=prompts(recipe), device=device, model_kwargs=place.weights)
    if not is_sentence_transformer_model(place.location, **place.hub):
        leave_out_template(model[0])
    if model.tokenizer is not None:
        pad_with_something(model.tokenizer)
    return model
