"""A file that appears complete or not at all, and is on the disk before anything relies on it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hf_relabel.builders.errors import BuildError

_CAN_OPEN_FOLDERS = os.name == "posix"


def sync_file(path: Path) -> None:
    """Make sure that the content of a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
def written_whole(path: Path, *, replaces: bool = True) -> Iterator[BinaryIO]:
    """Write beside a file's place, and put it there when all of it is written and on the disk.

    Args:
        replaces: whether a file that is there gives way.

    Raises:
        BuildError: the folder is missing or not writable, or the disk is full. What was there before stays.
        FileExistsError: a file is there, and `replaces` is False.
    """
    if replaces and path.is_dir():
        raise BuildError(f"{path} is a folder. Give a file.")
    try:
        with written_beside(path, replaces=replaces) as file:
            yield file
    except FileExistsError:
        raise
    except OSError as error:
        raise _not_written(path, error) from error


@contextmanager
def writes(path: Path) -> Iterator[None]:
    """Whatever else is done to write a file or folder. Raises: BuildError, in place of the system's own errors."""
    try:
        yield
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> BuildError:
    return BuildError(f"{path} cannot be written: {error.strerror or error}.")


@contextmanager
def written_beside(path: Path, *, replaces: bool = True) -> Iterator[BinaryIO]:
    """As `written_whole`, with the system's own errors."""
    # With a name of its own: threads and processes may write to one place.
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replaces:
            temporary.replace(path)
        else:
            _put_where_none_is(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes, *, replaces: bool = True) -> None:
    """Write a file in one step. See `written_whole`."""
    with written_whole(path, replaces=replaces) as file:
        file.write(content)


def _put_where_none_is(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # not every file system has links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        temporary.replace(path)
