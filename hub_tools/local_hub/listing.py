"""Lists of repositories."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from hf_relabel.hub_tools.local_hub.call import Call
from hf_relabel.hub_tools.local_hub.reading import info_of, number_of, page
from hf_relabel.hub_tools.local_hub.store import Repository

PAGE_REPOSITORIES = 1000
_SORTED_BY = {"lastModified": "lastModified", "createdAt": "createdAt"}


def list_repositories(call: Call, repo_type: str) -> Response:
    """Those of a type that the user may see and that match: author, words of the name, tags, whether gated."""
    wanted = [
        info_of(call, repository, repository.resolve("main"), blobs=False)
        for repository in call.hub.store.repositories(repo_type)
        if _is_wanted(call, repository)
    ]
    tags = {tag for tag in call.all("filter") if tag}
    wanted = [info for info in wanted if tags <= _tags(info)]
    by = _SORTED_BY.get(call.query.get("sort", ""))
    if by is not None:
        wanted.sort(key=lambda info: str(info[by]), reverse=True)
    start = number_of(call.query.get("cursor", "0"))
    size = min(number_of(call.query.get("limit", str(PAGE_REPOSITORIES))) or PAGE_REPOSITORIES, PAGE_REPOSITORIES)
    return page(call, wanted, start, size)


def _is_wanted(call: Call, repository: Repository) -> bool:
    settings, query = repository.settings, call.query
    if settings["private"] and not call.hub.store.may_read(call.user, repository.owner):
        return False
    if query.get("author", repository.owner) != repository.owner:
        return False
    if "gated" in query and (query["gated"].lower() == "true") != bool(settings["gated"]):
        return False
    return all(word.lower() in repository.repo_id.lower() for word in call.all("search"))


def _tags(info: dict[str, Any]) -> set[str]:
    return {*info["tags"], *(info[name] for name in ("library_name", "pipeline_tag", "sdk") if info.get(name))}
