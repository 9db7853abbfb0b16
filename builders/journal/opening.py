"""Opening the file of a journal: who may write to it, its tables brought up to date, what is wrong with other files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hf_relabel.builders.errors import ConfigError, JournalError
from hf_relabel.builders.journal.schema import APPLICATION_ID, MIGRATIONS, OF_EVERY_VERSION
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.spelling import argument

if TYPE_CHECKING:
    from filelock import FileLock

ANOTHER = f"choose another {argument('journal')}"
_CHECKPOINT_PAGES = 8_000
"""Pages of 4 KiB written ahead before they go to their places in the file, where a page that was written again and
again goes once. SQLite's 1,000 cost a tenth more."""
_NAMED = 3
"""So many tables of another program are named."""


def journal_file(given: str | Path) -> Path:
    """The place of a journal, once it is one of a file.

    Raises:
        ConfigError: nothing is named, or a folder.
    """
    path = Path(given)
    if not str(given).strip():
        raise ConfigError(f"The name of the journal is empty: {ANOTHER}, such as journal.sqlite.")
    if not path.name or path.is_dir():
        raise ConfigError(f"{given} is a folder, and a journal is a file: {ANOTHER}, such as journal.sqlite.")
    return path


def for_writing(path: Path) -> sqlite3.Connection:
    """An open database, made if missing.

    Raises:
        JournalError: it is another program's.
    """
    database = _connected(str(path))
    is_old(database, path)  # before anything is written to it
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    database.execute(f"PRAGMA journal_size_limit={2 * _CHECKPOINT_PAGES * 4096}")
    return database


def for_reading(path: Path, *, frozen: bool) -> sqlite3.Connection:
    """An open database that nothing is written to.

    Args:
        frozen: nobody else writes to it either.

    Raises:
        JournalError: there is none.
    """
    if not path.is_file():
        raise JournalError(f"There is no journal at {path}. Run `{program()} judge` first, or check the path.")
    mode = "mode=ro&immutable=1" if frozen else "mode=ro"
    return _connected(f"{path.resolve().as_uri()}?{mode}", uri=True)


def migrate(database: sqlite3.Connection, path: Path, *, write: bool) -> None:
    """Bring the tables to what this version knows.

    Raises:
        JournalError: a newer version wrote it, or an older one and it is open for reading.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise JournalError(
            f"{path} was written by a newer hf-relabel (schema {version}, this one knows {len(MIGRATIONS)})."
            " Upgrade hf-relabel."
        )
    if version == 0 and not write and _is_new(database):
        raise JournalError(f"{path} holds nothing yet. Run `{program()} judge` first.")
    if version < len(MIGRATIONS) and not write:
        raise JournalError(f"{path} has an older schema ({version}). Run `{program()} judge` on it once.")
    for number in range(version, len(MIGRATIONS)):
        with transaction(database):
            if _is_new(database):
                database.execute(f"PRAGMA application_id={APPLICATION_ID}")
            MIGRATIONS[number](database)
            database.execute(f"PRAGMA user_version={number + 1}")


def _connected(database: str, *, uri: bool = False) -> sqlite3.Connection:
    # In a notebook another thread writes than the one that opened the journal and runs a loop; never two at once.
    return sqlite3.connect(database, uri=uri, isolation_level=None, timeout=30, check_same_thread=False)


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All that is written meanwhile, or nothing of it."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _is_new(database: sqlite3.Connection) -> bool:
    """Whether the file is empty, and to become a journal."""
    return not _tables(database) and not _application_id(database)


def is_old(database: sqlite3.Connection, path: Path) -> bool:
    """Whether this is a journal of version 0.1, whose keys are old ones.

    Raises:
        JournalError: the file is another program's.
    """
    application_id, tables = _application_id(database), _tables(database)
    is_unmarked = application_id == 0 and (not tables or tables >= OF_EVERY_VERSION)
    if application_id != APPLICATION_ID and not is_unmarked:
        holds = ", ".join(sorted(tables)[:_NAMED]) or f"the mark {application_id:#x}"
        raise JournalError(f"{path} is an SQLite file of another program (it holds {holds}), not a journal: {ANOTHER}.")
    return is_unmarked and bool(tables)


def _application_id(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA application_id").fetchone()[0])


def _tables(database: sqlite3.Connection) -> set[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    return {str(name) for (name,) in database.execute(query)}


def explain(error: sqlite3.Error) -> str:
    text, name = str(error), getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_IOERR"):  # quotas and limits of size too, and no room for what SQLite keeps beside it
        return (
            f"the disk would not read or write it ({name}): it may be full, over a quota, or failing. Free some space"
            " and run the same command again: what was judged so far is kept."
        )
    if "full" in text:
        return "the disk is full. Free some space and run the same command again: what was judged so far is kept."
    if "readonly" in text or "unable to open" in text:
        return f"it cannot be written. Check the permissions of the file and its folder, or {ANOTHER}."
    if "locked" in text:
        return f"another process holds it. Wait for that process to end, or {ANOTHER}."
    if "not a database" in text or "malformed" in text:
        return f"this is not a journal, or it is damaged. Restore it from a copy, or {ANOTHER}."
    return f"SQLite says: {text}."


def lock_file(path: Path) -> Path:
    """Where the write lock of a journal is."""
    return path.with_name(path.name + ".lock")


def lock_for_writing(path: Path) -> FileLock:
    """Take the one write lock, held until released; the system drops it when the process dies, however it dies.

    Where the system has no such locks, filelock keeps a file that names the process.

    Raises:
        ConfigError: the folder of the journal is missing.
        JournalError: another process holds the lock, or the folder cannot be written to.
    """
    import filelock

    place = lock_file(path)
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent} for the journal. Make it, or {ANOTHER}.")
    # Not by thread: a journal may be closed by another than the one that opened it.
    lock = filelock.FileLock(place, thread_local=False)
    try:
        if (
            filelock.has_fcntl
        ):  # where it may not be made filelock only waits; the file of a softer lock is its own to make
            place.open("ab").close()
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise JournalError(
            f"{path}: another process is writing to it. Wait for that process to end, or {ANOTHER}."
        ) from error
    except OSError as error:
        raise JournalError(
            f"{path}: it cannot be written ({error.strerror}). Check the permissions of the folder, or {ANOTHER}."
        ) from error
    return lock
