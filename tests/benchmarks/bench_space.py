"""Opening and paging a large release on the local Hub, as the Space does.

    python -m tests.benchmarks.bench_space [--rows 100000] [--folder FOLDER] [--json]

Rows have the size of those of rlhn/default-680K (25 passages, 20 KB), see bench_build. The Hub runs in a process of
its own, and so does the browser, whose start counts: seconds to import, to open the release and to show the first page;
then, with nothing in its caches, rows at random (as from a search), the rows next to them, searches with filters, and
the drawing of a sample of 400 candidates. Shown are seconds, for what is done often the median, the 95th percentile and
the maximum, the bytes that were fetched, and the peak memory of the browser.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import Figure, emit

REPO = "user/large"
SAMPLE = 400
COMMAND_LINE = "from hf_relabel.hub_tools.commands import main; main()"


def browse(rows: int) -> dict[str, Any]:
    """What is measured, in a process whose HF_ENDPOINT is the local Hub."""
    begin = time.perf_counter()
    from hf_relabel.hub_tools.space.data import files
    from hf_relabel.hub_tools.space.data.browsing import Browser
    from hf_relabel.hub_tools.space.data.filters import Filter
    from hf_relabel.hub_tools.space.people.sample_drawing import draw_blind

    figures: dict[str, Any] = {}
    fetched = _counted(files)

    def timed(what: str, do: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = do()
        figures[what] = time.perf_counter() - start
        return found

    browser = timed("open", lambda: Browser.open(REPO))
    page = timed("first page", browser.find)
    assert page.lines, page
    figures["process start to first page"] = time.perf_counter() - begin
    chance = random.Random(0)
    numbers = [chance.randrange(rows - 1) for _ in range(100)]
    figures |= _spread("row while the index is read", [_seconds(lambda n=n: browser.row(n)) for n in numbers[:20]])
    state = timed("index complete after", browser.wait_for_index)
    assert state.is_finished, state
    figures["index, whole"] = state.seconds
    figures["index, MB fetched"] = fetched() / 1e6
    figures |= _spread("row at random", [_seconds(lambda n=n: browser.row(n)) for n in numbers[20:]])
    following = []
    for number in range(rows // 2, rows // 2 + 100):
        following.append(_seconds(lambda n=number: browser.row(n)))
        time.sleep(0.02)
    figures |= _spread("row after row", following)
    filters = [
        Filter(),
        Filter(text="WHAT 77"),
        Filter(outcomes={"false_negative"}),
        Filter(subset="subset3", changed_by="relabel"),
        Filter(text="nowhere to be found"),
        Filter(labels={"better"}, text="9"),
    ]
    first = [_seconds(lambda f=wanted: browser.find(f)) for wanted in filters]
    later = [
        _seconds(lambda f=wanted, at=at: browser.find(f, offset=at)) for wanted in filters for at in range(0, 400, 40)
    ]
    figures |= _spread("search, first page", first) | _spread("search, later page", later)
    before = fetched()
    sample = timed(f"sample of {SAMPLE}", lambda: draw_blind(browser, SAMPLE))
    assert len(sample.items) == SAMPLE
    figures["sample, MB fetched"] = (fetched() - before) / 1e6
    entries = browser.release.manifest["files"].values()
    figures["release, MB"] = sum(entry["bytes"] for entry in entries) / 1e6
    browser.close()
    status = Path("/proc/self/status").read_text()
    figures["peak memory, MB"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return figures


def _counted(files: Any) -> Callable[[], int]:
    """Count the bytes that come from the Hub."""
    total = [0]
    plain = files.HubFiles.fetch

    def fetch(self: Any, path: str, start: int, stop: int) -> bytes:
        content: bytes = plain(self, path, start, stop)
        total[0] += len(content)
        return content

    files.HubFiles.fetch = fetch
    return lambda: total[0]


def _seconds(do: Callable[[], Any]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def _spread(what: str, seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        f"{what}, median": statistics.median(ordered),
        f"{what}, 95 %": ordered[int(0.95 * (len(ordered) - 1))],
        f"{what}, max": ordered[-1],
    }


@contextmanager
def hub(root: Path) -> Iterator[dict[str, str]]:
    """A local Hub in a process of its own; gives the environment of its clients."""
    command = [sys.executable, "-c", COMMAND_LINE, "hub", "serve", str(root / "hub"), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        yield {
            **clean,
            "HF_ENDPOINT": told["url"],
            "HF_TOKEN": next(iter(told["tokens"].values())),
            "HF_HOME": str(root / "home"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        process.kill()


def measure(rows: int, folder: Path | None) -> dict[str, Any]:
    from tests.benchmarks.bench_build import make

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        if folder is None:
            folder = root / "release"
        if not folder.exists():
            make(folder, rows)
        with hub(root) as environment:
            push = [sys.executable, "-c", COMMAND_LINE, "push", str(folder), REPO, "--license", "mit"]
            subprocess.run(push, env=environment, check=True, stdout=subprocess.DEVNULL)
            command = [sys.executable, "-m", "tests.benchmarks.bench_space", "--browse", "--rows", str(rows)]
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


TARGETS = {"process start to first page": "<= 3", "row at random, 95 %": "<= 0.3", "search, first page, 95 %": "<= 0.3"}


def figures_of(rows: int, found: dict[str, float]) -> Iterator[Figure]:
    """What was measured, with the targets of a release of 100,000 rows."""
    size = f"{rows:,} rows, {found['release, MB']:,.0f} MB"
    for what, value in found.items():
        if what != "release, MB":
            unit = "MB" if "MB" in what else "s"
            yield Figure(what.replace(", MB", ""), value, unit, size, target=TARGETS.get(what, ""))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure browsing.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the release is, or is to be put and kept")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--browse", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.browse:
        json.dump(browse(options.rows), sys.stdout)
        return
    found = measure(options.rows, options.folder)
    emit("space", list(figures_of(options.rows, found)), as_json=options.json, peak_mb=found["peak memory, MB"])


if __name__ == "__main__":
    main()
