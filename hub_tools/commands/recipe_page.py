"""The page of the recipes: each value, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from hf_relabel.builders.messages.problems import models_in

NAME = "recipes.md"
OPENING = Path(__file__).parent / "notes" / NAME


def page() -> str:
    """The page: what is written by hand, and the files."""
    from hf_relabel.trainers.recipes.recipe import shipped_recipes

    parts = [part for name, file in shipped_recipes().items() for part in _recipe(name, file)]
    return "\n\n".join([OPENING.read_text(encoding="utf-8").strip(), *parts, "## Fields of each kind", _fields()])


def _fields() -> str:
    """Every field with the kinds that have it and its default, which may be of some kinds another."""
    from hf_relabel.trainers.recipes.recipe_kinds import KINDS

    kinds: dict[tuple[str, str], list[str]] = {}
    for kind, made in KINDS.items():
        for field in _of(made):
            kinds.setdefault(field, []).append(kind)
    rows = []
    for (name, default), having in sorted(kinds.items()):
        who = "all" if len(having) == len(KINDS) else ", ".join(having)
        rows.append(f"| `{name}` | {default} | {who} |")
    return "\n".join(["| field | default | kinds |", "| --- | --- | --- |", *rows])


def _of(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str]]:
    """The fields of a model and of those within it, with their defaults."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        below = models_in(field.annotation)
        for each in below:
            for place, default in _of(each, f"{above}{name}."):
                others = found.get(place, default)
                found[place] = others if default in others else f"{others} or {default}"  # of another of the union
        if not below or field.get_default() is None:
            default = "" if field.is_required() else f"`{json.dumps(field.get_default())}`"
            found[f"{above}{name}"] = default or "must be given"
    yield from found.items()


def _recipe(name: str, file: Path) -> Iterator[str]:
    from hf_relabel.trainers.recipes.recipe import load_recipe
    from hf_relabel.trainers.recipes.sources import described, sourced_values

    yield f"## {name}"
    yield f"{described(file)}. `kind: {load_recipe(name).kind}`"
    by_source: dict[str, list[str]] = {}
    for value in sourced_values(file):
        note = f" ({value.note})" if value.note else ""
        written = value.value.replace("|", "\\|")
        by_source.setdefault(value.source, []).append(f"`{value.name}: {written}`{note}")
    rows = [f"| {source} | {', '.join(values)} |" for source, values in by_source.items()]
    yield "\n".join(["| source | values |", "| --- | --- |", *rows])
