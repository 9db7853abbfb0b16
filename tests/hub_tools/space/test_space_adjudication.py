"""Blind adjudication: what people see, what they answered, and that it arrives."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.audit.exports import CHOICES
from hf_relabel.builders.audit.selection import draw
from hf_relabel.builders.audit.strata import AUDITED, JudgedCandidate
from hf_relabel.builders.errors import ConfigError, ReleaseError
from hf_relabel.builders.judgements import Outcome
from hf_relabel.hub_tools.releases.diff import diff
from hf_relabel.hub_tools.space.data.browsing import Browser
from hf_relabel.hub_tools.space.people.adjudication import Adjudication
from hf_relabel.hub_tools.space.people.allowed import Permission
from hf_relabel.hub_tools.space.people.event_files import events_in_parquet
from hf_relabel.hub_tools.space.people.sample_drawing import draw_blind
from hf_relabel.hub_tools.space.web.views import progress_html
from tests import forked
from tests.hub_tools.space_data import HOSTILE, REPO, Here, built, hub_here, judged_rows

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:httpx2.*")  # how huggingface_hub sends files

ROWS = 120
SIZE = 40
MEMBERS = {"acme": {"alice": "write", "bob": "read"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("space") / "release", ROWS)


@pytest.fixture
def browser(folder: Path) -> Iterator[Browser]:
    with Browser.open(folder) as found:
        yield found


@pytest.fixture(scope="module")
def released(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Hub that has the release."""
    place = tmp_path_factory.mktemp("released")
    with pytest.MonkeyPatch.context() as monkeypatch, hub_here(place, monkeypatch, organisations=MEMBERS) as found:
        found.push(folder)
    return place / "hub"


@pytest.fixture
def here(tmp_path: Path, released: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    shutil.copytree(released, tmp_path / "hub")
    with hub_here(tmp_path, monkeypatch, organisations=MEMBERS) as found:
        yield found


def opened(browser: Browser, folder: Path, **options: Any) -> Adjudication:
    found = Adjudication.open(browser, folder, **{"size": SIZE, "delay": 0.05, "refresh": 600, **options})
    assert found.wait_for_sample(300).is_ready, found.sample_state()
    return found


def answer_some(adjudication: Adjudication, person: str, number: int, seed: int = 0) -> dict[str, str]:
    """Answer the next few questions, at random. Returns what was answered."""
    chance = random.Random(seed)
    given = {}
    for _ in range(number):
        question = adjudication.next(person)
        assert question is not None
        given[question.item] = chance.choice(CHOICES)
        adjudication.answer(person, question.item, given[question.item])
    return given


def answers_of(adjudication: Adjudication, person: str) -> dict[str, str]:
    found = adjudication.to_audit()[1]
    return {each.id: str(each.value or CHOICES[-1]) for each in found if each.person == person}


def test_nothing_that_is_asked_depends_on_what_judges_said(folder: Path, tmp_path: Path) -> None:
    """The same rows, judged the other way round, give questions that differ in nothing but which are asked."""
    texts = {}
    for numbered, verdicts in judged_rows(ROWS):
        for verdict in verdicts:
            passage = numbered.row.negative_passages[verdict.position]
            texts[numbered.row.query, passage.title, passage.text] = numbered.row.positive_passages
    with Browser.open(folder) as browser, opened(browser, tmp_path) as adjudication:
        numbers = []
        for _ in range(SIZE):
            question = adjudication.next("anna")
            assert question is not None
            assert set(asdict(question)) == {"item", "number", "of", "query", "positives", "candidate", "earlier"}
            assert len(question.item) == 16
            positives = texts[question.query, question.candidate.title, question.candidate.text]
            assert [(each.title, each.text) for each in question.positives] == [
                (each.title, each.text) for each in positives
            ]
            numbers.append(question.number)
            adjudication.answer("anna", question.item, "worse")
        assert numbers == list(range(1, SIZE + 1))
        assert adjudication.next("anna") is None


def test_answers_to_what_another_sample_drew_are_kept_told_of_and_count_again(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path) as adjudication:
        given = answer_some(adjudication, "anna", 30)
        assert adjudication.progress("anna").kept == 0
        files = {path: path.read_bytes() for path in adjudication._log.folder.glob("*.jsonl")}
    with opened(browser, tmp_path, seed=3) as other:
        progress = other.progress("anna")
        assert (progress.answered, progress.kept, answers_of(other, "anna")) == (0, 30, {})
        local = Permission("anna", True, "You answer as anna.")
        said = progress_html(local, progress, other.sync_state())
        assert "30 of your answers are to candidates that this sample does not draw. They are kept" in said
        more = answer_some(other, "anna", 2)
    with opened(browser, tmp_path, size=12) as smaller:
        drawn = {item.id for item in smaller.to_audit()[0].items}
        assert answers_of(smaller, "anna") == {item: said for item, said in given.items() if item in drawn}
        assert 0 < smaller.progress("anna").answered == 32 - smaller.progress("anna").kept < 13
    with opened(browser, tmp_path) as again:
        assert answers_of(again, "anna") == given
        assert again.progress("anna").kept == len(more) == 2
    assert all(path.read_bytes() == content for path, content in files.items())


def test_the_order_says_nothing_of_the_verdicts(browser: Browser, tmp_path: Path) -> None:
    """Over many people each verdict comes as often in the first half as in the second."""
    with opened(browser, tmp_path) as adjudication:
        outcomes = {item.id: item.outcome for item in adjudication.to_audit()[0].items}
        orders = [[item.id for item in adjudication._sample.order(f"person {number}")] for number in range(200)]
        assert len(set(map(tuple, orders))) == 200
        for outcome in AUDITED:
            first = sum(outcomes[item] is outcome for order in orders for item in order[: SIZE // 2])
            everywhere = 200 * list(outcomes.values()).count(outcome)
            assert abs(first / everywhere - 0.5) < 0.03


def test_the_sample_is_that_of_an_audit(browser: Browser) -> None:
    """Same strata, sizes and numbers drawn as the audit has from the same candidates, all of them or few."""
    candidates = [
        JudgedCandidate(
            row=numbered.row,
            position=verdict.position,
            outcome=verdict.outcome,
            judges=dict(zip(("cheap", "accurate"), (*verdict.stages, None, None), strict=False)),
            settled_by=[name for name, word in zip(("cheap", "accurate"), verdict.stages, strict=False) if word][-1:][0]
            if any(verdict.stages)
            else "",
            number=numbered.number,
        )
        for numbered, verdicts in judged_rows(ROWS)
        for verdict in verdicts
    ]

    def read(wanted: frozenset[int] | None) -> list[JudgedCandidate]:
        return [each for each in candidates if wanted is None or each.number in wanted]

    for size in (7, SIZE, 10_000):
        mine, theirs = draw_blind(browser, size), draw(read, size)
        assert (mine.strata, mine.cells) == (theirs.strata, theirs.cells)
        assert mine.left_out == theirs.left_out
        assert len({item.id for item in mine.items}) == len(mine.items) == len(theirs.items)
    # All of them are the same items, down to the id.
    weightless = {item.id: item.model_dump(exclude={"signal"}) for item in theirs.items}
    assert {item.id: item.model_dump(exclude={"signal"}) for item in mine.items} == weightless


def test_another_seed_draws_others_and_the_same_seed_the_same(browser: Browser) -> None:
    first, again, other = (draw_blind(browser, SIZE, seed=seed) for seed in (1, 1, 2))
    assert first == again
    pairs = {(item.query_id, item.position) for item in first.items}
    assert pairs != {(item.query_id, item.position) for item in other.items}


@pytest.mark.soak
def test_what_is_drawn_is_random_within_a_stratum(browser: Browser) -> None:
    """Each candidate of a stratum is drawn about as often as the others."""
    seen: Counter[tuple[str, int]] = Counter()
    sizes = {}
    for seed in range(60):
        sample = draw_blind(browser, 60, seed=seed)
        large = max(range(len(sample.strata)), key=lambda number: sample.strata[number].size)
        sizes[large] = sample.strata[large]
        seen.update((item.query_id, item.position) for item in sample.items if sample.cells[item.cell].stratum == large)
    ((_, stratum),) = sizes.items()
    expected = 60 * stratum.drawn / stratum.size
    assert len(seen) > 0.95 * stratum.size
    assert max(seen.values()) < 5 * expected


def test_hostile_texts_come_as_they_are(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, size=10_000) as adjudication:
        questions = [adjudication._question("anna", 1, item) for item in adjudication.to_audit()[0].items]
        assert any(question.query.startswith(HOSTILE) for question in questions)
        for name in ("<b>eve</b>", "../../etc/passwd", "Ærø, 東京", "=1+1"):
            question = adjudication.next(name)
            assert question is not None
            assert adjudication.answer(name, question.item, "better").answered == 1
        assert set(adjudication.agreement().by_person) == {"<b>eve</b>", "../../etc/passwd", "Ærø, 東京", "=1+1"}


@pytest.mark.parametrize("person", ["", "  ", "x" * 97, "new\nline", "\u202eeve"])
def test_names_that_cannot_be_shown_are_refused(browser: Browser, tmp_path: Path, person: str) -> None:
    with opened(browser, tmp_path) as adjudication:
        question = adjudication.next("anna")
        assert question is not None
        with pytest.raises(ConfigError, match="name"):
            adjudication.answer(person, question.item, "better")


def test_answers_that_are_none(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path) as adjudication:
        question = adjudication.next("anna")
        assert question is not None
        with pytest.raises(ConfigError, match="is no answer"):
            adjudication.answer("anna", question.item, "<script>")
        with pytest.raises(ConfigError, match="no item"):
            adjudication.answer("anna", "0" * 16, "better")
        assert adjudication.progress("anna").answered == 0


def test_an_answer_sent_twice_counts_once(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path) as adjudication:
        question = adjudication.next("anna")
        assert question is not None
        for _ in range(3):
            assert adjudication.answer("anna", question.item, "better").answered == 1
        assert len(adjudication._answers) == 1
        adjudication.answer("anna", question.item, "worse")
        assert answers_of(adjudication, "anna") == {question.item: "worse"}


def test_undo_goes_back_one_by_one(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path) as adjudication:
        assert adjudication.undo("anna") is None
        given = answer_some(adjudication, "anna", 5)
        answer_some(adjudication, "ben", 3)
        for item, value in reversed(given.items()):
            again = adjudication.undo("anna", item)
            assert again is not None
            assert (again.item, again.earlier) == (item, value)
            after = adjudication.next("anna")
            assert after is not None
            assert after.item == again.item
            assert adjudication.undo("anna", item) is None  # the key was pressed twice
        assert adjudication.undo("anna") is None
        assert not adjudication.progress("anna").can_undo
        assert adjudication.progress("ben").answered == 3


def test_progress_goes_on_after_a_restart(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path) as adjudication:
        given = answer_some(adjudication, "anna", 9)
        adjudication.undo("anna")
        given.popitem()
        before = adjudication.next("anna")
    with opened(browser, tmp_path) as adjudication:
        assert answers_of(adjudication, "anna") == given
        assert adjudication.next("anna") == before
        assert adjudication.progress("anna").answered == 8


def test_answers_for_a_folder_stay_on_this_machine(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path) as adjudication:
        answer_some(adjudication, "anna", 2)
        state = adjudication.flush(1)
    assert (state.is_local, state.unsent) == (True, 0)


def test_one_persons_answers_stand_for_all_candidates_of_their_kind(browser: Browser, tmp_path: Path) -> None:
    """Somebody answers few of the false negatives, and errs: kappa is what the report says, which weighs by answers."""
    with opened(browser, tmp_path) as adjudication:
        items = adjudication.to_audit()[0].items
        found = [item for item in items if item.outcome is Outcome.FALSE_NEGATIVE]
        rest = [item for item in items if item.outcome is not Outcome.FALSE_NEGATIVE]
        for number, item in enumerate([*found[: len(found) // 4], *rest]):
            adjudication.answer("anna", item.id, "better" if number % 5 else "irrelevant")
        told = adjudication.agreement(newest=True)
        assert told.report is not None
        assert told.by_person["anna"]["verdict"] == pytest.approx(told.report["verdict"]["kappa"]["value"], abs=1e-4)


def test_judges_are_measured_on_what_people_say(browser: Browser, tmp_path: Path) -> None:
    """One person agrees with the verdict on everything, one says the opposite."""
    with opened(browser, tmp_path) as adjudication:
        empty = adjudication.agreement(newest=True)
        assert (empty.answers, empty.report, empty.reason is None) == (0, None, False)
        outcomes = {item.id: item.outcome for item in adjudication.to_audit()[0].items}
        for item, outcome in outcomes.items():
            real = outcome is Outcome.FALSE_NEGATIVE
            adjudication.answer("agreeing", item, "better" if real else "irrelevant")
        agreeing = adjudication.agreement(newest=True)
        assert agreeing.report is not None
        assert agreeing.report["verdict"]["precision"]["value"] == 1.0
        assert agreeing.report["verdict"]["kappa"]["value"] == pytest.approx(1.0)
        for item, outcome in outcomes.items():
            adjudication.answer("opposing", item, "irrelevant" if outcome is Outcome.FALSE_NEGATIVE else "better")
        both = adjudication.agreement(newest=True)
        assert both.by_person["agreeing"]["verdict"] == pytest.approx(1.0)
        assert both.by_person["opposing"]["verdict"] < 0
        assert set(both.by_person["agreeing"]) == {"verdict", "cheap", "accurate"}
        assert both.people["pairs"][0]["same"] == 0
        assert both is adjudication.agreement(newest=True)


def test_an_agreement_that_takes_long_may_be_behind(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_relabel.hub_tools.space.people import agreement as module

    def figures(*given: Any) -> Any:
        threading.Event().wait(0.05)
        return plain(*given)

    plain = module.measured_agreement
    monkeypatch.setattr(module, "measured_agreement", figures)
    monkeypatch.setattr(module, "_LONG_SECONDS", 0.01)
    with opened(browser, tmp_path) as adjudication:
        for number in (1, 2):
            answer_some(adjudication, "anna", 1)
            assert adjudication.agreement().answers == number
        answer_some(adjudication, "anna", 1)
        assert adjudication.agreement().answers == 2
        assert adjudication.agreement(newest=True).answers == 3
        answer_some(adjudication, "anna", 1)
        until = time.monotonic() + 300
        while adjudication.agreement().answers < 4:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_answers_are_committed_and_load_as_a_config(here: Here, folder: Path, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    api = HfApi()
    before = Path(api.hf_hub_download(REPO, "README.md", repo_type="dataset")).read_text()
    with Browser.open(REPO) as browser, opened(browser, tmp_path / "disk") as adjudication:
        given = {person: answer_some(adjudication, person, 4, seed) for seed, person in enumerate(("anna", "ben"))}
        undone = adjudication.undo("ben")
        assert undone is not None
        del given["ben"][undone.item]
        state = adjudication.flush(120)
        assert (state.unsent, state.error, state.is_local) == (0, None, False)
    readme = Path(api.hf_hub_download(REPO, "README.md", repo_type="dataset")).read_text()
    assert readme.split("---\n", 2)[2] == before.split("---\n", 2)[2]
    loaded = loaded_config(tmp_path, here)
    assert loaded["features"]["time"] == "string"
    assert len(loaded["lines"]) == 9
    assert len({line["event"] for line in loaded["lines"]}) == 9
    standing = {
        (line["person"], line["item"]): line["answer"] for line in loaded["lines"] if line["action"] == "answer"
    }
    standing.pop(("ben", undone.item))
    assert standing == {(person, item): value for person, mine in given.items() for item, value in mine.items()}
    assert loaded["others"]["relabel"] > 0


LOAD = """
import json, sys, datasets
datasets.disable_progress_bars()
found = datasets.load_dataset(sys.argv[1], "human", split="train")
others = {name: len(datasets.load_dataset(sys.argv[1], name, split="train")) for name in ("relabel", "verdicts")}
features = {name: kind.dtype for name, kind in found.features.items()}
print(json.dumps({"features": features, "lines": list(found), "others": others}))
"""


def loaded_config(folder: Path, here: Here) -> Any:
    done = run(LOAD, here, folder, REPO)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def run(code: str, here: Here, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.run(code, *arguments, env=environment(here, folder))


def environment(here: Here, folder: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**clean, "HF_ENDPOINT": here.hub.url, "HF_TOKEN": here.hub.tokens["alice"], "HF_HOME": str(folder / "home")}


def test_a_release_keeps_the_answers_and_an_equal_one_changes_nothing(here: Here, folder: Path, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    with Browser.open(REPO) as browser, opened(browser, tmp_path / "disk") as adjudication:
        answer_some(adjudication, "anna", 3)
        assert adjudication.flush(120).unsent == 0
    head = HfApi().dataset_info(REPO).sha
    assert here.push(folder) == "v1.0.0"
    assert HfApi().dataset_info(REPO).sha == head
    built(tmp_path / "next", ROWS, seed=5)
    assert here.push(tmp_path / "next") == "v1.1.0"
    assert len(loaded_config(tmp_path, here)["lines"]) == 3
    # The new release asks about other candidates, and the answers to the old ones are still there.
    with Browser.open(f"{REPO}@v1.0.0") as browser, opened(browser, tmp_path / "other disk") as adjudication:
        assert adjudication.progress("anna").answered == 3


@pytest.mark.parametrize(
    "status", [412, 503, *(pytest.param(each, marks=pytest.mark.soak) for each in (409, 429, 500))]
)
def test_a_hub_that_refuses_for_a_while_gets_everything_once(
    here: Here, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_relabel.hub_tools.space.people import sending

    monkeypatch.setattr(sending, "LONGEST_WAIT", 0.2)
    with Browser.open(REPO) as browser, opened(browser, tmp_path / "disk") as adjudication:
        here.failing += [("POST", "/commit/main", status)] * 3
        given = answer_some(adjudication, "anna", 6)
        for _ in range(50):
            if not adjudication.flush(5).unsent:
                break
        state = adjudication.sync_state()
        assert (state.unsent, state.error) == (0, None)
        assert here.failing == []
    assert events_on_hub() == {("anna", item, value): 1 for item, value in given.items()}


def events_on_hub(repo: str = REPO) -> Counter[tuple[str, str, str]]:
    """What is in the config, whatever the files."""
    from huggingface_hub import HfApi

    api = HfApi()
    found: Counter[tuple[str, str, str]] = Counter()
    for path in api.list_repo_files(repo, repo_type="dataset"):
        if path.startswith("human/"):
            content = Path(api.hf_hub_download(repo, path, repo_type="dataset")).read_bytes()
            found.update((each.person, each.item, each.answer) for each in events_in_parquet(content)[0])
    return found


def test_a_hub_that_refuses_for_good_is_said_and_nothing_is_lost(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's token may not write. With another one, the same disk sends all of it."""
    token = here.hub.tokens["bob"]
    with Browser.open(REPO) as browser:
        with opened(browser, tmp_path / "disk", token=token) as adjudication:
            given = answer_some(adjudication, "anna", 4)
            state = adjudication.flush(120)
            assert state.unsent == 4
            assert state.error is not None
            assert "the Hub answered 403" in state.error
            assert token not in state.error
            assert state.retry_in is not None
        with opened(browser, tmp_path / "disk") as adjudication:
            assert adjudication.flush(120).unsent == 0
    assert events_on_hub() == {("anna", item, value): 1 for item, value in given.items()}


def test_a_server_whose_disk_is_gone_goes_on_from_the_hub(here: Here, tmp_path: Path) -> None:
    with Browser.open(REPO) as browser:
        with opened(browser, tmp_path / "first") as adjudication:
            given = answer_some(adjudication, "anna", 7)
            assert adjudication.flush(120).unsent == 0
        with opened(browser, tmp_path / "second") as adjudication:
            assert answers_of(adjudication, "anna") == given
            undone = adjudication.undo("anna")
            assert undone is not None
            assert adjudication.flush(120).unsent == 0
        with opened(browser, tmp_path / "third") as adjudication:
            assert adjudication.progress("anna").answered == 6


def test_commits_are_some_time_apart(here: Here, tmp_path: Path) -> None:
    """The Hub takes so many in an hour; what is not sent yet is on the disk, and counted."""
    from huggingface_hub import HfApi

    before = len(HfApi().list_repo_commits(REPO, repo_type="dataset"))
    with Browser.open(REPO) as browser, opened(browser, tmp_path / "disk", delay=0.1) as adjudication:
        began = time.monotonic()
        commits = 0
        while time.monotonic() < began + 2.0 or (commits == 0 and time.monotonic() < began + 120.0):
            answer_some(adjudication, "anna", 1)
            time.sleep(0.1)
            commits = len(HfApi().list_repo_commits(REPO, repo_type="dataset")) - before
        took = time.monotonic() - began
        assert 1 <= commits <= 2 + took / 0.6
        assert adjudication.flush(120).unsent == 0


def test_servers_hear_of_each_others_answers(here: Here, tmp_path: Path) -> None:
    with (
        Browser.open(REPO) as browser,
        opened(browser, tmp_path / "one") as one,
        opened(browser, tmp_path / "two", refresh=0.1) as two,
    ):
        given = answer_some(one, "anna", 3)
        one.flush(120)
        for _ in range(3000):
            if two.progress("anna").answered == 3:
                break
            threading.Event().wait(0.1)
        assert answers_of(two, "anna") == given


def test_a_look_that_fails_half_way_loses_nobodys_answer(here: Here, tmp_path: Path) -> None:
    """What was read before a file could not be had counts at once, and the rest with the next look."""
    people = ("anna", "bert", "cleo")
    with Browser.open(REPO) as browser, opened(browser, tmp_path / "here") as adjudication:
        items = [item.id for item in adjudication.to_audit()[0].items]
        for person in people:
            with opened(browser, tmp_path / person) as elsewhere:
                elsewhere.answer(person, items[0], "worse")
                assert elsewhere.flush(120).unsent == 0
        here.failing += [("GET", sorted(answer_files())[1], 503)]
        with pytest.raises(ReleaseError, match="503"):
            adjudication.refresh()
        assert here.failing == []
        assert sum(len(answers_of(adjudication, person)) for person in people) == 2
        adjudication.refresh()
        assert [answers_of(adjudication, person) for person in people] == [{items[0]: "worse"}] * 3


def test_one_file_that_the_hub_refuses_keeps_no_server_from_opening(here: Here, tmp_path: Path) -> None:
    with Browser.open(REPO) as browser:
        for person in ("anna", "bert"):
            with opened(browser, tmp_path / person) as elsewhere:
                item = elsewhere.to_audit()[0].items[0].id
                elsewhere.answer(person, item, "worse")
                assert elsewhere.flush(120).unsent == 0
        here.failing += [("GET", sorted(answer_files())[0], 403)]
        with opened(browser, tmp_path / "fresh") as fresh:
            assert sum(len(answers_of(fresh, person)) for person in ("anna", "bert")) == 1
            state = fresh.sync_state()
            assert "403" in str(state.unread)
            said = progress_html(Permission("anna", True, ""), fresh.progress("anna"), state)
            assert "Answers of others are missing here until it can be read" in said
            fresh.refresh()
            assert fresh.sync_state().unread is None
            assert sum(len(answers_of(fresh, person)) for person in ("anna", "bert")) == 2


def answer_files() -> list[str]:
    from huggingface_hub import HfApi

    return [path for path in HfApi().list_repo_files(REPO, repo_type="dataset") if path.startswith("human/")]


def test_looks_go_on_after_one_that_fails_in_an_unknown_way(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def fails(adjudication: Adjudication) -> None:
        looked.append(1)
        if len(looked) < 3:
            raise ValueError("what no library promised")
        adjudication._closing.set()

    with Browser.open(REPO) as browser, opened(browser, tmp_path) as adjudication:
        monkeypatch.setattr(Adjudication, "refresh", fails)
        adjudication._keep_fresh(0.0)
    assert len(looked) == 3


def test_many_people_at_once_lose_nothing(here: Here, tmp_path: Path) -> None:
    """Four people on two servers, at the same time, while somebody else commits to the data set."""
    from huggingface_hub import HfApi

    given: dict[str, dict[str, str]] = {}
    with (
        Browser.open(REPO) as browser,
        opened(browser, tmp_path / "one") as one,
        opened(browser, tmp_path / "two") as two,
    ):

        def answer(person: str, adjudication: Adjudication, seed: int) -> None:
            given[person] = answer_some(adjudication, person, SIZE, seed)

        people = {"anna": one, "ben": one, "cleo": two, "dan": two}
        threads = [
            threading.Thread(target=answer, args=(person, adjudication, seed))
            for seed, (person, adjudication) in enumerate(people.items())
        ]
        for thread in threads:
            thread.start()
        for number in range(5):
            HfApi().upload_file(
                path_or_fileobj=b"x", path_in_repo=f"notes/{number}.txt", repo_id=REPO, repo_type="dataset"
            )
        for thread in threads:
            thread.join()
        for adjudication in (one, two):
            assert adjudication.flush(60).unsent == 0, adjudication.sync_state()
        one.refresh()
        assert all(answers_of(one, person) == mine for person, mine in given.items())
    assert events_on_hub() == {(who, item, value): 1 for who, mine in given.items() for item, value in mine.items()}


ANSWER = """
import sys
from pathlib import Path
from hf_relabel.hub_tools.space.people.adjudication import Adjudication
from hf_relabel.hub_tools.space.data.browsing import Browser
repo, folder, person, number = sys.argv[1:]
with Browser.open(repo, index=False) as browser:
    adjudication = Adjudication.open(browser, Path(folder), size=40, delay=0.05)
    adjudication.wait_for_sample(300)
    for _ in range(int(number)):
        question = adjudication.next(person)
        adjudication.answer(person, question.item, "better")
        print(question.item, flush=True)
    adjudication.close()
print("done", flush=True)
"""


@pytest.mark.soak
def test_processes_that_share_a_disk_and_are_killed_lose_nothing(here: Here, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    acknowledged: dict[str, list[str]] = {"anna": [], "ben": []}
    for turn in range(2):
        running = {
            person: forked.start(ANSWER, REPO, str(disk), person, "15", env=environment(here, tmp_path))
            for person in acknowledged
        }
        for person, process in running.items():
            lines = []
            for line in process.stdout:
                lines.append(line.strip())
                if turn == 0 and len(lines) == 5:
                    process.kill()
            _, errors = process.communicate()
            assert turn == 0 or "done" in lines, errors[-2000:]
            acknowledged[person] += [line for line in lines if len(line) == 16]
    with Browser.open(REPO) as browser, opened(browser, disk) as adjudication:
        assert adjudication.flush(120).unsent == 0
        for person, items in acknowledged.items():
            assert len(set(items)) == len(items)
            found = answers_of(adjudication, person)
            assert set(items) <= set(found)
            assert len(found) <= len(items) + 10
    assert set(events_on_hub().values()) == {1}


def test_what_somebody_changed_by_hand_stays(here: Here, tmp_path: Path) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from huggingface_hub import HfApi

    api = HfApi()
    with Browser.open(REPO) as browser:
        with opened(browser, tmp_path / "disk") as adjudication:
            given = answer_some(adjudication, "anna", 3)
            adjudication.flush(120)
            (path,) = [each for each in api.list_repo_files(REPO, repo_type="dataset") if each.startswith("human/")]
            changed = io.BytesIO()
            pq.write_table(pa.table({"mine": [1, 2]}), changed)
            api.upload_file(path_or_fileobj=changed.getvalue(), path_in_repo=path, repo_id=REPO, repo_type="dataset")
            given |= answer_some(adjudication, "anna", 1)
            assert adjudication.flush(120).unsent == 0
        kept = Path(api.hf_hub_download(REPO, path, repo_type="dataset")).read_bytes()
        assert kept == changed.getvalue()
        with opened(browser, tmp_path / "other") as adjudication:
            assert answers_of(adjudication, "anna") == given


@pytest.mark.soak
def test_an_audit_is_reported_from_the_answers_on_the_hub(here: Here, tmp_path: Path) -> None:
    command = "from hf_relabel.hub_tools.commands import main; main()"
    nobody = run(command, here, tmp_path, "audit", "report", REPO)
    assert nobody.returncode == 2
    assert "nobody has answered" in nobody.stderr
    with Browser.open(REPO) as browser, opened(browser, tmp_path / "disk", seed=3) as adjudication:
        answer_some(adjudication, "anna", SIZE)
        answer_some(adjudication, "ben", 5, seed=1)
        assert adjudication.flush(120).unsent == 0
        report = adjudication.agreement(newest=True).report
    done = run(command, here, tmp_path, "audit", "report", REPO, "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert {**json.loads(done.stdout), "written_to": None} == {**dict(report or {}), "written_to": None}


def test_the_sample_is_kept_where_it_was_drawn(here: Here, tmp_path: Path) -> None:
    with Browser.open(REPO) as browser, opened(browser, tmp_path) as adjudication:
        sample = adjudication.to_audit()[0]
    with Browser.open(REPO, index=False) as browser:
        browser.files.files = None  # type: ignore[assignment] - nothing may be read
        with opened(browser, tmp_path) as adjudication:
            assert adjudication.to_audit()[0] == sample


def test_a_release_that_nobody_judged(tmp_path: Path) -> None:
    from hf_relabel.builders.configs.writing import write_configs

    rows = ((numbered, []) for numbered, _ in judged_rows(20))
    write_configs(rows, tmp_path / "plain", stage_names=[])
    with Browser.open(tmp_path / "plain") as browser:
        adjudication = Adjudication.open(browser, tmp_path / "disk")
        state = adjudication.wait_for_sample(30)
        assert state.error is not None
        assert "nothing to answer for" in state.error
        with pytest.raises(ConfigError, match="nothing to answer for"):
            adjudication.next("anna")
        adjudication.close()


def test_nothing_differs_but_the_answers(here: Here, folder: Path, tmp_path: Path) -> None:
    """A diff, a pull and a load of a release with answers are as without."""
    with Browser.open(REPO) as browser, opened(browser, tmp_path / "disk") as adjudication:
        answer_some(adjudication, "anna", 2)
        adjudication.flush(120)
    assert not diff(f"{REPO}@v1.0.0", REPO).differ
