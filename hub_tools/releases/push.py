"""Pushing a release: all configs, verdicts, manifest, figures and card in one commit, then a tag.

Shards are sent in groups before the commit, which only names them; the last group goes with it. What is killed in
between leaves nothing that a reader could see, and groups that have arrived are not sent again: files of the head by
their SHA-256, and uploaded files that no commit names yet by asking the Hub's LFS endpoint which it has.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.judged_share import JudgedShare, check_any_judged
from hf_relabel.builders.config_names import config_names
from hf_relabel.builders.configs.earlier_build import source_told
from hf_relabel.builders.configs.layout import VERDICTS
from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.messages.expecting import expects, told
from hf_relabel.builders.techniques import canonical, check_default
from hf_relabel.cards.card_facts import CardFacts
from hf_relabel.cards.data_card import example_of
from hf_relabel.cards.licenses import check_license
from hf_relabel.hub_tools.calls import progress_bars as bars
from hf_relabel.hub_tools.calls.given import AnyJournal, AnySource, as_journal, as_source
from hf_relabel.hub_tools.releases.licensing import Legal, find_legal
from hf_relabel.hub_tools.releases.next_release import Plan, make_plan
from hf_relabel.hub_tools.releases.pusher import Bump, Progress, Pusher, PushOptions, PushReport
from hf_relabel.hub_tools.releases.shown import shown

if TYPE_CHECKING:
    from hf_relabel.builders.job.steps import BuildSettings
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.builders.sources import Source

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _CardOptions:
    """What is told of a data set besides its release, see `push`."""

    license: str | None = None
    language: str | Sequence[str] = ()
    pretty_name: str | None = None
    default: str | None = None
    card: str | os.PathLike[str] | None = None


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
        create_pr: propose it in a pull request instead of committing to the main branch: in this account's open one,
            else in a new one. It gets no tag.
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
    chosen = PushOptions(tag, bump, private, create_pr, message, parent_commit, dry_run)
    about = _CardOptions(license, language, pretty_name, _canonical(default), card)
    return _push(_opened(release), repo_id, chosen, about, token, progress)


def _push(
    opened: Release,
    repo_id: str,
    chosen: PushOptions,
    about: _CardOptions,
    token: str | None,
    progress: Progress | bool | None,
) -> PushReport:
    _refuse_part(opened)
    check_default(about.default, opened.manifest["settings"]["techniques"])
    JudgedShare.of(opened.manifest["verdicts"]["total"]["outcomes"]).tell(opened.name)
    with bars.sending(progress) as show:
        pusher = _Pusher(repo_id, chosen, about, token, show)
        pusher.prepare(opened.manifest)
        # What lies beside the configs stays at home.
        built = {name: value for name, value in opened.manifest.items() if name != "formats"}
        manifest = _with_default(built, about.default)
        facts = CardFacts(
            repo_id, None, manifest, example=example_of(opened.judged_rows(), limit=manifest["settings"]["limit"])
        )

        def taken(path: str) -> str:
            if path not in pusher.outgoing:
                pusher.take(path, opened.open_file(path))
            return path

        return pusher.release(manifest, facts, taken)


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
    from hf_relabel.builders.job.steps import NOT_WRITTEN, BuildSettings
    from hf_relabel.hub_tools.building.run import as_settings

    chosen = PushOptions(tag, bump, private, create_pr, message, parent_commit, dry_run)
    about = _CardOptions(license, language, pretty_name, _canonical(default), card)
    wanted, opened = as_settings(settings or BuildSettings(out=NOT_WRITTEN)), as_source(source)
    with as_journal(journal, write=False) as kept, bars.sending(progress) as show:
        return _push_source(opened, kept, wanted, _Pusher(repo_id, chosen, about, token, show))


def _push_source(source: Source, journal: Journal, settings: BuildSettings, pusher: _Pusher) -> PushReport:
    from hf_relabel.builders.cascade.verdicts import verdicts
    from hf_relabel.hub_tools.building.run import build_configs, calibration_of

    check_default(pusher.about.default, settings.techniques)
    # Before anything is made or sent there. The build checks too, but only when it has read all.
    check_any_judged(verdicts(source, journal), source.name, journal)
    pusher.prepare({"source": source.record()})
    early: dict[str, list[str]] = {}

    with tempfile.TemporaryDirectory(prefix="hf-relabel-push-") as scratch:
        kept = Path(scratch, "shards")
        kept.mkdir()

        def take(shard: Any) -> None:
            early.setdefault(shard.config, []).append(pusher.take_early(shard.path, kept))

        wanted = settings.model_copy(update={"out": str(Path(scratch) / "configs")})
        report = build_configs(source, journal, wanted, on_shard=take, progress=False)
        report.judged.tell(source.name)
        manifest = _with_default(report.manifest, pusher.about.default)
        names = {
            path: name
            for config, shards in early.items()
            for path, name in zip(
                [name for name in manifest["files"] if name.startswith(f"{config}/")], shards, strict=True
            )
        }
        decided = verdicts(source, journal, calibration=calibration_of(settings))
        example = example_of(decided, limit=settings.limit)
        facts = CardFacts(pusher.repo_id, None, manifest, example=example)
        return pusher.release(manifest, facts, names.__getitem__)


def _refuse_part(release: Release) -> None:
    """A folder that holds some configs of a release only (`pull --config`) is not to take the place of all."""
    there = {path.split("/")[0] for path in release.manifest["files"]}
    missing = [name for name in config_names(release.manifest["settings"]) if name not in there]
    if missing:
        raise BuildError(f"{release.name} has no {missing[0]!r}: it is part of a release. Pull or build all of it.")


def _canonical(default: str | None) -> str | None:
    return None if default is None else canonical(default)


def _with_default(manifest: Mapping[str, Any], default: str | None) -> Mapping[str, Any]:
    if default is None:
        return manifest
    return {**manifest, "settings": {**manifest["settings"], "default_config": default}}


class _Pusher(Pusher):
    """One push of one data set."""

    def __init__(
        self, repo_id: str, options: PushOptions, about: _CardOptions, token: str | None, progress: Progress | None
    ) -> None:
        check_license(about.license)
        super().__init__(repo_id, options, token, progress)
        self.about, self.legal = about, Legal()
        self._early = 0

    def prepare(self, manifest: Mapping[str, Any]) -> None:
        """Look at the repository, and create it, before anything is built or sent."""
        self.look(partial(self._find_legal, manifest))
        self._tell_other_source(manifest)

    def _tell_other_source(self, manifest: Mapping[str, Any]) -> None:
        """Warn where the release that is there came from another source: it may be the wrong repository."""
        there = (self.head.manifest or {}).get("source")
        if not isinstance(there, dict) or not manifest.get("source"):
            return
        one, other = source_told(there), source_told(manifest["source"])
        if one != other:
            _logger.warning(
                "%s: the release there was made of %s, this one is made of %s.", self.repo_id, shown(one), other
            )

    def _find_legal(self, manifest: Mapping[str, Any]) -> None:
        about, card = self.about, self._given_card()
        card = self.head.readme if card is None else card
        source = manifest.get("source", {})
        self.legal = find_legal(self.api, self.repo_id, card, source, about.license, about.language)

    def _given_card(self) -> str | None:
        card = self.about.card
        return None if card is None else Path(card).read_bytes().decode("utf-8")

    def take_early(self, path: Path, folder: Path) -> str:
        """Take a shard whose final name is not known yet into a folder, where it stays until it is sent, and give the
        name it goes by. Dropped in a dry run."""
        self._early += 1
        name = f"{VERDICTS}/shard-{self._early:05}.parquet"
        if self.options.dry_run:
            path.unlink()
            return name
        self.take(name, path.rename(folder / Path(name).name))
        return name

    def sent(self, path: Path) -> None:
        if self._early:
            path.unlink()

    def release(self, manifest: Mapping[str, Any], facts: CardFacts, taken: Callable[[str], str]) -> PushReport:
        """Commit and tag, on top of what others commit in the meantime.

        Args:
            taken: sees to it that a file of the manifest is on its way, and gives the name it goes by in `outgoing`.
        """
        legal, options, card = self.legal, self.options, self._given_card()
        facts = replace(facts, license=legal.license, language=legal.language, pretty_name=self.about.pretty_name)
        return self.commit(
            lambda: make_plan(
                self.head, manifest, facts, tag=self.tag, bump=None if self.tag else options.bump, card=card
            ),
            lambda plan: self._operations(plan, taken),
        )

    def _operations(self, plan: Plan, taken: Callable[[str], str]) -> list[Any]:
        """Send what has not been sent yet, and name it."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        names = {}
        for file in plan.data:
            if file.action != "keep":
                names[file.path] = taken(file.path)
            self.progress(file.path, file.bytes)
        sent = self.outgoing.operations()
        for path, name in names.items():
            sent[name].path_in_repo = path
        wanted = {file.path for file in plan.files if file.action in ("add", "replace")}
        operations: list[Any] = [sent[name] for name in names.values()]
        operations += [CommitOperationAdd(name, text) for name, text in plan.texts.items() if name in wanted]
        return operations + [CommitOperationDelete(name) for name in plan.deleted]


__all__ = ["PushReport", "push", "push_source"]
