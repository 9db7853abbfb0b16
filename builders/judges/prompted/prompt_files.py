"""Prompt templates: data files with a version, compiled once.

A prompt version is a group of files `prompts/<version>.*.jinja`: `system`, `user`, and one for each wording, that is
for each definition of what makes a candidate relevant. In another language than English a version has files of its
own, with the language after its name (`listwise-v1-de.system.jinja`). Passages go in as values and are never read as
templates.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment, Template

PROMPTS = Path(__file__).parent / "prompts"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(PROMPTS),
        autoescape=False,  # noqa: S701  plain text for a model, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@lru_cache(maxsize=64)
def template(name: str) -> Template:
    """The compiled template of a file in prompts/."""
    return _environment().get_template(name)


def versions() -> tuple[str, ...]:
    """The prompt versions there are."""
    return tuple(sorted(file.name.removesuffix(".system.jinja") for file in PROMPTS.glob("*.system.jinja")))


def in_language(version: str, language: str) -> str:
    """The prompt version in a language: `listwise-v1` is English, `listwise-v1-de` German."""
    return version if language == "en" else f"{version}-{language}"


def languages(version: str) -> tuple[str, ...]:
    """The languages that a prompt version is there in. Another one is added by adding its files."""
    found = (name.removeprefix(f"{version}-") for name in versions() if name.startswith(f"{version}-"))
    return ("en", *sorted(found))


def wordings(version: str) -> tuple[str, ...]:
    """The wordings of a prompt version."""
    names = {
        file.name.removeprefix(f"{version}.").removesuffix(".jinja") for file in PROMPTS.glob(f"{version}.*.jinja")
    }
    return tuple(sorted(names - {"system", "user"}))


@lru_cache(maxsize=16)
def prompt_sha256(version: str) -> str:
    """SHA-256 of all files of a prompt version, names included."""
    digest = hashlib.sha256()
    for file in sorted(PROMPTS.glob(f"{version}.*.jinja")):
        # Read as text, so that a checkout with other line ends has the same hash.
        content = file.read_text(encoding="utf-8")
        digest.update(f"{file.name}\0{len(content)}\0{content}".encode())
    return digest.hexdigest()
