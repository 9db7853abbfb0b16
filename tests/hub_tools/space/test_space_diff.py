"""Two releases side by side: what `hf relabel diff` says, a page at a time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hf_relabel.builders.configs.release import release_from_folder
from hf_relabel.builders.differences.compare import differences
from hf_relabel.builders.differences.counts import DifferenceCounts
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.hub_tools.releases.diff import diff, side_of
from hf_relabel.hub_tools.space.data.differences import KINDS, Comparison
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
