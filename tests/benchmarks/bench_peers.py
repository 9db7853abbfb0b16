"""Other clients on the same server and the same prompts.

    python -m tests.benchmarks.bench_peers [--requests 2000] [--slot-requests 3000] [--no-install] [--json]

Each client sends the 12 KB prompts of a listwise judge to one server (tests/benchmarks/peers/server.py), first with 64
in flight to one that answers at once, then with 128 to one with 128 slots, log-normal latency and 5 % refused with 429.
Answers per second and the share of the slots' time that was busy are the server's own count. Ours is the whole path of
`judge`: render, send, parse, journal. The bare loop is aiohttp with workers that free their slot while a request waits
to be sent again; it is what everybody is compared to.

Peers live in environments of their own under `--peers` (default ~/.cache/hf-relabel/peers), which are made with pip
where they are missing. One that cannot be installed or takes longer than `--timeout` is shown as not run, with why.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from tests.benchmarks.bench_judging import Rows
from tests.benchmarks.measuring import Figure, emit, module_command, parser_of, watched

IN_FLIGHT, SLOTS = 64, 128
_SCRIPTS = Path(__file__).with_name("peers")


@dataclass(frozen=True, slots=True)
class Peer:
    """Another client. `more` is what its package needs for this and does not ask for itself."""

    name: str
    package: str
    version: str
    script: str
    more: tuple[str, ...] = ()


PEERS = (
    Peer("AsyncInferenceClient with gather", "huggingface_hub", "2.4.0", "hub_client"),
    Peer("curator", "bespokelabs-curator", "0.1.31", "curator"),
    # Its extra `inference` asks for vllm and sglang, which a client does without.
    Peer(
        "datatrove", "datatrove", "0.10.1", "datatrove_runner", ("aiofiles", "aiosqlite", "httpx", "openai", "orjson")
    ),
)


class NotRun(Exception):
    """A peer that cannot be measured, and why in a few words."""


# The prompts and our side


def source_of(rows: int) -> Rows:
    from hf_relabel.builders.sources.formats import FORMATS

    return Rows(Path("bench"), (), next(iter(FORMATS.values())), count=rows)


def write_prompts(path: Path, rows: int) -> int:
    """One prompt per row, as our judge asks. Returns the characters of all."""
    judge, characters = ListwiseJudge(), 0
    with path.open("w", encoding="utf-8") as file:
        for numbered in source_of(rows).rows():
            places = range(len(numbered.row.negative_passages))
            (ask,) = judge.asks(numbered.row, list(places), constrained=True)
            text = "\n\n".join(message.content for message in ask.request.messages)
            characters += len(text)
            file.write(f"{json.dumps(text)}\n")
    return characters


def ours(url: str, rows: int, concurrency: int, scratch: Path) -> int:
    """Judge the rows. Returns how many were answered."""
    from hf_relabel.builders.cascade.rules import Rule
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.hub_tools.endpoints.registry import make_endpoint
    from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
    from hf_relabel.hub_tools.judging.run import judge
    from hf_relabel.hub_tools.judging.stages import Stage

    endpoint = make_endpoint(url, dialect="openai", flavor="vllm")
    stage = Stage("bench", ListwiseJudge(), Rule(), (endpoint,), Limits(concurrency=concurrency))
    with Journal(scratch / "journal.sqlite") as journal:
        (report,) = judge(source_of(rows), [stage], journal)
    answered = sum(number for label, number in report.labels.items() if label.is_answer)
    return answered // len(next(source_of(1).rows()).row.negative_passages)


async def bare(url: str, prompts: Sequence[str], concurrency: int) -> int:
    import aiohttp

    source, waiting = iter(enumerate(prompts)), list[tuple[float, int, str]]()
    chance, answered = random.Random(1), 0

    async def worker(session: aiohttp.ClientSession) -> None:
        nonlocal answered
        while True:
            if waiting and waiting[0][0] <= time.perf_counter():
                _, number, prompt = heapq.heappop(waiting)
            elif (following := next(source, None)) is not None:
                number, prompt = following
            elif waiting:
                await asyncio.sleep(max(0.0, waiting[0][0] - time.perf_counter()))
                continue
            else:
                return
            body = {"model": "bench-model", "messages": [{"role": "user", "content": prompt}], "max_tokens": 256}
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                await response.json()
            if response.status == 200:
                answered += 1
            else:
                heapq.heappush(waiting, (time.perf_counter() + chance.random() * 0.5, number, prompt))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(worker(session) for _ in range(concurrency)))
    return answered


# The server


@contextmanager
def serving(*options: str) -> Iterator[str]:
    command = module_command("tests.benchmarks.peers.server", *options)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.communicate(timeout=10)


def asked(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        told: dict[str, Any] = json.loads(answer.read())
        return told


# The peers


def python_of(peer: Peer, folder: Path, *, install: bool, timeout: float) -> Path:
    """The interpreter of a peer's environment, made where it is missing.

    Raises:
        NotRun: it is missing and cannot be made.
    """
    place = folder / f"{peer.package}-{peer.version}"
    python, ready = place / "bin" / "python", place / "ready"
    if ready.is_file():
        return python
    if not install:
        raise NotRun("not installed (run without --no-install)")
    print(f"Installing {peer.package} {peer.version} …", file=sys.stderr)
    venv.create(place, with_pip=True, clear=True)
    wanted = [f"{peer.package}=={peer.version}", *peer.more]
    done = watched([str(python), "-m", "pip", "install", "--quiet", *wanted], timeout=timeout)
    if done.code:
        wrong = [line for line in done.errors.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise NotRun(f"cannot be installed: {' '.join(wrong[-1:])[:80]}")
    ready.touch()
    return python


def command_of(client: str | Peer, options: argparse.Namespace) -> list[str]:
    if isinstance(client, str):
        return module_command("tests.benchmarks.bench_peers", "--as", client)
    python = python_of(client, options.peers, install=not options.no_install, timeout=options.timeout)
    return [str(python), str(_SCRIPTS / f"{client.script}.py")]


def run(
    client: str | Peer, options: argparse.Namespace, prompts: Path, count: int, concurrency: int, *server: str
) -> dict[str, Any]:
    """Let a client do its work on a new server.

    Raises:
        NotRun: it failed or took too long.
    """
    command = command_of(client, options)
    with serving(*server) as url, tempfile.TemporaryDirectory() as scratch:
        arguments = [url, str(prompts), "--concurrency", str(concurrency), "--scratch", scratch]
        arguments += ["--rows", str(count)] if isinstance(client, str) else []
        done = watched([*command, *arguments], timeout=options.timeout, env={**os.environ, "TELEMETRY_ENABLED": "0"})
        if done.code == -9:
            raise NotRun(f"not done after {options.timeout:g} s, {asked(f'{url}/stats')['answered']} answered")
        if done.code:
            raise NotRun(f"failed: {' '.join(done.errors.splitlines()[-1:])[:80]}")
        answered = json.loads(done.output.splitlines()[-1])["answered"]
        return {
            **asked(f"{url}/stats"),
            "lost": count - answered,
            "seconds": done.seconds,
            "cpu_us": 1e6 * done.cpu_seconds / count,
            "peak_mb": done.peak_mb,
        }


def measure(options: argparse.Namespace) -> list[Figure]:
    clients: list[str | Peer] = ["bare", "ours", *PEERS]
    slotted = ("--mean", str(options.mean), "--slots", str(SLOTS), "--refused", "0.05")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for count, concurrency, server, key in (
            (options.requests, IN_FLIGHT, (), "per_second"),
            (options.slot_requests, SLOTS, slotted, "busy"),
        ):
            prompts = Path(folder) / f"prompts-{count}.jsonl"
            size = write_prompts(prompts, count) / count
            told = f"{count:,} prompts of {size / 1000:.0f} KB, {concurrency} in flight"
            base: dict[str, Any] = {}
            for client in clients:
                try:
                    found = run(client, options, prompts, count, concurrency, *server)
                except NotRun as error:
                    figures.append(Figure(_name(client, key), None, "", told, note=f"not run: {error}"))
                    continue
                base = base or found
                figures.append(_figure(client, key, told, found, base))
    return figures


def _name(client: str | Peer, key: str) -> str:
    who = {"bare": "bare aiohttp", "ours": "hf relabel judge"}.get(client) if isinstance(client, str) else None
    name = who or (f"{client.name} {client.version}" if isinstance(client, Peer) else str(client))
    return f"{name}, {'answers at once' if key == 'per_second' else '128 slots'}"


def _figure(client: str | Peer, key: str, size: str, found: dict[str, Any], base: dict[str, Any]) -> Figure:
    notes = [f"{found['lost']:,} lost", f"{found['cpu_us']:,.0f} us of CPU per request with imports"]
    if key == "busy":
        notes = [f"{found['lost']:,} lost", f"10-90 %: {found['busy_middle']:.3f}"]
    unit = "answers/s" if key == "per_second" else "of the slots' time busy"
    return Figure(
        _name(client, key),
        found[key],
        unit,
        size,
        beside=f"bare aiohttp {base[key]:,.{0 if key == 'per_second' else 3}f}",
        ratio=found[key] / base[key],
        peak_mb=found["peak_mb"],
        note=", ".join(notes),
    )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--requests", type=int, default=2_000, help="to the server that answers at once")
    parser.add_argument("--slot-requests", type=int, default=3_000, help="to the server with slots")
    parser.add_argument("--mean", type=float, default=1.0, help="seconds that a request takes there")
    parser.add_argument("--peers", type=Path, default=Path("~/.cache/hf-relabel/peers").expanduser())
    parser.add_argument("--no-install", action="store_true", help="leave out peers that are not installed")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for a client, and for an installation")
    # A client in a process of its own.
    for name in ("url", "prompts"):
        parser.add_argument(name, nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--as", dest="client", choices=["ours", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--concurrency", type=int, default=IN_FLIGHT, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client == "ours":
        print(json.dumps({"answered": ours(options.url, options.rows, options.concurrency, options.scratch)}))
    elif options.client == "bare":
        prompts = [json.loads(line) for line in Path(options.prompts).read_text(encoding="utf-8").splitlines()]
        print(json.dumps({"answered": asyncio.run(bare(options.url, prompts, options.concurrency))}))
    else:
        emit("peers", measure(options), as_json=options.json)


if __name__ == "__main__":
    main()
