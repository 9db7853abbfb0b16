"""The right name nearest to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'listwise'?`, to go after a sentence; empty where nothing is near."""
    found = nearest(name, known)
    return f" Did you mean {found!r}?" if found else ""


def nearest_or_all(name: str, known: Iterable[str], all_of_them: str = "There is") -> str:
    """The same, but where nothing is near all there is: ` There is listwise, pointwise.`"""
    names = list(known)
    listed = f" {all_of_them} {', '.join(names)}." if names else ""
    return did_you_mean(name, names) or listed


def nearest_and_all(name: str, known: Iterable[str]) -> str:
    """Both, where the names are few: ` Did you mean 'openai'? Choose from: auto, tgi, openai.`"""
    names = list(known)
    return f"{did_you_mean(name, names)} Choose from: {', '.join(names)}."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most alike of the known names, whatever the case and with - and _ alike; None where nothing is near."""
    spelt = {_plain(right): str(right) for right in known}
    found = get_close_matches(_plain(name), spelt, n=1, cutoff=0.6)
    return spelt[found[0]] if found else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
