"""Arguments in messages, spelt as whoever reads them gives them: in Python, on the command line or in a job file.

Below the command line nobody knows how a call was made, so messages (of errors, of logged warnings, of reports) speak
of Python's arguments, in backticks, as they are typed in a call. `argument` writes them:

    raise SourceError(f"{file}: two may be the positive. Say which: {argument('columns', {'positive': 'text'})}.")

In Python that reads as it was written. The command line passes all it prints through `as_options`, which respells
each one for which the command has an option, and leaves the others as they are:

    Python        Say which: `columns={"positive": "text"}`.
    command line  Say which: --column positive=text.
    job file      Say which: `columns: {"positive": "text"}`.

So no message names an option (`--column`), and none says the same thing twice. `argument("split")` names an argument
without a value (`split=`), `argument("technique", ...)` leaves the value open.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

_NO_VALUE = object()
_BARE = ("", "…", "nan", "inf", "-inf")
"""What an option takes as it stands, though it is no literal of Python."""
_MARKED = re.compile(r"`([a-z][a-z0-9_]*)=([^`]*)`")


def argument(name: str, value: Any = _NO_VALUE) -> str:
    """An argument of Python as messages name it.

    Args:
        value: text, number, bool, None, `...`, or lists and dicts of them; without one the argument is only named.
    """
    return f"`{name}={'' if value is _NO_VALUE else _literal(value)}`"


def as_options(text: str, options: Mapping[str, str], *, settings: bool = False) -> str:
    """A message with the arguments in it spelt as options.

    Args:
        options: for the names of arguments, the options that give them (`{"columns": "--column"}`).
        settings: whether the call was made by a job file: what is no option is one of its settings.
    """

    def respelt(found: re.Match[str]) -> str:
        name, written = found.groups()
        if name in options:
            return _option(options[name], written) or found[0]
        return f"`{f'{name}: {written}'.rstrip()}`" if settings else found[0]

    return _MARKED.sub(respelt, text)


def _literal(value: Any) -> str:
    """A value as Python has it, with double quotes."""
    if value is ...:
        return "…"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_literal(key)}: {_literal(one)}' for key, one in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_literal, value))}]"
    return spelt_out(json.dumps(value, ensure_ascii=False)) if isinstance(value, str) else repr(value)


def spelt_out(text: str) -> str:
    """A text with its lone surrogates as escapes: nothing that holds one can be logged, printed or written as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _option(option: str, written: str) -> str | None:
    """An option with the value that is written in Python; None where an option cannot say that."""
    if written in _BARE:
        return f"{option} {written}".rstrip()
    try:
        value = ast.literal_eval(written)
    except (ValueError, SyntaxError):
        return None
    if value is True:
        return option
    if value is None or value is False:
        return None
    return " ".join(f"{option} {shlex.quote(one)}" for one in _texts(value)) or None


def _texts(value: Any) -> Iterator[str]:
    """What is given to an option, once or several times: a dict as `KEY=VALUE`."""
    if isinstance(value, dict):
        for key, some in value.items():
            yield from (f"{key}={one}" for one in _texts(some))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    else:
        yield str(value)
