"""What the local Hub keeps on disk.

    users.json                      user name -> token
    organisations.json              organisation -> user name -> role
    moved.json                      type -> earlier name -> name
    objects/ab/abcdef…              contents of files, named by their SHA-256
    xorbs/…                         what Xet clients have sent, see `xet`
    repos/datasets/user/name/
        repo.json                   settings of the repository
        refs.json                   branches, tags and pull requests: name -> commit
        discussions.json            pull requests and discussions
        commits/abc….json           one file per commit, with the whole tree; never changed

A change is written to a temporary file, synced and renamed, contents first and `refs.json` last. Whoever reads sees the
state before or after a commit, and a server that is killed loses nothing it has acknowledged.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.atomic_file import sync_folder
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import Entry, Objects, git_oid, now, read_json, write_json

REPO_TYPES = ("models", "datasets", "spaces")
ROLES = ("admin", "write", "contributor", "read")
WRITING_ROLES = ("admin", "write")
NAME = re.compile(r"(?!.*(--|\.\.))(?!.*\.git$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
REF = re.compile(r"(?!.*(\.\.|//|@\{|\.lock(/|$)|/\.|\.(/|$)))[A-Za-z0-9_][A-Za-z0-9_./-]{0,250}(?<!/)")
SHA = re.compile(r"[0-9a-f]{40}")
SHORT_SHA = re.compile(r"[0-9a-f]{7,40}")


class Repository:
    """One repository. Every method that changes it must be called with `lock` held."""

    def __init__(self, folder: Path, repo_type: str, repo_id: str) -> None:
        self.folder, self.repo_type, self.repo_id = folder, repo_type, repo_id
        self.lock = threading.RLock()
        self._trees: dict[str, dict[str, Any]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        return dict(read_json(self.folder / "repo.json"))

    def change_settings(self, **changes: Any) -> None:
        write_json(self.folder / "repo.json", {**self.settings, **changes})

    @property
    def owner(self) -> str:
        return self.repo_id.split("/")[0]

    @property
    def refs(self) -> dict[str, str]:
        """Full ref names (`refs/heads/main`, `refs/tags/v1.0.0`, `refs/pr/1`) and their commits."""
        return dict(read_json(self.folder / "refs.json"))

    def change_refs(self, changes: Mapping[str, str | None]) -> None:
        """Set refs, or remove those that are None, in one step."""
        refs = {**self.refs, **changes}
        write_json(self.folder / "refs.json", {name: sha for name, sha in refs.items() if sha is not None})

    def resolve(self, revision: str) -> str:
        """The commit that a branch, a tag, a pull request, a sha or the start of one names.

        Raises:
            HubError: 404 RevisionNotFound.
        """
        refs = self.refs
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in refs:
                return refs[name]
        if SHORT_SHA.fullmatch(revision):
            found = list((self.folder / "commits").glob(f"{revision}*.json"))
            if len(found) == 1:
                return found[0].stem
        raise HubError(404, f"Invalid rev id: {revision[:100]}", "RevisionNotFound")

    def ref_of(self, revision: str) -> str:
        """The full name of the branch or pull request that a commit may be added to."""
        name = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
        if name not in self.refs or name.startswith("refs/tags/"):
            raise HubError(404, f"Invalid rev id: {revision[:100]}", "RevisionNotFound")
        return name

    def commit(self, sha: str) -> dict[str, Any]:
        known = self._trees.get(sha)
        if known is None:
            known = dict(read_json(self.folder / "commits" / f"{sha}.json"))
            if len(self._trees) > 64:
                self._trees.clear()
            self._trees[sha] = known
        return known

    def tree(self, sha: str) -> dict[str, Entry]:
        return {path: Entry(*values) for path, values in self.commit(sha)["tree"].items()}

    def history(self, sha: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Commits from `sha` back to the first."""
        current: str | None = sha
        while current:
            commit = self.commit(current)
            yield current, commit
            current = commit["parent"]

    def add_commit(
        self, parent: str | None, tree: Mapping[str, Entry], *, title: str, message: str, author: str
    ) -> str:
        """Write a commit and give its sha. No ref points to it yet."""
        before = self.tree(parent) if parent else {}
        content: dict[str, Any] = {
            "parent": parent,
            "title": title,
            "message": message,
            "author": author,
            "date": now(),
            "nonce": secrets.token_hex(8),
            "tree": {path: entry.to_list() for path, entry in sorted(tree.items())},
        }
        sha = hashlib.sha1(json.dumps(content, sort_keys=True).encode()).hexdigest()  # noqa: S324 - an id, as git's
        for path, entry in content["tree"].items():
            same = before.get(path)
            entry[4] = same.last if same and same.sha256 == entry[0] and same.lfs == entry[3] else sha
        write_json(self.folder / "commits" / f"{sha}.json", content)
        return sha

    @property
    def discussions(self) -> list[dict[str, Any]]:
        path = self.folder / "discussions.json"
        return list(read_json(path)) if path.is_file() else []

    def write_discussions(self, discussions: list[dict[str, Any]]) -> None:
        write_json(self.folder / "discussions.json", discussions)


class Store:
    """All repositories under one folder."""

    def __init__(
        self,
        root: Path,
        users: Mapping[str, str] | None = None,
        organisations: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.temporary = root / "incoming"
        shutil.rmtree(self.temporary, ignore_errors=True)  # what a killed server left half received
        self.temporary.mkdir()
        for leftover in root.glob("repos/**/.*.tmp"):
            leftover.unlink(missing_ok=True)
        self.objects = Objects(root / "objects", self.temporary)
        self.users = self._users(users)
        self.organisations = self._organisations(organisations)
        self.lock = threading.RLock()
        self._repositories: dict[tuple[str, str], Repository] = {}
        (root / "repos").mkdir(exist_ok=True)

    def _users(self, given: Mapping[str, str] | None) -> dict[str, str]:
        path = self.root / "users.json"
        known = dict(read_json(path)) if path.is_file() else {}
        users = {**(given or {}), **known} or {"user": f"hf_local_{secrets.token_hex(12)}"}
        for name in users:
            if not NAME.fullmatch(name):
                raise HubError(400, f"{name!r} cannot name a user.")
        if users != known:
            write_json(path, users)
            path.chmod(0o600)
        return users

    def _organisations(self, given: Mapping[str, Mapping[str, str]] | None) -> dict[str, dict[str, str]]:
        path = self.root / "organisations.json"
        known = dict(read_json(path)) if path.is_file() else {}
        organisations = {**known, **{name: dict(members) for name, members in (given or {}).items()}}
        for name, members in organisations.items():
            if not NAME.fullmatch(name) or name in self.users:
                raise HubError(400, f"{name!r} cannot name an organisation.")
            if not members.keys() <= self.users.keys() or not set(members.values()) <= set(ROLES):
                raise HubError(400, f"Members of {name!r} must be users, with a role of {', '.join(ROLES)}.")
        if organisations != known:
            write_json(path, organisations)
        return organisations

    def roles(self, user: str) -> dict[str, str]:
        """A user's role in each of their organisations."""
        return {name: members[user] for name, members in self.organisations.items() if user in members}

    def may_write(self, user: str | None, owner: str) -> bool:
        """Whether a user may write to what a user or an organisation owns."""
        return user is not None and (user == owner or self.roles(user).get(owner) in WRITING_ROLES)

    def may_read(self, user: str | None, owner: str) -> bool:
        """Whether a user may read what a user or an organisation keeps private."""
        return user is not None and (user == owner or owner in self.roles(user))

    def user_of(self, token: str | None) -> str | None:
        if not token:
            return None
        return next((name for name, known in self.users.items() if secrets.compare_digest(known, token)), None)

    def folder(self, repo_type: str, repo_id: str) -> Path:
        parts = repo_id.split("/")
        if repo_type not in REPO_TYPES or len(parts) != 2 or not all(NAME.fullmatch(part) for part in parts):
            raise HubError(400, "A repository is named user/name: letters, digits, '-', '_' and '.'.")
        return self.root / "repos" / repo_type / parts[0] / parts[1]

    def find(self, repo_type: str, repo_id: str) -> Repository | None:
        folder = self.folder(repo_type, repo_id)
        key = (repo_type, repo_id)
        with self.lock:
            if not (folder / "repo.json").is_file():
                self._repositories.pop(key, None)
                return None
            return self._repositories.setdefault(key, Repository(folder, repo_type, repo_id))

    def create(self, repo_type: str, repo_id: str, *, author: str, **settings: Any) -> Repository:
        """A new repository with a first commit that holds .gitattributes, as on the Hub."""
        folder = self.folder(repo_type, repo_id)
        with self.lock:
            if self.find(repo_type, repo_id) is not None:
                raise HubError(409, "You already created this repo", url=f"{repo_type}/{repo_id}")
            building = self.temporary / secrets.token_hex(8)
            (building / "commits").mkdir(parents=True)
            repository = Repository(building, repo_type, repo_id)
            content = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
            entry = Entry(self.objects.put(content), len(content), git_oid(content), lfs=False)
            sha = repository.add_commit(
                None, {".gitattributes": entry}, title="initial commit", message="", author=author
            )
            write_json(building / "refs.json", {"refs/heads/main": sha})
            write_json(building / "repo.json", {"created": now(), "private": False, "gated": False, **settings})
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            building.rename(folder)
            sync_folder(folder.parent)
            found = self.find(repo_type, repo_id)
            assert found is not None
            return found

    def delete(self, repository: Repository) -> None:
        with self.lock, repository.lock:
            gone = self.temporary / secrets.token_hex(8)
            repository.folder.rename(gone)
            self._repositories.pop((repository.repo_type, repository.repo_id), None)
            shutil.rmtree(gone, ignore_errors=True)

    def move(self, repository: Repository, to: str) -> None:
        target, kind = self.folder(repository.repo_type, to), repository.repo_type
        with self.lock, repository.lock:
            if self.find(repository.repo_type, to) is not None:
                raise HubError(409, f"A {kind.removesuffix('s')} repository called {to!r} already exists")
            target.parent.mkdir(parents=True, exist_ok=True)
            repository.folder.rename(target)
            sync_folder(target.parent)
            self._repositories.pop((kind, repository.repo_id), None)
            known = self._moved()
            known.get(kind, {}).pop(to, None)
            write_json(self.root / "moved.json", {**known, kind: {**known.get(kind, {}), repository.repo_id: to}})

    def _moved(self) -> dict[str, dict[str, str]]:
        path = self.root / "moved.json"
        return dict(read_json(path)) if path.is_file() else {}

    def moved_to(self, repo_type: str, repo_id: str) -> str | None:
        """The name that a repository has now which had this one; None where none had."""
        moved, name = self._moved().get(repo_type, {}), repo_id
        for _ in moved:
            name = moved.get(name, name)
        return name if name != repo_id and self.find(repo_type, name) is not None else None

    def repositories(self, repo_type: str) -> Iterator[Repository]:
        for settings in sorted((self.root / "repos" / repo_type).glob("*/*/repo.json")):
            repo_id = "/".join(settings.parts[-3:-1])
            with suppress(HubError):
                found = self.find(repo_type, repo_id)
                if found is not None:
                    yield found
