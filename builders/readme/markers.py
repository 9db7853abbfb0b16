"""Our part of a README.md: it stands between two markers, and all text outside them is the user's.

A marker is a line of its own outside of code blocks and HTML comments. Anything that is not exactly one block, begun
and ended, is refused: guessing where it ends could cost the user text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hf_relabel.builders.errors import CardError

BEGIN = "<!-- hf-relabel:begin card -->"
END = "<!-- hf-relabel:end card -->"
NOTE = "<!-- Written by hf-relabel. Edits between these two markers are lost, all else is kept. -->"
LINE = re.compile(r"[^\r\n]*(?>\r\n|\r|\n)|[^\r\n]+")
_MARKER = re.compile(r" {0,3}<!-- hf-relabel:(begin|end) (card|configs) -->[ \t]*")
"""`configs` is what the block was called in folders built before there were cards."""
_ALMOST_A_MARKER = re.compile(r"(?i) {0,3}<!--+[ \t]*hf-relabel[ \t]*:")
_FENCE = re.compile(r"((?: {0,3}(?:[-+*]|\d{1,9}[.)])[ \t]+)* {0,3})(`{3,}(?=[^`]*$)|~{3,})")
_HTML = (
    (
        re.compile(r"(?i) {0,3}<(?:pre|script|style|textarea)(?:[\s>]|$)"),
        re.compile(r"(?i)</(?:pre|script|style|textarea)>"),
    ),
    (re.compile(r" {0,3}<!--"), re.compile(r"-->")),
)


def put_block(body: str, content: str, *, eol: str, first_line: int = 1) -> str:
    """The body with our block: in the place of the earlier one, at the end where there is none.

    Args:
        body: a README.md without its front matter.
        content: what goes between the markers, lines ended by a line feed.
        eol: how lines end in this file.
        first_line: the number of the body's first line in its file, for errors.

    Raises:
        CardError: a marker without its partner, two blocks, one in another, or a code block that has no end.
    """
    block = f"{BEGIN}\n{NOTE}\n\n{content.strip()}\n\n{END}".replace("\n", eol)
    found = find_block(body, first_line=first_line)
    if found is not None:
        start, end = found
        return body[:start] + block + body[end:]
    gap = "" if not body else eol if body.endswith(("\n", "\r")) else eol * 2
    return f"{body}{gap}{block}{eol}"


def find_block(body: str, *, first_line: int = 1) -> tuple[int, int] | None:
    """Where our block begins and ends, None where there is none. Raises CardError like `put_block`."""
    begin: tuple[int, int, str] | None = None
    block: tuple[int, int] | None = None
    for number, start, line in _lines_outside_code(body, first_line):
        match = _MARKER.fullmatch(line)
        if match is None:
            if _ALMOST_A_MARKER.match(line):
                raise CardError(f"README.md, line {number}: this is no marker of hf-relabel. {_REMEDY}")
            continue
        kind, name = match.groups()
        if block is not None:
            raise CardError(f"README.md, line {number}: a second hf-relabel:{kind} after a whole block. {_REMEDY}")
        if kind == "begin":
            if begin is not None:
                raise CardError(f"README.md, line {number}: a second hf-relabel:begin (see line {begin[0]}). {_REMEDY}")
            begin = (number, start + line.index("<"), name)
        elif begin is None or begin[2] != name:
            raise CardError(f"README.md, line {number}: hf-relabel:end {name} without its beginning. {_REMEDY}")
        else:
            block = (begin[1], start + line.index("<") + len(line.strip()))
    if begin is not None and block is None:
        raise CardError(f"README.md, line {begin[0]}: hf-relabel:begin {begin[2]} is never ended. {_REMEDY}")
    return block


_REMEDY = f"Keep one `{BEGIN}` and, below it, one `{END}`, each on a line of its own, or delete both."


def _lines_outside_code(body: str, first_line: int) -> Iterator[tuple[int, int, str]]:
    """(line number, where it starts, the line without its end) for each line that is not in a code block or in the
    inside of an HTML block (CommonMark 4.5 and 4.6; those in lists as far as they matter here)."""
    closes: re.Pattern[str] | None = None
    opened = first_line
    for number, match in enumerate(LINE.finditer(body), start=first_line):
        line = match[0].rstrip("\r\n")
        if closes is not None:
            closes = None if closes.search(line) else closes
            continue
        fence = _FENCE.match(line)
        if fence is None:
            yield number, match.start(), line
            closes = _html_end(line)
        else:
            # A closing fence may stand three columns deeper than the text of the list item it is in.
            deepest, mark = len(fence[1]) + 3, re.escape(fence[2][0])
            closes = re.compile(rf"^ {{0,{deepest}}}{mark}{{{len(fence[2])},}}[ \t]*$")
        opened = number
    if closes is not None:
        raise CardError(
            f"README.md, line {opened}: the code block or HTML comment that begins here has no end, so nothing can "
            "follow it. End it."
        )


def _html_end(line: str) -> re.Pattern[str] | None:
    """What ends the HTML block that a line opens, None where it opens none or ends it itself."""
    for opens, closes in _HTML:
        match = opens.match(line)
        if match is not None and not closes.search(line, match.end()):
            return closes
    return None
