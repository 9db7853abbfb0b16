"""Large files sent ahead of the commit that names them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi


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
