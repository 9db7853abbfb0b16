"""Which parameters of a request a server refused, by its own words.

There is no standard for that. OpenAI names one in `param`, or only in its message; vLLM and FastAPI name a place
(`loc`), LiteLLM a list, and others write a sentence. A parameter counts as refused where one of these names it and the
sentence refuses something; a prompt that is too long, which may name `max_tokens` too, is none.
"""

from __future__ import annotations

import re
from collections.abc import Container

import orjson

from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.hub_tools.endpoints.server_errors import words_of
from hf_relabel.hub_tools.hub.redaction import short

MOST_WORDS = 2000
"""Characters kept of what a server said."""
_STATUSES = frozenset({400, 404, 405, 422, 501})
_NAMED: dict[str, re.Pattern[str]] = {
    "response_format": re.compile(
        r"response_?format|json_schema|json_object|json mode|structured[ _]outputs?|guided[ _]|\bgrammar", re.IGNORECASE
    ),
    "max_completion_tokens": re.compile(r"\bmax_completion_tokens\b"),
    "max_tokens": re.compile(r"\bmax_tokens\b"),
    "temperature": re.compile(r"\btemperature\b", re.IGNORECASE),
    "seed": re.compile(r"\bseed\b", re.IGNORECASE),
    "stop": re.compile(r"['\"`\[]stop['\"`\]]|#/stop\b|: stop\b"),
    "logprobs": re.compile(r"log_?prob|\btop_n_tokens\b", re.IGNORECASE),
    "chat_template_kwargs": re.compile(r"chat_?template|enable_thinking"),  # vLLM with Mistral's tokenizers
    "system": re.compile(
        r"messages?\[\d+\]\.role|system['\"`]? (?:role|message|prompt|instruction)|role:? ?['\"`]?system"
        r"|roles must alternate|developer instruction",
        re.IGNORECASE,
    ),
}
"""How servers name what a request holds."""
_REFUSES = re.compile(
    r"unsupported|supported|n['o]t support|unrecogni[sz]ed|unknown|unexpected|permitted|forbidden|allowed|unavailable"
    r"|invalid|not valid|unset|must (?:be|contain|alternate)|should be|enabled|not available|deprecated"
    r"|greater than|less than|does not accept|deserialize|not implemented|disabled",
    re.IGNORECASE,
)
_PLACE = re.compile(r"[\"']loc[\"']\s*:\s*[\[(]([^\])]*)[\])]")
_POINTER = re.compile(r"(?:error at )?#/([\w./\[\]-]+)")


def with_words(error: EndpointError, body: bytes, *secrets: str | None) -> EndpointError:
    """The error, with what a server said about it."""
    error.words = short(words_of(body)[0], *secrets, limit=MOST_WORDS)
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return error
    for place in (said, said.get("error")) if isinstance(said, dict) else ():
        if isinstance(place, dict) and isinstance(place.get("param"), str):
            error.parameter = place["param"]
    return error


def refused_parameters(error: EndpointError, sent: Container[str]) -> tuple[str, ...]:
    """The parameters, of those that were sent, that an answer refuses by name; none where it is about something else.

    Args:
        sent: their names; `system` for a message of that role, `logprobs` for `top_logprobs` too.
    """
    if error.kind == "too_long" or not error.words:
        return ()
    named = _named(error.words, error.parameter)
    if error.status not in _STATUSES:  # llama.cpp answers 500 where a chat template knows no system role
        named = tuple(name for name in named if name == "system" and error.status is not None)
    return tuple(name for name in named if name in sent)


def _named(words: str, parameter: str) -> tuple[str, ...]:
    if own := _names_in(parameter):
        return own
    places = [*_PLACE.findall(words), *_POINTER.findall(words)]
    if places:  # what else such an answer holds is the request itself
        return _names_in("; ".join(f"[{place}]" for place in places))
    return _names_in(words) if _REFUSES.search(words) else ()


def _names_in(text: str) -> tuple[str, ...]:
    return tuple(name for name, pattern in _NAMED.items() if pattern.search(text)) if text else ()
