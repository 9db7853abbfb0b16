"""Which technique is best on this data: the same small student trained on every config, several seeds each.

Models, and what each measured query by query, are kept in a folder: a comparison that was stopped goes on where it was,
one with more seeds or configs trains only those, and one with another set trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hf_relabel.builders.configs.release import Release
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.builders.techniques import Technique
from hf_relabel.cards.set_groups import mean_name
from hf_relabel.hub_tools.calls.progress_bars import running
from hf_relabel.trainers.comparing.arms import Models, arms_of
from hf_relabel.trainers.comparing.beforehand import Changes, changes_of, told_beforehand
from hf_relabel.trainers.comparing.choosing import (
    SAFE,
    Difference,
    choose,
    differences_to,
    p_text,
    rounded,
)
from hf_relabel.trainers.comparing.measurements import (
    METRIC,
    SEEDS,
    TOGETHER,
    Measurements,
    Measuring,
    Progress,
    measure,
)
from hf_relabel.trainers.comparing.zone_arms import ZONES, zone_arms, zones_at
from hf_relabel.trainers.devices import one_process_only
from hf_relabel.trainers.evaluation.search import TOP_K
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.evaluation.significance import interval_text
from hf_relabel.trainers.recipes.recipe import GuideSettings, Recipe, TeacherSettings
from hf_relabel.trainers.students.static import default_student

BASELINE = str(Technique.ORIGINAL)


@dataclass(frozen=True, repr=False)
class CompareReport(Shown):
    """The outcome of a comparison.

    Attributes:
        means: by arm, the baseline included.
        chosen: the config that the figures speak for, see `choose`.
        student: the recipe's name and model.
        notes: of arms of which more is to be told, such as the steps of `original+steps`.
        changes: by arm, what its config does to the rows, as far as the release tells.
    """

    measurements: Measurements
    baseline: str
    means: Mapping[str, float]
    differences: Mapping[str, Difference]
    chosen: str
    reason: str
    student: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Changes] = field(default_factory=dict)

    @property
    def zones_at(self) -> float | None:
        """Of an arm `zones@0.7` that was chosen, its probability; None of any other."""
        return zones_at(self.chosen)

    @property
    def config(self) -> str:
        """The config of the arm that was chosen."""
        return self.chosen if self.zones_at is None else ZONES

    def evidence(self) -> dict[str, Any]:
        """What goes into the manifest of a release and onto its card; plain values, the same for the same runs."""
        measured = self.measurements
        return {
            "metric": measured.metric,
            "seeds": list(measured.seeds),
            "student": dict(self.student),
            "sets": [data.about.model_dump(mode="json", exclude_none=True) for data in measured.sets],
            **({"left_out": dict(measured.left_out)} if measured.left_out else {}),
            "baseline": self.baseline,
            "arms": [
                {
                    "name": name,
                    "rows": measured.rows[name],
                    "mean": rounded(mean),
                    "by_set": {each: rounded(float(arms[name].mean())) for each, arms in measured.values.items()},
                    **({"changes": dict(self.changes[name])} if name in self.changes else {}),
                    **(self.differences[name].record() if name in self.differences else {}),
                }
                for name, mean in self.means.items()
            ],
            **({"notes": dict(self.notes)} if self.notes else {}),
            "chosen": self.config,
            **({} if self.zones_at is None else {"zones_at": self.zones_at}),
            "reason": self.reason,
        }

    def to_text(self) -> str:
        """The table, and what follows from it."""
        measured = self.measurements
        lines = []
        for name, mean in self.means.items():
            line = {"config": name, "rows": measured.rows[name], f"{measured.metric}": f"{mean:.4f}"}
            if found := self.differences.get(name):
                line |= {
                    "difference": f"{100 * found.difference:+.2f}",
                    "95 % interval": interval_text(found.overall.low, found.overall.high),
                    "p (Holm)": p_text(found.known_p),
                }
            lines.append(line)
        seeds = len(measured.seeds)
        sets = ", ".join(f"{data.about.name} ({len(data.queries)} queries)" for data in measured.sets)
        table = text_table(lines, disable_numparse=True)
        head = f"{sets}; {seeds} {'seed' if seeds == 1 else 'seeds'}; differences to {self.baseline} in points"
        if len(measured.sets) > 1:
            head += f"; means of {mean_name(list(measured.values))}"
        for name, count in measured.left_out.items():
            head += f"\n{name}: {count} more {'query is' if count == 1 else 'queries are'} trained on, and left out"
        notes = "".join(f"{name}: {note}\n" for name, note in self.notes.items())
        return f"{head}\n{table}\n{notes}{self._sets_text()}{self.chosen}: {self.reason}"

    def _sets_text(self) -> str:
        """A table of each set; nothing for one set, whose differences are those of the mean."""
        measured = self.measurements
        if len(measured.values) < 2:
            return ""
        lines = [
            {"set": name, "config": arm, self.measurements.metric: f"{found.mean:.4f}", **found.text()}
            for arm in self.differences
            for name, found in measured.by_set(arm, self.baseline).items()
        ]
        return f"{text_table(lines, disable_numparse=True)}\n{TOGETHER}\n"


@needs("train", "Comparing")
@expects(release="Release", sets=Sequence)
def compare(
    release: Release,
    sets: Sequence[RetrievalSet],
    *,
    recipe: Recipe | None = None,
    arms: Sequence[str] | None = None,
    teacher: TeacherSettings | None = None,
    guide: GuideSettings | str | None = None,
    seeds: Sequence[int] = SEEDS,
    metric: str = METRIC,
    folder: str | Path | None = None,
    depth: int = TOP_K,
    device: str | None = None,
    keep_models: bool = True,
    progress: Progress | bool | None = True,
    before: Callable[[str], None] | None = None,
) -> CompareReport:
    """Train a student on the configs of a release and say which technique is best.

    Example:
            report = compare(open_release("cleaned"), [read_beir("beir/fiqa")])
            print(report.to_text())

    Args:
        sets: judged by people. Queries that are trained on are left out and counted; a set that has no others is
            refused.
        recipe: of the student; None for the static one, whose teacher comes from a package or the Hub.
        arms: configs, or what needs no judge: `config+distillation`, `+perc-pos`, `+guide`, `+debiased`, `+gce`,
            `+ccr`, `+label-weakening`, `+sieve`, with parameters as in `original+gce:q=0.5`, see `arms.ADDITIONS`, and
            `+steps`, see `matched_steps`; None for all techniques of the release, and of one by thresholds for
            those of `zones@0.5`, `zones@0.7`, `zones@0.9` and `zones@0.95` that its labels back, see `zone_arms`.
            `original` and, where it was built, `remove-hn` are always among them.
        teacher: for the first two. It scores the rows of a config once for all their runs.
        guide: for `+guide`; None for the teacher, where that is a bi-encoder.
        seeds: of the runs of each. Few say little of how far the next would be off.
        folder: where runs and their models are kept; None keeps nothing.
        depth: documents of a ranking; for a reranker, those of BM25 that it orders.
        device: torch device; None for the library's choice.
        keep_models: keep the models too; without them, more sets or another metric train anew.
        progress: a bar at a terminal and in a notebook; False for none; or what is called before each run and
            at each of its steps, with its name, the runs done and their number.
        before: called once before anything is trained, with a table of what each config did to the rows, and with what
            guides will encode.

    Raises:
        ConfigError: a config does not exist or cannot be trained on, or there is nothing to compare with.
    """
    one_process_only("Comparing")
    student = default_student() if recipe is None else recipe
    built = list(release.manifest["settings"]["techniques"])
    names = [BASELINE, *([SAFE] if SAFE in built else []), *arms] if arms is not None else [BASELINE, *built]
    asked = Models(teacher, GuideSettings(model=guide) if isinstance(guide, str) else guide)
    with zone_arms(release) as zones, running(progress, "comparing") as tell:
        names += [] if arms is not None else zones.backed()
        made = arms_of(zones, names, student, asked)
        changes = changes_of(zones, made)
        if before is not None:
            before(told_beforehand(made, changes))
        measured = measure(made, sets, Measuring(seeds, metric, folder, depth, device, keep_models, tell))
    report = report_on(measured, baseline=BASELINE, calibrated=zones.calibration is not None)
    described = {"recipe": student.name, "model": _public_name(student.model), "steps": student.max_steps}
    return replace(
        report,
        student={name: value for name, value in described.items() if value is not None},
        notes={arm.name: arm.note for arm in made if arm.note},
        changes=changes,
    )


def report_on(measured: Measurements, *, baseline: str = BASELINE, calibrated: bool = False) -> CompareReport:
    """Compare the arms with the baseline, query by query and seed by seed, and choose.

    Args:
        calibrated: whether the configs follow thresholds of an audit, see `choose`.
    """
    differences = differences_to(baseline, measured)
    chosen, reason = choose(differences, baseline, calibrated=calibrated)
    means = {name: measured.mean(name) for name in measured.rows}
    return CompareReport(measured, baseline, means, differences, chosen, reason)


def _public_name(model: str) -> str:
    """A model without the folders it happens to lie in."""
    return Path(model).name if Path(model).is_absolute() or model.startswith(".") else model
