"""The only place here that knows how a listwise prompt and its reply are written (builders/judges/prompts, v1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

_QUERY = re.compile(r"=== (\d+) query ===\n(.*?)\n=== \1 end ===", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a listwise prompt asks about. `candidates` maps the shown ids to the shown texts, in the order shown."""

    query: str
    candidates: dict[int, str]
    wants_thinking: bool


def read_prompt(text: str) -> Prompt | None:
    """Read the query and the candidates back out of a prompt; None when it is no listwise prompt."""
    found = _QUERY.search(text)
    if found is None:
        return None
    key = found[1]
    candidates: dict[int, str] = {}
    opening = f"\n=== {key} candidate ["
    ending = f"\n=== {key} end ==="
    for block in text[found.end() :].split(opening)[1:]:
        number, _, rest = block.partition("] ===\n")
        candidates[int(number)] = rest[: rest.find(ending)]
    return Prompt(found[2], candidates, "thinking" in text[: found.start()])


def write_reply(
    prompt: Prompt, better: Sequence[int], worse: Sequence[int], schema: dict[str, Any] | None, thinking: str
) -> str:
    """The reply in the form that was asked for: JSON with the schema's fields, or the tags of the free form."""
    if schema is None:
        tags = f"<better>{list(better)}</better>\n<worse>{list(worse)}</worse>"
        return f"<thinking>\n{thinking}\n</thinking>\n{tags}" if prompt.wants_thinking else tags
    properties = schema.get("properties", {})
    values = {"thinking": thinking, "better": list(better), "worse": list(worse)}
    reply = {name: _as_asked(properties[name], values[name]) for name in properties if name in values}
    return orjson.dumps(reply).decode()


def _as_asked(field: dict[str, Any], value: Any) -> Any:
    """Ids as numbers, or as strings where the schema lists them as strings."""
    if not isinstance(value, list):
        return value
    items = field.get("items", {})
    strings = items.get("type") == "string" or (items.get("enum") and isinstance(items["enum"][0], str))
    return [str(number) for number in value] if strings else value
