"""The disk that a run writes its checkpoints to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_relabel.builders.errors import TrainingError

_UNWRITTEN = ("No space left", "Disk quota exceeded", "File too large", "inline_container", "PytorchStreamWriter")


@contextmanager
def disk_told(folder: Path) -> Iterator[None]:
    """What the libraries say of a file that they cannot write, as an error of ours.

    Raises:
        TrainingError: a file could not be written.
    """
    try:
        yield
    except Exception as error:
        if not any(words in str(error) for words in _UNWRITTEN):
            raise
        free = shutil.disk_usage(folder).free
        raise TrainingError(
            f"A file could not be written to {folder}, where {free / 2**20:,.0f} MiB are free. Make"
            f" room: the same call goes on from the last whole checkpoint. ({' '.join(str(error).split())[:200]})"
        ) from error
