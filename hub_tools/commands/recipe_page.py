"""The page of the recipes: each value, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

NAME = "recipes.md"
OPENING = Path(__file__).parent / "notes" / NAME


def page() -> str:
    """The page: what is written by hand, and the files."""
    from hf_relabel.trainers.recipes.recipe import shipped_recipes

    parts = [part for name, file in shipped_recipes().items() for part in _recipe(name, file)]
    return "\n\n".join([OPENING.read_text(encoding="utf-8").strip(), *parts])


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
