"""What happened in a training run: training.json, written beside the model and read for its card.

Everything in a model card comes from here; what is not known is None and is left out of the card, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import CardError
from hf_relabel.builders.messages.problems import first_line

REPORT_NAME = "training.json"
SCHEMA_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataUsed(_Part):
    """The rows a model was trained on.

    Attributes:
        location: as the user named it.
        repo_id: on the Hub; None for a folder or a file.
        revision: the commit; None where there is none.
        version: the release's tag, such as `v1.0.0`.
        source: the `source` of the release's manifest: what was relabelled.
        rows: that were trained on; `skipped` were left out, having no query or no positive, or too few negatives.
        known_negatives: hard negatives that were left out, as another row has them for positives of the same query.
    """

    location: str
    config: str
    split: str = "train"
    repo_id: str | None = None
    revision: str | None = None
    version: str | None = None
    source: Mapping[str, Any] | None = None
    rows: int | None = None
    skipped: int = 0
    known_negatives: int = 0


class ModelUsed(_Part):
    """A model on the Hub, in a folder or in a package, and its commit where that is known."""

    name: str
    revision: str | None = None


class EvaluationSet(_Part):
    """What a model was evaluated on.

    Attributes:
        repo_id, config, revision: on the Hub; None for a folder.
    """

    name: str
    repo_id: str | None = None
    config: str | None = None
    split: str = "test"
    revision: str | None = None
    queries: int | None = None
    documents: int | None = None


class Measured(_Part):
    """The means of one model on one set, by name of the metric (`ndcg@10`), in [0, 1]."""

    set: EvaluationSet
    metrics: dict[str, float]


class Teaching(_Part):
    """What the scores of a teacher, or of a sieve's model, did to the rows.

    Attributes:
        rows_left_out: that it left with too few negatives; they are not among `DataUsed.rows`.
        negatives_left_out: of all rows.
        passages: that the student saw of a row in a step, the mean.
        effective_passages: how many of them the teacher's distribution spoke of: exp of its entropy, the mean over the
            rows. Near 1 it says no more than a label.
    """

    rows_left_out: int = 0
    negatives_left_out: int = 0
    passages: float | None = None
    effective_passages: float | None = None


class Guided(_Part):
    """What a guide (GISTEmbed) did: `compared` negatives were looked at in all steps, `left_out` counted for nothing.
    On several devices, those of the first."""

    compared: int
    left_out: int


class CurvePoint(_Part):
    """A line of the training log: the loss since the line before, and what an evaluation then gave."""

    step: int
    epoch: float | None = None
    loss: float | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


class Hardware(_Part):
    """The machine: names of the accelerators (none on a CPU), cores and bytes of memory."""

    accelerators: tuple[str, ...] = ()
    processor: str | None = None
    cores: int | None = None
    memory: int | None = None


class AuthorsBatch(_Part):
    """What the authors of a recipe trained with: their devices, and the rows of an update."""

    devices: int
    rows: int


class MeasuredDifference(_Part):
    """This config against another: means over the runs of each, in the metric's own unit.

    Attributes:
        name: of a set; of the mean over several, what it is of.
        queries: those that were measured on.
        this, other: means of the two.
        low, high: bounds of `difference`; None for one run of each, which says nothing of other runs.
    """

    name: str
    queries: int
    this: float
    other: float
    difference: float
    low: float | None = None
    high: float | None = None


class Comparison(_Part):
    """The same training on another config.

    Attributes:
        config: the other one.
        seeds: of the runs of each.
        evaluations: what the other one gave on sets of `TrainingReport.evaluations`: means over its runs.
        metric: of the differences.
        differences: on each set, with bounds that hold for all sets together (Bonferroni).
        overall: of the mean over the sets.
        p: chance of a difference like `overall` where there is none; None where it has no bounds.
        left_out: by set: how many of its queries are trained on, and were not measured on.
    """

    config: str
    seeds: tuple[int, ...] = ()
    evaluations: tuple[Measured, ...]
    metric: str | None = None
    differences: tuple[MeasuredDifference, ...] = ()
    overall: MeasuredDifference | None = None
    p: float | None = None
    left_out: dict[str, int] = Field(default_factory=dict)

    @property
    def bounded(self) -> MeasuredDifference | None:
        """`overall`, where its bounds are known."""
        return self.overall if self.overall is not None and self.overall.low is not None else None


class TrainingReport(_Part):
    """A training run.

    Attributes:
        kind: of the recipe: bi-encoder, static, sparse, late-interaction or reranker.
        recipe: all fields of the recipe as they were used.
        base: the model training started from. Of a static student: its teacher.
        devices: that trained it, a process each; an update has `batch_size` × devices × `gradient_accumulation` rows.
        authors: the same of those whose recipe it is, where it is theirs.
        steps: updates made; `seconds` is their time by the clock, over all sittings of a run that was resumed.
        best_step: whose weights were kept, where an evaluation on `dev` chose; None for the last.
        dev: the sets that chose the step.
        trained_queries: how many queries of each set of `evaluations` are in the rows that were trained on.
        before: the untrained model on the sets of `evaluations`; none where it was not evaluated.
        comparison: the same training on the config `original`.
        technique: how false negatives were treated beyond the config: "distillation", "perc-pos", "sieve"
            or None.
        teacher: who gave the scores for these.
        teaching: what they did to the rows.
        guide: who left out negatives in training, and `guided` how many.
        dimensions: of a vector; None for a reranker.
        similarity: the name of the model's similarity function, such as `cosine`.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str
    recipe: dict[str, Any]
    base: ModelUsed
    data: DataUsed
    seed: int
    devices: int = 1
    authors: AuthorsBatch | None = None
    steps: int
    epochs: float | None = None
    best_step: int | None = None
    dev: tuple[EvaluationSet, ...] = ()
    trained_queries: dict[str, int] = Field(default_factory=dict)
    seconds: float
    resumed: int = 0
    hardware: Hardware = Hardware()
    curve: tuple[CurvePoint, ...] = ()
    before: tuple[Measured, ...] = ()
    evaluations: tuple[Measured, ...] = ()
    comparison: Comparison | None = None
    technique: str | None = None
    teacher: ModelUsed | None = None
    teaching: Teaching | None = None
    guide: ModelUsed | None = None
    guided: Guided | None = None
    parameters: int | None = None
    dimensions: int | None = None
    max_length: int | None = None
    similarity: str | None = None
    finished: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def batch(self) -> int | None:
        """Rows of an update, over all devices; None where the recipe is not one of ours."""
        parts = [self.recipe.get(name) for name in ("batch_size", "gradient_accumulation")]
        if not all(isinstance(part, int) for part in parts):
            return None
        return int(parts[0] or 0) * int(parts[1] or 0) * self.devices

    def __repr__(self) -> str:
        """On one screen: what was trained, on what, and what it gave."""
        measured = [f"  {each.set.name}: {each.metrics}" for each in self.evaluations]
        what = f"{self.kind} of {self.base.name} on {self.data.location}, {self.data.config}"
        return "\n".join([f"TrainingReport: {what}; {self.steps:,} steps in {self.seconds:,.0f} s", *measured])

    __str__ = __repr__

    def write(self, folder: Path) -> Path:
        """Write training.json, keys in order, so that the same report gives the same bytes."""
        path = folder / REPORT_NAME
        with written_whole(path) as file:
            file.write(f"{self.model_dump_json(indent=2)}\n".encode())
        return path


def read_training_report(folder: Path) -> TrainingReport:
    """Read the training.json of a model's folder.

    Raises:
        CardError: there is none, or it is not one of ours.
    """
    path = folder / REPORT_NAME
    try:
        return TrainingReport.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CardError(f"{folder} has no {REPORT_NAME}: no training by hf-relabel has ended there.") from error
    except ValidationError as error:
        raise CardError(f"{path} cannot be read: {first_line(error)}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise CardError(f"{path} cannot be read: {reason}") from error
