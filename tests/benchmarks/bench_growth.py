"""Whether time grows with the rows and memory does not: judging and building from ten thousand to a million rows.

    python -m tests.benchmarks.bench_growth [--rows 10000 30000 100000] [--inspect 100000 1000000] [--plot growth.png]

Rows are made as they are read (8 negatives of 300 characters, two subsets, a twelfth of the negatives false). A judge
in this process answers from the text, so that what is measured is ours: reading, findings, journal, verdicts, the five
configs and their Parquet files. Each size is a process of its own. Seconds are of CPU time, which others who use the
machine change little; the clock's are shown beside them. The exponent is the slope of a line through the logarithms of
rows and seconds: 1 is linear. Inspecting, which must tell which rows there were before, is measured on more and shorter
rows: one negative, and texts of a word.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.inspection import inspect
from hf_relabel.hub_tools.building.run import build_configs
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from tests.benchmarks.measuring import Called, Figure, called, emit, parser_of

NEGATIVES = 8
CHARACTERS = 300
FALSE = "which answers it"
ROWS = (10_000, 30_000, 100_000)


@dataclass
class ShortRows(Source):
    """Rows that are made as they are read. Every thousandth is the one before it."""

    count: int = 0

    def rows(self) -> Iterator[NumberedRow]:
        positives, negatives = (Passage("p", "", "positive"),), (Passage("n", "", "negative"),)
        for number in range(self.count):
            named = number - 1 if number % 1_000 == 999 else number
            yield NumberedRow(number, Row(f"q{named}", f"query {named}", positives, negatives, f"subset{number % 2}"))


@dataclass
class Rows(Source):
    """Rows that are made as they are read."""

    count: int = 0

    def rows(self) -> Iterator[NumberedRow]:
        chance = random.Random(0)
        words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(5_000)]
        texts = [" ".join(chance.choices(words, k=60))[:CHARACTERS] for _ in range(5_000)]
        for number in range(self.count):
            chance.seed(number)
            found = chance.choices(texts, k=NEGATIVES + 1)
            negatives = tuple(
                Passage(f"{number}-{place}", "", f"{number} {text}{FALSE if chance.random() < 1 / 12 else ''}")
                for place, text in enumerate(found[1:])
            )
            positive = Passage(f"{number}-p", "", f"{number} {found[0]}")
            yield NumberedRow(
                number, Row(f"q{number}", f"what is {number}", (positive,), negatives, f"subset{number % 2}")
            )

    def record(self) -> dict[str, Any]:
        return {"name": "bench", "rows": self.count}

    def fingerprint(self) -> str:
        return f"{self.count} rows"


class ScriptedJudge:
    """Calls a passage better that says so."""

    kind = "scripted"
    exempt_subsets = ()
    batch_rows = 256

    def settings(self) -> dict[str, Any]:
        return {}

    def model(self) -> tuple[str, str | None]:
        return "bench", None

    def judge(self, batch: Sequence[tuple[Row, Sequence[int]]]) -> list[dict[int, Judgement]]:
        better, irrelevant = Judgement(Label.BETTER, 0.9), Judgement(Label.IRRELEVANT, 0.1)
        return [
            {place: better if row.negative_passages[place].text.endswith(FALSE) else irrelevant for place in positions}
            for row, positions in batch
        ]


def run(rows: int) -> dict[str, float]:
    """Seconds of judging and of building."""
    import datasets  # noqa: F401 - builds need it, and its import takes as long however many rows there are

    source = Rows(Path("bench"), (), "tevatron", count=rows)
    with tempfile.TemporaryDirectory() as folder:
        begin, clock = time.process_time(), time.perf_counter()
        with Journal(Path(folder) / "journal.sqlite") as journal:
            (report,) = judge(source, [Stage("scripted", ScriptedJudge())], journal)
            judged = time.process_time()
            built = build_configs(source, journal, BuildSettings(out=str(Path(folder) / "out")))
            end, clock = time.process_time(), time.perf_counter() - clock
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    if built.rows != rows or report.asked < rows * (NEGATIVES - 1):
        raise SystemExit(f"{rows - built.rows} rows were lost")
    return {"judge": judged - begin, "build": end - judged, "both": end - begin, "clock": clock, "disk_mb": size / 1e6}


def inspected(rows: int) -> float:
    """Seconds of CPU time of inspecting."""
    begin = time.process_time()
    found = inspect(ShortRows(Path("bench"), (), "tevatron", count=rows))
    if found.total.rows != rows:
        raise SystemExit(f"{rows - found.total.rows} rows were lost")
    return time.process_time() - begin


def inspect_figures(rows: Sequence[int]) -> Iterator[Figure]:
    for count in rows:
        each = called(inspected, count)
        yield Figure(
            "inspect",
            each.peak_mb,
            "MB of memory",
            f"{count:,} rows",
            beside=f"{each.result:.1f} CPU s",
            target="<= 120",
            peak_mb=each.peak_mb,
        )


def exponent(rows: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of the least-squares line through the logarithms."""
    x, y = [math.log(count) for count in rows], [math.log(time_) for time_ in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((one - mean_x) * (two - mean_y) for one, two in zip(x, y, strict=True))
    return slope / sum((one - mean_x) ** 2 for one in x)


def plot(rows: Sequence[int], runs: Sequence[Called], path: Path) -> None:
    """Seconds and memory over rows, with a line for what is linear."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, color in (("judge", "C0"), ("build", "C1"), ("both", "black")):
        left.loglog(rows, [each.result[name] for each in runs], "o-", color=color, label=name)
    left.loglog(rows, [runs[0].result["both"] * count / rows[0] for count in rows], "--", color="grey", label="linear")
    left.set(xlabel="rows", ylabel="CPU seconds")
    left.legend()
    right.semilogx(rows, [each.peak_mb for each in runs], "o-")
    right.set(xlabel="rows", ylabel="peak memory, MB", ylim=(0, 1.3 * max(each.peak_mb for each in runs)))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def figures(rows: Sequence[int], runs: Sequence[Called]) -> list[Figure]:
    per_row = [each.result["both"] / count for count, each in zip(rows, runs, strict=True)]
    lines = [
        Figure(
            "judge and build",
            each.result["both"],
            "CPU s",
            f"{count:,} rows, {each.result['disk_mb']:,.0f} MB on disk",
            beside=f"judge {each.result['judge']:.1f} s, build {each.result['build']:.1f} s, by the clock"
            f" {each.result['clock']:.1f} s",
            ratio=cost / per_row[0],
            peak_mb=each.peak_mb,
            note="ratio: seconds per row to those of the smallest size",
        )
        for count, each, cost in zip(rows, runs, per_row, strict=True)
    ]
    if len(rows) < 2:
        return lines
    slopes = {name: exponent(rows, [each.result[name] for each in runs]) for name in ("both", "judge", "build")}
    span = f"{rows[0]:,} to {rows[-1]:,} rows"
    lines.append(
        Figure(
            "exponent of CPU time over rows",
            slopes["both"],
            "",
            span,
            beside=f"judge {slopes['judge']:.2f}, build {slopes['build']:.2f}",
            target="<= 1.05",
            note="1 is linear",
        )
    )
    lines.append(
        Figure(
            "memory of the largest size",
            runs[-1].peak_mb,
            "MB",
            span,
            beside=f"that of the smallest {runs[0].peak_mb:.0f} MB",
            ratio=runs[-1].peak_mb / runs[0].peak_mb,
        )
    )
    return lines


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--inspect", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the growth")
    options = parser.parse_args()
    runs = [called(run, count) for count in options.rows]
    if options.plot is not None:
        plot(options.rows, runs, options.plot)
    found = [*figures(options.rows, runs), *inspect_figures(options.inspect)]
    emit("growth", found, as_json=options.json)


if __name__ == "__main__":
    main()
