"""A scripted judge in a process of its own, for benchmarks: `python -m tests.facade rows.jsonl truth.jsonl`.

Prints its URL on one line, then serves until its standard input is closed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.facade import Facade, Faults, ScriptedBackend, log_normal_latency


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.facade", description=__doc__)
    parser.add_argument("rows", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--recall", type=float, default=1.0)
    parser.add_argument("--precision", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-concurrent-requests", type=int, default=128)
    parser.add_argument("--latency-mean", type=float, default=0.0, help="seconds; log-normal when above 0")
    parser.add_argument("--latency-sigma", type=float, default=0.5)
    parser.add_argument("--overload", type=float, default=0.0, help="share of attempts answered 429")
    parser.add_argument("--openai-style", action="store_true")
    options = parser.parse_args()
    backend = ScriptedBackend(
        options.rows, options.truth, recall=options.recall, precision=options.precision, seed=options.seed
    )
    latency = log_normal_latency(options.latency_mean, options.latency_sigma) if options.latency_mean > 0 else 0.0
    faults = Faults.random({"overload": options.overload}, options.seed) if options.overload else None
    with Facade(
        backend,
        max_concurrent_requests=options.max_concurrent_requests,
        latency=latency,
        faults=faults,
        openai_style=options.openai_style,
    ) as facade:
        print(facade.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
