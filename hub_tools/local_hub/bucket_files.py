"""The files of a bucket: listed, told of and given."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from hf_relabel.hub_tools.local_hub.bucket_store import Bucket, BucketFile
from hf_relabel.hub_tools.local_hub.call import Call, answer
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.reading import PAGE_ENTRIES, give_content, number_of, page

MOST_PATHS = 1000
"""Of one question about paths, as the clients ask."""


def list_tree(call: Call, bucket: Bucket, prefix: str) -> Response:
    """The files whose path starts with a prefix; with `recursive=false` those of one folder, and the folders in it.

    A prefix is the start of a text: below `logs` there are also `logs.json` and what is in `logs-old`, as the Hub has
    it. Its clients leave these out.
    """
    files = {path: file for path, file in bucket.files.items() if path.startswith(prefix)}
    if call.query.get("recursive", "true").lower() in ("true", "1"):
        found = [_file(path, file) for path, file in files.items()]
    else:
        found = _one_level(files, prefix)
    size = number_of(call.query.get("limit", str(PAGE_ENTRIES))) or PAGE_ENTRIES
    return page(call, found, number_of(call.query.get("cursor", "0")), min(size, PAGE_ENTRIES))


def _one_level(files: dict[str, BucketFile], prefix: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path, file in files.items():
        rest = path[len(prefix) :]
        inside = rest.lstrip("/").partition("/")
        if not inside[1]:
            found[path] = _file(path, file)
            continue
        folder = path[: len(path) - len(inside[2]) - 1]
        newest = max(file.uploaded, found.get(folder, {}).get("uploadedAt", ""))
        found[folder] = {"type": "directory", "path": folder, "uploadedAt": newest}
    return [found[path] for path in sorted(found)]


def paths_info(call: Call, bucket: Bucket) -> Response:
    """What is known of files; those that are not there are left out."""
    paths = call.json().get("paths")
    if not isinstance(paths, list) or len(paths) > MOST_PATHS:
        raise HubError(400, f"`paths` must be a list of at most {MOST_PATHS}.")
    files = bucket.files
    return answer([_file(path, files[path]) for path in map(str, paths) if path in files])


def give(call: Call, bucket: Bucket, path: str) -> Response:
    """The content of a file. Its Xet hash is told always: the clients get files of buckets by Xet only."""
    file = bucket.files.get(path)
    if file is None:
        raise HubError(404, "Entry not found", "EntryNotFound")
    refresh = f"{call.url}/api/buckets/{bucket.bucket_id}/xet-read-token"
    headers = {
        "ETag": f'"{file.xet_hash}"',
        "X-Linked-Etag": f'"{file.xet_hash}"',
        "X-Linked-Size": str(file.size),
        "X-Xet-Hash": file.xet_hash,
        "Link": f'<{refresh}>; rel="xet-auth"',
    }
    return give_content(call, path, file.sha256, headers, from_cdn=call.hub.cdn)


def _file(path: str, file: BucketFile) -> dict[str, Any]:
    return {
        "type": "file",
        "path": path,
        "size": file.size,
        "xetHash": file.xet_hash,
        "mtime": file.mtime,
        "uploadedAt": file.uploaded,
    }
