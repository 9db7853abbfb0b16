"""One process at a time at one place. The system drops the lock of a process that dies, however it dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hf_relabel.builders.errors import ConfigError


@contextmanager
def one_process(place: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of that name.

    Args:
        place: the lock's file; it is gone afterwards.
        busy: called where another process, or another thread, holds it. If it raises nothing, that one is waited for.

    Raises:
        ConfigError: the file cannot be made.
    """
    import filelock

    lock = filelock.FileLock(place, thread_local=False)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if filelock.has_fcntl:  # where the file may not be made, filelock would wait for ever
            place.open("ab").close()
    except OSError as error:
        raise ConfigError(f"{place.parent} cannot be written to ({error.strerror}). Choose another folder.") from error
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        busy()
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        with suppress(PermissionError):  # Windows removes no file that is open; it is used again then
            place.unlink(missing_ok=True)
        lock.release()
