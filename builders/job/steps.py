"""The settings of what is done with the verdicts: audit, build, push, compare, train."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from hf_relabel.builders.job.values import FolderName, Settings, Texts
from hf_relabel.builders.techniques import canonical, default_of

ConfigName = Annotated[str, BeforeValidator(lambda name: canonical(name) if isinstance(name, str) else name)]
"""Of a technique or another config; `zones` is read as `relabel-filter`."""

NOT_WRITTEN = "-"
"""In place of the folder of configs, for what is sent and not written."""


class AuditSettings(Settings):
    """A blind sample for people, and what follows from their answers. See `hf relabel audit --help`."""

    out: FolderName
    """Folder of the sample, of the files for people, and of `calibration.json`."""
    size: int = Field(default=400, ge=1)
    """How many candidates are drawn."""
    seed: int = 0
    """Another seed draws another sample."""
    export: tuple[Literal["csv", "label-studio", "argilla"], ...] = ("csv",)
    """Files for people."""
    people: int = Field(default=1, ge=1)
    """How many are to answer each item; for Argilla, which else takes it away once one has."""
    answers: tuple[str, ...] = ()
    """Files with people's answers. Once there are any, the sample in `out` is the one they answer, and stays."""
    truth: str | None = None
    """Known false negatives in place of people."""
    precision: float | None = Field(default=None, gt=0, lt=1)
    """Fit thresholds that hold this precision and let them decide what is built."""
    probability: float | None = Field(default=None, ge=0, lt=1)
    """The least probability of a candidate that these thresholds relabel; 0 for none. By default 0.9, and 0.5 where a
    passage stands fewer than 5 times in the rows on average."""
    method: Literal["auto", "isotonic", "platt"] = "auto"
    """How scores become probabilities."""
    drop: Literal["keep", "likely"] = "keep"
    """What is doubtful: `keep` has nine tenths of the false negatives of the audit at least so, `likely` takes what is
    rather false than not by the fitted probability."""

    @property
    def is_answered(self) -> bool:
        return bool(self.answers) or self.truth is not None

    @model_validator(mode="after")
    def _one_kind_of_answers(self) -> Self:
        if self.answers and self.truth is not None:
            raise ValueError("give `answers` or `truth`, not both")
        if self.precision is not None and not self.is_answered:
            raise ValueError("`precision` needs `answers` or `truth` to fit thresholds on")
        alone = sorted({"probability", "method", "drop"} & self.model_fields_set) if self.precision is None else []
        if alone:
            raise ValueError(f"`{alone[0]}` is of thresholds: give `precision` too, which fits them")
        return self


def _default(given: dict[str, Any]) -> str:
    """What `default` is where it is not given."""
    return default_of(given.get("techniques", ()), calibrated=given.get("calibration") is not None)


class BuildSettings(Settings):
    """What is built from the verdicts.

    Example:
            >>> from hf_relabel import BuildSettings
            >>> BuildSettings(out="some", techniques=("original", "relabel"), default="relabel", limit=3).limit
            3
    """

    out: FolderName
    """Folder of the configs."""
    techniques: tuple[ConfigName, ...] = ("original", "remove", "remove-hn", "relabel", "relabel-filter")
    """The configs to build."""
    limit: int = Field(default=7, ge=0)
    """Rows with more false negatives than this are left out of remove-hn, relabel and relabel-filter."""
    min_negatives: int = Field(default=0, ge=0)
    """Rows that relabel-filter would leave with fewer negatives keep their doubtful ones."""
    calibration: str | None = None
    """A file that `hf relabel audit report --calibrate` wrote: its thresholds decide instead of the judges' labels."""
    zones_at: float | None = Field(default=None, gt=0, lt=1)
    """Relabel from this calibrated probability on, in place of the threshold that holds the wanted precision."""
    default: ConfigName = Field(default_factory=_default)
    """The config that `load_dataset` takes when none is named, unless an audit or a comparison backs another:
    `relabel-filter` with a calibration (also that of the job's own audit), else `remove-hn`; where that is not built,
    the first of `techniques`."""
    max_shard_bytes: int = Field(default=250_000_000, ge=1)
    """A file is closed once it is about this big."""
    views: tuple[Literal["tuples", "triplets", "lists", "scores"], ...] = ()
    """Tables for the losses of sentence-transformers, each a config such as `relabel-tuples`."""
    view_of: tuple[ConfigName, ...] = ()
    """The techniques that views show; none for `relabel`, or the default config where that is `relabel-filter` or
    `relabel` is not built."""
    view_negatives: int = Field(default=7, ge=1)
    """Negatives of a row in them."""
    output_format: Literal["same", "flagembedding", "triplet", "negative-list", "labeled-list"] | None = None
    """Also write each technique in this format (`same`: that of the source), in `formats/` of the folder."""
    min_judged: float | None = Field(default=None, ge=0, le=1)
    """Refuse to build where a smaller share was judged of what needs a judge: 0.95 when not given; 0 takes what
    there is. Judging fails below it too."""
    overwrite: bool = False
    """Replace a folder that was built from another source, or from the judgements of another journal."""

    def calibrated_by(self, file: str) -> BuildSettings:
        """The same with these thresholds, and the default config that follows from them where none was named."""
        changed: dict[str, Any] = {"calibration": file}
        if "default" not in self.model_fields_set:
            changed["default"] = default_of(self.techniques, calibrated=True)
        return self.model_copy(update=changed)


class PushSettings(Settings):
    """Where a release goes. See `hf relabel push --help`."""

    repo: str
    """The data set on the Hub, `user/name`."""
    tag: str | None = None
    """Of this release; the next version when not given."""
    bump: Literal["major", "minor", "patch"] | None = None
    """Which part of the version to raise."""
    private: bool | None = None
    """Whether a new repository is private; your default when not given."""
    create_pr: bool = False
    """Open a pull request instead."""
    license: str | None = None
    """Of the data, such as cc-by-4.0; that of the source when not given."""
    language: Texts = ()
    """Codes such as en."""
    pretty_name: str | None = None
    """The title on the card."""
    message: str | None = None
    """Of the commit."""


class CompareSettings(Settings):
    """Which technique is best on this data. See `hf relabel compare --help`."""

    eval: tuple[str, ...] = Field(min_length=1)
    """What to measure on: BEIR folders, `nanobeir:NAME`, `air-bench:NAME`."""
    seeds: int = Field(default=3, ge=1)
    """Students per config."""
    recipe: str | None = None
    """A recipe to train them by; a small static model when not given."""
    teacher: str | None = None
    """A cross-encoder for arms with distillation."""
    guide: str | None = None
    """A bi-encoder for arms with a guide."""
    metric: str = "ndcg@10"
    """By which techniques are compared."""
    arms: tuple[ConfigName, ...] = ()
    """Configs, or `config+gce:q=0.5` and its like; all that were built when not given."""
    runs: FolderName | None = None
    """Folder that keeps finished runs and their models, so that the same job goes on from there."""
    drop_models: bool = False
    """Delete each model once it is measured: less disk, but another set or metric trains anew."""
    device: str | None = None
    """torch device, such as cpu; found out when not given."""


class TrainSettings(Settings):
    """A model to train. See `hf relabel train --help`."""

    out: FolderName
    """Folder of the model."""
    config: ConfigName | None = None
    """The config to train on; the default of the release when not given."""
    recipe: str = "static"
    """Name of a recipe that ships with the package, or a file."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Fields of the recipe to set otherwise."""
    eval: tuple[str, ...] = ()
    """What to measure on, before, during and after."""
    dev: tuple[str, ...] = ()
    """Other sets, by which the best step is kept; the last one when not given."""
    compare_original: bool = False
    """Train on the original rows too, and on both with more seeds, for the difference on the model's card."""
    seeds: int = Field(default=3, ge=1)
    """Runs of each for `compare_original`."""
    seed: int | None = None
    """In place of the recipe's."""
    device: str | None = None
    """torch device, such as cpu; found out when not given."""


class PushModelSettings(Settings):
    """Where the trained model goes. See `hf relabel push-model --help`."""

    repo: str
    """The model on the Hub, `user/name`."""
    tag: str | None = None
    """Of this release; the next version when not given."""
    bump: Literal["major", "minor", "patch"] | None = None
    """Which part of the version to raise."""
    private: bool | None = None
    """Whether a new repository is private; your default when not given."""
    create_pr: bool = False
    """Open a pull request instead."""
    license: str | None = None
    """Of the model."""
    language: Texts = ()
    """Codes such as en."""
    message: str | None = None
    """Of the commit."""
