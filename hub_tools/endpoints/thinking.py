"""How servers are told whether a model is to think before it answers.

Chat templates decide it by a variable: `enable_thinking` (Qwen3, GLM, Gemma) or `thinking` (DeepSeek V3.1, Granite,
Kimi), and pass over one that they do not know. vLLM, SGLang and llama.cpp hand them on from `chat_template_kwargs`, and
this package to the templates that it renders itself (TGI). Hosted models take `reasoning_effort`, which vLLM and SGLang
hand on as well.
"""

from __future__ import annotations

from typing import Any

from hf_relabel.builders.endpoint import Request

OFF: dict[str, Any] = {"enable_thinking": False, "thinking": False}
"""The variables of a chat template that let a model answer at once."""
_WITH_TEMPLATES = frozenset({"vllm", "sglang", "llama.cpp"})


def thinking_body(request: Request, flavor: str) -> dict[str, Any]:
    """What tells a server of this flavor of the `openai` dialect that the answer is to begin at once; {} where the
    request leaves it open, or nothing is known that would tell it."""
    off = request.thinking is False and flavor in _WITH_TEMPLATES
    return {"chat_template_kwargs": dict(OFF)} if off else {}
