"""A file that appears complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hf_relabel.builders.errors import BuildError

_CAN_OPEN_FOLDERS = os.name == "posix"


def sync_folder(folder: Path) -> None:
    """Make sure that the list of files in a folder is on the disk. Nothing where folders cannot be opened: Windows."""
    if not _CAN_OPEN_FOLDERS:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
