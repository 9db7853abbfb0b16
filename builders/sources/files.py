"""Files, where they are and what their names say, their bytes and lines."""

from __future__ import annotations

import bz2
import codecs
import hashlib
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeAlias, cast

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.sources.paths import check_regular

Record: TypeAlias = dict[str, Any]

SUFFIXES = (".jsonl", ".json", ".parquet", ".arrow", ".csv", ".tsv", ".zip")
COMPRESSED = (".gz", ".zst", ".xz", ".bz2")
DATA_FILES = ".jsonl, .json, .parquet, .arrow, .csv, .tsv or .zip"
_PACKED_INSIDE = (".parquet", ".arrow", ".zip")
_SECOND_CHOICE = (".csv", ".tsv", ".zip")
_CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz", b"BZh": "bz2"}
NOT_OPENED = (".jsonl", ".parquet")
"""Of several files, those with these names are taken for what they say, and opened when their turn comes."""
LONGEST_LINE = 64 * 2**20
"""Bytes. A longer line is no row: refusing it keeps a file without line ends from filling the memory."""

WHOLE_ROW = "(the whole row)"

# Written beside data by other tools, and never rows.
_NOT_DATA = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "manifest.json"})
# Names that say nothing about what is in the file.
_PLAIN_NAMES = frozenset(
    [
        "",
        "train",
        "training",
        "dev",
        "test",
        "validation",
        "valid",
        "data",
        "dataset",
        "default",
        "rows",
        "part",
        "shard",
    ]
)
# nq-00001, nq-00001-of-00002; trec-2019 is a name, train-2019 is not.
_SHARD = re.compile(r"[-_.]?(?:0\d{3}|\d{5}|\d{4,5}[-_.]of[-_.]\d{4,5})$")
_NUMBER = re.compile(r"[-_.]?\d{4,}$")


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        name: as the user knows it.
        open: opens it for reading, from its start, each time it is called.
        subset: the subset of rows that name none.
        rows: of a parquet file, the part to read: from one row (counted from 0) up to another; None for all of it.
        rows_field: of a JSON document, the field that holds the rows; "" where they are found by looking.
    """

    name: str
    open: Callable[[], BinaryIO]
    subset: str = ""
    rows: tuple[int, int] | None = None
    rows_field: str = ""


def is_data_file(name: str) -> bool:
    """Whether a file, by its name, holds rows."""
    path = PurePosixPath(name)
    if path.name in _NOT_DATA or any(part.startswith(".") for part in path.parts if part not in (".", "..")):
        return False
    bare = PurePosixPath(bare_name(name))
    # Compressed parquet is not a thing: parquet compresses inside.
    return bare.suffix in SUFFIXES and not (bare.suffix in _PACKED_INSIDE and bare != path)


def bare_name(name: str) -> str:
    """A file's name without the ending of its compression."""
    path = PurePosixPath(name)
    return str(path.with_suffix("") if path.suffix in COMPRESSED else path)


def data_files(names: Iterable[str]) -> list[str]:
    """Those of a folder's files that hold rows, sorted. CSV and zip files beside JSON or Parquet are something else."""
    data = sorted(name for name in names if is_data_file(name))
    first = [name for name in data if PurePosixPath(bare_name(name)).suffix not in _SECOND_CHOICE]
    return first or data


def subset_of(name: str) -> str:
    """The subset a file is named after: `fever` for `fever.jsonl.gz` and for `fever/train-00000-of-00002.parquet`.

    "" where neither the file nor its folder says more than `train` or `data`.
    """
    path = PurePosixPath(name)
    stem = path.name
    while PurePosixPath(stem).suffix in (*SUFFIXES, *COMPRESSED):
        stem = PurePosixPath(stem).stem
    # fiqa.stage_1.gpt-4o-mini holds the saved replies for fiqa.
    stem = _SHARD.sub("", re.sub(r"\.stage_?\d.*$", "", stem))
    if _NUMBER.sub("", stem).casefold() not in _PLAIN_NAMES:
        return stem
    folder = path.parent.name
    return folder if folder.casefold() not in (*_PLAIN_NAMES, "..") else ""


def exists(path: Path) -> bool:
    """Whether there is a file or folder at a path; never where the path is none that a file could have.

    Raises:
        SourceError: nobody may look.
    """
    try:
        return path.exists()
    except PermissionError as error:
        raise SourceError(f"{path}: may not be read. Check the permissions of the folders above it.") from error
    except (OSError, ValueError):
        return False  # Too long a name, a NUL in it …


def local_file(path: Path, name: str) -> SourceFile:
    # A single file's folder is where the user happens to keep it, and names no subset.
    return SourceFile(name, partial(_open_local, path.absolute()), subset_of(name if name != str(path) else path.name))


def _open_local(path: Path) -> BinaryIO:
    check_regular(path)
    return path.open("rb")


@contextmanager
def opened(file: SourceFile) -> Iterator[BinaryIO]:
    """The bytes of a file as they are stored.

    Raises:
        SourceError: it cannot be opened or read.
    """
    with _as_source_errors(file), file.open() as stream:
        yield stream


@contextmanager
def decompressed(file: SourceFile) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed. What it is compressed with is read from its first bytes, not from its name."""
    with opened(file) as stream, _unpacking(stream) as plain:
        encoding = _encoding(plain.peek(6)[:6])
        if encoding is None:
            yield cast(BinaryIO, plain)
            return
        with io.BufferedReader(_Recoded(plain, encoding), 2**16) as recoded:
            yield cast(BinaryIO, recoded)


@contextmanager
def _unpacking(stream: BinaryIO) -> Iterator[io.BufferedReader]:
    """The bytes that were compressed, as a buffered reader."""
    import pyarrow as pa

    start = stream.read(6)
    stream.seek(0)
    codec = next((codec for magic, codec in _CODECS.items() if start.startswith(magic)), None)
    if codec is None:
        has_peek = hasattr(stream, "peek")
        yield cast(io.BufferedReader, stream) if has_peek else io.BufferedReader(cast(io.RawIOBase, stream), 2**16)
    elif codec in ("xz", "bz2"):
        with lzma.LZMAFile(stream) if codec == "xz" else bz2.BZ2File(stream) as unpacked:
            yield io.BufferedReader(cast(io.RawIOBase, unpacked), 2**16)
    else:
        with pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec) as plain:
            yield io.BufferedReader(plain, 2**16)


def is_plain(file: SourceFile) -> bool:
    """Whether the bytes of a text file are its text in UTF-8 or ASCII, so that they can be read from any line on."""
    with opened(file) as stream:
        start = stream.read(6)
    return not start.startswith(tuple(_CODECS)) and _encoding(start) is None


def _encoding(start: bytes) -> str | None:
    """UTF-16 or UTF-32 by the mark of byte order, or by the zero in an ASCII character that JSON and CSV begin with."""
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) > 1 and 0 in start[:2] and start[0] != start[1]:
        return "utf-16-le" if start[1] == 0 else "utf-16-be"
    return None


class _Recoded(io.RawIOBase):
    """Text of another encoding as bytes in UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream, self._decoder, self._rest = stream, codecs.getincrementaldecoder(encoding)(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = self._stream.read(2**14)
            self._rest = self._decoder.decode(block, final=not block).encode()
            if not block:
                break
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


@contextmanager
def _as_source_errors(file: SourceFile) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except UnicodeDecodeError as error:
        raise SourceError(f"{file.name}: begins as {error.encoding} text, and is not ({error.reason}).") from error
    except (
        *(OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error, pa.ArrowException),
        NotImplementedError,  # of zip files of a later version
    ) as error:
        # Arrow's messages go on for lines; the first says it.
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SourceError(
            f"{file.name}: cannot be read: {reason}. If it was copied or downloaded, the copy may be incomplete."
        ) from error


def file_digest(file: SourceFile) -> bytes:
    """SHA-256 of a file's bytes as they are stored."""
    with opened(file) as stream:
        return hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").digest()


def read_lines(file: SourceFile) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file that are not blank, with their numbers from 1, decompressed.

    Raises:
        SourceError: the file cannot be read, or a line is longer than `LONGEST_LINE`.
    """
    with decompressed(file) as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise SourceError(
                    f"{file.name}: line {number} is longer than {LONGEST_LINE // 2**20} MiB. Give JSON lines, one row "
                    "per line, or parquet."
                )
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, line
