"""The settings of stages: judges, their servers and limits, and what becomes of what they say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hf_relabel.builders.endpoint import THINKING_VARIABLES
from hf_relabel.builders.job.values import JudgeEntry, Settings, listed

FROM_ENVIRONMENT = "env:"
"""Before the name of an environment variable that holds the value of a header."""
_SECRET = re.compile(r"authorization|cookie|key|token|secret|password|credential", re.IGNORECASE)
AnswerLabel = Literal["better", "worse", "irrelevant"]


class EndpointSettings(Settings):
    """One judge server. Its URL alone stands for one that needs no more."""

    url: str
    """Of the server, or `local:FILE.gguf`, or a model's id for inference providers."""
    dialect: str = "auto"
    """How to talk to it: auto, tgi, openai, rerank, decisions, inference-providers, text-generation, local."""
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
    enable_thinking: bool | None = None
    """Whether a model that can think does, by its chat template (`enable_thinking`, `thinking`)."""
    reasoning_effort: str | None = None
    """How much it thinks: none, minimal, low, medium, high, or what else the server takes."""
    chat_template_kwargs: Mapping[str, Any] = {}
    """Further variables of the chat template."""
    extra_body: Mapping[str, Any] = {}
    """What every request holds besides, such as `{top_p: 0.9}`."""
    extra_headers: Mapping[str, str] = Field(default={}, repr=False)
    """Further headers: `{X-Team: search, X-Api-Key: "env:GATEWAY_KEY"}`. What is secret is named by its environment
    variable. Of headers only the names are ever shown or kept."""
    takes: Mapping[str, bool | str] = {}
    """What the server takes of a request, where it should not be found out: `{temperature: false, seed: false, system:
    false, logprobs: false, response_format: json_object, max_tokens: max_completion_tokens}`."""

    @model_validator(mode="before")
    @classmethod
    def _by_url(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @field_validator("extra_headers")
    @classmethod
    def _secrets_by_name(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in value.items():
            if _SECRET.search(name) and not text.startswith(FROM_ENVIRONMENT):
                raise ValueError(
                    f"the header {name} holds a secret, which never stands in a job file: put it into an environment"
                    f' variable and give its name ("{FROM_ENVIRONMENT}NAME")'
                )
        return value

    def body(self) -> dict[str, Any]:
        """What every request holds besides, with the settings of thinking."""
        thinks = {} if self.enable_thinking is None else dict.fromkeys(THINKING_VARIABLES, self.enable_thinking)
        variables = {**thinks, **self.chat_template_kwargs, **(self.extra_body.get("chat_template_kwargs") or {})}
        effort = {} if self.reasoning_effort is None else {"reasoning_effort": self.reasoning_effort}
        return {**effort, **self.extra_body, **({"chat_template_kwargs": variables} if variables else {})}

    def secret_names(self) -> list[str]:
        """Names of the environment variables that hold what is secret."""
        values = [text for text in self.extra_headers.values() if text.startswith(FROM_ENVIRONMENT)]
        headers = [text.removeprefix(FROM_ENVIRONMENT) for text in values]
        return [*([self.token_env] if self.token_env else []), *headers]

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
    order: Literal["value", "source"] | None = None
    """Of the rows, for a stage that is not the first: `value` begins where most is likely found, by what the stage
    before says, `source` takes them as they come. `value` when not given where the run may end early (max_cost,
    deadline)."""
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
