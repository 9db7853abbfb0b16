"""The journal: every judgement with the raw reply behind it, in one SQLite file.

A judgement is stored under a hash of everything that decides it (judge kind, model id and revision, prompt version,
wording, sampling settings, query, positives, candidate), so a run that starts again finds what it already knows, and a
changed prompt or model asks afresh. Each reply is one transaction in WAL mode: a process killed at any moment loses at
most the requests in flight. `unparsable` and `failed` are kept apart from the answers, so they can be listed and asked
again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.disk.atomic_file import sync_file
from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.errors import JournalError
from hf_relabel.builders.journal import answers, runs
from hf_relabel.builders.journal.keys import MAX_TOKENS, JudgeIdentity
from hf_relabel.builders.journal.opening import (
    explain,
    for_reading,
    for_writing,
    is_old,
    journal_file,
    lock_file,
    lock_for_writing,
    migrate,
    transaction,
)
from hf_relabel.builders.journal.runs import Run
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.rows import Row

if TYPE_CHECKING:
    from filelock import FileLock


class Journal:
    """An open journal. One process may write at a time; any number may read.

    Example:
            with Journal("journal.sqlite") as journal:
                judge("train.jsonl", "listwise", journal, endpoint="http://127.0.0.1:8080")
                print(journal.counts())

    Args:
        path: the SQLite file; made if missing when `write` is true.
        write: False opens it read-only.
        frozen: nobody writes to it while it is open, and all that was written is in the file itself (`checkpoint`): so
            that it can be read from other machines too, where SQLite cannot tell.

    Raises:
        ConfigError: the path is empty, or that of a folder.
        JournalError: the file is missing, read-only, in use by another writer, damaged, or from a newer version.
    """

    def __init__(self, path: str | Path, *, write: bool = True, frozen: bool = False) -> None:
        self.path = journal_file(path)
        self._lock: FileLock | None = None
        makes_lock = write and not lock_file(self.path).exists()
        if write:
            self._lock = lock_for_writing(self.path)
        try:
            with self._errors():
                self._database = for_writing(self.path) if write else for_reading(self.path, frozen=frozen)
                self.has_old_keys = is_old(self._database, self.path)
                migrate(self._database, self.path, write=write)
                # This is the only writer: where there is none now, there is none but those it writes itself.
                self._has_failures = bool(
                    self._database.execute("SELECT EXISTS (SELECT * FROM failures)").fetchone()[0]
                )
        except BaseException:
            if makes_lock:  # nothing of ours stays beside a file that is no journal
                with suppress(OSError):  # where the system does not let go of open files
                    lock_file(self.path).unlink()
            self.close()
            raise
        self._judges: dict[str, int] = {}
        self.used_run: int | None = None
        """The number of the run that everything is to read that is told of none; None to choose one by what it says of
        the source, see hf_relabel.builders.cascade.run_choice."""

    def judge_number(self, identity: JudgeIdentity) -> int:
        """The number of a judge in this journal, given on first use."""
        text = identity.to_json()
        if text not in self._judges:
            with self._errors():
                self._database.execute("INSERT OR IGNORE INTO judges (identity) VALUES (?)", (text,))
                found = self._database.execute("SELECT id FROM judges WHERE identity = ?", (text,)).fetchone()
            self._judges[text] = int(found[0])
        return self._judges[text]

    def judges(self) -> list[JudgeIdentity]:
        """The judges whose words are kept here, the newest first."""
        with self._errors():
            found = self._database.execute("SELECT identity FROM judges ORDER BY id DESC").fetchall()
        return [JudgeIdentity(**json.loads(text)) for (text,) in found]

    def known(
        self, judge: JudgeIdentity, asked: Sequence[tuple[Row, Sequence[int]]]
    ) -> list[tuple[dict[int, bytes], dict[int, Judgement]]]:
        """What a judge said of some candidates of some rows.

        Args:
            asked: rows with positions in their `negative_passages`.

        Returns:
            For each row the keys of those candidates, and what is known of them, both by position. A reply that could
            not be read is not known to who allows longer ones.
        """
        makers = [judge.keys(), *(judge.old_keys() if self.has_old_keys else ())]
        most = int(judge.settings.get(MAX_TOKENS) or 0)
        keys: list[dict[int, bytes]] = []
        said: list[dict[int, Judgement]] = [{} for _ in asked]
        for keys_of in makers:
            tried = []
            for (row, places), known in zip(asked, said, strict=True):
                left = [place for place in places if place not in known]
                tried.append(dict(zip(left, keys_of(row, left), strict=True)))
            keys = keys or tried
            found = self.look_up([key for of_row in tried for key in of_row.values()], max_tokens=most)
            for of_row, known in zip(tried, said, strict=True):
                known |= {place: found[key] for place, key in of_row.items() if key in found}
        return list(zip(keys, said, strict=True))

    def look_up(self, keys: Sequence[bytes], *, max_tokens: int = 0) -> dict[bytes, Judgement]:
        """What is known under these keys: answers, and failures where there is no answer.

        Args:
            max_tokens: leaves out failures of judges that allowed less.
        """
        with self._errors():
            return answers.looked_up(self._database, keys, max_tokens)

    def record(
        self,
        identity: JudgeIdentity,
        row: Row,
        keys: Mapping[int, bytes],
        judgements: Mapping[int, Judgement],
        reply: Reply | None = None,
    ) -> None:
        """Store what one reply said, in one transaction.

        Args:
            keys, judgements: by position in `row.negative_passages`.
            reply: the raw reply, kept compressed; None for judges without one and for requests that failed.
        """
        self.record_many(identity, [(row, keys, judgements)], reply)

    def record_many(
        self,
        identity: JudgeIdentity,
        items: Sequence[tuple[Row, Mapping[int, bytes], Mapping[int, Judgement]]],
        reply: Reply | None = None,
    ) -> None:
        """Store the judgements of several rows in one transaction."""
        judge = self.judge_number(identity)
        with self._errors(), transaction(self._database):
            number = answers.reply_written(self._database, judge, reply) if reply is not None else None
            self._write(identity, judge, [(*item, number) for item in items])

    def record_replies(
        self,
        identity: JudgeIdentity,
        items: Sequence[tuple[Row, Mapping[int, bytes], Mapping[int, Judgement], Reply]],
    ) -> None:
        """Store what several replies said, in one transaction."""
        judge = self.judge_number(identity)
        with self._errors(), transaction(self._database):
            numbered = [
                (row, keys, said, answers.reply_written(self._database, judge, reply))
                for row, keys, said, reply in items
            ]
            self._write(identity, judge, numbered)

    def _write(self, identity: JudgeIdentity, judge: int, items: Sequence[answers.Item]) -> None:
        failed = answers.written(self._database, judge, items)
        self._has_failures = self._has_failures or failed
        if self._has_failures:
            answers.failures_forgotten(self._database, identity.old_keys() if self.has_old_keys else (), items)

    def record_run(self, settings: Mapping[str, Any], *, complete: bool = True) -> None:
        """Remember the settings of a run, so that `build` knows which judgements to read.

        Args:
            complete: False while it is under way: it does not take the place of one that came to its end.
        """
        with self._errors(), transaction(self._database):
            runs.written(self._database, settings, complete=complete)

    def rename_run(self, begun: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """The run that is under way has other settings than it began with: its judges turned out to be others."""
        if begun != settings:
            with self._errors(), transaction(self._database):
                runs.forgotten(self._database, begun)
                runs.written(self._database, settings, complete=False)

    def runs(self, kind: str | None = None) -> list[Run]:
        """The runs over candidates, or of another kind, such as `suspects`: first those that came to their end, of
        these the newest first."""
        with self._errors():
            return runs.read(self._database, kind)

    def last_run(self) -> dict[str, Any]:
        """The settings of the newest run over candidates that came to its end; where there is none, of the newest.

        Raises:
            JournalError: nothing was judged into this journal yet.
        """
        return self._any_of(self.runs())[0].settings

    def newest_run(self, kind: str | None = None) -> Run:
        """The newest run over candidates, or of another kind, whether it came to its end or not: the one that was just
        made.

        Raises:
            JournalError: nothing was judged into this journal yet.
        """
        return max(self._any_of(self.runs(kind)), key=lambda run: run.number)

    def _any_of(self, found: list[Run]) -> list[Run]:
        if not found:
            raise JournalError(f"{self.path} holds no judging run yet. Run `{program()} judge` first.")
        return found

    def has_run(self, settings: Mapping[str, Any]) -> bool:
        """Whether a run with these settings was recorded."""
        with self._errors():
            return runs.known(self._database, settings)

    def counts(self, identity: JudgeIdentity | None = None) -> dict[Label, int]:
        """How many judgements of each label there are, of one judge or of all."""
        with self._errors():
            return answers.counted(self._database, identity)

    def failures(self) -> Iterator[answers.Failure]:
        """Every candidate that has no answer, with what went wrong."""
        with self._errors():
            yield from answers.failures(self._database)

    def usage(self) -> tuple[int, int]:
        """Prompt and completion tokens of all stored replies, where servers reported them."""
        with self._errors():
            return answers.usage(self._database)

    def replies(self) -> Iterator[str]:
        """The raw reply texts, oldest first. Untrusted."""
        with self._errors():
            yield from answers.replies(self._database)

    @contextmanager
    def attached(self, other: Path, name: str) -> Iterator[sqlite3.Connection]:
        """One transaction over the tables of this journal and, under a name, those of another that nobody writes to.

        For those who know the tables, such as hf_relabel.builders.journal.merging.
        """
        with self._errors():
            self._database.execute(f"ATTACH DATABASE ? AS {name}", (str(other),))
            try:
                with transaction(self._database):
                    yield self._database
            finally:
                self._database.execute(f"DETACH DATABASE {name}")
                self._has_failures = True

    def checkpoint(self) -> None:
        """Put everything that was written into the file itself, so that it can be read where only the file is.

        Raises:
            JournalError: another process has been reading for half a minute, and holds the file as it was.
        """
        with self._errors():
            is_held, *_ = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_held:
            raise JournalError(f"{self.path}: another process reads it. Wait for that process to end.")

    def put_on_disk(self) -> None:
        """Make sure that everything that was written outlasts a power cut, whoever reads meanwhile.

        SQLite waits for the disk where it moves what was written ahead into the file, not after each transaction.
        """
        with self._errors():
            _, ahead, moved = self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if moved < ahead:  # for a reader of the file as it was, some of it stays where it was written ahead
            sync_file(self.path.with_name(f"{self.path.name}-wal"))

    def discard_if_empty(self) -> None:
        """Delete the file if it holds no judgement. It is closed then."""
        with suppress(JournalError):
            if any(self.counts().values()):
                return
            self._database.close()
            for ending in ("", "-wal", "-shm", ".lock"):
                with suppress(OSError):  # of the lock, where the system does not let go of open files
                    Path(f"{self.path}{ending}").unlink()
            self.close()

    def close(self) -> None:
        """Close the file and give up the write lock. Safe to call twice."""
        database = getattr(self, "_database", None)
        if database is not None:
            database.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: {explain(error)}") from error


@contextmanager
def journal_for_judging(path: str | Path) -> Iterator[Journal]:
    """An open journal to judge into. One that was made here is removed again if the work fails before anything is
    judged: a journal that is there says that something was.

    Raises:
        JournalError: as `Journal`.
    """
    was_there = Path(path).exists()
    with Journal(path) as journal:
        try:
            yield journal
        except BaseException:
            if not was_there:
                journal.discard_if_empty()
            raise
