"""What a model makes of a text: the text itself, its prompt before it and, where the recipe says so, the EOS behind it.

Base models of today are chat models too. sentence-transformers (6.2) writes each text into their chat template, so that
a retriever would pool the newline behind `<|im_end|>`; no retriever of the papers was trained so.
"""

from __future__ import annotations

from typing import Any

from hf_relabel.builders.errors import ConfigError


def leave_out_template(transformer: Any) -> None:
    """Read texts as they are, not as turns of a chat; saved with the model."""
    if "message" not in transformer.modality_config:
        return
    transformer.modality_config = {
        modality: how for modality, how in transformer.modality_config.items() if modality != "message"
    }
    transformer.input_formatter.supported_modalities = list(transformer.modality_config)
    transformer.processor.chat_template = None


def pad_with_something(tokenizer: Any) -> None:
    """Give a tokenizer without a padding token the EOS for it: the attention mask tells them apart."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def append_eos(tokenizer: Any, name: str) -> None:
    """End each text with the EOS, for which truncation keeps a place.

    It becomes part of the tokenizer's post-processor, which is saved: whoever loads the model gets it too.

    Args:
        name: of the model, for messages.

    Raises:
        ConfigError: there is no EOS, or each text ends with another special token already.
    """
    from tokenizers import processors

    backend, eos = getattr(tokenizer, "backend_tokenizer", None), tokenizer.eos_token
    if backend is None or eos is None:
        raise ConfigError(f"append_eos: the tokenizer of {name!r} has no EOS. Leave it out, or take another model.")
    _, after = special_around(tokenizer)
    if after == [tokenizer.eos_token_id]:
        return
    if after:
        ending = tokenizer.convert_ids_to_tokens(after[-1])
        raise ConfigError(
            f"append_eos: the tokenizer of {name!r} ends each text with {ending} already, which is what its authors"
            " pool. Leave it out."
        )
    ending = processors.TemplateProcessing(["$A", eos], ["$A", "$B:1", f"{eos}:1"], [(eos, tokenizer.eos_token_id)])
    own = backend.post_processor
    backend.post_processor = ending if own is None else processors.Sequence([own, ending])


def special_around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer puts before and after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    ids = tokenizer("a")["input_ids"]
    begin = next(place for place in range(len(ids)) if ids[place : place + len(bare)] == bare)
    return ids[:begin], ids[begin + len(bare) :]
