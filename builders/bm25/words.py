"""The words of a text, as BM25 counts them.

Han, Hiragana, Katakana, Thai, Lao, Khmer and Myanmar are written without spaces between words: a run of such letters is
taken as its pairs of neighbouring characters, as Lucene's CJK analyser takes them, and a single one as itself. All
other text is split into words of two letters and more, as bm25s does it by itself.
"""

from __future__ import annotations

import re

# Letters, their marks and digits; the punctuation of these scripts ends a run.
_UNSPACED = (
    "\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
    "\u3041-\u3096\u3099\u309a\u309d-\u309f"  # Hiragana
    "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Katakana
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59"  # Thai
    "\u0e81-\u0edf"  # Lao
    "\u1780-\u17d3\u17d7\u17dc\u17dd\u17e0-\u17e9"  # Khmer
    "\u1000-\u1049\u1050-\u109f\ua9e0-\ua9fe\uaa60-\uaa7f"  # Myanmar
)
_RUNS = re.compile(f"([{_UNSPACED}]+)")
_WORD = re.compile(r"\b\w\w+\b")


def words(text: str) -> list[str]:
    """The words of a text in lower case, in their order.

    Example:
        >>> words("why the sky is blue")
        ['why', 'the', 'sky', 'is', 'blue']
        >>> words("iphone的电池")
        ['iphone', '的电', '电池']
    """
    if text.isascii():
        return _WORD.findall(text)
    found: list[str] = []
    # Splitting at a group: what lies between the runs at the even places, the runs at the odd ones.
    for place, part in enumerate(_RUNS.split(text)):
        found += _neighbours(part) if place % 2 else _WORD.findall(part)
    return found


def _neighbours(run: str) -> list[str]:
    return [run[place : place + 2] for place in range(len(run) - 1)] or [run]
