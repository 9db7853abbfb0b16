"""Memory and disk of the whole job on rows of real size: inspect, judge, build, push, load.

    python -m tests.benchmarks.bench_memory [--rows 10000 30000] [--full] [--json]

Rows have the size of those of rlhn/default-680K (25 passages, 20 KB). A server in a process of its own answers at once;
every other row gets a false negative. Each step is the command line, or `load_dataset`, in a process of its own:

- inspect, judge and build read the Parquet files of the source; judge and build use the journal;
- push builds from the source again and sends each shard to a Hub in another process as it is full;
- stream iterates over one config of the release by `load_dataset(streaming=True)`;
- load downloads one config and iterates over it from the memory-mapped file.

Shown are the most memory of the step's process (of `load`: without the pages of mapped files, which the system takes
back when it needs them) and the most that its own folders held on the disk. Where there are several sizes, the growth
from the smallest to the largest is shown, per 100,000 rows. `--full` runs 700,000 rows, which takes hours and 60 GB.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_judging import answer, server
from tests.benchmarks.measuring import Figure, emit, parser_of
from tests.hub_tools.release_clients import COMMAND_LINE, Client

NEGATIVES = 24
CHARACTERS = 780
ROWS_PER_FILE = 5_000
ROWS_PER_GROUP = 500
FULL = 700_000
LIMIT_MB = 1_000
REPO = "user/bench"
_POLL_SECONDS = 0.1
_JOB = """
source: {{location: {source}}}
journal: {journal}
stages:
  - name: listwise
    judge: {{kind: listwise, candidates_per_prompt: 24}}
    endpoints: [{{url: "{url}", dialect: tgi, chat_template: plain}}]
build: {{out: {out}}}
"""
STREAM = """
import datasets, json, sys
rows = datasets.load_dataset(sys.argv[1], "relabel", split="train", streaming=True)
print(json.dumps(sum(1 for row in rows if row["positive_passages"])))
"""
LOAD = """
import datasets, json, sys
rows = datasets.load_dataset(sys.argv[1], "relabel", split="train")
print(json.dumps(sum(1 for row in rows if row["positive_passages"])))
"""


def make(folder: Path, rows: int) -> None:
    """The source, as Parquet files. A few thousand rows are in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hf_relabel.builders.rows import arrow_schema

    folder.mkdir()
    records = _records(rows)
    for number in range(-(-rows // ROWS_PER_FILE)):
        path = folder / f"train-{number:05d}.parquet"
        with pq.ParquetWriter(path, arrow_schema(), compression="zstd", compression_level=1) as writer:
            for _ in range(ROWS_PER_FILE // ROWS_PER_GROUP):
                if group := list(islice(records, ROWS_PER_GROUP)):
                    writer.write_table(pa.Table.from_pylist(group, arrow_schema()))


def _records(rows: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 11))) for _ in range(30_000)]
    texts = [" ".join(chance.choices(words, k=130))[:CHARACTERS] for _ in range(20_000)]
    for number in range(rows):
        first, *others = [
            {"docid": f"{number}-{place}", "title": f"Title {place}", "text": f"{number} {chance.choice(texts)}"}
            for place in range(NEGATIVES + 1)
        ]
        yield {
            "query_id": f"q{number}",
            "query": f"what is {number}",
            "positive_passages": [first],
            "negative_passages": others,
            "subset": f"subset{number % 7}",
        }


@dataclass(frozen=True, slots=True)
class Step:
    """What one step took. Sizes in MB."""

    name: str
    memory: float
    anonymous: float
    disk: float
    seconds: float
    printed: Any


class Watch:
    """The most memory of a process, and the most that some folders hold, while this is open."""

    def __init__(self, pid: int, folders: Sequence[Path]) -> None:
        self.pid, self.folders = pid, folders
        self.memory = self.anonymous = self.disk = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._end.wait(_POLL_SECONDS):
            with suppress(OSError, KeyError):  # it may end at any moment
                lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
                values = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
                self.memory = max(self.memory, int(values["VmHWM"]) / 1024)
                self.anonymous = max(self.anonymous, int(values["RssAnon"]) / 1024)
            self.disk = max(self.disk, megabytes(*self.folders))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def megabytes(*folders: Path) -> float:
    """What the files in some folders take. Files and folders go away while it counts."""
    total = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):  # which passes over folders that go away
            for name in names:
                with suppress(OSError):
                    if stat.S_ISREG((found := os.lstat(os.path.join(parent, name))).st_mode):
                        total += found.st_size
    return total / 1e6


class Job:
    """The job over one size, with everything of it in `folder`."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder, self.rows = folder, rows
        self.source, self.work = folder / "source", folder / "work"
        self.journal, self.out = self.work / "journal.sqlite", self.work / "built"
        self.work.mkdir(parents=True)
        make(self.source, rows)
        self.source_mb = megabytes(self.source)

    def steps(self) -> Iterator[Step]:
        yield self.command("inspect", "inspect", str(self.source))
        with server(answer(), answer(())) as url:
            job = self.folder / "job.yaml"
            job.write_text(_JOB.format(source=self.source, journal=self.journal, url=url, out=self.out))
            yield self.command("judge", "judge", str(self.source), "--stages", str(job), "--journal", str(self.journal))
        journal = ["--journal", str(self.journal)]
        yield self.command("build", "build", str(self.source), *journal, "--out", str(self.out))
        shutil.rmtree(self.out)
        with hub(self.folder / "hub") as client:
            pushing = ["push", str(self.source), REPO, *journal, "--license", "cc0-1.0"]
            yield self.command("push", *pushing, client=client)
            self.journal.unlink()
            yield self.run("stream", STREAM, REPO, client=client)
            yield self.run("load", LOAD, REPO, client=client)

    def command(self, name: str, *arguments: str, client: Client | None = None) -> Step:
        return self.run(name, COMMAND_LINE, *arguments, "--json", client=client)

    def run(self, name: str, code: str, *arguments: str, client: Client | None = None) -> Step:
        home, scratch = self.folder / f"home-{name}", self.folder / f"scratch-{name}"
        scratch.mkdir()
        user = client or Client("http://127.0.0.1:1", None, home)
        user.home, user.extra = home, {"TMPDIR": str(scratch)}
        begin = time.perf_counter()
        process = user.start(code, *arguments)
        with Watch(process.pid, [home, scratch, *([self.work] if name in ("judge", "build") else [])]) as watch:
            output, errors = process.communicate()
        seconds = time.perf_counter() - begin
        if process.returncode:
            raise SystemExit(f"{name}: {errors[-2000:]}")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(scratch)
        print(f"{self.rows:,} rows: {name} {seconds:.0f} s", file=sys.stderr)
        printed = json.loads(output[output.index("{") :] if "{" in output else output)
        return Step(name, watch.memory, watch.anonymous, watch.disk, seconds, printed)


@contextmanager
def hub(folder: Path) -> Iterator[Client]:
    """A Hub in a process of its own, and its user."""
    folder.mkdir()
    arguments = ["hub", "serve", str(folder / "hub"), "--json"]
    process = subprocess.Popen([sys.executable, "-c", COMMAND_LINE, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Client(told["url"], next(iter(told["tokens"].values())), folder)
    finally:
        process.kill()
        process.wait()


def check(steps: Sequence[Step], rows: int) -> None:
    """Nothing was lost on the way."""
    printed = {step.name: step.printed for step in steps}
    counted = {
        "inspect": printed["inspect"]["total"]["rows"],
        "judge": printed["judge"]["stages"][0]["asked"] // NEGATIVES,
        "build": printed["build"]["rows"]["count"],
        "stream": printed["stream"],
        "load": printed["load"],
    }
    if lost := [f"{name} has {number}" for name, number in counted.items() if number != rows]:
        raise SystemExit(f"of {rows} rows {', '.join(lost)}")


def figures(runs: dict[int, tuple[Job, list[Step]]]) -> Iterator[Figure]:
    for rows, (job, steps) in runs.items():
        for step in steps:
            is_mapped = step.name == "load"
            memory = step.anonymous if is_mapped else step.memory
            yield Figure(
                step.name,
                memory,
                "MB of memory",
                f"{rows:,} rows, {job.source_mb:,.0f} MB of Parquet",
                beside=f"{step.disk:,.0f} MB of disk",
                target=f"<= {LIMIT_MB}",
                peak_mb=step.memory,
                note=f"{step.seconds:.0f} s" + ("; without mapped files" if is_mapped else ""),
            )
            if step.name == "push":
                release = sum(file["bytes"] for file in step.printed["files"]) / 1e6
                yield Figure(
                    "push: shards in flight",
                    step.disk,
                    "MB of disk",
                    f"{rows:,} rows, {job.source_mb:,.0f} MB of Parquet",
                    beside=f"the release {release:,.0f} MB",
                    ratio=step.disk / release,
                )
    if len(runs) > 1:
        yield from growth(runs)


def growth(runs: dict[int, tuple[Job, list[Step]]]) -> Iterator[Figure]:
    few, many = min(runs), max(runs)
    for small, large in zip(runs[few][1], runs[many][1], strict=True):
        kind = "anonymous" if small.name == "load" else "memory"
        slope = (getattr(large, kind) - getattr(small, kind)) / (many - few)
        whole = getattr(large, kind) + slope * (FULL - many)
        yield Figure(
            f"{small.name}: growth",
            slope * 100_000,
            "MB per 100,000 rows",
            f"{few:,} to {many:,} rows",
            note=f"{FULL:,} rows would take {whole:,.0f} MB",
        )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 30_000])
    parser.add_argument("--full", action="store_true", help=f"{FULL:,} rows")
    options = parser.parse_args()
    runs: dict[int, tuple[Job, list[Step]]] = {}
    for rows in [FULL] if options.full else sorted(options.rows):
        with tempfile.TemporaryDirectory(prefix="bench-memory-") as scratch:
            job = Job(Path(scratch), rows)
            steps = list(job.steps())
        check(steps, rows)
        runs[rows] = (job, steps)
    emit("memory", list(figures(runs)), as_json=options.json)


if __name__ == "__main__":
    main()
