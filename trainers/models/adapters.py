"""Low-rank adapters: added, trained in 32 bits, read from a checkpoint, merged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.trainers.recipes.recipe import TransformerRecipe


def add_adapters(model: Any, recipe: TransformerRecipe) -> None:
    """Train adapters in place of the transformer's weights, and beside them the layers that score or project.

    The transformer stays in the precision of its file; what is trained is kept in 32 bits, as PEFT's `get_peft_model`
    does and transformers' `add_adapter` does not: in 16, steps of 5e-6 are lost.

    Raises:
        ConfigError: no layer of the model has the names of the recipe's.
    """
    from peft import LoraConfig

    assert recipe.lora is not None
    inner = model.transformers_model
    config = LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=list(recipe.lora.target_modules),
        modules_to_save=_heads(inner) or None,
    )
    try:
        model.add_adapter(config)
    except ValueError as error:
        raise ConfigError(f"Adapters cannot be added to {recipe.model!r}: {error}") from error
    for module in model.modules():
        _train_in_32_bits(module)


def check_precision(model: Any) -> None:
    """
    Raises:
        ConfigError: a weight that is to be trained has 16 bits.
    """
    found = [(name, each.dtype) for name, each in model.named_parameters() if each.requires_grad]
    coarse = [(name, str(dtype).removeprefix("torch.")) for name, dtype in found if dtype.itemsize < 4]
    if coarse:
        name, dtype = coarse[0]
        raise ConfigError(
            f"{len(coarse)} of the weights to be trained, such as {name}, are {dtype}: most steps of a usual learning"
            " rate are lost in it. Load the model in float32; `precision: bf16` is for the arithmetic."
        )


def load_checkpoint(model: Any, folder: str | Path) -> None:
    """Read what is trained of a model with adapters from a checkpoint, bit for bit.

    The library would load the model anew, its adapters in the precision of the base.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    place = Path(folder)
    saved = load_file(place / "adapter_model.safetensors")
    inner = {name.removeprefix("base_model.model."): weights for name, weights in saved.items()}
    set_peft_model_state_dict(model.transformers_model, inner)
    for number, module in enumerate(list(model.children())[1:], start=1):
        if next(module.parameters(), None) is not None:
            module.load_state_dict(load_file(place / f"{number}_{type(module).__name__}" / "model.safetensors"))


def has_adapters(model: Any) -> bool:
    """Whether adapters are trained in place of the model's own weights."""
    inner = getattr(model, "transformers_model", None)
    return bool(getattr(inner, "_hf_peft_config_loaded", False)) and any(True for _ in _tuned(inner))


def merge_adapters(model: Any) -> Any:
    """Add the weights of the adapters to the model's own; afterwards it needs no peft to load.

    The precision of the model's own weights stays; layers that were trained beside the adapters get it too.

    Raises:
        ConfigError: the model has no adapters.
    """
    from peft.utils import ModulesToSaveWrapper

    inner = model.transformers_model
    if not has_adapters(model):
        raise ConfigError("This model has no adapters to merge.")
    dtype = inner.dtype
    for name, layer in list(_tuned(inner)):
        layer.merge(safe_merge=True)
        _replace(inner, name, layer.get_base_layer())
    for name, module in list(inner.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            _replace(inner, name, module.modules_to_save[module.active_adapter].to(dtype))
    for module in list(model.children())[1:]:
        module.to(dtype)
    inner._hf_peft_config_loaded = False
    if hasattr(inner, "peft_config"):
        del inner.peft_config
    return model


def _heads(inner: Any) -> list[str]:
    """The layers of a classifier that stand behind its transformer: they are new, or of another task."""
    if not type(inner).__name__.endswith("ForSequenceClassification"):
        return []
    return [
        name
        for name, module in inner.named_children()
        if module is not inner.base_model and next(module.parameters(), None) is not None
    ]


def _train_in_32_bits(module: Any) -> None:
    """Keep the module's own trained weights in 32 bits, and give it inputs of that precision."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    own = [each for each in module.parameters(recurse=False) if each.requires_grad and each.dtype.itemsize < 4]
    for weights in own:
        weights.data = weights.data.float()
    if own and not isinstance(module, BaseTunerLayer):
        module.register_forward_pre_hook(_in_precision_of)


def _in_precision_of(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    dtype = next(module.parameters()).dtype
    return tuple(each.to(dtype) if getattr(each, "is_floating_point", bool)() else each for each in inputs)


def _tuned(inner: Any) -> Iterator[tuple[str, Any]]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return ((name, module) for name, module in inner.named_modules() if isinstance(module, BaseTunerLayer))


def _replace(inner: Any, name: str, module: Any) -> None:
    parent, _, last = name.rpartition(".")
    setattr(inner.get_submodule(parent) if parent else inner, last, module)
