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

from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.stages import StageSettings, SuspectsSettings
from hf_relabel.builders.job.steps import (
    AuditSettings,
    BuildSettings,
    CompareSettings,
    PushModelSettings,
    PushSettings,
    TrainSettings,
)
from hf_relabel.builders.job.values import Settings, Texts, unknown
from hf_relabel.builders.sources.formats import FORMATS
from hf_relabel.builders.sources.given_columns import in_two_roles, no_such_role
from hf_relabel.builders.sources.samples import parse_sample
from hf_relabel.builders.techniques import Technique, check_default


class SourceSettings(Settings):
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
            raise ValueError(unknown(value, FORMATS, "format"))
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


class Job(Settings):
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
        wrong = [unknown(name, known, "technique") for name in build.techniques if name not in known]
        if not wrong:
            try:
                check_default(build.default, build.techniques)
            except ConfigError as error:
                wrong = [str(error)]
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
