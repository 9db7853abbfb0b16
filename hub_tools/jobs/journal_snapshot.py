"""What is sent of a journal that a run writes to: a consistent copy of its database."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from hf_relabel.builders.errors import JobError


def snapshot(journal: Path, copy: Path) -> int:
    """A consistent copy of a journal that may be written to, and how many judgements it holds.

    Raises:
        JobError: it is no journal.
    """
    try:
        with (
            closing(sqlite3.connect(f"{journal.resolve().as_uri()}?mode=ro", uri=True, timeout=60)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            tables = {name for (name,) in target.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"answers", "failures"} <= tables:
                return 0
            (count,) = target.execute(
                "SELECT (SELECT COUNT(*) FROM answers) + (SELECT COUNT(*) FROM failures)"
            ).fetchone()
            return int(count)
    except sqlite3.Error as error:
        raise JobError(f"{journal.name}: the journal cannot be copied ({error}).") from error


def digest_of(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def send_changed(path: Path, saved: str | None, send: Callable[[Path, str], None]) -> tuple[int, str] | None:
    """Send a copy of a journal as it is now, written to or not.

    Args:
        saved: digest of what was sent last; None where nothing was.
        send: is given the copy, which is gone afterwards, and its digest.

    Returns:
        How many judgements it holds, and its digest; None where nothing is new, or there is no journal.
    """
    if not path.is_file():
        return None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "journal.sqlite")
        judgements = snapshot(path, copy)
        digest = digest_of(copy)
        if digest == saved:
            return None
        send(copy, digest)
    return judgements, digest
