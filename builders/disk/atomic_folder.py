"""A folder that appears complete or not at all.

It is written beside its place, as `.{name}.building-new`, and put there in one step. What is found there from a build
that was killed is cleaned up by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hf_relabel.builders.disk.atomic_file import sync_file, sync_folder
from hf_relabel.builders.errors import BuildError

_FULL = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})


@dataclass
class NewFolder:
    """A folder that is being written.

    Attributes:
        path: where to write now.
        target: where it goes when it is complete.
        progress: how far the writing has come, for error messages.
    """

    path: Path
    target: Path
    progress: str = ""

    def write(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)

    def earlier_text(self, name: str) -> str | None:
        """The text of a file of the folder that will be replaced, None if there is none."""
        try:
            # Not read_text, which would turn every end of line into a line feed.
            return (self.target / name).read_bytes().decode("utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise BuildError(
                f"{self.target / name} is not UTF-8 text. Correct or remove it, then build again."
            ) from error

    def keep_others(self, ours: Iterable[str]) -> None:
        """Take over the files of the folder to be replaced, except those in `ours` and those written anew.

        Raises:
            BuildError: a file of others has the name of a new folder.
        """
        if not self.target.is_dir():
            return
        left_out = set(ours)
        for root, folders, files in os.walk(self.target):
            links = [name for name in folders if (Path(root) / name).is_symlink()]
            for name in [*files, *links]:
                earlier = Path(root) / name
                relative = earlier.relative_to(self.target)
                if (self.path / relative).is_dir():
                    raise BuildError(f"{self.target} cannot be written: {earlier} is no folder. Move it elsewhere.")
                if relative.as_posix() not in left_out and not os.path.lexists(self.path / relative):
                    link_or_copy(earlier, self.path / relative)

    @contextlib.contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Turn errors of the file system into BuildErrors that say how much was needed, and where."""
        try:
            yield
        except OSError as error:
            raise self._build_error(error) from error

    def _build_error(self, error: OSError) -> BuildError:
        if error.errno not in _FULL:
            return BuildError(f"{self.target} cannot be written: {error}")
        written = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        free = shutil.disk_usage(self.path).free
        done = f" after {self.progress}" if self.progress else ""
        return BuildError(
            f"There is no room to write {self.target}: {_megabytes(written)} were written{done} and more is needed, "
            f"{_megabytes(free)} are free in {self.path.parent}. An earlier build there was left as it is. Free some "
            "space, build fewer techniques, or write elsewhere."
        )


@contextlib.contextmanager
def new_folder(target: Path, *, is_ours: Callable[[Path], bool]) -> Iterator[NewFolder]:
    """Write a folder. On leaving without an error it takes its place; otherwise what is in its place stays.

    Args:
        is_ours: whether the folder that is there may be replaced.

    Raises:
        BuildError: the folder is not ours, is being built by another process, or cannot be written.
    """
    target = target.resolve()
    building = NewFolder(path=_beside(target, "new"), target=target)
    with contextlib.ExitStack() as stack:
        with building.disk_errors():
            target.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(target))
            _recover(target)
            check_place(target, is_ours)
            building.path.mkdir()
        stack.callback(shutil.rmtree, building.path, ignore_errors=True)
        yield building
        with building.disk_errors():
            sync_all(building.path)
            _put_in_place(building.path, target)


def _beside(target: Path, what: str) -> Path:
    return target.parent / f".{target.name}.building-{what}"


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Keep a second build out of the same place. The system drops the lock of a process that dies."""
    import filelock

    path = _beside(target, "lock")
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise BuildError(f"Another build is writing {target}. Wait for it, or write elsewhere.") from error
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # Windows removes no file that is open; it is used again then
            path.unlink(missing_ok=True)
        lock.release()


def _recover(target: Path) -> None:
    """Clean up after a build that was killed."""
    shutil.rmtree(_beside(target, "new"), ignore_errors=True)
    old = _beside(target, "old")
    if old.exists():
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)


def check_place(target: Path, is_ours: Callable[[Path], bool], *, mark: str = "manifest.json") -> None:
    """Raises: BuildError, where there is a file, or a folder that is not ours: it would have a file `mark`."""
    if not target.exists():
        return
    if not target.is_dir():
        raise BuildError(f"{target} is a file. Give a folder.")
    if os.path.ismount(target):
        raise BuildError(f"{target} is a mount point, which is not replaced in one step. Give a folder in it.")
    if not is_ours(target):
        raise BuildError(
            f"{target} is not empty and hf-relabel did not write it (it has no {mark}). Give another folder."
        )


def sync_all(folder: Path) -> None:
    """Make sure that all in a folder is on the disk."""
    for root, _, files in os.walk(folder):
        for path in (Path(root) / name for name in files):
            if path.is_file() and not path.is_symlink():
                with contextlib.suppress(PermissionError):  # a file of others, taken over as it was
                    sync_file(path)
        sync_folder(Path(root))


def _put_in_place(new: Path, target: Path) -> None:
    """What was there goes only when it is on the disk that the new folder has its name."""
    if not target.exists():
        new.rename(target)
        sync_folder(target.parent)
    elif _exchange(new, target):
        sync_folder(target.parent)
        shutil.rmtree(new)
    else:
        # Without an exchange the place is empty for a moment; a build killed then is undone by the next (`_recover`).
        old = _beside(target, "old")
        _move_away(target, old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
        sync_folder(target.parent)
        # It is the new build that counts now: what cannot be removed yet is left to the next build.
        shutil.rmtree(old, ignore_errors=True)


def _move_away(folder: Path, old: Path) -> None:
    try:
        folder.rename(old)
    except PermissionError as error:
        raise BuildError(
            f"{folder} cannot be replaced: the system refuses to move it ({error.strerror}). A program may have"
            " one of its files open (on Windows a data set that was loaded from it does): close it and build again, or"
            " write elsewhere. What was there stays as it is."
        ) from error


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step (Linux: renameat2(2)). False where the system cannot."""
    if sys.platform != "linux":
        return False
    import ctypes

    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    return bool(renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def link_or_copy(earlier: Path, new: Path) -> None:
    """Give a file a second name, or where the file system cannot, a copy."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(earlier, new, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(earlier, new, follow_symlinks=False)


def _megabytes(number: int) -> str:
    return f"{number / 1e6:,.1f} MB"
