"""From settings to working parts: sources, judges, endpoints and stages made as a job file says."""

from __future__ import annotations

import os

from hf_relabel.builders.cascade import Rule
from hf_relabel.builders.endpoint import Endpoint
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job import EndpointSettings, Job, LimitSettings, SourceSettings, StageSettings
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.registry import make_judge
from hf_relabel.builders.judges.replies import SavedRepliesJudge
from hf_relabel.builders.planning import StageToPlan
from hf_relabel.builders.sampling import PRESETS, Sample
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.scheduler import Limits
from hf_relabel.hub_tools.hub_source import resolve_source
from hf_relabel.hub_tools.judging import Stage


def source_of(settings: SourceSettings) -> Source:
    """Open the source that a job file names, local or on the Hub."""
    return resolve_source(
        settings.location,
        format=settings.format,
        config=settings.config,
        split=settings.split,
        revision=settings.revision,
        subset=settings.subset,
        sample=parse_sample(settings.sample, seed=settings.sample_seed) if settings.sample else None,
        skip_bad_rows=settings.skip_bad_rows,
        limit=settings.limit,
    )


def parse_sample(text: str, seed: int = 0) -> Sample:
    """A sample as people write it: `rlhn-100k` (a preset of the paper), `5%`, or a number of rows."""
    if text in PRESETS:
        return Sample.preset(text, seed)
    try:
        if text.endswith("%"):
            return Sample.fraction(float(text[:-1]) / 100, seed)
        return Sample.total(int(text), seed)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no sample. Give a number of rows, a share such as 5%, or one of: {', '.join(PRESETS)}."
        ) from error


def stages_of(job: Job) -> list[Stage]:
    """Make the stages of a job. Opens no connection yet."""
    return [_stage(settings, name) for settings, name in zip(job.stages, job.stage_names(), strict=True)]


def _stage(settings: StageSettings, name: str) -> Stage:
    judge_settings = dict(settings.judge)
    kind = judge_settings.pop("kind")
    replies = None
    if kind == "saved-replies":
        path = judge_settings.pop("file", None)
        if not isinstance(path, str):
            raise ConfigError(f"Stage {name!r}: a judge of saved replies needs `file`, the file that holds them.")
        replies = open_source(path, format="rlhn-replies")
        judge_settings.setdefault("name", os.path.basename(path))
    judge = SavedRepliesJudge(**judge_settings) if kind == "saved-replies" else make_judge(kind, **judge_settings)
    models = {endpoint.model for endpoint in settings.endpoints if endpoint.model}
    return Stage(
        name=name,
        judge=judge,
        rule=Rule(settings.escalate, frozenset(Label(label) for label in settings.passes)),
        endpoints=tuple(_endpoint(endpoint) for endpoint in settings.endpoints),
        limits=_limits(settings.limits),
        replies=replies,
        model=models.pop() if len(models) == 1 else None,
    )


def _endpoint(settings: EndpointSettings) -> Endpoint:
    token = None
    if settings.token_env:
        token = os.environ.get(settings.token_env)
        if not token:
            raise ConfigError(f"The environment variable {settings.token_env} holds no token for {settings.url}.")
    return make_endpoint(
        settings.url,
        dialect=settings.dialect,
        model=settings.model,
        token=token,
        timeout=settings.timeout,
        chat_template=settings.chat_template,
        flavor=settings.flavor,
        provider=settings.provider,
    )


def _limits(settings: LimitSettings) -> Limits:
    return Limits(**settings.model_dump())


def stages_to_plan(job: Job) -> list[StageToPlan]:
    """The stages of a job as planning sees them. Opens nothing."""
    planned = []
    for settings, name in zip(job.stages, job.stage_names(), strict=True):
        judge_settings = dict(settings.judge)
        kind = judge_settings.pop("kind")
        planned.append(
            StageToPlan(
                name=name,
                judge=None if kind == "saved-replies" else make_judge(kind, **judge_settings),
                rule=Rule(settings.escalate, frozenset(Label(label) for label in settings.passes)),
                price_prompt=settings.limits.price_prompt,
                price_completion=settings.limits.price_completion,
            )
        )
    return planned
