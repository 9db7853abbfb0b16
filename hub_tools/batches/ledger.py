"""What a folder of batch files knows of itself: its files, where each stands, and what each request in them is about.

    batches/
      job.json                  what is judged, by whom, into which journal
      ledger.sqlite             this
      stage-1-001.jsonl         requests, for a service or for `vllm run-batch`
      stage-1-001.output.jsonl  what came back, as it came

The journal knows nothing of it: it holds answers, and a folder that is lost loses none.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from hf_relabel.builders.errors import ConfigError, JournalError
from hf_relabel.builders.journal.keys import KEY_BYTES, JudgeIdentity
from hf_relabel.builders.journal.opening import transaction

LEDGER = "ledger.sqlite"
JOB = "job.json"
FileState = Literal["written", "sent", "ended", "closed"]
"""Of a file: nobody has its requests; somebody has; nothing more will come of them, and it is not all read; done."""

_MOST_AT_ONCE = 900  # SQLite's oldest limit on bound values is 999
_SCHEMA = (
    "CREATE TABLE files (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, stage TEXT NOT NULL,"
    " member INTEGER NOT NULL, identity TEXT NOT NULL, requests INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " state TEXT NOT NULL, remote TEXT NOT NULL)",
    "CREATE TABLE asks (custom_id TEXT PRIMARY KEY, file INTEGER NOT NULL REFERENCES files(number),"
    " start INTEGER NOT NULL, length INTEGER NOT NULL, open INTEGER NOT NULL, about TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX asks_of_file ON asks (file, open)",
    "CREATE TABLE keys (key BLOB PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE limits (requests INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "CREATE TABLE errors (digest BLOB PRIMARY KEY) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Remote:
    """What a service calls a file and its batch, and what it last said of them.

    Attributes:
        creating: a batch was asked for, and no answer is known.
        status: in the service's words, in lower case.
        completed, failed: requests, by the service's count.
        message: why it failed.
    """

    file_id: str = ""
    batch_id: str = ""
    creating: bool = False
    status: str = ""
    completed: int = 0
    failed: int = 0
    output_file_id: str = ""
    error_file_id: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class BatchFile:
    """One file of requests.

    Attributes:
        member: which judge of the stage, counted from 0.
    """

    number: int
    name: str
    stage: str
    member: int
    identity: JudgeIdentity
    requests: int
    bytes: int
    state: FileState = "written"
    remote: Remote = Remote()

    @property
    def stem(self) -> str:
        return self.name.removesuffix(".jsonl")


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request is about: what is needed to read its reply without the row.

    Attributes:
        keys: of the candidates in the order shown, hex.
        docids: of those candidates.
        cut, ids: as of `Ask`, by place in that order.
    """

    custom_id: str
    query_id: str
    keys: tuple[str, ...]
    docids: tuple[str, ...]
    cut: tuple[int, ...] = ()
    ids: tuple[int, ...] = ()
    positives_left_out: int = 0
    constrained: bool = False
    top_logprobs: int = 0

    def key_bytes(self) -> list[bytes]:
        return [bytes.fromhex(key) for key in self.keys]


@dataclass(frozen=True, slots=True)
class Line:
    """A request in its file: where it is, and whether an answer is still waited for."""

    asked: Asked
    file: int
    start: int
    length: int
    is_open: bool


class Ledger:
    """The ledger of a folder, open. One process writes at a time; see `one_process`.

    Args:
        folder: of the batch files.
        make: whether a folder that is none yet becomes one.

    Raises:
        ConfigError: there is no such folder, or it is none of batch files.
        JournalError: the ledger cannot be read or written.
    """

    def __init__(self, folder: str | Path, *, make: bool = False) -> None:
        self.folder = Path(folder)
        path = self.folder / LEDGER
        if not make and not path.is_file():
            raise ConfigError(f"{self.folder} is no folder of batch files (it has no {LEDGER}). Export some first.")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.folder} cannot be made: {error.strerror}. Choose another folder.") from None
        with self._errors():
            self._database = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")  # a batch that is forgotten is paid for twice
            if not self._database.execute("PRAGMA user_version").fetchone()[0]:
                with transaction(self._database):
                    for statement in _SCHEMA:
                        self._database.execute(statement)
                    self._database.execute("PRAGMA user_version=1")

    # Files

    def files(self, *states: FileState) -> list[BatchFile]:
        """The files, oldest first; those in some states."""
        with self._errors():
            found = self._database.execute("SELECT * FROM files ORDER BY number").fetchall()
        return [file for row in found if (file := _file_of(row)).state in states or not states]

    def add_file(self, file: BatchFile, lines: Iterable[Line]) -> None:
        """Note a file that is written whole, with its requests: all of it or nothing."""
        with self._errors(), transaction(self._database):
            identity, remote = file.identity.to_json(), json.dumps(asdict(file.remote))
            values = (file.number, file.name, file.stage, file.member, identity, file.requests, file.bytes, file.state)
            self._database.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, remote))
            for line in lines:
                about = asdict(line.asked)
                custom_id = about.pop("custom_id")
                self._database.execute(
                    "INSERT OR REPLACE INTO asks VALUES (?, ?, ?, ?, 1, ?)",
                    (custom_id, line.file, line.start, line.length, json.dumps(about)),
                )
                keys = [(key,) for key in line.asked.key_bytes()]
                self._database.executemany("INSERT OR IGNORE INTO keys VALUES (?)", keys)

    def next_number(self) -> int:
        with self._errors():
            (last,) = self._database.execute("SELECT COALESCE(MAX(number), 0) FROM files").fetchone()
        return int(last) + 1

    def keep_limits(self, requests: int, size: int) -> None:
        """Remember how large files may be, for those that are written later."""
        with self._errors():
            self._database.execute("DELETE FROM limits")
            self._database.execute("INSERT INTO limits VALUES (?, ?)", (requests, size))

    def limits(self) -> tuple[int, int] | None:
        """How large files may be, in requests and bytes; None where it was never said."""
        with self._errors():
            found: tuple[int, int] | None = self._database.execute("SELECT * FROM limits").fetchone()
        return found

    def set_state(self, file: BatchFile, state: FileState, remote: Remote | None = None) -> None:
        """Note where a file stands, and what the service says of it. A file that is closed waits for no answer."""
        kept = json.dumps(asdict(file.remote if remote is None else remote))
        with self._errors(), transaction(self._database):
            query = "UPDATE files SET state = ?, remote = ? WHERE number = ?"
            self._database.execute(query, (state, kept, file.number))
            if state == "closed":
                open_ = "SELECT custom_id, about FROM asks WHERE file = ? AND open"
                for custom_id, about in self._database.execute(open_, (file.number,)).fetchall():
                    self._close(_asked_of(custom_id, about))

    # Requests

    def has_key(self, key: bytes) -> bool:
        """Whether an answer for that candidate is waited for."""
        with self._errors():
            return self._database.execute("SELECT 1 FROM keys WHERE key = ?", (key,)).fetchone() is not None

    def lines(self, custom_ids: Sequence[str]) -> dict[str, Line]:
        """Those requests that this folder knows."""
        found: dict[str, Line] = {}
        with self._errors():
            for start in range(0, len(custom_ids), _MOST_AT_ONCE):
                some = custom_ids[start : start + _MOST_AT_ONCE]
                query = f"SELECT * FROM asks WHERE custom_id IN ({','.join('?' * len(some))})"  # noqa: S608 - ours
                for custom_id, file, begin, length, is_open, about in self._database.execute(query, some):
                    found[custom_id] = Line(_asked_of(custom_id, about), file, begin, length, bool(is_open))
        return found

    def close_asks(self, asked: Iterable[Asked], errors: Iterable[bytes] = ()) -> None:
        """Wait for these no longer: they were answered, or must be asked again.

        Args:
            errors: digests of results that are errors, which are not to be read again.
        """
        with self._errors(), transaction(self._database):
            for one in asked:
                self._close(one)
            self._database.executemany("INSERT OR IGNORE INTO errors VALUES (?)", [(digest,) for digest in errors])

    def has_error(self, digest: bytes) -> bool:
        """Whether that error was read before."""
        with self._errors():
            return self._database.execute("SELECT 1 FROM errors WHERE digest = ?", (digest,)).fetchone() is not None

    def _close(self, asked: Asked) -> None:
        self._database.execute("UPDATE asks SET open = 0 WHERE custom_id = ?", (asked.custom_id,))
        self._database.executemany("DELETE FROM keys WHERE key = ?", [(key,) for key in asked.key_bytes()])

    def waiting(self, file: BatchFile | None = None) -> int:
        """Requests whose answer is still waited for, of one file or of all."""
        where, values = ("", ()) if file is None else (" AND file = ?", (file.number,))
        with self._errors():
            query = f"SELECT COUNT(*) FROM asks WHERE open{where}"  # noqa: S608 - ours
            return int(self._database.execute(query, values).fetchone()[0])

    # Life

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"{self.folder / LEDGER}: {error}") from error

    def close(self) -> None:
        with suppress(AttributeError, sqlite3.Error):
            self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class KeysAsked(set[bytes]):
    """Candidates that are not to be asked about: what this process is about to write, and what was written before."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (
            isinstance(key, bytes) and len(key) == KEY_BYTES and self._ledger.has_key(key)
        )


def _file_of(row: tuple[Any, ...]) -> BatchFile:
    number, name, stage, member, identity, requests, size, state, remote = row
    judge, said = JudgeIdentity(**json.loads(identity)), Remote(**json.loads(remote))
    return BatchFile(number, name, stage, member, judge, requests, size, state, said)


def _asked_of(custom_id: str, about: str) -> Asked:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(about).items()
    }
    return Asked(custom_id, **values)
