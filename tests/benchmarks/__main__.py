"""All benchmarks, one after the other, and one table of what they measured.

    python -m tests.benchmarks [--quick | --full] [--only NAME …] [--out bench.json] [--layout github]

Each is a process of its own, whose module can be run by itself too (`--list` names them). Every time is measured in the
same run as something to compare it with. `--quick` takes sizes that say nothing but that all of it runs; `--full` takes
those of the design's targets, and hours. The benchmarks of what a technique or a judge is worth train models for many
minutes; they are run with `--full` or where they are named, and look for judged sets in `--data`. The exit code is 1 if
a benchmark failed, whatever its figures are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import Figure, machine, module_command, table, verdict, watched

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SETS = ("banking77", "classic")


def escalation(lines: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Of each set and pair of judges, with the threshold that keeps all that the accurate one finds in a sample."""
    return [
        Figure(
            f"stage 2 by candidate, {line['cheap']} > {line['accurate']}",
            line["times fewer"],
            "times fewer candidates",
            line["set"],
            beside=f"by row {line['by row']:,}, by candidate {line['by candidate']:,}",
            target=">= 3",
            note=f"{line['lost']} of {line['found by row']} false negatives lost",
        )
        for line in lines
        if line["kept"] == 1.0
    ]


def cost_to_find(lines: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Of each set and way through a cascade, beside RLHN's two stages."""
    return [
        Figure(
            f"cost of a false negative, {line['way']}",
            line.get("times less"),
            "times less",
            line["set"],
            target=">= 10",
            note=f"recall {line['recall']:.2f}" if "recall" in line else "nothing is backed",
        )
        for line in lines
        if line["way"] != "RLHN"
    ]


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[Figure]:
    """The numbers of a report of another form, by their names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name} ")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield Figure(f"{before}{name}", float(value), "")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A module and its arguments at each size.

    Attributes:
        name: what `--only` takes.
        on_sets: whether it takes folders of judged sets. Left out unless named or all is run in full.
        plots: whether it draws what it found, beside the JSON.
        figures: makes figures of what a module prints that has a form of its own.
    """

    name: str
    module: str
    default: str = ""
    quick: str = ""
    full: str = ""
    on_sets: bool = False
    plots: bool = False
    figures: Callable[[Any], list[Figure]] | None = None

    def arguments(self, size: str) -> list[str]:
        return {"quick": self.quick, "default": self.default, "full": self.full}[size].split()


_OFFLINE = "--judge similarity --held-out"
BENCHMARKS = (
    Benchmark("start-up", "bench_startup", quick="--rounds 3 --no-commands"),
    Benchmark("metrics", "bench_metrics", quick="--queries 200 --rounds 2"),
    Benchmark("scheduler", "bench_scheduler", quick="--requests 300 --mean 0.05 --cpu-requests 1000"),
    Benchmark("grammars", "bench_grammars", quick="--rounds 1 --tokens 2000"),
    Benchmark("judging", "bench_judging", quick="--rows 300", full="--full"),
    Benchmark(
        "journal", "bench_journal", quick="--judgements 16000 --chunks 4", full="--judgements 10000000 --chunks 40"
    ),
    Benchmark("keeping", "bench_keeping", quick="--judgements 2000 --new 200"),
    Benchmark("build", "bench_build", quick="--rows 200 --straightforward-rows 200 --rounds 1"),
    Benchmark("memory", "bench_memory", quick="--rows 300", full="--full"),
    Benchmark(
        "growth",
        "bench_growth",
        quick="--rows 300 600 --inspect 3000 6000",
        full="--rows 10000 30000 100000 300000 1000000 --inspect 100000 1000000 10000000",
        plots=True,
    ),
    Benchmark("release", "bench_release", quick="--mb 4 --rounds 1", full="--mb 2000 --rounds 3"),
    Benchmark("evaluation", "bench_evaluation", quick="--documents 20000 --rounds 1", full="--rounds 5"),
    Benchmark("space", "bench_space", "--rows 20000", quick="--rows 300", full="--rows 100000"),
    Benchmark("training step", "bench_training_step", quick="--steps 6 --rounds 1"),
    Benchmark(
        "peers",
        "bench_peers",
        quick="--requests 64 --slot-requests 128 --mean 0.05 --no-install",
        full="--requests 10000 --slot-requests 10000 --timeout 900",
    ),
    Benchmark("techniques", "bench_techniques", quick="--quick", on_sets=True),
    Benchmark("offline judge", "bench_techniques", _OFFLINE, full=_OFFLINE, on_sets=True),
    Benchmark("test sets", "bench_qrels", quick="--seeds 1", on_sets=True),
    Benchmark("escalation", "bench_escalation", on_sets=True, figures=escalation),
    Benchmark("plan", "bench_plan", quick="--pilots 1 --rows 400", on_sets=True, figures=cost_to_find),
)


def run(benchmark: Benchmark, size: str, data: Path, timeout: float, more: Sequence[str]) -> dict[str, Any]:
    """The report of a benchmark. One that failed has a figure that says so."""
    arguments = benchmark.arguments(size)
    if benchmark.on_sets:
        folders = [data / name for name in SETS if (data / name).is_dir()]
        if not folders:
            return _report(
                benchmark, [Figure(benchmark.name, None, "", note=f"not run: no judged sets in {data.name}")]
            )
        arguments += map(str, folders)
    begin = time.perf_counter()
    command = module_command(f"tests.benchmarks.{benchmark.module}", *arguments, *more, "--json")
    done = watched(command, timeout=timeout)
    seconds = time.perf_counter() - begin
    if done.code:
        why = " ".join(done.errors.strip().splitlines()[-1:])[:100]
        print(done.errors, file=sys.stderr)
        return _report(benchmark, [Figure(benchmark.name, None, "", note=f"failed: {why}")], failed=True)
    told = json.loads(done.output[done.output.index("{" if benchmark.figures is None else "[") :])
    if benchmark.figures is not None:
        told = _report(benchmark, benchmark.figures(told))
    elif "rows" not in told:
        told = _report(benchmark, list(flat(told)))
    return {**told, "name": benchmark.name, "seconds": seconds, "peak_with_children_mb": done.peak_mb}


def _report(benchmark: Benchmark, figures: Sequence[Figure], **more: Any) -> dict[str, Any]:
    return {"name": benchmark.name, "rows": [each.to_dict() for each in figures], "peak_rss_mb": None, **more}


def summary(reports: Sequence[Mapping[str, Any]]) -> str:
    """How many targets are met, and those that are not."""
    found = [(report["name"], figure, verdict(figure)) for report in reports for figure in report["rows"]]
    told = [each for each in found if each[2]]
    missed = [f"  {name}: {figure['what']}, {said}" for name, figure, said in told if said != "met"]
    head = f"{sum(said == 'met' for *_, said in told)} of {len(told)} targets met."
    return "\n".join([head, *missed])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [each.name for each in BENCHMARKS]
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", const="quick", dest="size", default="default")
    size.add_argument("--full", action="store_const", const="full", dest="size")
    parser.add_argument("--only", nargs="+", action="extend", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all figures as JSON")
    parser.add_argument("--layout", default="simple", help="of the table, as tabulate calls it: simple, github, …")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the judged sets")
    parser.add_argument("--timeout", type=float, default=36_000, help="most seconds for one benchmark")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and their modules")
    parser.add_argument("more", nargs="*", help="after --: arguments for the one benchmark that is run")
    options = parser.parse_args(arguments)
    full = options.size == "full" or options.list
    chosen = [each for each in BENCHMARKS if (each.name in options.only if options.only else full or not each.on_sets)]
    if options.list:
        for each in chosen:
            print(f"{each.name:16} python -m tests.benchmarks.{each.module}")
        return 0
    if options.more and len(chosen) != 1:
        parser.error("arguments after -- are for a single benchmark: name it by --only")
    on = machine()
    reports: list[dict[str, Any]] = []
    for number, each in enumerate(chosen, start=1):
        print(f"{number} of {len(chosen)}: {each.name} …", file=sys.stderr, flush=True)
        plot = ["--plot", str(options.out.with_suffix(".png"))] if each.plots and options.out is not None else []
        report = run(each, options.size, options.data, options.timeout, [*plot, *options.more])
        if options.size == "quick":
            report["rows"] = [{**figure, "target": ""} for figure in report["rows"]]
        reports.append(report)
        print(f"  {report.get('seconds', 0):.0f} s", file=sys.stderr, flush=True)
        if options.out is not None:  # also where the rest is interrupted
            found = {"size": options.size, "machine": on.to_dict(), "reports": reports}
            options.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(table(reports, options.layout))
    said = "Sizes at which no target means anything." if options.size == "quick" else summary(reports)
    print(f"\n{said}\n{on.to_text()}. Size: {options.size}.")
    return 1 if any(report.get("failed") for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
