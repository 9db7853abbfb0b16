"""Deploying the Space: one commit with the app, its requirements and the package, and the variables it reads.

    deploy("user/set", "user/set-space")

The same again is a no-op: files are compared by their git blob ids, variables by their values, secrets by their names,
since the Hub shows no secret to anybody. What others put into the repository stays: their files, their text in
README.md and their entries in its front matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from hf_relabel.builders.configs.manifest import MANIFEST_NAME
from hf_relabel.builders.errors import ConfigError, ReleaseError
from hf_relabel.builders.messages.extras import require
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.hub_tools.hub.commit import Repository
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.hub.source import HubLocation
from hf_relabel.hub_tools.releases.next_release import PlannedFile
from hf_relabel.hub_tools.releases.repository import README_NAME, Head, read_head
from hf_relabel.hub_tools.space.deployed_files import changes, operations_of, space_files, space_readme
from hf_relabel.hub_tools.space.settings import PREFIX, SAMPLE_SIZE, prices_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
MAX_ATTEMPTS = 5


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
    files: tuple[PlannedFile, ...]
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


class _Deployer:
    """One deployment."""

    def __init__(self, release: str, space_id: str, options: DeployOptions, token: str | None) -> None:
        from hf_relabel.hub_tools.hub.api import HubApi

        self.release, self.space_id, self.options = release, space_id, options
        self.api: HfApi = HubApi(token=token)
        self.space = Repository(self.api, space_id, "space")
        self.head = Head()

    def deploy(self) -> DeployReport:
        is_private = self._check_release()
        files = space_files()
        self._look()
        created = self.head.sha is None
        private = self._visibility(is_private)
        if created and not self.options.dry_run:
            self.space.create(private=private, space_sdk="gradio")
            self._look()
        exists = self.head.sha is not None
        # Before the files, whose commit makes the Hub build and start the Space.
        variables = self._set_variables(exists)
        secrets = self._set_secrets(exists)
        hardware = self._set_hardware(exists)
        commit, planned = self._commit(files)
        return DeployReport(
            space_id=self.space_id,
            url=f"{self.api.endpoint}/spaces/{self.space_id}",
            commit=commit,
            created=created,
            dry_run=self.options.dry_run,
            files=planned,
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

    def _visibility(self, is_private: bool) -> bool:
        """Whether the Space is, or becomes, private. A private data set is not shown to everybody by accident."""
        wanted, head = self.options.private, self.head
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

    def _look(self) -> None:
        self.head = read_head(self.api, self.space_id, repo_type="space", record=None)

    def _set_variables(self, exists: bool) -> tuple[str, ...]:
        """Set what differs, and take away those of ours that are no longer wanted."""
        wanted = self.options.all_variables(self.release)
        with self.space.errors():
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
        with self.space.errors():
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
        with self.space.errors():
            if exists:
                runtime = self.api.get_space_runtime(self.space_id)
                if wanted in (runtime.requested_hardware, runtime.hardware):
                    return None
            if not self.options.dry_run:
                self.api.request_space_hardware(self.space_id, cast(Any, wanted))  # the Hub knows more than the client
        return wanted

    def _commit(self, files: Mapping[str, bytes]) -> tuple[str | None, tuple[PlannedFile, ...]]:
        """Bring the files up to date in one commit, where any differs."""
        return self.space.until_first(
            lambda: self._attempt(files), again=self._look, then="Deploy again later.", attempts=MAX_ATTEMPTS
        )

    def _attempt(self, files: Mapping[str, bytes]) -> tuple[str | None, tuple[PlannedFile, ...]] | None:
        wanted = {**files, README_NAME: space_readme(self.release, self.head.readme).encode()}
        planned = changes(wanted, self.head.files)
        operations = operations_of(wanted, planned)
        if not operations or self.options.dry_run:
            return self.head.sha, planned
        done = self.space.commit(operations, f"Show {self.release}", self.head.sha)
        return None if done is None else (str(done.oid), planned)

    def _notes(self, is_private: bool, exists: bool) -> list[str]:
        with self.space.errors():
            there = exists and "HF_TOKEN" in self.api.get_space_secrets(self.space_id)
        if there or "HF_TOKEN" in self.options.secrets:
            return []
        needed = "read the private data set and to keep people's answers" if is_private else "keep people's answers"
        return [
            f"the Space has no secret HF_TOKEN, which it needs to {needed}. Give one that may write to {self.release}:"
            " --secret HF_TOKEN=NAME_OF_AN_ENVIRONMENT_VARIABLE"
        ]
