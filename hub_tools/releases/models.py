"""Pushing a trained model: its folder in one commit, then a tag.

Large files are sent before the commit, which only names them: what is killed in between leaves nothing a reader could
see, and what has arrived is not sent again. `release.json` in the commit says which version it is and which of the
files are ours; all others in the repository stay.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import ReleaseError
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.hub_tools.calls import progress_bars as bars
from hf_relabel.hub_tools.releases.licensing import front_matter
from hf_relabel.hub_tools.releases.next_release import PlannedFile, action_on
from hf_relabel.hub_tools.releases.pusher import Bump, Progress, Pusher, PushOptions, PushReport
from hf_relabel.hub_tools.releases.repository import README_NAME, size_of
from hf_relabel.hub_tools.releases.versions import FIRST, Version, highest

RELEASE_NAME = "release.json"
_MODEL_FILES = ("modules.json", "config.json", "adapter_config.json", "config_sentence_transformers.json")
_LEFT_OUT = ("checkpoint-*", "runs", "eval", RELEASE_NAME, "run.json")
_TEXTS = (".md", ".yaml", ".png")

_logger = logging.getLogger(__name__)

Render = Callable[[str, str | None], Mapping[str, bytes]]
"""Given the version and the README.md that is there: texts by path, README.md among them."""


@expects(folder=PATH, repo_id=str)
def push_model(
    folder: str | Path,
    repo_id: str,
    *,
    tag: str | None = None,
    bump: Bump | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    message: str | None = None,
    parent_commit: str | None = None,
    dry_run: bool = False,
    token: str | None = None,
    render: Render | None = None,
    progress: Progress | bool | None = True,
) -> PushReport:
    """Release a saved model on the Hub.

    Example:
            push_model("model", "user/retriever", message="Trained on v1.1.0")

    Args:
        folder: what `save_pretrained` wrote. Checkpoints, logs and hidden files stay behind.
        repo_id: `user/repo`. It is created if it does not exist.
        token: None takes the stored token or `HF_TOKEN`.
        render: makes the card and its figures; None takes the folder's own README.md.
        progress: as for `push.push`.
        tag: the version, `vX.Y.Z`; None takes the next one: minor if weights or settings changed, patch if only texts.
        bump, private, create_pr, message, parent_commit, dry_run: as for `push.push`.

    Raises:
        ReleaseError: it is no saved model, or the Hub would not take it, or the repository changed.
        CardError: the repository's README.md cannot be merged with.
        ConfigError: an option makes no sense.
    """
    options = PushOptions(tag, bump, private, create_pr, message=message, parent_commit=parent_commit, dry_run=dry_run)
    with bars.sending(progress) as show:
        return _ModelPusher(Path(folder), repo_id, options, token, render, show).push()


@dataclass(frozen=True)
class _Plan:
    """What would be committed.

    Attributes:
        contents: of all files.
        files: all of them, and those that go.
    """

    version: str
    is_unchanged: bool
    contents: Mapping[str, Path | bytes]
    files: list[PlannedFile]


class _ModelPusher(Pusher):
    """One push of one model."""

    repo_type = "model"
    record = RELEASE_NAME

    def __init__(
        self,
        folder: Path,
        repo_id: str,
        options: PushOptions,
        token: str | None,
        render: Render | None,
        progress: Progress | None,
    ) -> None:
        super().__init__(repo_id, options, token, progress)
        self.local, self.render = _model_files(folder), render
        self._card: Path | bytes | None = None

    def push(self) -> PushReport:
        self.look()
        report = self.commit(self._plan, self._operations)
        self._tell_license()
        return report

    def _tell_license(self) -> None:
        """Warn where the card names none. The model is released all the same: the license may be told elsewhere."""
        card = self._card.read_bytes() if isinstance(self._card, Path) else self._card
        if not front_matter(None if card is None else card.decode("utf-8", "replace")).get("license"):
            how = "`license: apache-2.0` in its README.md" if self.render is None else argument("license", "apache-2.0")
            _logger.warning("%s: the card names no license. Give one with %s.", self.repo_id, how)

    def _plan(self) -> _Plan:
        options, head = self.options, self.head
        if head.version is not None and self.tag in (None, head.version) and options.bump is None:
            previous = (head.manifest or {})["release"].get("previous")
            same = self._planned(head.version, previous, is_unchanged=True)
            if all(file.action == "keep" for file in same.files):
                return same
        known = highest([*head.tags, *([head.version] if head.version else [])])
        version = self.tag or str(FIRST if known is None else known.bumped(options.bump or self._bump()))
        Version.of_tag(version)
        if version in head.tags:
            raise ReleaseError(
                f"{self.repo_id} has a tag {version} already. Leave {argument('tag')} out for the next version."
            )
        return self._planned(version, head.version, is_unchanged=False)

    def _bump(self) -> str:
        """Minor where anything but texts differs."""
        weights = {name: path for name, path in self.local.items() if not name.endswith(_TEXTS)}
        same = all(action_on(self.head.files.get(name), path) == "keep" for name, path in weights.items())
        return "patch" if same else "minor"

    def _planned(self, version: str, previous: str | None, *, is_unchanged: bool) -> _Plan:
        there = self.head.files
        texts = dict(self.render(version, self.head.readme)) if self.render is not None else {}
        contents: dict[str, Path | bytes] = {**self.local, **texts}
        record = {"release": {"version": version, "previous": previous}, "files": {name: {} for name in contents}}
        self._card = contents.get(README_NAME)
        contents[RELEASE_NAME] = (json.dumps(record, indent=2, sort_keys=True) + "\n").encode()
        files = [
            PlannedFile(name, size_of(content), action_on(there.get(name), content))
            for name, content in contents.items()
        ]
        earlier = (self.head.manifest or {}).get("files", {})
        files += [PlannedFile(name, 0, "delete") for name in earlier if name not in contents and name in there]
        return _Plan(version, is_unchanged, contents, sorted(files, key=lambda file: file.path))

    def _operations(self, plan: _Plan) -> list[Any]:
        """Send what has not been sent yet, and name it."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = []
        on_disk: list[str] = []
        for file in plan.files:
            content = plan.contents.get(file.path)
            if content is None:
                operations.append(CommitOperationDelete(file.path))
            elif file.action != "keep" and isinstance(content, bytes):
                operations.append(CommitOperationAdd(file.path, content))
            elif file.action != "keep":
                on_disk.append(file.path)
                if file.path not in self.outgoing:
                    self.take(file.path, self.local[file.path])
            self.progress(file.path, file.bytes)
        sent = self.outgoing.operations()
        return operations + [sent[path] for path in on_disk]


def _model_files(folder: Path) -> dict[str, Path]:
    """The files of a saved model by their path in it.

    Raises:
        ReleaseError: it is no saved model, or a link leads out of it.
    """
    if not any((folder / name).is_file() for name in _MODEL_FILES):
        raise ReleaseError(f"{folder} is no saved model: it has none of {', '.join(_MODEL_FILES)}.")
    root = folder.resolve()
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inner.parts)
        if hidden or any(Path(inner.parts[0]).match(pattern) for pattern in _LEFT_OUT) or path.suffix == ".tmp":
            continue
        if not path.resolve().is_relative_to(root):
            raise ReleaseError(f"{folder}: {inner} is a link that leads out of the model's folder. Remove it.")
        if path.is_file():
            files[inner.as_posix()] = path
    return files
