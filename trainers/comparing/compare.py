"""Which technique is best on this data: the same small student trained on every config, several seeds each.

What each run measured is kept, query by query, in a folder: a comparison that was stopped goes on where it was, and one
with more seeds or configs trains only those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.configs.release import Release
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.calls.progress_bars import running
from hf_relabel.trainers.comparing.trials import Arm, Trial, kept_in, outcome
from hf_relabel.trainers.data.training_data import open_config
from hf_relabel.trainers.evaluation.leaks import warn_of_shared_queries
from hf_relabel.trainers.evaluation.search import TOP_K
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.evaluation.significance import (
    PairedComparison,
    RandomEffects,
    holm,
    paired_comparison,
    random_effects,
)
from hf_relabel.trainers.quiet import quiet_libraries
from hf_relabel.trainers.recipes.recipe import Recipe, TeacherSettings, load_recipe
from hf_relabel.trainers.students.static import default_student

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SEEDS = (0, 1, 2)
METRIC = "ndcg@10"
ALPHA = 0.05
"""Below this chance, after Holm's correction over the techniques, a difference is called significant."""
BASELINE = str(Technique.ORIGINAL)

Progress = Callable[[str, int, int], None]
"""Called with the name of a run, its number and how many there are, before it starts."""


@dataclass(frozen=True)
class Measurements:
    """What every run measured.

    Attributes:
        values: by set, then by arm: shape (seeds, queries), the metric in [0, 1]. Queries are in one order for all.
        rows: by arm: how many rows it trained on.
    """

    metric: str
    seeds: tuple[int, ...]
    sets: tuple[RetrievalSet, ...]
    values: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]
    rows: Mapping[str, int]

    def mean(self, arm: str) -> float:
        """The mean over queries and seeds, then over sets."""
        return sum(float(arms[arm].mean()) for arms in self.values.values()) / len(self.values)


@dataclass(frozen=True)
class Difference:
    """One arm against the baseline.

    Attributes:
        by_set: on each set.
        difference, low, high, p: over all sets: of the one set, or a random-effects summary of several.
        p_holm: `p` after Holm's correction over all arms.
    """

    arm: str
    by_set: Mapping[str, PairedComparison]
    difference: float
    low: float
    high: float
    p: float
    p_holm: float = 1.0

    @property
    def is_better(self) -> bool:
        return self.p_holm < ALPHA and self.difference > 0


@dataclass(frozen=True, repr=False)
class CompareReport(Shown):
    """The outcome of a comparison.

    Attributes:
        means: by arm, the baseline included.
        chosen: the config that the figures speak for, see `choose`.
        student: the recipe's name and model.
    """

    measurements: Measurements
    baseline: str
    means: Mapping[str, float]
    differences: Mapping[str, Difference]
    chosen: str
    reason: str
    student: Mapping[str, Any] = field(default_factory=dict)

    def evidence(self) -> dict[str, Any]:
        """What goes into the manifest of a release and onto its card; plain values, the same for the same runs."""
        measured = self.measurements
        return {
            "metric": measured.metric,
            "seeds": list(measured.seeds),
            "student": dict(self.student),
            "sets": [data.about.model_dump(mode="json", exclude_none=True) for data in measured.sets],
            "baseline": self.baseline,
            "arms": [
                {
                    "name": name,
                    "rows": measured.rows[name],
                    "mean": _rounded(mean),
                    "by_set": {each: _rounded(float(arms[name].mean())) for each, arms in measured.values.items()},
                    **_difference_record(self.differences.get(name)),
                }
                for name, mean in self.means.items()
            ],
            "chosen": self.chosen,
            "reason": self.reason,
        }

    def to_text(self) -> str:
        """The table, and what follows from it."""
        lines = []
        for name, mean in self.means.items():
            difference = self.differences.get(name)
            lines.append(
                {
                    "config": name,
                    "rows": self.measurements.rows[name],
                    f"{self.measurements.metric}": f"{mean:.4f}",
                    "difference": "" if difference is None else f"{100 * difference.difference:+.2f}",
                    "95 % interval": ""
                    if difference is None
                    else f"[{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]",
                    "p (Holm)": "" if difference is None else f"{difference.p_holm:.4f}",
                }
            )
        seeds = len(self.measurements.seeds)
        sets = ", ".join(f"{data.about.name} ({len(data.queries)} queries)" for data in self.measurements.sets)
        table = text_table(lines, disable_numparse=True)
        head = f"{sets}; {seeds} {'seed' if seeds == 1 else 'seeds'}; differences to {self.baseline} in points"
        return f"{head}\n{table}\n{self.chosen}: {self.reason}"


@needs("train", "Comparing")
@expects(release="Release", sets=Sequence)
def compare(
    release: Release,
    sets: Sequence[RetrievalSet],
    *,
    recipe: Recipe | None = None,
    arms: Sequence[str] | None = None,
    teacher: TeacherSettings | None = None,
    seeds: Sequence[int] = SEEDS,
    metric: str = METRIC,
    folder: str | Path | None = None,
    depth: int = TOP_K,
    device: str | None = None,
    progress: Progress | bool | None = True,
) -> CompareReport:
    """Train a student on the configs of a release and say which technique is best.

    Example:
            report = compare(open_release("cleaned"), [read_beir("beir/fiqa")])
            print(report.to_text())

    Args:
        sets: judged by people; queries of the training set must not be among theirs.
        recipe: of the student; None for the static one, whose teacher comes from a package or the Hub.
        arms: configs, or `config+distillation` and `config+perc-pos`; None for all techniques of the release.
        teacher: for these two.
        folder: where runs are kept; None keeps nothing.
        depth: documents of a ranking; for a reranker, those of BM25 that it orders.
        device: torch device; None for the library's choice.
        progress: a bar at a terminal and in a notebook; False for none; or what is called before each run with its
            name, the runs done and their number.

    Raises:
        ConfigError: a config does not exist or cannot be trained on, or there is nothing to compare with.
    """
    student = default_student() if recipe is None else recipe
    names = list(arms) if arms is not None else list(release.manifest["settings"]["techniques"])
    if BASELINE not in names:
        names.insert(0, BASELINE)
    made = [_arm(release, name, student, teacher) for name in dict.fromkeys(names)]
    with running(progress, "comparing") as tell:
        measured = measure(
            made, sets, seeds=seeds, metric=metric, folder=folder, depth=depth, device=device, progress=tell
        )
    report = report_on(measured, baseline=BASELINE)
    described = {"recipe": student.name, "model": _public_name(student.model), "steps": student.max_steps}
    return replace(report, student={name: value for name, value in described.items() if value is not None})


def measure(
    arms: Sequence[Arm],
    sets: Sequence[RetrievalSet],
    *,
    seeds: Sequence[int] = SEEDS,
    metric: str = METRIC,
    folder: str | Path | None = None,
    depth: int = TOP_K,
    device: str | None = None,
    progress: Progress | None = None,
) -> Measurements:
    """Train and evaluate every arm with every seed.

    Raises:
        ConfigError: no set, no seed, two arms or sets of one name, or an arm that cannot be trained.
    """
    import numpy as np

    _check(arms, sets, seeds)
    values: dict[str, dict[str, list[list[float]]]] = {data.about.name: {} for data in sets}
    rows: dict[str, int] = {}
    with kept_in(folder) as runs, quiet_libraries():
        for place, (arm, seed) in enumerate((arm, seed) for arm in arms for seed in seeds):
            if progress is not None:
                progress(f"{arm.name}, seed {seed}", place, len(arms) * len(seeds))
            if seed == seeds[0]:
                data = arm.data()
            if place == 0:
                warn_of_shared_queries(data.rows["query"], sets)
            busy = partial(_told_busy, progress, f"{arm.name}, seed {seed}", place, len(arms) * len(seeds))
            found = outcome(Trial(arm, data, seed, tuple(sets), metric, depth, device), runs, busy=busy)
            rows[arm.name] = found["rows"]
            for name, line in found["values"].items():
                values[name].setdefault(arm.name, []).append(line)
    arrays = {name: {arm: np.array(lines) for arm, lines in by_arm.items()} for name, by_arm in values.items()}
    return Measurements(metric, tuple(seeds), tuple(sets), arrays, rows)


def _told_busy(progress: Progress | None, name: str, done: int, total: int) -> None:
    if progress is not None:
        progress(f"{name} (waiting for the process that makes this run)", done, total)


def report_on(measured: Measurements, *, baseline: str = BASELINE) -> CompareReport:
    """Compare the arms with the baseline, query by query, and choose."""
    names = list(measured.rows)
    differences = {name: _difference(measured, name, baseline) for name in names if name != baseline}
    corrected = holm({name: difference.p for name, difference in differences.items()}) if differences else {}
    differences = {name: replace(each, p_holm=corrected[name]) for name, each in differences.items()}
    chosen, reason = choose(differences, baseline)
    means = {name: measured.mean(name) for name in names}
    return CompareReport(measured, baseline, means, differences, chosen, reason)


def choose(differences: Mapping[str, Difference], baseline: str = BASELINE) -> tuple[str, str]:
    """The config to load by default, and why.

    The one with the greatest gain among those significantly better than the baseline. Where there is none, `remove-hn`,
    which a wrong judge harms least, unless it measured lower; then the baseline. Arms with a teacher
    (`config+distillation`) are no configs, and are not chosen.
    """
    configs = {name: each for name, each in differences.items() if "+" not in name}
    better = {name: each for name, each in configs.items() if each.is_better}
    if better:
        name = max(better, key=lambda each: better[each].difference)
        best = better[name]
        return name, (
            f"{100 * best.difference:+.2f} points over {baseline} [{100 * best.low:+.2f}, {100 * best.high:+.2f}],"
            f" p = {best.p_holm:.4f} (Holm)"
        )
    safe = str(Technique.REMOVE_HN)
    if safe in configs and configs[safe].difference >= 0:
        return safe, f"no technique is significantly better than {baseline}; {safe} is the safe one, and not lower"
    return baseline, "no technique is significantly better"


def _difference(measured: Measurements, arm: str, baseline: str) -> Difference:
    by_set = {name: paired_comparison(arms[arm], arms[baseline]) for name, arms in measured.values.items()}
    if len(by_set) == 1:
        only = next(iter(by_set.values()))
        return Difference(arm, by_set, only.difference, only.low, only.high, only.p_bootstrap)
    summary: RandomEffects = random_effects(
        [each.difference for each in by_set.values()], [each.standard_error for each in by_set.values()]
    )
    return Difference(arm, by_set, summary.mean, summary.low, summary.high, summary.p)


def _arm(release: Release, name: str, recipe: Recipe, teacher: TeacherSettings | None) -> Arm:
    config, _, use = name.partition("+")
    release.files(config)  # says so now if there is none
    if use:
        if teacher is None:
            raise ConfigError(f"{name} needs a teacher, a cross-encoder: {argument('teacher', ...)}.")
        try:
            settings = TeacherSettings.model_validate({**teacher.model_dump(), "use": use})
        except ValueError:
            raise ConfigError(f"{name}: a teacher is for `+distillation` or `+perc-pos`, not {use!r}.") from None
        recipe = load_recipe(recipe.model_dump(), teacher=settings.model_dump())
    return Arm(name, config, recipe, lambda: open_config(release, config))


def _check(arms: Sequence[Arm], sets: Sequence[RetrievalSet], seeds: Sequence[int]) -> None:
    if not sets:
        raise ConfigError(
            f"There is nothing to measure on: name a set with judgements of people, {argument('sets', ...)}."
        )
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError("Give one or more seeds, each once.")
    for what, names in (("configs", [arm.name for arm in arms]), ("sets", [data.about.name for data in sets])):
        if len(set(names)) < len(names):
            raise ConfigError(f"Two of the {what} to compare have one name: {', '.join(names)}.")


def _public_name(model: str) -> str:
    """A model without the folders it happens to lie in."""
    return Path(model).name if Path(model).is_absolute() or model.startswith(".") else model


def _rounded(value: float) -> float:
    return round(value, 6)


def _difference_record(difference: Difference | None) -> dict[str, Any]:
    if difference is None:
        return {}
    return {
        "difference": _rounded(difference.difference),
        "low": _rounded(difference.low),
        "high": _rounded(difference.high),
        "p_holm": _rounded(difference.p_holm),
        "effect_size": {name: _rounded(each.effect_size) for name, each in difference.by_set.items()},
        "differences": {
            name: [_rounded(each.difference), _rounded(each.low), _rounded(each.high)]
            for name, each in difference.by_set.items()
        },
    }
