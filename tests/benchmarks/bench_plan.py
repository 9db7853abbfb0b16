"""What a false negative costs to find: RLHN's two stages by row, and the cascade that `plan --precision` chooses.

    python -m tests.benchmarks.bench_plan ../shared/data/banking77 ../shared/data/classic [--pilots 10] [--json]

Each folder holds rows.jsonl and truth.jsonl. Judges are simulated on their rows, over the true labels. RLHN's are two
that label, as good as GPT-4o-mini and GPT-4o may be: the cheap one calls 71 % of the false negatives better, 88 %
relevant, and 5 and 15 % of the others; the accurate one 85 % and .5 %. The plan may take both too, and besides a
student that ranks as well as one of 2,000 labels was measured to (AUC .92 and .82), which costs nothing, and
GPT-4o-mini asked for P(yes) of each candidate, somewhat worse than its list (AUC .91). Rows are hard or easy for all of
them alike, and so are candidates. The rows are taken several times over, judged anew each time, so that there is a set
beside the pilot.

Prompts are real, of the listwise judge with up to 25 candidates and of the pointwise one; a token is taken for 4
characters, a reply for 40 tokens a candidate of a list, and for 1 of P(yes), whoever asks. Prices per million tokens
are OpenAI's (platform.openai.com/docs/pricing, May 2026): GPT-4o-mini .15 and .60, GPT-4o 2.50 and 10.00 US dollars.
Rows of which more than 7 is found are left out of both ways.

A pilot, all labelled, is to back the precision that RLHN's way has in the whole set (rounded down to two digits; RLHN's
way backs none). Of the cascades that are backed the one that is chosen without a budget, and the one that finds most at
a tenth of what RLHN's way pays for each; means over the pilots. The pilot's own cost is not in that of the cascade: it
is paid once, however large the set is. "In hindsight" is the cascade of this form that is as precise as RLHN's way in
the whole set, finds so much of what that finds, and costs least for each: what a pilot could back at best. "Today" is
the same with another model for GPT-4o, as good and at 38 dollars per million judgements (what DeepSeek V4.1 Flash takes
for lists as JSON, see hub_tools/pages/judge.md; how good it is on these sets nobody has measured).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.judges.protocols import PromptJudge
from hf_relabel.builders.planning.choosing import LIMIT, Wanted, choose
from hf_relabel.builders.planning.counting import first_candidates_of
from hf_relabel.builders.planning.estimating import CHARACTERS_PER_TOKEN, COMPLETION_TOKENS_PER_CANDIDATE
from hf_relabel.builders.planning.policy import Measured, Pilot, PilotStage, measured, policies
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources import open_source

PER_PROMPT = 25
STAGES = (
    PilotStage("student", True),
    PilotStage("gpt-4o-mini", False, PER_PROMPT),
    PilotStage("gpt-4o-mini, P(yes)", True),
    PilotStage("gpt-4o", False, PER_PROMPT),
)
MINI, GPT_4O = np.array([0.15, 0.6]) / 1e6, np.array([2.5, 10.0]) / 1e6
"""US dollars for a prompt token and a completion token."""
APART = {"banking77": 1.99, "classic": 1.29}
"""Between the scores of false negatives and others, in standard deviations: what the measured AUC means."""
P_YES = 1.9
"""The same of GPT-4o-mini asked for P(yes)."""
CHEAP, ACCURATE = (2.2, 1.645, 1.036), (3.6, 2.576, 1.645)
"""The same of the judges that label, and from where on they say better and worse."""
OF_ROW, OF_CANDIDATE = 0.4, 0.5
"""How much of the noise judges share in a row, and on a candidate."""
ROWS = 4_000


def population(folder: Path, seed: int = 0) -> Pilot:
    """The rows of a set over and over, judged anew each time."""
    judge, truth_judge = ListwiseJudge(candidates_per_prompt=PER_PROMPT), TruthJudge(str(folder / "truth.jsonl"))
    sizes, truths, tokens = [], [], []
    for numbered in open_source(folder / "rows.jsonl").rows():
        positions = first_candidates_of(numbered.row, frozenset())
        (said,) = truth_judge.judge([(numbered.row, positions)])
        whole, one = (_characters(judge, numbered.row, some) for some in (positions, positions[:1]))
        per_candidate = (whole - one) / max(len(positions) - 1, 1)
        sizes.append(len(positions))
        truths += [said[position].label is Label.BETTER for position in positions]
        alone = _characters(PointwiseJudge(), numbered.row, positions) / max(len(positions), 1)
        tokens.append(np.array([one - per_candidate, per_candidate, alone]) / CHARACTERS_PER_TOKEN)
    times = max(1, round(ROWS / len(sizes)))
    row = np.repeat(np.arange(times * len(sizes)), np.tile(sizes, times))
    truth = np.tile(np.array(truths), times)
    levels = _levels(row, truth, APART.get(folder.name, 1.5), np.random.default_rng(seed))
    fixed, each, alone = np.tile(np.array(tokens), (times, 1)).T
    reply, nothing = COMPLETION_TOKENS_PER_CANDIDATE, np.zeros(len(fixed))
    requests = np.column_stack([nothing, fixed * MINI[0], nothing, fixed * GPT_4O[0]])
    listed = [each * price[0] + reply * price[1] for price in (MINI, GPT_4O)]
    candidates = np.column_stack([nothing, listed[0], alone * MINI[0] + MINI[1], listed[1]])
    return Pilot(STAGES, times * len(sizes), row, levels, truth, np.ones(len(row)), requests, candidates)


def _characters(judge: PromptJudge, row: Row, positions: Sequence[int]) -> float:
    return float(sum(ask.request.characters for ask in judge.asks(row, positions, constrained=True)))


def _levels(row: np.ndarray, truth: np.ndarray, apart: float, chance: np.random.Generator) -> np.ndarray:
    shared = OF_ROW * chance.normal(size=row.max() + 1)[row] + OF_CANDIDATE * chance.normal(size=len(row))
    own = np.sqrt(1 - OF_ROW**2 - OF_CANDIDATE**2)

    def heard(distance: float) -> np.ndarray:
        noise: np.ndarray = distance * truth + shared + own * chance.normal(size=len(row))
        return noise

    def label(distance: float, better: float, worse: float) -> np.ndarray:
        found = heard(distance)
        return np.select([found >= better, found >= worse], [1.0, 0.5], 0.0)

    def score(distance: float) -> np.ndarray:
        curve: np.ndarray = (1 / (1 + np.exp(-heard(distance)))).round(4)
        return curve

    return np.column_stack([score(apart), label(*CHEAP), score(P_YES), label(*ACCURATE)])


def rlhn(found: Pilot) -> Measured:
    """The cheap judge reads everything, the accurate one all of each row of which the first calls anything relevant."""
    everything = found.sums(np.ones(len(found.row)))
    flagged = found.sums(found.levels[:, 1] >= 0.5) > 0
    cost = np.zeros(found.rows)
    for stage, asked in ((1, everything), (3, everything * flagged)):
        cost += np.ceil(asked / PER_PROMPT) * found.request_cost[:, stage] + asked * found.candidate_cost[:, stage]
    called = (found.levels[:, 3] >= 1) & flagged[found.row]
    kept = called & (found.sums(called) <= LIMIT)[found.row]
    return Measured(found.sums(kept & found.truth), found.sums(kept), cost, (len(found.row),))


TODAY = 38e-6
"""US dollars for a judgement, in full lists."""
SHARES = (1.0, 0.9, 0.75, 0.5)
"""Of what RLHN's way finds, in hindsight."""


def in_hindsight(found: Pilot, theirs: Measured) -> Iterator[tuple[float, Measured | None]]:
    """For each of `SHARES` the cheapest way there is."""
    ways = [measured(policy, found, LIMIT) for policy in policies(found)]
    precise = [way for way in ways if (way.precision or 0.0) >= (theirs.precision or 0.0)]
    for share in SHARES:
        enough = [way for way in precise if way.hits.sum() >= share * theirs.hits.sum()]
        yield share, min(enough, key=lambda way: float(way.cost.sum() / way.hits.sum()), default=None)


def compared(folder: Path, pilots: int, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """A line for RLHN's way, and for the cascade without a budget and with a tenth of its cost."""
    found = population(folder)
    theirs = rlhn(found)
    wanted = np.floor(100 * (theirs.precision or 0.0)) / 100
    lines = [_line(folder.name, "RLHN", found, [theirs], theirs, 1)]
    for share, best in in_hindsight(found, theirs):
        name = f"in hindsight, {share:.0%} of what RLHN finds"
        lines.append(_line(folder.name, name, found, [] if best is None else [best], theirs, 1))
    for rows in sizes:
        lines += _planned(found, theirs, float(wanted), f"plan, {rows} rows", folder.name, pilots, rows)
    name = f"plan today, {sizes[-1]} rows"
    return [*lines, *_planned(today(found), theirs, float(wanted), name, folder.name, pilots, sizes[-1])]


def today(found: Pilot) -> Pilot:
    """The same with an accurate judge of another price."""
    whole = float((found.request_cost[:, 3] + found.sums(found.candidate_cost[found.row, 3])).sum())
    factor = np.array([1, 1, 1, TODAY * len(found.row) / whole])
    costs = {name: getattr(found, name) * factor for name in ("request_cost", "candidate_cost")}
    return replace(found, **costs)


def _planned(
    found: Pilot, theirs: Measured, wanted: float, way: str, name: str, pilots: int, rows: int
) -> Iterator[dict[str, Any]]:
    each = float(theirs.cost.sum() / theirs.hits.sum())
    chance, any_cost, a_tenth = np.random.default_rng(0), [], []
    for number in range(pilots):
        pilot = found.of_rows(chance.choice(found.rows, rows, replace=False))
        chosen = choose(pilot, Wanted(wanted, candidates=len(found.row), seed=number))
        cheap = [option for option in chosen.frontier if (option.cost_each or 0.0) <= 0.1 * each]
        any_cost += [chosen.option] if chosen.option else []
        a_tenth += [max(cheap, key=lambda option: option.recall)] if cheap else []
    for which, options in (("any cost", any_cost), ("a tenth for each", a_tenth)):
        ways = [measured(option.policy, found, LIMIT) for option in options]
        yield _line(name, f"{way}, {which}", found, ways, theirs, pilots)


def _line(name: str, way: str, found: Pilot, ways: Sequence[Measured], theirs: Measured, pilots: int) -> dict[str, Any]:
    each = float(theirs.cost.sum() / theirs.hits.sum())
    if not ways:
        return {"set": name, "way": way, "chosen": 0.0}
    hits, cost = (np.array([float(getattr(one, of).sum()) for one in ways]) for of in ("hits", "cost"))
    return {
        "set": name,
        "way": way,
        "chosen": len(ways) / pilots,
        "precision": float(np.mean([one.precision or 0.0 for one in ways])),
        "lowest precision": min(one.precision or 0.0 for one in ways),
        "recall": float(hits.mean() / found.relevant.sum()),
        "USD per 1,000 rows": float(1_000 * cost.mean() / found.rows),
        "USD per affected row": float(np.mean([one.cost.sum() / max(1, (one.hits > 0).sum()) for one in ways])),
        "USD each": float((cost / hits).mean()),
        "times less": float(each / (cost / hits).mean()) if cost.any() else float("inf"),
    }


def shown(lines: Sequence[dict[str, Any]]) -> str:
    digits = (None, None, ".2f", ".3f", ".3f", ".2f", ".3f", ".5f", ".5f", ".1f")
    headers = list(lines[0])
    table = [
        [
            "-" if name not in line else line[name] if form is None else format(line[name], form)
            for name, form in zip(headers, digits, strict=True)
        ]
        for line in lines
    ]
    return tabulate(table, headers, tablefmt="github", disable_numparse=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--pilots", type=int, default=10)
    parser.add_argument("--rows", type=int, nargs="+", default=[400, 1000], help="of each pilot")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    lines = [line for folder in options.folders for line in compared(folder, options.pilots, options.rows)]
    print(json.dumps(lines) if options.json else shown(lines))


if __name__ == "__main__":
    main()
