"""Tables as plain text that fit a terminal: headers wrap first, then texts, and then whole columns go below."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

WIDTH = 80
"""Where there is no terminal whose width could be asked for."""
_NARROWEST = 16
"""A text is not wrapped to less than this; then columns go below instead."""
_BETWEEN = 2


def text_table(
    rows: Sequence[Mapping[str, Any] | Sequence[Any]],
    headers: Sequence[str] | None = None,
    *,
    width: int | None = None,
    **style: Any,
) -> str:
    """A table with a line per row, no wider than the terminal.

    A table that is too wide has its headers wrapped between words. If that is not enough its texts are, the longest
    first; and if numbers alone are too wide, the columns that do not fit come below, beside the first column again: no
    number is ever broken.

    Args:
        rows: dicts, whose keys are the headers; or lists, with `headers`.
        width: characters; None for those of the terminal (or `COLUMNS`), 80 where there is none.
        style: options of `tabulate` for the whole table, such as `floatfmt=".3f"`.

    Example:
        >>> print(text_table([{"config": "relabel", "rows": 60}]))
        config      rows
        --------  ------
        relabel       60
    """
    names = list(headers) if headers is not None else list(dict.fromkeys(key for row in rows for key in row))
    cells = [[row.get(name) for name in names] if isinstance(row, Mapping) else list(row) for row in rows]
    room = shutil.get_terminal_size((WIDTH, 24)).columns if width is None else width
    table = _drawn(names, cells, style)
    if _width(table) <= room:
        return table
    with _tight():
        table = _drawn(names, cells, style)
        if _width(table) <= room:
            return table
        names = [_wrapped_header(name, [row[place] for row in cells]) for place, name in enumerate(names)]
        return _fitted(names, cells, room, style)


def fitted(text: str, *, indent: str = "") -> str:
    """A paragraph as lines that fit the terminal as a table does, wrapped between words; a longer word stays whole.

    Args:
        indent: before the first line; those below it have two blanks more.
    """
    import textwrap

    room, below = shutil.get_terminal_size((WIDTH, 24)).columns, f"{indent}  "
    return textwrap.fill(
        text,
        room,
        initial_indent=indent,
        subsequent_indent=below,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _fitted(names: Sequence[str], cells: Sequence[Sequence[Any]], room: int, style: Mapping[str, Any]) -> str:
    columns = [[row[place] for row in cells] for place in range(len(names))]
    widths = [
        _width(_drawn([name], [[cell] for cell in column], style)) for name, column in zip(names, columns, strict=True)
    ]
    most = _shrunk(widths, columns, room)
    first = [0]
    for place in range(1, len(names)):
        if len(first) > 1 and _total([most[each] for each in [*first, place]]) > room:
            break
        first.append(place)
    wrapped = [most[place] if most[place] < widths[place] else None for place in first]
    above = _drawn(
        [names[place] for place in first], [[row[place] for place in first] for row in cells], style, wrapped
    )
    rest = [0, *range(len(first), len(names))]
    if len(rest) == 1:
        return above
    below = _fitted([names[place] for place in rest], [[row[place] for place in rest] for row in cells], room, style)
    return f"{above}\n\n{below}"


def _shrunk(widths: Sequence[int], columns: Sequence[Sequence[Any]], room: int) -> list[int]:
    """The widths with texts wrapped as far as need be. If that is not enough, only those of more than half a line."""
    least = [min(width, _least(column)) for width, column in zip(widths, columns, strict=True)]
    if _total(least) > room:
        return [max(low, min(width, room // 2)) for low, width in zip(least, widths, strict=True)]
    most = list(widths)
    while (excess := _total(most) - room) > 0:
        longest = max(range(len(most)), key=lambda place: (most[place] > least[place], most[place]))
        most[longest] = max(least[longest], most[longest] - excess)
    return most


def _least(column: Sequence[Any]) -> int:
    """To what width a column may be wrapped: no number, and no word that fits half a line, is broken."""
    texts = [cell for cell in column if _is_text(cell)]
    if not texts:
        return 10**6
    return max(_NARROWEST, *(min(len(word), WIDTH // 2) for text in texts for word in text.split() or [""]))


def _drawn(
    names: Sequence[str],
    cells: Sequence[Sequence[Any]],
    style: Mapping[str, Any],
    widths: Sequence[int | None] | None = None,
) -> str:
    """A table as it is."""
    import tabulate

    return str(tabulate.tabulate(cells, names, maxcolwidths=widths, **style))


@contextmanager
def _tight() -> Iterator[None]:
    """Without the two blanks that tabulate gives each header for good looks. It takes them from a global setting."""
    import tabulate

    before = tabulate.MIN_PADDING
    tabulate.MIN_PADDING = 0
    try:
        yield
    finally:
        tabulate.MIN_PADDING = before


def _width(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _BETWEEN * (len(widths) - 1)


def _is_text(cell: Any) -> bool:
    """Whether a cell may be wrapped."""
    return isinstance(cell, str) and any(letter.isalpha() for letter in cell)


def _wrapped_header(name: str, cells: Sequence[Any]) -> str:
    """The words of a header below each other where it is wider than what is below it."""
    import textwrap

    widest = max([*(len(str(cell)) for cell in cells), *(len(word) for word in name.split())], default=1)
    return "\n".join(textwrap.wrap(name, widest, break_long_words=False)) or name
