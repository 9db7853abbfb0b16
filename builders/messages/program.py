"""The command as this installation has it: `hf relabel` as an extension of `hf`, else `hf-relabel`.

Help texts and docstrings are written with `hf relabel`, whose blank tells it from the name of the package, and go
through `spoken` before anybody reads them. Messages name the command with `program()`.
"""

from __future__ import annotations

import sys
from pathlib import Path

EXTENSION = "hf relabel"
"""What `hf` calls its extension, and how help texts are written."""
SCRIPT = "hf-relabel"
"""The console script of the package, which is its name too."""


def program() -> str:
    """`hf relabel` in the virtual environment that `hf extensions install` made, `hf-relabel` in any other."""
    return EXTENSION if is_extension() else SCRIPT


def is_extension() -> bool:
    """Whether this is the environment of the extension: `…/hf/extensions/hf-relabel/venv`."""
    return Path(sys.prefix).parts[-3:] == ("extensions", SCRIPT, "venv")


def spoken(text: str, name: str | None = None) -> str:
    """A text that was written with `hf relabel`, with the command that this installation has (or with `name`)."""
    return text.replace(EXTENSION, name or program())
