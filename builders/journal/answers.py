"""The tables of the journal that hold what judges said: replies, answers, and failures where there is no answer.

Each function works on an open database, within the transaction of its caller, see hf_relabel.builders.journal.store.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.journal.keys import JudgeIdentity, KeysOf, storable
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.rows import Row

_LABEL_CODES = {Label.BETTER: 0, Label.WORSE: 1, Label.IRRELEVANT: 2, Label.UNPARSABLE: 3, Label.FAILED: 4}
_LABELS = {code: label for label, code in _LABEL_CODES.items()}
_MOST_KEYS_PER_QUERY = 900  # SQLite's oldest limit on bound values is 999
_REPLIES_AT_ONCE = 256

_COLUMNS = "key, judge, label, score, rationale, prompt_tokens, completion_tokens, reply, place, cut"
_INSERT_ANSWER = f"INSERT OR IGNORE INTO answers ({_COLUMNS}) VALUES ({', '.join('?' * 10)})"  # noqa: S608
_INSERT_FAILURE = f"INSERT OR REPLACE INTO failures ({_COLUMNS}, query_id, docid) VALUES ({', '.join('?' * 12)})"  # noqa: S608

Item = tuple[Row, Mapping[int, bytes], Mapping[int, Judgement], int | None]
"""A row, the keys and judgements of candidates by position, and the number of the reply that said it, if any."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One candidate that a judge could not answer for."""

    query_id: str
    docid: str
    label: Label
    message: str


def looked_up(database: sqlite3.Connection, keys: Sequence[bytes], max_tokens: int) -> dict[bytes, Judgement]:
    """What is known under these keys: answers, and failures (of judges that allowed as much) where there is none."""
    found: dict[bytes, Judgement] = {}
    _look_up(database, "answers", keys, found)
    allowed = "COALESCE(json_extract(identity, '$.settings.max_tokens'), 0)"
    table = f"failures JOIN judges ON judges.id = judge AND {allowed} >= {max_tokens:d}"
    _look_up(database, table, [key for key in keys if key not in found], found)
    return found


def _look_up(database: sqlite3.Connection, table: str, keys: Sequence[bytes], found: dict[bytes, Judgement]) -> None:
    columns = "key, label, score, rationale, prompt_tokens, completion_tokens, place, cut, reply"
    for start in range(0, len(keys), _MOST_KEYS_PER_QUERY):
        part = keys[start : start + _MOST_KEYS_PER_QUERY]
        query = f"SELECT {columns} FROM {table} WHERE key IN ({','.join('?' * len(part))})"  # noqa: S608 - all ours
        for key, label, score, rationale, prompt, completion, place, cut, reply in database.execute(query, part):
            found[key] = Judgement(_LABELS[label], score, rationale, prompt, completion, place, bool(cut), reply)


def reply_written(database: sqlite3.Connection, judge: int, reply: Reply) -> int | None:
    """Keep a raw reply, compressed. Gives its number."""
    body = zlib.compress(reply.text.encode("utf-8", "surrogatepass"), 6)
    cursor = database.execute(
        "INSERT INTO replies (judge, body, finish_reason, endpoint, prompt_tokens, completion_tokens)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (judge, body, reply.finish_reason, reply.endpoint, reply.prompt_tokens, reply.completion_tokens),
    )
    return cursor.lastrowid


def written(database: sqlite3.Connection, judge: int, items: Sequence[Item]) -> bool:
    """Keep judgements. True where one of them is no answer."""
    answers: list[tuple[Any, ...]] = []
    failures: list[tuple[Any, ...]] = []
    for row, keys, judgements, reply in items:
        for position, judgement in judgements.items():
            record = (
                keys[position],
                judge,
                _LABEL_CODES[judgement.label],
                judgement.score,
                storable(judgement.rationale),
                judgement.prompt_tokens,
                judgement.completion_tokens,
                reply,
                judgement.place,
                judgement.cut,
            )
            if judgement.label.is_answer:
                answers.append(record)
            else:
                failures.append((*record, row.query_id, row.negative_passages[position].docid))
    database.executemany(_INSERT_FAILURE, failures)
    database.executemany(_INSERT_ANSWER, answers)
    return bool(failures)


def failures_forgotten(database: sqlite3.Connection, old_makers: Sequence[KeysOf], items: Sequence[Item]) -> None:
    """Where there is an answer now, the failure before it goes: under its key and those that older versions made."""
    forgotten: list[bytes] = []
    for row, keys, said, _ in items:
        answered = [keys[position] for position, judgement in said.items() if judgement.label.is_answer]
        forgotten += [*answered, *(key for keys_of in old_makers for key in keys_of(row, list(said)))]
    database.executemany("DELETE FROM failures WHERE key = ?", [(key,) for key in forgotten])


def counted(database: sqlite3.Connection, identity: JudgeIdentity | None) -> dict[Label, int]:
    """How many judgements of each label there are, of one judge or of all."""
    where = "" if identity is None else " WHERE judge = (SELECT id FROM judges WHERE identity = ?)"
    values = () if identity is None else (identity.to_json(),)
    totals = dict.fromkeys(Label, 0)
    for table in ("answers", "failures"):
        query = f"SELECT label, COUNT(*) FROM {table}{where} GROUP BY label"  # noqa: S608 - ours
        for label, number in database.execute(query, values):
            totals[_LABELS[label]] += number
    return totals


def failures(database: sqlite3.Connection) -> Iterator[Failure]:
    """Every candidate that has no answer."""
    query = "SELECT query_id, docid, label, rationale FROM failures ORDER BY query_id, docid"
    for query_id, docid, label, message in database.execute(query):
        yield Failure(query_id, docid, _LABELS[label], message)


def usage(database: sqlite3.Connection) -> tuple[int, int]:
    """Prompt and completion tokens of all replies, where servers reported them."""
    query = "SELECT COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0) FROM replies"
    prompt_tokens, completion_tokens = database.execute(query).fetchone()
    return int(prompt_tokens), int(completion_tokens)


def replies(database: sqlite3.Connection) -> Iterator[str]:
    """The raw reply texts, oldest first. Untrusted."""
    query = f"SELECT id, body FROM replies WHERE id > ? ORDER BY id LIMIT {_REPLIES_AT_ONCE}"  # noqa: S608 - ours
    last = 0
    # A query that stays open would keep the writer from clearing what it wrote ahead, which then grows.
    while some := database.execute(query, (last,)).fetchall():
        for _, body in some:
            yield zlib.decompress(body).decode("utf-8", "surrogatepass")
        last = some[-1][0]
