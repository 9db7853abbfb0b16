"""What pydantic finds wrong with settings, in words for the person who wrote them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hf_relabel.builders.messages.nearest import did_you_mean, nearest_and_all, nearest_or_all

Place = tuple[int | str, ...]
"""Where a setting stands: names, and numbers in lists (`("stages", 0, "judge")`)."""


def problems(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Place, str]]:
    """Everything that is wrong, one sentence each, with its place. Misspelt names come with the nearest right one."""
    # A default that follows from other settings is none while these are wrong, which is no mistake of its own.
    every = error.errors(include_url=False, include_context=False)
    errors = [each for each in every if each["type"] != "default_factory_not_called"]
    for found in errors:
        found["loc"] = as_written(found["loc"], model)
    for found in errors:
        above_others = any(found["loc"] == each["loc"][: len(found["loc"])] for each in errors if each is not found)
        if found["type"] == "too_short" and above_others:
            continue  # pydantic counts the right ones only
        for text in _said(found, model).split("\n"):
            yield found["loc"], text


def as_written(place: Place, model: type[BaseModel]) -> Place:
    """A place without what pydantic adds to it: the tags of unions."""
    models, written = [model], list[int | str]()
    for number, part in enumerate(place):
        fields = [each.model_fields[part] for each in models if isinstance(part, str) and part in each.model_fields]
        if isinstance(part, str) and not fields and len(models) > 1 and number + 1 < len(place):
            continue
        written.append(part)
        if isinstance(part, str):
            models = [below for field in fields for below in models_in(field.annotation)]
    return tuple(written)


def one_line(error: ValidationError, model: type[BaseModel], spelt: Callable[[Place], str] | None = None) -> str:
    """All of it in one line, for a command or a call.

    Args:
        spelt: the name of a setting as the user gave it, such as `--max-cost`; as a job file has it when not given.
    """
    said = problems(error, model)
    if spelt is None:
        return " ".join(text for _, text in said)
    return " ".join(text.replace(f"`{path(place)}`", spelt(place), 1) for place, text in said)


def _said(found: ErrorDetails, model: type[BaseModel]) -> str:
    place = path(found["loc"])
    if found["type"] == "extra_forbidden":
        *above, name = found["loc"]
        known = fields_at(model, above)
        return f"`{place}`: there is no such setting.{nearest_or_all(str(name), known)}"
    if found["type"] == "missing":
        return f"`{place}` is missing."
    if found["type"] == "union_tag_invalid":
        given, tag, *expected = re.findall(r"'([^']*)'", found["msg"])
        near = nearest_and_all(given, expected)
        return f"`{path((*found['loc'], tag))}`: there is no {given!r}.{near}"
    if found["type"] == "union_tag_not_found":
        (tag,) = re.findall(r"'([^']*)'", found["msg"])
        return f"`{path((*found['loc'], tag))}` is missing."
    if found["type"] in ("model_type", "model_attributes_type"):
        return f"`{place}` has settings of its own: {', '.join(fields_at(model, found['loc']))}."
    if found["type"] == "too_short":
        return f"`{place}`: at least one is needed."
    message = _message(found)
    if found["type"] in ("value_error", "assertion_error"):
        lines = [line if line.endswith(("?", ".")) else f"{line}." for line in message.split("\n")]
        return "\n".join(f"`{place}`: {line}" if place else f"{line[:1].upper()}{line[1:]}" for line in lines)
    given = found["input"]
    if found["type"] in ("literal_error", "enum") and isinstance(given, str):
        near = did_you_mean(given, re.findall(r"'([^']+)'", message))
        return f"`{place}`: {message[:1].lower()}{message[1:]}, not {given!r}.{near}"
    plain = isinstance(given, bool | int | float) or (isinstance(given, str) and len(given) <= 60 and ":" not in given)
    return f"`{place}`: {message[:1].lower()}{message[1:]}{f', not {given!r}' if plain else ''}."


def first_problem(error: ValidationError) -> tuple[Place, str]:
    """The first thing that is wrong, for files that a program wrote: its place, and a sentence without a full stop."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return found["loc"], _message(found)


def first_line(error: ValidationError) -> str:
    """The same in a line, such as "`zones`: Field required."."""
    place, message = first_problem(error)
    return f"`{path(place)}`: {message}." if place else f"{message}."


def _message(found: ErrorDetails) -> str:
    """What our own checks say stands behind pydantic's name for the error."""
    return found["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")


def path(place: Sequence[int | str]) -> str:
    """`stages[0].judge`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def fields_at(model: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """Names of the settings that there are at a place, of all models that may stand there."""
    models = [model]
    for part in place:
        if not isinstance(part, int):
            fields = [each.model_fields[part] for each in models if part in each.model_fields]
            models = [below for field in fields for below in models_in(field.annotation)]
    return list(dict.fromkeys(name for each in models for name in each.model_fields))


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type names, such as those of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_in(inner)]
