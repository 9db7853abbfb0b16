"""Repositories moved and copied, and their histories made one commit."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from hf_relabel.hub_tools.local_hub.buckets import move_bucket
from hf_relabel.hub_tools.local_hub.call import Call, answer, text_of
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.store import Repository
from hf_relabel.hub_tools.local_hub.writing import page_of


def move_repository(call: Call) -> Response:
    """Give a repository another name. Who asks for the old one is sent on, until it names another repository."""
    values = call.json()
    if values.get("type") == "bucket":
        return move_bucket(call)
    repository = call.repository(f"{text_of(values, 'type', 'model')}s", text_of(values, "fromRepo"))
    call.writable(repository)
    target = text_of(values, "toRepo")
    if not call.may_write_for(target.split("/")[0]):
        raise HubError(403, "You don't have the rights to move a repository there.")
    call.hub.store.move(repository, target)
    return answer({})


def duplicate(call: Call, repository: Repository) -> Response:
    """A repository of the same files under another name, with a history of its own."""
    user, values = call.signed_in(), call.json()
    call.readable(repository)
    target = text_of(values, "repository")
    if not call.may_write_for(target.split("/")[0]):
        raise HubError(403, "You don't have the rights to create a repository under this namespace.")
    store, kind = call.hub.store, repository.repo_type
    with store.lock:
        existing = store.find(kind, target)
        if existing is not None:
            return answer({"error": "You already created this repo", "url": page_of(call, existing)}, 409)
        settings: dict[str, Any] = {**repository.settings, "gated": False}
        settings["private"] = values.get("visibility", "private" if settings["private"] else "public") == "private"
        del settings["created"]
        made = store.create(kind, target, author=user, **settings)
        with made.lock:
            tree = repository.tree(repository.resolve("main"))
            title = f"Duplicate from {repository.repo_id}"
            sha = made.add_commit(made.resolve("main"), tree, title=title, message="", author=user)
            made.change_refs({"refs/heads/main": sha})
    return answer({"url": page_of(call, made), "name": target, "id": target})


def super_squash(call: Call, repository: Repository, branch: str) -> Response:
    """One commit without a parent in place of a branch's history."""
    user = call.writable(repository)
    with repository.lock:
        ref = repository.ref_of(branch)
        tree = repository.tree(repository.resolve(branch))
        title = text_of(call.json(), "message", "Super-squash")
        repository.change_refs({ref: repository.add_commit(None, tree, title=title, message="", author=user)})
    return answer({})
