"""What is asked of the disk, in its order: a power cut cannot be shown by killing a process, but this order can."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.disk import atomic_folder


class DiskFailed(OSError):
    """What a call gets that is made to fail."""


def disk_watch(monkeypatch: pytest.MonkeyPatch, fails_at: int | None = None) -> list[tuple[str, Path]]:
    """From now on, what is synced, renamed (to which place), and removed.

    Args:
        fails_at: the call of that number, from 0, raises `DiskFailed` and does nothing, and so do those after it, but
            for what is removed.
    """
    calls: list[tuple[str, Path]] = []

    def watch(owner: Any, name: str, what: str, place: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            calls.append((what, Path(place(*arguments))))
            if fails_at is not None and len(calls) > fails_at and what != "removed":
                raise DiskFailed(5, "Input/output error")
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    watch(os, "fsync", "synced", lambda descriptor: os.readlink(f"/proc/self/fd/{descriptor}"))
    watch(os, "link", "renamed", lambda one, other: other)
    watch(Path, "rename", "renamed", lambda one, other: other)
    watch(Path, "replace", "renamed", lambda one, other: other)
    watch(atomic_folder, "_exchange", "renamed", lambda one, other: other)
    watch(Path, "unlink", "removed", lambda path: path)
    watch(shutil, "rmtree", "removed", lambda path: path)
    return calls


def failing_ever_later(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> Iterator[int]:
    """Does something again and again, where the first, the second … call to the disk fails, until none does."""
    for number in range(100):
        with monkeypatch.context() as patch:
            calls = disk_watch(patch, fails_at=number)
            try:
                act()
            except Exception as error:
                if not isinstance(error.__cause__ or error, DiskFailed):
                    raise
        yield number
        if len(calls) <= number:
            return
    raise AssertionError("it fails for ever")
