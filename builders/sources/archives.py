"""Zip files as the data files in them, which are read where they are."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.sources.files import (
    DATA_FILES,
    LONGEST_LINE,
    NOT_OPENED,
    SourceFile,
    is_data_file,
    opened,
    subset_of,
)
from hf_relabel.builders.sources.splits import TRAIN, files_of_split, split_of

_SEEKING = (".parquet", ".arrow")
_MOST_UNPACKED = 100
"""Times its size in the zip file. These formats compress by themselves: only what is made to fill a disk gets so much
larger."""


def unpacked(files: Sequence[SourceFile], split: str | None) -> tuple[tuple[SourceFile, ...], tuple[str, ...]]:
    """The files with each zip file replaced by those in it, and the names of what is in them and not read.

    Args:
        split: of zip files whose files are named after splits; None takes `train`.

    Raises:
        SourceError: a zip file cannot be read, or holds no data file or none of that split.
    """
    found: list[SourceFile] = []
    left_out: list[str] = []
    for file in files:
        names = _names(file) if len(files) == 1 or not file.name.endswith(NOT_OPENED) else None
        if names is None:
            found.append(file)
            continue
        chosen = files_of_split(names, split or TRAIN, file.name) if any(map(split_of, names)) else names
        found += [_member(file, name) for name in chosen]
        left_out += [f"{file.name}/{name}" for name in names if name not in chosen]
    return tuple(found), tuple(left_out)


def _names(file: SourceFile) -> list[str] | None:
    """The data files in a zip file, None where it is none."""
    with opened(file) as stream:
        if stream.read(4) != b"PK\x03\x04":
            return None
        with zipfile.ZipFile(stream) as archive:
            members = [info.filename for info in archive.infolist() if not info.is_dir()]
    if twice := [name for name, count in Counter(members).items() if count > 1]:
        # By its name only the last of them can be read.
        raise SourceError(
            f"{file.name}: holds {twice[0]!r} several times. Write the zip file anew, with each name once."
        )
    if "xl/workbook.xml" in members:
        raise SourceError(f"{file.name}: is an Excel workbook. Save the sheet as CSV (UTF-8).")
    if {"corpus.jsonl", "queries.jsonl"} <= {PurePosixPath(name).name for name in members}:
        raise SourceError(f"{file.name}: is a BEIR set in a zip file. Unpack it with `unzip` and give the folder.")
    data = sorted(name for name in members if is_data_file(name) and not name.startswith("__MACOSX/"))
    if not data:
        held = ", ".join(members[:10]) or "nothing"
        raise SourceError(f"{file.name}: no {DATA_FILES} file is in this zip file. It holds: {held}.")
    return data


def _member(file: SourceFile, name: str) -> SourceFile:
    return SourceFile(f"{file.name}/{name}", partial(_open_member, file.open, name), subset_of(name) or file.subset)


def _open_member(open_archive: Callable[[], BinaryIO], name: str) -> BinaryIO:
    stream = open_archive()
    is_copied = PurePosixPath(name).suffix in _SEEKING
    try:
        archive = zipfile.ZipFile(stream)
        if is_copied:
            _check_size(archive.getinfo(name))
        member = cast(BinaryIO, archive.open(name))
    except (RuntimeError, OSError) as error:
        stream.close()
        raise OSError(f"{error}: unpack it first") from error
    if not is_copied:
        return cast(BinaryIO, io.BufferedReader(_Member(member, stream), 2**16))
    # Going back in what is compressed means to begin again.
    copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed by the caller
    with stream, member:
        shutil.copyfileobj(member, copy, 2**20)
    copy.seek(0)
    return copy


def _check_size(member: zipfile.ZipInfo) -> None:
    if member.file_size > max(LONGEST_LINE, _MOST_UNPACKED * member.compress_size):
        raise OSError(f"{member.compress_size:,} bytes would become {member.file_size:,}")


class _Member(io.RawIOBase):
    """A file in a zip file, which is closed with it."""

    def __init__(self, member: BinaryIO, archive: BinaryIO) -> None:
        self._member, self._archive = member, archive

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._member.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        data = self._member.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._member.close()
        self._archive.close()
        super().close()
