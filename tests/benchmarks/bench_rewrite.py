"""Rewriting rows by a technique, next to a plain copy of the same Parquet file and to the straightforward way.

    python -m tests.benchmarks.bench_rewrite [--rows 100000] [--straightforward-rows 10000] [--json]

Rows have the size of those of rlhn/default-680K (25 passages, 20 KB); 3 % of the negatives, in every other row, are
false. Each way runs in a process of its own, in turn, on the same files:

- copy: pyarrow reads each row group of `original` and writes it, with the settings of our files;
- rewrite: `original` and `verdicts` become the config `relabel`, and nothing else is written;
- build: the whole folder again, all five configs and the verdicts;
- straightforward: `load_dataset`, a list of dicts, a loop, `Dataset.from_list`, `to_parquet` (on fewer rows).

Shown are seconds, the ratio to the copy for as many rows, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs import write_configs
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.released import release_from_folder
from hf_relabel.builders.rewriting import rewrite_config
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.building import rebuild_configs, settings_of

NEGATIVES = 24
CHARACTERS = 780


def judged(rows: int) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 11))) for _ in range(30_000)]
    texts = [" ".join(chance.choices(words, k=130))[:CHARACTERS] for _ in range(40_000)]
    for number in range(rows):
        passages = [
            Passage(f"{number}-{place}", f"Title {place}", f"{number} {texts[chance.randrange(len(texts))]}")
            for place in range(NEGATIVES + 1)
        ]
        row = Row(f"q{number}", f"what is {number}", (passages[0],), tuple(passages[1:]), f"subset{number % 7}")
        yield NumberedRow(number, row), [_verdict(place, row, chance) for place in range(NEGATIVES)]


def _verdict(place: int, row: Row, chance: random.Random) -> Verdict:
    is_false = int(row.query_id[1:]) % 2 == 0 and chance.random() < 0.06
    label = Label.BETTER if is_false else Label.IRRELEVANT
    outcome = Outcome.FALSE_NEGATIVE if is_false else Outcome.NEGATIVE
    judgement = Judgement(label, 0.9 if is_false else 0.1, "It says so.", 120.0, 9.0)
    return Verdict(place, row.negative_passages[place].docid, outcome, "judged", (judgement,))


def make(folder: Path, rows: int) -> None:
    write_configs(judged(rows), folder, techniques=[Technique.ORIGINAL], default_config="original", stage_names=["one"])


def copy(folder: Path, out: Path) -> None:
    import pyarrow.parquet as pq

    from hf_relabel.builders.configs import parquet_writer

    for name in release_from_folder(folder).files("original"):
        with pq.ParquetFile(folder / name) as file:
            writer = parquet_writer(out.with_suffix(f".{Path(name).name}"), file.schema_arrow)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                writer.write_table(table, row_group_size=table.num_rows)
            writer.close()


def rewrite(folder: Path, out: Path) -> None:
    rewrite_config(release_from_folder(folder), Technique.RELABEL, out)


def build(folder: Path, out: Path) -> None:
    release = release_from_folder(folder)
    names = tuple(str(technique) for technique in Technique)
    rebuild_configs(release, settings_of(release, str(out), techniques=names, default="remove-hn"))


def straightforward(folder: Path, out: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    found = {
        (line["row"], line["position"])
        for line in release_from_folder(folder).verdict_records()
        if line["outcome"] == "false_negative"
    }
    rows = []
    for number, row in enumerate(datasets.load_dataset(str(folder), "original", split="train").to_list()):
        negatives = row["negative_passages"]
        moved = [passage for place, passage in enumerate(negatives) if (number, place) in found]
        kept = [passage for place, passage in enumerate(negatives) if (number, place) not in found]
        rows.append({**row, "positive_passages": row["positive_passages"] + moved, "negative_passages": kept})
    datasets.Dataset.from_list(rows).to_parquet(str(out))


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "copy": copy,
    "rewrite": rewrite,
    "build": build,
    "straightforward": straightforward,
}


def _run(way: str, folder: str, out: str, queue: Any) -> None:
    begin = time.perf_counter()
    WAYS[way](Path(folder), Path(out))
    # Not ru_maxrss, which a new process takes over from the one that started it.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    queue.put({"seconds": time.perf_counter() - begin, "peak_mb": peak})


def timed(way: str, folder: Path, out: Path) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_run, args=(way, str(folder), str(out), queue))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{way} failed")
    found: dict[str, float] = queue.get()
    return found


def measure(rows: int, straightforward_rows: int, rounds: int = 2) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for count, ways in ((rows, ("copy", "rewrite", "build")), (straightforward_rows, ("copy", "straightforward"))):
            if not count:
                continue
            folder = scratch / f"rows-{count}"
            make(folder, count)
            taken = [
                {way: timed(way, folder, scratch / f"{way}-{count}-{turn}") for way in ways} for turn in range(rounds)
            ]
            for way in ways:
                best = min(turn[way]["seconds"] for turn in taken)
                ratio = min(turn[way]["seconds"] / turn["copy"]["seconds"] for turn in taken)
                peak = max(turn[way]["peak_mb"] for turn in taken)
                figures[f"{way}, {count} rows"] = {"seconds": best, "ratio_to_copy": ratio, "peak_mb": peak}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure rewriting.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--straightforward-rows", type=int, default=10_000, help="0 leaves it out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.rows, options.straightforward_rows)
    if options.json:
        json.dump(figures, sys.stdout)
        return
    for way, values in figures.items():
        shown = "  ".join(f"{name} {value:8.2f}" for name, value in values.items())
        print(f"{way:32} {shown}")


if __name__ == "__main__":
    main()
