"""The config `human` of a data set: files of events are committed to it, and those of others are read.

A file is replaced only by one that holds all of its events, so sending it twice changes nothing. Each commit names the
commit that it follows; where somebody else was first, it is worked out anew on top of theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import CardError, ReleaseError
from hf_relabel.builders.readme.front_matter import Readme
from hf_relabel.hub_tools.hub.commit import Repository
from hf_relabel.hub_tools.releases.repository import README_NAME
from hf_relabel.hub_tools.space.people.answer_events import HUMAN, Event
from hf_relabel.hub_tools.space.people.event_files import events_in_parquet, parquet_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_ATTEMPTS = 30
"""Commits of others that one attempt may run into."""
_MOST_BYTES = 50_000_000
"""Larger files in the folder are not ours, and are not read."""


class Busy(ReleaseError):
    """The Hub asks for patience: too many requests, or it cannot answer at the moment."""


class Unread(ReleaseError):
    """The Hub gave some of the files of answers, and not all."""


@dataclass(frozen=True, slots=True)
class _Head:
    """The main branch at one commit, with the files of answers: an id of their content by path."""

    sha: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _File:
    """A file of answers: an id of its content, its events, and whether it holds nothing else."""

    oid: str
    events: frozenset[Event]
    is_ours: bool


@dataclass(frozen=True, slots=True)
class _Done:
    """The Hub has everything: by this commit, or before."""

    commit: str | None


class HumanConfig:
    """The config `human` of a data set on the Hub.

    Args:
        token: None takes the stored token or `HF_TOKEN`.
    """

    def __init__(self, repo_id: str, token: str | bool | None) -> None:
        from huggingface_hub import HfApi

        self.repo_id = repo_id
        self.api: HfApi = HfApi(token=token)
        self._repository = Repository(self.api, repo_id, busy=Busy, names_account=False)
        self._known: dict[str, _File] = {}
        self._given: dict[str, str] = {}

    def read(self, take: Callable[[Iterable[Event]], object]) -> None:
        """Give the events of every file that is new or has grown since it was given last.

        A file counts as given when `take` has returned, so what cannot be read now is given the next time, and keeps
        none of the others back.

        Raises:
            ReleaseError: the Hub cannot be asked.
            Unread: it does not give one of the files.
        """
        failed: list[ReleaseError] = []
        with self._repository.errors():
            head = self._head()
        for path in head.files:
            try:
                with self._repository.errors():
                    file = self._file(head, path)
            except ReleaseError as error:
                failed.append(error)
                continue
            if self._given.get(path) != file.oid:
                take(file.events)
                self._given[path] = file.oid
        if failed:
            raise Unread(str(failed[0])) from failed[0]

    def send(self, runs: Mapping[str, Sequence[Event]]) -> str | None:
        """Commit what is not there yet. Returns the commit, None where everything was there.

        Args:
            runs: all events by the run that they are of.

        Raises:
            Busy: the Hub asks for patience.
            ReleaseError: it would not take them.
            CardError: the README.md cannot be merged with.
        """
        return self._repository.until_first(
            lambda: self._attempt(runs), then="They are sent again.", attempts=_ATTEMPTS
        ).commit

    def _attempt(self, runs: Mapping[str, Sequence[Event]]) -> _Done | None:
        with self._repository.errors():
            head = self._head()
            files = dict(self._missing(head, runs))
            return self._commit(head, files) if files else _Done(None)

    def _missing(self, head: _Head, runs: Mapping[str, Sequence[Event]]) -> Iterator[tuple[str, Sequence[Event]]]:
        """The files to write, by their path: those of runs of which the Hub does not have every event."""
        for run, events in sorted(runs.items()):
            path = self._place(head, run, frozenset(events)) if events else None
            if path is not None:
                yield path, events

    def _place(self, head: _Head, run: str, events: frozenset[Event]) -> str | None:
        """Where the events of a run are to be written, None where the Hub has them all.

        A file that holds anything else was changed by somebody. It stays, and ours goes beside it: events that are in
        both count once.
        """
        for copy in range(1, 100):
            path = f"{HUMAN}/{run}.parquet" if copy == 1 else f"{HUMAN}/{run}-{copy}.parquet"
            if path not in head.files:
                return path
            there = self._file(head, path)
            if there.events >= events:
                return None
            if there.is_ours and there.events <= events:
                return path
        raise ReleaseError(f"{self.repo_id}: {HUMAN}/{run}.parquet is there a hundred times. Remove some of them.")

    def _file(self, head: _Head, path: str) -> _File:
        known = self._known.get(path)
        if known is None or known.oid != head.files[path]:
            events, others = events_in_parquet(self._content(path, head.sha))
            known = self._known[path] = _File(head.files[path], frozenset(events), not others)
        return known

    def _commit(self, head: _Head, files: Mapping[str, Sequence[Event]]) -> _Done | None:
        """Commit on top of the head that was read; None where there is a newer one."""
        from huggingface_hub import CommitOperationAdd

        contents = {path: parquet_of(events) for path, events in files.items()}
        readme = self._readme(head.sha)
        merged = with_human(readme, self.repo_id)
        if merged != readme:
            contents[README_NAME] = merged.encode()
        total = sum(map(len, files.values()))
        counted = f"{total} in {len(files)} {'file' if len(files) == 1 else 'files'}"
        operations = [CommitOperationAdd(path, content) for path, content in contents.items()]
        done = self._repository.commit(operations, f"Answers of people ({counted})", head.sha)
        if done is None:
            return None
        for path, events in files.items():
            oid = hashlib.sha256(contents[path]).hexdigest()
            self._known[path] = _File(oid, frozenset(events), is_ours=True)
        return _Done(str(done.oid))

    def _head(self) -> _Head:
        from huggingface_hub.errors import EntryNotFoundError
        from huggingface_hub.hf_api import RepoFile

        sha = str(self.api.repo_info(self.repo_id, repo_type="dataset").sha)
        files = {}
        try:
            for entry in self.api.list_repo_tree(self.repo_id, HUMAN, repo_type="dataset", revision=sha):
                if isinstance(entry, RepoFile) and entry.path.endswith(".parquet") and entry.size <= _MOST_BYTES:
                    files[entry.path] = str(entry.lfs.sha256 if entry.lfs else entry.blob_id)
        except EntryNotFoundError:
            files = {}
        return _Head(sha, files)

    def _readme(self, sha: str) -> str | None:
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return self._content(README_NAME, sha).decode("utf-8")
        except EntryNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise CardError(f"{self.repo_id}: README.md is not UTF-8 text. Correct or remove it.") from error

    def _content(self, path: str, sha: str) -> bytes:
        from huggingface_hub import hf_hub_url

        # Public names (docs, "Utilities"), which the package does not mark as such for type checkers.
        from huggingface_hub.utils import (  # type: ignore[attr-defined, unused-ignore]
            build_hf_headers,
            get_session,
            hf_raise_for_status,
        )

        url = hf_hub_url(self.repo_id, path, repo_type="dataset", revision=sha)
        response = get_session().get(url, headers=build_hf_headers(token=self.api.token), timeout=60)
        hf_raise_for_status(response)
        return bytes(response.content)


def with_human(readme: str | None, repo_id: str) -> str:
    """A README.md whose front matter names the config `human`. All else stays as it is, byte for byte.

    Raises:
        CardError: the front matter cannot be read or edited.
    """
    parsed = Readme.parse("" if readme is None else readme)
    try:
        metadata = parsed.metadata()
        configs = metadata.get("configs") or []
        if not isinstance(configs, list):
            raise CardError("README.md: `configs` in the front matter must be a list, each entry with a config_name.")
        merged = human_config(configs)
        if merged == configs and readme is not None:
            return readme
        return parsed.with_values({"configs": merged}).with_body(parsed.body)
    except CardError as error:
        raise CardError(f"{repo_id}: {error}") from error


def human_config(configs: Sequence[Any]) -> list[Any]:
    """The `configs` of a front matter with the config `human` in its place, or at the end."""
    ours = {"config_name": HUMAN, "data_files": [{"split": "train", "path": f"{HUMAN}/*.parquet"}]}
    names = [each.get("config_name") if isinstance(each, dict) else None for each in configs]
    if HUMAN not in names:
        return [*configs, ours]
    place = names.index(HUMAN)
    return [*configs[:place], ours, *configs[place + 1 :]]
