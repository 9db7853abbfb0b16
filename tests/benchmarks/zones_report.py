"""The tables of `bench_zones_training`, out of what was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from hf_relabel.builders.audit.draw import LIKELY, wanted_of
from hf_relabel.builders.audit.reuse import Reuse
from hf_relabel.builders.cascade.fitting import _bounds
from hf_relabel.cards.figures.forest import ForestLine, forest_png, points_of
from hf_relabel.trainers.comparing.compare import CompareReport, report_on
from hf_relabel.trainers.comparing.measurements import Measurements
from hf_relabel.trainers.evaluation.significance import MeanDifference, holm, interval_text, mean_difference
from tests.benchmarks.bench_techniques import part_of
from tests.benchmarks.zones_arms import DEFAULT, JUDGES, LABELS, LOW, MINILM_NAME, PROTOTYPE, ZONES, cells
from tests.benchmarks.zones_judges import KnownSet, Rule, Values
from tests.benchmarks.zones_runs import METRIC, kept

LEAST_BACKED = 1 / 3
"""Precision that they must back before an arm that relabels is among those that are picked from. With .5, as it was in
the first table, two judges of `classic` had no such arm, where relabelling was the best: training says the rest."""
NO_JUDGE = "no judge"
COMPARED = ("remove-hn", "relabel", *(way.name for way in ZONES))
"""Arms that a best one in hindsight is looked for among."""


@dataclass(frozen=True)
class Found:
    """What was measured on one set: by judge, then arm, a table (seeds, queries)."""

    known: KnownSet
    tables: Mapping[str, Mapping[str, Values]]

    def half(self, which: int) -> Found:
        halves = {judge: {arm: each[:, which::2] for arm, each in arms.items()} for judge, arms in self.tables.items()}
        return Found(self.known, halves)

    def arm(self, judge: str, arm: str) -> Values | None:
        of = self.tables.get(judge, {})
        return of.get(arm, self.tables.get(NO_JUDGE, {}).get(arm))

    def difference(self, judge: str, arm: str, baseline: str) -> MeanDifference | None:
        one, other = self.arm(judge, arm), self.arm(judge, baseline)
        if one is None or other is None:
            return None
        seeds = min(len(one), len(other))
        return mean_difference([one[:seeds]], [other[:seeds]])


def read(known: KnownSet, runs: Path, only: Sequence[str] | None) -> Found:
    """What is kept of each cell: as many seeds as are there."""
    tables: dict[str, dict[str, Values]] = {}
    for cell in cells(only):
        if known.name not in (cell.sets or (known.name,)):
            continue
        values = []
        for seed in range(cell.seeds):
            p = None if cell.judge is None else cell.judge.kept(known, seed)
            found = None if cell.judge is not None and p is None else kept(known, cell.way, p, seed, runs)
            if found is None:
                break
            values.append(found)
        if values:
            tables.setdefault(cell.judge.name if cell.judge else NO_JUDGE, {})[cell.way.name] = np.array(values)
    return Found(known, tables)


def report(folders: Sequence[Path], work: Path, only: Sequence[str] | None) -> str:
    parts = []
    sets = [read(KnownSet(folder, work), work / "runs", only) for folder in folders]
    for found in sets:
        shown = Found(found.known, {judge: of for judge, of in found.tables.items() if f"{LABELS} labels" not in judge})
        parts += [f"## {found.known.name}", _means(shown.half(1)), _differences(shown.half(1))]
    parts = ["## Over original", _over_original(sets), *parts]
    parts += ["## Rivals that need no judge", _rivals(sets), "## Soft labels over zones .9", _soft(sets)]
    parts += [_claims(sets), "## The tool's default from an audit, and its regret", _regrets(sets)]
    return "\n\n".join(parts)


def _over_original(sets: Sequence[Found]) -> str:
    """A line per set and judge: points over `original`, with their 95 % intervals."""
    arms = ("remove-hn", "relabel", *(way.name for way in ZONES))
    lines = []
    for found in sets:
        second = found.half(1)
        for judge in (each.name for each in JUDGES):
            differences = [second.difference(judge, arm, "original") for arm in arms]
            if any(differences):
                cells_of = [f"{_points(each)} {_interval(each)}" if each else "" for each in differences]
                lines.append([found.known.name, judge, *cells_of])
    return tabulate(lines, ["set", "judge", *arms], disable_numparse=True, tablefmt="pipe")


def figure(folders: Sequence[Path], work: Path) -> bytes:
    """Relabelling and zones over `original`, by set and judge."""
    lines = []
    for folder in folders:
        found = read(KnownSet(folder, work), work / "runs", ["without", "zones"]).half(1)
        for arm, name in (("relabel", "relabel"), (ZONES[1].name, "zones")):
            for judge in (each.name for each in JUDGES):
                each = found.difference(judge, arm, "original")
                if each is not None:
                    points = points_of(each.difference, each.low, each.high)
                    lines.append(ForestLine(judge, *points, group=f"{found.known.name}: {name}"))
    return forest_png(lines, title="Over the set as it is, by judge")


def _means(found: Found) -> str:
    """A line per judge, a column per arm; the half of the queries that chooses nothing."""
    arms = list(dict.fromkeys(arm for of in found.tables.values() for arm in of))
    lines = []
    for arm in arms:
        line = [arm]
        for judge in found.tables:
            table = found.tables[judge].get(arm)
            line.append("" if table is None else f"{table.mean():.3f} ({len(table)})")
        lines.append(line)
    return tabulate(lines, ["nDCG@10 (seeds)", *found.tables], disable_numparse=True, tablefmt="pipe")


def _differences(found: Found) -> str:
    lines = []
    for judge, arms in found.tables.items():
        differences = {arm: found.difference(judge, arm, of_arm(arm)) for arm in arms if arm != of_arm(arm)}
        known = {arm: each for arm, each in differences.items() if each is not None}
        corrected = holm({arm: each.p for arm, each in known.items()})
        lines += [
            [judge, arm, f"{100 * each.difference:+.2f}", interval_text(each.low, each.high), f"{corrected[arm]:.4f}"]
            for arm, each in known.items()
        ]
    header = ["judge", "arm", "points over original", "95 % interval", "p (Holm)"]
    return tabulate(lines, header, disable_numparse=True, tablefmt="pipe")


def of_arm(arm: str) -> str:
    """What an arm is compared with: `original`, by the same student."""
    return f"{MINILM_NAME}original" if arm.startswith(MINILM_NAME) else "original"


def _claims(sets: Sequence[Found]) -> str:
    judges = [judge for judge in dict.fromkeys(j for each in sets for j in each.tables) if judge != NO_JUDGE]
    judges = [judge for judge in judges if judge in {each.name for each in JUDGES}]
    a, picks = [], []
    for found in sets:
        second = found.half(1)
        for judge in judges:
            each = second.difference(judge, ZONES[1].name, "original")
            if each is not None:
                a.append([found.known.name, judge, f"{100 * each.difference:+.2f}", interval_text(each.low, each.high)])
            if pick := picked(found, judge):
                picks.append([found.known.name, judge, *pick])
    text = ["## (a) zones .9 over original", tabulate(a, ["set", "judge", "points", "95 % interval"], tablefmt="pipe")]
    header = [
        "set",
        "judge",
        "pick",
        "over original",
        "95 % interval",
        "over remove-hn",
        "95 % interval",
        "best",
        "regret",
    ]
    text += ["## (b), (c) the tool's pick", tabulate(picks, header, tablefmt="pipe", disable_numparse=True)]
    regrets = [float(line[-1]) for line in picks]
    text.append(f"mean regret {np.mean(regrets):.2f} points over {len(regrets)} cells" if regrets else "")
    return "\n\n".join(text)


def _rivals(sets: Sequence[Found]) -> str:
    """Of each family the setting that is best on the first half, measured on the second."""
    lines = []
    for found in sets:
        first, second = found.half(0), found.half(1)
        families: dict[str, list[str]] = {}
        for cell in cells(["rivals"]):
            if found.arm(NO_JUDGE, cell.way.name) is not None:
                families.setdefault(cell.way.name.partition(",")[0], []).append(cell.way.name)
        families["original, 1.5 times the steps"] = ["original, 1.5 times the steps"]
        for arms in families.values():
            measured = [arm for arm in arms if first.arm(NO_JUDGE, arm) is not None]
            if measured:
                best = max(measured, key=lambda arm: float(first.tables[NO_JUDGE][arm].mean()))
                over = [second.difference(NO_JUDGE, best, "original")]
                over.append(_between(second, best, NO_JUDGE, ZONES[1].name, PROTOTYPE.name))
                lines.append([found.known.name, best, *(x for each in over for x in (_points(each), _interval(each)))])
    header = ["set", "arm", "over original", "95 % interval", "over zones .9 (.82 / .76)", "95 % interval"]
    return tabulate(lines, header, disable_numparse=True, tablefmt="pipe")


def _soft(sets: Sequence[Found]) -> str:
    lines = []
    for found in sets:
        second = found.half(1)
        for cell in cells(["soft"]):
            assert cell.judge is not None
            each = second.difference(cell.judge.name, cell.way.name, ZONES[1].name)
            if each is not None:
                lines.append([found.known.name, cell.judge.name, cell.way.name, _points(each), _interval(each)])
    header = ["set", "judge", "arm", "over zones .9", "95 % interval"]
    return tabulate(lines, header, disable_numparse=True, tablefmt="pipe")


def _between(found: Found, arm: str, judge: str, other: str, of: str) -> MeanDifference | None:
    one, two = found.arm(judge, arm), found.arm(of, other)
    if one is None or two is None:
        return None
    seeds = min(len(one), len(two))
    return mean_difference([one[:seeds]], [two[:seeds]])


def _interval(each: MeanDifference | None) -> str:
    return "" if each is None else interval_text(each.low, each.high)


def _regrets(sets: Sequence[Found]) -> str:
    """Of what is picked without training: gains over the draws of labels, and what the best arm gains beyond that."""
    lines, totals = [], []
    for found in sets:
        second, default = found.half(1), default_rule(found.known)
        for cell in cells(["regret", "rules", "few rows", "low"]):
            each = None if cell.judge is None else second.difference(cell.judge.name, cell.way.name, "original")
            if cell.judge is None or each is None:
                continue
            judge, _, rule = cell.judge.name.partition(f", {LABELS} labels, ")
            gains = {
                arm: gain.difference
                for arm in second.tables.get(judge, {})
                if arm in COMPARED and (gain := second.difference(judge, arm, "original")) is not None
            } | {"original": 0.0}
            best = max(gains, key=lambda arm: gains[arm])
            sure = np.mean([(cell.judge.scores(found.known, seed) == 1).any() for seed in range(each.seeds)])
            regret = 100 * (gains[best] - each.difference)
            totals.append((rule, regret))
            if rule == default.name:
                totals.append(("the default", regret))
            interval = interval_text(each.low, each.high)
            audits = f"{each.seeds}, {sure:.0%} with a sure zone"
            lines.append([found.known.name, judge, rule, audits, _points(each), interval, best, f"{regret:.2f}"])
    header = ["set", "judge", "thresholds", "audits", "over original", "95 % interval", "best", "regret"]
    table = tabulate(lines, header, disable_numparse=True, tablefmt="pipe")
    means = [
        f"{rule}: mean regret {np.mean([each for of, each in totals if of == rule]):.2f} points"
        for rule in dict.fromkeys(of for of, _ in totals)
    ]
    return "\n\n".join([table, *means])


def default_rule(known: KnownSet) -> Rule:
    """What `audit report --calibrate` takes, by how often a passage returns in the rows."""
    reuse = Reuse()
    for row in known.rows:
        reuse.add(row)
    return LOW[1] if wanted_of(reuse.mean) is LIKELY else DEFAULT


def picked(found: Found, judge: str) -> list[str] | None:
    """Chosen on the first half, measured on the second."""
    arms = [arm for arm in ("original", "remove-hn", *backed(found.known, judge)) if found.arm(judge, arm) is not None]
    if len(arms) < 2 or found.arm(judge, "original") is None:
        return None
    seeds = min(len(found.arm(judge, arm)) for arm in arms)  # type: ignore[arg-type]
    tables = {arm: found.arm(judge, arm)[:seeds] for arm in arms}  # type: ignore[index]
    chosen = _choose(found.known, tables, seeds).chosen
    second = found.half(1)
    means = {arm: float(each[:, 1::2].mean()) for arm, each in tables.items()}
    every = [*(arm for arm in found.tables[judge] if arm in COMPARED), "original"]
    hindsight = {arm: float(second.arm(judge, arm)[:seeds].mean()) for arm in every}  # type: ignore[index]
    best = max(hindsight, key=lambda arm: hindsight[arm])
    over = [second.difference(judge, chosen, other) for other in ("original", "remove-hn")]
    cells = [x for each in over for x in (_points(each), interval_text(each.low, each.high) if each else "")]
    return [chosen, *cells, best, f"{100 * (hindsight[best] - means[chosen]):.2f}"]


def _points(each: MeanDifference | None) -> str:
    return "" if each is None else f"{100 * each.difference:+.2f}"


def _choose(known: KnownSet, tables: Mapping[str, Values], seeds: int) -> CompareReport:
    data = part_of(known.data, list(known.data.queries)[::2])
    values = {data.about.name: {arm: each[:, ::2] for arm, each in tables.items()}}
    measured = Measurements(METRIC, tuple(range(seeds)), (data,), values, dict.fromkeys(tables, len(known.rows)))
    return report_on(measured)


def backed(known: KnownSet, name: str) -> list[str]:
    """The arms whose relabelled part is backed by labels drawn by chance, with 95 % over all of them together."""
    judge = next(cell.judge for cell in cells() if cell.judge is not None and cell.judge.name == name)
    p = judge.kept(known, 0)
    if p is None:
        return []
    drawn = known.drawn(LABELS, 0)
    thresholds = {"relabel": 0.5, **{way.name: way.sure for way in ZONES}}
    found = []
    for arm, threshold in thresholds.items():
        inside = drawn[p[drawn] > threshold]
        if len(inside):
            low, _ = _bounds(known.truth[inside].mean(), len(inside), 1 - 0.05 / len(thresholds))
            if low >= LEAST_BACKED:
                found.append(arm)
    return found
