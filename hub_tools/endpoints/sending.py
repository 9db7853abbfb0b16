"""What a server is sent in place of what it refuses.

A judge asks in one way; servers differ in what they take of it. What is left out, or said in another way, is known by
name, is the same for all servers of a judge, and is part of what the journal knows the judge by, as answers may depend
on it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.prompted.fitting_context import Room
from hf_relabel.builders.messages.nearest import nearest_and_all
from hf_relabel.hub_tools.endpoints.refusals import refused_parameters

logger = logging.getLogger(__name__)

T = TypeVar("T")

NONE = "none"
"""In place of a parameter: it is not sent."""
STEPS: dict[str, tuple[str, ...]] = {
    "response_format": ("json_object", NONE),
    "max_tokens": ("max_completion_tokens",),
    "max_completion_tokens": ("max_tokens",),
    "temperature": (NONE,),
    "seed": (NONE,),
    "stop": (NONE,),
    "logprobs": (NONE,),
    "system": ("user",),
    "chat_template_kwargs": (NONE,),
}
"""What is tried in place of each parameter, one after the other."""
TAKEN: dict[str, tuple[str, ...]] = {
    "response_format": ("json_schema", "json_object", NONE),
    "max_tokens": ("max_tokens", "max_completion_tokens"),
    "temperature": ("temperature", NONE),
    "seed": ("seed", NONE),
    "stop": ("stop", NONE),
    "logprobs": ("logprobs", NONE),
    "system": ("system", "user"),
    "chat_template_kwargs": ("chat_template_kwargs", NONE),
}
"""What a user may say that a server takes: first the parameter as a judge asks, then what goes in its place."""
_NOT = frozenset({NONE, "user"})
LENGTHS = frozenset({"max_tokens", "max_completion_tokens"})
"""Two names of one bound. Which of them is sent changes no answer."""
_SAID = {
    "json_object": "replies are bound to JSON, but not to its schema",
    "user": "it stands in front of the user's message",
    "max_tokens": "max_tokens is sent",
    "max_completion_tokens": "max_completion_tokens is sent",
    NONE: "it is left out",
}
_LEFT_OUT = {
    "response_format": "replies are bound by the prompt alone",
    "logprobs": "a judge that reads probabilities (pointwise) goes by the words alone and gives no score",
    "temperature": "the server's own is used",
    "seed": "samples differ from run to run",
    "chat_template_kwargs": "a model that thinks may think before it answers",
}


def sending_of(takes: Mapping[str, Any]) -> Sending:
    """What a user says that a server takes.

    Args:
        takes: by parameter (`response_format`, `max_tokens`, `temperature`, `seed`, `stop`, `logprobs`, `system`,
            `chat_template_kwargs`): True
            or False, or the value to send instead, see `STEPS`. What is given stays; what is not is found out.

    Raises:
        ConfigError: there is no such parameter or value.
    """
    instead: dict[str, str] = {}
    for name, value in takes.items():
        if name not in TAKEN:
            raise ConfigError(f"takes: there is no parameter {name!r}.{nearest_and_all(name, TAKEN)}")
        own, *others = TAKEN[name]
        chosen = own if value is True else others[-1] if value is False and others[-1] in _NOT else value
        if chosen not in TAKEN[name]:
            allowed = ", ".join(TAKEN[name])
            raise ConfigError(f"takes: {name} is one of {allowed}, true or false; found {value!r}.")
        if chosen != own:
            instead[name] = chosen
    lengths = LENGTHS if "max_tokens" in takes else frozenset()
    return Sending(instead, frozenset(takes) | lengths)


@dataclass(eq=False)
class Sending:
    """What one server is sent instead of what a request says.

    Attributes:
        instead: by parameter; see `STEPS`.
        fixed: parameters that stay as they are, whatever the server says.
        peers: those of the other servers of the same judge, who are sent the same.
        room: what the server takes of a prompt, as far as it has said.
    """

    instead: dict[str, str] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    peers: list[Sending] = field(default_factory=list, repr=False)
    room: Room = field(default_factory=Room)

    @property
    def constrains(self) -> bool:
        """Whether replies can be bound to JSON, as far as the user says."""
        return not ("response_format" in self.fixed and self.instead.get("response_format") == NONE)

    def of_answers(self) -> dict[str, str]:
        """What answers may depend on."""
        return {name: value for name, value in sorted(self.instead.items()) if name not in LENGTHS}

    def adopt(self, instead: Mapping[str, str]) -> None:
        """Send this from now on, where nothing else is fixed."""
        self.instead.update({name: value for name, value in instead.items() if name not in self.fixed})

    def fall_back(self, server: str, refused: Iterable[str], sent: Mapping[str, str], words: str) -> bool:
        """Take the next step for parameters that a server refused. Returns whether there was one.

        Args:
            sent: what was sent instead in the request that was refused. Where another request has taken a step since,
                it is not taken twice.
        """
        stepped = False
        for name in refused:
            if self.instead.get(name) != sent.get(name):
                stepped = True
                continue
            steps = () if name in self.fixed else STEPS[name]
            at = steps.index(sent[name]) + 1 if sent.get(name) in steps else 0
            if at < len(steps):
                self._step(server, name, steps[at], words)
                stepped = True
        return stepped

    def _step(self, server: str, name: str, value: str, words: str) -> None:
        for sending in (self, *([] if name in LENGTHS else self.peers)):
            sending.adopt({name: value})
        what = "a message of the role system" if name == "system" else name
        consequence = _LEFT_OUT.get(name) if value == NONE else None
        said = f"{_SAID[value]} from now on" + (f", and {consequence}" if consequence else "")
        logger.warning("%s refuses %s (%s): %s.", server, what, words, said)


def further(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """Both, and of each parameter the later step."""
    merged = dict(one)
    for name, value in other.items():
        steps = STEPS[name]
        if name not in merged or steps.index(value) > steps.index(merged[name]):
            merged[name] = value
    return dict(sorted(merged.items()))


def share(sendings: Sequence[Sending]) -> None:
    """Make several servers of one judge be sent the same."""
    for sending in sendings:
        sending.peers = [other for other in sendings if other is not sending]
        for other in sending.peers:
            other.adopt(sending.of_answers())


async def send(
    sending: Sending, server: str, build: Callable[[Mapping[str, str]], Any], post: Callable[[Any], Awaitable[T]]
) -> tuple[T, dict[str, str]]:
    """Send a request, and send it again without what the server refuses of it.

    Args:
        build: makes what is posted, given what is to be sent instead.

    Returns:
        The answer, and what it may depend on of what was sent instead.

    Raises:
        EndpointError: as `post` does, where nothing that could be left out was refused.
    """
    while True:
        instead = dict(sending.instead)
        payload = build(instead)
        try:
            return await post(payload), {name: instead[name] for name in sorted(instead) if name not in LENGTHS}
        except EndpointError as error:
            refused = refused_parameters(error, parameters_in(payload))
            if not sending.fall_back(server, refused, instead, error.words[:120]):
                raise


def parameters_in(payload: Mapping[str, Any]) -> set[str]:
    """The names in `STEPS` of what a chat completion's body, or /generate's, holds."""
    inside = payload.get("parameters", payload)
    names = {name for name in STEPS if name in inside}
    if "grammar" in inside:
        names.add("response_format")
    if "top_n_tokens" in inside:
        names.add("logprobs")
    if any(message["role"] == "system" for message in payload.get("messages", ())):
        names.add("system")
    return names


def adapted(payload: dict[str, Any], instead: Mapping[str, str]) -> dict[str, Any]:
    """A chat completion's body with that sent instead. The body itself is changed."""
    for name, value in instead.items():
        if name == "system":
            payload["messages"] = system_in_front(payload["messages"])
        elif name == "response_format" and value == "json_object" and name in payload:
            payload[name] = {"type": "json_object"}
        elif value == NONE:
            payload.pop(name, None)
            if name == "logprobs":
                payload.pop("top_logprobs", None)
        elif name in LENGTHS and name in payload:
            payload[value] = payload.pop(name)
    return payload


def system_in_front(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Chat messages with what the system says in front of the user's next message."""
    merged: list[dict[str, str]] = []
    waiting = ""
    for message in messages:
        if message["role"] == "system":
            waiting += f"{message['content']}\n\n"
        else:
            merged.append({**message, "content": waiting + message["content"]})
            waiting = ""
    return [*merged, {"role": "user", "content": waiting.rstrip("\n")}] if waiting else merged
