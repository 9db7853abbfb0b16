"""Passages as prompts show them: made harmless, and cut by a stated rule where they are too long.

There are two rules. `head` keeps the first characters. `window` keeps the stretch of the same length that shares most
words with the query, which is where a long document answers it if it does; among equals the first. Either way a mark
says how much was left out, and the judgement says that it was made on a part (`Judgement.cut`).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal, NamedTuple

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.prompted.fencing import clean
from hf_relabel.builders.rows import Passage

CutRule = Literal["head", "window"]
CUT_RULES: tuple[CutRule, ...] = ("head", "window")

# A run of letters and digits, or one character of a script that is written without spaces.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


class Shown(NamedTuple):
    """A passage as the prompt shows it."""

    title: str
    text: str


def check_cut_rule(value: object) -> None:
    """Raises ConfigError unless `value` is the name of a rule."""
    if value not in CUT_RULES:
        raise ConfigError(f"cut: expected {' or '.join(CUT_RULES)}, found {value!r}")


def shown_passage(
    passage: Passage, query: str, *, max_chars: int, rule: CutRule, special: re.Pattern[str] | None = None
) -> tuple[Shown, bool]:
    """The passage as a prompt shows it, and whether any of it was cut. Titles are cut at their end in any case."""
    title, title_cut = shown_text(passage.title, max_chars=max_chars, special=special) if passage.title else ("", False)
    if rule == "window" and len(passage.text) > max_chars:
        text, text_cut = _window(passage.text, query, max_chars, special), True
    else:
        text, text_cut = shown_text(passage.text, max_chars=max_chars, special=special)
    return Shown(" ".join(title.split()), text), title_cut or text_cut


def shown_text(text: str, *, max_chars: int, special: re.Pattern[str] | None = None) -> tuple[str, bool]:
    """The first `max_chars` characters, made harmless, with a mark for what was left out; and whether it was cut.

    Args:
        special: see `fencing.clean`.
    """
    if len(text) <= max_chars:
        return clean(text, special), False
    return f"{clean(text[:max_chars], special)} {_mark(len(text) - max_chars)}", True


def _window(text: str, query: str, max_chars: int, special: re.Pattern[str] | None) -> str:
    start = best_window(text, query, max_chars)
    end = min(start + max_chars, len(text))
    before = f"{_mark(start)} " if start else ""
    after = f" {_mark(len(text) - end)}" if end < len(text) else ""
    return f"{before}{clean(text[start:end], special)}{after}"


def best_window(text: str, query: str, length: int) -> int:
    """Where the stretch of `length` characters begins that shares most with the query.

    What counts is how many different words of the query it holds, each weighed by its rarity in the text, then how
    often they occur. A tenth of the stretch is kept free for beginning at a line or a sentence. Linear in the length of
    the text.
    """
    searched = length - length // 10
    asked = {match[0] for match in _WORD.finditer(query.casefold())}
    # Case folding may change the length of a text, so words are found in the text as it is.
    found = [(match.start(), match.end(), match[0].casefold()) for match in _WORD.finditer(text)]
    found = [word for word in found if word[2] in asked]
    frequency = Counter(word for _, _, word in found)
    inside: Counter[str] = Counter()
    best, best_start, last, worth = (0.0, 0), 0, 0, 0.0
    for first, (start, _, word) in enumerate(found):
        while last < len(found) and found[last][1] <= start + searched:
            entering = found[last][2]
            inside[entering] += 1
            worth += 1 / frequency[entering] if inside[entering] == 1 else 0.0
            last += 1
        score = (round(worth, 9), last - first)
        if score > best:
            best, best_start = score, start
        if inside[word]:
            inside[word] -= 1
            worth -= 1 / frequency[word] if not inside[word] else 0.0
    return _with_context(text, best_start, length)


def _with_context(text: str, start: int, length: int) -> int:
    """The start moved to the beginning of its line or sentence where that is near, and never past the last window."""
    start = min(start, max(0, len(text) - length))
    reach = max(0, start - length // 10)
    for end in ("\n", ". ", "。"):
        found = text.rfind(end, reach, start)
        if found >= 0:
            return found + len(end)
    return start


def _mark(characters: int) -> str:
    return f"[…{characters} more characters left out…]"
