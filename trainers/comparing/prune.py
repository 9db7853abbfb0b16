"""Which subsets of a training set help, and which harm: leave one out, train, compare (RLHN, arXiv 2505.16967).

Each run is kept, so that a pruning that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.nearest import nearest_and_all
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.hub_tools.calls.progress_bars import running
from hf_relabel.trainers.comparing.choosing import in_points, p_text, undecided
from hf_relabel.trainers.comparing.compare import CompareReport, report_on
from hf_relabel.trainers.comparing.measurements import METRIC, SEEDS, Measurements, Measuring, Progress, measure
from hf_relabel.trainers.comparing.trials import Arm
from hf_relabel.trainers.data.training_data import TrainingData
from hf_relabel.trainers.devices import one_process_only
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.evaluation.significance import MeanDifference, interval_text
from hf_relabel.trainers.recipes.recipe import Recipe
from hf_relabel.trainers.students.static import default_student

EVERYTHING = "all"
KEPT = "kept"
POINT = 0.01
"""More than this is a change of a set that RLHN's table 12 counts."""

Rule = Literal["significant", "mean"]
"""Which subsets go: those without which training is significantly better, or all without which the mean does not fall.

`mean` is RLHN's (arXiv 2505.16967v2, section 5.1, figure 4, table 12: what is kept are subsets whose removal lowers the
mean). Of the eleven that were so, by 0.1 to 1.4 points, the authors kept the seven that the sets of BEIR need, by hand.
"""


@dataclass(frozen=True)
class PrunedSubset:
    """What leaving a subset out did, in the metric's own unit.

    Attributes:
        rows: of the subset.
        harm: what was gained without it: above 0 where it harms; `low` and `high` bound it, None where one seed or one
            query leaves them unknown, as `p_holm` is then.
        keep: whether it should stay.
        better_on, worse_on: sets that change by more than a point without it.
    """

    subset: str
    rows: int
    harm: float
    low: float | None
    high: float | None
    p_holm: float | None
    keep: bool
    better_on: int = 0
    worse_on: int = 0


@dataclass(frozen=True, repr=False)
class PruneReport(Shown):
    """The subsets, most harmful first, and what is left of the set without those that harm.

    Attributes:
        kept: subsets to keep.
        with_all, with_kept: means on all subsets, and on those kept; None where all are kept, or none.
        kept_gain: the difference of the two. The choice was made on the same runs and queries, so it is a little too
            good.
        rule: see `Rule`.
    """

    metric: str
    subsets: tuple[PrunedSubset, ...]
    kept: tuple[str, ...]
    with_all: float
    with_kept: float | None
    comparison: CompareReport
    kept_gain: MeanDifference | None = None
    rule: Rule = "significant"

    def to_dict(self) -> dict[str, Any]:
        from dataclasses import asdict

        return {
            "metric": self.metric,
            "subsets": [asdict(each) for each in self.subsets],
            "kept": list(self.kept),
            "with_all": self.with_all,
            "with_kept": self.with_kept,
            "kept_gain": None if self.kept_gain is None else _record(self.kept_gain),
            "rule": self.rule,
        }

    def to_text(self) -> str:
        """The paper's table: a line per subset, with what the metric is without it."""
        several = len(self.comparison.measurements.values) > 1
        lines = [
            {
                "left out": each.subset,
                "rows": each.rows,
                f"{self.metric} without it": f"{self.with_all + each.harm:.4f}",
                "change": f"{100 * each.harm:+.2f}",
                "95 % interval": interval_text(each.low, each.high),
                "p (Holm)": p_text(each.p_holm),
                **({"sets better, worse": f"{each.better_on}, {each.worse_on}"} if several else {}),
                "advice": "keep" if each.keep else "prune",
            }
            for each in self.subsets
        ]
        table = text_table(lines, disable_numparse=True)
        text = f"{table}\nWith all subsets {self.with_all:.4f}"
        if self.with_kept is not None:
            text += f"; with those kept {self.with_kept:.4f}"
            if self.kept_gain is not None:
                text += f", {in_points(self.kept_gain)} (chosen on the same runs and queries, so a little too good)"
        for name, count in self.comparison.measurements.left_out.items():
            text += f". {name}: {count} {'query is' if count == 1 else 'queries are'} trained on, and left out"
        if not self.kept:
            return (
                f"{text}. By the rule {self.rule} no subset would be kept: the mean falls without none of them. That"
                " says nothing of leaving out several at once, so leave out none by it."
            )
        more = undecided(self.comparison.differences) if self.rule == "significant" else ""
        return f"{text}. Keep, by the rule {self.rule}: {', '.join(self.kept)}{more}."


@needs("train", "Pruning")
@expects(data="TrainingData", sets=Sequence)
def prune(
    data: TrainingData,
    sets: Sequence[RetrievalSet],
    *,
    recipe: Recipe | None = None,
    seeds: Sequence[int] = SEEDS,
    metric: str = METRIC,
    rule: Rule = "significant",
    folder: str | Path | None = None,
    device: str | None = None,
    keep_models: bool = True,
    progress: Progress | bool | None = True,
) -> PruneReport:
    """Train without each subset in turn, and say which to keep, by a rule. Then train on those, against all.

    Example:
            data = open_training_data("user/train-relabeled", "relabel")
            print(prune(data, [read_beir("beir/fiqa")]).to_text())

    Args:
        data: rows of at least two subsets.
        sets: to measure on. Queries that are trained on are left out, as in `compare`.
        recipe: of what is trained; None for the static student.
        rule: `significant` keeps what does not harm significantly, `mean` only that without which the mean falls, as
            RLHN does.
        folder: where runs and their models are kept; None keeps nothing.
        keep_models, progress: as for `compare`.

    Raises:
        ConfigError: there are fewer than two subsets, or a run cannot be made.
    """
    one_process_only("Pruning")
    if rule not in get_args(Rule):
        raise ConfigError(f"There is no rule {rule!r}.{nearest_and_all(rule, get_args(Rule))}")
    student = default_student() if recipe is None else recipe
    names = data.rows["subset"]
    counts = dict.fromkeys(names, 0)
    for name in names:
        counts[name] += 1
    if len(counts) < 2:
        raise ConfigError(f"{data.used.location} has one subset: there is nothing to leave out.")
    with running(progress, "pruning") as tell:
        how = Measuring(seeds, metric, folder, device=device, keep_models=keep_models, progress=tell)
        return _pruned(data, sets, student, counts, how, rule)


def _pruned(
    data: TrainingData,
    sets: Sequence[RetrievalSet],
    student: Recipe,
    counts: Mapping[str, int],
    how: Measuring,
    rule: Rule,
) -> PruneReport:
    """Measure all subsets and all without each, then those that are kept.

    Args:
        counts: rows of each subset.
    """
    arms = [Arm(EVERYTHING, data.used.config, student, lambda: data)]
    arms += [_without(data, student, (name,), f"without {name or '(none)'}") for name in sorted(counts)]
    report = report_on(measure(arms, sets, how), baseline=EVERYTHING)
    pruned = []
    for name in sorted(counts):
        found = report.differences[f"without {name or '(none)'}"]
        pruned.append(
            PrunedSubset(
                name,
                counts[name],
                found.difference,
                found.overall.low,
                found.overall.high,
                found.known_p,
                keep=found.difference < 0 if rule == "mean" else not found.is_better,
                better_on=sum(each.difference > POINT for each in found.by_set.values()),
                worse_on=sum(each.difference < -POINT for each in found.by_set.values()),
            )
        )
    pruned.sort(key=lambda each: (-each.harm, each.subset))
    gone = tuple(sorted(each.subset for each in pruned if not each.keep))
    kept = tuple(sorted(each.subset for each in pruned if each.keep))
    both = None
    if gone and kept:
        last = measure([_without(data, student, gone, KEPT)], report.measurements.sets, how)
        both = _together(report.measurements, last)
    return PruneReport(
        report.measurements.metric,
        tuple(pruned),
        kept,
        report.means[EVERYTHING],
        None if both is None else both.mean(KEPT),
        report,
        None if both is None else both.difference(KEPT, EVERYTHING),
        rule,
    )


def _together(one: Measurements, other: Measurements) -> Measurements:
    """Measurements of other arms on the same queries with the same seeds."""
    values = {name: {**arms, **other.values[name]} for name, arms in one.values.items()}
    return replace(one, values=values, rows={**one.rows, **other.rows})


def _record(found: MeanDifference) -> dict[str, float | None]:
    known = found.low is not None
    return {
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p if known else None,
    }


def _without(data: TrainingData, recipe: Recipe, subsets: tuple[str, ...], name: str) -> Arm:
    def rows() -> TrainingData:
        places = [place for place, subset in enumerate(data.rows["subset"]) if subset not in subsets]
        fingerprint = f"{data.fingerprint} without {subsets!r}"
        return TrainingData(data.used, data.rows.select(places), fingerprint)

    return Arm(name, data.used.config, recipe, rows)
