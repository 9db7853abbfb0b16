"""The JSON bodies of a TGI router: answers, errors, /info and /metrics."""

from __future__ import annotations

from typing import Any

from tests.facade.backends import Generated, Question, Token, count_tokens, pretend_tokens

_CHAT_FINISH = {"length": "length", "eos_token": "stop", "stop_sequence": "stop_sequence"}


def generate_body(question: Question, generated: Generated, *, prefill: bool, prepend: bool) -> dict[str, Any]:
    """The answer of /generate. `prepend` is `return_full_text`."""
    text = (question.text or "") + generated.text if prepend else generated.text
    if not question.tokens:
        return {"generated_text": text}
    tokens = generated.tokens or pretend_tokens(generated.text)
    details: dict[str, Any] = {
        "finish_reason": generated.finish_reason,
        "generated_tokens": completion_tokens(generated),
        "seed": question.seed if question.temperature is not None else None,
        "prefill": [{"id": 0, "text": "", "logprob": None}] if prefill else [],
        "tokens": [_token(token) for token in tokens],
    }
    if question.top:
        details["top_tokens"] = [[_token(other) for other in (token.top or (token,))] for token in tokens]
    return {"generated_text": text, "details": details}


def chat_body(
    question: Question, generated: Generated, *, model: str, number: int, openai_style: bool
) -> dict[str, Any]:
    """The answer of /v1/chat/completions. OpenAI's finish reasons know no stop_sequence."""
    finish = _CHAT_FINISH[generated.finish_reason]
    prompt, completion = prompt_tokens(question, generated), completion_tokens(generated)
    return {
        "id": f"chatcmpl-{number}" if openai_style else "",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "system_fingerprint": "3.3.6-facade",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": generated.text},
                "logprobs": _chat_logprobs(question, generated),
                "finish_reason": "stop" if openai_style and finish == "stop_sequence" else finish,
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }


def prompt_tokens(question: Question, generated: Generated) -> int:
    return generated.prompt_tokens if generated.prompt_tokens is not None else count_tokens(question.whole_text())


def completion_tokens(generated: Generated) -> int:
    if generated.completion_tokens is not None:
        return generated.completion_tokens
    return len(generated.tokens) or count_tokens(generated.text)


def error_body(message: str, error_type: str, status: int, *, openai_style: bool) -> dict[str, Any]:
    """`{error, error_type}` as TGI, or `{error: {message, type, …}}` as OpenAI and vLLM."""
    if openai_style:
        return {"error": {"message": message, "type": error_type, "param": None, "code": status}}
    return {"error": message, "error_type": error_type}


def _token(token: Token) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "logprob": token.logprob, "special": token.special}


def _chat_logprobs(question: Question, generated: Generated) -> dict[str, Any] | None:
    if not question.tokens:
        return None
    return {
        "content": [
            {
                "token": token.text,
                "logprob": token.logprob,
                "top_logprobs": [
                    {"token": other.text, "logprob": other.logprob} for other in (token.top or (token,))[: question.top]
                ],
            }
            for token in generated.tokens or pretend_tokens(generated.text)
            if not token.special
        ]
    }
