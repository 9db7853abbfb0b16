"""Arguments of public calls that are of no type they can work with, said at the call and not from deep inside."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeAlias, TypeVar

from hf_relabel.builders.errors import ConfigError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Kind: TypeAlias = "type | str | tuple[type | str, ...]"
"""A type, the name of a class that need not be imported to know it, or several of those."""

PATH: tuple[type, ...] = (str, os.PathLike)


NONE = type(None)
CALLABLE: Any = Callable
TEXT = (str, NONE)
SOURCE_OPTIONS: dict[str, Kind] = {
    **dict.fromkeys(("name", "config", "split", "revision", "format"), TEXT),
    "subset": (str, list, tuple, set, frozenset, NONE),
    "sample": ("Sample", NONE),
    "skip_bad_rows": bool,
    "limit": (int, NONE),
    "mined_negatives": int,
    "columns": (Mapping, NONE),
    "relevant_from": (int, float, NONE),
}
"""Of the options of `open_source`, and of calls that pass them on."""


def expects(**kinds: Kind) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Check some arguments of a function before it is called.

    Not for functions that are called for each row: what it costs is then better spent on `expect` alone.

    Raises:
        ConfigError: by the decorated function, where an argument is of another type.
    """

    def decorated(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError:
                return function(*args, **kwargs)  # Python's own words name the function, and what is misspelt
            for name, kind in kinds.items():
                if name in given:
                    expect(f"{function.__name__}: {name}", given[name], kind)
            return function(*args, **kwargs)

        return checked

    return decorated


def expect(what: str, given: object, kind: Kind) -> None:
    """Whether a value is of a type.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(given, float) and not math.isfinite(given):
        raise ConfigError(f"{what}: expected a finite number, found {given}.")
    several = kind if isinstance(kind, tuple) else (kind,)
    if not any(_is_a(given, one) for one in several):
        wanted = " or ".join(dict.fromkeys("path" if one in PATH else _name(one) for one in several))
        raise ConfigError(f"{what}: expected a {wanted}, found {told(given)}.")


def told(given: object) -> str:
    """A value as messages show what they did not expect: its type, and the value where it is short and plain."""
    if isinstance(given, type):
        return f"the class {given.__name__} itself"
    shown = repr(given) if isinstance(given, (str, int, float, bool, type(None))) else ""
    return f"{type(given).__name__} {shown}".strip() if len(shown) <= 60 else type(given).__name__


def _is_a(given: object, kind: type | str) -> bool:
    if isinstance(kind, str):
        return any(each.__name__ == kind for each in type(given).__mro__)
    return isinstance(given, kind)


def _name(kind: type | str) -> str:
    if kind is NONE:
        return "None"
    return kind if isinstance(kind, str) else kind.__name__
