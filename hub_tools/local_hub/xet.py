"""The upload half of Xet, the protocol by which current Hub clients send large files.

A client cuts files into chunks, packs chunks into xorbs, sends these, and then a shard, which says of which chunks of
which xorbs each file is made. The local Hub puts the files together at once and serves them as plain files; xorbs are
kept, because clients remember what they have sent. Layouts as in the Xet protocol specification
(huggingface.co/docs/xet).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hf_relabel.builders.disk.atomic_file import sync_folder
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import Objects

MAX_CHUNK = 1 << 24
_RECORD = 48
_BOOKEND = b"\xff" * 32
_WITH_VERIFICATION, _WITH_METADATA = 1 << 31, 1 << 30


@dataclass(frozen=True, slots=True)
class Segment:
    """Chunks `start` to `end` (exclusive) of a xorb."""

    xorb: str
    size: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class XetFile:
    """A file as its shard describes it. `sha256` is empty where the shard does not say."""

    segments: tuple[Segment, ...]
    sha256: str
    hash: str = ""


def hash_text(raw: bytes) -> str:
    """A hash of a shard as it is written in URLs: each group of 8 bytes is a little-endian number."""
    return b"".join(raw[start : start + 8][::-1] for start in range(0, 32, 8)).hex()


def chunk_places(file: BinaryIO) -> list[tuple[int, int, int, int]]:
    """Of each chunk of a xorb: where its data starts, its compressed size, its compression scheme, its size.

    Raises:
        HubError: 400, it is not a xorb.
    """
    places = []
    end = file.seek(0, os.SEEK_END)
    position = 0
    while position < end:
        file.seek(position)
        header = file.read(8)
        if header[:1] == b"X":  # the footer, which repeats what the headers say
            break
        if len(header) < 8 or header[0] != 0:
            raise HubError(400, "A xorb with a broken chunk header.")
        compressed, size = int.from_bytes(header[1:4], "little"), int.from_bytes(header[5:8], "little")
        if header[4] > 2 or position + 8 + compressed > end or size > MAX_CHUNK:
            raise HubError(400, "A xorb with a broken chunk header.")
        places.append((position + 8, compressed, header[4], size))
        position += 8 + compressed
    if not places:
        raise HubError(400, "A xorb without chunks.")
    return places


def read_chunk(file: BinaryIO, place: tuple[int, int, int, int]) -> bytes:
    """The content of a chunk.

    Raises:
        HubError: 400, it cannot be decompressed or has another size than its header says.
    """
    import lz4.frame

    start, compressed, scheme, size = place
    file.seek(start)
    data = file.read(compressed)
    if scheme:
        try:
            data = lz4.frame.decompress(data)
        except (RuntimeError, EOFError, ValueError) as error:
            raise HubError(400, "A chunk that cannot be decompressed.") from error
    if scheme == 2:
        data = _ungrouped(data)
    if len(data) != size:
        raise HubError(400, "A chunk of another size than its header says.")
    return bytes(data)


def _ungrouped(data: bytes) -> bytes:
    """Bytes 0, 4, 8 … come first, then 1, 5, 9 … and so on; put them back in their order."""
    out = bytearray(len(data))
    start = 0
    for offset in range(4):
        count = len(range(offset, len(data), 4))
        out[offset::4] = data[start : start + count]
        start += count
    return bytes(out)


def files_of_shard(shard: bytes) -> Iterator[XetFile]:
    """The files a shard describes.

    Raises:
        HubError: 400, it is not a shard.
    """
    position = _RECORD
    while True:
        header = _record(shard, position)
        if header[:32] == _BOOKEND:
            return
        flags, count = struct.unpack_from("<II", header, 32)
        position += _RECORD
        if position + count * _RECORD > len(shard):
            raise HubError(400, "A shard that ends too early.")
        segments = tuple(_segment(_record(shard, position + index * _RECORD)) for index in range(count))
        position += count * _RECORD * (2 if flags & _WITH_VERIFICATION else 1)
        sha256 = ""
        if flags & _WITH_METADATA:
            sha256 = hash_text(_record(shard, position)[:32])
            position += _RECORD
        yield XetFile(segments, sha256, hash_text(header[:32]))


def _record(shard: bytes, position: int) -> bytes:
    record = shard[position : position + _RECORD]
    if len(record) < _RECORD:
        raise HubError(400, "A shard that ends too early.")
    return record


def _segment(record: bytes) -> Segment:
    _, size, start, end = struct.unpack_from("<IIII", record, 32)
    return Segment(hash_text(record[:32]), size, start, end)


class Xorbs:
    """Xorbs by their hash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", name):
            raise HubError(400, "Not a hash.")
        return self.folder / name

    def keep(self, name: str, received: Path) -> bool:
        """Take a xorb that was received. Returns whether it is new.

        Raises:
            HubError: 400, it is not a xorb.
        """
        target = self.path(name)
        if target.is_file():
            return False
        with received.open("rb") as file:
            chunk_places(file)
            os.fsync(file.fileno())
        os.replace(received, target)
        sync_folder(self.folder)
        return True

    def build(self, file: XetFile, objects: Objects) -> tuple[str, int]:
        """Put a file together and keep it. Returns its SHA-256 and size.

        Raises:
            HubError: 400, a xorb is missing, or what comes out is not what the shard says.
        """
        if file.sha256 and objects.has(file.sha256):
            return file.sha256, objects.path(file.sha256).stat().st_size
        with objects.writing() as incoming:
            for segment in file.segments:
                path = self.path(segment.xorb)
                if not path.is_file():
                    raise HubError(400, "The shard names a xorb that was not sent.")
                with path.open("rb") as xorb:
                    places = chunk_places(xorb)
                    if not 0 <= segment.start <= segment.end <= len(places):
                        raise HubError(400, "The shard names chunks that its xorb does not have.")
                    for place in places[segment.start : segment.end]:
                        incoming.write(read_chunk(xorb, place))
            if file.sha256 and incoming.digest.hexdigest() != file.sha256:
                raise HubError(400, "The chunks do not make up the file of this SHA-256.")
            return objects.keep(incoming)[0], incoming.size
