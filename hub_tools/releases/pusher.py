"""One push to one repository: what pushes of data sets and of models share.

The repository is looked at, and created, before anything is sent. Then a plan is made on top of its head, committed and
tagged, and made anew where somebody else was first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

from hf_relabel.builders.configs.manifest import MANIFEST_NAME
from hf_relabel.builders.errors import ConfigError, RelabelError, ReleaseError
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.hub_tools.hub.commit import WHAT, Repository
from hf_relabel.hub_tools.hub.errors import missing_to_write, refuse_missing
from hf_relabel.hub_tools.hub.memory import give_back_large_blocks
from hf_relabel.hub_tools.hub.uploads import Outgoing, quiet_xet
from hf_relabel.hub_tools.releases.next_release import PlannedFile
from hf_relabel.hub_tools.releases.proposals import open_proposal
from hf_relabel.hub_tools.releases.repository import Head, read_head
from hf_relabel.hub_tools.releases.versions import BUMPS, Version

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

Bump: TypeAlias = Literal["major", "minor", "patch"]
Progress: TypeAlias = Callable[[str, int], None]
"""Called with the name and the bytes of each file that has been dealt with."""


@dataclass(frozen=True, repr=False)
class PushReport(Shown):
    """What a push did, or would do.

    Attributes:
        commit: the commit that holds the release; None in a dry run.
        changed: whether there was anything to commit.
        tagged: whether the tag was made by this push.
        pull_request: its address, where one was asked for. An open one of this account is gone on with.
        files: all files of the release, and those that went.
    """

    repo_id: str
    version: str
    commit: str | None
    changed: bool
    tagged: bool
    pull_request: str | None
    dry_run: bool
    files: tuple[PlannedFile, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "files": [asdict(file) for file in self.files]}

    def to_text(self) -> str:
        """The files as a table in a dry run, else one or two lines."""
        new = sum(file.bytes for file in self.files if file.action in ("add", "replace"))
        if self.dry_run:
            lines = [{"action": file.action, "bytes": file.bytes, "file": file.path} for file in self.files]
            what = f"{counted(len(self.files), 'file')}, {counted(new, 'new byte')}" if self.changed else "nothing new"
            return f"{text_table(lines)}\n{self.repo_id}: would be {self.version}; {what}. Nothing was sent."
        if self.pull_request and not self.changed:
            return f"{self.repo_id}: {self.version} is proposed in {self.pull_request} already, nothing to do."
        if self.pull_request:
            return (
                f"{self.repo_id}: {self.version} is proposed in {self.pull_request} ({new:,} new bytes). After the"
                " merge, push again for its tag."
            )
        if not self.changed:
            tagged = "; its tag was missing and is there now" if self.tagged else ""
            return f"{self.repo_id}: {self.version} is there already, nothing to do{tagged}."
        return f"{self.repo_id}: released {self.version} in commit {str(self.commit)[:12]} ({new:,} new bytes)."


@dataclass(frozen=True)
class PushOptions:
    """How to push, see `push.push` and `models.push_model`."""

    tag: str | None = None
    bump: Bump | None = None
    private: bool | None = None
    create_pr: bool = False
    message: str | None = None
    parent_commit: str | None = None
    dry_run: bool = False

    def check(self) -> None:
        """Raises: ConfigError, options that make no sense."""
        if self.tag is not None:
            Version.of_tag(self.tag)
        if self.bump is not None and self.bump not in BUMPS:
            raise ConfigError(f"A version is raised by {', '.join(BUMPS)}, not {self.bump!r}.")
        if self.tag and self.bump:
            raise ConfigError("Give a tag or which part of the version to raise, not both.")


class AnyPlan(Protocol):
    """What would be committed: see `plan.Plan`."""

    @property
    def version(self) -> str: ...

    @property
    def is_unchanged(self) -> bool: ...

    @property
    def files(self) -> list[PlannedFile]: ...


P = TypeVar("P", bound=AnyPlan)


class Pusher:
    """One push to one repository.

    Attributes:
        head: as it was read last.
        tag: the version that is wanted; None for the next one.
        outgoing: what is on its way there.
    """

    repo_type = "dataset"
    record = MANIFEST_NAME
    """The file in which a release says what it is."""

    def __init__(self, repo_id: str, options: PushOptions, token: str | None, progress: Progress | None) -> None:
        from hf_relabel.hub_tools.hub.api import HubApi

        options.check()
        give_back_large_blocks()
        self.repo_id, self.options, self.tag = repo_id, options, options.tag
        self.api: HfApi = HubApi(token=token)
        self.repository = Repository(self.api, repo_id, self.repo_type)
        self.progress = progress or (lambda name, size: None)
        self.head = Head()
        self.outgoing = Outgoing(self.api, repo_id, self.repo_type, create_pr=options.create_pr, sent=self.sent)

    def look(self, *checks: Callable[[], None]) -> None:
        """Look at the repository, and create it, before anything is built or sent. All that is missing is said at
        once.

        Args:
            checks: further ones, which raise what keeps the release out.
        """
        sends = not self.options.dry_run
        missing: list[RelabelError] = [
            ReleaseError(lacks) for lacks in missing_to_write(self.api, self.repo_id, WHAT[self.repo_type], sends=sends)
        ]
        with suppress(ReleaseError) if missing else nullcontext():
            if "/" in self.repo_id:
                self.head = self._read()
            missing += _refusals(self._refuse_other_visibility, self._refuse_stale, *checks)
        refuse_missing(missing)
        if self.head.sha is None and sends:
            self.repository.create(private=self.options.private or None)
            self.head = self._read()

    def _read(self) -> Head:
        return read_head(self.api, self.repo_id, repo_type=self.repo_type, record=self.record)

    def _refuse_other_visibility(self) -> None:
        wanted = self.options.private
        if self.head.sha is not None and wanted is not None and wanted != self.head.private:
            now = "private" if self.head.private else "public"
            raise ReleaseError(
                f"{self.repo_id} exists and is {now}. Change that in its settings first, or push elsewhere."
            )

    def _refuse_stale(self) -> None:
        parent = self.options.parent_commit
        if parent is not None and self.head.sha != parent:
            raise ReleaseError(
                f"{self.repo_id} is at commit {self.head.sha or 'none'}, not at {parent}. Look at what changed"
                f" ({program()} log), then push again."
            )

    def sent(self, path: Path) -> None:
        """Called with a file that need not be there any longer."""

    def take(self, name: str, path: Path) -> None:
        """Send a file, unless the Hub has its content, now or with the commit."""
        with self.repository.errors():
            self.outgoing.add(name, path)

    def commit(self, plan: Callable[[], P], operations: Callable[[P], list[Any]]) -> PushReport:
        """Commit and tag, on top of what others commit in the meantime.

        Args:
            plan: what to do on top of `head`.
            operations: of a plan; sends what has to be sent before.
        """
        if self.options.dry_run:
            planned = plan()
            return self._report(planned, None, changed=not planned.is_unchanged)
        attempt = self._propose if self.options.create_pr else self._attempt
        return self.repository.until_first(
            lambda: attempt(plan, operations), again=self._look_again, then="Push again later."
        )

    def _attempt(self, plan: Callable[[], P], operations: Callable[[P], list[Any]]) -> PushReport | None:
        planned, head = plan(), self.head
        if planned.is_unchanged:
            # The tag may be what a push which was killed did not come to.
            is_missing = planned.version not in head.tags and head.sha is not None
            tagged = is_missing and self.repository.tag(planned.version, str(head.sha))
            return self._report(planned, head.sha, changed=False, tagged=tagged)
        done = self._commit(operations(planned), planned, head.sha)
        if done is None:
            return None
        tagged = self.repository.tag(planned.version, done.oid)
        return self._report(planned, done.oid, changed=True, tagged=tagged)

    def _propose(self, plan: Callable[[], P], operations: Callable[[P], list[Any]]) -> PushReport | None:
        """In the open pull request of this account, where there is one, else in a new one."""
        planned, main = plan(), self.head
        if planned.is_unchanged:
            return self._report(planned, main.sha, changed=False)
        proposal = open_proposal(self.api, self.repo_id, self.repo_type, self.record, main)
        if proposal is None:
            done = self._commit(operations(planned), planned, main.sha, create_pr=True)
            url = None if done is None else done.pr_url
        else:
            self.head, self.tag = proposal.on(main), planned.version
            try:
                planned = plan()
            finally:
                there, self.head, self.tag = self.head, main, self.options.tag
            url = proposal.url
            if all(file.action == "keep" for file in planned.files):
                return self._report(planned, there.sha, changed=False, pull_request=url)
            done = self._commit(operations(planned), planned, there.sha, revision=proposal.ref)
        return None if done is None else self._report(planned, done.oid, changed=True, pull_request=url)

    def _commit(self, operations: list[Any], plan: AnyPlan, parent: str | None, **place: Any) -> CommitInfo | None:
        """Send what waits still, and commit.

        Raises:
            ReleaseError: the repository's .gitignore would leave a file out.
        """
        from huggingface_hub import CommitOperationAdd

        additions = [each for each in operations if isinstance(each, CommitOperationAdd)]
        with self.repository.errors(), quiet_xet():  # asks what the commit would ask, and keeps the answers
            self.api.preupload_lfs_files(self.repo_id, additions, repo_type=self.repo_type, free_memory=False, **place)
        left_out = [each.path_in_repo for each in additions if each._should_ignore]
        if left_out:
            raise ReleaseError(
                f"{self.repo_id}: its .gitignore keeps {left_out[0]} out of every commit, so that the release would not"
                " be whole. Change it, then push again."
            )
        message = self.options.message or f"Release {plan.version}"
        return self.repository.commit(operations, message, parent, **place)

    def _look_again(self) -> None:
        self.head = self._read()
        self._refuse_stale()

    def _report(
        self,
        plan: AnyPlan,
        commit: str | None,
        *,
        changed: bool,
        tagged: bool = False,
        pull_request: str | None = None,
    ) -> PushReport:
        return PushReport(
            repo_id=self.repo_id,
            version=plan.version,
            commit=commit,
            changed=changed,
            tagged=tagged,
            pull_request=pull_request,
            dry_run=self.options.dry_run,
            files=tuple(plan.files),
        )


def _refusals(*checks: Callable[[], None]) -> Iterator[RelabelError]:
    """What keeps the release out of the repository as it was read."""
    for check in checks:
        try:
            check()
        except (ReleaseError, ConfigError) as error:
            yield error
