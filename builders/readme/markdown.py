"""Markdown from data: text that stays text wherever a card is shown, and tables of it.

Names of subsets, models and judges, queries, passages and rationales were written by others. In a card they must show
as they are: no HTML, link, image, mention, formula or list may come of them, and no marker or front matter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

NOTHING = "–"
_SPECIAL = frozenset("\\`*_{}[]()<>&#!|~^$@:=\"'")
_BREAK_AFTER = frozenset("\\#$@:")
"""Renderers look for links, mentions and formulas in the text that is left when entities are decoded, too. A <wbr>
splits that text, shows as nothing and is not copied."""
_KEPT_FORMATS = frozenset("\u200c\u200d")
"""The joiners that Persian, Indic scripts and emoji are written with."""
_STARTS_A_LIST = re.compile(r"[-+]|\d+[.)](?=\s|$)")
_BARE_LINK = re.compile(r"(?i)www(?=\.)|\.(?=[^\W\d_])")


class Markdown(str):
    """Text that is Markdown already and goes into a card as it is."""

    __slots__ = ()


def one_line(value: object) -> str:
    """A value as one line of text that can be seen: what controls, reorders or hides text becomes U+FFFD."""
    return " ".join("".join(map(_visible, str(value))).split())


def cut(value: object, limit: int) -> str:
    """`one_line`, and at most `limit` characters of it."""
    text = one_line(value)
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def as_text(value: object, *, breaks: bool = True) -> Markdown:
    """A value as Markdown that shows just this value, on one line.

    Args:
        breaks: with <wbr> where a renderer would see a link, a mention or a formula. Without, for the text of images.
    """
    text = one_line(value)
    start = _STARTS_A_LIST.match(text)
    escaped = []
    links = {match.end() - 1 for match in _BARE_LINK.finditer(text)}
    for index, character in enumerate(text):
        is_bullet = start is not None and index == start.end() - 1
        escaped.append(f"&#{ord(character)};" if character in _SPECIAL or is_bullet else character)
        if breaks and (character in _BREAK_AFTER or index in links):
            escaped.append("<wbr>")
    return Markdown("".join(escaped))


def as_code(value: object) -> Markdown:
    """A name as Markdown, in the type of code."""
    text = as_text(value)
    return Markdown(f"<code>{text}</code>") if text else Markdown(NOTHING)


def as_markdown(value: object) -> Markdown:
    """What a value is in a card: Markdown as it is, numbers with separators, nothing as a dash, the rest as text."""
    if isinstance(value, Markdown):
        return value
    if value is None:
        return Markdown(NOTHING)
    if isinstance(value, int) and not isinstance(value, bool):
        return Markdown(f"{value:,}")
    return as_text(value)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> Markdown:
    """A Markdown table. Columns whose first cell is a number, or Markdown that starts with one, stand to the right.

    Args:
        headers: plain text.
        rows: as many cells each, see `as_markdown`.
    """
    if not rows:
        return Markdown("No rows.")
    cells = [[as_markdown(cell) for cell in row] for row in rows]
    rules = ["---:" if _is_number(cell) else "---" for cell in rows[0]]
    lines: list[Sequence[str]] = [[as_text(header) for header in headers], rules, *cells]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def _is_number(cell: object) -> bool:
    # A text of the data that happens to begin with a digit does not decide how the table looks.
    return isinstance(cell, int) or (isinstance(cell, Markdown) and cell[:1].isdigit())


def fenced(text: str, language: str) -> Markdown:
    """Text as a block of code, whatever fences are in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def _visible(character: str) -> str:
    if character.isspace() or character in _KEPT_FORMATS:
        return character
    return "�" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") else character
