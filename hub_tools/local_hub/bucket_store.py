"""Buckets as the local Hub keeps them: files under names, without commits.

    buckets/user/name/
        bucket.json                 its settings
        files.json                  path -> what is known of the file; its content is among the objects

Both are written whole or not at all, so a batch that was acknowledged survives a kill.
"""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.atomic_file import sync_folder
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import now, read_json, write_json
from hf_relabel.hub_tools.local_hub.store import NAME, Store


@dataclass(frozen=True, slots=True)
class BucketFile:
    """A file of a bucket.

    Attributes:
        xet_hash: by what clients get it and name it.
        mtime: when it was last changed where it came from, as `uploaded` an ISO 8601 text.
    """

    xet_hash: str
    sha256: str
    size: int
    mtime: str
    uploaded: str


class Bucket:
    """One bucket. Every method that changes it must be called with `lock` held."""

    def __init__(self, folder: Path, bucket_id: str) -> None:
        self.folder, self.bucket_id = folder, bucket_id
        self.lock = threading.RLock()

    @property
    def owner(self) -> str:
        return self.bucket_id.split("/")[0]

    @property
    def settings(self) -> dict[str, Any]:
        return dict(read_json(self.folder / "bucket.json"))

    def change_settings(self, **changes: Any) -> None:
        write_json(self.folder / "bucket.json", {**self.settings, **changes})

    @property
    def files(self) -> dict[str, BucketFile]:
        """By path, in the order of paths."""
        return {path: BucketFile(**known) for path, known in read_json(self.folder / "files.json").items()}

    def write_files(self, files: Mapping[str, BucketFile]) -> None:
        write_json(self.folder / "files.json", {path: asdict(file) for path, file in sorted(files.items())})
        self.change_settings(updated=now())


class Buckets:
    """All buckets of a local Hub, beside its repositories."""

    def __init__(self, store: Store) -> None:
        self.store, self.root = store, store.root / "buckets"
        self.root.mkdir(exist_ok=True)
        for leftover in self.root.glob("**/.*.tmp"):
            leftover.unlink(missing_ok=True)
        self._known: dict[str, Bucket] = {}

    def _folder(self, bucket_id: str) -> Path:
        parts = bucket_id.split("/")
        if len(parts) != 2 or not all(NAME.fullmatch(part) for part in parts):
            raise HubError(400, "A bucket is named user/name: letters, digits, '-', '_' and '.'.")
        return self.root / parts[0] / parts[1]

    def find(self, bucket_id: str) -> Bucket | None:
        folder = self._folder(bucket_id)
        with self.store.lock:
            if not (folder / "bucket.json").is_file():
                self._known.pop(bucket_id, None)
                return None
            return self._known.setdefault(bucket_id, Bucket(folder, bucket_id))

    def create(self, bucket_id: str, **settings: Any) -> bool:
        """Make a bucket, and say whether there was none of this name."""
        folder = self._folder(bucket_id)
        with self.store.lock:
            if self.find(bucket_id) is not None:
                return False
            building = self.store.temporary / secrets.token_hex(8)
            building.mkdir()
            write_json(building / "files.json", {})
            write_json(building / "bucket.json", {"created": now(), "updated": now(), "private": False, **settings})
            folder.parent.mkdir(parents=True, exist_ok=True)
            building.rename(folder)
            sync_folder(folder.parent)
            return True

    def delete(self, bucket: Bucket) -> None:
        with self.store.lock, bucket.lock:
            gone = self.store.temporary / secrets.token_hex(8)
            bucket.folder.rename(gone)
            self._known.pop(bucket.bucket_id, None)
            shutil.rmtree(gone, ignore_errors=True)

    def move(self, bucket: Bucket, to: str) -> None:
        target = self._folder(to)
        with self.store.lock, bucket.lock:
            if self.find(to) is not None:
                raise HubError(409, f"A bucket called {to!r} already exists")
            target.parent.mkdir(parents=True, exist_ok=True)
            bucket.folder.rename(target)
            sync_folder(target.parent)
            self._known.pop(bucket.bucket_id, None)

    def of(self, owner: str) -> Iterator[Bucket]:
        """The buckets of a user or an organisation, by name."""
        for settings in sorted(self.root.glob("*/*/bucket.json")):
            bucket_id = "/".join(settings.parts[-3:-1])
            found = self.find(bucket_id) if settings.parts[-3] == owner else None
            if found is not None:
                yield found
