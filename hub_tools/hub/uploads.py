"""Large files sent ahead of the commit that names them, in groups: the Hub is asked a few times for each group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

GROUP_BYTES = 64 << 20
"""A group is sent when it is as large. What is less goes with the commit, and again where that does not come about."""


class Outgoing:
    """Files on their way into one commit.

        outgoing = Outgoing(api, "user/set", "dataset")
        for name, path in files.items():
            outgoing.add(name, path)
        api.create_commit("user/set", outgoing.operations(), …)

    Args:
        create_pr: the commit opens a pull request, for which one need not be allowed to write.
        sent: called with each file that need not be there any longer.
    """

    def __init__(
        self,
        api: HfApi,
        repo_id: str,
        repo_type: str,
        *,
        create_pr: bool = False,
        sent: Callable[[Path], None] = lambda path: None,
    ) -> None:
        self.api, self.repo_id, self.repo_type = api, repo_id, repo_type
        self._create_pr, self._sent = create_pr, sent
        self._done: dict[str, CommitOperationAdd] = {}
        self._group: dict[str, Path] = {}
        self._bytes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._done or name in self._group

    def add(self, name: str, path: Path) -> None:
        """Take a file, and send it with those that wait where they are enough."""
        self._group[name] = path
        self._bytes += path.stat().st_size
        if self._bytes >= GROUP_BYTES:
            self._send()

    def operations(self) -> dict[str, CommitOperationAdd]:
        """By name what puts each file into a commit, which sends those that wait still: they have to be there."""
        from huggingface_hub import CommitOperationAdd

        self._done |= {name: CommitOperationAdd(name, str(path)) for name, path in self._group.items()}
        self._group, self._bytes = {}, 0
        return self._done

    def _send(self) -> None:
        from huggingface_hub import CommitOperationAdd

        group, self._group, self._bytes = self._group, {}, 0
        operations = {name: CommitOperationAdd(name, str(path)) for name, path in group.items()}
        there = stored(self.api, self.repo_id, self.repo_type, [*operations.values()])
        with ExitStack() as files, quiet_xet():
            # The client asks the LFS endpoint what it has only where it is given open files; given paths it sends by
            # Xet, which saves chunks that are there, but starts a file that is not committed over.
            known = {name: files.enter_context(path.open("rb")) for name, path in group.items() if name in there}
            again = {name: CommitOperationAdd(name, file) for name, file in known.items()}
            new = [operation for name, operation in operations.items() if name not in there]
            for each in (new, [*again.values()]):
                if each:
                    self.api.preupload_lfs_files(
                        self.repo_id, each, repo_type=self.repo_type, create_pr=self._create_pr
                    )
        for name, operation in {**operations, **again}.items():
            if operation._is_uploaded:
                self._done[name] = operation
                self._sent(group[name])
            else:  # small ones travel with the commit, which reads them
                self._done[name] = CommitOperationAdd(name, str(group[name]))


def stored(api: HfApi, repo_id: str, repo_type: str, operations: Sequence[CommitOperationAdd]) -> set[str]:
    """The names of those whose content the Hub has, in a commit or sent before one."""
    from huggingface_hub.lfs import post_lfs_batch_info

    from hf_relabel.hub_tools.hub.api import patiently

    actions, _, _ = patiently(
        post_lfs_batch_info,
        [operation.upload_info for operation in operations],
        token=api.token if isinstance(api.token, str) else None,
        repo_type=repo_type,
        repo_id=repo_id,
        endpoint=api.endpoint,
    )
    there = {action["oid"] for action in actions if action.get("actions") is None}
    return {operation.path_in_repo for operation in operations if operation.upload_info.sha256.hex() in there}


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
