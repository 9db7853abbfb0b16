"""Browsing a release: what is found and shown is what the builders say, whatever the files look like."""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.configs.verdict_records import agreement
from hf_relabel.builders.errors import BuildError, ConfigError, ReleaseError
from hf_relabel.builders.judgements import Outcome
from hf_relabel.builders.techniques import Technique, account
from hf_relabel.hub_tools.space.data.browsing import Browser
from hf_relabel.hub_tools.space.data.filters import LABELS, OUTCOMES, Filter
from hf_relabel.hub_tools.space.data.kept import ByteLimited
from hf_relabel.hub_tools.space.data.ranges import ConfigFiles, opened
from tests.examples import drawn
from tests.hub_tools.space_data import HOSTILE, REPO, WORDS, built, hub_here, judged_rows

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:httpx2.*")  # how huggingface_hub sends files

ROWS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("space") / "release", ROWS)


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    with Browser.open(folder) as found:
        assert found.wait_for_index(60).is_finished
        yield found


def all_numbers(browser: Browser, wanted: Filter, size: int = 7) -> list[int]:
    """Every hit, page by page."""
    numbers: list[int] = []
    while True:
        page = browser.find(wanted, offset=len(numbers), size=size)
        numbers += [line.number for line in page.lines]
        if len(page.lines) < size:
            assert page.total == len(numbers)
            assert page.is_complete
            return numbers


def expected(wanted: Filter) -> list[int]:
    """The same by looking at every row."""
    found = []
    for numbered, verdicts in judged_rows(ROWS):
        row = numbered.row
        texts = (row.query.casefold(), row.query_id.casefold())
        if not all(any(word.casefold() in text for text in texts) for word in wanted.text.split()):
            continue
        if wanted.subset is not None and row.subset != wanted.subset:
            continue
        if wanted.suspects and numbered.number % 5:
            continue
        if wanted.changed_by is not None and account(wanted.changed_by, row, verdicts).is_unchanged:
            continue
        if wanted.outcomes or wanted.labels or wanted.disagreement:
            fitting = [verdict for verdict in verdicts if fits(verdict, wanted)]
            if not fitting:
                continue
        found.append(numbered.number)
    return found


def fits(verdict: Any, wanted: Filter) -> bool:
    said = [word for word in verdict.stages if word is not None]
    label = str(said[-1].label) if said else "not-asked"
    disagree = (agreement(verdict) or 1) < 1
    return (
        (not wanted.outcomes or str(verdict.outcome) in wanted.outcomes)
        and (not wanted.labels or label in wanted.labels)
        and (not wanted.disagreement or disagree)
    )


filters = st.builds(
    Filter,
    text=st.sampled_from(["", "number", "NUMBER 1", "1 what", "äpfel", "q-12", "<script>", "nowhere", "naÏve", "  "]),
    subset=st.sampled_from([None, "", "news", "web", "other"]),
    outcomes=st.sets(st.sampled_from(OUTCOMES), max_size=2),
    labels=st.sets(st.sampled_from(LABELS), max_size=2),
    disagreement=st.booleans(),
    suspects=st.booleans(),
    changed_by=st.sampled_from([None, *map(str, Technique)]),
)


@drawn(30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=filters)
def test_a_search_finds_what_looking_at_every_row_finds(browser: Browser, wanted: Filter) -> None:
    assert all_numbers(browser, wanted) == expected(wanted)


def test_searching_is_about_words_and_not_about_patterns(browser: Browser) -> None:
    assert all_numbers(browser, Filter(text=r".*")) == []
    assert all_numbers(browser, Filter(text="\ud800")) == []
    assert all_numbers(browser, Filter(text="σίσυφοσ")) == expected(Filter(text="ΣΊΣΥΦΟΣ"))
    assert len(expected(Filter(text=WORDS[-1]))) > 10


@pytest.mark.parametrize(
    "wanted",
    [Filter(outcomes={"maybe"}), Filter(labels={"good"}), Filter(changed_by="<b>"), Filter(outcomes=["x" * 999])],
)
def test_what_cannot_be_searched_by_is_said(browser: Browser, wanted: Filter) -> None:
    with pytest.raises(ConfigError, match="There are:") as error:
        browser.find(wanted)
    assert len(str(error.value)) < 300


def test_a_search_has_an_end(browser: Browser) -> None:
    with pytest.raises(ConfigError, match="at most 1,000 characters, found 40,000"):
        browser.find(Filter(text="word " * 8_000))


def test_pages_before_the_first_row_are_refused(browser: Browser) -> None:
    for reach in ({"offset": -1}, {"size": -1}):
        with pytest.raises(ConfigError, match="page"):
            browser.find(**reach)
    assert browser.find(offset=10_000).lines == ()


def test_a_line_counts_what_its_row_holds(browser: Browser) -> None:
    lines = browser.find(size=ROWS).lines
    for line, (numbered, verdicts) in zip(lines, judged_rows(ROWS), strict=True):
        outcomes = [verdict.outcome for verdict in verdicts]
        last = [[word for word in verdict.stages if word is not None][-1:] for verdict in verdicts]
        scores = [word[0].score for word in last if word and word[0].score is not None]
        assert (line.number, line.query, line.subset) == (numbered.number, numbered.row.query, numbered.row.subset)
        assert line.candidates == len(verdicts)
        assert line.false_negatives == sum(outcome in ("false_negative", "duplicate") for outcome in outcomes)
        assert line.doubtful == outcomes.count(Outcome.DOUBTFUL)
        assert line.unjudged == outcomes.count(Outcome.UNJUDGED)
        assert line.disagreements == sum((agreement(verdict) or 1) < 1 for verdict in verdicts)
        assert line.suspects == (numbered.number % 5 == 0)
        assert line.score == (max(scores) if scores else None)


def test_a_row_is_shown_with_all_that_was_said(browser: Browser) -> None:
    for numbered, verdicts in judged_rows(ROWS):
        row, shown = numbered.row, browser.row(numbered.number)
        assert (shown.query_id, shown.query, shown.subset) == (row.query_id, row.query, row.subset)
        assert [(each.docid, each.title, each.text) for each in shown.positives] == [
            (each.docid, each.title, each.text) for each in row.positive_passages
        ]
        assert [each.suspect for each in shown.positives] == ["unanswering" if numbered.number % 5 == 0 else None]
        for candidate, verdict, passage in zip(shown.candidates, verdicts, row.negative_passages, strict=True):
            assert (candidate.docid, candidate.title, candidate.text) == (passage.docid, passage.title, passage.text)
            assert (candidate.outcome, candidate.reason) == (verdict.outcome, verdict.reason)
            assert candidate.agreement == agreement(verdict)
            assert [stage.stage for stage in candidate.stages] == ["cheap", "accurate"]
            words = [*verdict.stages, None, None][:2]
            for stage, word in zip(candidate.stages, words, strict=True):
                assert stage.label == (None if word is None else word.label)
                if word is not None:
                    assert (stage.score, stage.rationale, stage.cut) == (word.score, HOSTILE, word.cut)
                    assert stage.judge.startswith("listwise")


def test_a_row_before_and_after_is_what_the_techniques_do(browser: Browser) -> None:
    for numbered, verdicts in judged_rows(ROWS):
        effects = {effect.technique: effect for effect in browser.row(numbered.number).techniques}
        for technique in Technique:
            change, effect = account(technique, numbered.row, verdicts), effects[technique]
            assert (effect.moved, dict(effect.dropped), effect.kept) == (change.moved, change.dropped, change.kept)
            assert effect.row_dropped == change.row_dropped
            assert effect.changed == (not change.is_unchanged)
            after = change.carry_out(numbered.row)
            counts = (0, 0) if after is None else (len(after.positive_passages), len(after.negative_passages))
            assert (effect.positives[1], effect.negatives[1]) == counts
            assert effect.why.endswith(".")


def test_the_overview_is_what_the_manifest_says(browser: Browser) -> None:
    overview, manifest = browser.overview(), browser.release.manifest
    assert overview.rows == ROWS
    assert [config.name for config in overview.configs] == list(map(str, Technique))
    for config in overview.configs:
        changed = len(all_numbers(browser, Filter(changed_by=config.name), 50))
        assert config.rows_changed + config.rows_dropped == changed
    assert sum(subset.candidates for subset in overview.subsets) == overview.total.candidates
    assert overview.total.spread == {
        int(n): rows for n, rows in manifest["verdicts"]["total"]["false_negatives_per_row"].items()
    }
    assert overview.suspects == 40
    assert overview.default_reason.startswith("Unaudited")
    assert overview.agreement[0].first == "cheap"
    assert {
        stage.name: stage.cost for stage in browser.overview(prices={"cheap": {"prompt": 1e6, "completion": 0}}).stages
    } == {
        "cheap": overview.stages[0].prompt_tokens,
        "accurate": None,
    }


def test_neighbours_among_the_hits(browser: Browser) -> None:
    wanted = Filter(outcomes={"doubtful"})
    numbers = expected(wanted)
    for before, number, after in zip([None, *numbers], numbers, [*numbers[1:], None], strict=False):
        assert browser.around(number, wanted) == (before, after)
    assert browser.around(0, Filter(text="nowhere")) == (None, None)


@pytest.mark.parametrize("number", [-1, ROWS, 10**12])
def test_rows_that_are_not_there(browser: Browser, number: int) -> None:
    with pytest.raises(ConfigError, match=f"has rows 0 to {ROWS - 1}"):
        browser.row(number)


def test_rows_are_read_by_many_at_once(browser: Browser) -> None:
    wrong: list[int] = []

    def read(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            number = chance.randrange(ROWS)
            if browser.row(number).query_id != f"q-{number}":
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_row_is_read_before_there_is_an_index(folder: Path) -> None:
    with Browser.open(folder, index=False) as browser:
        for number in (ROWS - 1, 0, 77, 3):  # row 3 has no negatives
            assert browser.row(number).query_id == f"q-{number}"
        assert browser._index.state().rows == 0
        assert browser.find(size=2).lines[1].query_id == "q-1"


def files_of(release: Release, config: str) -> ConfigFiles:
    return opened(release, None, None, 10_000_000).config(config)


@pytest.mark.soak
def test_single_rows_are_those_of_the_whole_file(tmp_path: Path) -> None:
    """Large passages make several pages of a column."""
    built(tmp_path / "large", 60, characters=60_000, row_group_bytes=3_000_000, max_shard_bytes=50_000_000)
    release = release_from_folder(tmp_path / "large")
    for config in ("original", "verdicts", "suspects"):
        files = files_of(release, config)
        whole = pa.concat_tables([pq.read_table(tmp_path / "large" / path) for path in files.paths]).to_pylist()
        for group in files.groups():
            for first in range(0, group.rows, 3):
                count = min(3, group.rows - first)
                start = group.first + first
                assert files.rows(group, first, count) == whole[start : start + count]
    original = files_of(release, "original")
    group = next(iter(original.groups()))
    original.rows(group, 0, 1)
    assert original.cache.bytes < 0.7 * pq.read_table(tmp_path / "large" / group.path).nbytes


def test_files_without_a_page_index_are_read_by_the_row_group(folder: Path, tmp_path: Path) -> None:
    release = release_from_folder(folder)
    path = release.files("original")[0]
    plain = tmp_path / "plain.parquet"
    pq.write_table(pq.read_table(folder / path), plain, row_group_size=10, write_page_index=False)
    entry = {"bytes": plain.stat().st_size, "rows": pq.read_metadata(plain).num_rows, "sha256": ""}
    manifest = {**release.manifest, "files": {"original/train-0.parquet": entry}}
    files = files_of(Release("plain", None, manifest, lambda _: plain), "original")
    whole = pq.read_table(plain).to_pylist()
    for group in files.groups():
        assert files.rows(group, 1, 2) == whole[group.first + 1 : group.first + 3]


def rewritten(folder: Path, out: Path, changed: Callable[[str, pa.Table], pa.Table], **lines: int) -> Path:
    """A release with other row groups of so many lines in some of its configs, and other lines."""
    shutil.copytree(folder, out)
    manifest = json.loads((out / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        config = name.split("/")[0]
        if config in lines:
            table = changed(name, pq.read_table(out / name))
            pq.write_table(table, out / name, row_group_size=lines[config])
            entry["bytes"] = (out / name).stat().st_size
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def test_a_release_in_other_row_groups_is_browsed_too(
    browser: Browser, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As earlier versions wrote it, in large ones; and by others, in some that end within a row."""
    monkeypatch.setattr(ConfigFiles, "runs", lambda files, most=0: files.groups())
    other = rewritten(folder, tmp_path / "other", lambda _, table: table, original=70, verdicts=5)
    with Browser.open(other) as found:
        assert found.wait_for_index(60).is_finished
        assert found.find(size=ROWS) == browser.find(size=ROWS)
        wanted = Filter(outcomes={"doubtful"}, labels={"worse"})
        assert all_numbers(found, wanted) == expected(wanted)
        for number in range(0, ROWS, 7):
            assert found.row(number) == browser.row(number)


def test_verdicts_on_rows_that_are_not_there_are_told(folder: Path, tmp_path: Path) -> None:
    last = max(path.name for path in (folder / "verdicts").iterdir())

    def changed(name: str, table: pa.Table) -> pa.Table:
        rows = pa.array([*table["row"].to_pylist()[:-1], ROWS])
        return table.set_column(0, "row", rows) if name.endswith(last) else table

    other = rewritten(folder, tmp_path / "other", changed, verdicts=1_000)
    with Browser.open(other) as browser:
        assert f"speaks of row {ROWS}, which `original` lacks" in str(browser.wait_for_index(60).error)


def test_the_cache_keeps_to_its_bytes() -> None:
    cache = ByteLimited(100)
    for number in range(50):
        cache.put(number, f"value {number}", 30)
        assert cache.bytes <= 100
    assert cache.get(49) == "value 49"
    assert cache.get(0) is None
    cache.put("large", "alone", 1000)
    assert (cache.get("large"), cache.get(49)) == ("alone", None)


@pytest.mark.parametrize("damage", ["cut", "zeros", "middle"])
def test_a_damaged_file_is_said_in_a_line(tmp_path: Path, damage: str) -> None:
    folder = built(tmp_path / "release", 40)
    path = sorted((folder / "verdicts").iterdir())[0]
    content = path.read_bytes()
    middle = len(content) // 2
    changed = {
        "cut": content[:-100],
        "zeros": bytes(len(content)),
        "middle": content[: middle - 200] + bytes(400) + content[middle + 200 :],
    }
    path.write_bytes(changed[damage])
    with Browser.open(folder) as browser:
        state = browser.wait_for_index(30)
        if state.error is None:  # the damage is in a column that the index does not hold
            with pytest.raises(BuildError, match="cannot be read") as error:
                [browser.row(number) for number in range(40)]
            assert "\n" not in str(error.value)
            return
        assert "\n" not in state.error
        assert path.name in state.error
        with pytest.raises(BuildError):
            browser.find()


def test_configs_of_two_builds_are_told(tmp_path: Path) -> None:
    folder, other = built(tmp_path / "one", 60), built(tmp_path / "two", 60, seed=1)
    for path in sorted((other / "verdicts").iterdir()):
        (folder / "verdicts" / path.name).write_bytes(path.read_bytes())
    with Browser.open(folder) as browser, pytest.raises(BuildError):
        [browser.row(number) for number in range(60)]


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="did not write"):
        Browser.open(tmp_path)


def test_a_release_on_the_hub_is_read_in_parts(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_here(tmp_path, monkeypatch, log=tmp_path / "log.jsonl") as here:
        here.push(folder, tag="v1.0.0")
        with Browser.open(f"{REPO}@v1.0.0") as browser:
            assert browser.repo_id == REPO
            assert browser.wait_for_index(60).is_finished
            wanted = Filter(outcomes={"false_negative"}, text="what")
            assert all_numbers(browser, wanted) == expected(wanted)
            for number in range(0, ROWS, 9):
                assert browser.row(number).query_id == f"q-{number}"
        assert not list((tmp_path / "cache").rglob("*.parquet"))
        with pytest.raises(ReleaseError, match="no such branch, tag or commit"):
            Browser.open(REPO, revision="v9.9.9")
        with pytest.raises(ReleaseError, match="no such data set"):
            Browser.open("alice/nothing")


def test_a_hub_that_fails_for_a_while_is_asked_again(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http.time, "sleep", lambda _: None)
    with hub_here(tmp_path, monkeypatch) as here:
        here.push(folder)
        with Browser.open(REPO, index=False) as browser:
            path = browser.release.files("original")[0]
            here.failing += [("GET", path, 503), ("GET", path, 429)]
            assert browser.row(1).query_id == "q-1"
            assert here.failing == []


def test_the_index_goes_with_the_browser(folder: Path, tmp_path: Path) -> None:
    with Browser.open(folder, scratch=tmp_path) as browser:
        browser.wait_for_index(30)
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []
