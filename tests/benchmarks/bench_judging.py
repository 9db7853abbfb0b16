"""What the whole path of a judgement costs: read a row, render, send, parse, write down.

    python -m tests.benchmarks.bench_judging [--rows 4000] [--json]

A server in a process of its own answers at once, in TGI's form, with one fixed reply; prompts have 12 KB, 64 requests
are in flight. Requests per second of CPU time of the client's process (one core) are shown, next to those of a bare
aiohttp loop that sends the same prompts and does nothing with the answers. Peak memory is the client's. Disk is that of
the journal without the raw replies.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hf_relabel.builders.cascade import Rule
from hf_relabel.builders.journal import Journal
from hf_relabel.builders.judges.listwise import ListwiseJudge
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.formats import FORMATS
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.scheduler import Limits
from hf_relabel.hub_tools.judging import Stage, judge

CANDIDATES = 16
PASSAGE_CHARACTERS = 700
IN_FLIGHT = 64
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

    def rows(self) -> Iterator[NumberedRow]:
        chance = random.Random(0)
        words = ["".join(chance.choices(LETTERS, k=chance.randint(2, 11))) for _ in range(5_000)]
        texts = [" ".join(chance.choices(words, k=200))[:PASSAGE_CHARACTERS] for _ in range(500)]
        for number in range(self.count):
            negatives = tuple(
                Passage(f"d{number}-{place}", "", f"{number} {texts[(number * 7 + place) % 400]}")
                for place in range(CANDIDATES)
            )
            positive = Passage(f"p{number}", "", f"The answer is {number} {texts[number % 97 + 400]}")
            yield NumberedRow(number, Row(f"q{number}", f"what is {number}", (positive,), negatives, "bench"))

    def record(self) -> dict[str, Any]:
        return {"name": "bench", "rows": self.count}


def judged(url: str, rows: int, folder: Path) -> dict[str, float]:
    source = Rows(Path("bench"), (), next(iter(FORMATS.values())), count=rows)
    endpoint = make_endpoint(url, dialect="tgi", chat_template="plain")
    stage = Stage("bench", ListwiseJudge(), Rule(), (endpoint,), Limits(concurrency=IN_FLIGHT))
    path = folder / f"journal-{rows}.sqlite"
    begin, cpu = time.perf_counter(), time.process_time()
    with Journal(path) as journal:
        (report,) = judge(source, [stage], journal)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - begin
    if report.asked != rows * CANDIDATES:
        raise SystemExit(f"{rows * CANDIDATES - report.asked} judgements were lost")
    with sqlite3.connect(path) as database:
        (raw,) = database.execute("SELECT SUM(LENGTH(body)) FROM replies").fetchone()
    return {
        "requests_per_cpu_second": rows / cpu,
        "requests_per_second": rows / seconds,
        "disk_per_judgement": (path.stat().st_size - raw) / report.asked,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


async def _bare(url: str, rows: int) -> None:
    import aiohttp

    texts = iter(Rows(Path("bench"), (), next(iter(FORMATS.values())), count=rows).rows())

    async def worker(session: aiohttp.ClientSession) -> None:
        for numbered in texts:
            prompt = "\n\n".join(passage.text for passage in numbered.row.negative_passages)
            async with session.post(f"{url}/generate", json={"inputs": prompt}) as response:
                await response.json()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(worker(session) for _ in range(IN_FLIGHT)))


def bare(url: str, rows: int) -> float:
    """Requests per second of CPU time."""
    cpu = time.process_time()
    asyncio.run(_bare(url, rows))
    return rows / (time.process_time() - cpu)


def measure(rows: int) -> dict[str, float]:
    with server(answer()) as url:
        with tempfile.TemporaryDirectory() as folder:
            judged(url, 200, Path(folder))
            figures = judged(url, rows, Path(folder))
        figures["bare_per_cpu_second"] = bare(url, rows)
        figures["ratio_to_bare"] = figures["requests_per_cpu_second"] / figures["bare_per_cpu_second"]
        return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the whole path of a judgement.")
    parser.add_argument("--rows", type=int, default=4000, help="one request each")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.rows)
    if options.json:
        json.dump(figures, sys.stdout)
        return
    for name, value in figures.items():
        print(f"{name:26} {value:10.2f}")


if __name__ == "__main__":
    main()
