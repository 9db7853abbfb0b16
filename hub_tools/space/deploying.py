"""Deploying the Space: one commit with the app, its requirements and the package, and the variables it reads.

    deploy("user/set", "user/set-space")

The same again is a no-op: files are compared by their git blob ids, variables by their values, secrets by their names,
since the Hub shows no secret to anybody. What others put into the repository stays: their files, their text in
README.md and their entries in its front matter.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from hf_relabel.builders.configs.manifest import MANIFEST_NAME
from hf_relabel.builders.errors import ConfigError, ReleaseError
from hf_relabel.builders.messages.extras import require
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.readme.markdown import as_code, as_text, one_line
from hf_relabel.builders.readme.merging import merge_readme
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.hub.source import HubLocation
from hf_relabel.hub_tools.package_files import PACKAGE, package_files, python_version, requirements
from hf_relabel.hub_tools.space.settings import PREFIX, SAMPLE_SIZE, prices_of

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

README_NAME = "README.md"
APP_NAME = "app.py"
REQUIREMENTS_NAME = "requirements.txt"
HARDWARE = "cpu-basic"
TAGS = ("hf-relabel", "retrieval", "hard-negatives")
EXTRAS = ("space",)
PARTS = (
    *("builders", "cards"),
    *(f"hub_tools.{part}" for part in ("calls", "hub", "releases", "space")),
)
"""Of the package, what the app needs."""

_APP = '''"""Shows a release of hf-relabel and lets people answer for its candidates. Its settings are
the variables of the Space.

Written by `hf-relabel space deploy`, which writes it again.
"""

from hf_relabel.hub_tools.space.web.serving import main

if __name__ == "__main__":
    main()
'''
_OURS = re.compile(rf"{PACKAGE}/.+|{PACKAGE}-[^/]+\.dist-info/.+")
"""Files of the package. Those that a newer version no longer has are taken away."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
MAX_ATTEMPTS = 5
_LONGEST_WAIT = 2.0


@dataclass(frozen=True)
class DeployOptions:
    """What a Space is told.

    Attributes:
        revision: of the release; None follows its main branch.
        private: of a new Space; None makes it private where the data set is. One that exists must agree.
        sample, seed: candidates drawn for people.
        people: names on the Hub that may answer besides those who may write to the data set.
        prices: US dollars per million tokens, each as `settings.prices_of` reads it.
        secrets: values by name, such as `HF_TOKEN`. A secret that is there already is left alone.
        replace_secrets: send secrets that are there already again.
        variables: more variables, by name.
        hardware: to ask for; None leaves it as it is.
        dry_run: send nothing.
    """

    revision: str | None = None
    private: bool | None = None
    sample: int = SAMPLE_SIZE
    seed: int = 0
    people: Sequence[str] = ()
    prices: Sequence[str] = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    replace_secrets: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    hardware: str | None = None
    dry_run: bool = False

    def check(self) -> None:
        """Raises ConfigError for a price that is none, and a name that no variable can have or that stands for two."""
        prices_of(self.prices)
        for name in (*self.secrets, *self.variables):
            if not _NAME.fullmatch(name):
                raise ConfigError(f"{name!r} cannot name a secret or variable: use letters, digits and underscores.")
            if name.startswith(PREFIX):
                raise ConfigError(f"{name} is set by other options of deploy.")
        for name in self.secrets.keys() & self.variables.keys():
            raise ConfigError(f"{name} cannot be a secret and a variable.")

    def all_variables(self, release: str) -> dict[str, str]:
        """Every variable that the Space is to have."""
        ours = {
            "RELEASE": release,
            "REVISION": self.revision or "",
            "SAMPLE": str(self.sample),
            "SEED": str(self.seed),
            "PEOPLE": ",".join(self.people),
            "PRICES": ";".join(self.prices),
        }
        return {**{f"{PREFIX}{name}": value for name, value in ours.items() if value}, **self.variables}


@dataclass(frozen=True, slots=True)
class DeployedFile:
    """A file: `action` is `add`, `replace`, `delete` or `keep`."""

    path: str
    bytes: int
    action: str


@dataclass(frozen=True, repr=False)
class DeployReport(Shown):
    """What was done, or would be.

    Attributes:
        commit: of the Space; None before there is one.
        created: whether the Space is new.
        variables, secrets: names that were set or taken away (`-NAME`).
        hardware: what was asked for now, None if nothing was.
        notes: what its owner should know, a sentence each.
    """

    space_id: str
    url: str
    commit: str | None
    created: bool
    dry_run: bool
    files: tuple[DeployedFile, ...]
    variables: tuple[str, ...]
    secrets: tuple[str, ...]
    hardware: str | None
    notes: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything had to be done."""
        files = any(file.action != "keep" for file in self.files)
        return bool(self.created or files or self.variables or self.secrets or self.hardware)

    def to_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        files = [{"path": file.path, "bytes": file.bytes, "action": file.action} for file in self.files]
        return {**values, "changed": self.changed, "files": files}

    def to_text(self) -> str:
        """A few lines; in a dry run every file that would change."""
        counts = {name: sum(file.action == name for file in self.files) for name in ("add", "replace", "delete")}
        parts = [f"{number} files to {name}" for name, number in counts.items() if number]
        parts += [f"variables {', '.join(self.variables)}"] if self.variables else []
        parts += [f"secrets {', '.join(self.secrets)}"] if self.secrets else []
        parts += [f"hardware {self.hardware}"] if self.hardware else []
        if not self.changed:
            head = f"{self.space_id} is as it should be, nothing to do."
        elif self.dry_run:
            listed = [f"  {file.action} {file.path}" for file in self.files if file.action != "keep"]
            what = "would be created" if self.created else "would change"
            head = "\n".join([*listed, f"{self.space_id} {what}: {'; '.join(parts)}. Nothing was sent."])
        else:
            head = f"{self.space_id} was {'created' if self.created else 'updated'}: {'; '.join(parts)}."
        return "\n".join([head, self.url, *(f"Note: {note}" for note in self.notes)])


def deploy(release: str, space_id: str, *, token: str | None = None, **options: Any) -> DeployReport:
    """Create or update the Space of a release.

    Args:
        release: `user/repo` or `user/repo@revision`.
        space_id: `user/name` of the Space.
        token: None takes the stored token or `HF_TOKEN`. It is not given to the Space; `secrets` are.
        options: see `DeployOptions`.

    Raises:
        ConfigError: an option makes no sense.
        ReleaseError: there is no such release, the Hub would not take the Space, or it changed meanwhile.
        CardError: the Space's README.md cannot be merged with.
    """
    require("space", what="Deploying")  # the Space gets the version of gradio that is here
    hub = HubLocation.parse(release)
    if hub is None or hub.config is not None:
        raise ConfigError(f"{release!r} is no release on the Hub. Give user/repo or user/repo@revision; push it first.")
    if HubLocation.parse(space_id) != HubLocation(space_id):
        raise ConfigError(f"{space_id!r} cannot name a Space. Give user/name.")
    settings = DeployOptions(**{**options, "revision": options.get("revision") or hub.revision})
    settings.check()
    return _Deployer(hub.repo_id, space_id, settings, token).deploy()


def space_files() -> dict[str, bytes]:
    """The files of every Space, but for its README.md: the app, what it needs from others, and the package.

    Raises:
        ConfigError: the package's own files cannot be found.
    """
    lines = "\n".join(requirements(EXTRAS))
    texts = {APP_NAME: _APP, REQUIREMENTS_NAME: f"{lines}\n"}
    return {**{path: text.encode() for path, text in texts.items()}, **dict(package_files(PARTS).contents())}


def space_readme(release: str, earlier: str | None) -> str:
    """The README.md of a Space.

    Args:
        earlier: the one that is there, None if there is none. All that is not ours stays as it is.

    Raises:
        CardError: its front matter cannot be read or edited, or its markers are broken.
    """
    name = release.partition("/")[2]
    return merge_readme(
        earlier,
        title=as_text(f"{name} relabelled"),
        values=lambda metadata: _front_matter(release, name, metadata),
        content=lambda _: (
            f"This Space shows the release {as_code(release)} of hf-relabel: what was found among its hard negatives,"
            " what every judge said, and what each technique makes of it. People who may write to the data set can"
            " answer for a blind sample here; their answers go to its config `human`."
        ),
    )


def _front_matter(release: str, name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Our entries: what runs the Space is ours, how it looks is the owner's once it is set."""
    looks = {"title": one_line(f"{name} relabelled"), "emoji": "🔍", "colorFrom": "blue", "colorTo": "gray"}
    running = {
        "sdk": "gradio",
        "sdk_version": _gradio_version(),
        "python_version": python_version(),
        "app_file": APP_NAME,
        "hf_oauth": True,
    }
    return {
        **{key: value for key, value in looks.items() if not metadata.get(key)},
        **running,
        **({} if metadata.get("suggested_hardware") else {"suggested_hardware": HARDWARE}),
        "datasets": _with(metadata.get("datasets"), [release]),
        "tags": _with(metadata.get("tags"), TAGS),
    }


def _with(present: Any, ours: Sequence[str]) -> list[Any]:
    listed = present if isinstance(present, list) else [present] if present else []
    return [*listed, *(name for name in ours if name not in listed)]


def _gradio_version() -> str:
    from importlib.metadata import version

    return version("gradio")


@dataclass(frozen=True)
class _Head:
    """A Space as it was read. `files` are git blob ids (SHA-256 of large files) and sizes by path."""

    sha: str | None = None
    private: bool | None = None
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    readme: str | None = None


class _Deployer:
    """One deployment."""

    def __init__(self, release: str, space_id: str, options: DeployOptions, token: str | None) -> None:
        from huggingface_hub import HfApi

        self.release, self.space_id, self.options = release, space_id, options
        self.api: HfApi = HfApi(token=token)

    def deploy(self) -> DeployReport:
        is_private = self._check_release()
        files = space_files()
        head = self._read()
        created = head.sha is None
        private = self._visibility(head, is_private)
        if created and not self.options.dry_run:
            with hub_errors(self.space_id, None, self.api.token, what="Space"):
                self.api.create_repo(
                    self.space_id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True
                )
            head = self._read()
        exists = head.sha is not None
        # Before the files, whose commit makes the Hub build and start the Space.
        variables = self._set_variables(exists)
        secrets = self._set_secrets(exists)
        hardware = self._set_hardware(exists)
        commit, changes = self._commit(files, head)
        return DeployReport(
            space_id=self.space_id,
            url=f"{self.api.endpoint}/spaces/{self.space_id}",
            commit=commit,
            created=created,
            dry_run=self.options.dry_run,
            files=changes,
            variables=variables,
            secrets=secrets,
            hardware=hardware,
            notes=tuple(self._notes(is_private, exists)),
        )

    def _check_release(self) -> bool:
        """Whether the data set is private; refuses what is no release of ours."""
        name = f"{self.release}@{self.options.revision}" if self.options.revision else self.release
        with hub_errors(self.release, self.options.revision, self.api.token):
            info = self.api.dataset_info(self.release, revision=self.options.revision)
        if MANIFEST_NAME not in {sibling.rfilename for sibling in info.siblings or []}:
            raise ReleaseError(f"{name} has no {MANIFEST_NAME}: hf-relabel did not release it.")
        return bool(info.private)

    def _visibility(self, head: _Head, is_private: bool) -> bool:
        """Whether the Space is, or becomes, private. A private data set is not shown to everybody by accident."""
        wanted = self.options.private
        if head.sha is not None:
            if wanted is not None and wanted != head.private:
                now = "private" if head.private else "public"
                raise ReleaseError(f"{self.space_id} exists and is {now}. Change that in its settings first.")
            if is_private and not head.private and wanted is None:
                raise ReleaseError(
                    f"{self.release} is private and the Space {self.space_id} is public: it would show the data set to"
                    " everybody. Make the Space private, or say --public if that is meant."
                )
            return bool(head.private)
        return is_private if wanted is None else wanted

    def _read(self) -> _Head:
        from pathlib import Path

        from huggingface_hub.errors import RepositoryNotFoundError
        from huggingface_hub.hf_api import RepoFile

        with hub_errors(self.space_id, None, self.api.token, what="Space"):
            try:
                info = self.api.space_info(self.space_id)
            except RepositoryNotFoundError:
                return _Head()
            sha = str(info.sha)
            listed = self.api.list_repo_tree(self.space_id, repo_type="space", revision=sha, recursive=True)
            files = {
                entry.path: (entry.lfs.sha256 if entry.lfs else entry.blob_id, entry.size)
                for entry in listed
                if isinstance(entry, RepoFile)
            }
            readme = None
            if README_NAME in files:
                path = self.api.hf_hub_download(self.space_id, README_NAME, repo_type="space", revision=sha)
                readme = Path(path).read_bytes()
        try:
            text = None if readme is None else readme.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ReleaseError(f"{self.space_id}: {README_NAME} is not UTF-8 text. Correct or remove it.") from error
        return _Head(sha, bool(info.private), files, text)

    def _set_variables(self, exists: bool) -> tuple[str, ...]:
        """Set what differs, and take away those of ours that are no longer wanted."""
        wanted = self.options.all_variables(self.release)
        with hub_errors(self.space_id, None, self.api.token, what="Space"):
            there = self.api.get_space_variables(self.space_id) if exists else {}
            known = {name: entry.value for name, entry in there.items()}
            new = {name: value for name, value in wanted.items() if known.get(name) != value}
            gone = sorted(name for name in known if name.startswith(PREFIX) and name not in wanted)
            if not self.options.dry_run:
                for name, value in new.items():
                    self.api.add_space_variable(self.space_id, name, value)
                for name in gone:
                    self.api.delete_space_variable(self.space_id, name)
        return (*new, *(f"-{name}" for name in gone))

    def _set_secrets(self, exists: bool) -> tuple[str, ...]:
        """Send the secrets that are not there. Nobody is told their values, so those that are there stay."""
        if not self.options.secrets:
            return ()
        with hub_errors(self.space_id, None, self.api.token, what="Space"):
            there = self.api.get_space_secrets(self.space_id) if exists else {}
            new = [name for name in self.options.secrets if self.options.replace_secrets or name not in there]
            if not self.options.dry_run:
                for name in new:
                    self.api.add_space_secret(self.space_id, name, self.options.secrets[name])
        return tuple(new)

    def _set_hardware(self, exists: bool) -> str | None:
        wanted = self.options.hardware
        if wanted is None:
            return None
        with hub_errors(self.space_id, None, self.api.token, what="Space"):
            if exists:
                runtime = self.api.get_space_runtime(self.space_id)
                if wanted in (runtime.requested_hardware, runtime.hardware):
                    return None
            if not self.options.dry_run:
                self.api.request_space_hardware(self.space_id, cast(Any, wanted))  # the Hub knows more than the client
        return wanted

    def _commit(self, files: Mapping[str, bytes], head: _Head) -> tuple[str | None, tuple[DeployedFile, ...]]:
        """Bring the files up to date in one commit, where any differs."""
        from huggingface_hub.errors import HfHubHTTPError

        for attempt in range(MAX_ATTEMPTS):
            wanted = {**files, README_NAME: space_readme(self.release, head.readme).encode()}
            changes = _changes(wanted, head)
            operations = _operations(wanted, changes)
            if not operations or self.options.dry_run:
                return head.sha, changes
            try:
                with hub_errors(self.space_id, None, self.api.token, what="Space"):
                    done = self.api.create_commit(
                        self.space_id,
                        operations,
                        commit_message=f"Show {self.release}",
                        repo_type="space",
                        parent_commit=head.sha,
                    )
                return str(done.oid), changes
            except ReleaseError as error:
                cause = error.__cause__
                stale = isinstance(cause, HfHubHTTPError) and getattr(cause.response, "status_code", None) == 412
                if not stale:
                    raise
            time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.05 * 2**attempt)))  # noqa: S311 - spreads them out
            head = self._read()
        raise ReleaseError(f"{self.space_id}: {MAX_ATTEMPTS} times somebody else was first. Deploy again later.")

    def _notes(self, is_private: bool, exists: bool) -> list[str]:
        with hub_errors(self.space_id, None, self.api.token, what="Space"):
            there = exists and "HF_TOKEN" in self.api.get_space_secrets(self.space_id)
        if there or "HF_TOKEN" in self.options.secrets:
            return []
        needed = "read the private data set and to keep people's answers" if is_private else "keep people's answers"
        return [
            f"the Space has no secret HF_TOKEN, which it needs to {needed}. Give one that may write to {self.release}:"
            " --secret HF_TOKEN=NAME_OF_AN_ENVIRONMENT_VARIABLE"
        ]


def _changes(wanted: Mapping[str, bytes], head: _Head) -> tuple[DeployedFile, ...]:
    """What has to happen to each file of ours."""
    changes = []
    for path, content in wanted.items():
        there = head.files.get(path)
        action = "add" if there is None else "keep" if _is_at(content, there) else "replace"
        changes.append(DeployedFile(path, len(content), action))
    gone = [path for path in head.files if _OURS.fullmatch(path) and path not in wanted]
    changes += [DeployedFile(path, 0, "delete") for path in gone]
    return tuple(sorted(changes, key=lambda change: change.path))


def _is_at(content: bytes, there: tuple[str, int]) -> bool:
    """Whether the Hub has this content. It keeps files as git blobs, and large ones by their SHA-256."""
    name, size = there
    if size != len(content):
        return False
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return name in (blob, hashlib.sha256(content).hexdigest())


def _operations(
    wanted: Mapping[str, bytes], changes: Sequence[DeployedFile]
) -> list[CommitOperationAdd | CommitOperationDelete]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    for change in changes:
        if change.action in ("add", "replace"):
            operations.append(CommitOperationAdd(change.path, wanted[change.path]))
        elif change.action == "delete":
            operations.append(CommitOperationDelete(change.path))
    return operations
