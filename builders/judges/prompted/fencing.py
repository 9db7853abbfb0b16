"""Passages are data, not instructions.

Queries, titles and passages come from the web and go into a prompt. Two things keep them from being more than text:

* `clean` takes the power out of what looks like a control token of some model (`<|im_start|>`, `[INST]`, `[|user|]`,
  `]~b]`, `◁think▷` …) and of this package's own verdict tags, so that an endpoint which tokenises a raw prompt cannot
  read them as control tokens. It goes by shape, since every new model has names of its own, and beside that by the
  tokenizer's own list where that is known. The text stays readable: only the brackets change (`‹|im_start|›`).
* `fence_key` gives a number that no shown text contains. Every text stands between two lines that carry it, so no text
  can end its own fence or open another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from hf_relabel.builders.hashing import feed

# Tags of HTML without attributes stay as they are, but for those that are control tokens too: <s>, <img>, <span> …
_HTML = frozenset(
    """
    a abbr address article aside b big blockquote body br button center cite code col colgroup dd del details
    dfn dialog div dl dt em figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header hr html i iframe ins kbd
    input label legend li link main meta nav noscript ol optgroup option p pre q samp script section select small strike
    strong style sub summary sup svg table tbody td textarea tfoot th thead title tr tt u ul var
    """.split()  # noqa: SIM905  easier to read than a hundred quoted words
)
# All begin with a few characters, which lets the search skip at full speed to the next of them.
_ANGLE = re.compile(
    r"""<(?:
      [|｜][^<>\n]{0,80}>                        # <|im_start|>, <|turn>, DeepSeek's full-width bars
    | [^<>|｜\n]{0,80}[|｜]>                     # <turn|>
    | \[[^<>\n]{1,80}\]>                        # <[fim-suffix]>
    | <?/?\s*(?P<name>[^\W\d][\w▁:=-]{0,60}|▁[\w▁]{1,60}|0x[0-9a-f]{2})\s*/?>>?   # </think>, <<SYS>>, <SPECIAL_10>
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_SQUARE = re.compile(
    r"""[\[\]](?:
      (?<=\[)[|｜][^\[\]\n]{0,80}[|｜]\]          # [|user|]
    | (?<=\[)/?\s*(?:[A-Z@][A-Z0-9_@]{2,60}|[gs]MASK|multimodal|unused\d+|[a-z]{5,10}_\d+)\s*\]  # [/INST], [control_8]
    | (?:[a-z][!~]{1,2}|[!~]{1,2}[a-z][!~]?)(?:\[|(?<=\][!~][a-z])\])      # [e~[, ]~!b[, ]~b]
    | (?<=\])<\][^\[\]<>\n]{0,60}\[>\[          # ]<]image[>[
    )""",
    re.VERBOSE,
)
_OTHER = re.compile(r"◁/?\w{1,40}▷|>>[A-Z]{3,20}<<")  # ◁think▷, >>TITLE<<
_HARMLESS = str.maketrans("<>[]◁▷", "‹›⟦⟧‹›")

_CONTROL_BYTES = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\n\t")
# What str.splitlines takes for the end of a line becomes one, the rest goes.
_CONTROL_CHARS: dict[int, str | None] = dict.fromkeys(_CONTROL_BYTES) | dict.fromkeys(b"\r\x0b\x0c\x1c\x1d\x1e", "\n")


def clean(text: str, special: re.Pattern[str] | None = None) -> str:
    """Untrusted text as it may stand in a prompt: no control characters, no control tokens.

    Letters of every script pass through. Lone surrogates, which no server accepts, become `?`.

    Args:
        special: finds the control tokens of the served model, see `pattern_of`.
    """
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = text.encode("utf-8", "replace")
        text = encoded.decode()
    # In UTF-8 the bytes of control characters stand for nothing else, and bytes.translate is the fastest way to look.
    if len(encoded.translate(None, _CONTROL_BYTES)) != len(encoded):
        text = text.replace("\r\n", "\n").translate(_CONTROL_CHARS)
    # Again where something changed: brackets around what was disarmed may now look like a token.
    while (disarmed := _without_tokens(text, special)) != text:
        text = disarmed
    return text


def _without_tokens(text: str, special: re.Pattern[str] | None) -> str:
    if "<" in text:
        text = _ANGLE.sub(_disarmed, text)
    if "[" in text or "]" in text:
        text = _SQUARE.sub(_disarmed, text)
    if "◁" in text or ">>" in text:
        text = _OTHER.sub(_disarmed, text)
    return text if special is None else special.sub(_broken, text)


def _disarmed(match: re.Match[str]) -> str:
    """The token with harmless brackets, or as it is when it is a tag of HTML or a name of one letter."""
    name = match.groupdict().get("name")
    if name is not None and (name.lower() in _HTML or (len(name) == 1 and name.lower() != "s")):
        return match[0]
    return match[0].translate(_HARMLESS)


def _broken(match: re.Match[str]) -> str:
    return f"{match[0][0]} {match[0][1:]}"


def pattern_of(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """What finds any of some control tokens, the longest first; None where there are none. Words are left out: a model
    for which `end` is a control token would have every text with that word broken."""
    spelled = sorted({token for token in tokens if len(token) > 1 and not token.isalnum() and token.strip()})
    return re.compile("|".join(map(re.escape, sorted(spelled, key=len, reverse=True)))) if spelled else None


def fence_key(row_digest: bytes, texts: Iterable[str]) -> str:
    """Ten digits that occur in none of `texts`.

    They come from `row_digest`, so all prompts of a row share them (and the server's prefix cache), and whoever wrote a
    passage knowing the row gains nothing: a number that occurs in a text is passed over for the next one.
    """
    shown = list(texts)
    attempt = 0
    while True:
        digest = hashlib.blake2b(attempt.to_bytes(8, "big"), key=row_digest, digest_size=8).digest()
        key = f"{int.from_bytes(digest, 'big') % 10**10:010d}"
        if not any(key in text for text in shown):
            return key
        attempt += 1


def digest_of(*texts: str) -> bytes:
    """32 bytes that stand for these texts in this order, the same on every machine."""
    digest = hashlib.blake2b(digest_size=32)
    feed(digest, *texts, order="big")
    return digest.digest()
