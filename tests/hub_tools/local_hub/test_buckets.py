"""Buckets of the local Hub: what no client would send, and what stays. The clients have their own suite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.hub_tools.local_hub import LocalHub
from hf_relabel.hub_tools.local_hub.bucket_files import list_tree
from hf_relabel.hub_tools.local_hub.bucket_store import Bucket, BucketFile, Buckets
from hf_relabel.hub_tools.local_hub.call import Call, Hub
from hf_relabel.hub_tools.local_hub.xet import XetFile
from hf_relabel.hub_tools.local_hub.xet_downloads import note_file
from tests.hub_tools.local_hub.test_local_hub import Web

API = "/api/buckets/user/kept"
XET = "0" * 63 + "7"
"""The Xet hash of a content that was sent."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub(tmp_path_factory.mktemp("hub"), users={"user": "hf_user", "other": "hf_other"}) as hub:
        inside = Hub.at(hub.root)
        note_file(inside.xorbs, XetFile((), "", XET), inside.objects.put(b"abc"))
        yield hub


@pytest.fixture
def web(hub: LocalHub) -> Iterator[Web]:
    found = Web(hub.url, hub.tokens["user"])
    assert found.ask("POST", API, {})[0] == 200
    yield found
    assert found.ask("DELETE", API)[0] == 200


def batch(web: Web, *operations: Any) -> tuple[int, Any]:
    lines = [operation if isinstance(operation, str) else json.dumps(operation) for operation in operations]
    status, _, body = web.ask("POST", f"{API}/batch", "\n".join(lines).encode())
    return status, json.loads(body)


def put(path: Any, **values: Any) -> dict[str, Any]:
    return {"type": "addFile", "path": path, "xetHash": XET, "mtime": 1_700_000_000_123, **values}


def test_a_file_keeps_the_time_that_it_was_changed_at(web: Web) -> None:
    assert batch(web, put("a.txt"))[0] == 200
    (told,) = web.get_json(f"{API}/tree")
    assert (told["mtime"], told["xetHash"]) == ("2023-11-14T22:13:20.123Z", XET)


@pytest.mark.parametrize("mtime", [None, "yesterday", True, 1e30, -1e30, [1]])
def test_a_time_that_is_none_is_now(web: Web, mtime: Any) -> None:
    assert batch(web, put("a.txt", mtime=mtime))[0] == 200
    assert web.get_json(f"{API}/tree")[0]["mtime"].endswith("Z")


@pytest.mark.parametrize("path", ["../up", "/root", "a//b", "a/./b", "", None, 7, "a\\b", "a\nb", "x" * 2000])
def test_paths_that_lead_elsewhere_fail_and_the_others_are_there(web: Web, path: Any) -> None:
    status, told = batch(web, put(path), put("good.txt"))
    assert (status, len(told["failed"])) == (200, 1)
    assert [entry["path"] for entry in web.get_json(f"{API}/tree")] == ["good.txt"]


@pytest.mark.parametrize(
    "operation",
    [
        {"type": "renameFile", "path": "a"},
        {"type": "addFile", "path": "a"},
        {"type": "addFile", "path": "a", "xetHash": "../../users.json"},
        {"type": "addFile", "path": "a", "xetHash": "0" * 63 + "8"},
        {"type": "copyFile", "path": "a", "xetHash": XET},
        {"type": "copyFile", "path": "a", "xetHash": XET, "sourceRepoType": "kernel", "sourceRepoId": "user/a"},
        {"type": "copyFile", "path": "a", "xetHash": XET, "sourceRepoType": "bucket", "sourceRepoId": "user/kept"},
        {"type": "copyFile", "path": "a", "xetHash": XET, "sourceRepoType": "bucket", "sourceRepoId": "a/../b"},
        {"type": "deleteFile", "path": "a"},
    ],
)
def test_an_operation_that_cannot_be_done_says_so(web: Web, operation: dict[str, Any]) -> None:
    status, told = batch(web, operation)
    assert status == 422
    assert [failure["path"] for failure in told["failed"]] == ["a"]
    assert told["failed"][0]["error"]
    assert web.get_json(f"{API}/tree") == []


@pytest.mark.parametrize("line", ["not JSON", "[]", '"text"', "7"])
def test_what_is_no_batch_is_refused_whole(web: Web, line: str) -> None:
    assert batch(web, put("a.txt"), line)[0] == 400
    assert web.get_json(f"{API}/tree") == []


def test_writing_wants_its_owner(web: Web, hub: LocalHub) -> None:
    batch(web, put("a.txt"))
    other, nobody = Web(hub.url, hub.tokens["other"]), Web(hub.url, None)
    assert other.ask("GET", f"{API}/xet-write-token")[0] == 403
    assert nobody.ask("GET", f"{API}/xet-write-token")[0] == 401
    assert nobody.ask("GET", f"{API}/xet-read-token")[0] == 200
    web.ask("PUT", f"{API}/settings", {"private": True})
    for refused, status in ((other, 404), (nobody, 401)):
        for path in (f"{API}/xet-read-token", f"{API}/tree", API, "/buckets/user/kept/resolve/a.txt"):
            answer = refused.ask("GET", path)
            assert (answer[0], answer[1]["x-error-code"]) == (status, "RepoNotFound")


@pytest.mark.parametrize("values", [{}, {"private": "yes"}])
def test_a_setting_that_is_none_is_refused(web: Web, values: dict[str, Any]) -> None:
    assert web.ask("PUT", f"{API}/settings", values)[0] == 400


@pytest.mark.parametrize("name", ["a--b", "..", "a.git", "-a", "a%20b"])
def test_odd_names_are_refused(web: Web, name: str) -> None:
    assert web.ask("POST", f"/api/buckets/user/{name}", {})[0] == 400


def test_what_the_hub_has_and_this_has_not_is_not_found(web: Web) -> None:
    assert web.ask("GET", f"{API}/events")[0] == 404
    assert web.ask("GET", "/buckets/user/kept/raw/a.txt")[0] == 404


def test_a_folder_of_before_is_served_again_with_its_buckets(tmp_path: Path) -> None:
    first = Hub.at(tmp_path)
    first.buckets.create("user/kept", private=True)
    (tmp_path / "buckets" / "user" / "kept" / ".files.json.1.tmp").write_text("half")
    again = Buckets(first.store).find("user/kept")
    assert again is not None
    assert again.settings["private"]
    assert not list(again.folder.glob(".*"))


def test_folders_tell_of_what_came_last(tmp_path: Path) -> None:
    hub = Hub.at(tmp_path)
    hub.buckets.create("user/kept")
    bucket = hub.buckets.find("user/kept")
    assert isinstance(bucket, Bucket)
    times = {"a/1": "2026-01-01", "a/2": "2026-03-01", "a/b/3": "2026-02-01"}
    bucket.write_files({path: BucketFile(XET, XET, 3, time, time) for path, time in times.items()})
    call = Call(hub, "GET", [], {"recursive": "false"}, {}, b"", "", "user")
    assert json.loads(bytes(list_tree(call, bucket, "").body)) == [
        {"type": "directory", "path": "a", "uploadedAt": "2026-03-01"}
    ]
