"""What a judge's servers are sent instead of what they refuse, as part of what the journal knows the judge by.

Answers may depend on it, so those that were obtained with it and those without are never taken for one another. A judge
begins as the newest answers in the journal were obtained: what a server refused before is not asked of it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hf_relabel.builders.cascade.run_stages import RunStage
from hf_relabel.builders.endpoint import Endpoint, EndpointInfo
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.prompted.fitting_context import Room, smallest
from hf_relabel.hub_tools.endpoints.sending import Sending

INSTEAD = "instead"
"""The setting of an identity that says what was sent instead, by parameter."""
ANSWERS_AS = "answers_as"
"""The setting of an identity that names the model that answers, where the server takes no notice of which is asked."""


def sendings(endpoints: Sequence[Endpoint]) -> list[Sending]:
    """Those of the servers that can be sent something else."""
    found = (getattr(endpoint, "sending", None) for endpoint in endpoints)
    return [sending for sending in found if isinstance(sending, Sending)]


def room_of(endpoints: Sequence[Endpoint]) -> Room:
    """What all servers of a judge take, as far as they have said."""
    return smallest(sending.room for sending in sendings(endpoints))


async def info_of(endpoint: Endpoint) -> EndpointInfo:
    """What a server says of itself; what it takes is remembered. Raises EndpointError."""
    info = await endpoint.info()
    for sending in sendings([endpoint]):
        sending.room = Room.of(info)
    return info


def request_settings(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """What decides on requests beside the judge: nothing, unless somebody said so. Of headers only the names.

    Raises:
        ConfigError: the servers of one judge are not asked the same.
    """
    found = [
        {
            INSTEAD: sending.of_answers() if (sending := getattr(endpoint, "sending", None)) is not None else {},
            "extra_body": dict(getattr(endpoint, "extra_body", {})),
            "extra_headers": list(getattr(endpoint, "extra_headers", ())),
        }
        for endpoint in endpoints
    ]
    if any(one["extra_body"] != found[0]["extra_body"] for one in found):
        raise ConfigError("extra_body: the servers of one judge must all be sent the same.")
    headers = sorted({name for one in found for name in one["extra_headers"]})
    said = {**found[0], "extra_headers": headers} if found else {}
    return {name: value for name, value in said.items() if value}


def with_instead(identity: JudgeIdentity, instead: Mapping[str, str]) -> JudgeIdentity:
    """The judge whose servers were sent this instead."""
    found = _without(identity, INSTEAD)
    return replace(found, settings={**found.settings, INSTEAD: dict(instead)}) if instead else found


def _without(identity: JudgeIdentity, setting: str) -> JudgeIdentity:
    return replace(identity, settings={name: value for name, value in identity.settings.items() if name != setting})


def instead_of(identity: JudgeIdentity) -> dict[str, str]:
    """What the servers of a judge were sent instead."""
    return dict(identity.settings.get(INSTEAD, {}))


def resumed(identity: JudgeIdentity, endpoints: Sequence[Endpoint], journal: Journal) -> JudgeIdentity:
    """The judge as it gave its newest answers in the journal. Its servers are sent the same from the beginning.

    Journals of before did not name the model that answers beside the one that was asked for: what they hold counts.
    """
    given, plain = instead_of(identity), with_instead(identity, {})
    before = _without(plain, ANSWERS_AS)
    judges = [(judge, with_instead(judge, {})) for judge in journal.judges()]
    if before != plain and all(judge != plain for _, judge in judges) and any(judge == before for _, judge in judges):
        identity, plain = _without(identity, ANSWERS_AS), before
    for judge, judge_plain in judges:
        if judge_plain == plain:
            then = instead_of(judge)
            for sending in sendings(endpoints):
                sending.adopt(then)
            fixed = {name for sending in sendings(endpoints) for name in sending.fixed}
            taken_over = {name: value for name, value in then.items() if name not in fixed}
            return with_instead(identity, {**given, **taken_over})
    return identity


def with_judge(stage: RunStage, member: int, identity: JudgeIdentity) -> RunStage:
    """The stage with another judge in that place."""
    return replace(stage, judges=(*stage.judges[:member], identity, *stage.judges[member + 1 :]))
