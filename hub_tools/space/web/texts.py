"""Texts of other people on a page: as text, whole characters of it visible, and never longer than a page can hold.

A passage may hold markup, characters that turn the direction of all text after them, or a hundred thousand letters
without a space. Markup is escaped by the templates, see `views`; here is what escaping does not do.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SHORT = 480
"""Characters of a passage that show before it is opened."""
MOST_CHARACTERS = 100_000
"""Of one text. The rest is left out, and the page says so."""
ROW_CHARACTERS = 600_000
"""Of all texts of a row together."""
LEAST_CHARACTERS = 2_000
"""Of a text, however many a row has."""

# Controls (but for tab and line feed), marks that embed, override or isolate a direction, characters without a width
# that join or part nothing a reader needs, tags, and halves of surrogate pairs.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """A text whose invisible and direction-changing characters are named instead: `⟨U+202E⟩`.

    Marks that spelling needs (zero-width joiners and non-joiners, left-to-right and right-to-left marks) stay: they
    cannot reach beyond the element they are in, which isolates its direction.
    """
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text.replace("\r\n", "\n"))


class Excerpt(NamedTuple):
    """A text as a page shows it.

    Attributes:
        head: its beginning, the whole where it is short.
        whole: all that is shown once it is opened, "" where `head` is all there is.
        characters: of the text itself.
        left_out: characters that are not shown at all.
    """

    head: str
    whole: str
    characters: int
    left_out: int


def excerpt(text: str, *, limit: int = MOST_CHARACTERS, short: int = SHORT) -> Excerpt:
    """Divide a text into what shows at once and what shows when it is opened.

    Args:
        limit: most characters that are shown at all.
        short: most characters that show at once.
    """
    shown = text[:limit]
    left_out = len(text) - len(shown)
    # A few characters more are no reason to hide them.
    if len(shown) <= short * 5 // 4 and not left_out:
        return Excerpt(shown, "", len(text), 0)
    return Excerpt(_beginning(shown, short), shown, len(text), left_out)


def _beginning(text: str, length: int) -> str:
    """About the first `length` characters, up to the end of a word where one is near."""
    cut = text[:length]
    end = cut.rfind(" ", length * 4 // 5)
    return f"{cut[:end] if end > 0 else cut}…"


def text_limit(texts: int) -> int:
    """Most characters of each of so many texts, so that a row stays within what a page can hold."""
    return max(LEAST_CHARACTERS, min(MOST_CHARACTERS, ROW_CHARACTERS // max(1, texts)))


def one_line(text: str, limit: int = 200) -> str:
    """A text on one line, not long."""
    line = " ".join(text[: 20 * limit].split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
