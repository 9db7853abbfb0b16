"""Content that the local Hub keeps, by its hash."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from hf_relabel.builders.disk.atomic_file import sync_folder, write_whole
from hf_relabel.hub_tools.local_hub.errors import HubError

MAX_PATH_BYTES = 1024


def check_path(path: Any, *, git: bool = False) -> str:
    """A path inside a repository, as git takes it.

    Args:
        git: whether a part of it may be `.git`, as in a bucket, which git never sees.

    Raises:
        HubError: it would lead elsewhere, or no file system would take it.
    """
    if not isinstance(path, str) or not path or len(path.encode("utf-8", "replace")) > MAX_PATH_BYTES:
        raise HubError(400, f"A path must be a text of 1 to {MAX_PATH_BYTES} bytes.")
    parts = path.split("/")
    bad = any(part in ("", ".", "..") or (part.lower() == ".git" and not git) for part in parts)
    if bad or "\\" in path or any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in path):
        raise HubError(400, "A path may not be absolute, hold '.', '..', '.git', backslashes or control characters.")
    return path


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a commit.

    Attributes:
        oid: its git blob id; of an LFS file, that of its pointer.
        last: the commit that wrote it.
    """

    sha256: str
    size: int
    oid: str
    lfs: bool
    last: str = ""

    def to_list(self) -> list[Any]:
        return [self.sha256, self.size, self.oid, self.lfs, self.last]


def pointer(sha256: str, size: int) -> bytes:
    """What git stores in place of an LFS file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git's own id


class Objects:
    """Contents by SHA-256."""

    def __init__(self, folder: Path, temporary: Path) -> None:
        self.folder, self.temporary = folder, temporary
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise HubError(400, "Not a SHA-256.")
        return self.folder / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    @contextmanager
    def writing(self) -> Iterator[Incoming]:
        """Take in content whose name is known only at its end."""
        path = self.temporary / secrets.token_hex(8)
        with path.open("wb") as file:
            incoming = Incoming(file, path)
            try:
                yield incoming
            finally:
                path.unlink(missing_ok=True)

    def keep(self, incoming: Incoming) -> tuple[str, bool]:
        """Name what came in. Returns its SHA-256 and whether it is new."""
        sha256 = incoming.digest.hexdigest()
        target = self.path(sha256)
        if target.is_file():
            return sha256, False
        incoming.file.flush()
        os.fsync(incoming.file.fileno())
        target.parent.mkdir(exist_ok=True)
        os.replace(incoming.path, target)
        sync_folder(target.parent)
        sync_folder(self.folder)
        return sha256, True

    def put(self, content: bytes) -> str:
        with self.writing() as incoming:
            incoming.write(content)
            return self.keep(incoming)[0]


@dataclass
class Incoming:
    """Content on its way in."""

    file: IO[bytes]
    path: Path
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def write(self, content: bytes) -> None:
        self.file.write(content)
        self.digest.update(content)
        self.size += len(content)
