"""Writing judgements down and finding them again, next to bare sqlite3 with the same schema.

    python -m tests.benchmarks.bench_journal [--judgements 1000000] [--json]

Replies hold 16 judgements with a line of reasoning each, as a listwise judge's do; 16 replies go into one transaction,
which is what a turn of the judging loop brings at 64 in flight. Bare sqlite3 has the journal's tables and pragmas and
one `executemany` per table and transaction; its rows are made, and its replies compressed, before the clock starts.
Both are filled in turns, chunk by chunk. A look-up asks for the 16 keys of a row drawn from all that is there.
"""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.schema import MIGRATIONS
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.rows import Passage, Row
from tests.benchmarks.measuring import Figure, called, emit, median_ratio, parser_of, tree_mb

PER_REPLY = 16
REPLIES_PER_TRANSACTION = 16
LOOK_UPS = 2_000
CHECKPOINT_PAGES = 8_000
"""As the journal has it."""
LABELS = {Label.BETTER: 0, Label.IRRELEVANT: 2}
EARLY = 100_000
"""Judgements after which look-ups are measured for the first time."""
JUDGE = JudgeIdentity("listwise", "bench/model", "0" * 40, {"temperature": 0.1})
_KEYS = JUDGE.keys()
_NEGATIVES = tuple(Passage(f"d{place}", "", f"text {place}") for place in range(PER_REPLY))
_WORDS = [f"reason{number}" for number in range(300)]

Item = tuple[Row, dict[int, bytes], dict[int, Judgement], Reply]


def row_of(reply: int) -> Row:
    return Row(f"q{reply}", f"question {reply}", (), _NEGATIVES, "bench")


def keys_of(row: Row) -> list[bytes]:
    return _KEYS(row, range(PER_REPLY))


def items(replies: range) -> list[Item]:
    """What the judge would hand to the journal."""
    chance = random.Random(replies.start)
    made = []
    for reply in replies:
        lines = [" ".join(chance.choices(_WORDS, k=8)) for _ in range(PER_REPLY)]
        text = "\n".join(f"[{place + 1}] {line}" for place, line in enumerate(lines))
        judgements = {
            place: Judgement(chance.choice([Label.BETTER, Label.IRRELEVANT]), None, line, 190.0, 11.5, place + 1)
            for place, line in enumerate(lines)
        }
        row = row_of(reply)
        raw = Reply(text, prompt_tokens=3000, completion_tokens=180, endpoint="http://127.0.0.1:8080")
        made.append((row, dict(enumerate(keys_of(row))), judgements, raw))
    return made


class Bare:
    """sqlite3 with the journal's tables."""

    def __init__(self, path: Path) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=NORMAL")
        self.database.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        for migration in MIGRATIONS:
            migration(self.database)
        self.database.execute("INSERT INTO judges VALUES (1, ?)", (JUDGE.to_json(),))

    def rows(self, part: Sequence[Item], first: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        replies, answers = [], []
        for number, (_, keys, judgements, reply) in enumerate(part, start=first):
            replies.append((number, 1, zlib.compress(reply.text.encode(), 6), "stop", reply.endpoint, 3000, 180))
            answers += [
                (keys[place], 1, LABELS[said.label], None, said.rationale, 190.0, 11.5, number, said.place, 0)
                for place, said in judgements.items()
            ]
        return replies, answers

    def write(self, replies: Iterable[tuple[Any, ...]], answers: Iterable[tuple[Any, ...]]) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany("INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)", replies)
        self.database.executemany(f"INSERT OR IGNORE INTO answers VALUES ({', '.join('?' * 10)})", answers)
        self.database.execute("COMMIT")

    def look_up(self, keys: Sequence[bytes]) -> list[Any]:
        marks = ",".join("?" * len(keys))
        return self.database.execute(f"SELECT * FROM answers WHERE key IN ({marks})", keys).fetchall()


def microseconds(look_up: Callable[[Sequence[bytes]], Any], replies: int) -> float:
    """The median over look-ups of one row's keys. All of them must be there."""
    chance = random.Random(replies)
    times = []
    for _ in range(LOOK_UPS):
        wanted = keys_of(row_of(chance.randrange(replies)))
        begin = time.perf_counter()
        found = look_up(wanted)
        times.append(time.perf_counter() - begin)
        if len(found) != PER_REPLY:
            raise SystemExit(f"{PER_REPLY - len(found)} judgements were lost")
    return statistics.median(times) * 1e6


def run(folder: str, judgements: int, chunks: int) -> dict[str, Any]:
    """Fill both in turns. Times are seconds per chunk, memory is of this process after each chunk, in MB."""
    replies = judgements // PER_REPLY
    step = max(REPLIES_PER_TRANSACTION, replies // chunks)
    ours_path = Path(folder) / "journal.sqlite"
    bare = Bare(Path(folder) / "bare.sqlite")
    ours_times: list[float] = []
    bare_times: list[float] = []
    memory: list[float] = []
    look_ups: dict[str, tuple[float, float]] = {}
    with Journal(ours_path) as journal:
        for chunk, start in enumerate(range(0, replies - replies % step, step)):
            taken = [0.0, 0.0]
            for first in range(start, start + step, REPLIES_PER_TRANSACTION):
                part = items(range(first, min(first + REPLIES_PER_TRANSACTION, start + step)))
                plain = bare.rows(part, first + 1)
                for side in (0, 1) if chunk % 2 == 0 else (1, 0):
                    begin = time.perf_counter()
                    if side == 0:
                        journal.record_replies(JUDGE, part)
                    else:
                        bare.write(*plain)
                    taken[side] += time.perf_counter() - begin
            ours_times.append(taken[0])
            bare_times.append(taken[1])
            memory.append(tree_mb(os.getpid()))
            done = start + step
            if "early" not in look_ups and done * PER_REPLY >= min(EARLY, judgements // 2):
                look_ups["early"] = (microseconds(journal.look_up, done), microseconds(bare.look_up, done))
                look_ups["early_count"] = (done * PER_REPLY, done * PER_REPLY)
        look_ups["late"] = (microseconds(journal.look_up, done), microseconds(bare.look_up, done))
        written = sum(journal.counts().values())
    bare.database.close()
    if written != done * PER_REPLY:
        raise SystemExit(f"{done * PER_REPLY - written} judgements were lost")
    with sqlite3.connect(ours_path) as database:
        (raw,) = database.execute("SELECT SUM(LENGTH(body)) FROM replies").fetchone()
    return {
        "judgements": written,
        "per_chunk": step * PER_REPLY,
        "ours": ours_times,
        "bare": bare_times,
        "memory": memory,
        "look_ups": look_ups,
        "disk": (ours_path.stat().st_size - raw) / written,
        "raw": raw / written,
    }


def figures(judgements: int, chunks: int) -> tuple[list[Figure], dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        made = called(run, folder, judgements, chunks)
    found = made.result
    size, count = f"{found['judgements']:,} judgements", found["judgements"]
    tenth = max(1, len(found["ours"]) // 10)
    first, last = sum(found["ours"][:tenth]), sum(found["ours"][-tenth:])
    early, late = found["look_ups"]["early"], found["look_ups"]["late"]
    growth = found["memory"][-1] - found["memory"][len(found["memory"]) // 10]
    lines = [
        Figure(
            "judgements written",
            count / sum(found["ours"]),
            "/s",
            size,
            beside=f"sqlite3 executemany {count / sum(found['bare']):,.0f} /s",
            ratio=1 / median_ratio(found["ours"], found["bare"]),
            peak_mb=made.peak_mb,
            note="ours compresses the replies as well",
        ),
        Figure(
            "writing the last tenth",
            tenth * found["per_chunk"] / last,
            "/s",
            size,
            beside=f"the first tenth {tenth * found['per_chunk'] / first:,.0f} /s",
            ratio=first / last,
            note=f"bare sqlite3: {sum(found['bare'][:tenth]) / sum(found['bare'][-tenth:]):.2f}",
        ),
        Figure(
            f"look-up of {PER_REPLY}",
            late[0],
            "us",
            size,
            beside=f"sqlite3 {late[1]:.0f} us",
            ratio=late[0] / late[1],
        ),
        Figure(
            f"look-up of {PER_REPLY}, growth",
            late[0],
            "us",
            size,
            beside=f"at {found['look_ups']['early_count'][0]:,} judgements {early[0]:.0f} us",
            ratio=late[0] / early[0],
            note=f"bare sqlite3: {late[1] / early[1]:.2f}",
        ),
        Figure(
            "disk besides the raw replies",
            found["disk"],
            "bytes per judgement",
            size,
            beside=f"raw replies {found['raw']:.0f} bytes",
            target="<= 2,048",
        ),
        Figure(
            "memory after the first tenth, growth",
            growth,
            "MB",
            size,
            beside=f"{found['memory'][len(found['memory']) // 10]:.0f} MB",
            ratio=found["memory"][-1] / found["memory"][len(found["memory"]) // 10],
        ),
    ]
    return lines, found


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--judgements", type=int, default=1_000_000)
    parser.add_argument("--chunks", type=int, default=20, help="turns that the two sides take")
    options = parser.parse_args()
    lines, found = figures(options.judgements, options.chunks)
    emit("journal", lines, as_json=options.json, chunks={name: found[name] for name in ("ours", "bare", "memory")})


if __name__ == "__main__":
    main()
