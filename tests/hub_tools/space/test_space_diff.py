"""Two releases side by side: what `hf relabel diff` says, a page at a time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hf_relabel.builders.configs.release import release_from_folder
from hf_relabel.builders.differences.compare import differences
from hf_relabel.builders.differences.counts import DifferenceCounts
from hf_relabel.builders.errors import BuildError, ConfigError, ReleaseError
from hf_relabel.hub_tools.releases.diff import diff, side_of
from hf_relabel.hub_tools.space.comparisons import MOST_KEPT, MOST_RUNNING
from hf_relabel.hub_tools.space.data import differences as comparing
from hf_relabel.hub_tools.space.data.differences import KINDS, Comparison
from hf_relabel.hub_tools.space.people.sign_in import SignIn
from hf_relabel.hub_tools.space.running import Running
from hf_relabel.hub_tools.space.settings import SpaceSettings
from tests.hub_tools.space_data import REPO, built, hub_here

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:httpx2.*")  # how huggingface_hub sends files


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The second has other verdicts, passages and rows."""
    root = tmp_path_factory.mktemp("diff")
    return built(root / "before", 90), built(root / "after", 110, seed=1)


def test_pages_are_the_changes_in_their_order(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_relabel.builders.differences import folder as differences_folder

    monkeypatch.setattr(differences_folder, "ROW_GROUP_ROWS", 16)  # so that pages go over row groups
    sides = [side_of(release_from_folder(folder)) for folder in folders]
    everything = list(differences(*sides, DifferenceCounts()))
    with Comparison.start(*folders) as comparison:
        state = comparison.wait(60)
        assert (state.is_finished, state.error) == (True, None)
        assert (state.rows, state.of) == (200, 200)
        counts = dict(comparison.counts() or {})
        assert counts == diff(*folders).to_dict()
        for kind in (None, *KINDS):
            for subset in (None, "", "news", "other"):
                wanted = [each for each in everything if kind in (None, each.kind) and subset in (None, each.subset)]
                found = []
                for offset in range(0, len(wanted) + 10, 7):
                    page = comparison.page(offset=offset, size=7, kind=kind, subset=subset)
                    assert page.total == len(wanted)
                    found += page.changes
                assert found == wanted
    assert len(Counter(each.kind for each in everything)) > 2


def test_releases_on_the_hub_are_streamed(
    tmp_path: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_here(tmp_path, monkeypatch) as here:
        for folder in folders:
            here.push(folder)
        with Comparison.start(f"{REPO}@v1.0.0", REPO) as comparison:
            assert comparison.wait(60).is_finished
            counts = dict(comparison.counts() or {})
        assert {**counts, "before": 0, "after": 0} == {**diff(*folders).to_dict(), "before": 0, "after": 0}
        assert not list((tmp_path / "cache").rglob("*.parquet"))
        with Comparison.start(REPO, REPO) as comparison:
            comparison.wait(60)
            assert comparison.page().total == 0


def test_a_page_of_an_unfinished_or_odd_kind_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with Comparison.start(*folders, scratch=tmp_path) as comparison:
        with pytest.raises(ConfigError, match="no kind of change"):
            comparison.page(kind="<b>")
        with pytest.raises(ConfigError, match="A page cannot begin"):
            comparison.page(offset=-1)
    with pytest.raises(ConfigError, match="closed"):
        comparison.page()
    assert list(tmp_path.iterdir()) == []


def test_a_side_that_cannot_be_read(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="did not write"):
        Comparison.start(folders[0], tmp_path)
    damaged = built(tmp_path / "damaged", 30)
    path = sorted((damaged / "original").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-50])
    with Comparison.start(folders[0], damaged) as comparison:
        state = comparison.wait(60)
        assert not state.is_finished
        assert path.name in str(state.error)
        assert comparison.counts() is None


# --- in a running app -------------------------------------------------------------------------------------------------


@pytest.fixture
def running(folders: tuple[Path, Path]) -> Iterator[Running]:
    found = Running(SpaceSettings(str(folders[0])))
    yield found
    found.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Sides whose name says so are opened when the event is set, as from a Hub that answers late."""
    arrived, open_ = threading.Event(), comparing.streamed

    def opened_late(location: str, token: Any) -> Any:
        if str(location).startswith("slow:"):
            assert arrived.wait(60)
        return open_(str(location).removeprefix("slow:"), token)

    monkeypatch.setattr(comparing, "streamed", opened_late)
    yield arrived
    arrived.set()


def test_who_compares_waits_for_nobody_elses_comparison(
    running: Running, slow: threading.Event, folders: tuple[Path, Path]
) -> None:
    before, after = map(str, folders)
    with ThreadPoolExecutor(3) as pool:
        late = [pool.submit(running.comparison, f"slow:{before}", after) for _ in range(2)]
        assert pool.submit(running.comparison, before, after).result(30).wait(60).is_finished
        assert not late[0].done()
        slow.set()
        assert late[0].result(60) is late[1].result(60), "begun once for both"


def test_only_some_comparisons_run_and_none_of_them_has_to_go_for_another(
    running: Running, slow: threading.Event, folders: tuple[Path, Path]
) -> None:
    before, after = map(str, folders)
    with ThreadPoolExecutor(MOST_RUNNING) as pool:
        wanted = [(f"slow:{before}{'/' * number}", after) for number in range(MOST_RUNNING)]
        late = [pool.submit(running.comparison, *sides) for sides in wanted]
        for _ in range(3000):
            if len(running._comparisons._kept) == MOST_RUNNING:
                break
            threading.Event().wait(0.01)
        with pytest.raises(ConfigError, match=r"comparisons are running\. Try again"):
            running.comparison(before, after)
        slow.set()
        assert [each.result(60).wait(60).is_finished for each in late] == [True] * MOST_RUNNING
    for number in range(MOST_KEPT):
        sides = before, f"{after}{'/' * number}"
        found = running.comparison(*sides)
        assert found.wait(60).is_finished
        assert running.comparison(*sides) is found
    with pytest.raises(ConfigError, match="was closed"):
        late[0].result().page()
    assert len(running._comparisons._kept) == MOST_KEPT


def test_a_comparison_that_failed_is_begun_again(running: Running, tmp_path: Path, folders: tuple[Path, Path]) -> None:
    damaged = built(tmp_path / "damaged", 30)
    path = sorted((damaged / "original").iterdir())[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    assert path.name in str(running.comparison(str(folders[0]), str(damaged)).wait(60).error)
    path.write_bytes(whole)
    assert running.comparison(str(folders[0]), str(damaged)).wait(60).is_finished


def test_on_a_space_only_people_who_may_write_compare_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visitors make it read the versions of its own release, and nothing else."""
    asked: list[tuple[tuple[str, ...], Any]] = []

    def start(*sides: str, token: Any) -> Any:
        asked.append((sides, token))
        return SimpleNamespace(state=lambda: SimpleNamespace(is_finished=True, error=None), close=lambda: None)

    monkeypatch.setattr(Comparison, "start", start)
    monkeypatch.setattr(Running, "_read_versions", lambda self: ["v1.1.0", "v1.0.0"])
    space = Running(SpaceSettings("alice/set", is_space=True, token="hf_server", people=("ada",)))
    space._browser._thing = SimpleNamespace(repo_id="alice/set", close=lambda: None)  # type: ignore[assignment]
    monkeypatch.setattr(SignIn, "_remembered", lambda self, key, ask: ask())
    profile = {"userinfo": {"preferred_username": "ada", "sub": "ada"}}
    nobody, ada = (SimpleNamespace(scope={"session": session}) for session in ({}, {"oauth_info": profile}))

    space.comparison("v1.0.0", "v1.1.0", nobody)
    for sides in (
        ("v1.0.0", "big/corpus"),
        ("big/corpus@main", "big/corpus"),
        ("v1.0.0", "main"),
    ):
        with pytest.raises(ConfigError, match="only people who may answer here"):
            space.comparison(*sides, nobody)
    space.comparison("v1.0.0", "big/corpus", ada)
    space.comparison("v1.0.0", "main", ada)
    assert asked == [
        (("alice/set@v1.0.0", "alice/set@v1.1.0"), "hf_server"),
        (("alice/set@v1.0.0", "big/corpus"), False),
        (("alice/set@v1.0.0", "alice/set@main"), "hf_server"),
    ]
    space.close()
    with pytest.raises(ConfigError, match="is ending"):
        space._comparisons.get(("a", "b"), lambda: start("a", "b", token=None))


def test_versions_are_looked_up_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now, tags = [0.0], ["v1.0.0"]
    monkeypatch.setattr("hf_relabel.hub_tools.space.once.time.monotonic", lambda: now[0])

    def look() -> list[str]:
        if not tags:
            raise ReleaseError("the Hub cannot be asked")
        return list(tags)

    monkeypatch.setattr(Running, "_read_versions", lambda running: look())
    running = Running(SpaceSettings("alice/set"))
    assert running.versions() == ["v1.0.0"]
    tags.append("v1.1.0")
    assert running.versions() == ["v1.0.0"]
    now[0] = 61.0
    assert running.versions() == ["v1.0.0", "v1.1.0"]
    tags.clear()
    now[0] = 122.0
    assert running.versions() == ["v1.0.0", "v1.1.0"], "what was found before stays"
