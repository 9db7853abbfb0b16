"""The local Hub by itself: what it refuses, and what it keeps when it is killed. The clients have their own suite."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import random
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import RateLimitInfo, parse_ratelimit_headers
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.local_hub import LocalHub
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import check_path
from hf_relabel.hub_tools.local_hub.rate_limit import RateLimit
from hf_relabel.hub_tools.local_hub.store import NAME, Store
from hf_relabel.hub_tools.local_hub.xet import XetFile, Xorbs, files_of_shard, hash_text
from tests.hub_tools.releases.test_push_killed import serving

REPO = "user/set"


class Web:
    """Plain HTTP, to send what no client would."""

    def __init__(self, url: str, token: str | None) -> None:
        self.address, self.token = url.removeprefix("http://"), token

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=120)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if self.token and "Authorization" not in sent:
                sent["Authorization"] = f"Bearer {self.token}"
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def commit(self, *operations: dict[str, Any], parent: str | None = None, repo: str = REPO) -> tuple[int, Any]:
        header = {"summary": "a change", "description": "", **({"parentCommit": parent} if parent else {})}
        lines = [{"key": "header", "value": header}, *operations]
        body = "\n".join(json.dumps(line) for line in lines).encode()
        status, _, answer = self.ask("POST", f"/api/datasets/{repo}/commit/main", body)
        return status, json.loads(answer)

    def get_json(self, path: str) -> Any:
        return json.loads(self.ask("GET", path)[2])


def file(path: str, content: bytes) -> dict[str, Any]:
    return {"key": "file", "value": {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with LocalHub(tmp_path / "hub", log=tmp_path / "log.jsonl") as hub:
        found = Web(hub.url, hub.token)
        assert found.ask("POST", "/api/repos/create", {"name": "set", "type": "dataset"})[0] == 200
        yield found


def test_where_errors_send_people_for_a_token_it_is_said_how_to_get_one(web: Web) -> None:
    status, headers, said = web.ask("GET", "/settings/tokens")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/plain")
    assert b"hub serve FOLDER --user NAME" in said
    assert web.token is not None
    assert web.token.encode() not in said


BAD_PATHS = [
    "../up", "a/../b", "/etc/passwd", "a//b", "a/./b", ".git/config", "a/.GIT/x", "a\\b", "nul\0", "line\nbreak", "",
    "x" * 2000, ".", "..", "a/..",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_lead_elsewhere_are_refused(web: Web, path: str) -> None:
    assert web.commit(file(path, b"x"))[0] == 400
    assert [entry["path"] for entry in web.get_json(f"/api/datasets/{REPO}/tree/main")] == [".gitattributes"]


@pytest.mark.parametrize(
    "path",
    [
        f"/datasets/{REPO}/resolve/main/../../../../users.json",
        f"/datasets/{REPO}/resolve/main/%2e%2e/%2e%2e/users.json",
        f"/datasets/{REPO}/resolve/..%2f..%2f/users.json",
        f"/datasets/{REPO}/resolve/main/..%5cusers.json",
        "/datasets/../users.json/resolve/main/x",
        "/datasets/..%2f..%2fusers.json/a/resolve/main/x",
        "/lfs/..%2fusers.json/5?signed=x",
        "/api/datasets/..%2f/x",
        "/api/buckets/..%2f../users.json",
        "/buckets/user/../../users.json",
        "/buckets/user/set/resolve/..%2f..%2fusers.json",
        "/api/buckets/user/..%2f..%2frepos%2fdatasets/tree",
    ],
)
def test_tricks_in_addresses_give_nothing(web: Web, path: str) -> None:
    status, _, body = web.ask("GET", path)
    assert status in (400, 401, 404)
    assert web.token not in body.decode()


@given(st.text(max_size=60))
def test_a_path_that_is_taken_stays_inside(path: str) -> None:
    try:
        taken = check_path(path)
    except HubError:
        return
    root = Path("/root/of/repo")
    assert (root / taken).parts[: len(root.parts)] == root.parts
    assert not {"..", "."} & set(taken.split("/"))


@given(st.text(max_size=30))
def test_a_name_that_is_taken_is_a_file_name(name: str) -> None:
    if NAME.fullmatch(name):
        assert not set(name) & set("/\\\0 ")
        assert name.isascii()
        assert not name.startswith(".")


@pytest.mark.parametrize("name", ["other/..", "a/b/c", "user/.hidden", "user/x.git", "user/a--b", "user/" + "x" * 99])
def test_odd_names_of_repositories_are_refused(web: Web, name: str) -> None:
    assert web.ask("POST", "/api/repos/create", {"name": name, "type": "dataset"})[0] in (400, 403)


def test_another_host_name_is_refused(web: Web) -> None:
    assert web.ask("GET", "/api/whoami-v2", Host="evil.example")[0] == 421
    assert web.ask("GET", "/api/whoami-v2", Host="localhost:1234")[0] == 200


def test_users_text_is_never_a_page(web: Web) -> None:
    page = b"<script>alert(1)</script>"
    for name in ("x.html", "x.svg", "README.md", "x"):
        web.commit(file(name, page))
        status, headers, body = web.ask("GET", f"/datasets/{REPO}/resolve/main/{name}")
        assert (status, body) == (200, page)
        assert headers["content-type"].split(";")[0] in ("text/plain", "application/octet-stream")
        assert headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in headers["content-security-policy"]
    status, headers, body = web.ask("GET", f"/datasets/{REPO}/resolve/main/<script>")
    assert status == 404
    assert headers["content-type"].startswith("application/json")


def test_parts_of_a_file(web: Web) -> None:
    web.commit(file("a.txt", b"0123456789"))
    path = f"/datasets/{REPO}/resolve/main/a.txt"
    status, headers, body = web.ask("GET", path, Range="bytes=2-4")
    assert (status, body, headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert web.ask("GET", path, Range="bytes=-3")[2] == b"789"
    assert web.ask("GET", path, Range="bytes=8-")[2] == b"89"
    assert web.ask("GET", path, Range="bytes=20-30")[0] == 416
    status, headers, body = web.ask("HEAD", path)
    assert (status, headers["content-length"], body) == (200, "10", b"")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"key": "file", "value": {}}',
        b'{"key": "header", "value": {}}',
        b'{"key": "header", "value": {"summary": 5}}',
        b'{"key": "header", "value": {"summary": "x"}}\n{"key": "file", "value": {"path": 5}}',
        b'{"key": "header", "value": {"summary": "x"}}\n{"key": "dance", "value": {"path": "a"}}',
        b'{"key": "header", "value": {"summary": "x"}}\n'
        b'{"key": "file", "value": {"path": "a", "content": "%%%", "encoding": "base64"}}',
        b'{"key": "header", "value": {"summary": "x"}}\n'
        b'{"key": "lfsFile", "value": {"path": "a", "oid": "../../users.json"}}',
        b'{"key": "header", "value": {"summary": "x"}}\n'
        b'{"key": "lfsFile", "value": {"path": "a", "oid": "' + b"0" * 64 + b'"}}',
    ],
)
def test_a_broken_commit_is_refused(web: Web, body: bytes) -> None:
    before = web.get_json(f"/api/datasets/{REPO}")["sha"]
    assert web.ask("POST", f"/api/datasets/{REPO}/commit/main", body)[0] == 400
    assert web.get_json(f"/api/datasets/{REPO}")["sha"] == before


def test_content_that_is_not_what_was_announced_is_refused(web: Web, tmp_path: Path) -> None:
    wanted = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 3}]}
    answer = json.loads(web.ask("POST", f"/datasets/{REPO}.git/info/lfs/objects/batch", wanted)[2])
    href = answer["objects"][0]["actions"]["upload"]["href"].split("/", 3)[3]
    assert web.ask("PUT", f"/{href}", b"abc")[0] == 400
    assert web.ask("PUT", f"/lfs/{'0' * 64}/3?signed=user.99999999999.00", b"abc")[0] == 401
    assert web.ask("PUT", f"/lfs/{'1' * 64}/3?{href.split('?')[1]}", b"abc")[0] == 401
    assert not list((tmp_path / "hub" / "incoming").iterdir())
    assert web.token not in (tmp_path / "log.jsonl").read_text()


def xorb(chunks: list[tuple[int, bytes]]) -> bytes:
    """A xorb of chunks given as (scheme, content)."""
    out = b""
    for scheme, content in chunks:
        grouped = b"".join(content[offset::4] for offset in range(4)) if scheme == 2 else content
        data = lz4.frame.compress(grouped) if scheme else content
        out += b"\0" + len(data).to_bytes(3, "little") + bytes([scheme]) + len(content).to_bytes(3, "little") + data
    return out


def shard(name: str, size: int, chunks: int, sha256: str) -> bytes:
    def raw(text: str) -> bytes:
        data = bytes.fromhex(text)
        return b"".join(data[start : start + 8][::-1] for start in range(0, 32, 8))

    entry = raw(name) + struct.pack("<IIII", 0, size, 0, chunks)
    header = raw("ab" * 32) + struct.pack("<IIQ", 1 << 30, 1, 0)
    return b"\0" * 48 + header + entry + raw(sha256) + b"\0" * 16 + b"\xff" * 32 + b"\0" * 16


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.binary(min_size=1, max_size=300)), min_size=1, max_size=6))
def test_chunks_of_every_kind_become_the_file(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[int, bytes]]
) -> None:
    import hashlib

    folder = tmp_path_factory.mktemp("xet")
    store, xorbs = Store(folder / "hub"), Xorbs(folder / "xorbs")
    content = b"".join(chunk for _, chunk in chunks)
    digest = hashlib.sha256(content).hexdigest()
    received = folder / "received"
    received.write_bytes(xorb(chunks))
    assert xorbs.keep("12" * 32, received) is True
    (described,) = files_of_shard(shard("12" * 32, len(content), len(chunks), digest))
    assert described.sha256 == digest
    assert xorbs.build(described, store.objects) == (digest, len(content))
    assert store.objects.path(digest).read_bytes() == content


@given(st.binary(max_size=400), st.integers(0, 400), st.binary(max_size=8))
def test_broken_xorbs_and_shards_are_refused_as_such(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int, change: bytes
) -> None:
    folder = tmp_path_factory.mktemp("xet")
    store, xorbs = Store(folder / "hub"), Xorbs(folder / "xorbs")
    good = xorb([(1, b"hello world" * 5), (2, b"more"), (0, b"plain")])
    for index, data in enumerate((noise, good[:place] + change + good[place + len(change) :], good[:place])):
        received = folder / f"received-{index}"
        received.write_bytes(data)
        name = f"{index:02}" * 32
        with contextlib.suppress(HubError):  # any other error is a failure
            xorbs.keep(name, received)
            for described in files_of_shard(shard(name, 64, 3, "cd" * 32)):
                xorbs.build(described, store.objects)
    whole = shard("12" * 32, 5, 1, "cd" * 32)
    for data in (noise, whole[:place], whole[:place] + change + whole[place + len(change) :]):
        with contextlib.suppress(HubError):
            assert all(isinstance(one, XetFile) for one in files_of_shard(data))


def test_a_hash_is_written_as_the_clients_write_it() -> None:
    assert hash_text(bytes(range(32))) == (
        "0706050403020100" + "0f0e0d0c0b0a0908" + "1716151413121110" + "1f1e1d1c1b1a1918"
    )


@pytest.mark.parametrize("point", range(4))
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, point: int) -> None:
    """Commits one after the other; the server is killed (SIGKILL) somewhere in between and started again."""
    with serving(tmp_path / "one") as server:
        web = Web(server.url, server.token)
        web.ask("POST", "/api/repos/create", {"name": "set", "type": "dataset"})
        acknowledged: list[tuple[str, bytes]] = []
        stop = threading.Event()

        def work() -> None:
            number = 0
            while not stop.is_set():
                name, content = f"{number}.txt", random.Random(number).randbytes(2000)
                try:
                    status, _ = web.commit(file(name, content))
                except (OSError, http.client.HTTPException, ValueError):
                    return
                if status == 200:
                    acknowledged.append((name, content))
                number += 1

        thread = threading.Thread(target=work)
        thread.start()
        wanted = random.Random(point).randrange(40)
        while len(acknowledged) < wanted and thread.is_alive():
            time.sleep(0.001)
        server.kill()
        stop.set()
        thread.join()
        server.start()
        web = Web(server.url, server.token)
        for name, content in acknowledged:
            assert web.ask("GET", f"/datasets/{REPO}/resolve/main/{name}")[2] == content
        names = {entry["path"] for entry in web.get_json(f"/api/datasets/{REPO}/tree/main")}
        # At most the commit in flight is there besides.
        assert len(names - {".gitattributes"}) - len(acknowledged) in (0, 1)
        assert not list((tmp_path / "one" / "hub" / "incoming").iterdir())
        assert web.commit(file("after.txt", b"x"))[0] == 200


def test_a_folder_keeps_its_users_and_their_tokens(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", users={"alice": "hf_alice", "bob": "hf_bob"}) as hub:
        assert hub.tokens == {"alice": "hf_alice", "bob": "hf_bob"}
    with LocalHub(tmp_path / "hub", users={"alice": "hf_changed", "carol": "hf_carol"}) as hub:
        assert hub.tokens == {"alice": "hf_alice", "bob": "hf_bob", "carol": "hf_carol"}
    assert (tmp_path / "hub" / "users.json").stat().st_mode & 0o077 == 0


def test_it_listens_to_this_machine_only(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as hub:
        assert hub.url.startswith("http://127.0.0.1:")
        port = hub.url.rsplit(":", 1)[1]
        with pytest.raises(ConfigError, match="cannot be started"), LocalHub(tmp_path / "other", port=int(port)):
            pass


def test_a_place_that_cannot_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "users.json").write_text("no json")
    assert run(["hub", "serve", str(tmp_path / "hub"), "--port", "0"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_clients_that_create_a_repository_at_once_all_learn_where_it_is(web: Web) -> None:
    from huggingface_hub import HfApi

    together = threading.Barrier(16)

    def create(_: int) -> str:
        together.wait()
        url: str = HfApi(f"http://{web.address}", token=web.token).create_repo("user/at-once", exist_ok=True)
        return url

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(create, range(16)))) == 1


def client_of(url: str, token: str | None) -> HfApi:
    return HfApi(endpoint=url, token=token)


def test_requests_are_limited_for_each_user_and_the_answers_tell(tmp_path: Path) -> None:
    now = [0.0]
    limit = RateLimit(3, 300, clock=lambda: now[0])
    with LocalHub(tmp_path / "hub", users={"alice": "hf_a", "bob": "hf_b"}, limit=limit) as hub:
        alice, bob = client_of(hub.url, "hf_a"), client_of(hub.url, "hf_b")
        for _ in range(3):
            alice.whoami()
        now[0] = 100.5
        with pytest.raises(HfHubHTTPError) as raised:
            alice.whoami()
        told = parse_ratelimit_headers(raised.value.response.headers)
        assert told == RateLimitInfo("api", remaining=0, reset_in_seconds=200, limit=3, window_seconds=300)
        assert bob.whoami()["name"] == "bob"
        now[0] = 300.0
        assert alice.whoami()["name"] == "alice"


def test_large_files_come_from_another_origin(tmp_path: Path) -> None:
    """The client follows without its token, which the other origin refuses."""
    content = random.Random(1).randbytes(50_000)
    with LocalHub(tmp_path / "hub", users={"user": "hf_u"}, cdn=True) as hub:
        web = Web(hub.url, "hf_u")
        assert web.ask("POST", "/api/repos/create", {"name": "set", "type": "dataset"})[0] == 200
        oid = hashlib.sha256(content).hexdigest()
        batch = {"operation": "upload", "objects": [{"oid": oid, "size": len(content)}]}
        asked = json.loads(web.ask("POST", f"/datasets/{REPO}.git/info/lfs/objects/batch", batch)[2])
        place = asked["objects"][0]["actions"]["upload"]["href"].removeprefix(hub.url)
        assert web.ask("PUT", place, content)[0] == 200
        assert web.commit({"key": "lfsFile", "value": {"path": "a.bin", "algo": "sha256", "oid": oid}})[0] == 200
        status, headers, _ = web.ask("GET", f"/datasets/{REPO}/resolve/main/a.bin")
        assert (status, headers["x-linked-size"]) == (302, "50000")
        there = headers["location"].removeprefix(hub.url.replace("127.0.0.1", "localhost"))
        assert there.startswith(f"/lfs/{oid}?signed=")
        assert web.ask("GET", there)[0] == 400  # with a token
        nobody = Web(hub.url, None)
        assert nobody.ask("GET", there, Range="bytes=10-19")[2] == content[10:20]
        assert nobody.ask("GET", there[:-1] + "x")[0] == 401
        path = client_of(hub.url, "hf_u").hf_hub_download(REPO, "a.bin", repo_type="dataset", local_dir=tmp_path / "d")
        assert Path(path).read_bytes() == content
