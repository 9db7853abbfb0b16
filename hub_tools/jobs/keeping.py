"""A Job's journal and outputs kept in commits of a private data set of the user, below `work/`.

A Job's own disk is gone when it ends. So the journal is saved at intervals and everything at the end, and the next Job
over the same repository starts from what is there: what was judged is not judged again. Every journal that was saved
stays in the history. `bucket_keeping` keeps the newest only, and is what is done unless a Hub has no buckets.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import JobError
from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.hub.commit import Repository
from hf_relabel.hub_tools.jobs.journal_snapshot import digest_of, send_changed
from hf_relabel.hub_tools.jobs.service import ServiceAway
from hf_relabel.hub_tools.releases.repository import RemoteFile

if TYPE_CHECKING:
    from huggingface_hub import HfApi

WORK = "work"
"""Folder of the repository that holds what is kept."""
MOST_ATTEMPTS = 5
FIRST_WAIT = 2.0
"""Seconds before the second attempt to save; doubled each time."""
_UNFINISHED = ["**/.*", ".*", "**/*.tmp", "*.tmp", "**/*-wal", "**/*-shm", "**/*.lock"]


@dataclass
class Kept:
    """The kept state of one job.

    Attributes:
        repo_id: of the private data set.
        folder: where the run works.
        journal, outputs: paths in it, as `portable.written` gives them.
    """

    api: HfApi
    repo_id: str
    folder: Path
    journal: str
    outputs: Sequence[str]
    _head: str | None = None
    _remote_journal: RemoteFile | None = None
    _saved: str | None = None
    _tried: set[str] = field(default_factory=set)
    wait: Callable[[float], None] = field(default=time.sleep)

    @property
    def place(self) -> str:
        """What is kept where, for people."""
        return self.repo_id

    @property
    def _repository(self) -> Repository:
        return Repository(self.api, self.repo_id, error=JobError, busy=ServiceAway, names_account=False)

    def restore(self) -> int:
        """Fetch what is kept into the folder, and give how many files that was.

        Raises:
            JobError: the repository cannot be read.
        """
        with self._repository.errors(), tempfile.TemporaryDirectory() as fetched:
            self._head = str(self.api.dataset_info(self.repo_id).sha)
            self.api.snapshot_download(
                self.repo_id,
                repo_type="dataset",
                revision=self._head,
                allow_patterns=[f"{WORK}/**", f"{WORK}/*"],
                local_dir=fetched,
            )
            self._remote_journal = self._journal_at(self._head)
            source = Path(fetched, WORK)
            files = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else []
            if files:
                shutil.copytree(source, self.folder, dirs_exist_ok=True)
        journal = self.folder / self.journal
        journal.parent.mkdir(parents=True, exist_ok=True)  # the machine is new: nobody else makes it
        if journal.is_file():
            self._saved = digest_of(journal)
        return len(files)

    def save_journal(self) -> int | None:
        """Save the journal as it is now, written to or not, and give how many judgements it holds; None where nothing
        is new.

        Raises:
            JobError: the Hub would not take it, or another run saves into the same repository.
        """

        def send(copy: Path, digest: str) -> None:
            self._tried.add(digest)
            self._send(lambda: self._send_journal(copy))
            self._tried.clear()

        sent = send_changed(self.folder / self.journal, self._saved, send)
        if sent is None:
            return None
        judgements, self._saved = sent
        return judgements

    def save_outputs(self) -> list[str]:
        """Save what the run has written besides the journal, and give the paths.

        Raises:
            JobError: the Hub would not take it, or another run saves into the same repository.
        """
        there = [path for path in self.outputs if (self.folder / path).exists()]
        for path in there:
            self._send(partial(self._send_output, path))
        return there

    def _send_journal(self, copy: Path) -> Any:
        from huggingface_hub import CommitOperationAdd

        operation = CommitOperationAdd(f"{WORK}/{self.journal}", str(copy))
        done = self._repository.commit([operation], "Save the journal", self._head)
        if done is not None:
            with self._repository.errors():
                self._remote_journal = self._journal_at(done.oid)
        return done

    def _send_output(self, path: str) -> Any:
        source, target = self.folder / path, f"{WORK}/{path}"
        place: dict[str, Any] = {
            "path_in_repo": target,
            "repo_id": self.repo_id,
            "repo_type": "dataset",
            "commit_message": f"Save {path}",
            "parent_commit": self._head,
        }
        if source.is_file():
            return self._repository.unless_moved(lambda: self.api.upload_file(path_or_fileobj=str(source), **place))
        return self._repository.unless_moved(
            lambda: self.api.upload_folder(
                folder_path=str(source), ignore_patterns=_UNFINISHED, delete_patterns=["*", "**/*"], **place
            )
        )

    def _send(self, send: Callable[[], Any]) -> None:
        """Commit on top of the head, and again while the Hub cannot be reached or somebody else was first."""
        done = self._repository.until_first(
            send,
            again=self._refuse_another_run,
            then="Submit the job again.",
            attempts=MOST_ATTEMPTS,
            wait=lambda number: self.wait(FIRST_WAIT * 2 ** (number - 1)),
            through=(ServiceAway,),
        )
        self._head = str(done.oid)

    def _refuse_another_run(self) -> None:
        """Look at what moved. A card that somebody wrote is no harm, another run's journal is: two runs would overwrite
        each other's judgements."""
        with self._repository.errors():
            self._head = str(self.api.dataset_info(self.repo_id).sha)
            there = self._journal_at(self._head)
            # One of ours may have arrived though its answer did not.
            is_ours = there == self._remote_journal or (there is not None and self._is_ours())
        if not is_ours:
            raise JobError(
                f"{self.repo_id}: another run saves its journal there. Stop one of the two; "
                f"`{program()} jobs list` shows them."
            )

    def _is_ours(self) -> bool:
        """Whether the journal at the head is one that was sent."""
        if not self._tried:
            return False
        name = f"{WORK}/{self.journal}"
        with tempfile.TemporaryDirectory() as folder:
            fetched = self.api.hf_hub_download(
                self.repo_id, name, repo_type="dataset", revision=self._head, local_dir=folder
            )
            return digest_of(Path(fetched)) in self._tried

    def _journal_at(self, revision: str | None) -> RemoteFile | None:
        from huggingface_hub.hf_api import RepoFile

        path = f"{WORK}/{self.journal}"
        for entry in self.api.get_paths_info(self.repo_id, [path], revision=revision, repo_type="dataset"):
            if isinstance(entry, RepoFile):
                return RemoteFile(entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
        return None
