"""Whether a student and a judge of its data are of one family of models.

A model rates what its own family finds relevant, or would write, above what others do: self-preference (arXiv
2601.04455). A student that is trained on such labels, and measured by such judges, looks better than it is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

logger = logging.getLogger(__name__)

_FAMILIES = {
    "Qwen": r"qwen|qwq|mxbai-rerank-\w+-v2|zerank|gte-qwen|bge-en-icl-qwen",
    "Llama": r"llama|nemotron|linq-embed-llama|nv-rerankqa",
    "Mistral": r"mistral|mixtral|ministral|magistral|nv-embed|linq-embed",
    "Gemma and Gemini": r"gemma|gemini",
    "GPT": r"\bgpt|\bo[134]\b|text-embedding-(3|ada)",
    "DeepSeek": r"deepseek",
    "Phi": r"\bphi-?\d",
    "Cohere": r"command-|cohere|rerank-(v\d|english|multilingual)|\bembed-(v\d|english|multilingual)|aya-",
    "GLM": r"\bglm|chatglm",
    "SmolLM": r"smollm",
    "Granite": r"granite",
    "Claude": r"claude",
    "Kimi": r"kimi|moonshot",
    "OLMo": r"olmo",
}
"""By the names of models, those included that are known to have been trained from one of the family."""


def family_of(model: str) -> str | None:
    """The family that a model's name tells, None where it tells none.

    Example:
            >>> family_of("Qwen/Qwen2.5-7B"), family_of("intfloat/e5-base-unsupervised")
            ('Qwen', None)
    """
    name = model.lower()
    return next((family for family, pattern in _FAMILIES.items() if re.search(pattern, name)), None)


def warn_of_family(student: str, judges: Iterable[str]) -> None:
    """Warn where the model that is trained and a judge of its rows are of one family."""
    family = family_of(student)
    kin = [judge for judge in dict.fromkeys(judges) if family is not None and family_of(judge) == family]
    if kin:
        logger.warning(
            "%s is of one family (%s) with a judge of these rows, %s: a model prefers what its own family would say"
            " (arXiv 2601.04455). Judge with another family, or measure on labels of people.",
            student,
            family,
            ", ".join(kin),
        )
