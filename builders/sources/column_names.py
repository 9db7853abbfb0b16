"""Names of columns as tables of programs have them: they may be no text, or stand there twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hf_relabel.builders.errors import SourceError


def listed(names: Iterable[Any], most: int = 12) -> str:
    """The first names of fields in a message, each cut where it is long: a text may stand where a name should."""
    texts = [text if len(text) <= 60 else f"{text[:60]}…" for text in map(str, list(names)[:most])]
    return ", ".join(texts) or "nothing"


def check_names(names: Iterable[Any], told: str) -> None:
    """Whether the columns of a table can be told from each other by their names.

    Args:
        told: what messages call the table.

    Raises:
        SourceError: a name is no text, or stands there twice.
    """
    names = list(names)
    if nameless := [name for name in names if not isinstance(name, str)]:
        found = ", ".join(map(repr, nameless[:6]))
        raise SourceError(
            f"{told}: names of columns have to be text, found {found}. Name them, such as by `frame.columns ="
            ' ["query", "positive", "negative"]`.'
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SourceError(f"{told}: has several columns {', '.join(map(repr, twice))}. Rename all but one of each.")
