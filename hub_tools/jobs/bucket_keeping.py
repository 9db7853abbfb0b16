"""A Job's journal and outputs kept in a private bucket of the user, below `work/`.

A bucket has no history: the newest journal takes the place of the one before, in one step, so that a reader has the one
or the other whole. Only its chunks that changed are sent (Xet). What was carried along stands in the data set that the
Job was submitted with, and so does what was kept there before there were buckets, which is read once.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hf_relabel.builders.errors import JobError
from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.hub.commit import Repository
from hf_relabel.hub_tools.jobs.journal_snapshot import digest_of, send_changed
from hf_relabel.hub_tools.jobs.keeping import FIRST_WAIT, MOST_ATTEMPTS, WORK
from hf_relabel.hub_tools.jobs.service import ServiceAway

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub._buckets import BucketFile

_UNFINISHED = [".*", "*/.*", "*.tmp", "*-wal", "*-shm", "*.lock"]


@dataclass
class KeptInBucket:
    """The kept state of one job.

    Attributes:
        repo_id: of the private bucket, and of the data set that the job was submitted with.
        folder: where the run works.
        journal, outputs: paths in it, as `portable.written` gives them.
        carried: paths in it of what was carried along.
        from_history: after `restore`, whether the journal is one that was kept in commits of the data set.
    """

    api: HfApi
    repo_id: str
    folder: Path
    journal: str
    outputs: Sequence[str]
    carried: Sequence[str] = ()
    from_history: bool = False
    wait: Callable[[float], None] = field(default=time.sleep)
    _there: BucketFile | None = None
    _saved: str | None = None
    _tried: set[str] = field(default_factory=set)

    @property
    def place(self) -> str:
        """What is kept where, for people."""
        return f"hf://buckets/{self.repo_id}"

    @property
    def _bucket(self) -> Repository:
        return Repository(self.api, self.repo_id, "bucket", error=JobError, busy=ServiceAway, names_account=False)

    @property
    def _data_set(self) -> Repository:
        return Repository(self.api, self.repo_id, error=JobError, busy=ServiceAway, names_account=False)

    def restore(self) -> int:
        """Fetch what is kept into the folder, and give how many files that was.

        Raises:
            JobError: the bucket or the data set cannot be read.
        """
        with tempfile.TemporaryDirectory() as fetched:
            with self._bucket.errors(), _quiet():
                self._there = self._journal_there()
                self.api.sync_bucket(f"{self.place}/{WORK}", fetched, quiet=True)
            kept = _files(Path(fetched))
            before = self._fetch_data_set(every=not kept)
            if kept:
                shutil.copytree(fetched, self.folder, dirs_exist_ok=True)
        journal = self.folder / self.journal
        journal.parent.mkdir(parents=True, exist_ok=True)  # the machine is new: nobody else makes it
        self.from_history = self._there is None and self.journal in before and self.journal not in self.carried
        if journal.is_file() and self._there is not None:
            self._saved = digest_of(journal)
        return len({*kept, *before})

    def save_journal(self) -> int | None:
        """Save the journal as it is now, written to or not, and give how many judgements it holds; None where nothing
        is new.

        Raises:
            JobError: the Hub would not take it, or another run saves into the same bucket.
        """

        def send(copy: Path, digest: str) -> None:
            self._send(lambda: self._send_journal(copy, digest))

        sent = send_changed(self.folder / self.journal, self._saved, send)
        if sent is None:
            return None
        judgements, self._saved = sent
        return judgements

    def save_outputs(self) -> list[str]:
        """Save what the run has written besides the journal, and give the paths.

        Raises:
            JobError: the Hub would not take it.
        """
        there = [path for path in self.outputs if (self.folder / path).exists()]
        for path in there:
            self._send(lambda path=path: self._send_output(path))  # type: ignore[misc]
        return there

    def _send(self, send: Callable[[], None]) -> None:
        """Send, and again while the Hub cannot be reached or somebody else writes to the bucket."""

        def sent() -> bool:
            with _quiet():
                send()
            return True

        self._bucket.until_first(
            lambda: self._bucket.unless_moved(sent),
            then="Submit the job again.",
            attempts=MOST_ATTEMPTS,
            wait=lambda number: self.wait(FIRST_WAIT * 2 ** (number - 1)),
            through=(ServiceAway,),
        )

    def _send_journal(self, copy: Path, digest: str) -> None:
        self._refuse_another_run()
        self._tried.add(digest)
        self.api.batch_bucket_files(self.repo_id, add=[(str(copy), f"{WORK}/{self.journal}")])
        self._there = self._journal_there()
        self._tried.clear()

    def _refuse_another_run(self) -> None:
        """Two runs would overwrite each other's judgements. A bucket takes what comes last, so the one that saves next
        is told."""
        there = self._journal_there()
        # One of ours may have arrived though its answer did not.
        if _hash(there) != _hash(self._there) and not (there is not None and self._is_ours(there)):
            raise JobError(
                f"{self.place}: another run saves its journal there. Stop one of the two; "
                f"`{program()} jobs list` shows them."
            )

    def _is_ours(self, there: BucketFile) -> bool:
        if not self._tried:
            return False
        with tempfile.TemporaryDirectory() as folder:
            fetched = Path(folder, "there")
            self.api.download_bucket_files(self.repo_id, [(there, fetched)])
            return digest_of(fetched) in self._tried

    def _send_output(self, path: str) -> None:
        source = self.folder / path
        if source.is_file():
            self.api.batch_bucket_files(self.repo_id, add=[(str(source), f"{WORK}/{path}")])
        else:
            target = f"{self.place}/{WORK}/{path}"
            self.api.sync_bucket(str(source), target, delete=True, exclude=_UNFINISHED, quiet=True)

    def _journal_there(self) -> BucketFile | None:
        return next(iter(self.api.get_bucket_paths_info(self.repo_id, [f"{WORK}/{self.journal}"])), None)

    def _fetch_data_set(self, *, every: bool) -> set[str]:
        """What stands in the data set, and which files that were.

        Args:
            every: what was kept there too, not only what was carried along.
        """
        wanted = [f"{WORK}/**", f"{WORK}/*"] if every else [f"{WORK}/{path}" for path in self.carried]
        if not wanted:
            return set()
        with self._data_set.errors(), tempfile.TemporaryDirectory() as fetched:
            self.api.snapshot_download(self.repo_id, repo_type="dataset", allow_patterns=wanted, local_dir=fetched)
            source = Path(fetched, WORK)
            found = _files(source) if source.is_dir() else set()
            if found:
                shutil.copytree(source, self.folder, dirs_exist_ok=True)
        return found


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _hash(file: BucketFile | None) -> str | None:
    return None if file is None else file.xet_hash


@contextmanager
def _quiet() -> Iterator[None]:
    """`sync_bucket` puts progress bars on again, and warns where the environment does not let it."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars

    were_off = are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Cannot (en|dis)able progress bars")
        yield
        if were_off:
            disable_progress_bars()
