"""Reading chat completions as servers really build them: what can be read is read, the rest is a failed request.

Seen in servers' sources and answers: `content` as a text, as null (a model that only thought), as parts (Mistral's
thinking models, OpenRouter); thoughts in `reasoning_content` (SGLang, llama.cpp, DeepSeek, vLLM to 0.25) or `reasoning`
(vLLM, OpenRouter, Hugging Face), in parts as well; errors inside a 200, of the whole or of a choice (OpenRouter);
choices that are null; usage of zero for replies that are not empty; a `finish_reason` in any spelling, as a list or as
an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hf_relabel.builders.endpoint import FinishReason, Reply, TokenLogprob
from hf_relabel.builders.judges.prompted.reply_parsing import THOUGHTS_WITHOUT_END

_STOPPED = frozenset({"stop", "eos", "eos_token", "stop_sequence", "end_turn", "finished", "completed"})
_CUT_OFF = frozenset({"length", "max_tokens", "max_length", "model_length", "max_output_tokens"})
# How thoughts look that are an answer: an object, something that ends with a closing tag, or one word.
_WHOLE_ANSWER = re.compile(r"(?:```[a-z]*\s*)?\{.*\}(?:\s*```)?|.*</[a-z]+\s*>(?:\s*```)?", re.DOTALL | re.IGNORECASE)
_ONE_WORD = re.compile(r"\W*\w+\W*")
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError)


class NoReply(Exception):
    """An answer with the status of success that holds none.

    Attributes:
        status: the HTTP status that the server tells inside it, None where it tells none.
        codes: what it writes into `code` and `type`.
    """

    def __init__(self, said: str, status: int | None = None, codes: tuple[str, ...] = ()) -> None:
        super().__init__(said)
        self.status, self.codes = status, codes


def read_chat_reply(payload: Any, top: int, model: str, endpoint: str) -> Reply:
    """A Reply from the JSON of a chat completion.

    Thoughts that the server tells apart are no answer. Where there is nothing else, they are the reply's text: as they
    stand where they end as answers do (some servers call all thoughts that have no closing tag), else after an opening
    tag, so that the journal keeps them and no judge takes them for an answer.

    Raises:
        NoReply: it holds an error, or is no chat completion; in the server's words.
    """
    raise_for_error(payload)
    try:
        choice = _first_choice(payload["choices"])
        finish = finish_of(choice.get("finish_reason"))
        text = _said(choice, finish)
        tokens = _read_logprobs(choice.get("logprobs"), top) if top else ()
        prompt_tokens, completion_tokens = usage_of(payload.get("usage"), bool(text))
        return Reply(
            text=text,
            finish_reason=finish,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            model=model,
            endpoint=endpoint,
            logprobs=tokens_of_text(tokens, text),
        )
    except _MALFORMED:
        raise NoReply(f"answered JSON that is no chat completion: {said_in(payload)}") from None


def _said(choice: dict[str, Any], finish: FinishReason) -> str:
    """The text of a choice, or what it has instead of one."""
    message = next((choice[key] for key in ("message", "delta") if isinstance(choice.get(key), dict)), choice)
    text = next((text for key in ("content", "text", "refusal") if (text := text_of(message.get(key))).strip()), "")
    if text:
        return text
    thoughts = thoughts_of(message)
    if _WHOLE_ANSWER.fullmatch(thoughts.strip()) or (finish == "stop" and _ONE_WORD.fullmatch(thoughts)):
        return thoughts
    return THOUGHTS_WITHOUT_END + thoughts if thoughts else ""


def raise_for_error(payload: Any) -> None:
    """Raise NoReply for an answer that is, or has in a choice, an error and no text."""
    if not isinstance(payload, dict):
        return
    found = payload.get("error") or (payload if payload.get("object") == "error" else None)
    for choice in _dicts(payload.get("choices")):
        found = found or choice.get("error")
    if found:
        told = found if isinstance(found, dict) else {}
        codes = tuple(code for key in ("code", "type") if isinstance(code := told.get(key), str))
        raise NoReply(said_in(found), _status_in(told), codes)


def said_in(found: Any) -> str:
    """The words of an error, or what stands instead of them."""
    if isinstance(found, dict):
        for key in ("error", "message", "detail", "error_message", "status_msg", "error_type", "type", "code"):
            if isinstance(found.get(key), str | dict) and found[key]:
                return said_in(found[key])
    return found if isinstance(found, str) else repr(found)[:1000]


def _status_in(found: dict[str, Any]) -> int | None:
    """OpenRouter's and vLLM's `code`, LiteLLM's (as a text), `status_code` of others; None for what is no status."""
    values = (str(found.get(key)) for key in ("code", "status", "status_code"))
    return next((int(value) for value in values if re.fullmatch("[45][0-9]{2}", value)), None)


def _first_choice(choices: Any) -> dict[str, Any]:
    """The first that is one: servers have put null in the place of a choice that failed."""
    return _dicts(choices)[0]


def _dicts(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def text_of(content: Any) -> str:
    """The text of a `content`: a text, none, or parts, of which thoughts are left out. Raises TypeError for others."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, dict):
        content = [content]
    return "".join(_text_of_part(part) for part in content if not _is_thought(part))


def _text_of_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    return next((part[key] for key in ("text", "content", "output_text") if isinstance(part.get(key), str)), "")


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and str(part.get("type", "")).startswith(("thinking", "reasoning", "thought"))


def thoughts_of(message: dict[str, Any]) -> str:
    """What the model thought, under whichever name the server tells it."""
    for key in ("reasoning_content", "reasoning", "reasoning_details"):
        if thoughts := _joined(message.get(key)):
            return thoughts
    content = message.get("content")
    return _joined([part for part in content if _is_thought(part)]) if isinstance(content, list) else ""


def _joined(value: Any) -> str:
    """All texts in a value: Mistral nests parts in `thinking`, OpenRouter has `text` or `summary`."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return next(
            (text for key in ("text", "thinking", "summary", "content") if (text := _joined(value.get(key)))), ""
        )
    return "".join(map(_joined, value)) if isinstance(value, list) else ""


def finish_of(reason: Any) -> FinishReason:
    """`finish_reason` in any shape: a text, a list of one (saved by other software), an object with a `type`, null."""
    if isinstance(reason, list):
        reason = reason[0] if reason else None
    if isinstance(reason, dict):
        reason = reason.get("type") or reason.get("reason")
    word = reason.lower() if isinstance(reason, str) else ""
    return "stop" if word in _STOPPED else "length" if word in _CUT_OFF else "other"


def usage_of(usage: Any, has_text: bool) -> tuple[int | None, int | None]:
    """Tokens of prompt and reply. Zero is unknown, not free: every prompt has tokens, and so has every text."""
    told = usage if isinstance(usage, dict) else {}
    prompt = count_told(told.get("prompt_tokens"), positive=True)
    return prompt, count_told(told.get("completion_tokens"), positive=has_text)


def count_told(value: Any, *, positive: bool) -> int | None:
    """A count as a server told it; None for what is none, and for zero where it must be more."""
    is_count = isinstance(value, int | float) and not isinstance(value, bool) and value >= positive
    return int(value) if is_count else None


# Tokens


def tokens_of_text(tokens: tuple[TokenLogprob, ...], text: str) -> tuple[TokenLogprob, ...]:
    """Those tokens that the text consists of.

    Servers list all they generated: llama.cpp also the "```json" around a constrained reply, vLLM also the reasoning.
    The tokens are left as they are where the text cannot be found in them (a character spread over several tokens).
    """
    generated = "".join(token.text for token in tokens)
    start = generated.rfind(text)
    if generated == text or start < 0:
        return tokens
    kept, position = [], 0
    for token in tokens:
        if position < start + len(text) and position + len(token.text) > start:
            kept.append(token)
        position += len(token.text)
    return tuple(kept)


def _read_logprobs(logprobs: Any, top: int) -> tuple[TokenLogprob, ...]:
    if not logprobs:
        return ()
    return tuple(
        TokenLogprob(token["token"], _logprob(token), _best(token.get("top_logprobs") or (), top))
        for token in logprobs.get("content") or ()
    )


def _best(others: Iterable[dict[str, Any]], top: int) -> tuple[tuple[str, float], ...]:
    pairs = [(other["token"], _logprob(other)) for other in others]
    return tuple(sorted(pairs, key=lambda pair: -pair[1])[:top])


def _logprob(token: dict[str, Any]) -> float:
    value = token.get("logprob")
    return float("-inf") if value is None else float(value)
