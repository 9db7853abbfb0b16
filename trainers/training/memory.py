"""What training a model needs, reckoned from the settings of the model without its weights.

All of it is an estimate but the counts of parameters, which are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.recipes.recipe import BiEncoderRecipe, Recipe, RerankerRecipe, SparseRecipe, TransformerRecipe

_PER_LAYER = 34
"""Bytes of activations in 16 bits for each token and each unit of width in a layer, where attention is not written out
(Korthikanti et al., arXiv 2205.05198, without the 5as/h of the attention's matrix)."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The transformer of a recipe.

    Attributes:
        parameters: of all weights; `trainable` of those that are trained, `embedding` of the tokens' vectors, which
            cost no arithmetic.
        layers, width: of the transformer.
        bytes: of a weight that is not trained itself.
    """

    parameters: int
    trainable: int
    embedding: int
    layers: int
    width: int
    bytes: int = 4


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one device in training."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


def size_of(recipe: Recipe) -> ModelSize:
    """The size of a recipe's model, from its settings alone: no weights are loaded.

    Raises:
        ConfigError: its settings cannot be read.
    """
    if not isinstance(recipe, TransformerRecipe):
        return _static_size(recipe)
    from hf_relabel.trainers.models.place import Place

    try:
        config = Place.of(recipe).config()
        model = _empty(recipe, config)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(f"The settings of {recipe.model!r} cannot be read: {reason}") from error
    total = sum(each.numel() for each in model.parameters())
    text = config.get_text_config()
    embedding = model.get_input_embeddings().weight.numel()
    if recipe.lora is None:
        return ModelSize(total, total, embedding, text.num_hidden_layers, text.hidden_size)
    added = _adapters(model, recipe)
    per_weight = 2 if str(getattr(config, "dtype", None)).endswith(("bfloat16", "float16")) else 4
    return ModelSize(total + added, added, embedding, text.num_hidden_layers, text.hidden_size, per_weight)


def memory_of(recipe: Recipe, size: ModelSize, tokens: int, devices: int = 1) -> Memory:
    """What one device holds.

    Args:
        tokens: padded ones whose activations are held at once.
    """
    half = recipe.precision != "fp32"
    frozen = size.parameters - size.trainable
    weights = 4 * size.trainable + size.bytes * frozen + (2 * size.trainable if half else 0)
    exchanged = 2 if devices > 1 else 1  # what is sent to the others has a place of its own
    per_token = size.width * _PER_LAYER * (1 if half else 2)
    layers = size.layers
    if isinstance(recipe, TransformerRecipe) and recipe.gradient_checkpointing:
        per_token += layers * size.width * (2 if half else 4)  # the beginning of each layer, and one layer in full
        layers = 1
    return Memory(weights, 4 * size.trainable * exchanged, 8 * size.trainable, tokens * per_token * max(layers, 1))


def flops_of_token(recipe: Recipe, size: ModelSize) -> int:
    """Operations for a token of an update: 2 a weight forward, 2 for the gradients of activations, 2 for those of
    weights that are trained; once more forward where activations are worked out again."""
    if not isinstance(recipe, TransformerRecipe):
        return 0
    active = size.parameters - size.embedding
    forward = 1 + recipe.gradient_checkpointing
    if isinstance(recipe, BiEncoderRecipe) and recipe.loss.mini_batch is not None:
        forward += 1
    return 2 * active * (forward + 1) + 2 * min(size.trainable, active)


def _empty(recipe: TransformerRecipe, config: Any) -> Any:
    """The transformer without weights."""
    import torch
    import transformers

    if isinstance(recipe, RerankerRecipe) and recipe.form != "qwen3":
        config.num_labels = 1
        made = transformers.AutoModelForSequenceClassification
    elif isinstance(recipe, RerankerRecipe):
        made = transformers.AutoModelForCausalLM
    elif isinstance(recipe, SparseRecipe):
        made = transformers.AutoModelForMaskedLM
    else:
        made = transformers.AutoModel
    with torch.device("meta"):
        return made.from_config(config)


def _adapters(model: Any, recipe: TransformerRecipe) -> int:
    """Parameters that LoRA adds, and the head of a reranker, which is trained too, as a copy."""
    from torch import nn

    assert recipe.lora is not None
    named = [(name.rpartition(".")[2], module) for name, module in model.named_modules()]
    adapted = [each for name, each in named if name in recipe.lora.target_modules and isinstance(each, nn.Linear)]
    heads = [each for name, each in named if name in ("score", "classifier") and recipe.kind == "reranker"]
    added: int = sum(recipe.lora.rank * (each.in_features + each.out_features) for each in adapted)
    return added + int(sum(parameter.numel() for head in heads for parameter in head.parameters()))


def _static_size(recipe: Any) -> ModelSize:
    """Of a static student: a vector for each token of its teacher."""
    from transformers import AutoTokenizer

    from hf_relabel.builders.judges.offline.model_folder import model_folder
    from hf_relabel.trainers.students.static import DIMENSIONS

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(model_folder(recipe.model) or recipe.model), revision=recipe.revision
        )
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(f"The tokenizer of {recipe.model!r} cannot be read: {reason}") from error
    width = recipe.dimensions or DIMENSIONS
    count = len(tokenizer) * width
    return ModelSize(count, count, count, 0, width)
