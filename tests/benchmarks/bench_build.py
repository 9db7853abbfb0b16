"""Building a folder anew from a release, next to a plain copy of its Parquet files and to the straightforward way.

    python -m tests.benchmarks.bench_build [--rows 20000] [--straightforward-rows 10000] [--json]

Rows have the size of those of rlhn/default-680K (25 passages, 20 KB); 3 % of the negatives, in every other row, are
false. Each way runs in a process of its own, in turns, on the same files:

- copy: pyarrow reads each row group of `original` and writes it, with the settings of our files;
- build: the whole folder again, all five configs and the verdicts (`build --from`);
- straightforward: one config by `load_dataset`, a list of dicts, a loop, `Dataset.from_list`, `to_parquet`.

Ratios are medians over the rounds, each to the copy of the same round.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

# All ways need them, and importing them takes as long however many rows there are.
import datasets
import pyarrow.parquet as pq

from hf_relabel.builders.configs.parquet_files import parquet_writer
from hf_relabel.builders.configs.release import release_from_folder
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.building.rebuild import rebuild_configs, settings_of
from tests.benchmarks.measuring import Called, Figure, called, emit, median_ratio, parser_of

NEGATIVES = 24
CHARACTERS = 780
LIMIT_MB = 500


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
    for name in release_from_folder(folder).files("original"):
        with pq.ParquetFile(folder / name) as file:
            writer = parquet_writer(out.with_suffix(f".{Path(name).name}"), file.schema_arrow)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                writer.write_table(table, row_group_size=table.num_rows)
            writer.close()


def build(folder: Path, out: Path) -> None:
    release = release_from_folder(folder)
    names = tuple(str(technique) for technique in Technique)
    rebuild_configs(release, settings_of(release, str(out), techniques=names, default="remove-hn"))


def straightforward(folder: Path, out: Path) -> None:
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
    "build": build,
    "straightforward": straightforward,
}


def in_turns(folder: Path, ways: Sequence[str], rounds: int) -> dict[str, list[Called]]:
    """Each way, round by round, in an order that changes. What it wrote is thrown away."""
    taken: dict[str, list[Called]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways if number % 2 == 0 else reversed(ways):
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                taken[way].append(called(WAYS[way], folder, Path(scratch) / "out"))
    return taken


def measure(scratch: Path, rows: int, ways: Sequence[str], rounds: int) -> Iterator[Figure]:
    """The ways beside a copy."""
    folder = scratch / f"rows-{rows}"
    make(folder, rows)
    size = sum((folder / name).stat().st_size for name in release_from_folder(folder).files("original")) / 1e6
    taken = in_turns(folder, ["copy", *ways], rounds)
    shutil.rmtree(folder)
    copies = [run.seconds for run in taken["copy"]]
    for way in ways:
        seconds = [run.seconds for run in taken[way]]
        peak = max(run.peak_mb for run in taken[way])
        cpu = median_ratio([run.cpu_seconds for run in taken[way]], [run.cpu_seconds for run in taken["copy"]])
        yield Figure(
            way,
            min(seconds),
            "s",
            f"{rows:,} rows, {size:,.0f} MB",
            beside=f"copy {min(copies):.2f} s",
            ratio=median_ratio(seconds, copies),
            peak_mb=peak,
            note=f"CPU time {cpu:.2f} times that of the copy",
        )
        if way == "build":
            yield Figure(f"memory of {way}", peak, "MB", f"{rows:,} rows, {size:,.0f} MB", target=f"<= {LIMIT_MB}")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="to build")
    parser.add_argument("--straightforward-rows", type=int, default=10_000, help="0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-build-") as name:
        for rows, ways, rounds in (
            (options.rows, ["build"], options.rounds),
            (options.straightforward_rows, ["straightforward"], 1),
        ):
            if rows:
                figures += measure(Path(name), rows, ways, rounds)
    emit("build", figures, as_json=options.json)


if __name__ == "__main__":
    main()
