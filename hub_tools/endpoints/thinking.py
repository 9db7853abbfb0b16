"""How servers are told whether, and how much, a model is to think before it answers.

Chat templates decide it by a variable: `enable_thinking` (Qwen3, GLM, Gemma) or `thinking` (DeepSeek V3.1, Granite,
Kimi), and pass over one that they do not know. vLLM, SGLang and llama.cpp hand them on from `chat_template_kwargs`, and
this package to the templates that it renders itself (TGI). Hosted models take `reasoning_effort`, which vLLM and SGLang
hand on to the template as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_relabel.builders.endpoint import THINKING_VARIABLES, Request

KWARGS, EFFORT = "chat_template_kwargs", "reasoning_effort"
OFF: dict[str, Any] = dict.fromkeys(THINKING_VARIABLES, False)
"""The variables of a chat template that let a model answer at once."""
_WITH_TEMPLATES = frozenset({"vllm", "sglang", "llama.cpp"})


def thinking_body(request: Request, flavor: str) -> dict[str, Any]:
    """What tells a server of this flavor of the `openai` dialect that the answer is to begin at once; {} where the
    request leaves it open, or nothing is known that would tell it."""
    off = request.thinking is False and flavor in _WITH_TEMPLATES
    return {KWARGS: dict(OFF)} if off else {}


def with_extra(payload: dict[str, Any], extra: Mapping[str, Any], flavor: str) -> dict[str, Any]:
    """A body with what every request holds besides; of two values for one key, or one variable of the template, the
    user's counts. llama.cpp takes the effort as a variable."""
    if not extra:
        return payload
    whole = {**payload, **extra}
    variables = {**(payload.get(KWARGS) or {}), **(extra.get(KWARGS) or {})}
    if flavor == "llama.cpp" and EFFORT in extra:
        variables.setdefault(EFFORT, extra[EFFORT])
    return {**whole, KWARGS: variables} if variables else whole


def template_variables(extra: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What every request holds besides, for a server that takes a rendered prompt: the variables of the template, and
    the rest."""
    variables = dict(extra.get(KWARGS) or {})
    if EFFORT in extra:
        variables.setdefault(EFFORT, extra[EFFORT])
    return variables, {name: value for name, value in extra.items() if name not in (KWARGS, EFFORT)}
