"""How near a plan with a probe comes to what the run then uses, over many samples.

    python -m tests.benchmarks.bench_planning [--rows 600] [--samples 40] [--probe 100 200] [--within 0.05]

A cascade of two listwise judges is asked about made rows over HTTP, behind the facade, once for each way of
escalating. Its judges talk for as long as they like: the length of a reply varies by half around its mean. Then plans
are made of that journal with so many samples of rows, each by a seed of its own, and compared with what the run used.
Prices are 0.5 and 2 US dollars per million prompt and completion tokens.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.sources import Source
from hf_relabel.hub_tools.judging.plan import plan_job
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from tests.facade import Facade
from tests.hub_tools.judging.test_planning import Talkative, cascade, inside, off_by, used, write_rows


def plans(source: Source, stages: Sequence[Stage], journal: Journal, samples: int, **probing: Any) -> Iterator[Any]:
    for seed in range(samples):
        yield plan_job(source, stages, journal=journal, seed=seed, **probing)


def line(name: list[Any], source: Source, stages: Sequence[Stage], journal: Journal, real: Any, **probing: Any) -> Any:
    """How far the plans are off, and how often their ranges hold what was used."""
    samples, reports = probing["samples"], real
    made = list(plans(source, stages, journal, **probing))
    spent = used(reports)
    off = [off_by(plan, reports) for plan in made]
    probed = sorted(plan.probed for plan in made)
    cells: list[Any] = [*name, f"{probed[len(probed) // 2]} ({probed[0]} to {probed[-1]})"]
    for place, range_name in enumerate(("prompt_tokens_range", "completion_tokens_range", "cost_range")):
        errors = [error[place] for error in off]
        near = sum(error < 0.05 for error in errors)
        held = sum(inside(getattr(plan, range_name), spent[place]) for plan in made)
        cells += [f"{near} of {samples}", f"{max(errors):.1%}", f"{held} of {samples}"]
    return cells


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare plans with runs.")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--probe", type=int, nargs="*", default=[100, 200])
    parser.add_argument("--within", type=float, nargs="*", default=[0.05])
    options = parser.parse_args(arguments)
    table = []
    with tempfile.TemporaryDirectory() as name, Facade(Talkative("cheap"), model_id="org/cheap") as cheap:
        source = write_rows(Path(name) / "rows.jsonl", options.rows)
        with Facade(Talkative("accurate"), model_id="org/accurate") as accurate:
            for escalate in ("candidate", "row"):
                stages = cascade((cheap, accurate), Rule(escalate=escalate))
                with Journal(Path(name) / f"{escalate}.sqlite") as journal:
                    reports = judge(source, stages, journal)
                    ways: list[dict[str, Any]] = [{"probe": rows} for rows in options.probe]
                    ways += [{"within": share} for share in options.within]
                    for way in ways:
                        (label,) = (f"{key} {value}" for key, value in way.items())
                        name_of = [escalate, label]
                        table.append(line(name_of, source, stages, journal, reports, samples=options.samples, **way))
    figures = [f"{what}: {how}" for what in ("prompt", "completion", "cost") for how in ("< 5 %", "worst", "in range")]
    print(tabulate(table, ["escalated by", "asked for", "rows probed", *figures]))


if __name__ == "__main__":
    main()
