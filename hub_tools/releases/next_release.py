"""What a push would change: worked out from the head of the repository and the new manifest, sending nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.config_names import config_names
from hf_relabel.builders.configs.manifest import MANIFEST_NAME, manifest_text
from hf_relabel.builders.errors import CardError, ReleaseError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.cards.card_facts import CardFacts
from hf_relabel.cards.data_card import figures, render_card
from hf_relabel.hub_tools.releases.repository import README_NAME, Head, RemoteFile
from hf_relabel.hub_tools.releases.versions import FIRST, Version, highest


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file of a release. `action` is `add`, `replace`, `delete` or `keep`; `bytes` is its size (0 if deleted)."""

    path: str
    bytes: int
    action: str


@dataclass(frozen=True)
class Plan:
    """What would be committed.

    Attributes:
        version: of the release.
        is_unchanged: the head is this release already.
        data: Parquet files, of which those to `add` and `replace` have to be sent.
        texts: the other files, whole.
        deleted: files of the earlier release that this one does not have.
        head_files: what the head has.
    """

    version: str
    is_unchanged: bool
    data: tuple[PlannedFile, ...]
    texts: Mapping[str, bytes]
    deleted: tuple[str, ...]
    head_files: Mapping[str, RemoteFile]

    @property
    def files(self) -> list[PlannedFile]:
        """All files of the release, and those it deletes."""
        texts = [
            PlannedFile(name, len(content), action_on(self.head_files.get(name), content))
            for name, content in self.texts.items()
        ]
        gone = [PlannedFile(name, 0, "delete") for name in self.deleted]
        return sorted([*self.data, *texts, *gone], key=lambda file: file.path)


def make_plan(
    head: Head,
    manifest: Mapping[str, Any],
    facts: CardFacts,
    *,
    tag: str | None = None,
    bump: str | None = None,
    card: str | None = None,
) -> Plan:
    """Work out the next release.

    Args:
        manifest: of what was built.
        facts: for the card; its version and manifest are filled in here.
        tag, bump: see `push`.
        card: a README.md to start from in place of the repository's.

    Raises:
        ReleaseError: files of somebody else are in the way, or the tag is taken.
        CardError: the README.md cannot be merged with.
    """
    _refuse_foreign_files(head, manifest, facts.repo_id)
    earlier_manifest = head.manifest or {}
    data = tuple(
        PlannedFile(path, entry["bytes"], _action(head.files.get(path), _same_data(entry, head.files.get(path))))
        for path, entry in manifest["files"].items()
    )
    deleted = tuple(
        path for path in earlier_manifest.get("files", {}) if path not in manifest["files"] and path in head.files
    )
    earlier_card = head.readme if card is None else card

    def planned(version: str, previous: str | None, *, is_unchanged: bool) -> Plan:
        release = {"version": version, "previous": previous}
        whole = {**manifest, "release": release}
        texts = {
            README_NAME: _rendered(facts, whole, version, earlier_card),
            MANIFEST_NAME: manifest_text(whole),
            **figures(manifest),
        }
        return Plan(version, is_unchanged, data, texts, deleted, head.files)

    if head.version is not None and tag in (None, head.version) and bump is None:
        release = earlier_manifest["release"]
        same = planned(head.version, release.get("previous"), is_unchanged=True)
        if all(file.action == "keep" for file in same.files):
            return same
    data_changed = bool(deleted) or any(file.action != "keep" for file in data)
    version = tag or str(_next(head, bump or _bump(head, manifest, data_changed=data_changed)))
    Version.of_tag(version)
    if version in head.tags:
        raise ReleaseError(
            f"{facts.repo_id} has a tag {version} already, of another release. Leave {argument('tag')} out for the next"
            " version."
        )
    return planned(version, head.version, is_unchanged=False)


def _rendered(facts: CardFacts, manifest: Mapping[str, Any], version: str, earlier: str | None) -> bytes:
    from dataclasses import replace

    try:
        return render_card(replace(facts, manifest=manifest, version=version), earlier).encode("utf-8")
    except CardError as error:
        raise CardError(f"{facts.repo_id}: {error}") from error


def _bump(head: Head, manifest: Mapping[str, Any], *, data_changed: bool) -> str:
    """Which part of the version to raise."""
    before = {path.split("/")[0] for path in (head.manifest or {}).get("files", {})}
    now = {path.split("/")[0] for path in manifest["files"]}
    if before - now:
        return "major"
    return "minor" if data_changed else "patch"


def _next(head: Head, bump: str) -> Version:
    known = highest([*head.tags, *([head.version] if head.version else [])])
    return FIRST if known is None else known.bumped(bump)


def _refuse_foreign_files(head: Head, manifest: Mapping[str, Any], repo_id: str) -> None:
    """Files that `load_dataset` would take for ours, but that are not, must not be mixed with them."""
    split = manifest["settings"]["split"]
    ours = set((head.manifest or {}).get("files", {}))
    prefixes = tuple(f"{config}/{split}-" for config in config_names(manifest["settings"]))
    foreign = sorted(path for path in head.files if path.startswith(prefixes) and path not in ours)
    if foreign:
        raise ReleaseError(
            f"{repo_id} has the file {foreign[0]}, which is no release of hf-relabel and would be read as part of this"
            " one. Remove it, or push to another repository."
        )


def _action(there: RemoteFile | None, same: bool) -> str:
    if there is None:
        return "add"
    return "keep" if same else "replace"


def action_on(there: RemoteFile | None, content: bytes | Path) -> str:
    """What has to be done that a file has this content."""
    return _action(there, there is not None and there.holds(content))


def _same_data(entry: Mapping[str, Any], there: RemoteFile | None) -> bool:
    return there is not None and there.sha256 == entry["sha256"] and there.size == entry["bytes"]
