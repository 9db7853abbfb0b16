"""Job files: one YAML file that holds everything `hf relabel run` does.

A job file may name parameters, which fill `${name}` anywhere in its texts and are given on the command line. Each has a
default, or `null` where it must be given:

    parameters: {tgi_url: "http://127.0.0.1:8080"}
    source: {location: rlhn/default-680K, subset: [fever]}
    stages:
      - judge: {kind: listwise}
        endpoints: [{url: "${tgi_url}"}]
    suspects: {}
    audit: {out: out/audit, answers: [anna.csv, ben.csv], precision: 0.9}
    build: {out: out/fever}
    compare: {eval: [beir/fever]}
    push: {repo: user/fever-relabeled, license: cc-by-4.0}
    train: {recipe: e5-base, out: out/model, eval: [beir/fever]}
    push_model: {repo: user/fever-retriever}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.sources.columns import no_such_role


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _judge_with_kind(value: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(value.get("kind"), str):
        raise ValueError("needs a `kind`, such as `kind: listwise`")
    return value


class SourceSettings(_Settings):
    """Where the rows come from. See `hf relabel inspect --help`."""

    location: str
    format: str | None = None
    config: str | None = None
    split: str | None = None
    """Of a Hub data set (`train` unless given) or of a BEIR folder (the first there is)."""
    revision: str | None = None
    subset: tuple[str, ...] | None = None
    sample: str | None = None
    """A preset of the paper (`rlhn-100k` …), a number of rows, or a share such as `5%`."""
    sample_seed: int = 0
    limit: int | None = Field(default=None, ge=1)
    skip_bad_rows: bool = False
    columns: Mapping[str, str | tuple[str, ...]] = {}
    """Which column, or which columns, play a role, where their names do not say it: `{positive: response}`."""
    relevant_from: float | None = None
    """Of graded labels and scores, the least that makes a passage a positive."""

    @field_validator("subset", mode="before")
    @classmethod
    def _one_subset(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("columns")
    @classmethod
    def _known_roles(cls, value: Mapping[str, str | tuple[str, ...]]) -> Mapping[str, str | tuple[str, ...]]:
        for role, columns in value.items():
            if (wrong := no_such_role(role, columns)) is not None:
                raise ValueError(wrong.removesuffix("."))
        return value


class EndpointSettings(_Settings):
    """One judge server."""

    url: str
    dialect: str = "auto"
    model: str | None = None
    chat_template: str = "auto"
    flavor: str = "auto"
    provider: str | None = None
    timeout: float = Field(default=300.0, gt=0)
    token_env: str | None = None
    """Name of the environment variable that holds the token; tokens themselves never stand in a job file."""

    @field_validator("model")
    @classmethod
    def _served_model(cls, value: str | None) -> str | None:
        """An empty name, as of a parameter that was left out, asks for whatever the server serves."""
        return value or None


class LimitSettings(_Settings):
    """How hard to work. Times in seconds, prices in US dollars per million tokens."""

    concurrency: int | None = Field(default=None, ge=1)
    max_attempts: int = Field(default=8, ge=1)
    deadline: float | None = Field(default=None, gt=0)
    max_cost: float | None = Field(default=None, gt=0)
    price_prompt: float = Field(default=0.0, ge=0)
    price_completion: float = Field(default=0.0, ge=0)


class MemberSettings(_Settings):
    """One more judge of a stage."""

    judge: dict[str, Any]
    endpoints: tuple[EndpointSettings, ...] = ()
    limits: LimitSettings = LimitSettings()

    @field_validator("judge")
    @classmethod
    def _has_kind(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _judge_with_kind(value)


class CombineSettings(_Settings):
    """How several judges of a stage become one. See hf_relabel.builders.combining."""

    rule: Literal["agreement", "majority", "weighted", "arhn"] = "agreement"
    weights: tuple[dict[str, dict[str, float]], ...] | str = ()
    """For `weighted`: counts {label: {relevant: …, other: …}} per judge, or the report of an audit that holds them."""
    prior: float = Field(default=0.15, gt=0, lt=1)


AnswerLabel = Literal["better", "worse", "irrelevant"]


class StageSettings(_Settings):
    """One stage of the cascade."""

    name: str = ""
    judge: dict[str, Any]
    """Its `kind` and settings. `permutations: 2` asks a judge of lists in that many orders and combines the answers."""
    endpoints: tuple[EndpointSettings, ...] = ()
    others: tuple[MemberSettings, ...] = ()
    """Further judges, asked about the same candidates."""
    combine: CombineSettings = CombineSettings()
    """For several judges or permutations; by name alone where it needs no settings (`combine: majority`)."""
    escalate: Literal["candidate", "row"] = "candidate"
    passes: tuple[AnswerLabel, ...] = ("better", "worse")
    accepts: tuple[AnswerLabel, ...] = ()
    """Labels that are the final word when this stage says them: what a cheap judge is sure of."""
    limits: LimitSettings = LimitSettings()

    @field_validator("combine", mode="before")
    @classmethod
    def _rule_by_name(cls, value: Any) -> Any:
        return {"rule": value} if isinstance(value, str) else value

    @field_validator("judge")
    @classmethod
    def _has_kind(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _judge_with_kind(value)


class SuspectsSettings(_Settings):
    """A search for ground truths that no judge stands by. See `hf relabel suspects --help`."""

    stages: tuple[StageSettings, ...] = ()
    """Whose judges are asked; those of the job when not given."""
    several: int = Field(default=3, ge=1)
    """So many candidates must be ranked above a ground truth."""


class AuditSettings(_Settings):
    """A blind sample for people, and what follows from their answers. See `hf relabel audit --help`."""

    out: str
    """Folder of the sample, of the files for people, and of `calibration.json`."""
    size: int = Field(default=400, ge=1)
    seed: int = 0
    export: tuple[Literal["csv", "label-studio", "argilla"], ...] = ("csv",)
    people: int = Field(default=1, ge=1)
    """How many are to answer each item; for Argilla, which else takes it away once one has."""
    answers: tuple[str, ...] = ()
    """Files with people's answers. Once there are any, the sample in `out` is the one they answer, and stays."""
    truth: str | None = None
    """Known false negatives in place of people."""
    precision: float | None = Field(default=None, gt=0, lt=1)
    """Fit thresholds that hold this precision and let them decide what is built."""
    method: Literal["auto", "isotonic", "platt"] = "auto"

    @property
    def is_answered(self) -> bool:
        return bool(self.answers) or self.truth is not None

    @model_validator(mode="after")
    def _one_kind_of_answers(self) -> Self:
        if self.answers and self.truth is not None:
            raise ValueError("give `answers` or `truth`, not both")
        if self.precision is not None and not self.is_answered:
            raise ValueError("`precision` needs `answers` or `truth` to fit thresholds on")
        return self


class BuildSettings(_Settings):
    """What is built from the verdicts.

    Example:
            >>> from hf_relabel import BuildSettings
            >>> BuildSettings(out="some", techniques=("original", "relabel"), default="relabel", limit=3).limit
            3
    """

    out: str
    techniques: tuple[str, ...] = ("original", "remove", "remove-hn", "relabel", "relabel-filter")
    limit: int = Field(default=7, ge=0)
    default: str = "remove-hn"
    calibration: str | None = None
    """A file that `hf relabel audit report --calibrate` wrote: its thresholds decide instead of the judges' labels."""
    max_shard_bytes: int = Field(default=250_000_000, ge=1)
    views: tuple[Literal["tuples", "triplets", "lists", "scores"], ...] = ()
    """Tables for the losses of sentence-transformers, each a config such as `relabel-tuples`."""
    view_of: tuple[str, ...] = ()
    """The techniques that views show; none for `relabel`, or the default config where that is not built."""
    view_negatives: int = Field(default=7, ge=1)


class PushSettings(_Settings):
    """Where a release goes. See `hf relabel push --help`."""

    repo: str
    tag: str | None = None
    bump: Literal["major", "minor", "patch"] | None = None
    private: bool | None = None
    create_pr: bool = False
    license: str | None = None
    language: tuple[str, ...] = ()
    pretty_name: str | None = None
    message: str | None = None

    @field_validator("language", mode="before")
    @classmethod
    def _one_language(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class CompareSettings(_Settings):
    """Which technique is best on this data. See `hf relabel compare --help`."""

    eval: tuple[str, ...] = Field(min_length=1)
    seeds: int = Field(default=3, ge=1)
    recipe: str | None = None
    teacher: str | None = None
    metric: str = "ndcg@10"
    arms: tuple[str, ...] = ()
    runs: str | None = None
    device: str | None = None


class TrainSettings(_Settings):
    """A model to train. See `hf relabel train --help`."""

    out: str
    config: str | None = None
    recipe: str = "static"
    changes: dict[str, Any] = Field(default_factory=dict)
    """Fields of the recipe to set otherwise."""
    eval: tuple[str, ...] = ()
    compare_original: bool = False
    """Train on the original rows too, for the model's card."""
    seed: int | None = None
    device: str | None = None


class PushModelSettings(_Settings):
    """Where the trained model goes. See `hf relabel push-model --help`."""

    repo: str
    tag: str | None = None
    bump: Literal["major", "minor", "patch"] | None = None
    private: bool | None = None
    create_pr: bool = False
    license: str | None = None
    language: tuple[str, ...] = ()
    message: str | None = None


class Job(_Settings):
    """A whole job. See the module docstring for an example.

    Example:
            job = load_job("job.yaml")
    """

    source: SourceSettings
    journal: str = "journal.sqlite"
    stages: tuple[StageSettings, ...] = Field(min_length=1)
    suspects: SuspectsSettings | None = None
    """Before `build`, which writes what was found to a config of its own."""
    audit: AuditSettings | None = None
    """Before `build`; the figures go into its manifest and card, and choose its default config."""
    build: BuildSettings | None = None
    push: PushSettings | None = None
    """Pushes what `build` wrote; without `build`, each shard is built, sent and deleted in turn."""
    compare: CompareSettings | None = None
    """Before `push`, on what `build` wrote."""
    train: TrainSettings | None = None
    """On the release that `push` made, else on what `build` wrote."""
    push_model: PushModelSettings | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.compare is not None and self.build is None:
            raise ValueError("`compare` needs `build`")
        if self.audit is not None and self.audit.is_answered:
            if self.build is None and self.push is not None:
                raise ValueError("an `audit` with answers needs `build`, so that `push` can show it")
            if self.audit.precision is not None and self.build is not None and self.build.calibration is not None:
                raise ValueError("`audit.precision` and `build.calibration` both give thresholds: keep one")
        if self.train is not None and self.build is None and self.push is None:
            raise ValueError("`train` needs `build` or `push`")
        if self.push_model is not None and self.train is None:
            raise ValueError("`push_model` needs `train`")
        return self

    def stage_names(self) -> list[str]:
        """The names of the stages, `stage-1` and so on where the file gives none."""
        return [stage.name or f"stage-{number}" for number, stage in enumerate(self.stages, start=1)]


def load_job(path: str | Path, parameters: Mapping[str, str] | None = None) -> Job:
    """Read a job file, a path or the name of one that ships with the package (`rlhn-fever`).

    Example:
            job = load_job("rlhn-fever", {"tgi_url": "http://127.0.0.1:8080"})
            print(job.source.location, [stage.judge["kind"] for stage in job.stages])

    Raises:
        ConfigError: the file is missing, is not YAML, has an unknown or wrong field, or lacks a parameter.
    """
    file = find_job_file(path)
    return parse_job(file.read_text(encoding="utf-8"), parameters, name=str(path))


def find_job_file(path: str | Path) -> Path:
    """The file itself, or the one of that name that ships with the package."""
    file = Path(path)
    if file.is_file():
        return file
    shipped = shipped_job_files()
    name = str(path).removesuffix(".yaml")
    if name in shipped:
        return shipped[name]
    raise ConfigError(f"There is no job file {str(path)!r}. Ready ones are: {', '.join(shipped)}.")


def shipped_job_files() -> dict[str, Path]:
    """The job files that ship with the package, by name."""
    folder = Path(__file__).parent / "job_files"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def parse_job(text: str, parameters: Mapping[str, str] | None = None, *, name: str = "job file") -> Job:
    """Read the text of a job file. See `load_job`."""
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        detail = " ".join(str(error).split())
        raise ConfigError(f"{name} is not valid YAML: {detail}.") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{name} holds no settings. A job file needs at least `source` and `stages`.")
    given = dict(parameters or {})
    defaults = data.pop("parameters", None) or {}
    if not isinstance(defaults, dict):
        raise ConfigError(f"{name}: `parameters` must map names to defaults.")
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise ConfigError(f"{name} has no parameter {unknown[0]!r}. It has: {', '.join(sorted(defaults)) or 'none'}.")
    filled = _fill(data, {**defaults, **given}, name)
    try:
        return Job.model_validate(filled)
    except ValidationError as error:
        raise ConfigError(f"{name}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """The first problem of a validation, in one line, with the place it is at."""
    problem = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        return f"unknown setting `{place}`{more}."
    return f"`{place}`: {problem['msg']}{more}."


_PARAMETER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _fill(value: Any, parameters: Mapping[str, Any], name: str) -> Any:
    """Fill `${parameter}` in texts. Filled in after YAML is read, so that a value can never become structure."""
    if isinstance(value, dict):
        return {key: _fill(item, parameters, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, parameters, name) for item in value]
    if not isinstance(value, str):
        return value
    for parameter in _PARAMETER.findall(value):
        if parameters.get(parameter) is None:
            raise ConfigError(f"{name} needs the parameter {parameter!r}. Give it with --set {parameter}=….")
    whole = _PARAMETER.fullmatch(value)
    if whole:
        return parameters[whole[1]]
    return _PARAMETER.sub(lambda match: str(parameters[match[1]]), value)
