"""Discussions and pull requests."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from hf_relabel.hub_tools.local_hub.call import Call, answer, text_of
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import now
from hf_relabel.hub_tools.local_hub.store import Repository

_OPEN_OR_CLOSED = {"open": "open", "draft": "open", "closed": "closed", "merged": "closed"}


def _event(kind: str, author: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": secrets.token_hex(12), "type": kind, "createdAt": now(), "author": {"name": author}, "data": data}


def _comment(author: str, text: str) -> dict[str, Any]:
    latest = {"raw": text, "html": "", "updatedAt": now(), "author": {"name": author}}
    return _event("comment", author, {"edited": False, "hidden": False, "latest": latest, "history": [], "raw": text})


def _add(repository: Repository, author: str, title: str, text: str, *, base: str | None, status: str) -> int:
    known = repository.discussions
    number = len(known) + 1
    discussion = {
        "num": number,
        "title": title,
        "author": {"name": author},
        "createdAt": now(),
        "status": status,
        "isPullRequest": base is not None,
        "repo": {"name": repository.repo_id, "type": repository.repo_type.removesuffix("s")},
        "events": [_comment(author, text)],
        "base": base,
        "mergeCommitId": None,
    }
    repository.write_discussions([*known, discussion])
    return number


def open_pull_request(repository: Repository, author: str, title: str, text: str, base: str, sha: str) -> int:
    """A pull request whose branch `refs/pr/N` is at `sha`. Called with the lock held."""
    ref = base if base.startswith("refs/") else f"refs/heads/{base}"
    if ref not in repository.refs:
        ref = "refs/heads/main"
    number = _add(repository, author, title, text, base=ref, status="open")
    repository.change_refs({f"refs/pr/{number}": sha})
    note_commit(repository, f"refs/pr/{number}", author, title, sha)
    return number


def note_commit(repository: Repository, ref: str, author: str, title: str, sha: str) -> None:
    """Say in a pull request that a commit was added to it. Called with the lock held."""
    if not ref.startswith("refs/pr/"):
        return
    number = int(ref.removeprefix("refs/pr/"))
    _update(repository, number, _event("commit", author, {"subject": title, "oid": sha}))


def _update(repository: Repository, number: int, event: dict[str, Any], **changes: Any) -> None:
    known = repository.discussions
    discussion = known[number - 1]
    discussion["events"].append(event)
    discussion.update(changes)
    repository.write_discussions(known)


def _find(repository: Repository, number: str) -> dict[str, Any]:
    known = repository.discussions
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= len(known):
        raise HubError(404, "There is no such discussion.")
    return known[int(number) - 1]


def list_discussions(call: Call, repository: Repository) -> Response:
    query = call.query
    wanted = [
        {name: value for name, value in discussion.items() if name not in ("events", "base", "mergeCommitId")}
        for discussion in reversed(repository.discussions)
        if query.get("type", "all") in ("all", "pull_request" if discussion["isPullRequest"] else "discussion")
        and query.get("status", "all") in ("all", _OPEN_OR_CLOSED[discussion["status"]])
        and query.get("author", discussion["author"]["name"]) == discussion["author"]["name"]
    ]
    page = int(query["p"]) if query.get("p", "").isdigit() else 0
    start = page * 50
    return answer({"discussions": wanted[start : start + 50], "count": len(wanted), "start": start})


def show(call: Call, repository: Repository, number: str) -> Response:
    discussion = dict(_find(repository, number))
    changes = {"base": discussion.pop("base"), "mergeCommitId": discussion.pop("mergeCommitId")}
    if discussion["isPullRequest"]:
        discussion |= {"changes": changes, "filesWithConflicts": _conflicts(repository, int(number)), "diff": ""}
    return answer(discussion)


def create(call: Call, repository: Repository) -> Response:
    user = call.signed_in()
    values = call.json()
    title, text = text_of(values, "title"), text_of(values, "description", "")
    with repository.lock:
        if not values.get("pullRequest"):
            number = _add(repository, user, title, text, base=None, status="open")
        else:
            number = _add(repository, user, title, text, base="refs/heads/main", status="draft")
            repository.change_refs({f"refs/pr/{number}": repository.resolve("main")})
    return answer({"num": number, "url": f"{call.url}/{repository.repo_id}/discussions/{number}"})


def change(call: Call, repository: Repository, number: str, what: str) -> Response:
    """A comment, another title, another status, or the merge of a pull request."""
    user = call.signed_in()
    values = call.json()
    with repository.lock:
        discussion = _find(repository, number)
        if user not in (repository.owner, discussion["author"]["name"]) and what != "comment":
            raise HubError(403, "Only the owner of the repository or its author may change a discussion.")
        if what == "comment":
            event = _comment(user, text_of(values, "comment"))
            _update(repository, int(number), event)
            return answer({"newMessage": event})
        if what == "title":
            title = text_of(values, "title")
            event = _event("title-change", user, {"from": discussion["title"], "to": title})
            _update(repository, int(number), event, title=title)
            return answer({"newTitle": event})
        if what == "status":
            status = text_of(values, "status")
            if status not in ("open", "closed") or discussion["status"] == "merged":
                raise HubError(400, "A status is open or closed, and a merged pull request keeps its own.")
            _add_comment(repository, int(number), user, values)
            event = _event("status-change", user, {"status": status})
            _update(repository, int(number), event, status=status)
            return answer({"newStatus": event})
        if what == "merge":
            merged = _merge(call, repository, int(number))
            _add_comment(repository, int(number), user, values)
            return merged
    raise HubError(404, "Not found")


def change_comment(call: Call, repository: Repository, number: str, comment: str, what: str) -> Response:
    """Other words in a comment, or none."""
    user = call.signed_in()
    with repository.lock:
        known, found = repository.discussions, _find(repository, number)
        event = next((each for each in found["events"] if each["id"] == comment and each["type"] == "comment"), None)
        if event is None or what not in ("edit", "hide"):
            raise HubError(404, "There is no such comment.")
        if user not in (event["author"]["name"], repository.owner):
            raise HubError(403, "Only its author may change a comment.")
        text = text_of(call.json(), "content") if what == "edit" else ""
        data = event["data"]
        latest = {"raw": text, "html": "", "updatedAt": now(), "author": {"name": user}}
        history = [*data["history"], data["latest"]] if what == "edit" else []
        changed = {"edited": what == "edit", "hidden": what == "hide", "hiddenBy": user if what == "hide" else None}
        event["data"] = {**data, **changed, "latest": latest, "history": history, "raw": text}
        found["events"] = [event if each["id"] == comment else each for each in found["events"]]
        known[int(number) - 1] = found
        repository.write_discussions(known)
    return answer({"updatedComment": event})


def _add_comment(repository: Repository, number: int, user: str, values: Mapping[str, Any]) -> None:
    """The comment that may come with a change."""
    if values.get("comment"):
        _update(repository, number, _comment(user, text_of(values, "comment")))


def _conflicts(repository: Repository, number: int) -> list[str]:
    """Files that both the base and the pull request have changed, differently, since they parted."""
    discussion = repository.discussions[number - 1]
    refs = repository.refs
    ours, theirs = refs.get(discussion["base"]), refs.get(f"refs/pr/{number}")
    if ours is None or theirs is None or discussion["status"] in ("merged", "closed"):
        return []
    known = {sha for sha, _ in repository.history(ours)}
    parted = next((sha for sha, _ in repository.history(theirs) if sha in known), None)
    base = repository.tree(parted) if parted else {}
    left, right = repository.tree(ours), repository.tree(theirs)
    return sorted(
        path
        for path in base.keys() | left.keys() | right.keys()
        if (mine := _content(left, path)) != (old := _content(base, path))
        and (its := _content(right, path)) != old
        and mine != its
    )


def _content(tree: Mapping[str, Any], path: str) -> str | None:
    entry = tree.get(path)
    return None if entry is None else f"{entry.sha256} {entry.lfs}"


def _merge(call: Call, repository: Repository, number: int) -> Response:
    user = call.writable(repository)
    discussion = repository.discussions[number - 1]
    if not discussion["isPullRequest"] or discussion["status"] in ("merged", "closed"):
        raise HubError(400, "This is no open pull request.")
    if _conflicts(repository, number):
        raise HubError(409, "The pull request conflicts with its base.")
    refs = repository.refs
    ours, theirs = refs[discussion["base"]], refs[f"refs/pr/{number}"]
    known = {sha for sha, _ in repository.history(ours)}
    parted = next(sha for sha, _ in repository.history(theirs) if sha in known)
    base, left, right = repository.tree(parted), repository.tree(ours), repository.tree(theirs)
    for path in base.keys() | right.keys():
        if _content(right, path) == _content(base, path):
            continue
        if path in right:
            left[path] = right[path]
        else:
            left.pop(path, None)
    title = f"{discussion['title']} (#{number})"
    sha = repository.add_commit(ours, left, title=title, message="", author=user)
    repository.change_refs({discussion["base"]: sha})
    event = _event("status-change", user, {"status": "merged"})
    _update(repository, number, event, status="merged", mergeCommitId=sha)
    return answer({"status": "merged", "mergeCommitId": sha})
