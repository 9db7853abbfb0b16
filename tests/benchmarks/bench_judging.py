"""What the whole path of a judgement costs: look it up, render, send, parse, write down.

    python -m tests.benchmarks.bench_judging [--rows 120000] [--full] [--json]

A server in a process of its own answers at once, in TGI's form, with one fixed reply; prompts have 12 KB, 64 requests
are in flight. Rows are made before the clock starts. Requests per second of CPU time of the client's process (one core)
are shown, next to those of a bare aiohttp loop that sends the same prompts and does nothing with the answers; both take
turns. All rounds of ours go into one journal. Memory is the client's, from the second tenth of the requests on; with
fewer than 100,000 caches still fill by then. Disk is that of the journal without the raw replies. `--full` makes it a
million requests.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.formats import FORMATS
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stage_report import StageReport
from hf_relabel.hub_tools.judging.stages import Stage
from tests.benchmarks.measuring import Figure, called, emit, median_ratio, parser_of, tree_mb

CANDIDATES = 16
PASSAGE_CHARACTERS = 700
IN_FLIGHT = 64
FULL = 1_000_000
SAMPLED_EVERY = 500
MOST_AT_ONCE = 4_000
LETTERS = "eeeeeetttttaaaaooooiiiinnnnssshhhrrrdddlllccuummwwffggyyppbbvk"
"""About as often as in English: how alike two passages look decides what comparing them costs."""
_INFO = {"model_id": "bench/model", "model_sha": "0" * 40, "max_concurrent_requests": 128, "version": "3.3.5"}


def answer(better: Sequence[int] = (3,)) -> bytes:
    """TGI's answer to a listwise prompt."""
    thinking = "\n".join(f"[{number}] says nothing of the question" for number in range(1, CANDIDATES + 1))
    text = json.dumps({"thinking": thinking, "better": list(better), "worse": []})
    details = {"finish_reason": "eos_token", "generated_tokens": 180, "prefill": [], "tokens": []}
    return json.dumps({"generated_text": text, "details": details}).encode()


class FixedServer(asyncio.Protocol):
    """Answers every request of a connection as soon as its body is whole, with the next of its replies."""

    replies: dict[bytes, Iterator[bytes]]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end])
            found = head.lower().find(b"content-length:")
            length = int(head[found + 15 :].split(b"\r\n", 1)[0]) if found >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            del self.buffer[: end + 4 + length]
            kind = b"GET" if head.startswith(b"GET") else b"POST"
            self.transport.write(next(self.replies[kind]))


def serve(pipe: Connection, answers: Sequence[bytes]) -> None:
    """Give the answers in turn, until something comes through the pipe, which gets the port."""

    def reply(body: bytes) -> bytes:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-prompt-tokens: 3000\r\nContent-Length: "
        return head + str(len(body)).encode() + b"\r\n\r\n" + body

    info = json.dumps(_INFO).encode()
    FixedServer.replies = {b"GET": cycle([reply(info)]), b"POST": cycle([reply(answer) for answer in answers])}

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(FixedServer, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


@contextmanager
def server(*answers: bytes) -> Iterator[str]:
    """The address of a server in a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, answers), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        here.send(None)
        process.join(5)
        process.kill()


@dataclass
class Rows(Source):
    """Rows that are made as they are read, each with texts of its own."""

    count: int = 0
    first: int = 0
    """The texts are those of rows numbered from here."""

    def rows(self) -> Iterator[NumberedRow]:
        chance = random.Random(0)
        words = ["".join(chance.choices(LETTERS, k=chance.randint(2, 11))) for _ in range(5_000)]
        texts = [" ".join(chance.choices(words, k=200))[:PASSAGE_CHARACTERS] for _ in range(500)]
        for number in range(self.first, self.first + self.count):
            negatives = tuple(
                Passage(f"d{number}-{place}", "", f"{number} {texts[(number * 7 + place) % 400]}")
                for place in range(CANDIDATES)
            )
            positive = Passage(f"p{number}", "", f"The answer is {number} {texts[number % 97 + 400]}")
            yield NumberedRow(
                number - self.first, Row(f"q{number}", f"what is {number}", (positive,), negatives, "bench")
            )

    def record(self) -> dict[str, Any]:
        return {"name": "bench", "rows": self.count}


@dataclass
class Round:
    """What some rows took. `memory` has (requests done, MB) every so often."""

    cpu_seconds: float
    seconds: float
    memory: list[tuple[int, float]]


def judged(url: str, rows: Rows, journal: Journal) -> Round:
    """Judge some rows by one request each."""
    memory: list[tuple[int, float]] = []

    def progress(report: StageReport) -> None:
        done = report.requests + rows.first
        if not memory or done - memory[-1][0] >= SAMPLED_EVERY:
            memory.append((done, tree_mb(os.getpid())))

    endpoint = make_endpoint(url, dialect="tgi", chat_template="plain")
    stage = Stage("bench", ListwiseJudge(), Rule(), (endpoint,), Limits(concurrency=IN_FLIGHT))
    begin, cpu = time.perf_counter(), time.process_time()
    (report,) = judge(rows, [stage], journal, progress=progress)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - begin
    if report.asked != rows.count * CANDIDATES:
        raise SystemExit(f"{rows.count * CANDIDATES - report.asked} judgements were lost")
    return Round(cpu, seconds, memory)


@dataclass
class Made(Rows):
    """The same, all made before they are read."""

    def __post_init__(self) -> None:
        self.made = list(super().rows())

    def rows(self) -> Iterator[NumberedRow]:
        return iter(self.made)


def part(first: int, count: int) -> Made:
    return Made("bench", (), next(iter(FORMATS)), count=count, first=first)


async def _bare(url: str, rows: Rows) -> None:
    import aiohttp

    texts = iter(rows.rows())

    async def worker(session: aiohttp.ClientSession) -> None:
        for numbered in texts:
            prompt = "\n\n".join(passage.text for passage in numbered.row.negative_passages)
            async with session.post(f"{url}/generate", json={"inputs": prompt}) as response:
                await response.json()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(worker(session) for _ in range(IN_FLIGHT)))


def bare(url: str, rows: Rows) -> float:
    """Seconds of CPU time."""
    cpu = time.process_time()
    asyncio.run(_bare(url, rows))
    return time.process_time() - cpu


def run(url: str, rows: int, folder: str) -> dict[str, Any]:
    """Ours and the bare loop in turns."""
    rounds = max(5, rows // MOST_AT_ONCE)
    size = rows // rounds
    path = Path(folder) / "journal.sqlite"
    ours: list[Round] = []
    other: list[float] = []
    with Journal(path) as journal:
        judged(url, part(rows, 200), journal)  # so that what is imported and compiled once is not counted
        bare(url, part(0, 200))
        for number in range(rounds):
            some = part(number * size, size)
            if number % 2:
                other.append(bare(url, some))
            ours.append(judged(url, some, journal))
            if not number % 2:
                other.append(bare(url, some))
    with sqlite3.connect(path) as database:
        (raw,) = database.execute("SELECT SUM(LENGTH(body)) FROM replies").fetchone()
    return {
        "rows": size * rounds,
        "cpu": [each.cpu_seconds for each in ours],
        "seconds": [each.seconds for each in ours],
        "bare": other,
        "memory": [sample for each in ours for sample in each.memory],
        "disk": (path.stat().st_size - raw) / ((size * rounds + 200) * CANDIDATES),
    }


def growth(memory: Sequence[tuple[int, float]]) -> float:
    """MB per 100,000 requests: the slope of the least-squares line, without the first tenth, in which caches fill."""
    import numpy as np

    kept = [sample for sample in memory if sample[0] >= memory[-1][0] / 10]
    requests, megabytes = zip(*kept, strict=True)
    return float(np.polyfit(requests, megabytes, 1)[0]) * 100_000


def figures(rows: int) -> Iterator[Figure]:
    with server(answer()) as url, tempfile.TemporaryDirectory() as folder:
        done = called(run, url, rows, folder)
    found = done.result
    count, size = found["rows"], f"{found['rows']:,} requests of 12 KB, {IN_FLIGHT} in flight"
    yield Figure(
        "requests, whole path",
        count / sum(found["cpu"]),
        "/s of one core",
        size,
        beside=f"bare aiohttp {count / sum(found['bare']):,.0f} /s",
        ratio=median_ratio(found["bare"], found["cpu"]),
        target=">= 1500",
        peak_mb=done.peak_mb,
        note=f"{count / sum(found['seconds']):,.0f} /s by the clock, with the server on the same machine",
    )
    yield Figure("disk per judgement, besides the replies", found["disk"], "bytes", size, target="<= 2048")
    yield Figure(
        "growth of memory",
        growth(found["memory"]),
        "MB per 100,000 requests",
        size,
        target="<= 1",
        note=f"{found['memory'][0][1]:.0f} MB at the start, {found['memory'][-1][1]:.0f} MB at the end",
    )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=120_000, help="one request each")
    parser.add_argument("--full", action="store_true", help=f"{FULL:,} rows")
    options = parser.parse_args()
    found = figures(FULL if options.full else options.rows)
    emit("judging", list(found), as_json=options.json)


if __name__ == "__main__":
    main()
