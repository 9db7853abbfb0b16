"""Committing beside others: whose turn it is, what is waited for, and what is given up on."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, errors

from hf_relabel.builders.errors import JobError, ReleaseError
from hf_relabel.hub_tools.hub.commit import Repository
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.hub.limits import retry_after
from hf_relabel.hub_tools.jobs.keeping import Kept
from hf_relabel.hub_tools.jobs.service import ServiceAway
from hf_relabel.hub_tools.local_hub import LocalHub
from hf_relabel.hub_tools.releases.repository import RemoteFile

REPO = "user/set"


class Away(ReleaseError):
    """Not now."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub(tmp_path_factory.mktemp("hub"), users={"user": "hf_of_user"}) as started:
        yield started


@pytest.fixture
def repository(hub: LocalHub) -> Iterator[Repository]:
    api = HfApi(endpoint=hub.url, token="hf_of_user")
    made = Repository(api, REPO, busy=Away)
    made.create()
    yield made
    api.delete_repo(REPO, repo_type="dataset")


def head(repository: Repository) -> str:
    return str(repository.api.dataset_info(REPO).sha)


def operation(text: str) -> list[Any]:
    return [CommitOperationAdd("notes.txt", text.encode())]


def answer(status: int, **headers: str) -> errors.HfHubHTTPError:
    response: Any = SimpleNamespace(status_code=status, headers=headers, request=None)
    return errors.HfHubHTTPError("no", response=response)


def test_where_somebody_was_first_nothing_is_committed(repository: Repository) -> None:
    before = head(repository)
    first = repository.commit(operation("one"), "One", before)
    assert first is not None
    assert repository.commit(operation("two"), "Two", before) is None
    assert head(repository) == first.oid


def test_the_commit_is_worked_out_anew_on_top_of_theirs(repository: Repository) -> None:
    heads, waited = [head(repository)], list[int]()
    repository.commit(operation("theirs"), "Theirs", heads[0])
    done = repository.until_first(
        lambda: repository.commit(operation("ours"), "Ours", heads[-1]),
        again=lambda: heads.append(head(repository)),
        then="Come back.",
        wait=waited.append,
    )
    assert (head(repository), len(heads), waited) == (done.oid, 2, [1])


def test_in_the_end_it_is_given_up(repository: Repository) -> None:
    stale = head(repository)
    repository.commit(operation("theirs"), "Theirs", stale)
    with pytest.raises(Away, match=r"user/set: 3 times somebody else was first\. Come back\."):
        repository.until_first(
            lambda: repository.commit(operation("ours"), "Ours", stale),
            then="Come back.",
            attempts=3,
            wait=lambda number: None,
        )


def test_a_tag_that_is_there_is_no_harm_and_one_of_another_commit_is(repository: Repository) -> None:
    first = head(repository)
    assert [repository.tag("v1.0.0", first), repository.tag("v1.0.0", first)] == [True, False]
    done = repository.commit(operation("one"), "One", first)
    assert done is not None
    with pytest.raises(ReleaseError, match=r"somebody made a tag of that name for another commit"):
        repository.tag("v1.0.0", done.oid)


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (answer(503), Away),
        (answer(429), Away),
        (vars(errors)["HTTPError"]("no"), Away),
        (ConnectionResetError(), Away),
        (answer(400), ReleaseError),
    ],
)
def test_what_may_go_well_later_is_told_apart(cause: Exception, kind: type[ReleaseError]) -> None:
    with pytest.raises(ReleaseError) as raised, hub_errors(REPO, busy=Away):
        raise cause
    assert type(raised.value) is kind


@pytest.mark.parametrize(("said", "wait"), [("7", 7.0), ("900", 300.0), ("-1", 0.0), ("soon", None), (None, None)])
def test_the_hub_says_when_to_come_back(said: str | None, wait: float | None) -> None:
    assert retry_after(answer(429, **({} if said is None else {"Retry-After": said})), 300.0) == wait


class Unreliable(HfApi):
    """An API whose commits fail so often, and count."""

    def __init__(self, failures: list[int]) -> None:
        super().__init__(endpoint="http://127.0.0.1:9", token="hf_of_user")
        self.failures, self.asked = failures, 0

    def create_commit(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        if self.failures:
            raise answer(self.failures.pop(0))
        return SimpleNamespace(oid="a" * 40)

    def dataset_info(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(sha="b" * 40)

    def get_paths_info(self, *_: Any, **__: Any) -> Any:
        return []


@pytest.mark.parametrize(
    ("failures", "asked", "kind"), [([503, 500], 3, None), ([403], 1, JobError), ([503] * 9, 5, ServiceAway)]
)
def test_a_job_asks_again_only_where_that_helps(
    failures: list[int], asked: int, kind: type[JobError] | None, tmp_path: Path
) -> None:
    """A refusal was asked for five times, half a minute long."""
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        journal.execute("CREATE TABLE t (x)")
    api = Unreliable(failures)
    kept = Kept(api, REPO, tmp_path, "journal.sqlite", [], wait=lambda seconds: None)
    if kind is None:
        assert kept.save_journal() == 0
    else:
        with pytest.raises(JobError) as raised:
            kept.save_journal()
        assert type(raised.value) is kind
    assert api.asked == asked


class Deaf(HfApi):
    """An API whose first commit is made, but its answer is lost."""

    lost = False

    def create_commit(self, *arguments: Any, **options: Any) -> Any:
        done = super().create_commit(*arguments, **options)
        if not self.lost:
            self.lost = True
            raise answer(504)
        return done


def test_a_journal_whose_answer_was_lost_is_not_taken_for_that_of_another_run(
    repository: Repository, tmp_path: Path
) -> None:
    api = Deaf(endpoint=repository.api.endpoint, token="hf_of_user")
    kept = Kept(api, REPO, tmp_path, "journal.sqlite", [], wait=lambda seconds: None)
    kept.restore()
    for line in ("a", "b"):
        with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal, journal:
            journal.execute(f"CREATE TABLE {line} (x)")
        assert kept.save_journal() == 0
    assert api.lost


def test_a_file_is_compared_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights were read whole to be compared with those on the Hub."""
    import hashlib

    content = b"weights" * 400_000
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("read whole"))
    there = RemoteFile(len(content), hashlib.sha256(content).hexdigest(), "")
    in_git = RemoteFile(len(content), None, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest())
    assert there.holds(path)
    assert in_git.holds(path)
    assert not RemoteFile(len(content), "0" * 64, "").holds(path)
    assert there.holds(content)


def test_all_commands_ask_the_hub_by_the_client_that_waits() -> None:
    """Others are those that answer people's requests, and questions about the models of servers, which end soon."""
    import hf_relabel

    root = Path(str(hf_relabel.__file__)).parent
    others = ("hub_tools/space/running.py", "hub_tools/space/people/", "hub_tools/endpoints/", "trainers/loading.py")
    found = [
        path.relative_to(root).as_posix()
        for room in ("hub_tools", "trainers")
        for path in (root / room).rglob("*.py")
        if re.search(r"\bHfApi\(\S*\)|import hf_hub_download\b", path.read_text(encoding="utf-8"))
    ]
    assert not [path for path in found if not path.startswith(others)]
