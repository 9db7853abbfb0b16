"""The settings of stages: judges, their servers and limits, and what becomes of what they say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hf_relabel.builders.job.values import JudgeEntry, Settings, listed

AnswerLabel = Literal["better", "worse", "irrelevant"]


class EndpointSettings(Settings):
    """One judge server. Its URL alone stands for one that needs no more."""

    url: str
    """Of the server, or `local:FILE.gguf`, or a model's id for inference providers."""
    dialect: str = "auto"
    """How to talk to it: auto, tgi, openai, rerank, inference-providers, text-generation, local."""
    model: str | None = None
    """The model to ask for, where a server has several."""
    chat_template: str = "auto"
    """For tgi, which takes a raw prompt: auto (the model's own, from the Hub), plain, chatml, llama3, …"""
    flavor: str = "auto"
    """For openai, whose servers differ in details: auto, openai, azure, vllm, sglang, llama.cpp, tgi."""
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


Endpoints = Annotated[tuple[EndpointSettings, ...], BeforeValidator(listed)]


class LimitSettings(Settings):
    """How hard to work. Times in seconds, prices in US dollars per million tokens."""

    concurrency: int | None = Field(default=None, ge=1)
    """Most requests in flight per server; found out when not given."""
    max_attempts: int = Field(default=8, ge=1)
    """So often is a request sent before it counts as failed."""
    deadline: float | None = Field(default=None, gt=0)
    """Stop when the run, all its judges and stages, has lasted so many seconds. Judges without one have the longest of
    the others."""
    max_cost: float | None = Field(default=None, gt=0)
    """Stop before the run, all its judges and stages, has cost more than this. Judges with prices and
    without a cap have the highest of the others."""
    price_prompt: float = Field(default=0.0, ge=0)
    """Of prompt tokens."""
    price_completion: float = Field(default=0.0, ge=0)
    """Of completion tokens."""


class MemberSettings(Settings):
    """One more judge of a stage."""

    judge: JudgeEntry
    """Its `kind` and settings."""
    endpoints: Endpoints = ()
    """Servers that answer for it; an offline judge has none."""
    limits: LimitSettings = LimitSettings()
    """How hard to work."""


class CombineSettings(Settings):
    """How several judges of a stage become one. See hf_relabel.builders.cascade.combining."""

    rule: Literal["agreement", "majority", "weighted", "arhn"] = "agreement"
    """All agree, most agree, weighted by what an audit says of each, or as in ARHN."""
    weights: tuple[dict[str, dict[str, float]], ...] | dict[str, dict[str, dict[str, float]]] | str = ()
    """For `weighted`: counts {label: {relevant: …, other: …}} per judge, by name or in order, or an audit's report."""
    prior: float = Field(default=0.15, gt=0, lt=1)
    """For `weighted`: the share of false negatives among candidates that is expected beforehand."""


class StageSettings(Settings):
    """One stage of the cascade."""

    name: str = ""
    """In reports and on the card; `stage-1` and so on when not given."""
    judge: JudgeEntry
    """Its `kind` and settings. `permutations: 2` asks a judge of lists in that many orders, `samples: 3` that many
    times; the answers are combined."""
    endpoints: Endpoints = ()
    """Servers that answer for it; an offline judge has none."""
    others: tuple[MemberSettings, ...] = ()
    """Further judges, asked about the same candidates."""
    combine: CombineSettings = CombineSettings()
    """For several judges, orders or samples; by name alone where it needs no settings (`combine: majority`)."""
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


class SuspectsSettings(Settings):
    """A search for ground truths that no judge stands by. See `hf relabel suspects --help`."""

    stages: tuple[StageSettings, ...] = ()
    """Whose judges are asked; those of the job when not given."""
    several: int = Field(default=3, ge=1)
    """So many candidates must be ranked above a ground truth."""
