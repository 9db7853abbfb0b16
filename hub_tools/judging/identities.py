"""What the journal knows the judges of stages by: their servers are asked for the model's revision."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.run_stages import RunStage, run_settings
from hf_relabel.builders.endpoint import Endpoint, EndpointError, EndpointInfo
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.hub_tools.calls.coroutines import run_coroutine
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.judging.adapting import ANSWERS_AS, INSTEAD, info_of, request_settings, resumed
from hf_relabel.hub_tools.judging.stages import (
    Member,
    Stage,
    is_batch,
)

if TYPE_CHECKING:
    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.builders.sources import Source

_TEMPLATE = "chat_template"
READY_SECONDS = 2.0
"""Between two looks whether a server that starts is ready."""
_logger = logging.getLogger(__name__)


def identify(stage: Stage, journal: Journal) -> RunStage:
    """Whom the journal will know this stage's judges as. Asks the servers what they serve.

    Of a server that cannot be had, and whose model is named, it is the judge that has answered into the journal before:
    all that it said is found again, and nothing is kept under the name of one that never spoke.

    Raises:
        EndpointError: no server answered, and none did before.
        ConfigError: the servers of a judge serve different models, or there are no weights of a judge.
    """
    judges = tuple(identified(stage.name, member, journal) for member in stage.members)
    if any(one.says_the_same_as(other) for one, other in combinations(judges, 2)):
        raise ConfigError(f"Stage {stage.name!r} has the same judge twice. Two that agree must differ in something.")
    found = RunStage(stage.name, stage.rule, judges, stage.combine)
    return found if stage.combine is None else replace(found, combine=stage.combine.of_judges(found.judge_names()))


def check_calibration(
    calibration: Calibration, source: Source, stages: Sequence[Stage], journal: Journal, exempt: frozenset[str]
) -> None:
    """Whether thresholds are of the judges of these stages, as far as they say: before these judge, not after.

    Raises:
        ConfigError: they are of others.
        EndpointError, ConfigError: as `identify`.
    """
    calibration.check_judges(run_settings(source, [identify(stage, journal) for stage in stages], exempt))


def identified(name: str, member: Member, journal: Journal) -> JudgeIdentity:
    judge_ = member.judge
    if isinstance(judge_, SavedRepliesJudge):
        content = "" if member.replies is None else member.replies.fingerprint()
        return JudgeIdentity(judge_.kind, judge_.name, hashlib.sha256(content.encode()).hexdigest(), judge_.settings())
    if is_batch(judge_):
        offline_model, digest = judge_.model()
        return JudgeIdentity(judge_.kind, offline_model, digest, judge_.settings())
    constrained = all(endpoint.constrains for endpoint in member.endpoints)
    settings = {**judge_.settings(), "constrained": constrained, **request_settings(member.endpoints)}
    try:
        infos = run_coroutine(_infos(member))
    except EndpointError:
        before = _answered_before(judge_.kind, member.model, settings, journal)
        if before is None:
            raise
        return resumed(before, member.endpoints, journal)
    models = sorted(
        {(info.model, info.revision or "", info.chat_template or "", info.answers_as or "") for info in infos}
    )
    if len(models) > 1:
        found = ", ".join(" ".join(filter(None, model)) for model in models)
        raise ConfigError(
            f"The endpoints of stage {name!r} serve different models or use different chat templates: {found}."
            " Use one per stage."
        )
    model, revision, template, answers_as = models[0] if models else (member.model or "", "", "", "")
    settings |= {_TEMPLATE: template or None, **({ANSWERS_AS: answers_as} if answers_as else {})}
    found_now = JudgeIdentity(judge_.kind, model, revision or None, settings)
    return resumed(found_now, member.endpoints, journal)


def _answered_before(
    kind: str, model: str | None, settings: Mapping[str, Any], journal: Journal
) -> JudgeIdentity | None:
    """The last judge of that model in the journal; its revision and chat template are what its server told then."""
    for judge in journal.judges():
        known = {name: value for name, value in judge.settings.items() if name not in (_TEMPLATE, INSTEAD, ANSWERS_AS)}
        asked = {name: value for name, value in settings.items() if name != INSTEAD}
        if (judge.kind, judge.model, known) == (kind, model, asked):
            return judge
    return None


async def _infos(member: Member) -> list[EndpointInfo]:
    """What the servers that can be reached say of themselves."""
    infos: list[EndpointInfo] = []
    last_error: EndpointError | None = None
    for endpoint in member.endpoints:
        try:
            infos.append(await _when_ready(endpoint, member.limits))
        except EndpointError as error:
            last_error = error
        finally:
            await endpoint.close()
    if not infos and last_error is not None:
        # One that is there may have nothing to say of itself; then the name that was given has to do.
        # One that lets nobody in will not do so later.
        is_there = last_error.status is not None and not last_error.retryable and last_error.kind != "unauthorized"
        if not member.model or not is_there:
            raise last_error
    return infos


async def _when_ready(endpoint: Endpoint, limits: Limits) -> EndpointInfo:
    """What a server says of itself, once it is ready: one that loads its model says 503 for minutes.

    Raises:
        EndpointError: it cannot be had, or is not ready by the time that the limits allow.
    """
    patience = min(limits.overload_patience, math.inf if limits.deadline is None else limits.deadline)
    loop = asyncio.get_running_loop()
    began, is_told = loop.time(), False
    while True:
        try:
            return await info_of(endpoint)
        except EndpointError as error:
            wait = max(READY_SECONDS, error.retry_after or 0.0)
            if not error.overloaded or loop.time() + wait - began > patience:
                raise
            if not is_told:
                _logger.warning("%s. Waiting until it is ready.", str(error).rstrip("."))
                is_told = True
        await asyncio.sleep(wait)
