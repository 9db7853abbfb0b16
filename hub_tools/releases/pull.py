"""Downloading a release: pinned to a commit, checked against its manifest, complete or not at all.

Files are gathered beside the folder, in `.{name}.pulling`, and stay there when a pull is cut short: the next one takes
what it finds complete. A file is taken only with the size and the sha256 that the manifest gives.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hf_relabel.builders.configs.manifest import MANIFEST_NAME, FileEntry, is_ours, manifest_text, read_manifest
from hf_relabel.builders.disk.atomic_folder import new_folder
from hf_relabel.builders.errors import BuildError, ConfigError, ReleaseError
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.techniques import canonical
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.hub.memory import give_back_large_blocks
from hf_relabel.hub_tools.hub.source import HubLocation
from hf_relabel.hub_tools.releases.repository import README_NAME

if TYPE_CHECKING:
    from huggingface_hub import HfApi


Progress = Callable[[int, int], None]
"""Called with the bytes that are there and those of the whole release."""

# `config/split-00000-of-00001.parquet`: a manifest is somebody else's word, so nothing else is taken as a path.
_DATA_FILE = re.compile(r"(?P<config>\w[\w.-]{0,99})/\w[\w.-]{0,199}\.parquet")
_FIGURE = re.compile(r"figures/\w[\w.-]{0,199}\.(png|svg)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PullReport:
    """What was pulled.

    Attributes:
        revision: the commit.
        version: as the manifest names it, None for a folder that was uploaded without one.
        default_config: which of `configs` loads when none is named; None where that one was not pulled.
        files, bytes: data files of the release that are now in the folder, and their size.
        downloaded: bytes of them that had to be downloaded; the others were there.
    """

    folder: Path
    repo_id: str
    revision: str
    version: str | None
    configs: Sequence[str]
    files: int
    bytes: int
    downloaded: int
    default_config: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "folder": str(self.folder)}


@expects(location=str, out=PATH)
def pull(
    location: str,
    out: str | Path,
    *,
    configs: Sequence[str] = (),
    revision: str | None = None,
    token: str | bool | None = None,
    progress: Progress | None = None,
) -> PullReport:
    """Download a release into a folder that builds, compares and loads like one that was built here.

    A release pulled or built there before is replaced in one step; files that belong to neither are kept, and what the
    two have in common is not downloaded again.

    Example:
            pull("user/train-relabeled@v1.0.0", "pulled", configs=["relabel"])

    Args:
        location: `user/repo` or `user/repo@revision`.
        configs: only these; all when none is given. The manifest in the folder then lists their files alone.
        revision: a branch, tag or commit, as in the location.
        token: None takes the stored token or `HF_TOKEN`, False sends none.

    Raises:
        ReleaseError: there is no such release or it may not be read, or a file is not what the manifest says.
        ConfigError: the location is none, or the release has no config of that name.
        BuildError: the folder is not ours to replace, or cannot be written.
    """
    configs = [canonical(name) for name in configs]
    hub = HubLocation.parse(location)
    if hub is None or hub.config is not None:
        raise ConfigError(f"{location!r} is no release on the Hub. Give user/repo or user/repo@revision.")
    target = Path(out).resolve()
    partial = target.parent / f".{target.name}.pulling"
    with new_folder(target, is_ours=is_ours) as building:
        remote = _Remote.opened(hub.repo_id, revision or hub.revision, token, partial)
        manifest = remote.manifest()
        wanted = _chosen(data_files(manifest, remote.name), configs, remote.name)
        remote.check_has(wanted)
        gathering = _Gathering(remote, target, wanted, progress)
        with building.disk_errors():
            files = {entry.path: gathering.file(entry) for entry in wanted}
            texts = {name: remote.fetch(name) for name in remote.texts()}
            for name, path in {**texts, **files}.items():
                _link_or_copy(path, building.path / name)
            building.write(MANIFEST_NAME, _narrowed(remote, manifest, wanted, configs))
            building.keep_others(ours=_earlier_files(target))
    shutil.rmtree(partial, ignore_errors=True)
    pulled = sorted({entry.path.split("/")[0] for entry in wanted})
    return PullReport(
        folder=Path(out),
        repo_id=hub.repo_id,
        revision=remote.sha,
        version=_version(manifest),
        configs=pulled,
        files=len(wanted),
        bytes=sum(entry.bytes for entry in wanted),
        downloaded=gathering.downloaded,
        default_config=_default(manifest, pulled),
    )


def data_files(manifest: Mapping[str, Any], name: str) -> list[FileEntry]:
    """The files that a manifest lists, once it is sure that each may be written below a folder.

    Raises:
        ReleaseError: a path that leads anywhere else, or an entry that is none.
    """
    listed = manifest["files"]
    if not isinstance(listed, dict) or not listed:
        raise ReleaseError(f"{name}: its {MANIFEST_NAME} lists no files with sizes and digests.")
    return [_data_file(path, entry, name) for path, entry in listed.items()]


def _data_file(path: str, entry: Any, name: str) -> FileEntry:
    if not _DATA_FILE.fullmatch(path) or ".." in path:
        raise ReleaseError(
            f"{name}: {MANIFEST_NAME} lists the file {path!r}. Only names like relabel/train-00000-of-00001.parquet are"
            " taken, so nothing was written."
        )
    try:
        file = FileEntry(path, entry["bytes"], entry["rows"], entry["sha256"])
    except (KeyError, TypeError) as error:
        raise ReleaseError(f"{name}: {MANIFEST_NAME} does not give bytes, rows and sha256 of {path}.") from error
    numbers = (file.bytes, file.rows)
    if not all(type(number) is int and number >= 0 for number in numbers) or not _SHA256.fullmatch(str(file.sha256)):
        raise ReleaseError(f"{name}: {MANIFEST_NAME} does not give bytes, rows and sha256 of {path}.")
    return file


def _chosen(files: Sequence[FileEntry], configs: Sequence[str], name: str) -> list[FileEntry]:
    """The files of some configs, or all."""
    there = sorted({file.path.split("/")[0] for file in files})
    for config in configs:
        if config not in there:
            raise ConfigError(f"{name} has no config {config!r}. It has: {', '.join(there) or 'none'}.")
    return [file for file in files if not configs or file.path.split("/")[0] in configs]


@dataclass
class _Remote:
    """A release on the Hub, at one commit, and the folder that its files are downloaded into."""

    api: HfApi
    repo_id: str
    sha: str
    paths: Sequence[str]
    name: str
    token: str | bool | None
    partial: Path

    @classmethod
    def opened(cls, repo_id: str, revision: str | None, token: str | bool | None, partial: Path) -> _Remote:
        from hf_relabel.hub_tools.hub.api import HubApi

        api = HubApi(token=token)
        with hub_errors(repo_id, revision, token):
            info = api.dataset_info(repo_id, revision=revision)
        name = f"{repo_id}@{revision}" if revision else repo_id
        paths = [sibling.rfilename for sibling in info.siblings or []]
        return cls(api, repo_id, cast(str, info.sha), paths, name, token, partial)

    def manifest(self) -> dict[str, Any]:
        """The manifest, as a dict of this format version."""
        if MANIFEST_NAME not in self.paths:
            raise ReleaseError(f"{self.name} has no {MANIFEST_NAME}: hf-relabel did not release it.")
        self.fetch(MANIFEST_NAME)
        try:
            return read_manifest(self.partial)
        except BuildError as error:
            raise ReleaseError(f"{self.name}: {error}") from error

    def check_has(self, files: Sequence[FileEntry]) -> None:
        """Say before anything is downloaded that a file is not there."""
        for file in files:
            if file.path not in self.paths:
                raise ReleaseError(f"{self.name}: the file {file.path!r} of its {MANIFEST_NAME} is missing on the Hub.")

    def texts(self) -> list[str]:
        """What belongs to a release and is not in its manifest: the card and its figures."""
        return [path for path in self.paths if path == README_NAME or _FIGURE.fullmatch(path)]

    def fetch(self, path: str, count: Callable[[int], None] | None = None) -> Path:
        """Download one file into the folder, unless this commit's is there."""
        give_back_large_blocks()
        bar = _byte_counter(count or (lambda _: None))
        try:
            with hub_errors(self.repo_id, self.sha, self.token):
                return Path(
                    self.api.hf_hub_download(
                        self.repo_id,
                        path,
                        repo_type="dataset",
                        revision=self.sha,
                        local_dir=self.partial,
                        token=self.token,
                        tqdm_class=bar,
                    )
                )
        except OSError as error:
            if error.errno is not None:
                raise
            # The client's own word for a download that ended early.
            raise ReleaseError(f"{self.name}, {path}: the download is not complete. Pull again to continue.") from error


class _Gathering:
    """Finds or downloads the files of a release, and counts the bytes."""

    def __init__(self, remote: _Remote, target: Path, wanted: Sequence[FileEntry], progress: Progress | None) -> None:
        self.remote, self.target, self.progress = remote, target, progress
        self.total = sum(entry.bytes for entry in wanted)
        self.done = 0
        self.downloaded = 0

    def file(self, entry: FileEntry) -> Path:
        """A file with the content that the manifest says, from an earlier pull or from the Hub."""
        path = self._found(entry) or self._downloaded(entry)
        self.done += entry.bytes
        self._show(0)
        return path

    def _found(self, entry: FileEntry) -> Path | None:
        for folder in (self.remote.partial, self.target):
            path = folder / entry.path
            if path.is_file() and not path.is_symlink() and _fault(path, entry) is None:
                return path
        return None

    def _downloaded(self, entry: FileEntry) -> Path:
        (self.remote.partial / entry.path).unlink(missing_ok=True)  # or it would be taken for the file
        here = 0

        def count(number: int) -> None:
            nonlocal here
            here = min(here + number, entry.bytes)
            self._show(here)

        path = self.remote.fetch(entry.path, count)
        fault = _fault(path, entry)
        if fault is not None:
            path.unlink()
            raise ReleaseError(
                f"{self.remote.name}, {entry.path}: {fault}. The release was changed after it was made, or the download"
                " went wrong: pull again, and if that does not help, pull another version."
            )
        self.downloaded += entry.bytes
        return path

    def _show(self, here: int) -> None:
        if self.progress is not None:
            self.progress(self.done + here, self.total)


def _fault(path: Path, entry: FileEntry) -> str | None:
    """What is wrong with a file, None if it is as the manifest says."""
    size = path.stat().st_size
    if size != entry.bytes:
        return f"it has {size} bytes where {MANIFEST_NAME} says {entry.bytes}"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest == entry.sha256 else f"its sha256 is {digest} where {MANIFEST_NAME} says {entry.sha256}"


def _byte_counter(count: Callable[[int], None]) -> type[Any]:
    """A progress bar class for the Hub's client that shows nothing and hands the bytes on."""
    from tqdm import tqdm

    class Counter(tqdm):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            count(int(n or 0))
            return None

    return Counter


def _link_or_copy(path: Path, new: Path) -> None:
    """Put a file in its place and leave it where it was found, for another try should this one fail."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, new)
    except OSError:
        shutil.copy2(path, new)


def _narrowed(
    remote: _Remote, manifest: Mapping[str, Any], wanted: Sequence[FileEntry], configs: Sequence[str]
) -> bytes:
    """The manifest as it was released; with only some configs, listing only their files."""
    if not configs:
        return (remote.partial / MANIFEST_NAME).read_bytes()
    paths = {entry.path for entry in wanted}
    return manifest_text({**manifest, "files": {path: manifest["files"][path] for path in sorted(paths)}})


def _version(manifest: Mapping[str, Any]) -> str | None:
    release = manifest.get("release")
    version = release.get("version") if isinstance(release, dict) else None
    return version if isinstance(version, str) else None


def _default(manifest: Mapping[str, Any], configs: Sequence[str]) -> str | None:
    settings = manifest.get("settings")
    default = settings.get("default_config") if isinstance(settings, dict) else None
    return default if isinstance(default, str) and default in configs else None


def _earlier_files(folder: Path) -> list[str]:
    """The files of the build or release that was there."""
    if not (folder / MANIFEST_NAME).is_file():
        return []
    figures = [path.relative_to(folder).as_posix() for path in (folder / "figures").glob("*")]
    return [*read_manifest(folder, any_version=True)["files"], *filter(_FIGURE.fullmatch, figures)]
