"""What can be said of a negative before any model is asked.

A copy of a positive is no negative, and a passage without text needs no judge. Neither is ever added to the positives.
Anything less certain is left to the judges: one word in a long text ("did lower", "did not lower"; Vienna, Geneva)
turns an answer into its opposite, so nearly the text of a positive is a candidate like any other, judged and audited.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from hf_relabel.builders.judgements import Outcome
from hf_relabel.builders.messages.expecting import expect
from hf_relabel.builders.rows import Passage, Row

# With a sign only where it is no hyphen: -5 is not 5, but covid-19 is covid 19.
_NUMBER = re.compile(r"(?:(?<!\w)[-−+])?\d+(?:[.,]\d+)*")
# Two texts that begin differently are not equal. Looking at their beginnings alone is what keeps this fast.
_HEAD_READ = 96


def free_findings(row: Row) -> dict[int, tuple[Outcome, str]]:
    """The negatives of a row that need no judge, by 0-based position, each with its outcome and the reason in a word.

    - `empty`: neither title nor text. Outcome `EMPTY`.
    - `same-docid`, `same-text`: the words of a positive in their order, but for the white space between them and
      whether an accent is a character of its own (NFC). Outcome `DUPLICATE`. Case, punctuation and other forms of
      Unicode are left to the judges, since they can mean something: 5 and 5 %, us and US, 10² and 102.

    A docid on both sides with different texts is not a finding about the negative, since one of the two is wrong and
    nobody knows which: see `ids_with_two_texts`.

    Example:
            >>> from hf_relabel import Passage, Row, free_findings
            >>> known, copy = Passage("d1", "", "Air scatters it."), Passage("d2", "", "Air scatters it.")
            >>> row = Row("q1", "why is the sky blue", (known,), (copy,))
            >>> free_findings(row)
            {0: (<Outcome.DUPLICATE: 'duplicate'>, 'same-text')}
    """
    expect("row", row, Row)
    positives = [_Text(passage) for passage in row.positive_passages if not is_blank(passage)]
    findings: dict[int, tuple[Outcome, str]] = {}
    for position, passage in enumerate(row.negative_passages):
        finding = (Outcome.EMPTY, "empty") if is_blank(passage) else _compare(_Text(passage), positives)
        if finding is not None:
            findings[position] = finding
    return findings


def ids_with_two_texts(row: Row) -> list[int]:
    """Negatives, by 0-based position, whose docid is also a positive's while the text is another.

    Such a row is worth a look: the same id names two passages.
    """
    by_docid: dict[str, list[_Text]] = {}
    for passage in row.positive_passages:
        by_docid.setdefault(passage.docid, []).append(_Text(passage))
    return [
        position
        for position, passage in enumerate(row.negative_passages)
        if passage.docid in by_docid and not any(_same(_Text(passage), other) for other in by_docid[passage.docid])
    ]


def is_blank(passage: Passage) -> bool:
    """Whether there is neither a title nor a text to judge."""
    return not passage.text.strip() and not passage.title.strip()


def normalised(text: str) -> str:
    """The text in NFKC, case-folded, without punctuation and white space."""
    if text.isascii():
        # The same, in half the time: the first letters of most texts are ASCII.
        return text.lower().encode().translate(None, _dropped_ascii()).decode()
    return unicodedata.normalize("NFKC", text).casefold().translate(_dropped_characters())


def likeness(title: str, text: str) -> tuple[str, ...]:
    """Keys of a passage: two with a key in common say the same, but for case, punctuation, white space, the form of
    their Unicode, and a title that one lacks or has as the first words of its text."""
    whole = f"{title} {text}" if title else text
    return tuple({_key(text): None, _key(whole): None})


def _key(text: str) -> str:
    return "\0".join((normalised(text) or text, *numbers(text)))


def numbers(text: str) -> list[str]:
    """The numbers of a text in their order, as they are written."""
    return _NUMBER.findall(text)


class _Lazy:
    """A text that is computed when first asked for. Python 3.11's cached_property takes a lock each time, which here
    costs more than the work."""

    def __init__(self, compute: Callable[[Any], str]) -> None:
        self.compute = compute
        self.name = compute.__name__

    def __get__(self, instance: Any, owner: type) -> str:
        value = instance.__dict__[self.name] = self.compute(instance)
        return value


@dataclass
class _Text:
    """A passage with what the comparisons need of it, each computed when first asked for."""

    passage: Passage

    @_Lazy
    def whole(self) -> str:
        return f"{self.passage.title} {self.passage.text}" if self.passage.title else self.passage.text

    @_Lazy
    def head(self) -> str:
        """Where `words` begin, "" where that takes more than a look."""
        start = self.whole[:_HEAD_READ]
        # What follows the last character may belong to it: an accent.
        return " ".join(start[:-1].split()) if start.isascii() else ""

    @_Lazy
    def words(self) -> str:
        return " ".join(unicodedata.normalize("NFC", self.whole).split())


def _compare(negative: _Text, positives: list[_Text]) -> tuple[Outcome, str] | None:
    equal = [positive for positive in positives if _same(negative, positive)]
    if not equal:
        return None
    same_docid = any(positive.passage.docid == negative.passage.docid for positive in equal)
    return Outcome.DUPLICATE, "same-docid" if same_docid else "same-text"


def _same(one: _Text, other: _Text) -> bool:
    if one.passage.text == other.passage.text and one.passage.title == other.passage.title:
        return True
    if not (one.head.startswith(other.head) or other.head.startswith(one.head)):
        return False
    return one.words == other.words


@cache
def _dropped_characters() -> dict[int, None]:
    """Punctuation (not symbols: `a < b` is not `a > b`), white space and control characters.

    Combining marks stay: many scripts write vowels with them.
    """
    # The planes above hold ideographs, and looking through them all would take half a second.
    characters = (chr(code) for code in range(0x20000))
    dropped = ("Cc", "Cf", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Zl", "Zp", "Zs")
    return {ord(character): None for character in characters if unicodedata.category(character) in dropped}


@cache
def _dropped_ascii() -> bytes:
    return bytes(code for code in _dropped_characters() if code < 128)
