"""What is in a repository on the Hub before a release is pushed to it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.configs.manifest import MANIFEST_NAME
from hf_relabel.builders.errors import ReleaseError
from hf_relabel.hub_tools.hub.commit import WHAT
from hf_relabel.hub_tools.hub.errors import hub_errors

if TYPE_CHECKING:
    from huggingface_hub import HfApi

README_NAME = "README.md"
_BLOCK_BYTES = 2**20
_MOST_TOLD = 50_000
"""Of more files the Hub may tell a part only (`VERY_LARGE_REPO_THRESHOLD` of the client)."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a commit. `sha256` is None where it is kept in git, `oid` is its git blob id."""

    size: int
    sha256: str | None
    oid: str

    def holds(self, content: bytes | Path) -> bool:
        """Whether it has this content. The Hub keeps large files and images by their SHA-256, texts in git."""
        size = size_of(content)
        if self.size != size:
            return False
        blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        digest, expected = (blob, self.oid) if self.sha256 is None else (hashlib.sha256(), self.sha256)
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest() == expected


def size_of(content: bytes | Path) -> int:
    """Bytes of a content, or of the file that holds it."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


@dataclass(frozen=True)
class Head:
    """The main branch as it was read. All of it is of the one commit `sha`.

    Attributes:
        sha: None where the repository does not exist.
        tags: tags and their commits.
        manifest: of the release that is there, None if there is none.
        readme: None if there is none.
    """

    sha: str | None = None
    private: bool | None = None
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    manifest: Mapping[str, Any] | None = None
    readme: str | None = None

    @property
    def version(self) -> str | None:
        """The version that the manifest says it is."""
        release = (self.manifest or {}).get("release")
        version = release.get("version") if isinstance(release, dict) else None
        return version if isinstance(version, str) else None


def read_head(
    api: HfApi,
    repo_id: str,
    *,
    repo_type: str = "dataset",
    record: str | None = MANIFEST_NAME,
    revision: str | None = None,
) -> Head:
    """Read the main branch.

    Args:
        revision: another branch, or a pull request (`refs/pr/1`).
        record: the file in which a release of ours says what it is; None for repositories that hold no release.

    Raises:
        ReleaseError: the Hub cannot be asked, or holds a manifest.json or README.md that cannot be read.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    with hub_errors(repo_id, revision, api.token, what=WHAT[repo_type], writer=api):
        try:
            info = api.repo_info(repo_id, repo_type=repo_type, revision=revision, files_metadata=True)
        except RepositoryNotFoundError:
            return Head()
        sha = str(info.sha)
        files = _files(api, repo_id, repo_type, info)
        refs = api.list_repo_refs(repo_id, repo_type=repo_type)
        readme = _text(api, repo_id, repo_type, sha, README_NAME) if README_NAME in files else None
        text = _text(api, repo_id, repo_type, sha, record) if record is not None and record in files else None
    return Head(
        sha=sha,
        private=bool(info.private),
        files=files,
        tags={tag.name: tag.target_commit for tag in refs.tags},
        manifest=None if record is None or text is None else _manifest(text, repo_id, record),
        readme=readme,
    )


def _files(api: HfApi, repo_id: str, repo_type: str, info: Any) -> dict[str, RemoteFile]:
    """The files of a commit that was asked for with their metadata, which saves listing them."""
    from huggingface_hub.hf_api import RepoFile

    listed = [(each.rfilename, each) for each in info.siblings or []]
    if len(listed) >= _MOST_TOLD:
        tree = api.list_repo_tree(repo_id, repo_type=repo_type, revision=info.sha, recursive=True)
        listed = [(each.path, each) for each in tree if isinstance(each, RepoFile)]
    return {path: RemoteFile(each.size, each.lfs.sha256 if each.lfs else None, each.blob_id) for path, each in listed}


def _text(api: HfApi, repo_id: str, repo_type: str, sha: str, name: str) -> str:
    path = Path(api.hf_hub_download(repo_id, name, repo_type=repo_type, revision=sha))
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{repo_id}: {name} is not UTF-8 text. Correct or remove it, then push again.") from error


def _manifest(text: str, repo_id: str, record: str) -> Mapping[str, Any]:
    """A manifest that we wrote. Of other versions of its format only `files` is relied on."""
    try:
        manifest = json.loads(text)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ReleaseError(
            f"{repo_id} has a {record} that hf-relabel did not write. Push to another repository, or remove it."
        )
    return manifest
