"""What the journal knows the judges of stages by: their servers are asked for the model's revision."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations

from hf_relabel.builders.cascade.verdicts import RunStage
from hf_relabel.builders.endpoint import EndpointError, EndpointInfo
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.hub_tools.calls.coroutines import run_coroutine
from hf_relabel.hub_tools.judging.stages import (
    Member,
    Stage,
    is_batch,
)


def identify(stage: Stage) -> RunStage:
    """Whom the journal will know this stage's judges as. Asks the servers what they serve.

    Raises:
        EndpointError: no server answered, and the stage names no model.
        ConfigError: the servers of a judge serve different models, or there are no weights of a judge.
    """
    judges = tuple(identified(stage.name, member) for member in stage.members)
    if any(one.says_the_same_as(other) for one, other in combinations(judges, 2)):
        raise ConfigError(f"Stage {stage.name!r} has the same judge twice. Two that agree must differ in something.")
    found = RunStage(stage.name, stage.rule, judges, stage.combine)
    return found if stage.combine is None else replace(found, combine=stage.combine.of_judges(found.judge_names()))


def identified(name: str, member: Member) -> JudgeIdentity:
    judge_ = member.judge
    if isinstance(judge_, SavedRepliesJudge):
        content = "" if member.replies is None else member.replies.fingerprint()
        return JudgeIdentity(judge_.kind, judge_.name, hashlib.sha256(content.encode()).hexdigest(), judge_.settings())
    if is_batch(judge_):
        offline_model, digest = judge_.model()
        return JudgeIdentity(judge_.kind, offline_model, digest, judge_.settings())
    infos = run_coroutine(_infos(member))
    models = sorted({(info.model, info.revision or "", info.chat_template or "") for info in infos})
    if len(models) > 1:
        found = ", ".join(" ".join(filter(None, model)) for model in models)
        raise ConfigError(
            f"The endpoints of stage {name!r} serve different models or use different chat templates: {found}."
            " Use one per stage."
        )
    model, revision, template = models[0] if models else (member.model or "", "", "")
    settings = {
        **judge_.settings(),
        "constrained": all(endpoint.constrains for endpoint in member.endpoints),
        "chat_template": template or None,
    }
    return JudgeIdentity(judge_.kind, model, revision or None, settings)


async def _infos(member: Member) -> list[EndpointInfo]:
    """What the servers that can be reached say of themselves."""
    infos: list[EndpointInfo] = []
    last_error: EndpointError | None = None
    for endpoint in member.endpoints:
        try:
            infos.append(await endpoint.info())
        except EndpointError as error:
            last_error = error
        finally:
            await endpoint.close()
    if not infos and not member.model and last_error is not None:
        raise last_error
    return infos
