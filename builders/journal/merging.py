"""Journals of parts of a source become one.

Each part is taken over in one transaction, and its file removed when that is on the disk: nothing is lost when the
process is killed or the machine loses its power. Taking a part over again changes nothing. What is known already stays:
an answer is never replaced, and a failure gives way to an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement

# A failure that is there already, with the very reply that is there already, is the same one: it was taken over before.
_NEW_FAILURES = """
    CREATE TEMP TABLE new_failures AS
    SELECT part.key FROM {part}.failures AS part
    WHERE part.key NOT IN (SELECT key FROM main.answers) AND NOT EXISTS (
        SELECT * FROM main.failures AS own
        LEFT JOIN main.replies AS own_reply ON own_reply.id = own.reply
        LEFT JOIN {part}.replies AS part_reply ON part_reply.id = part.reply
        WHERE own.key = part.key AND own.label = part.label AND own.rationale = part.rationale
            AND own_reply.body IS part_reply.body
    )
"""
_NEW_ANSWERS = """
    CREATE TEMP TABLE new_answers AS
    SELECT key FROM {part}.answers WHERE key NOT IN (SELECT key FROM main.answers)
"""
_JUDGES = """
    INSERT OR IGNORE INTO main.judges (identity) SELECT identity FROM {part}.judges ORDER BY id
"""
_JUDGE_NUMBERS = """
    CREATE TEMP TABLE judge_numbers AS
    SELECT part.id AS old, own.id AS new FROM {part}.judges AS part JOIN main.judges AS own USING (identity)
"""
_REPLY_NUMBERS = """
    CREATE TEMP TABLE reply_numbers AS
    SELECT reply AS old, (SELECT COALESCE(MAX(id), 0) FROM main.replies) + ROW_NUMBER() OVER (ORDER BY reply) AS new
    FROM (
        SELECT reply FROM {part}.answers WHERE key IN (SELECT key FROM new_answers)
        UNION SELECT reply FROM {part}.failures WHERE key IN (SELECT key FROM new_failures)
    ) WHERE reply IS NOT NULL
"""
_REPLIES = """
    INSERT INTO main.replies (id, judge, body, finish_reason, endpoint, prompt_tokens, completion_tokens)
    SELECT numbers.new, judge_numbers.new, body, finish_reason, endpoint, prompt_tokens, completion_tokens
    FROM {part}.replies AS part JOIN reply_numbers AS numbers ON numbers.old = part.id
    JOIN judge_numbers ON judge_numbers.old = part.judge ORDER BY numbers.new
"""
_SAID = "label, score, rationale, prompt_tokens, completion_tokens, {reply}, place, cut"
_ENTRIES = """
    INSERT OR REPLACE INTO main.{table} (key, judge, {said}{more})
    SELECT key, judge_numbers.new, {said_there}{more} FROM {part}.{table} AS part
    JOIN judge_numbers ON judge_numbers.old = part.judge
    LEFT JOIN reply_numbers AS numbers ON numbers.old = part.reply
    WHERE key IN (SELECT key FROM new_{table}) ORDER BY key
"""
_PART = "part_journal"


class PartJournal(Journal):
    """The journal of a part of a source, which also knows what another journal knows.

    Args:
        path: as for `Journal`.
        whole: what is looked up where this one says nothing. It is closed with this one.
    """

    def __init__(self, path: str | Path, whole: Journal) -> None:
        self._whole = whole
        super().__init__(path)
        self.has_old_keys = self.has_old_keys or whole.has_old_keys

    def look_up(self, keys: Sequence[bytes], *, max_tokens: int = 0) -> dict[bytes, Judgement]:
        found = super().look_up(keys, max_tokens=max_tokens)
        left = [key for key in keys if key not in found]
        return self._whole.look_up(left, max_tokens=max_tokens) | found if left else found

    def close(self) -> None:
        super().close()
        self._whole.close()


def merge_journals(target: Journal, parts: Iterable[Path], *, progress: Callable[[int], None] | None = None) -> None:
    """Take the judgements and replies of some journals over, in order, and remove their files. Runs are left out.

    Args:
        target: open for writing.
        parts: those that do not exist are passed over.
        progress: called with the number of parts done.

    Raises:
        JournalError: one of them is in use, damaged, or cannot be written. Those before it are done.
    """
    for done, path in enumerate(parts, start=1):
        if path.exists():
            # Brings it up to date, and makes sure that nobody writes to it.
            with Journal(path) as part:
                part.checkpoint()
                take_over(target, path)
            target.put_on_disk()
        remove_journal(path)
        if progress is not None:
            progress(done)


def take_over(target: Journal, path: Path) -> None:
    """Take the judgements and replies of a journal over, in one transaction. Done again, it changes nothing.

    Args:
        path: a journal of the same version that nobody writes to.

    Raises:
        JournalError: it cannot be read, or the target cannot be written.
    """
    with target.attached(path, _PART) as database:
        made = ("new_answers", "new_failures", "judge_numbers", "reply_numbers")
        for name in made:
            database.execute(f"DROP TABLE IF EXISTS temp.{name}")
        for statement in (_JUDGES, _JUDGE_NUMBERS, _NEW_ANSWERS, _NEW_FAILURES, _REPLY_NUMBERS, _REPLIES):
            database.execute(statement.format(part=_PART))
        for table, more in (("answers", ""), ("failures", ", query_id, docid")):
            said, said_there = (_SAID.format(reply=reply) for reply in ("reply", "numbers.new"))
            names = {"part": _PART, "table": table, "more": more, "said": said, "said_there": said_there}
            database.execute(_ENTRIES.format(**names))
        database.execute("DELETE FROM main.failures WHERE key IN (SELECT key FROM new_answers)")
        for name in made:
            database.execute(f"DROP TABLE temp.{name}")


def remove_journal(path: Path) -> None:
    """Remove a journal that nobody has open, with what SQLite and the lock left beside it."""
    for suffix in ("", "-wal", "-shm", ".lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
