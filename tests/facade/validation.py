"""Reads the bodies of /generate and /v1/chat/completions as TGI 3 does, with its error messages.

The messages follow the public source of TGI's router; no real TGI was run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from tests.facade.backends import InvalidInput, Question

MAX_STOP_SEQUENCES = 4
MAX_TOP_N_TOKENS = 5
MAX_BEST_OF = 2


class UnreadableBody(Exception):
    """The body is not what the route expects. TGI's web framework answers in plain text, not in JSON."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


def parse_json(body: bytes) -> dict[str, Any]:
    """The body as an object, or UnreadableBody."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableBody(f"Failed to parse the request body as JSON: {error}", 400) from None
    if not isinstance(payload, dict):
        raise _not_deserialized("invalid type, expected a map")
    return payload


def read_generate(payload: Mapping[str, Any]) -> Question:
    """A native request. Raises UnreadableBody on wrong types and InvalidInput on values that TGI refuses."""
    inputs = payload.get("inputs")
    parameters = payload.get("parameters") or {}
    if not isinstance(inputs, str):
        raise _not_deserialized("missing field `inputs`")
    if not isinstance(parameters, dict):
        raise _not_deserialized("parameters: expected a map")
    if payload.get("stream"):
        raise InvalidInput("streaming is not part of this test server")
    _check_types(parameters)
    _check_numbers(parameters)
    stop = _stop(parameters.get("stop"))
    top = _top(parameters.get("top_n_tokens"))
    if not inputs:
        raise InvalidInput("`inputs` cannot be empty")
    schema, regex = read_grammar(parameters.get("grammar"))
    temperature = parameters.get("temperature")
    if temperature is None and parameters.get("do_sample"):
        temperature = 1.0
    return Question(
        text=inputs,
        max_tokens=parameters.get("max_new_tokens"),
        temperature=temperature,
        seed=parameters.get("seed"),
        stop=stop,
        schema=schema,
        regex=regex,
        top=top,
        tokens=bool(parameters.get("details") or parameters.get("decoder_input_details")),
    )


def read_chat(payload: Mapping[str, Any], *, openai_style: bool = False) -> Question:
    """A chat request. `openai_style` reads `response_format` as OpenAI, vLLM and llama.cpp do."""
    messages = payload.get("messages")
    if not isinstance(messages, list):
        raise _not_deserialized("missing field `messages`")
    if payload.get("stream"):
        raise InvalidInput("streaming is not part of this test server")
    temperature = payload.get("temperature")
    parameters = {**payload, "max_new_tokens": payload.get("max_tokens"), "temperature": temperature or None}
    _check_types(parameters)
    _check_numbers(parameters)
    if isinstance(temperature, (int, float)) and temperature < 0:
        raise InvalidInput("`temperature` must be strictly positive")
    stop = _stop(payload.get("stop"))
    top = _top(payload.get("top_logprobs")) if not openai_style else int(payload.get("top_logprobs") or 0)
    if not any(message.get("content") for message in messages):
        raise InvalidInput("`inputs` cannot be empty")
    read = _read_openai_format if openai_style else read_grammar
    schema, regex = read(payload.get("response_format"))
    return Question(
        text=None,
        messages=messages,
        max_tokens=payload.get("max_tokens"),
        temperature=1.0 if temperature is None else temperature or None,
        seed=payload.get("seed"),
        stop=stop,
        schema=schema,
        regex=regex,
        top=top,
        tokens=bool(payload.get("logprobs")),
    )


def read_grammar(grammar: Any) -> tuple[dict[str, Any] | None, str | None]:
    """TGI's grammar, native (`json`, `regex`) or as a chat `response_format`: (JSON schema, regular expression)."""
    if grammar is None:
        return None, None
    kind = grammar.get("type") if isinstance(grammar, dict) else None
    if kind not in ("json", "json_object", "json_schema", "regex"):
        raise _not_deserialized(f"unknown variant `{kind}`, expected one of `json`, `regex`, `json_schema`")
    if "value" not in grammar:
        raise _not_deserialized("missing field `value`")
    value = grammar["value"]
    if kind == "regex":
        return None, str(value)
    if kind == "json_schema":
        if not isinstance(value, dict) or "schema" not in value:
            raise _not_deserialized("missing field `schema`")
        value = value["schema"]
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"grammar is not valid: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput("grammar is not supported")
    _check_schema(orjson.dumps(value))
    if "properties" not in value:
        raise InvalidInput("grammar is not valid: Grammar must have a 'properties' field")
    return value, None


def _read_openai_format(response_format: Any) -> tuple[dict[str, Any] | None, str | None]:
    if response_format is None or response_format.get("type") == "text":
        return None, None
    if response_format.get("type") == "json_object":
        return response_format.get("schema") or {"type": "object"}, None
    schema = (response_format.get("json_schema") or {}).get("schema")
    if response_format.get("type") != "json_schema" or not isinstance(schema, dict):
        raise InvalidInput("response_format must be text, json_object, or json_schema with json_schema.schema")
    return schema, None


@lru_cache(maxsize=1024)
def _check_schema(schema: bytes) -> None:
    try:
        Draft202012Validator.check_schema(orjson.loads(schema))
    except SchemaError as error:
        raise InvalidInput(f"grammar is not valid: {error.message}") from None


def _check_types(parameters: Mapping[str, Any]) -> None:
    """Integers must be whole and not negative, as the fields of the router's structs."""
    for name in ("max_new_tokens", "top_n_tokens", "seed", "truncate", "best_of"):
        value = parameters.get(name)
        if value is not None and (type(value) is not int or value < 0):
            raise _not_deserialized(f"{name}: invalid value: `{value}`, expected u32")


_RULES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("temperature", lambda value: value > 0, "must be strictly positive"),
    ("repetition_penalty", lambda value: value > 0, "must be strictly positive"),
    ("frequency_penalty", lambda value: -2 <= value <= 2, "must be >= -2.0 and <= 2.0"),
    ("top_p", lambda value: 0 < value < 1, "must be > 0.0 and < 1.0"),
    ("typical_p", lambda value: 0 < value < 1, "must be > 0.0 and < 1.0"),
    ("top_k", lambda value: value > 0, "must be strictly positive"),
    ("max_new_tokens", lambda value: value > 0, "must be strictly positive"),
)


def _check_numbers(parameters: Mapping[str, Any]) -> None:
    """The checks of TGI on single values, in its order."""
    best_of = parameters.get("best_of")
    if best_of is not None and not 0 < best_of <= MAX_BEST_OF:
        raise InvalidInput(f"`best_of` must be > 0 and <= {MAX_BEST_OF}. Given: {best_of}")
    for name, good, rule in _RULES:
        value = parameters.get(name)
        if value is not None and not good(value):
            raise InvalidInput(f"`{name}` {rule}")


def _stop(stop: Any) -> tuple[str, ...]:
    sequences = tuple([stop] if isinstance(stop, str) else stop or ())
    if len(sequences) > MAX_STOP_SEQUENCES:
        raise InvalidInput(f"`stop` supports up to {MAX_STOP_SEQUENCES} stop sequences. Given: {len(sequences)}")
    return sequences


def _top(top: int | None) -> int:
    if top is not None and top > MAX_TOP_N_TOKENS:
        raise InvalidInput(f"`top_n_tokens` must be >= 0 and <= {MAX_TOP_N_TOKENS}. Given: {top}")
    return top or 0


def _not_deserialized(reason: str) -> UnreadableBody:
    return UnreadableBody(f"Failed to deserialize the JSON body into the target type: {reason}")
