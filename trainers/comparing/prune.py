"""Which subsets of a training set help, and which harm: leave one out, train, compare (RLHN, arXiv 2505.16967).

Each run is kept, so that a pruning that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.hub_tools.calls.progress_bars import running
from hf_relabel.trainers.comparing.choosing import p_text, undecided
from hf_relabel.trainers.comparing.compare import CompareReport, report_on
from hf_relabel.trainers.comparing.measurements import METRIC, SEEDS, Measuring, Progress, measure
from hf_relabel.trainers.comparing.trials import Arm
from hf_relabel.trainers.data.training_data import TrainingData
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.evaluation.significance import interval_text
from hf_relabel.trainers.recipes.recipe import Recipe
from hf_relabel.trainers.students.static import default_student

EVERYTHING = "all"
KEPT = "kept"


@dataclass(frozen=True)
class PrunedSubset:
    """What leaving a subset out did, in the metric's own unit.

    Attributes:
        rows: of the subset.
        harm: what was gained without it: above 0 where it harms; `low` and `high` bound it, None where one seed or one
            query leaves them unknown, as `p_holm` is then.
        keep: whether it should stay.
    """

    subset: str
    rows: int
    harm: float
    low: float | None
    high: float | None
    p_holm: float | None
    keep: bool


@dataclass(frozen=True, repr=False)
class PruneReport(Shown):
    """The subsets, most harmful first, and what is left of the set without those that harm.

    Attributes:
        kept: subsets to keep.
        with_all, with_kept: means on all subsets, and on those kept; None where all are kept.
    """

    metric: str
    subsets: tuple[PrunedSubset, ...]
    kept: tuple[str, ...]
    with_all: float
    with_kept: float | None
    comparison: CompareReport

    def to_dict(self) -> dict[str, Any]:
        from dataclasses import asdict

        return {
            "metric": self.metric,
            "subsets": [asdict(each) for each in self.subsets],
            "kept": list(self.kept),
            "with_all": self.with_all,
            "with_kept": self.with_kept,
        }

    def to_text(self) -> str:
        """The paper's table: a line per subset, with what the metric is without it."""
        lines = [
            {
                "left out": each.subset,
                "rows": each.rows,
                f"{self.metric} without it": f"{self.with_all + each.harm:.4f}",
                "change": f"{100 * each.harm:+.2f}",
                "95 % interval": interval_text(each.low, each.high),
                "p (Holm)": p_text(each.p_holm),
                "advice": "keep" if each.keep else "prune",
            }
            for each in self.subsets
        ]
        table = text_table(lines, disable_numparse=True)
        text = f"{table}\nWith all subsets {self.with_all:.4f}"
        if self.with_kept is not None:
            text += f"; with those kept {self.with_kept:.4f}"
        for name, count in self.comparison.measurements.left_out.items():
            text += f". {name}: {count} {'query is' if count == 1 else 'queries are'} trained on, and left out"
        return f"{text}. Keep: {', '.join(self.kept)}{undecided(self.comparison.differences)}."


@needs("train", "Pruning")
@expects(data="TrainingData", sets=Sequence)
def prune(
    data: TrainingData,
    sets: Sequence[RetrievalSet],
    *,
    recipe: Recipe | None = None,
    seeds: Sequence[int] = SEEDS,
    metric: str = METRIC,
    folder: str | Path | None = None,
    device: str | None = None,
    keep_models: bool = True,
    progress: Progress | bool | None = True,
) -> PruneReport:
    """Train without each subset in turn, and say which to keep: those whose removal does not help significantly.

    Example:
            data = open_training_data("user/train-relabeled", "relabel")
            print(prune(data, [read_beir("beir/fiqa")]).to_text())

    Args:
        data: rows of at least two subsets.
        sets: to measure on. Queries that are trained on are left out, as in `compare`.
        recipe: of what is trained; None for the static student.
        folder: where runs and their models are kept; None keeps nothing.
        keep_models, progress: as for `compare`.

    Raises:
        ConfigError: there are fewer than two subsets, or a run cannot be made.
    """
    student = default_student() if recipe is None else recipe
    names = data.rows["subset"]
    counts = dict.fromkeys(names, 0)
    for name in names:
        counts[name] += 1
    if len(counts) < 2:
        raise ConfigError(f"{data.used.location} has one subset: there is nothing to leave out.")
    with running(progress, "pruning") as tell:
        how = Measuring(seeds, metric, folder, device=device, keep_models=keep_models, progress=tell)
        return _pruned(data, sets, student, counts, how)


def _pruned(
    data: TrainingData,
    sets: Sequence[RetrievalSet],
    student: Recipe,
    counts: Mapping[str, int],
    how: Measuring,
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
                keep=not found.is_better,
            )
        )
    pruned.sort(key=lambda each: (-each.harm, each.subset))
    gone = tuple(sorted(each.subset for each in pruned if not each.keep))
    kept = tuple(sorted(each.subset for each in pruned if each.keep))
    with_kept = None
    if gone and kept:
        last = measure([_without(data, student, gone, KEPT)], report.measurements.sets, how)
        with_kept = last.mean(KEPT)
    return PruneReport(report.measurements.metric, tuple(pruned), kept, report.means[EVERYTHING], with_kept, report)


def _without(data: TrainingData, recipe: Recipe, subsets: tuple[str, ...], name: str) -> Arm:
    def rows() -> TrainingData:
        places = [place for place, subset in enumerate(data.rows["subset"]) if subset not in subsets]
        fingerprint = f"{data.fingerprint} without {subsets!r}"
        return TrainingData(data.used, data.rows.select(places), fingerprint)

    return Arm(name, data.used.config, recipe, rows)
