"""A Hub that takes no more requests for now: a push waits as it says, tells for how long, and asks for little."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hf_relabel.builders.errors import ReleaseError
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.releases.models import push_model
from hf_relabel.hub_tools.releases.push import push
from tests.hub_tools.release_clients import Client, hub_and_client, in_this_process
from tests.hub_tools.releases_data import built

LIMIT = {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=1000;w=300'}


pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the client's LFS uploads


class Busy:
    """Refuses requests: each kind of them the first time, or all of some kind."""

    def __init__(self) -> None:
        self.headers: dict[str, str] | None = None
        self.status = 429
        self.always = ""
        self.refused: list[str] = []
        self.seen: list[str] = []

    def __call__(self, method: str, path: str) -> HubError | None:
        self.seen.append(path)
        kind = f"{method} {re.sub(r'[0-9a-f]{40,}.*', 'SHA', path)}"
        is_of_xet = path.startswith(("/xet/", "/v1/")) or "/xet-" in path  # hf_xet waits by itself, and takes seconds
        if (
            self.headers is None
            or is_of_xet
            or path == "/api/agent-harnesses"
            or (kind in self.refused and kind != self.always)
        ):
            return None
        self.refused.append(kind)
        return HubError(self.status, "Too many requests", **self.headers)


busy = Busy()


@pytest.fixture(scope="module", params=[True, False], ids=["xet", "lfs"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("hub")
    with hub_and_client(folder, xet=request.param, fail=busy) as (_, client), in_this_process(client):
        yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "release"
    built(folder)
    return folder


@pytest.fixture(autouse=True)
def repo(running: Client) -> Iterator[str]:
    yield "user/set"
    busy.__init__()  # type: ignore[misc]
    HfApi().delete_repo("user/set", repo_type="dataset", missing_ok=True)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how long was waited, which takes no time here."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [(LIMIT, 56.0), ({"Retry-After": "7"}, 7.0), ({}, None)],
    ids=["RateLimit", "Retry-After", "none"],
)
def test_each_kind_of_request_may_be_refused_once(
    repo: str, folder: Path, waits: list[float], headers: dict[str, str], seconds: float | None
) -> None:
    busy.headers = headers
    report = push(folder, repo, license="cc0-1.0", progress=False)
    busy.headers = None
    assert (report.version, report.changed, report.tagged) == ("v1.0.0", True, True)
    kinds = {re.sub(r"/api/datasets/user/set(/[a-z-]+|).*", r"\1", kind) for kind in busy.refused}
    assert kinds >= {"GET ", "POST /api/repos/create", "GET /refs", "POST /preupload", "POST /commit", "POST /tag"}
    if seconds is not None:  # the client itself adds a second to Retry-After
        assert set(waits) <= {seconds, seconds + 1}
    assert len(waits) >= len(busy.refused)


def test_it_is_told_for_how_long(repo: str, folder: Path, waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    busy.headers = LIMIT
    push(folder, repo, license="cc0-1.0", progress=False)
    said = "The Hub takes no more requests for now (1,000 requests in 5 minutes are allowed): waiting 56 seconds"
    assert any(message.startswith(said) for message in caplog.messages)


def test_who_is_to_wait_too_long_is_told_when_to_come_back(repo: str, folder: Path, waits: list[float]) -> None:
    busy.headers = {"RateLimit": '"api";r=0;t=7200'}
    with pytest.raises(ReleaseError, match=r"user/set: the Hub takes no more requests for now\. Try again in 120 min"):
        push(folder, repo, license="cc0-1.0", progress=False)
    assert not waits


def test_patience_ends(repo: str, folder: Path, waits: list[float]) -> None:
    HfApi().create_repo(repo, repo_type="dataset")
    busy.headers, busy.always = LIMIT, "POST /api/datasets/user/set/commit/main"
    with pytest.raises(ReleaseError, match=r"takes no more requests for now \(1,000 .* Try again in 56 seconds"):
        push(folder, repo, license="cc0-1.0", progress=False)
    assert 1500 < sum(waits) < 2500


def test_a_question_that_the_hub_failed_to_answer_is_asked_again(repo: str, folder: Path, waits: list[float]) -> None:
    push(folder, repo, license="cc0-1.0", progress=False)
    busy.headers, busy.status = {}, 503
    assert not push(folder, repo, progress=False).changed
    assert waits[:2] == [1.0, 1.0]


def test_a_model_is_pushed_as_patiently(tmp_path: Path, waits: list[float]) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights\0" * 1000)
    busy.headers = LIMIT
    assert push_model(tmp_path, "user/model", progress=False).tagged
    busy.headers = None
    assert {56.0} <= set(waits)
    HfApi().delete_repo("user/model")


def requests(made: Callable[[], object]) -> int:
    """How often the Hub is asked, but for its storage and what the client asks about itself."""
    busy.seen.clear()
    made()
    others = ("/xet/", "/v1/", "/lfs/", "/api/agent-harnesses")
    return sum(not path.startswith(others) for path in busy.seen)


def test_a_release_asks_for_little(repo: str, folder: Path, tmp_path: Path) -> None:
    """It was 27 to 38 requests for these 40 rows, three or four for each file."""
    assert requests(lambda: push(folder, repo, license="cc0-1.0", progress=False)) <= 10
    built(tmp_path / "next", 39)
    assert requests(lambda: push(tmp_path / "next", repo, progress=False)) <= 12
    assert requests(lambda: push(tmp_path / "next", repo, progress=False)) <= 6
