"""Texts of other people on a terminal."""

from __future__ import annotations

from hf_relabel.hub_tools.hub.redaction import short


def shown(text: str, limit: int = 80) -> str:
    """A text that somebody else wrote as a terminal may show it: one line, not long, without secrets and without
    characters that would steer the terminal ("?" stands for each)."""
    line = " ".join(text.split())
    return short("".join(character if character.isprintable() else "?" for character in line), limit=limit)
