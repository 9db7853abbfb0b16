"""From settings to working parts: sources, judges, endpoints and stages made as a job file says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_relabel.builders.cascade.combining import Combine
from hf_relabel.builders.cascade.judge_weights import audited_weights
from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.endpoint import Endpoint
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.job_file import Job, SourceSettings
from hf_relabel.builders.job.stages import (
    FROM_ENVIRONMENT,
    EndpointSettings,
    LimitSettings,
    MemberSettings,
    StageSettings,
)
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.builders.judges.registry import ANSWER, expanded, make_judge
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources import open_source as open_here
from hf_relabel.builders.sources.samples import parse_sample
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.hub.redaction import safe_url
from hf_relabel.hub_tools.hub.source import open_source
from hf_relabel.hub_tools.judging.stages import Judge, Member, Stage, in_one_run


def source_of(settings: SourceSettings, *, pairs: bool = False) -> Source:
    """Open the source that a job file names, local or on the Hub.

    Args:
        pairs: whether one whose rows have no negatives will do.

    Raises:
        SourceError: it cannot be opened, or has no negatives.
    """
    source = open_source(
        settings.location,
        format=settings.format,
        config=settings.config,
        split=settings.split,
        revision=settings.revision,
        subset=settings.subset,
        sample=parse_sample(settings.sample, seed=settings.sample_seed) if settings.sample else None,
        skip_bad_rows=settings.skip_bad_rows,
        limit=settings.limit,
        columns=settings.columns,
        relevant_from=settings.relevant_from,
    )
    if not pairs:
        source.check_negatives()
    return source


def stages_of(job: Job) -> list[Stage]:
    """Make the stages of a job. Opens no connection yet."""
    return make_stages(job.stages, job.stage_names())


def make_stages(stages: Sequence[StageSettings], names: Sequence[str]) -> list[Stage]:
    """Make stages of their settings, each under its name. Opens no connection yet."""
    return in_one_run([_stage(settings, name) for settings, name in zip(stages, names, strict=True)])


def _stage(settings: StageSettings, name: str) -> Stage:
    all_asked: tuple[StageSettings | MemberSettings, ...] = (settings, *settings.others)
    first, *others = [
        member for asked in all_asked for member in _members(asked.judge, asked.endpoints, asked.limits, name)
    ]
    return Stage(
        name=name,
        judge=first.judge,
        rule=_rule(settings),
        endpoints=first.endpoints,
        limits=first.limits,
        replies=first.replies,
        model=first.model,
        others=tuple(others),
        combine=_combine(settings, name) if others else None,
        order=settings.order,
    )


def _rule(settings: StageSettings) -> Rule:
    passes, accepts = (frozenset(map(Label, labels)) for labels in (settings.passes, settings.accepts))
    return Rule(settings.escalate, passes, accepts)


def _combine(settings: StageSettings, name: str) -> Combine:
    """How the stage's judges become one: if nothing is said `arhn` for a judge of answers, `majority` for samples."""
    wanted = settings.combine
    rule = wanted.rule
    if "combine" not in settings.model_fields_set:
        rule = "arhn" if settings.judge["kind"] == ANSWER else "majority" if "samples" in settings.judge else rule
    weights: Any = wanted.weights
    prior = wanted.prior
    if isinstance(weights, str):
        weights, prior = audited_weights(Path(weights), name)
    return Combine.from_dict({"rule": rule, "weights": weights, "prior": prior})


def _members(
    judge: Mapping[str, Any], endpoints: Sequence[EndpointSettings], limits: LimitSettings, name: str
) -> list[Member]:
    """The judges that one entry of a job file stands for: one, or one for each permutation, or those of ARHN."""
    models = {endpoint.model for endpoint in endpoints if endpoint.model}
    model = models.pop() if len(models) == 1 else None
    members = []
    for kind, judge_settings in expanded(judge):
        replies = None
        made: Judge
        if kind == "saved-replies":
            path = judge_settings.pop("file", None)
            if not isinstance(path, str):
                raise ConfigError(f"Stage {name!r}: a judge of saved replies needs `file`, the file that holds them.")
            replies = open_here(path, format="rlhn-replies")
            made = SavedRepliesJudge(**{"name": os.path.basename(path), **judge_settings})
        else:
            made = make_judge(kind, **judge_settings)
        # Each has connections of its own, since each is closed when its judge is done.
        opened = tuple(_endpoint(endpoint, reranks=getattr(made, "reranks", False)) for endpoint in endpoints)
        members.append(Member(made, opened, _limits(limits), replies, model))
    return members


def _endpoint(settings: EndpointSettings, *, reranks: bool) -> Endpoint:
    token = None
    if settings.token_env:
        token = os.environ.get(settings.token_env)
        if not token:
            raise ConfigError(
                f"The environment variable {settings.token_env} holds no token for {safe_url(settings.url)}."
            )
    return make_endpoint(
        settings.url,
        dialect="rerank" if reranks and settings.dialect == "auto" else settings.dialect,
        model=settings.model,
        token=token,
        timeout=settings.timeout,
        chat_template=settings.chat_template,
        flavor=settings.flavor,
        provider=settings.provider,
        extra_body=settings.body(),
        extra_headers={name: _header(name, text, settings.url) for name, text in settings.extra_headers.items()},
        takes=settings.takes,
    )


def _header(name: str, text: str, url: str) -> str:
    if not text.startswith(FROM_ENVIRONMENT):
        return text
    variable = text.removeprefix(FROM_ENVIRONMENT)
    if not os.environ.get(variable):
        raise ConfigError(
            f"The environment variable {variable} holds nothing for the header {name} to {safe_url(url)}."
        )
    return os.environ[variable]


def _limits(settings: LimitSettings) -> Limits:
    return Limits(**settings.model_dump())
