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

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.registry import SAVED_REPLIES, expanded, judge_problems, make_judge
from hf_relabel.builders.messages.nearest import nearest_or_all
from hf_relabel.builders.sources.columns import in_two_roles, no_such_role
from hf_relabel.builders.sources.formats import FORMATS
from hf_relabel.builders.sources.samples import parse_sample
from hf_relabel.builders.techniques import Technique


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _checked_judge(value: Any) -> Any:
    """A kind alone stands for a judge with no settings of its own. All of its mistakes at once."""
    judge = {"kind": value} if isinstance(value, str) else value
    if not isinstance(judge, dict):
        return judge
    if not isinstance(judge.get("kind"), str):
        raise ValueError("needs a `kind`, such as `kind: listwise`")
    wrong = list(judge_problems(judge))
    try:
        made = [] if wrong else expanded(judge)
        for kind, settings in made:
            if kind != SAVED_REPLIES:
                make_judge(kind, **settings)
    except ConfigError as error:
        wrong.append(str(error))
    if wrong:
        raise ValueError("\n".join(wrong))
    return judge


def _listed(value: Any) -> Any:
    """A list of one may be written without its brackets."""
    return (value,) if isinstance(value, str | dict) else value


def _unknown(name: str, known: Collection[str], what: str) -> str:
    return f"there is no {what} {name!r}.{nearest_or_all(name, known)}"


JudgeEntry = Annotated[dict[str, Any], BeforeValidator(_checked_judge)]
Endpoints = Annotated[tuple["EndpointSettings", ...], BeforeValidator(_listed)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class SourceSettings(_Settings):
    """Where the rows come from. The location alone stands for one that needs no more (`source: train.jsonl`)."""

    location: str
    """A data set on the Hub (`user/repo`, `user/repo@revision`), a folder, or a file."""
    format: str | None = None
    """Format of the rows; found out when not given."""
    config: str | None = None
    """Config of a data set on the Hub."""
    split: str | None = None
    """Of a Hub data set (`train` unless given) or of a BEIR folder (the first there is)."""
    revision: str | None = None
    """Branch, tag or commit of a data set on the Hub."""
    subset: Texts | None = None
    """Keep only rows of these subsets."""
    sample: str | None = None
    """A preset of the paper (`rlhn-100k` …), a number of rows, or a share such as `5%`."""
    sample_seed: int = 0
    """Another seed draws another sample."""
    limit: int | None = Field(default=None, ge=1)
    """Stop after this many rows."""
    skip_bad_rows: bool = False
    """Skip and count rows that cannot be used, instead of refusing them."""
    columns: Mapping[str, str | tuple[str, ...]] = {}
    """Which column, or which columns, play a role, where their names do not say it: `{positive: response}`."""
    relevant_from: float | None = None
    """Of graded labels and scores, the least that makes a passage a positive."""

    @model_validator(mode="before")
    @classmethod
    def _by_location(cls, value: Any) -> Any:
        return {"location": value} if isinstance(value, str) else value

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str | None) -> str | None:
        if value is not None and value not in FORMATS:
            raise ValueError(_unknown(value, FORMATS, "format"))
        return value

    @field_validator("sample", mode="before")
    @classmethod
    def _sample_of_rows(cls, value: Any) -> Any:
        """A number of rows may be written as a number."""
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        try:
            if isinstance(text, str):
                parse_sample(text)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return text

    @field_validator("columns")
    @classmethod
    def _known_roles(cls, value: Mapping[str, str | tuple[str, ...]]) -> Mapping[str, str | tuple[str, ...]]:
        for role, columns in value.items():
            if (wrong := no_such_role(role, columns)) is not None:
                raise ValueError(wrong.removesuffix("."))
        given = {role: (columns,) if isinstance(columns, str) else columns for role, columns in value.items()}
        if (wrong := in_two_roles(given, [column for columns in given.values() for column in columns])) is not None:
            raise ValueError(wrong)
        return value


class EndpointSettings(_Settings):
    """One judge server. Its URL alone stands for one that needs no more."""

    url: str
    """Of the server, or `local:FILE.gguf`, or a model's id for inference providers."""
    dialect: str = "auto"
    """How to talk to it: auto, tgi, openai, inference-providers, text-generation, local."""
    model: str | None = None
    """The model to ask for, where a server has several."""
    chat_template: str = "auto"
    """For tgi, which takes a raw prompt: auto (the model's own, from the Hub), plain, chatml, llama3, …"""
    flavor: str = "auto"
    """For openai, whose servers differ in how they take a grammar: auto, openai, vllm, sglang, llama.cpp, tgi."""
    provider: str | None = None
    """For inference-providers, whose it is to be."""
    timeout: float = Field(default=300.0, gt=0)
    """Seconds for one request."""
    token_env: str | None = None
    """Name of the environment variable that holds the token; tokens themselves never stand in a job file."""

    @model_validator(mode="before")
    @classmethod
    def _by_url(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @field_validator("model")
    @classmethod
    def _served_model(cls, value: str | None) -> str | None:
        """An empty name, as of a parameter that was left out, asks for whatever the server serves."""
        return value or None


class LimitSettings(_Settings):
    """How hard to work. Times in seconds, prices in US dollars per million tokens."""

    concurrency: int | None = Field(default=None, ge=1)
    """Most requests in flight per server; found out when not given."""
    max_attempts: int = Field(default=8, ge=1)
    """So often is a request sent before it counts as failed."""
    deadline: float | None = Field(default=None, gt=0)
    """Stop after this many seconds."""
    max_cost: float | None = Field(default=None, gt=0)
    """Stop before spending more than this."""
    price_prompt: float = Field(default=0.0, ge=0)
    """Of prompt tokens."""
    price_completion: float = Field(default=0.0, ge=0)
    """Of completion tokens."""


class MemberSettings(_Settings):
    """One more judge of a stage."""

    judge: JudgeEntry
    """Its `kind` and settings."""
    endpoints: Endpoints = ()
    """Servers that answer for it; an offline judge has none."""
    limits: LimitSettings = LimitSettings()
    """How hard to work."""


class CombineSettings(_Settings):
    """How several judges of a stage become one. See hf_relabel.builders.cascade.combining."""

    rule: Literal["agreement", "majority", "weighted", "arhn"] = "agreement"
    """All agree, most agree, weighted by what an audit says of each, or as in ARHN."""
    weights: tuple[dict[str, dict[str, float]], ...] | str = ()
    """For `weighted`: counts {label: {relevant: …, other: …}} per judge, or the report of an audit that holds them."""
    prior: float = Field(default=0.15, gt=0, lt=1)
    """For `weighted`: the share of false negatives among candidates that is expected beforehand."""


AnswerLabel = Literal["better", "worse", "irrelevant"]


class StageSettings(_Settings):
    """One stage of the cascade."""

    name: str = ""
    """In reports and on the card; `stage-1` and so on when not given."""
    judge: JudgeEntry
    """Its `kind` and settings. `permutations: 2` asks a judge of lists in that many orders and combines the answers."""
    endpoints: Endpoints = ()
    """Servers that answer for it; an offline judge has none."""
    others: tuple[MemberSettings, ...] = ()
    """Further judges, asked about the same candidates."""
    combine: CombineSettings = CombineSettings()
    """For several judges or permutations; by name alone where it needs no settings (`combine: majority`)."""
    escalate: Literal["candidate", "row"] = "candidate"
    """What goes on to the next stage: the candidates that were flagged, or all of a row that has one."""
    passes: tuple[AnswerLabel, ...] = ("better", "worse")
    """Labels that count as flagged."""
    accepts: tuple[AnswerLabel, ...] = ()
    """Labels that are the final word when this stage says them: what a cheap judge is sure of."""
    limits: LimitSettings = LimitSettings()
    """How hard to work."""

    @field_validator("combine", mode="before")
    @classmethod
    def _rule_by_name(cls, value: Any) -> Any:
        return {"rule": value} if isinstance(value, str) else value


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
    method: Literal["auto", "isotonic", "platt"] = "auto"
    """How scores become probabilities."""

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
    """Folder of the configs."""
    techniques: tuple[str, ...] = ("original", "remove", "remove-hn", "relabel", "relabel-filter")
    """The configs to build."""
    limit: int = Field(default=7, ge=0)
    """Rows with more false negatives than this are left out of remove-hn, relabel and relabel-filter."""
    default: str = "remove-hn"
    """The config that `load_dataset` takes when none is named, unless an audit or a comparison backs another."""
    calibration: str | None = None
    """A file that `hf relabel audit report --calibrate` wrote: its thresholds decide instead of the judges' labels."""
    max_shard_bytes: int = Field(default=250_000_000, ge=1)
    """A file is closed once it is about this big."""
    views: tuple[Literal["tuples", "triplets", "lists", "scores"], ...] = ()
    """Tables for the losses of sentence-transformers, each a config such as `relabel-tuples`."""
    view_of: tuple[str, ...] = ()
    """The techniques that views show; none for `relabel`, or the default config where that is not built."""
    view_negatives: int = Field(default=7, ge=1)
    """Negatives of a row in them."""
    output_format: Literal["same", "flagembedding", "triplet", "negative-list", "labeled-list"] | None = None
    """Also write each technique in this format (`same`: that of the source), in `formats/` of the folder."""
    overwrite: bool = False
    """Replace a folder that was built from another source, or from the judgements of another journal."""


class PushSettings(_Settings):
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


class CompareSettings(_Settings):
    """Which technique is best on this data. See `hf relabel compare --help`."""

    eval: tuple[str, ...] = Field(min_length=1)
    """What to measure on: BEIR folders, `nanobeir:NAME`, `air-bench:NAME`."""
    seeds: int = Field(default=3, ge=1)
    """Students per config."""
    recipe: str | None = None
    """A recipe to train them by; a small static model when not given."""
    teacher: str | None = None
    """A cross-encoder for arms with distillation."""
    metric: str = "ndcg@10"
    """By which techniques are compared."""
    arms: tuple[str, ...] = ()
    """Configs, or `config+distillation`; all that were built when not given."""
    runs: str | None = None
    """Folder that keeps finished runs, so that the same job goes on from there."""
    device: str | None = None
    """torch device, such as cpu; found out when not given."""


class TrainSettings(_Settings):
    """A model to train. See `hf relabel train --help`."""

    out: str
    """Folder of the model."""
    config: str | None = None
    """The config to train on; the default of the release when not given."""
    recipe: str = "static"
    """Name of a recipe that ships with the package, or a file."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Fields of the recipe to set otherwise."""
    eval: tuple[str, ...] = ()
    """What to measure on, before, during and after."""
    compare_original: bool = False
    """Train on the original rows too, for the model's card."""
    seed: int | None = None
    """In place of the recipe's."""
    device: str | None = None
    """torch device, such as cpu; found out when not given."""


class PushModelSettings(_Settings):
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


class Job(_Settings):
    """A whole job. See the module docstring for an example.

    Example:
            job = load_job("job.yaml")
    """

    source: SourceSettings
    """Where the rows come from."""
    journal: str = "journal.sqlite"
    """File in which all judgements are kept; the same job again goes on from there."""
    stages: tuple[StageSettings, ...] = Field(min_length=1)
    """Who judges, one after the other."""
    suspects: SuspectsSettings | None = None
    """Before `build`, which writes what was found to a config of its own."""
    audit: AuditSettings | None = None
    """Before `build`; the figures go into its manifest and card, and choose its default config."""
    build: BuildSettings | None = None
    """Which cleaned configs are written, and where."""
    push: PushSettings | None = None
    """Pushes what `build` wrote; without `build`, each shard is built, sent and deleted in turn."""
    compare: CompareSettings | None = None
    """Before `push`, on what `build` wrote."""
    train: TrainSettings | None = None
    """On the release that `push` made, else on what `build` wrote."""
    push_model: PushModelSettings | None = None
    """Releases what `train` made."""

    @field_validator("build")
    @classmethod
    def _known_techniques(cls, build: BuildSettings | None) -> BuildSettings | None:
        """As building itself says, but before anything is judged."""
        if build is None:
            return None
        known = [str(technique) for technique in Technique]
        wrong = [_unknown(name, known, "technique") for name in build.techniques if name not in known]
        if build.default not in build.techniques and not wrong:
            wrong = [f"the default config {build.default!r} is not among the techniques that are built"]
        if wrong:
            raise ValueError("\n".join(wrong))
        return build

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if wrong := [sentence for _, sentence in steps_missing(self.model_dump(exclude_none=True))]:
            raise ValueError("\n".join(wrong))
        return self

    def stage_names(self) -> list[str]:
        """The names of the stages, `stage-1` and so on where the file gives none."""
        return [stage.name or f"stage-{number}" for number, stage in enumerate(self.stages, start=1)]


def steps_missing(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Steps that a job, as its file has it, asks for without what they need: the name, and a sentence."""
    audit, build = job.get("audit") or {}, job.get("build")
    if "compare" in job and build is None:
        yield "compare", "`compare` needs `build`"
    if isinstance(audit, Mapping) and (audit.get("answers") or audit.get("truth") is not None):
        if build is None and "push" in job:
            yield "audit", "an `audit` with answers needs `build`, so that `push` can show it"
        calibrated = isinstance(build, Mapping) and build.get("calibration") is not None
        if calibrated and audit.get("precision") is not None:
            yield "audit", "`audit.precision` and `build.calibration` both give thresholds: keep one"
    if "train" in job and build is None and "push" not in job:
        yield "train", "`train` needs `build` or `push`"
    if "push_model" in job and "train" not in job:
        yield "push_model", "`push_model` needs `train`"
