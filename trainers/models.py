"""From a recipe to the untrained model it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.model_folder import model_folder
from hf_relabel.trainers.recipes.recipe import (
    BiEncoderRecipe,
    LateInteractionRecipe,
    LoraSettings,
    Recipe,
    RerankerRecipe,
    SparseRecipe,
    StaticRecipe,
    TransformerRecipe,
)
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
        "bi-encoder": _bi_encoder,
        "static": _static,
        "sparse": _sparse,
        "late-interaction": _late_interaction,
        "reranker": _reranker,
    }
    try:
        model = builders[recipe.kind](recipe, device)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(f"The model {recipe.model!r} cannot be loaded: {reason}") from error
    if isinstance(recipe, TransformerRecipe):
        if recipe.max_length is not None:
            model.max_seq_length = recipe.max_length
        if recipe.lora is not None:
            _add_adapters(model, recipe.model, recipe.lora)
    return model


def set_inference_length(model: Any, recipe: Recipe) -> None:
    """Let a trained model read as much of a text as the recipe says it may."""
    if isinstance(recipe, TransformerRecipe) and recipe.max_length_inference is not None:
        model.max_seq_length = recipe.max_length_inference


def merge_adapters(model: Any) -> Any:
    """Add the weights of the adapters to the model's own; afterwards it needs no peft to load.

    Raises:
        ConfigError: the model has no adapters.
    """
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    inner = model.transformers_model
    layers = [module for module in inner.modules() if isinstance(module, BaseTunerLayer)]
    if not layers:
        raise ConfigError("This model has no adapters to merge.")
    assert not isinstance(inner, PeftModel)
    for name, layer in [(name, module) for name, module in inner.named_modules() if isinstance(module, BaseTunerLayer)]:
        layer.merge(safe_merge=True)
        parent = inner.get_submodule(name.rpartition(".")[0]) if "." in name else inner
        setattr(parent, name.rpartition(".")[2], layer.get_base_layer())
    inner._hf_peft_config_loaded = False
    if hasattr(inner, "peft_config"):
        del inner.peft_config
    return model


def _location(recipe: Recipe) -> str:
    return str(model_folder(recipe.model) or recipe.model)


def _weights(recipe: TransformerRecipe) -> dict[str, Any]:
    """How weights are loaded: those that are trained themselves in 32 bits, whatever the file holds. Steps as small as
    these are lost or overflow in 16; `precision` is that of the arithmetic. Beneath adapters they stay as they are."""
    return {} if recipe.lora is not None else {"dtype": "float32"}


def _prompts(recipe: Recipe) -> dict[str, str]:
    return {"query": recipe.query_prompt, "document": recipe.passage_prompt}


def _bi_encoder(recipe: BiEncoderRecipe, device: str | None) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    loaded = SentenceTransformer(
        _location(recipe),
        revision=recipe.revision,
        prompts=_prompts(recipe),
        device=device,
        model_kwargs=_weights(recipe),
    )
    transformer = loaded[0]
    if not isinstance(transformer, Transformer):
        raise ConfigError(f"{recipe.model!r} is not a transformer: use a recipe of `kind: static`.")
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode=recipe.pooling)
    modules = [transformer, pooling, *([Normalize()] if recipe.normalize else [])]
    return SentenceTransformer(modules=modules, prompts=_prompts(recipe), device=device)


def _static(recipe: StaticRecipe, device: str | None) -> Any:
    model = static_student(recipe.model, dimensions=recipe.dimensions or DIMENSIONS)
    model[0].embedding.sparse = recipe.optimizer == "sparse-adam"
    model.prompts = _prompts(recipe)
    return model.to(device) if device else model


def _sparse(recipe: SparseRecipe, device: str | None) -> Any:
    from sentence_transformers import SparseEncoder

    return SparseEncoder(
        _location(recipe),
        revision=recipe.revision,
        prompts=_prompts(recipe),
        device=device,
        model_kwargs=_weights(recipe),
    )


def _late_interaction(recipe: LateInteractionRecipe, device: str | None) -> Any:
    from sentence_transformers import MultiVectorEncoder

    return MultiVectorEncoder(
        _location(recipe),
        revision=recipe.revision,
        prompts=_prompts(recipe),
        device=device,
        model_kwargs=_weights(recipe),
    )


def _reranker(recipe: RerankerRecipe, device: str | None) -> Any:
    from sentence_transformers import CrossEncoder

    return CrossEncoder(
        _location(recipe), revision=recipe.revision, num_labels=1, device=device, model_kwargs=_weights(recipe)
    )


def _add_adapters(model: Any, name: str, lora: LoraSettings) -> None:
    from peft import LoraConfig

    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.target_modules)
    )
    try:
        model.add_adapter(config)
    except ValueError as error:
        raise ConfigError(f"Adapters cannot be added to {name!r}: {error}") from error
