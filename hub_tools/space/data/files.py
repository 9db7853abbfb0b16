"""Bytes of the files of a release, in ranges: from a folder or over HTTP, and as a file for pyarrow to read."""

from __future__ import annotations

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from hf_relabel.builders.configs.release import Release
from hf_relabel.builders.errors import BuildError, ReleaseError
from hf_relabel.hub_tools.hub.errors import hub_errors

Range = tuple[int, int]
"""From where up to where."""

_GAP_BYTES = 128 * 1024
"""Ranges that are closer than this are fetched as one: about what a request costs."""
_RETRIES = 3
"""Of a request; somebody waits for it."""


class Files(Protocol):
    """Where bytes of files come from."""

    def fetch(self, path: str, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`."""


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """Files of a release in a folder."""

    release: Release

    def fetch(self, path: str, start: int, stop: int) -> bytes:
        """Raises: BuildError, the file is missing or too short."""
        try:
            with self.release.open_file(path).open("rb") as file:
                file.seek(start)
                content = file.read(stop - start)
        except OSError as error:
            raise BuildError(f"{self.release.name}: {path} cannot be read: {error.strerror}.") from error
        if len(content) != stop - start:
            raise BuildError(f"{self.release.name}: {path} is shorter than its manifest says. Build or pull again.")
        return content


@dataclass(frozen=True, slots=True)
class HubFiles:
    """Files of one commit of a data set on the Hub.

    Attributes:
        sha: the commit.
        token: None takes the stored token or `HF_TOKEN`, False sends none.
    """

    repo_id: str
    sha: str
    token: str | bool | None = None

    def fetch(self, path: str, start: int, stop: int) -> bytes:
        """Raises: ReleaseError, the Hub would not give them."""
        from huggingface_hub import hf_hub_url

        # Public names (docs, "Utilities"), which the package does not mark as such for type checkers.
        from huggingface_hub.utils import (  # type: ignore[attr-defined, unused-ignore]
            build_hf_headers,
            hf_raise_for_status,
            http_backoff,
        )

        with hub_errors(self.repo_id, self.sha[:12], self.token):
            url = hf_hub_url(self.repo_id, path, repo_type="dataset", revision=self.sha)
            headers = {**build_hf_headers(token=self.token), "Range": f"bytes={start}-{stop - 1}"}
            response = http_backoff("GET", url, headers=headers, timeout=60, max_retries=_RETRIES)
            hf_raise_for_status(response)
            content = bytes(response.content)
        if len(content) != stop - start:
            raise ReleaseError(f"{self.repo_id}: the Hub gave another part of {path} than it was asked for.")
        return content


class RangedFile(io.RawIOBase):
    """A file of a release. What was fetched before is read from memory, anything else by a request of its own.

    Args:
        size: of the file.
    """

    def __init__(self, files: Files, path: str, size: int) -> None:
        self._files, self._path, self._size = files, path, size
        self._parts: dict[int, bytes] = {}
        self._at = 0

    def fetch(self, ranges: Iterable[Range], pool: ThreadPoolExecutor) -> None:
        """Fetch ranges at the same time, those that are close to each other as one.

        Raises:
            ValueError: one of them is not in the file.
        """
        joined = _joined(ranges)
        if any(not 0 <= start <= stop <= self._size for start, stop in joined):
            raise ValueError("its footer names a part that it does not have")
        get = self._files.fetch
        if len(joined) < 2:  # without a thread's switch
            contents = [get(self._path, *reach) for reach in joined]
        else:
            contents = list(pool.map(lambda reach: get(self._path, *reach), joined))
        self._parts |= {start: content for (start, _), content in zip(joined, contents, strict=True)}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        start, stop = self._at, self._size
        if size is not None and size >= 0:
            stop = min(start + size, stop)
        if not 0 <= start <= stop:
            raise ValueError("its footer names a part that it does not have")
        self._at = stop
        for first, content in self._parts.items():
            if first <= start and stop <= first + len(content):
                return content[start - first : stop - first]
        return self._files.fetch(self._path, start, stop) if stop > start else b""


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order, those that are close to each other as one."""
    joined: list[Range] = []
    for start, stop in sorted(ranges):
        if joined and start - joined[-1][1] <= _GAP_BYTES:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined
