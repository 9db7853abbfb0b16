"""Secrets, variables and hardware of Spaces. They are kept, not run: this server starts no app."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from hf_relabel.hub_tools.local_hub.call import Call, answer, text_of
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import now
from hf_relabel.hub_tools.local_hub.store import Repository

KINDS = ("secrets", "variables")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")


def list_entries(call: Call, repository: Repository, kind: str) -> Response:
    """Secrets or variables by name, with when they were set; values of variables only."""
    _writable(call, repository)
    entries = repository.settings.get(kind) or {}
    hidden = {"value"} if kind == "secrets" else set()
    shown = {
        name: {field: value for field, value in entry.items() if field not in hidden} for name, entry in entries.items()
    }
    return answer(shown)


def put_entry(call: Call, repository: Repository, kind: str) -> Response:
    """Set a secret or a variable."""
    _writable(call, repository)
    values = call.json()
    entry = _entry(values)
    with repository.lock:
        entries = repository.settings.get(kind) or {}
        repository.change_settings(**{kind: {**entries, text_of(values, "key"): entry}})
    return list_entries(call, repository, kind)


def delete_entry(call: Call, repository: Repository, kind: str) -> Response:
    """Take a secret or a variable away."""
    _writable(call, repository)
    key = text_of(call.json(), "key")
    with repository.lock:
        entries = {name: entry for name, entry in (repository.settings.get(kind) or {}).items() if name != key}
        repository.change_settings(**{kind: entries})
    return list_entries(call, repository, kind)


def request_hardware(call: Call, repository: Repository) -> Response:
    """Note which hardware was asked for."""
    _writable(call, repository)
    flavor = text_of(call.json(), "flavor")
    with repository.lock:
        repository.change_settings(hardware=flavor)
    return runtime(call, repository)


def runtime(call: Call, repository: Repository) -> Response:
    """A Space that is never started, on the hardware that was asked for."""
    _check_is_space(repository)
    hardware = repository.settings.get("hardware")
    return answer({"stage": "STOPPED", "hardware": {"current": None, "requested": hardware}, "gcTimeout": None})


def settings_of_new(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a request to create a Space says of its secrets, variables and hardware.

    Raises:
        HubError: 400, an entry that is none.
    """
    settings: dict[str, Any] = {}
    for kind in KINDS:
        listed = values.get(kind) or []
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise HubError(400, f"`{kind}` must be a list of objects.")
        settings[kind] = {text_of(entry, "key"): _entry(entry) for entry in listed}
    if isinstance(values.get("hardware"), str):
        settings["hardware"] = values["hardware"]
    return settings


def _entry(values: Mapping[str, Any]) -> dict[str, Any]:
    if not _NAME.fullmatch(text_of(values, "key")):
        raise HubError(400, "`key` must be a name of letters, digits and underscores.")
    described = {"description": values["description"]} if isinstance(values.get("description"), str) else {}
    return {"value": text_of(values, "value"), "updatedAt": now(), **described}


def _writable(call: Call, repository: Repository) -> None:
    _check_is_space(repository)
    call.writable(repository)


def _check_is_space(repository: Repository) -> None:
    if repository.repo_type != "spaces":
        raise HubError(404, "Not found")
