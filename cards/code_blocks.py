"""The code on a data card: how to load a config, how to train on it; and the templates it is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.config_names import VERDICTS, viewed_by_default
from hf_relabel.builders.readme.markdown import Markdown, as_markdown, fenced
from hf_relabel.cards.card_facts import CardFacts

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = Path(__file__).parent / "templates"


def trains_on(settings: Mapping[str, Any]) -> str:
    """The config in the examples of how to load: one with several positives, where there is one."""
    return viewed_by_default(settings["techniques"], str(settings["default_config"]))


def _load_arguments(facts: CardFacts, config: str) -> str:
    """The arguments of load_dataset as Python. json.dumps writes whatever the name is on one line, in ASCII."""
    split = json.dumps(facts.manifest["settings"]["split"])
    arguments = [json.dumps(facts.repo_id), json.dumps(config), f"split={split}"]
    return ", ".join([*arguments, *([f"revision={json.dumps(facts.version)}"] if facts.version else [])])


def load_block(facts: CardFacts, template: str) -> Markdown:
    """How to load, as a block of Python."""
    settings = facts.manifest["settings"]
    configs = {"default": settings["default_config"], "trains_on": trains_on(settings), "verdicts": VERDICTS}
    arguments = {name: Markdown(_load_arguments(facts, config)) for name, config in configs.items()}
    return fenced(template_of(template).render(arguments), "python")


def training_block(facts: CardFacts, kind: str, config: str) -> Markdown:
    """How to train on a config, as a block of Python."""
    rows = Markdown(_load_arguments(facts, config))
    return fenced(template_of(f"train_{kind}.py.jinja").render(rows=rows), "python")


def view_blocks(facts: CardFacts) -> list[dict[str, Any]]:
    """The first view of each kind, and how to train on it."""
    first: dict[str, Mapping[str, Any]] = {}
    for view in facts.manifest["settings"].get("views", ()):
        first.setdefault(view["kind"], view)
    return [
        {"name": view["name"], "kind": kind, "training": training_block(facts, kind, view["name"])}
        for kind, view in first.items()
    ]


@cache
def template_of(name: str) -> Template:
    """One of our templates. What a value becomes is decided by `as_markdown`, for every value."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        finalize=as_markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - `finalize` escapes, for Markdown and not only for HTML
    )
    return environment.get_template(name)
