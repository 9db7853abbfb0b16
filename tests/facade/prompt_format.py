"""The only place here that knows how a listwise prompt and its reply are written (prompted/prompts, v1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hf_relabel.builders.judges.prompted.fencing import clean

_QUERY = re.compile(r"=== (\d+) query ===\n(.*?)\n=== \1 end ===", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a listwise prompt asks about. `candidates` maps the shown ids to the shown passages, in the order shown."""

    query: str
    positives: tuple[str, ...]
    candidates: dict[int, str]
    wants_thinking: bool


def read_prompt(text: str) -> Prompt | None:
    """Read the query and the candidates back out of a prompt; None when it is no listwise prompt."""
    found = _QUERY.search(text)
    if found is None:
        return None
    key, rest = found[1], text[found.end() :]
    ending = f"\n=== {key} end ==="
    before, *blocks = rest.split(f"\n=== {key} candidate [")
    positives = tuple(block[: block.find(ending)] for block in before.split(f"\n=== {key} ground truth ===\n")[1:])
    candidates: dict[int, str] = {}
    for block in blocks:
        number, _, shown = block.partition("] ===\n")
        candidates[int(number)] = shown[: shown.find(ending)]
    return Prompt(found[2], positives, candidates, "thinking" in text[: found.start()])


def shown_passage(title: str, text: str) -> str:
    """A passage as the prompt shows it when it is not cut."""
    title = " ".join(clean(title).split())
    return f"Title: {title}\n{clean(text)}" if title else clean(text)


def uncut(shown: str) -> str | None:
    """What is left of a text that the prompt cut to its first characters; None when it is whole."""
    start, mark, _ = shown.rpartition(" […")
    return start if mark and shown.endswith(" more characters left out…]") else None


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
