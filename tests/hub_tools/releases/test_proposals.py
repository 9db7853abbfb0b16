"""Releases proposed in pull requests: one that is open is gone on with, and nothing is left out of a commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, hf_hub_download

from hf_relabel.builders.errors import ReleaseError
from hf_relabel.hub_tools.local_hub import LocalHub
from hf_relabel.hub_tools.releases.models import push_model
from hf_relabel.hub_tools.releases.push import push
from tests.hub_tools.release_clients import hub_and_client, in_this_process
from tests.hub_tools.releases_data import built

TOKENS = {"alice": "hf_of_alice", "bob": "hf_of_bob"}
REPO = "alice/thing"

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the client's LFS uploads


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    folder = tmp_path_factory.mktemp("hub")
    with hub_and_client(folder, xet=False, users=TOKENS) as (hub, client), in_this_process(client):
        yield hub


@pytest.fixture
def api(hub: LocalHub) -> Iterator[HfApi]:
    """Alice's client."""
    api = HfApi()
    yield api
    for kind in ("dataset", "model"):
        api.delete_repo(REPO, repo_type=kind, missing_ok=True)


def model(folder: Path, content: str, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in {"config.json": content, **files}.items():
        (folder / name).write_text(text)
    return folder


Push = Callable[..., Any]


@pytest.fixture(params=["model"])
def pushed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Push]:
    """Pushes version after version of a data set or of a model."""
    kind = request.param

    def one(number: int, **options: Any) -> Any:
        token, folder = options.pop("token", TOKENS["alice"]), tmp_path / f"{number}"
        if kind == "model":
            model(folder, f'{{"number": {number}}}')
            return push_model(folder, REPO, token=token, progress=False, **options)
        if not folder.exists():
            built(folder, rows=3 + number, techniques=["original", "remove-hn"])
        return push(folder, REPO, license="cc0-1.0", token=token, progress=False, **options)

    return kind, one


def requests_open(api: HfApi, kind: str) -> list[int]:
    found = api.get_repo_discussions(REPO, repo_type=kind, discussion_type="pull_request", discussion_status="open")
    return sorted(each.num for each in found)


@pytest.mark.parametrize("pushed", ["dataset", "model"], indirect=True)
def test_the_open_pull_request_is_gone_on_with(api: HfApi, pushed: tuple[str, Push]) -> None:
    """Each push opened another."""
    kind, push_number = pushed
    push_number(0)
    first = push_number(1, create_pr=True)
    same = push_number(1, create_pr=True)
    assert (first.changed, same.changed, same.pull_request) == (True, False, first.pull_request)
    assert "already, nothing to do" in same.to_text()
    other = push_number(2, create_pr=True)
    assert (other.changed, other.version, other.pull_request) == (True, first.version, first.pull_request)
    assert requests_open(api, kind) == [1]
    api.merge_pull_request(REPO, 1, repo_type=kind)
    merged = push_number(2)
    assert (merged.changed, merged.tagged, merged.version) == (False, True, first.version)


def test_weights_are_not_held(api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither compared, nor sent, nor found to be there are they read whole."""
    import tracemalloc

    folder, megabytes = model(tmp_path / "large", "{}"), 16
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(megabytes << 20)
    monkeypatch.setattr("hf_relabel.hub_tools.hub.uploads.GROUP_BYTES", 1)  # each file is sent before the commit

    def push_once() -> Any:
        return push_model(folder, REPO, token=TOKENS["alice"], progress=False)

    tracemalloc.start()
    try:
        reports = [push_once(), push_once()]
        (folder / "config.json").write_text("[]")
        reports.append(push_once())
        assert tracemalloc.get_traced_memory()[1] < megabytes << 19
    finally:
        tracemalloc.stop()
    assert [report.changed for report in reports] == [True, False, True]


def test_after_it_is_closed_another_is_opened(api: HfApi, pushed: tuple[str, Push]) -> None:
    kind, push_number = pushed
    push_number(0)
    push_number(1, create_pr=True)
    api.change_discussion_status(REPO, 1, new_status="closed", repo_type=kind)
    again = push_number(1, create_pr=True)
    assert again.pull_request.endswith("/discussions/2")
    assert requests_open(api, kind) == [2]


def test_those_of_others_are_left_alone(api: HfApi, pushed: tuple[str, Push]) -> None:
    kind, push_number = pushed
    push_number(0)
    theirs = push_number(1, create_pr=True, token=TOKENS["bob"])
    ours = push_number(2, create_pr=True)
    assert theirs.pull_request != ours.pull_request
    assert requests_open(api, kind) == [1, 2]


def test_what_was_proposed_and_is_no_longer_goes_from_the_pull_request(api: HfApi, tmp_path: Path) -> None:
    alice: dict[str, Any] = {"token": TOKENS["alice"], "progress": False}
    push_model(model(tmp_path / "zero", "0"), REPO, **alice)
    push_model(model(tmp_path / "one", "1", **{"extra.json": "{}"}), REPO, create_pr=True, **alice)
    assert "extra.json" in api.list_repo_files(REPO, revision="refs/pr/1")
    push_model(model(tmp_path / "two", "2"), REPO, create_pr=True, **alice)
    assert "extra.json" not in api.list_repo_files(REPO, revision="refs/pr/1")
    release = Path(hf_hub_download(REPO, "release.json", revision="refs/pr/1", token=TOKENS["alice"])).read_text()
    assert '"previous": "v1.0.0"' in release


def test_a_release_of_which_gitignore_leaves_a_part_out_is_none(api: HfApi, pushed: tuple[str, Push]) -> None:
    """The client leaves such files out of a commit without a word."""
    kind, push_number = pushed
    push_number(0)
    ignored = b"*.parquet\nconfig.json\n"
    api.upload_file(path_or_fileobj=ignored, path_in_repo=".gitignore", repo_id=REPO, repo_type=kind)
    with pytest.raises(ReleaseError, match=r"its \.gitignore keeps \S+(parquet|json) out of every commit"):
        push_number(1)
    assert api.repo_info(REPO, repo_type=kind).sha != ""
    assert len(api.list_repo_commits(REPO, repo_type=kind)) == 3
