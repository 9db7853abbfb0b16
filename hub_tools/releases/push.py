"""Pushing a release: all configs, verdicts, manifest, figures and card in one commit, then a tag.

Shards are sent one at a time before the commit, which only names them. What is killed in between leaves nothing that a
reader could see, and what has arrived is not sent again: files of the head by their SHA-256, and uploaded files that no
commit names yet by asking the Hub's LFS endpoint which it has.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hf_relabel.builders.cascade.judged_share import ENOUGH, JudgedShare, check_any_judged
from hf_relabel.builders.config_names import config_names
from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.configs.writing import VERDICTS
from hf_relabel.builders.errors import BuildError, ConfigError, RelabelError, ReleaseError
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.expecting import expects, told
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.cards.data_card import CardFacts, example_of
from hf_relabel.cards.licenses import check_license
from hf_relabel.hub_tools.calls import progress_bars as bars
from hf_relabel.hub_tools.calls.given import AnyJournal, AnySource, as_journal, as_source
from hf_relabel.hub_tools.hub.errors import hub_errors, missing_to_write, refuse_missing
from hf_relabel.hub_tools.hub.memory import give_back_large_blocks
from hf_relabel.hub_tools.releases.plan import Plan, PlannedFile, make_plan
from hf_relabel.hub_tools.releases.repository import Head, read_head
from hf_relabel.hub_tools.releases.versions import BUMPS, Version

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi

    from hf_relabel.builders.job.steps import BuildSettings
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.builders.sources import Source

MAX_ATTEMPTS = 50
"""Commits of others a push may run into. Somebody gets through each time, so that many pushers all do."""
_LONGEST_WAIT = 2.0

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
        pull_request: its address, where one was asked for.
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
        sizes = {action: [file for file in self.files if file.action == action] for action in ("add", "replace")}
        new = sum(file.bytes for files in sizes.values() for file in files)
        if self.dry_run:
            lines = [{"action": file.action, "bytes": file.bytes, "file": file.path} for file in self.files]
            what = f"{counted(len(self.files), 'file')}, {counted(new, 'new byte')}" if self.changed else "nothing new"
            return f"{text_table(lines)}\n{self.repo_id}: would be {self.version}; {what}. Nothing was sent."
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
    """How to push, see `push`."""

    tag: str | None = None
    bump: Bump | None = None
    private: bool | None = None
    create_pr: bool = False
    license: str | None = None
    language: str | Sequence[str] = ()
    pretty_name: str | None = None
    default: str | None = None
    card: str | os.PathLike[str] | None = None
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
        check_license(self.license)


@expects(repo_id=str)
def push(
    release: str | os.PathLike[str] | Release,
    repo_id: str,
    *,
    tag: str | None = None,
    bump: Bump | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    license: str | None = None,
    language: str | Sequence[str] = (),
    pretty_name: str | None = None,
    default: str | None = None,
    card: str | os.PathLike[str] | None = None,
    message: str | None = None,
    parent_commit: str | None = None,
    dry_run: bool = False,
    token: str | None = None,
    progress: Progress | bool | None = True,
) -> PushReport:
    """Release a built folder on the Hub.

    Example:
            from hf_relabel import push

            print(push("cleaned", "user/train-relabeled", license="cc-by-4.0", dry_run=True).to_text())
            report = push("cleaned", "user/train-relabeled", license="cc-by-4.0")
            load_dataset("user/train-relabeled", "relabel", revision=report.version)

    Args:
        release: a folder that `write_configs` wrote or `pull` downloaded, or an open release.
        repo_id: `user/repo`. It is created if it does not exist.
        token: None takes the stored token or `HF_TOKEN`.
        tag: the version, `vX.Y.Z`; None takes the next one: major if a config went away, minor if data changed, else
            patch.
        bump: which part of the version to raise instead: `major`, `minor` or `patch`.
        private: create a private repository. One that exists must agree.
        create_pr: open a pull request instead of committing to the main branch. It gets no tag.
        license: an id of the Hub's (`apache-2.0`). Left out, the one in the repository's card stays, else that of the
            source's card on the Hub is taken over.
        language: language codes of the data. Left out, as with the license, but need not be known.
        pretty_name: the title of a new card.
        default: which config loads when none is named; None for the one it was built with.
        card: a README.md whose text takes the place of the repository's.
        message: the commit's title.
        parent_commit: refuse to push unless this is the newest commit. Left out, a push that somebody else came before
            is worked out anew on top of theirs.
        dry_run: send nothing, only tell what would be.
        progress: one bar at a terminal and in a notebook; False for none; or what is called with the name and the bytes
            of each file that has been dealt with. The client's own bars are not shown.

    Raises:
        ReleaseError: the Hub would not take it; files or a tag of somebody else are in the way; the repository has
            changed (with `parent_commit`).
        CardError: the repository's README.md cannot be merged with.
        ConfigError: no license is known, or an option makes no sense.
        BuildError: the folder is not one of ours, or a file in it has been changed.
    """
    chosen = PushOptions(
        tag, bump, private, create_pr, license, language, pretty_name, default, card, message, parent_commit, dry_run
    )
    opened = _opened(release)
    _refuse_part(opened)
    JudgedShare.of(opened.manifest["verdicts"]["total"]["outcomes"]).tell(opened.name)
    with bars.sending(progress) as show:
        pusher = _Pusher(repo_id, chosen, token, show)
        pusher.prepare(opened.manifest)
        # What lies beside the configs stays at home.
        built = {name: value for name, value in opened.manifest.items() if name != "formats"}
        manifest = _with_default(built, chosen.default)
        facts = CardFacts(
            repo_id, None, manifest, example=example_of(opened.judged_rows(), limit=manifest["settings"]["limit"])
        )
        return pusher.release(manifest, facts, lambda path: pusher.addition(opened.open_file(path), path))


def _opened(release: str | os.PathLike[str] | Release) -> Release:
    if isinstance(release, Release):
        return release
    if not isinstance(release, (str, os.PathLike)):
        raise ConfigError(f"What is pushed is a folder that was built, or an open Release; found {told(release)}.")
    return release_from_folder(Path(release), verify=True)


@expects(repo_id=str)
def push_source(
    source: AnySource,
    journal: AnyJournal,
    settings: BuildSettings | None,
    repo_id: str,
    *,
    tag: str | None = None,
    bump: Bump | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    license: str | None = None,
    language: str | Sequence[str] = (),
    pretty_name: str | None = None,
    default: str | None = None,
    card: str | os.PathLike[str] | None = None,
    message: str | None = None,
    parent_commit: str | None = None,
    dry_run: bool = False,
    token: str | None = None,
    progress: Progress | bool | None = True,
) -> PushReport:
    """Build the configs of a source from the last run in a journal and release them, without a copy on the disk: each
    shard is sent and deleted when it is full.

    Example:
            push_source("train.jsonl", "journal.sqlite", None, "user/train-relabeled", license="cc-by-4.0")

    Args:
        source: what `open_source` gives or takes.
        journal: a `Journal` or the path of one.
        settings: as for `build_configs`; `out` is not used. None builds all configs.
        repo_id and all others: as for `push`.

    Raises:
        JournalError: there is no such journal, or it holds no run.
        ReleaseError, CardError, ConfigError, BuildError: as `push`.
    """
    from hf_relabel.builders.job.steps import BuildSettings
    from hf_relabel.hub_tools.building.run import as_settings

    chosen = PushOptions(
        tag, bump, private, create_pr, license, language, pretty_name, default, card, message, parent_commit, dry_run
    )
    wanted, opened = as_settings(settings or BuildSettings(out="")), as_source(source)
    with as_journal(journal, write=False) as kept, bars.sending(progress) as show:
        return _push_source(opened, kept, wanted, _Pusher(repo_id, chosen, token, show))


def _push_source(source: Source, journal: Journal, settings: BuildSettings, pusher: _Pusher) -> PushReport:
    from hf_relabel.builders.cascade.verdicts import verdicts
    from hf_relabel.hub_tools.building.run import build_configs, calibration_of

    # Before anything is made or sent there. The build checks too, but only when it has read all.
    check_any_judged(verdicts(source, journal), source.name, journal)
    pusher.prepare({"source": source.record()})
    sent: dict[str, list[CommitOperationAdd | None]] = {}

    def take(shard: Any) -> None:
        sent.setdefault(shard.config, []).append(pusher.sent_early(shard.path))
        shard.path.unlink()

    with tempfile.TemporaryDirectory(prefix="hf-relabel-push-") as scratch:
        wanted = settings.model_copy(update={"out": str(Path(scratch) / "configs")})
        report = build_configs(source, journal, wanted, on_shard=take, progress=False)
    if report.judged.share >= ENOUGH:  # of less the build has told
        report.judged.tell(source.name)
    manifest = _with_default(report.manifest, pusher.options.default)
    additions = {
        path: addition
        for config, shards in sent.items()
        for path, addition in zip(
            [name for name in manifest["files"] if name.startswith(f"{config}/")], shards, strict=True
        )
    }
    decided = verdicts(source, journal, calibration=calibration_of(settings))
    example = example_of(decided, limit=settings.limit)

    def named(path: str) -> CommitOperationAdd:
        addition = additions[path]
        assert addition is not None  # a dry run asks for none
        addition.path_in_repo = path
        return addition

    return pusher.release(manifest, CardFacts(pusher.repo_id, None, manifest, example=example), named)


def _refuse_part(release: Release) -> None:
    """A folder that holds some configs of a release only (`pull --config`) is not to take the place of all."""
    there = {path.split("/")[0] for path in release.manifest["files"]}
    missing = [name for name in config_names(release.manifest["settings"]) if name not in there]
    if missing:
        raise BuildError(f"{release.name} has no {missing[0]!r}: it is part of a release. Pull or build all of it.")


def _with_default(manifest: Mapping[str, Any], default: str | None) -> Mapping[str, Any]:
    if default is None:
        return manifest
    techniques = manifest["settings"]["techniques"]
    if default not in techniques:
        raise ConfigError(f"The default config {default!r} is not among those built: {', '.join(techniques)}.")
    return {**manifest, "settings": {**manifest["settings"], "default_config": default}}


class _Pusher:
    """One push to one repository."""

    def __init__(self, repo_id: str, options: PushOptions, token: str | None, progress: Progress | None) -> None:
        from huggingface_hub import HfApi

        options.check()
        give_back_large_blocks()
        self.repo_id, self.options = repo_id, options
        self.api: HfApi = HfApi(token=token)
        self.progress = progress or (lambda name, size: None)
        self.head = Head()
        self.license: str | None = None
        self.language: Sequence[str] = ()

    def prepare(self, manifest: Mapping[str, Any]) -> None:
        """Look at the repository, and create it, before anything is built or sent. All that is missing is said at
        once."""
        options = self.options
        sends = not options.dry_run
        missing: list[RelabelError] = [
            ReleaseError(lacks) for lacks in missing_to_write(self.api, self.repo_id, sends=sends)
        ]
        with suppress(ReleaseError) if missing else nullcontext():
            if "/" in self.repo_id:
                self.head = read_head(self.api, self.repo_id)
            missing += self._unfit(manifest)
        refuse_missing(missing)
        if self.head.sha is None and sends:
            with hub_errors(self.repo_id, None, self.api.token, writer=self.api):
                self.api.create_repo(self.repo_id, repo_type="dataset", private=options.private or None, exist_ok=True)
            self.head = read_head(self.api, self.repo_id)

    def _unfit(self, manifest: Mapping[str, Any]) -> Iterator[RelabelError]:
        """What keeps the release out of the repository as it was read."""
        for check in (self._refuse_other_visibility, self._refuse_stale, partial(self._find_legal, manifest)):
            try:
                check()
            except (ReleaseError, ConfigError) as error:
                yield error

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

    def _find_legal(self, manifest: Mapping[str, Any]) -> None:
        """License and language: as given, as in the card that is there, or as in the source's card.

        Raises:
            ConfigError: no license is known.
        """
        options = self.options
        text = Path(options.card).read_text(encoding="utf-8") if options.card is not None else self.head.readme
        present = _front_matter(text)
        source = self._source_card(manifest)
        license_ = options.license or (None if present.get("license") else source.get("license"))
        language = options.language or (() if present.get("language") else source.get("language") or ())
        if not license_ and not present.get("license"):
            raise ConfigError(
                f"{self.repo_id} needs a license, and that of the source is not known. Say under which one the"
                f" data may be used: {argument('license', 'apache-2.0')}, cc-by-4.0, …, or `unknown`."
            )
        self.license = license_
        self.language = (language,) if isinstance(language, str) else tuple(map(str, language))

    def _source_card(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """The front matter of the source's card, empty where the source is not on the Hub or cannot be asked."""
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        source = manifest.get("source", {})
        name, revision = source.get("name"), source.get("revision")
        if not isinstance(name, str) or not revision:
            return {}
        try:
            data = self.api.dataset_info(name.partition(":")[0], revision=revision).card_data
        except (HfHubHTTPError, HFValidationError, OSError):
            return {}
        values: Mapping[str, Any] = dict(vars(data)) if data is not None else {}
        license_ = values.get("license")
        return {**values, "license": license_ if isinstance(license_, str) else None}

    def sent_early(self, path: Path) -> CommitOperationAdd | None:
        """Send a shard whose final name is not known yet. None in a dry run."""
        return None if self.options.dry_run else self.addition(path, f"{VERDICTS}/shard.parquet")

    def addition(self, path: Path, name: str) -> CommitOperationAdd:
        """Send a file unless the Hub has its content, and give the operation that names it."""
        with hub_errors(self.repo_id, None, self.api.token, writer=self.api):
            return sent_ahead(self.api, self.repo_id, "dataset", name, path)

    def release(
        self, manifest: Mapping[str, Any], facts: CardFacts, addition: Callable[[str], CommitOperationAdd]
    ) -> PushReport:
        """Commit and tag, on top of what others commit in the meantime."""
        options = self.options
        facts = replace(facts, license=self.license, language=self.language, pretty_name=options.pretty_name)
        card = Path(options.card).read_bytes().decode("utf-8") if options.card is not None else None
        sent: dict[str, CommitOperationAdd] = {}
        for attempt in range(MAX_ATTEMPTS):
            plan = make_plan(self.head, manifest, facts, tag=options.tag, bump=options.bump, card=card)
            if options.dry_run:
                return self._report(plan, None, changed=not plan.is_unchanged)
            if plan.is_unchanged:
                return self._report(plan, self.head.sha, changed=False, tagged=self._tag_missing(plan.version))
            for file in plan.data:
                if file.action != "keep" and file.path not in sent:
                    sent[file.path] = addition(file.path)
                self.progress(file.path, file.bytes)
            done = self._commit(plan, sent)
            if done is not None:
                tagged = not options.create_pr and self._tag(plan.version, done.oid)
                return self._report(plan, done.oid, changed=True, tagged=tagged, pull_request=done.pr_url)
            time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.05 * 2**attempt)))  # noqa: S311 - spreads pushers out
            self.head = read_head(self.api, self.repo_id)
            self._refuse_stale()
        raise ReleaseError(f"{self.repo_id}: {MAX_ATTEMPTS} times somebody else was first. Push again later.")

    def _commit(self, plan: Plan, sent: Mapping[str, CommitOperationAdd]) -> CommitInfo | None:
        """Commit on top of the head that was read; None where there is a newer one."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.errors import HfHubHTTPError

        wanted = {file.path for file in plan.files if file.action in ("add", "replace")}
        operations: list[Any] = [sent[file.path] for file in plan.data if file.path in wanted]
        operations += [CommitOperationAdd(name, text) for name, text in plan.texts.items() if name in wanted]
        operations += [CommitOperationDelete(name) for name in plan.deleted]
        with hub_errors(self.repo_id, None, self.api.token, writer=self.api), quiet_xet():
            try:
                return self.api.create_commit(
                    self.repo_id,
                    operations,
                    repo_type="dataset",
                    commit_message=self.options.message or f"Release {plan.version}",
                    parent_commit=self.head.sha,
                    create_pr=self.options.create_pr,
                )
            except HfHubHTTPError as error:
                if getattr(error.response, "status_code", None) == 412:
                    return None
                raise

    def _tag_missing(self, version: str) -> bool:
        """Make the tag that a push which was killed did not come to. Returns whether it was missing."""
        if self.options.create_pr or version in self.head.tags or self.head.sha is None:
            return False
        return self._tag(version, self.head.sha)

    def _tag(self, version: str, commit: str) -> bool:
        from huggingface_hub.errors import HfHubHTTPError

        with hub_errors(self.repo_id, None, self.api.token, writer=self.api):
            try:
                self.api.create_tag(self.repo_id, tag=version, revision=commit, repo_type="dataset")
                return True
            except HfHubHTTPError as error:
                if getattr(error.response, "status_code", None) != 409:
                    raise
            tags = {
                tag.name: tag.target_commit for tag in self.api.list_repo_refs(self.repo_id, repo_type="dataset").tags
            }
        if tags.get(version) not in (None, commit):
            raise ReleaseError(
                f"{self.repo_id}: commit {commit} holds {version}, but somebody made a tag of that name for another"
                f" commit just now. Push again with another {argument('tag')}."
            )
        return False

    def _report(
        self, plan: Plan, commit: str | None, *, changed: bool, tagged: bool = False, pull_request: str | None = None
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


def _front_matter(text: str | None) -> Mapping[str, Any]:
    """The front matter of a card; what is wrong with it is told when the card is merged."""
    import yaml
    from huggingface_hub import DatasetCard

    if not text:
        return {}
    try:
        return dict(vars(DatasetCard(text, ignore_metadata_errors=True).data))
    except (ValueError, yaml.YAMLError):
        return {}


def sent_ahead(api: HfApi, repo_id: str, repo_type: str, name: str, path: Path) -> CommitOperationAdd:
    """Send a large file's content unless the Hub has it, and give the operation that names it in a commit."""
    from huggingface_hub import CommitOperationAdd

    with path.open("rb") as file:
        # The client asks the LFS endpoint what it has only where it is given an open file; given a path it sends
        # by Xet, which saves chunks that are there, but starts a file that is not committed over.
        stored = is_stored(api, repo_id, repo_type, path)
        operation = CommitOperationAdd(name, file if stored else str(path))
        with quiet_xet():
            api.preupload_lfs_files(repo_id, [operation], repo_type=repo_type)
    # What is small travels with the commit, which reads it when this file is closed.
    return operation if operation._is_uploaded else CommitOperationAdd(name, str(path))


def is_stored(api: HfApi, repo_id: str, repo_type: str, path: Path) -> bool:
    """Whether the Hub has a file's content, in a commit or sent before one."""
    from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info

    actions, errors, _ = post_lfs_batch_info(
        [UploadInfo.from_path(str(path))],
        token=api.token if isinstance(api.token, str) else None,
        repo_type=repo_type,
        repo_id=repo_id,
        endpoint=api.endpoint,
    )
    return not errors and all(action.get("actions") is None for action in actions)


@contextmanager
def quiet_xet() -> Iterator[None]:
    """Keep the client from warning that an open file is not sent by Xet: it is open because it need not be sent."""
    import logging

    logger = logging.getLogger("huggingface_hub._commit_api")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


__all__ = ["PushReport", "push", "push_source"]
