"""Paths that are given: what lies there, and what to say of those where nothing does."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.messages.nearest import did_you_mean


def check_regular(path: Path) -> None:
    """Whether a path is that of a file. What is not may give nothing for ever, and nothing a second time.

    Raises:
        SourceError: it is a pipe, a socket or a device, or a link that leads nowhere.
    """
    if os.path.islink(path) and not os.path.exists(path):
        raise SourceError(
            f"{path}: is a link to {os.readlink(path)}, and nothing is there. Mend the link, or delete it."
        )
    if os.path.exists(path) and not path.is_file() and not path.is_dir():
        raise SourceError(
            f"{path}: is a pipe, a socket or a device, no file: rows are read more than once. Write them to a file"
            " first, and give that."
        )


def did_you_mean_beside(path: Path) -> str:
    """` Did you mean 'train.jsonl'?` where a file or folder of nearly that name lies in the same folder."""
    try:
        return did_you_mean(path.name, os.listdir(path.parent))
    except (OSError, ValueError):
        return ""


def without_secrets(location: str) -> str:
    """A location as messages may name it: an address without the user, the password and the query."""
    if re.match(r"[A-Za-z][\w+.-]+:/", location) is None:
        return location
    return re.sub(r"[?#].*", "", re.sub(r"^([\w+.-]+:/+)[^/]*@", r"\1", location))
