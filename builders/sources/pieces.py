"""A source in pieces that can be read on different machines, and what has to be known of all of them.

A piece is some bytes of a file of JSON lines, or some rows of a Parquet file, and is read without reading the rest.
Where rows cannot be told apart that way (a BEIR folder, an object, a sample, triplets of which several make one row,
compressed lines), the source is first written out as plain JSON lines, once.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import orjson

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import BadRow, RelabelError
from hf_relabel.builders.rows import NumberedRow, Row
from hf_relabel.builders.sources import FORMATS, Source, SourceFile
from hf_relabel.builders.sources.files import LONGEST_LINE, is_plain, opened
from hf_relabel.builders.sources.reading import Kind, kind_of
from hf_relabel.builders.sources.source_options import Skipped

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]

LEAST_BYTES = 64 * 1024
"""A piece of fewer is not worth the handing out."""
MOST_BYTES = 16 * 2**20
"""A piece has no more, about: what is lost with a machine, or held by it."""
PIECES_PER_WORKER = 4
"""At least, so that a slow one leaves something to do for others."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a source that follow each other.

    Attributes:
        number: pieces in their order are the source.
        file: which of the source's files.
        start, stop: bytes of JSON lines (from the start of a line to the start of another) or rows of Parquet; None for
            the whole file.
    """

    number: int
    file: int
    start: int | None = None
    stop: int | None = None


def pieces_wanted(source: Source, workers: int) -> int:
    """How many pieces suit so many workers. What is on the Hub is not downloaded to be measured."""
    size = sum(map(_size, source.files)) if source.revision is None else 0
    return max(PIECES_PER_WORKER * workers, -(-size // MOST_BYTES))


def cuttable(source: Source, wanted: int, copy: Path) -> Source:
    """The source itself where so many pieces of it can be read by themselves, else a copy of its rows.

    Args:
        copy: where to write that.

    Raises:
        BadRow: a row of a source that is copied cannot be used.
        BuildError: the copy cannot be written.
    """
    if can_be_cut(source, wanted):
        return source
    write_rows((numbered.row for numbered in source.rows()), copy)
    return plain_source(copy)


def can_be_cut(source: Source, wanted: int) -> bool:
    """Whether so many pieces of the source can be read by themselves."""
    options = source.options
    if options.sample is not None or options.limit is not None or source.format == "beir":
        return False
    if source.data is not None or FORMATS[source.format].groups:
        return False
    return len(source.files) >= wanted or all(map(_is_cuttable, source.files))


def pieces_of(source: Source, wanted: int) -> list[Piece]:
    """Cut a source in about so many pieces of about the same size.

    Raises:
        SourceError: a file cannot be read.
    """
    if len(source.files) >= wanted:
        return [Piece(number, number) for number in range(len(source.files))]
    sizes = [_size(file) for file in source.files]
    piece_bytes = max(LEAST_BYTES, -(-sum(sizes) // max(1, wanted)))
    pieces: list[Piece] = []
    for index, (file, size) in enumerate(zip(source.files, sizes, strict=True)):
        parts = max(1, round(size / piece_bytes))
        for start, stop in _cuts(file, size, parts):
            pieces.append(Piece(len(pieces), index, start, stop))
    return pieces


def source_of_piece(source: Source, piece: Piece) -> Source:
    """The piece as a source. Its rows are numbered from 0, and lines too."""
    file = source.files[piece.file]
    if piece.start is not None and piece.stop is not None:
        if _is_parquet(file):
            file = replace(file, rows=(piece.start, piece.stop))
        else:
            file = replace(file, open=partial(_open_part, file.open, piece.start, piece.stop))
    # Whether a subset exists at all is seen when all pieces have been read.
    options = replace(source.options, subset=None, sample=None, limit=None)
    return replace(source, files=(file,), options=options, skipped=Skipped(), ignored_fields=set())


def placed(error: RelabelError, source: Source, piece: Piece) -> RelabelError:
    """What went wrong in a piece, as the whole source would have told it: lines count from the start of their file."""
    file = source.files[piece.file]
    # Rows of Parquet do anyway.
    if not isinstance(error, BadRow) or not piece.start or _is_parquet(file):
        return error
    before, left = 0, piece.start
    with opened(file) as stream:
        while left and (block := stream.read(min(left, 2**20))):
            before += block.count(b"\n")
            left -= len(block)
    return BadRow(error.file, error.number + before, error.field, error.found, error.remedy)


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write rows as JSON lines that `plain_source` reads back as they are.

    Raises:
        BuildError: the file cannot be written.
    """
    with written_whole(path) as file:
        for row in rows:
            file.write(row_line(row))


def row_line(row: Row) -> bytes:
    """A row as `write_rows` writes it."""
    return orjson.dumps(row.to_dict(scores=row.has_scores)) + b"\n"


def plain_source(path: Path) -> Source:
    """What `write_rows` wrote, as a source."""
    return plain_sources([path])


def plain_sources(paths: Sequence[Path]) -> Source:
    """Several files that `write_rows` wrote, as one source."""
    # Their names say nothing about the rows, which tell their subset themselves.
    files = tuple(SourceFile(path.name, partial(_open_plain, path.absolute())) for path in paths)
    return Source(str(paths[0]) if paths else "", files, "tevatron")


def _open_plain(path: Path) -> BinaryIO:
    return path.open("rb")


# What has to be known of all pieces


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reading of a piece has found besides the rows.

    Attributes:
        subsets: all there are, kept or not.
        skipped: bad rows left out.
        ignored_fields: fields that are not read.
    """

    subsets: frozenset[str] = frozenset()
    skipped: int = 0
    ignored_fields: frozenset[str] = frozenset()


class PieceRows:
    """The rows of a piece that the source's options keep, numbered from 0.

    Attributes:
        reading: what the last full reading found.
    """

    def __init__(self, source: Source, piece: Piece) -> None:
        self._source, self._piece = source, piece
        self.reading = Reading()

    def rows(self) -> Iterator[NumberedRow]:
        """The rows.

        Raises:
            BadRow: as the source would, with a line number counted from the start of the piece.
        """
        wanted = self._source.options.subset
        read = source_of_piece(self._source, self._piece)
        subsets: set[str] = set()
        kept = 0
        for numbered in read.rows():
            subsets.add(numbered.row.subset)
            if wanted is None or numbered.row.subset in wanted:
                yield NumberedRow(kept, numbered.row)
                kept += 1
        self.reading = Reading(frozenset(subsets), read.skipped.count, frozenset(read.ignored_fields))

    def record(self) -> dict[str, Any]:
        """The whole source's."""
        return self._source.record()


# Parts of files


def _is_parquet(file: SourceFile) -> bool:
    if PurePosixPath(file.name).suffix == ".parquet":
        return True
    with opened(file) as stream:
        return stream.read(4) == b"PAR1"


def _is_cuttable(file: SourceFile) -> bool:
    return _is_parquet(file) or (is_plain(file) and kind_of(file) is Kind.JSON_LINES)


def _size(file: SourceFile) -> int:
    with opened(file) as stream:
        return stream.seek(0, io.SEEK_END)


def _cuts(file: SourceFile, size: int, parts: int) -> list[tuple[int, int]]:
    """Where each of so many parts of a file begins and ends; fewer where lines or rows are too long."""
    if _is_parquet(file):
        import pyarrow.parquet as pq

        with opened(file) as stream:
            rows = int(pq.read_metadata(stream).num_rows)
        marks = [rows * part // parts for part in range(parts + 1)]
    else:
        with opened(file) as stream:
            marks = [0, *(_next_line(stream, size * part // parts) for part in range(1, parts)), size]
    return [(start, stop) for start, stop in pairwise(marks) if start < stop]


def _next_line(stream: BinaryIO, place: int) -> int:
    """Where the first line begins that does not begin before `place`."""
    if place <= 0:
        return 0
    stream.seek(place - 1)
    while (line := stream.readline(LONGEST_LINE)) and not line.endswith(b"\n"):
        continue
    return stream.tell()


def _open_part(open_file: Callable[[], BinaryIO], start: int, stop: int) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Part(open_file(), start, stop), 2**16))


class _Part(io.RawIOBase):
    """Some bytes of a file, as if they were all of it."""

    def __init__(self, file: BinaryIO, start: int, stop: int) -> None:
        self._file, self._start, self._stop = file, start, stop
        self._file.seek(start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._file.tell(), io.SEEK_END: self._stop}[whence]
        return self._file.seek(max(self._start, base + offset)) - self._start

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(max(0, min(len(buffer), self._stop - self._file.tell())))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
