"""Pushing a trained model: its folder in one commit, then a tag.

Large files are sent before the commit, which only names them: what is killed in between leaves nothing a reader could
see, and what has arrived is not sent again. `release.json` in the commit says which version it is and which of the
files are ours; all others in the repository stay.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import ReleaseError
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.hub_tools.calls import progress_bars as bars
from hf_relabel.hub_tools.hub.errors import hub_errors, missing_to_write, refuse_missing
from hf_relabel.hub_tools.hub.memory import give_back_large_blocks
from hf_relabel.hub_tools.releases.plan import PlannedFile
from hf_relabel.hub_tools.releases.push import MAX_ATTEMPTS, Bump, Progress, PushOptions, quiet_xet, sent_ahead
from hf_relabel.hub_tools.releases.repository import Head, RemoteFile, read_head
from hf_relabel.hub_tools.releases.versions import FIRST, Version, highest

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

RELEASE_NAME = "release.json"
_MODEL_FILES = ("modules.json", "config.json", "adapter_config.json", "config_sentence_transformers.json")
_LEFT_OUT = ("checkpoint-*", "runs", "eval", RELEASE_NAME, "run.json")
_TEXTS = (".md", ".yaml", ".png")
_LONGEST_WAIT = 2.0

Render = Callable[[str, str | None], Mapping[str, bytes]]
"""Given the version and the README.md that is there: texts by path, README.md among them."""


@dataclass(frozen=True, repr=False)
class ModelPushReport(Shown):
    """What a push of a model did, or would do; as `push.PushReport`."""

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
        """One or two lines; the files as a table in a dry run."""
        new = sum(file.bytes for file in self.files if file.action in ("add", "replace"))
        if self.dry_run:
            lines = [{"action": file.action, "bytes": file.bytes, "file": file.path} for file in self.files]
            return f"{text_table(lines)}\n{self.repo_id}: would be {self.version}. Nothing was sent."
        if self.pull_request:
            return f"{self.repo_id}: {self.version} is proposed in {self.pull_request}. After the merge, push again."
        if not self.changed:
            tagged = "; its tag was missing and is there now" if self.tagged else ""
            return f"{self.repo_id}: {self.version} is there already, nothing to do{tagged}."
        return f"{self.repo_id}: released {self.version} in commit {str(self.commit)[:12]} ({new:,} new bytes)."


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
) -> ModelPushReport:
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
class _File:
    path: str
    source: Path | bytes

    @property
    def size(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def is_at(self, there: RemoteFile | None) -> bool:
        """Whether the Hub has this content. It keeps large files by SHA-256 and others as git blobs."""
        if there is None or there.size != self.size:
            return False
        content = self.source if isinstance(self.source, bytes) else self.source.read_bytes()
        if there.sha256 is not None:
            return there.sha256 == hashlib.sha256(content).hexdigest()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return there.oid == blob.hexdigest()


@dataclass(frozen=True)
class _Plan:
    version: str
    is_unchanged: bool
    files: tuple[_File, ...]
    actions: Mapping[str, str]
    deleted: tuple[str, ...]


class _ModelPusher:
    """One push of one model."""

    def __init__(
        self,
        folder: Path,
        repo_id: str,
        options: PushOptions,
        token: str | None,
        render: Render | None,
        progress: Progress | None,
    ) -> None:
        from huggingface_hub import HfApi

        options.check()
        give_back_large_blocks()
        self.folder, self.repo_id, self.options, self.render = folder, repo_id, options, render
        self.api: HfApi = HfApi(token=token)
        self.progress = progress or (lambda name, size: None)
        self.local = _model_files(folder)
        self.head = Head()

    def push(self) -> ModelPushReport:
        options = self.options
        sends = not options.dry_run
        refuse_missing(
            [ReleaseError(lacks) for lacks in missing_to_write(self.api, self.repo_id, "model", sends=sends)]
        )
        self.head = self._read()
        if self.head.sha is not None and options.private is not None and options.private != self.head.private:
            now = "private" if self.head.private else "public"
            raise ReleaseError(f"{self.repo_id} exists and is {now}. Change that first, or push elsewhere.")
        if self.head.sha is None and not options.dry_run:
            with hub_errors(self.repo_id, None, self.api.token, what="model", writer=self.api):
                self.api.create_repo(self.repo_id, repo_type="model", private=options.private or None, exist_ok=True)
            self.head = self._read()
        sent: dict[str, Any] = {}
        for attempt in range(MAX_ATTEMPTS):
            self._refuse_stale()
            plan = self._plan()
            if options.dry_run:
                return self._report(plan, None, changed=not plan.is_unchanged)
            if plan.is_unchanged:
                missing = not options.create_pr and plan.version not in self.head.tags
                tagged = missing and self._tag(plan.version, str(self.head.sha))
                return self._report(plan, self.head.sha, changed=False, tagged=tagged)
            done = self._commit(plan, sent)
            if done is not None:
                tagged = not options.create_pr and self._tag(plan.version, done.oid)
                return self._report(plan, done.oid, changed=True, tagged=tagged, pull_request=done.pr_url)
            time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.05 * 2**attempt)))  # noqa: S311 - spreads pushers out
            self.head = self._read()
        raise ReleaseError(f"{self.repo_id}: {MAX_ATTEMPTS} times somebody else was first. Push again later.")

    def _read(self) -> Head:
        return read_head(self.api, self.repo_id, repo_type="model", record=RELEASE_NAME)

    def _refuse_stale(self) -> None:
        parent = self.options.parent_commit
        if parent is not None and self.head.sha != parent:
            raise ReleaseError(f"{self.repo_id} is at commit {self.head.sha or 'none'}, not at {parent}. Push again.")

    def _plan(self) -> _Plan:
        options, head = self.options, self.head
        if head.version is not None and options.tag in (None, head.version) and options.bump is None:
            previous = (head.manifest or {})["release"].get("previous")
            same = self._planned(head.version, previous, is_unchanged=True)
            if not same.deleted and all(action == "keep" for action in same.actions.values()):
                return same
        known = highest([*head.tags, *([head.version] if head.version else [])])
        version = options.tag or str(FIRST if known is None else known.bumped(options.bump or self._bump()))
        Version.of_tag(version)
        if version in head.tags:
            raise ReleaseError(
                f"{self.repo_id} has a tag {version} already. Leave {argument('tag')} out for the next version."
            )
        return self._planned(version, head.version, is_unchanged=False)

    def _bump(self) -> str:
        """Minor where anything but texts differs."""
        weights = [_File(name, path) for name, path in self.local.items() if not name.endswith(_TEXTS)]
        same = all(file.is_at(self.head.files.get(file.path)) for file in weights)
        return "patch" if same else "minor"

    def _planned(self, version: str, previous: str | None, *, is_unchanged: bool) -> _Plan:
        texts = dict(self.render(version, self.head.readme)) if self.render is not None else {}
        contents: dict[str, Path | bytes] = {**self.local, **texts}
        record = {"release": {"version": version, "previous": previous}, "files": {name: {} for name in contents}}
        contents[RELEASE_NAME] = (json.dumps(record, indent=2, sort_keys=True) + "\n").encode()
        files = tuple(_File(name, source) for name, source in sorted(contents.items()))
        earlier = (self.head.manifest or {}).get("files", {})
        deleted = tuple(sorted(name for name in earlier if name not in contents and name in self.head.files))
        actions = {file.path: _action(file, self.head.files.get(file.path)) for file in files}
        return _Plan(version, is_unchanged, files, actions, deleted)

    def _commit(self, plan: _Plan, sent: dict[str, Any]) -> CommitInfo | None:
        """Send what is new and commit; None where somebody else was first."""
        from huggingface_hub import CommitOperationDelete
        from huggingface_hub.errors import HfHubHTTPError

        operations: list[Any] = []
        for file in plan.files:
            if plan.actions[file.path] != "keep":
                if file.path not in sent or isinstance(file.source, bytes):
                    sent[file.path] = self._addition(file)
                operations.append(sent[file.path])
            self.progress(file.path, file.size)
        operations += [CommitOperationDelete(name) for name in plan.deleted]
        with hub_errors(self.repo_id, None, self.api.token, what="model", writer=self.api), quiet_xet():
            try:
                return self.api.create_commit(
                    self.repo_id,
                    operations,
                    repo_type="model",
                    commit_message=self.options.message or f"Release {plan.version}",
                    parent_commit=self.head.sha,
                    create_pr=self.options.create_pr,
                )
            except HfHubHTTPError as error:
                if getattr(error.response, "status_code", None) == 412:
                    return None
                raise

    def _addition(self, file: _File) -> Any:
        """The operation that names a file, its content sent unless the Hub has it."""
        from huggingface_hub import CommitOperationAdd

        if isinstance(file.source, bytes):
            return CommitOperationAdd(file.path, file.source)
        with hub_errors(self.repo_id, None, self.api.token, what="model", writer=self.api):
            return sent_ahead(self.api, self.repo_id, "model", file.path, file.source)

    def _tag(self, version: str, commit: str) -> bool:
        from huggingface_hub.errors import HfHubHTTPError

        with hub_errors(self.repo_id, None, self.api.token, what="model", writer=self.api):
            try:
                self.api.create_tag(self.repo_id, tag=version, revision=commit, repo_type="model")
                return True
            except HfHubHTTPError as error:
                if getattr(error.response, "status_code", None) != 409:
                    raise
            refs = self.api.list_repo_refs(self.repo_id, repo_type="model")
        if {tag.name: tag.target_commit for tag in refs.tags}.get(version) not in (None, commit):
            raise ReleaseError(
                f"{self.repo_id}: somebody made a tag {version} just now. Push again with another {argument('tag')}."
            )
        return False

    def _report(
        self, plan: _Plan, commit: str | None, *, changed: bool, tagged: bool = False, pull_request: str | None = None
    ) -> ModelPushReport:
        planned = [PlannedFile(file.path, file.size, plan.actions[file.path]) for file in plan.files]
        planned += [PlannedFile(name, 0, "delete") for name in plan.deleted]
        return ModelPushReport(
            repo_id=self.repo_id,
            version=plan.version,
            commit=commit,
            changed=changed,
            tagged=tagged,
            pull_request=pull_request,
            dry_run=self.options.dry_run,
            files=tuple(sorted(planned, key=lambda file: file.path)),
        )


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


def _action(file: _File, there: RemoteFile | None) -> str:
    if there is None:
        return "add"
    return "keep" if file.is_at(there) else "replace"
