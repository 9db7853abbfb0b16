"""A file that appears complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hf_relabel.builders.errors import BuildError


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Write beside a file's place, and put it there when all of it is written.

    Raises:
        BuildError: the folder is missing or not writable, or the disk is full. What was there before stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise BuildError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
