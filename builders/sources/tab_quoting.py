"""Whether tab-separated lines are quoted.

Files of information retrieval (MS MARCO's, TREC's) have texts with quotes in them and quote nothing; those that pandas
or a spreadsheet writes quote each cell with a quote, a tab or a line end in it, and double the quotes inside. Read as
the other, the first lose lines to a quote that opens a text, and the second are torn apart. A file is quoted only where
all of it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_CELL = rb'(?:"(?:[^"]|"")*+"|[^\t\r\n"]*+)'
_QUOTED = re.compile(rb'"(?:[^"]|"")*+"')
_ROW = re.compile(rb"(?:%s\t)*+%s\r?\n?" % (_CELL, _CELL))
_BEGUN = re.compile(rb'(?:%s\t)*+"(?:[^"]|"")*+' % _CELL)
_END = re.compile(rb'(?:[^"]|"")*+"(?:\t%s)*+\r?\n?' % _CELL)
_END_AND_BEGUN = re.compile(rb'(?:[^"]|"")*+"(?:\t%s(?=\t))*+\t"(?:[^"]|"")*+' % _CELL)
_MIDDLE = re.compile(rb'(?:[^"]|"")*+')


def is_quoted(lines: Iterator[bytes]) -> bool:
    """Whether all lines, read as quoted, make whole rows, and at least one does only so.

    It is the doubled quotes, the tabs or line ends inside cells, or a first line of names in quotes that tell. Where
    each line of a cell is a row by itself, or a quote stands in a cell that does not begin with one, nothing is quoted.
    """
    first = next(lines, b"").removeprefix(b"\xef\xbb\xbf")
    if b'"' in first and not _ROW.fullmatch(first):
        return False
    tabs, is_open, told = first.count(b"\t"), False, b'"' in first
    are_rows = True
    for line in lines:
        if b'"' not in line and not is_open:
            continue
        are_rows = (are_rows or not is_open) and line.count(b"\t") == tabs
        row, begun = (_END, _END_AND_BEGUN) if is_open else (_ROW, _BEGUN)
        if is_open and are_rows and row.fullmatch(line):
            return False
        if not is_open and are_rows and row.fullmatch(line) and _QUOTED.sub(b"", line).count(b"\t") != tabs:
            return False  # It is a row as it stands, and read as quoted it is none.
        told = told or is_open or b'""' in line.replace(b'\t""', b"") or line.count(b"\t") != tabs
        if row.fullmatch(line):
            is_open = False
        elif begun.fullmatch(line) or (is_open and _MIDDLE.fullmatch(line)):
            is_open = True
        else:
            return False
    return told and not is_open
