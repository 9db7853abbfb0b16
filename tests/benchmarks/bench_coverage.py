"""Whether intervals hold what they say and tests fire as seldom as they say, by simulation.

    python -m tests.benchmarks.bench_coverage [--quick] [--only coverage_audit …]

Each section is a module with a function `report(quick)` that yields the lines of its tables. `--quick` takes a few
cells of each grid and few repetitions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib import import_module

SECTIONS = (
    "coverage_audit",
    "coverage_calibration",
    "coverage_comparisons",
    "coverage_plan",
    "coverage_positions",
    "coverage_prevalence",
)
"""Modules beside this one."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few cells, few repetitions")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION")
    options = parser.parse_args(arguments)
    for name in options.only:
        module = import_module(f"tests.benchmarks.{name}")
        print(f"## {(module.__doc__ or name).splitlines()[0]}\n", flush=True)
        begin = time.perf_counter()
        for line in module.report(options.quick):
            print(line, flush=True)
        print(f"\n({time.perf_counter() - begin:.0f} s)\n", flush=True)


if __name__ == "__main__":
    main()
