"""Passages are data, not instructions.

Queries, titles and passages come from the web and go into a prompt. Two things keep them from being more than text:

* `clean` takes the power out of chat-template tokens (`<|im_start|>`, `[INST]`, `</think>` …) and of this package's own
  verdict tags, so that an endpoint which tokenises a raw prompt cannot read them as control tokens. The text stays
  readable: only the brackets change (`‹|im_start|›`).
* `fence_key` gives a number that no shown text contains. Every text stands between two lines that carry it, so no text
  can end its own fence or open another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

# Names of tags that some chat template, or our own verdict format, gives a meaning. HTML such as <p> is left alone.
_TAG_NAMES = frozenset(
    """
    s bos eos pad unk mask cls sep sop eop sys span order
    think thinking thought reasoning preference verdict better worse answer
    system user assistant human model beginoftext endoftext im_start im_end image video audio
    tool tools tool_call tool_calls tool_result tool_results tool_response tool_responses tool_output tool_outputs
    function_call function_calls function_result function_results
    """.split()  # noqa: SIM905  easier to read than fifty quoted words
)
_TAG_PREFIXES = ("start_of_", "end_of_", "begin_of_", "fim_", "unused", "extra_id_", "seed:")
_BRACKETED = (
    "INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK|IMG|IMG_BREAK|IMG_END"
    "|PREFIX|MIDDLE|SUFFIX|CLS|SEP|PAD|MASK|UNK|gMASK|sMASK|BOS|EOS"
)
# Both patterns begin with a literal, which lets the search skip at full speed to the next bracket.
_ANGLE = re.compile(
    r"""<(?:
      [|｜][^<>\n]{0,80}>                                          # <|im_start|>, <|turn>, DeepSeek's full-width bars
    | [^<>|｜\n]{0,80}[|｜]>                                       # <turn|>
    | <?/?\s*(?P<name>[a-z]\w{0,30}(?::\w{1,30})?)\s*/?>>?        # </think>, <<SYS>>; which names, is looked up
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_SQUARE = re.compile(rf"\[/?\s*(?:{_BRACKETED})\s*\]", re.IGNORECASE)
_HARMLESS = str.maketrans("<>[]", "‹›⟦⟧")

_CONTROL_BYTES = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\n\t")
# What str.splitlines takes for the end of a line becomes one, the rest goes.
_CONTROL_CHARS: dict[int, str | None] = dict.fromkeys(_CONTROL_BYTES) | dict.fromkeys(b"\r\x0b\x0c\x1c\x1d\x1e", "\n")


def clean(text: str) -> str:
    """Untrusted text as it may stand in a prompt: no control characters, no control tokens.

    Letters of every script pass through. Lone surrogates, which no server accepts, become `?`.
    """
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = text.encode("utf-8", "replace")
        text = encoded.decode()
    # In UTF-8 the bytes of control characters stand for nothing else, and bytes.translate is the fastest way to look.
    if len(encoded.translate(None, _CONTROL_BYTES)) != len(encoded):
        text = text.replace("\r\n", "\n").translate(_CONTROL_CHARS)
    if "<" in text:
        text = _ANGLE.sub(_disarmed, text)
    if "[" in text:
        text = _SQUARE.sub(_disarmed, text)
    return text


def _disarmed(match: re.Match[str]) -> str:
    """The token with harmless brackets, or as it is when it is only some other tag."""
    name = match.groupdict().get("name")
    if name is not None and (name := name.lower()) not in _TAG_NAMES and not name.startswith(_TAG_PREFIXES):
        return match[0]
    return match[0].translate(_HARMLESS)


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
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.digest()
