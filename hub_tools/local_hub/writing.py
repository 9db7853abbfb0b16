"""Repositories created and changed, files taken in, and commits."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from starlette.responses import Response

from hf_relabel.hub_tools.local_hub import discussions, spaces
from hf_relabel.hub_tools.local_hub.call import Call, answer, text_of
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import Entry, Objects, check_path, git_oid, pointer
from hf_relabel.hub_tools.local_hub.store import REF, REPO_TYPES, SHA, Repository
from hf_relabel.hub_tools.local_hub.xet import files_of_shard
from hf_relabel.hub_tools.local_hub.xet_downloads import READ, note_file

LFS_SUFFIXES = (
    *(".parquet", ".arrow", ".bin", ".safetensors", ".npy", ".npz", ".pt", ".pth", ".onnx", ".h5", ".ckpt", ".model"),
    *(".gguf", ".pkl", ".zst", ".gz", ".zip", ".tar", ".7z", ".xz", ".bz2", ".png", ".jpg", ".jpeg", ".gif", ".webp"),
)
MAX_REGULAR = 10 << 20
_PREFIXES = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}


def page_of(call: Call, repository: Repository) -> str:
    return f"{call.url}/{_PREFIXES[repository.repo_type]}{repository.repo_id}"


def _named(call: Call, values: Mapping[str, Any]) -> tuple[str, str]:
    """The type and id that a request about a repository names."""
    repo_type = f"{text_of(values, 'type', 'model')}s"
    name = text_of(values, "name")
    owner = values.get("organization") or (None if "/" in name else call.signed_in())
    if repo_type not in REPO_TYPES:
        raise HubError(400, "`type` must be model, dataset or space.")
    return repo_type, f"{owner}/{name}" if owner else name


def create_repository(call: Call) -> Response:
    values = call.json()
    user = call.signed_in()
    repo_type, repo_id = _named(call, values)
    if not call.may_write_for(repo_id.split("/")[0]):
        raise HubError(403, "You don't have the rights to create a repository under this namespace.")
    private = values.get("visibility") == "private" or values.get("private") is True
    if repo_type == "spaces" and not isinstance(values.get("sdk"), str):
        raise HubError(400, "A Space needs an `sdk`.")
    extra = spaces.settings_of_new(values) if repo_type == "spaces" else {}
    store, sdk = call.hub.store, values.get("sdk")
    with store.lock:  # clients that come at once all learn where it is, as `exist_ok` wants
        existing = store.find(repo_type, repo_id)
        if existing is not None:
            return answer({"error": "You already created this repo", "url": page_of(call, existing)}, 409)
        repository = store.create(repo_type, repo_id, author=user, private=private, sdk=sdk, **extra)
    return answer({"url": page_of(call, repository), "name": repo_id, "id": repo_id})


def delete_repository(call: Call) -> Response:
    repository = call.repository(*_named(call, call.json()))
    call.writable(repository)
    call.hub.store.delete(repository)
    return answer({})


def change_settings(call: Call, repository: Repository) -> Response:
    call.writable(repository)
    values = call.json()
    changes: dict[str, Any] = {}
    if values.get("visibility") in ("public", "private"):
        changes["private"] = values["visibility"] == "private"
    if isinstance(values.get("private"), bool):
        changes["private"] = values["private"]
    if values.get("gated") in (False, "auto", "manual"):
        changes["gated"] = values["gated"]
    with repository.lock:
        repository.change_settings(**changes)
    return answer({name: repository.settings[name] for name in ("private", "gated")})


def create_branch(call: Call, repository: Repository, branch: str) -> Response:
    call.writable(repository)
    values = call.json()
    with repository.lock:
        start = values.get("startingPoint")
        sha = repository.resolve(start if isinstance(start, str) else "main")
        _add_ref(repository, f"refs/heads/{branch}", branch, sha, overwrite=bool(values.get("overwrite")))
    return answer({})


def create_tag(call: Call, repository: Repository, revision: str) -> Response:
    call.writable(repository)
    tag = text_of(call.json(), "tag")
    with repository.lock:
        _add_ref(repository, f"refs/tags/{tag}", tag, repository.resolve(revision))
    return answer({})


def _add_ref(repository: Repository, name: str, short: str, sha: str, *, overwrite: bool = False) -> None:
    if not REF.fullmatch(short) or SHA.fullmatch(short):
        raise HubError(400, "Not a name a branch or tag can have.")
    if name in repository.refs and not overwrite:
        raise HubError(409, f"Reference {name} already exists")
    repository.change_refs({name: sha})


def delete_ref(call: Call, repository: Repository, name: str) -> Response:
    call.writable(repository)
    with repository.lock:
        if name == "refs/heads/main":
            raise HubError(403, f"Cannot delete {name}")
        if name not in repository.refs:
            raise HubError(404, f"Invalid rev id: {name[:200]}", "RevisionNotFound")
        repository.change_refs({name: None})
    return answer({})


def preupload(call: Call, repository: Repository, revision: str) -> Response:
    """How each file is to be sent, and what is there under its name."""
    call.signed_in()
    tree = repository.tree(repository.resolve(revision))
    values = call.json()
    files, ignored = values.get("files"), _ignored(call.hub.objects, tree, values.get("gitIgnore"))
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise HubError(400, "`files` must be a list.")
    answers = []
    for file in files:
        path = check_path(file.get("path"))
        mode = "lfs" if _is_large(path, file) else "regular"
        there = tree.get(path)
        oid = None if there is None else there.sha256 if there.lfs else there.oid
        answers.append({"path": path, "uploadMode": mode, "shouldIgnore": ignored(path), "oid": oid})
    return answer({"files": answers})


def _ignored(objects: Objects, tree: Mapping[str, Entry], given: Any) -> Callable[[str], bool]:
    """Which paths a .gitignore leaves out: the one that is sent along, else the one that is there."""
    there = tree.get(".gitignore")
    if not isinstance(given, str):
        if there is None:
            return lambda path: False
        given = objects.path(there.sha256).read_text(encoding="utf-8", errors="replace")
    import pathspec

    return pathspec.GitIgnoreSpec.from_lines(given.splitlines()).match_file


def _is_large(path: str, file: Mapping[str, Any]) -> bool:
    size = file.get("size")
    if not isinstance(size, int) or size < 0:
        raise HubError(400, "`size` must be a number of bytes.")
    if size == 0:
        return False
    try:
        sample = base64.b64decode(str(file.get("sample", "")), validate=True)
    except binascii.Error as error:
        raise HubError(400, "`sample` must be base64.") from error
    return size > MAX_REGULAR or path.lower().endswith(LFS_SUFFIXES) or b"\0" in sample


def lfs_batch(call: Call, repository: Repository) -> Response:
    """Where to send the contents that are not here yet (git-lfs, docs/api/batch.md)."""
    user = call.signed_in()
    values = call.json()
    objects = values.get("objects")
    if not isinstance(objects, list) or values.get("operation") not in ("upload", "download"):
        raise HubError(400, "A batch needs an operation and objects.")
    answers = []
    for wanted in objects:
        oid, size = text_of(wanted, "oid"), wanted.get("size")
        told: dict[str, Any] = {"oid": oid, "size": size}
        if not call.hub.objects.has(oid):
            signed = call.hub.sign(user, f"lfs {oid} {size}")
            told["actions"] = {"upload": {"href": f"{call.url}/lfs/{oid}/{size}?signed={signed}", "header": {}}}
        answers.append(told)
    return answer({"transfer": "basic", "objects": answers})


def xet_token(call: Call, repository: Repository) -> Response:
    """What a Xet client needs to send chunks here."""
    return token_for_xet(call, call.hub.sign(call.signed_in(), "xet"))


def xet_read_token(call: Call, repository: Repository) -> Response:
    """What a Xet client needs to get chunks from here."""
    call.readable(repository)
    return token_for_xet(call, call.hub.sign_link(READ))


def token_for_xet(call: Call, signed: str) -> Response:
    """Where a Xet client is to go, and what lets it in."""
    expires = signed.split(".")[-2]
    headers = {
        "X-Xet-Cas-Url": f"{call.url}/xet",
        "X-Xet-Access-Token": signed,
        "X-Xet-Token-Expiration": expires,
    }
    return answer({"casUrl": f"{call.url}/xet", "accessToken": signed, "exp": int(expires)}, headers=headers)


def grant_xorb(call: Call, name: str) -> Response:
    """Whether a xorb need not be sent. A client asks before it sends one, and so goes on where it was killed.

    Seen in hf_xet as of huggingface_hub 2.4: 200 means that it is there, 404 that it is to be sent to /v1/xorbs.
    """
    if not call.hub.xorbs.path(name).is_file():
        raise HubError(404, "Not found")
    return answer({})


def take_shard(call: Call) -> Response:
    """Put together the files that a shard describes."""
    for file in files_of_shard(call.body):
        sha256, _ = call.hub.xorbs.build(file, call.hub.objects)
        note_file(call.hub.xorbs, file, sha256)
    return answer({"result": 1})


def commit(call: Call, repository: Repository, revision: str) -> Response:
    """Add a commit to a branch or to a pull request, or open a pull request with it."""
    header, operations = _operations(call.body)
    as_pull_request = call.query.get("create_pr") in ("1", "true", "True")
    user = call.signed_in() if as_pull_request else call.writable(repository)
    title, message = text_of(header, "summary"), text_of(header, "description", "")
    # Contents first, and outside the lock: nothing points to them yet.
    changes = [_change(call.hub.objects, kind, value) for kind, value in operations]
    with repository.lock:
        base = repository.resolve(revision)
        branch = repository.ref_of(revision)
        ref = None if as_pull_request else branch
        parent = header.get("parentCommit")
        if parent is not None and (known := repository.resolve(str(parent))) != base:
            if not as_pull_request:
                raise HubError(
                    412,
                    "The branch was updated since you opened this page. Please refresh and try again.",
                )
            base = known
        tree = repository.tree(base)
        for change in changes:
            change(tree)
        _check_tree(tree)
        sha = repository.add_commit(base, tree, title=title, message=message, author=user)
        told = {"success": True, "commitOid": sha, "commitUrl": f"{page_of(call, repository)}/commit/{sha}"}
        if ref is None:
            number = discussions.open_pull_request(repository, user, title, message, revision, sha)
            told["pullRequestUrl"] = f"{page_of(call, repository)}/discussions/{number}"
        else:
            repository.change_refs({ref: sha})
            discussions.note_commit(repository, ref, user, title, sha)
    return answer({**told, "hookOutput": ""})


def _operations(body: bytes) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """The header and the operations of a commit, one JSON object per line."""
    operations = []
    for line in body.splitlines():
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            kind, value = item["key"], item["value"]
        except (ValueError, KeyError, TypeError) as error:
            raise HubError(400, "A commit is one JSON object per line, with `key` and `value`.") from error
        if not isinstance(value, dict):
            raise HubError(400, "The `value` of an operation must be an object.")
        operations.append((str(kind), value))
    if not operations or operations[0][0] != "header":
        raise HubError(400, "A commit begins with its header.")
    return operations[0][1], operations[1:]


Tree = dict[str, Entry]


def _change(objects: Objects, kind: str, value: Mapping[str, Any]) -> Callable[[Tree], None]:
    """What an operation does to a tree. Its content is kept now."""
    path = check_path(value.get("path", "").rstrip("/") if isinstance(value.get("path"), str) else None)
    if kind == "file":
        entry = _regular(objects, value)
        return lambda tree: tree.update({path: entry})
    if kind == "lfsFile":
        entry = _large(objects, value)
        return lambda tree: tree.update({path: entry})
    if kind == "deletedFile":
        return lambda tree: _delete(tree, path, {path} & tree.keys() or _inside(tree, path))
    if kind == "deletedFolder":
        return lambda tree: _delete(tree, path, _inside(tree, path))
    raise HubError(400, f"Not an operation: {kind[:50]!r}")


def _inside(tree: Tree, folder: str) -> set[str]:
    return {name for name in tree if name.startswith(f"{folder}/")}


def _delete(tree: Tree, path: str, names: set[str]) -> None:
    if not names:
        raise HubError(404, f"{path[:200]} does not exist and cannot be deleted.", "EntryNotFound")
    for name in names:
        del tree[name]


def _regular(objects: Objects, value: Mapping[str, Any]) -> Entry:
    content = text_of(value, "content", "")
    try:
        data = base64.b64decode(content, validate=True) if value.get("encoding") == "base64" else content.encode()
    except (binascii.Error, UnicodeEncodeError) as error:
        raise HubError(400, "The content of a file is not what its encoding says.") from error
    return Entry(objects.put(data), len(data), git_oid(data), lfs=False)


def _large(objects: Objects, value: Mapping[str, Any]) -> Entry:
    oid = text_of(value, "oid")
    if not objects.has(oid):
        raise HubError(400, f"The content {oid} of {str(value.get('path'))[:200]!r} was not sent.")
    size = objects.path(oid).stat().st_size
    if value.get("size") not in (None, size):
        raise HubError(400, f"{str(value.get('path'))[:200]!r} has {size} bytes, not {value.get('size')!r}.")
    return Entry(oid, size, git_oid(pointer(oid, size)), lfs=True)


def _check_tree(tree: Mapping[str, Entry]) -> None:
    """Raises: HubError 400, a name is a file and a folder at once."""
    for path in _parents(tree):
        if path in tree:
            raise HubError(400, f"{path[:200]!r} would be a file and a folder.")


def _parents(tree: Mapping[str, Entry]) -> Iterator[str]:
    for path in tree:
        while "/" in path:
            path = path.rpartition("/")[0]
            yield path
