"""Which of the models that a server lists is to judge."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.hub_tools.endpoints.transport import NotJson, Transport

SHOWN = 12
"""Names of models in a message."""
_NO_CHAT = frozenset({"embedding", "embeddings", "rerank", "reranker", "score", "feature-extraction", "transcription"})
_LOOKS_LIKE_NONE = re.compile(
    r"embed|(?:^|[/_-])(?:bge|gte|e5|minilm)(?:[_-]|$)|rerank|colbert|whisper|moderation|tts", re.IGNORECASE
)


class NoChoice(Exception):
    """The list does not say whom to ask. The message says what to do."""


def chosen(entries: Sequence[Mapping[str, Any]], given: str | None) -> Mapping[str, Any]:
    """The entry of /v1/models to ask: of the model that was named, or the only one there is.

    Args:
        entries: each with an `id`.

    Returns:
        Nothing but the name of a model that is not listed: some servers load models that they do not list.

    Raises:
        NoChoice: there are several or none and none was named, or the only one is for something else than chat.
    """
    if given is not None:
        return next((entry for entry in entries if is_called(entry, given)), {"id": given})
    if not entries:
        raise NoChoice(f"/v1/models lists no model. Name one: {argument('model', ...)}.")
    names = list(dict.fromkeys(entry["id"] for entry in entries))
    if len(names) > 1:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise NoChoice(
            f"/v1/models lists {len(names)} models: {', '.join(names[:SHOWN])}{more}. Name the one to judge:"
            f" {argument('model', ...)}."
        )
    if _is_for_something_else(entries[0]):
        raise NoChoice(
            f"the only model that /v1/models lists, {names[0]}, is no model to chat with. Name another server, or it"
            f" all the same: {argument('model', ...)}."
        )
    return entries[0]


async def asked(transport: Transport, path: str, *, keys_matter: bool = True) -> Any:
    """What a GET gives that may find nothing: None then.

    Args:
        keys_matter: False takes a refusal of the key for nothing too.

    Raises:
        EndpointError: the server cannot be had, or refuses the key.
    """
    try:
        return await transport.get(path)
    except NotJson:
        return None
    except EndpointError as error:
        if error.status is None or error.retryable or (keys_matter and error.status in (401, 403)):
            raise
        return None


def only_one(transport: Transport, listed: Any) -> str:
    """The one model of a server that does not chat, in what its list of models gave.

    Raises:
        EndpointError: it lists none, or several.
    """
    data = listed.get("data") if isinstance(listed, dict) else None
    entries = data if isinstance(data, list) else []
    models = [str(each["id"]) for each in entries if isinstance(each, dict) and each.get("id")]
    if len(models) != 1:
        which = f"serves {', '.join(sorted(models))}" if models else "lists no model"
        raise transport.problem(f"{which}. Name one: {argument('model', ...)}.", "misaddressed")
    return models[0]


def is_called(entry: Mapping[str, Any], name: str) -> bool:
    """Whether an entry of /v1/models goes by this name."""
    return name in (entry["id"], *_aliases(entry))


def _aliases(entry: Mapping[str, Any]) -> Sequence[str]:
    aliases = entry.get("aliases")  # llama.cpp's
    return aliases if isinstance(aliases, list) else ()


def _is_for_something_else(entry: Mapping[str, Any]) -> bool:
    """By what the server says of it (LM Studio, Together, Infinity), else by its name."""
    kinds = {str(entry[key]).lower() for key in ("type", "task", "object") if isinstance(entry.get(key), str)}
    return bool(kinds & _NO_CHAT) or bool(_LOOKS_LIKE_NONE.search(entry["id"]))
