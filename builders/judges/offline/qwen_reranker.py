"""The form in which Qwen3-Reranker is asked: a system line, instruction, query and document, and an empty thought.

Its weights are those of a causal model that says yes or no (Qwen/Qwen3-Reranker-0.6B, -4B and -8B, model cards of June
2025, Apache 2.0). Copies of them, and models trained from them, come with the chat template of Qwen3, which has no
place for a query and a document; sentence-transformers then refuses them. Later ones bring a template of their own.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.model_folder import model_folder

FORM = "qwen3-reranker"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""That of the model card, for whom nothing else is said."""

_SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the"
    ' answer can only be "yes" or "no".'
)
TEXT_OF_ROLE = (
    "{%- macro text(role) -%}{%- for message in messages if message.role == role -%}"
    "{{ message.content if message.content is string else message.content[0].text }}{%- endfor -%}{%- endmacro -%}"
)
"""A macro for chat templates: `text('query')` is what the message of that role says, and nothing where there is none,
as where a trainer counts the tokens of single texts."""


def template(instruction: str) -> str:
    """A chat template for messages of the roles `query` and `document`, as sentence-transformers gives them."""
    said = instruction.replace("\\", "\\\\").replace("'", "\\'")
    return (
        f"{TEXT_OF_ROLE}<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n<Instruct>: {{{{ '{said}' }}}}\n"
        "<Query>: {{ text('query') }}\n<Document>: {{ text('document') }}<|im_end|>\n<|im_start|>assistant\n"
        "<think>\n\n</think>\n\n"
    )


def template_for(
    name: str, revision: str | None, form: str, instruction: str | None, *, local_files_only: bool
) -> str | None:
    """The template that a model is to be given; None where its own will do, or it is no such model.

    Args:
        form: FORM for a causal model that is to be asked so; "auto" for a qwen3 model that is called a reranker.

    Raises:
        ConfigError: that form is wanted of a model that cannot say yes, or the instruction has no place.
    """
    is_called_so = "reranker" in PurePath(name).name.lower()
    if form != FORM and not is_called_so:
        return _own(instruction)
    from transformers import AutoConfig, AutoTokenizer

    folder = model_folder(name)
    place: dict[str, Any] = {"revision": revision}
    if folder is None:
        place["local_files_only"] = local_files_only
    try:
        config = AutoConfig.from_pretrained(str(folder or name), **place)
    except (OSError, ValueError):
        return None  # loading it says what is wrong
    is_causal = str((config.architectures or [""])[0]).endswith("ForCausalLM")
    if form == FORM and not is_causal:
        raise ConfigError(f"form: {name!r} is no causal model ({config.architectures}): it cannot say yes or no.")
    if form != FORM:
        if not is_causal or config.model_type != "qwen3":
            return _own(instruction)
        own = AutoTokenizer.from_pretrained(str(folder or name), **place).chat_template
        if own is not None and "document" in str(own):
            return _own(instruction)
    return template(INSTRUCTION if instruction is None else instruction)


def _own(instruction: str | None) -> str | None:
    if instruction is not None:
        raise ConfigError(f"instruction: this model has a form of its own. It goes with form: {FORM}.")
    return None
