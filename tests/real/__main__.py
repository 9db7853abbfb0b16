"""Drives real judge servers, one after the other, and prints what came of it.

    python -m tests.real [SERVER …] [--only CHECK …] [--record]

Each server runs on 127.0.0.1 with a tiny model, from an environment of its own below `.venv-real` (`make real` makes
them). The exit code is 1 where a check failed, or a server that was named is not installed. `--record` writes what the
servers answer into tests/real/recorded, for the tests that need no server.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from tests.real.checks import ALL, Drive, checks_of, short
from tests.real.recording import record
from tests.real.servers import SERVERS, Running, Server, make_weights, running


class Outcome(NamedTuple):
    """Of one check of one server."""

    server: str
    check: str
    outcome: str
    seconds: float
    failed: bool


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real", description=__doc__.splitlines()[0])
    parser.add_argument("servers", nargs="*", metavar="SERVER", help="all unless some are named")
    parser.add_argument("--only", nargs="+", choices=ALL, default=list(ALL), metavar="CHECK")
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.servers) - set(SERVERS):
        parser.error(f"no server {', '.join(unknown)}; there are {', '.join(SERVERS)}")
    outcomes = [outcome for name in given.servers or SERVERS for outcome in driven(SERVERS[name], given)]
    lines = [(one.server, one.check, "FAILED" if one.failed else "ok", one.outcome, one.seconds) for one in outcomes]
    print(tabulate(lines, ("server", "check", "", "outcome", "seconds"), floatfmt=".0f", maxcolwidths=[20, 15, 6, 110]))
    return int(any(one.failed for one in outcomes))


def driven(server: Server, given: argparse.Namespace) -> Iterator[Outcome]:
    """Start a server and put it through the checks."""
    if not server.is_installed():
        yield Outcome(server.name, "installed", f"{server.python} is missing: `make real` makes it", 0.0, True)
        return
    name, began = f"{server.name} {server.version()}", time.monotonic()
    make_weights()
    with tempfile.TemporaryDirectory(prefix="real-") as folder:
        try:
            with running(server, Path(folder)) as started:
                yield told(Outcome(name, "started", "it answers", time.monotonic() - began, False))
                yield from (told(outcome) for outcome in checked(name, started, Path(folder), given))
        except TimeoutError as error:
            yield told(Outcome(name, "started", str(error), time.monotonic() - began, True))


def checked(name: str, started: Running, folder: Path, given: argparse.Namespace) -> Iterator[Outcome]:
    if given.record:
        recording = asyncio.run(record(started, time.strftime("%Y-%m-%d")))
        yield Outcome(name, "recorded", f"{len(recording.exchanges)} answers in {recording.save().name}", 0.0, False)
    for check, put_through in checks_of(started).items():
        if check not in given.only:
            continue
        began = time.monotonic()
        try:
            outcome, failed = put_through(Drive(started, folder)), False
        except Exception as error:
            traceback.print_exc()
            outcome, failed = f"{type(error).__name__}: {short(error, 400)}", True
        yield Outcome(name, check, outcome, time.monotonic() - began, failed)


def told(outcome: Outcome) -> Outcome:
    """As it comes: a run takes minutes."""
    mark = "FAILED" if outcome.failed else "ok"
    print(f"{outcome.server}, {outcome.check}: {mark}, {outcome.outcome} ({outcome.seconds:.0f} s)", file=sys.stderr)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
