"""Pushes whose client or server is killed (SIGKILL) at random points, and many pushers at once.

A point is a number of writing requests of a push, so that a slow machine has the same points as a fast one. The default
is small. The real thing:

    HF_RELABEL_KILL_POINTS=30 HF_RELABEL_KILL_MB=300 pytest tests/hub_tools/releases/test_push_killed.py
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import forked
from tests.hub_tools.release_clients import COMMAND_LINE, Client, hub_and_client
from tests.hub_tools.releases_data import built

POINTS = int(os.environ.get("HF_RELABEL_KILL_POINTS", "4"))
QUICK = 2
"""Points outside the soak tests: a client and a server are killed."""
MEGABYTES = int(os.environ.get("HF_RELABEL_KILL_MB", "6"))
REPO = "user/set"
PASSAGE_BYTES = 8000
SMALL_GROUPS = f"import hf_relabel.hub_tools.hub.uploads as uploads; uploads.GROUP_BYTES = {MEGABYTES * 200_000}"
"""Several are sent before the commit."""
FIGURE = re.compile(r"\]\((figures/[^)]+)\)")
"""A figure that a card shows."""


@dataclass
class Server:
    """`hf relabel hub serve` in a process of its own, on a port that stays the same."""

    root: Path
    log: Path
    port: int
    process: forked.Forked | None = None
    token: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = ["hub", "serve", str(self.root), "--port", str(self.port), "--log", str(self.log), "--json"]
        self.process = forked.start(COMMAND_LINE, *arguments)
        self.token = next(iter(json.loads(self.process.stdout.readline())["tokens"].values()))

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate()


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    server = Server(folder / "hub", folder / "log.jsonl", port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@dataclass
class Reader:
    """Reads the main branch over and over, as anybody might, and notes what was wrong with what it saw."""

    server: Server
    wrong: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self.look()
            except (OSError, ValueError, http.client.HTTPException):
                self.seen["not served"] += 1  # while the server is away
            time.sleep(0.05)

    def get(self, path: str) -> Any:
        return json.loads(self.read(path))

    def read(self, path: str) -> bytes:
        request = urllib.request.Request(
            f"{self.server.url}{path}", headers={"Authorization": f"Bearer {self.server.token}"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bytes(answer.read())

    def look(self) -> None:
        try:
            sha = self.get(f"/api/datasets/{REPO}")["sha"]
        except urllib.error.HTTPError as error:
            self.seen[f"status {error.code}"] += 1
            return
        tree = {entry["path"]: entry for entry in self.get(f"/api/datasets/{REPO}/tree/{sha}?recursive=true")}
        files = {path for path, entry in tree.items() if entry["type"] == "file"} - {".gitattributes"}
        if not files:
            self.seen["empty"] += 1
            return
        manifest = self.get(f"/datasets/{REPO}/resolve/{sha}/manifest.json")
        card = self.read(f"/datasets/{REPO}/resolve/{sha}/README.md").decode()
        expected = {*manifest["files"], "manifest.json", "README.md", *FIGURE.findall(card)}
        if files != expected:
            self.wrong.append(f"{sorted(files ^ expected)} at {sha}")
        for path, entry in manifest["files"].items():
            if tree[path]["lfs"]["oid"] != entry["sha256"]:
                self.wrong.append(f"{path} at {sha}")
        self.seen["whole"] += 1


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of about MEGABYTES, in a dozen shards or more. Random passages, which do not compress."""
    folder = tmp_path_factory.mktemp("killed") / "release"
    per_row = 5 * PASSAGE_BYTES // 2 * 5  # hexadecimal digits compress to half, and there are five configs
    rows = MEGABYTES * 1_000_000 // per_row
    built(folder, rows, passage_bytes=PASSAGE_BYTES, max_shard_bytes=max(500_000, rows * 5 * PASSAGE_BYTES // 3))
    return folder


def parquet(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.parquet")}


def entries(server: Server) -> list[dict[str, Any]]:
    lines = server.log.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def uploads(server: Server) -> Counter[str]:
    """How often the content of each object was taken in."""
    return Counter(entry["object"] for entry in entries(server) if entry["stored"] is not None)


def writes(server: Server) -> int:
    """How many requests have been answered that are not for reading, as those of a `Reader` are."""
    return sum(entry["method"] not in ("GET", "HEAD") for entry in entries(server))


def push_once(client: Client, release: Path) -> forked.Forked:
    return client.start(f"{SMALL_GROUPS}\n{COMMAND_LINE}", "push", str(release), REPO, "--license", "cc0-1.0", "--json")


@pytest.fixture(scope="module", params=[True, pytest.param(False, marks=pytest.mark.soak)], ids=["xet", "lfs"])
def undisturbed(
    request: pytest.FixtureRequest, release: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bool, int]:
    """With or without Xet, and the writing requests of a push when nobody disturbs it."""
    folder = tmp_path_factory.mktemp("undisturbed") / "one"
    with serving(folder) as server:
        client = Client(server.url, server.token, folder / "home", xet=request.param)
        process = push_once(client, release)
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        return request.param, writes(server)


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=pytest.mark.soak if point >= QUICK else ()) for point in range(POINTS)]
)
def test_killed_at_a_random_point_and_pushed_again(
    undisturbed: tuple[bool, int], release: Path, tmp_path: Path, point: int
) -> None:
    xet, of_a_push = undisturbed
    chance = random.Random(f"{point} {xet}")
    victim = "client" if point % 2 == 0 else "server"
    with serving(tmp_path / "one") as server:
        client = Client(server.url, server.token, tmp_path / "home", xet=xet)
        reader = Reader(server)
        reading = threading.Thread(target=reader.run)
        reading.start()
        try:
            process = push_once(client, release)
            kill_at = chance.randrange(1, of_a_push)
            while writes(server) < kill_at and process.poll() is None:
                time.sleep(0.002)
            if victim == "client":
                process.send_signal(signal.SIGKILL)
            else:
                server.kill()
                server.start()
            process.communicate(timeout=600)
            for _ in range(3):
                again = push_once(client, release)
                output, errors = again.communicate(timeout=600)
                if again.returncode == 0:
                    break
            assert again.returncode == 0, errors
        finally:
            reader.stop.set()
            reading.join()
        report = json.loads(output)
        assert report["version"] == "v1.0.0"
        pulled = client.command("pull", f"{REPO}@v1.0.0", "--out", str(tmp_path / "pulled"))
        assert pulled.returncode == 0, pulled.stderr
        assert parquet(tmp_path / "pulled") == parquet(release)
        twice = {name: number for name, number in uploads(server).items() if number > 1}
        assert not twice, f"stored content was sent again: {twice}"
        assert not reader.wrong
        assert reader.seen["whole"] + reader.seen["empty"] > 0


@pytest.mark.parametrize("pushers", [3, pytest.param(10, marks=pytest.mark.soak)])
def test_many_pushers_lose_nothing(tmp_path: Path, pushers: int) -> None:
    for number in range(pushers):
        built(tmp_path / f"release-{number}", rows=5 + number, seed=number)
    code = """
import json, sys, threading
from pathlib import Path
from hf_relabel.hub_tools.releases.push import push
folder, number = Path(sys.argv[1]), int(sys.argv[2])
done = {}
def one(index):
    try:
        done[index] = push(folder / f"release-{index}", "user/set", license="cc0-1.0").version
    except Exception as error:
        done[index] = repr(error)
threads = [threading.Thread(target=one, args=(index,)) for index in range(number)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(done))
"""
    with hub_and_client(tmp_path / "hub", xet=False) as (_, client):
        versions = client.python(code, str(tmp_path), str(pushers))
        assert all(version.startswith("v") for version in versions.values()), versions
        assert len(set(versions.values())) == pushers
        history = client.command_json("log", REPO)
        tagged = {version["version"]: version["facts"] for version in history if version["version"]}
        for index, version in versions.items():
            assert tagged[version]["rows"] == 5 + int(index)
        commits = client.python(
            "import json\nfrom huggingface_hub import HfApi\n"
            "print(json.dumps([c.title for c in HfApi().list_repo_commits('user/set', repo_type='dataset')]))"
        )
        assert sorted(commits) == sorted(["initial commit", *(f"Release {version}" for version in versions.values())])
        # Each version is one build, whole: pull checks every file against the version's own manifest.
        for index in ("0", str(pushers // 2), str(pushers - 1)):
            out = tmp_path / f"pulled-{index}"
            assert client.command("pull", f"{REPO}@{versions[index]}", "--out", str(out)).returncode == 0
            assert parquet(out) == parquet(tmp_path / f"release-{index}")
