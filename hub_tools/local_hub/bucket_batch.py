"""Files put into a bucket, copied into it and deleted from it, many in one request.

What a batch names is there already: contents come by Xet before. An operation that fails is told of, the others are
done, in one change of the bucket.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from hf_relabel.hub_tools.local_hub.bucket_store import Bucket, BucketFile
from hf_relabel.hub_tools.local_hub.call import Call, answer, text_of
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import check_path, now
from hf_relabel.hub_tools.local_hub.store import REPO_TYPES, Repository
from hf_relabel.hub_tools.local_hub.xet_downloads import hash_of, known_file

Files = dict[str, BucketFile]
FindBucket = Callable[[str], Bucket]


def apply(call: Call, bucket: Bucket, find_bucket: FindBucket) -> Response:
    """Do the operations of a batch, one JSON object per line: `addFile`, `copyFile`, `deleteFile`.

    Args:
        find_bucket: gives a bucket that who asks may read.
    """
    operations, failed = list(_operations(call.body)), []
    with bucket.lock:
        files = bucket.files
        for operation in operations:
            try:
                _do(call, files, operation, find_bucket)
            except HubError as error:
                failed.append({"path": str(operation.get("path")), "error": error.message})
        if len(failed) < len(operations):
            bucket.write_files(files)
    done = len(operations) - len(failed)
    told = {"success": not failed, "processed": len(operations), "succeeded": done, "failed": failed}
    return answer(told, 422 if failed and not done else 200)


def _operations(body: bytes) -> Iterator[dict[str, Any]]:
    for line in body.splitlines():
        try:
            operation = json.loads(line) if line.strip() else None
        except ValueError as error:
            raise HubError(400, "A batch is one JSON object per line.") from error
        if isinstance(operation, dict):
            yield operation
        elif operation is not None:
            raise HubError(400, "A batch is one JSON object per line.")


def _do(call: Call, files: Files, operation: Mapping[str, Any], find_bucket: FindBucket) -> None:
    path, kind = check_path(operation.get("path"), git=True), operation.get("type")
    if kind == "deleteFile":
        if files.pop(path, None) is None:
            raise HubError(404, "There is no such file.")
        return
    if kind not in ("addFile", "copyFile"):
        raise HubError(400, f"Not an operation: {str(kind)[:50]!r}")
    xet_hash = text_of(operation, "xetHash")
    if kind == "copyFile":
        _check_source(call, operation, xet_hash, find_bucket)
    found = known_file(call.hub.xorbs, xet_hash)
    if found is None:
        raise HubError(404, "The content of this hash was not sent.")
    files[path] = BucketFile(xet_hash, *found, _time_of(operation.get("mtime")), now())


def _check_source(call: Call, operation: Mapping[str, Any], xet_hash: str, find_bucket: FindBucket) -> None:
    """Raises: HubError, the source may not be read or holds no such content."""
    kind, name = text_of(operation, "sourceRepoType"), text_of(operation, "sourceRepoId")
    if kind == "bucket":
        has = any(file.xet_hash == xet_hash for file in find_bucket(name).files.values())
    elif f"{kind}s" in REPO_TYPES:
        repository = call.repository(f"{kind}s", name)
        call.readable(repository)
        has = any(xet_hash == hash_of(call.hub.xorbs, sha256) for sha256 in _contents(repository))
    else:
        raise HubError(400, "`sourceRepoType` must be bucket, model, dataset or space.")
    if not has:
        raise HubError(404, f"{name} has no file of this hash.")


def _contents(repository: Repository) -> set[str]:
    """The hashes of all large files of a repository, at any of its commits."""
    commits = (repository.folder / "commits").glob("*.json")
    return {entry.sha256 for commit in commits for entry in repository.tree(commit.stem).values() if entry.lfs}


def _time_of(milliseconds: Any) -> str:
    """A time as the clients send it, as a text; now where they send none that there is."""
    with suppress(TypeError, ValueError, OverflowError, OSError):
        told = datetime.fromtimestamp(milliseconds / 1000, UTC)
        return told.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return now()
