"""Buckets made, listed, moved and deleted: what is asked under /api/buckets and /buckets."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from hf_relabel.hub_tools.local_hub import bucket_batch, bucket_files
from hf_relabel.hub_tools.local_hub.bucket_store import Bucket
from hf_relabel.hub_tools.local_hub.call import Call, answer, text_of
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import check_path
from hf_relabel.hub_tools.local_hub.reading import number_of, page
from hf_relabel.hub_tools.local_hub.writing import token_for_xet
from hf_relabel.hub_tools.local_hub.xet_downloads import READ

PAGE_BUCKETS = 1000
ME = "me"
"""Stands for who asks, where a namespace is wanted."""


def bucket_api(call: Call, rest: list[str]) -> Response:
    """Everything under /api/buckets.

    Args:
        rest: of the path, after that.
    """
    if len(rest) == 1 and call.method == "GET":
        return list_buckets(call, rest[0])
    if len(rest) < 2:
        raise HubError(404, "Not found", "RepoNotFound")
    name = f"{call.signed_in() if rest[0] == ME else rest[0]}/{rest[1]}"
    if len(rest) == 2 and call.method == "POST":
        return create_bucket(call, name)
    bucket = find_bucket(call, name)
    match call.method, rest[2] if len(rest) > 2 else "":
        case "GET", "" if len(rest) == 2:
            return answer(_told_of(bucket))
        case "DELETE", "" if len(rest) == 2:
            return _delete_bucket(call, bucket)
        case "PUT", "settings":
            return _change_settings(call, bucket)
        case "GET", "tree":
            return bucket_files.list_tree(call, bucket, "/".join(rest[3:]))
        case "POST", "paths-info":
            return bucket_files.paths_info(call, bucket)
        case "POST", "batch":
            writable(call, bucket)
            return bucket_batch.apply(call, bucket, lambda bucket_id: find_bucket(call, bucket_id))
        case "GET", "xet-read-token":
            return token_for_xet(call, call.hub.sign_link(READ))
        case "GET", "xet-write-token":
            return token_for_xet(call, call.hub.sign(writable(call, bucket), "xet"))
    raise HubError(404, "Not found")


def resolve(call: Call, rest: list[str]) -> Response:
    """The content of a file, at /buckets/{user}/{name}/resolve/{path}; with `Range` a part of it."""
    if len(rest) < 4 or rest[2] != "resolve" or call.method not in ("GET", "HEAD"):
        raise HubError(404, "Not found")
    return bucket_files.give(call, find_bucket(call, "/".join(rest[:2])), check_path("/".join(rest[3:]), git=True))


def find_bucket(call: Call, bucket_id: str) -> Bucket:
    """A bucket that who asks may read.

    Raises:
        HubError: it does not exist or is private: 401 to nobody, 404 to a user, as the Hub has it.
    """
    found = call.hub.buckets.find(bucket_id)
    if found is None or (found.settings["private"] and not call.hub.store.may_read(call.user, found.owner)):
        status, message = (401, "Invalid username or password.") if call.user is None else (404, "Not found")
        raise HubError(status, message, "RepoNotFound")
    return found


def writable(call: Call, bucket: Bucket) -> str:
    """Who asks, if they may write.

    Raises:
        HubError: 401 nobody, 403 somebody else.
    """
    user = call.signed_in()
    if not call.may_write_for(bucket.owner):
        raise HubError(403, "You don't have the rights to write to this bucket.")
    return user


def list_buckets(call: Call, namespace: str) -> Response:
    """Those of a user or an organisation that who asks may see, with `search` those whose name holds it."""
    owner = call.signed_in() if namespace == ME else namespace
    store, word = call.hub.store, call.query.get("search", "").lower()
    if owner not in store.users and owner not in store.organisations:
        raise HubError(404, "Not found", "RepoNotFound")
    seen = [
        _told_of(bucket)
        for bucket in call.hub.buckets.of(owner)
        if word in bucket.bucket_id.lower() and (not bucket.settings["private"] or store.may_read(call.user, owner))
    ]
    return page(call, seen, number_of(call.query.get("cursor", "0")), PAGE_BUCKETS)


def create_bucket(call: Call, name: str) -> Response:
    values = call.json()
    call.signed_in()
    if not call.may_write_for(name.split("/")[0]):
        raise HubError(403, "You don't have the rights to create a bucket under this namespace.")
    told = {"url": f"{call.url}/buckets/{name}", "name": name, "id": name}
    is_private = values.get("visibility") == "private" or values.get("private") is True
    if not call.hub.buckets.create(name, private=is_private):
        return answer({**told, "error": "You already created this bucket"}, 409)
    return answer(told)


def move_bucket(call: Call) -> Response:
    """Give a bucket another name."""
    values = call.json()
    bucket, target = find_bucket(call, text_of(values, "fromRepo")), text_of(values, "toRepo")
    writable(call, bucket)
    if not call.may_write_for(target.split("/")[0]):
        raise HubError(403, "You don't have the rights to move a bucket there.")
    call.hub.buckets.move(bucket, target)
    return answer({})


def _delete_bucket(call: Call, bucket: Bucket) -> Response:
    writable(call, bucket)
    call.hub.buckets.delete(bucket)
    return answer({})


def _change_settings(call: Call, bucket: Bucket) -> Response:
    writable(call, bucket)
    is_private = call.json().get("private")
    if not isinstance(is_private, bool):
        raise HubError(400, "`private` must be true or false.")
    with bucket.lock:
        bucket.change_settings(private=is_private)
    return answer({"private": is_private})


def _told_of(bucket: Bucket) -> dict[str, Any]:
    settings, files = bucket.settings, bucket.files
    return {
        "_id": bucket.bucket_id,
        "id": bucket.bucket_id,
        "author": bucket.owner,
        "private": settings["private"],
        "createdAt": settings["created"],
        "updatedAt": settings["updated"],
        "size": sum(file.size for file in files.values()),
        "totalFiles": len(files),
    }
