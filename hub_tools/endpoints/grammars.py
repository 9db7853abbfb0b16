"""A JSON schema as each kind of server can follow it: what they compile it with decides what is sent.

A judge's schema bounds its strings (`maxLength`), for llama.cpp's sake, where small models go on for ever otherwise.
Elsewhere the length is bounded by `max_tokens`: with that bound xgrammar (vLLM, SGLang) refuses escapes inside strings
(its issue 800), and outlines (TGI) does not finish. TGI gets a regular expression instead of the schema: what its
router makes of a schema takes seconds for 25 ids over 100,000 tokens, in which all its requests wait, and forbids `\\n`
inside strings. It is the same for lists of any length, since TGI keeps 32 grammars only; the others compile one in
milliseconds, so they get the exact ids of each list.

For each state of the automaton outlines tries every token of the vocabulary, and inside a string nearly all of them go
on. So the expression has few states: a space, which is one, after colons only, where small models want it; ids as loops
of digits, escapes by their letter alone. The parser of the reply checks what is left. The names of members are spelled
out: small models misspell them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

_STRICT = frozenset({"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "description"})
"""What OpenAI's strict mode and those who copied it take; of the rest (lengths, counts) each refuses something else."""
_BOUNDS = frozenset({"maxLength"})
_MOST_IDS = 99

_STRING = r'"([^"\\\x00-\x1F]|\\["\\/bfnrtu])*"'
_ID = "[1-9][0-9]*"


def as_sent(schema: dict[str, Any], flavor: str) -> dict[str, Any]:
    """The schema for a server of this flavor of the `openai` dialect. Shared between requests: do not change it.

    Example:
            as_sent({"type": "object", "properties": {"span": {"type": "string", "maxLength": 9}}}, "vllm")
            # {"type": "object", "properties": {"span": {"type": "string"}}}

    Args:
        flavor: llama.cpp takes it as it is, vllm, sglang and tgi without the lengths of strings, and all others in the
            subset of OpenAI's strict mode.
    """
    return schema if flavor == "llama.cpp" else _adapted(orjson.dumps(schema), flavor)


@lru_cache(maxsize=512)
def _adapted(schema: bytes, flavor: str) -> dict[str, Any]:
    bounded = flavor in ("vllm", "sglang", "tgi")
    adapted: dict[str, Any] = _kept(orjson.loads(schema), _BOUNDS.__contains__ if bounded else _is_not_strict)
    return adapted


def _is_not_strict(keyword: str) -> bool:
    return keyword not in _STRICT


def _kept(schema: Any, is_dropped: Callable[[str], bool]) -> Any:
    """A schema without the keywords that are dropped. The names of properties are no keywords."""
    if isinstance(schema, list):
        return [_kept(item, is_dropped) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value if key == "enum" else _kept(value, is_dropped) for key, value in schema.items()}
    if isinstance(properties := schema.get("properties"), dict):
        kept["properties"] = {name: _kept(inside, is_dropped) for name, inside in properties.items()}
    return {key: value for key, value in kept.items() if not is_dropped(key)}


def tgi_grammar(schema: dict[str, Any]) -> dict[str, Any]:
    """`grammar` of TGI's /generate, and of its `response_format`: a regular expression where the schema is of a form
    that has one here, else the schema."""
    return _tgi_grammar(orjson.dumps(schema))


@lru_cache(maxsize=512)
def _tgi_grammar(schema: bytes) -> dict[str, Any]:
    regex = _regex_of(orjson.loads(schema))
    if regex is None:
        return {"type": "json", "value": _adapted(schema, "tgi")}
    return {"type": "regex", "value": regex}


def _regex_of(schema: dict[str, Any]) -> str | None:
    """Of objects whose members are all required, and are texts, ids or lists of ids; None for others."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties or list(properties) != schema.get("required"):
        return None
    values = [_value_of(value) for value in properties.values()]
    if None in values or not all(re.fullmatch(r"\w+", name, re.ASCII) for name in properties):
        return None
    members = (f'"{name}": ?{value}' for name, value in zip(properties, values, strict=True))
    return rf"\{{{','.join(members)}\}}"


def _value_of(schema: dict[str, Any]) -> str | None:
    kind = schema.get("type")
    if kind == "string" and not schema.keys() - {"type", *_BOUNDS}:
        return _STRING
    if kind == "integer":
        return _id_of(schema)
    if kind == "array" and isinstance(schema.get("items"), dict) and (item := _id_of(schema["items"])):
        listed = f"{item}(,{item})*"
        return rf"\[{listed}\]" if schema.get("minItems", 0) > 0 else rf"\[({listed})?\]"
    return None


def _id_of(schema: dict[str, Any]) -> str | None:
    """A whole number from 1 on: what was never shown the parser refuses."""
    ids = schema.get("enum")
    is_ids = isinstance(ids, list) and 0 < len(ids) <= _MOST_IDS and ids == list(range(1, len(ids) + 1))
    return _ID if is_ids and schema.get("type") == "integer" else None
