"""What the local Hub tells about repositories, and the files it gives."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import FileResponse, PlainTextResponse, Response

from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.local_hub.call import Call, answer
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import Entry, pointer
from hf_relabel.hub_tools.local_hub.store import Repository
from hf_relabel.hub_tools.local_hub.xet_downloads import hash_of

PAGE_ENTRIES, PAGE_COMMITS = 1000, 50
_FRONT_MATTER = re.compile(r"\A﻿?\s*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def whoami(call: Call) -> Response:
    return answer({**told_of(call), "auth": {"accessToken": {"displayName": "local", "role": "write"}}})


def told_of(call: Call) -> dict[str, Any]:
    """What the Hub tells of who asks, and of their organisations."""
    user = call.signed_in()
    organisations = [
        {
            "type": "org",
            "id": subject(name),
            "name": name,
            "fullname": name,
            "avatarUrl": _avatar(call, name),
            "isEnterprise": False,
            "roleInOrg": role,
        }
        for name, role in call.hub.store.roles(user).items()
    ]
    told = {"type": "user", "id": subject(user), "name": user, "fullname": user, "avatarUrl": _avatar(call, user)}
    return {**told, "orgs": organisations}


def subject(name: str) -> str:
    """The id of a user or an organisation, which is not their name."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def _avatar(call: Call, name: str) -> str:
    return f"{call.url}/avatars/{name}.svg"


def repository_info(call: Call, repository: Repository, revision: str) -> Response:
    blobs = call.query.get("blobs", "").lower() in ("true", "1")
    return answer(info_of(call, repository, repository.resolve(revision), blobs=blobs))


def info_of(call: Call, repository: Repository, sha: str, *, blobs: bool) -> dict[str, Any]:
    """What is told of a repository at a commit.

    Args:
        blobs: sizes and ids of the files too.
    """
    settings, commit, tree = repository.settings, repository.commit(sha), repository.tree(sha)
    siblings = []
    for path, entry in tree.items():
        sibling: dict[str, Any] = {"rfilename": path}
        if blobs:
            sibling |= {"size": entry.size, "blobId": entry.oid}
            if entry.lfs:
                sibling["lfs"] = _lfs(entry)
        siblings.append(sibling)
    card = _card_data(call, tree)
    info = {
        "_id": repository.repo_id,
        "id": repository.repo_id,
        "author": repository.owner,
        "sha": sha,
        "private": settings["private"],
        "gated": settings["gated"],
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "createdAt": settings["created"],
        "lastModified": commit["date"],
        "cardData": card or None,
        "tags": _tags(card),
        "siblings": siblings,
    }
    if repository.repo_type == "models":
        info |= {"modelId": repository.repo_id, "library_name": card.get("library_name")}
        info |= {"pipeline_tag": card.get("pipeline_tag")}
    if repository.repo_type == "spaces":
        info |= {"sdk": settings.get("sdk")}
    return info


def _tags(card: Mapping[str, Any]) -> list[str]:
    """The tags of a card, and those that the Hub makes of its license and languages."""
    tags = []
    for name, prefix in (("tags", ""), ("license", "license:"), ("language", "language:")):
        value = card.get(name)
        tags += [f"{prefix}{one}" for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    return tags


def _card_data(call: Call, tree: Mapping[str, Entry]) -> dict[str, Any]:
    """The front matter of README.md; empty where there is none or it is not YAML."""
    import yaml

    entry = tree.get("README.md")
    if entry is None or entry.size > 1 << 22:
        return {}
    match = _FRONT_MATTER.match(call.hub.objects.path(entry.sha256).read_text(encoding="utf-8", errors="replace"))
    if match is None:
        return {}
    try:
        # Dates become texts: the answer is JSON.
        data = yaml.load(match[1], Loader=yaml.BaseLoader)  # noqa: S506 - builds texts, lists and mappings only
        typed = yaml.safe_load(match[1])
    except yaml.YAMLError:
        return {}
    return dict(_jsonable(typed, data)) if isinstance(typed, dict) else {}


def _jsonable(typed: Any, plain: Any) -> Any:
    if isinstance(typed, dict):
        texts = {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}
        return {str(key): _jsonable(value, texts.get(str(key))) for key, value in typed.items()}
    if isinstance(typed, list):
        return [_jsonable(value, text) for value, text in zip(typed, plain, strict=True)]
    return typed if isinstance(typed, str | int | float | bool | None) else str(plain)


def _lfs(entry: Entry) -> dict[str, Any]:
    size = len(pointer(entry.sha256, entry.size))
    return {"oid": entry.sha256, "sha256": entry.sha256, "size": entry.size, "pointerSize": size}


def _file(call: Call, repository: Repository, path: str, entry: Entry, *, expand: bool) -> dict[str, Any]:
    info: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.lfs:
        info["lfs"] = _lfs(entry)
        if (name := _xet_hash(call, entry)) is not None:
            info["xetHash"] = name
    return info | (_last_commit(repository, entry.last) if expand else {})


def _xet_hash(call: Call, entry: Entry) -> str | None:
    """By what a client gets the content by Xet; None where it is not to, or cannot."""
    return hash_of(call.hub.xorbs, entry.sha256) if entry.lfs and call.hub.xet else None


def _last_commit(repository: Repository, sha: str) -> dict[str, Any]:
    commit = repository.commit(sha)
    return {"lastCommit": {"id": sha, "title": commit["title"], "date": commit["date"]}}


def _folder(repository: Repository, path: str, tree: Mapping[str, Entry], *, expand: bool) -> dict[str, Any]:
    inside = [(name, entry) for name, entry in tree.items() if name.startswith(f"{path}/")]
    oid = hashlib.sha1(repr([(name, entry.oid) for name, entry in inside]).encode()).hexdigest()  # noqa: S324 - an id
    info: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path}
    if not expand:
        return info
    newest = max((entry.last for _, entry in inside), key=lambda sha: repository.commit(sha)["date"])
    return info | _last_commit(repository, newest)


def _folders(tree: Mapping[str, Entry]) -> set[str]:
    return {path[:index] for path in tree for index, character in enumerate(path) if character == "/"}


def list_tree(call: Call, repository: Repository, revision: str, path: str) -> Response:
    tree = repository.tree(repository.resolve(revision))
    recursive = call.query.get("recursive", "").lower() in ("true", "1")
    expand = call.query.get("expand", "").lower() in ("true", "1")
    folders = _folders(tree)
    if path and path not in folders:
        raise HubError(404, f"{path[:200]} does not exist on {revision[:100]!r}", "EntryNotFound")
    prefix = f"{path}/" if path else ""
    names = sorted(
        name for name in [*tree, *folders] if name.startswith(prefix) and (recursive or "/" not in name[len(prefix) :])
    )
    start = number_of(call.query.get("cursor", "0"))
    size = min(number_of(call.query.get("limit", str(PAGE_ENTRIES))) or PAGE_ENTRIES, PAGE_ENTRIES)
    entries = [
        _file(call, repository, name, tree[name], expand=expand)
        if name in tree
        else _folder(repository, name, tree, expand=expand)
        for name in names[start : start + size]
    ]
    return answer(entries, headers=_next_page(call, start + size, len(names)))


def paths_info(call: Call, repository: Repository, revision: str) -> Response:
    tree = repository.tree(repository.resolve(revision))
    values = call.json() if "json" in call.headers.get("content-type", "") else None
    form = call.form() if values is None else [("paths", path) for path in values.get("paths", [])]
    expand = (dict(form) | (values or {})).get("expand") in ("true", "True", "1", True)
    folders = _folders(tree)
    found = []
    for name, path in form:
        path = str(path).strip("/")
        if name == "paths" and path in tree:
            found.append(_file(call, repository, path, tree[path], expand=expand))
        elif name == "paths" and path in folders:
            found.append(_folder(repository, path, tree, expand=expand))
    return answer(found)


def list_refs(call: Call, repository: Repository) -> Response:
    kinds = {"refs/heads/": "branches", "refs/tags/": "tags", "refs/pr/": "pullRequests"}
    refs: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    for name, sha in repository.refs.items():
        for prefix, kind in kinds.items():
            if name.startswith(prefix):
                short = name if kind == "pullRequests" else name.removeprefix(prefix)
                refs[kind].append({"name": short, "ref": name, "targetCommit": sha})
    if "include_prs" not in call.query:
        del refs["pullRequests"]
    return answer(refs)


def list_commits(call: Call, repository: Repository, revision: str) -> Response:
    expand = [value for name, value in call.query.items() if name in ("expand", "expand[]")]
    commits = [
        _commit(sha, commit, formatted="formatted" in expand)
        for sha, commit in repository.history(repository.resolve(revision))
    ]
    return page(call, commits, number_of(call.query.get("cursor", "0")), PAGE_COMMITS)


def _commit(sha: str, commit: Mapping[str, Any], *, formatted: bool) -> dict[str, Any]:
    authors = [{"user": commit["author"], "avatar": ""}]
    as_html = {"formatted": {name: html.escape(commit[name]) for name in ("title", "message")}} if formatted else {}
    return {
        **as_html,
        "id": sha,
        "title": commit["title"],
        "message": commit["message"],
        "authors": authors,
        "date": commit["date"],
    }


def auth_check(call: Call, repository: Repository) -> Response:
    """Whether who asks may read the files; with `write` in the address, write them."""
    call.readable(repository)
    if call.parts[-1] == "write":
        call.writable(repository)
    return answer({})


def resolve_file(call: Call, repository: Repository, revision: str, path: str) -> Response:
    """The content of a file; with `Range` a part of it."""
    call.readable(repository)
    sha = repository.resolve(revision)
    entry = repository.tree(sha).get(path)
    if entry is None:
        raise HubError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=sha)
    headers = {"X-Repo-Commit": sha, "ETag": f'"{entry.sha256 if entry.lfs else entry.oid}"'}
    if entry.lfs:
        headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
    if (name := _xet_hash(call, entry)) is not None:
        api = f"{call.url}/api/{repository.repo_type}/{repository.repo_id}"
        headers |= {"X-Xet-Hash": name, "Link": f'<{api}/xet-read-token/{sha}>; rel="xet-auth"'}
    return give_content(call, path, entry.sha256, headers, from_cdn=entry.lfs and call.hub.cdn)


def give_content(call: Call, path: str, sha256: str, headers: Mapping[str, str], *, from_cdn: bool) -> Response:
    """A content under the name that users gave it, which is never shown as a page of this server.

    Args:
        from_cdn: send to another origin for it.
    """
    headers = {
        **headers,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rsplit('/')[-1], safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if from_cdn:
        where = call.url.replace("127.0.0.1", "localhost")  # another origin: a client may not send its token there
        signed = call.hub.sign_link(f"get {sha256}")
        return Response(status_code=302, headers={**headers, "Location": f"{where}/lfs/{sha256}?signed={signed}"})
    is_text = re.search(r"\.(md|txt|json|jsonl|ya?ml|csv|py|gitattributes)$", path) is not None
    kind = "text/plain; charset=utf-8" if is_text else "application/octet-stream"
    return FileResponse(call.hub.objects.path(sha256), headers=headers, media_type=kind)


def stored_file(call: Call, oid: str) -> Response:
    """The content of a large file, at the address that `resolve` sends to."""
    call.hub.check_link(call.query.get("signed", ""), f"get {oid}")
    if "authorization" in call.headers:
        raise HubError(400, "Only one auth mechanism allowed.")  # as storage services say of a token sent too far
    return FileResponse(call.hub.objects.path(oid), media_type="application/octet-stream")


def about_tokens(call: Call) -> Response:
    """How to get a token, at the place where the Hub has its page for that."""
    serve = f"{program()} hub serve FOLDER --user NAME"
    return PlainTextResponse(
        f"This Hub prints a token for each of its users when it starts ({serve}): export the HF_TOKEN it prints.\n"
    )


def validate_yaml(call: Call) -> Response:
    """Whether the front matter of a card is YAML. What its entries mean is not checked here."""
    import yaml

    content = str(call.json().get("content", ""))
    errors = []
    match = _FRONT_MATTER.match(content)
    try:
        data = yaml.safe_load(match[1]) if match else {}
        if data is not None and not isinstance(data, dict):
            errors.append({"message": "The front matter must map names to values."})
    except yaml.YAMLError as error:
        errors.append({"message": f"Not valid YAML: {' '.join(str(error).split())[:200]}"})
    return answer({"errors": errors, "warnings": []}, 400 if errors else 200)


def page(call: Call, items: list[Any], start: int, size: int) -> Response:
    """A part of a list, and where the next one is."""
    return answer(items[start : start + size], headers=_next_page(call, start + size, len(items)))


def _next_page(call: Call, start: int, total: int) -> dict[str, str]:
    if start >= total:
        return {}
    path = "/".join(quote(part, safe="") for part in call.parts)
    query = urlencode({**call.query, "cursor": start})
    return {"Link": f'<{call.url}/{path}?{query}>; rel="next"'}


def number_of(text: str) -> int:
    """Raises: HubError 400, it is none."""
    if not text.isascii() or not text.isdigit():
        raise HubError(400, "Not a number.")
    return int(text)
