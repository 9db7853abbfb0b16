"""A Job's journal and outputs in a private bucket, with the real client against a local Hub."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils import disable_progress_bars

from hf_relabel.builders.errors import JobError
from hf_relabel.hub_tools.hub.api import HubApi
from hf_relabel.hub_tools.jobs import in_job
from hf_relabel.hub_tools.jobs.bucket_keeping import KeptInBucket
from hf_relabel.hub_tools.jobs.in_job import RunSettings
from hf_relabel.hub_tools.jobs.keeping import Kept
from hf_relabel.hub_tools.jobs.kept_place import ready_to_keep
from hf_relabel.hub_tools.jobs.service import JobSpec, ServiceAway
from hf_relabel.hub_tools.jobs.submission import Submission
from hf_relabel.hub_tools.local_hub import LocalHub

REPO = "user/relabel-job-small"
JOURNAL = "work/journal.sqlite"


class Refusing:
    """What the Hub refuses, by how its address ends, and how often."""

    def __init__(self) -> None:
        self.left: dict[str, list[int]] = {}
        self.asked: list[str] = []

    def __call__(self, method: str, path: str) -> int | None:
        self.asked.append(f"{method} {path}")
        return next((statuses.pop(0) for end, statuses in self.left.items() if path.endswith(end) and statuses), None)


@pytest.fixture(scope="module")
def refusing() -> Refusing:
    return Refusing()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, refusing: Refusing) -> Iterator[LocalHub]:
    disable_progress_bars()
    users = {"user": "hf_user", "other": "hf_other"}
    with LocalHub(tmp_path_factory.mktemp("hub"), users=users, fail=refusing) as hub:
        yield hub


@pytest.fixture
def api(hub: LocalHub, refusing: Refusing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HfApi]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    api = HubApi(endpoint=hub.url, token=hub.tokens["user"])
    api.create_repo(REPO, repo_type="dataset", private=True)
    api.create_bucket(REPO, private=True)
    yield api
    refusing.left.clear()
    api.delete_repo(REPO, repo_type="dataset")
    api.delete_bucket(REPO, missing_ok=True)


@pytest.fixture
def kept(api: HfApi, tmp_path: Path) -> Callable[..., KeptInBucket]:
    """Makes what a Job keeps by, on a machine of its own."""

    def made(name: str = "one", **values: Any) -> KeptInBucket:
        (tmp_path / name).mkdir(exist_ok=True)
        values = {"outputs": [], "wait": lambda seconds: None, **values}
        return KeptInBucket(api, REPO, tmp_path / name, "journal.sqlite", **values)

    return made


def judged(kept: KeptInBucket | Kept, *answers: int) -> None:
    """Write judgements into the journal of a run."""
    with closing(sqlite3.connect(kept.folder / kept.journal)) as journal, journal:
        for table in ("answers", "failures"):
            journal.execute(f"CREATE TABLE IF NOT EXISTS {table} (x)")
        journal.executemany("INSERT INTO answers VALUES (?)", [(answer,) for answer in answers])


def answers_in(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as journal:
        assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [answer for (answer,) in journal.execute("SELECT x FROM answers ORDER BY x")]


def in_bucket(api: HfApi) -> list[str]:
    return [entry.path for entry in api.list_bucket_tree(REPO)]


def test_the_next_job_goes_on_from_what_is_kept(api: HfApi, kept: Callable[..., KeptInBucket]) -> None:
    first = kept()
    assert first.restore() == 0
    judged(first, 1, 2)
    assert first.save_journal() == 2
    assert first.save_journal() is None, "the same is not sent again"
    judged(first, 3)
    assert first.save_journal() == 3
    assert in_bucket(api) == [JOURNAL], "the newest only"
    second = kept("two")
    assert second.restore() == 1
    assert not second.from_history
    assert answers_in(second.folder / "journal.sqlite") == [1, 2, 3]
    assert second.save_journal() is None


def test_a_journal_that_is_written_to_is_sent_as_a_whole(api: HfApi, kept: Callable[..., KeptInBucket]) -> None:
    run = kept()
    run.restore()
    judged(run, 1)
    with closing(sqlite3.connect(run.folder / "journal.sqlite")) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("INSERT INTO answers VALUES (2)")
        writer.commit()  # in the -wal file only
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO answers VALUES (3)")
        assert run.save_journal() == 2
        writer.rollback()
    other = kept("two")
    other.restore()
    assert answers_in(other.folder / "journal.sqlite") == [1, 2]
    assert in_bucket(api) == [JOURNAL]


def test_two_runs_do_not_overwrite_each_others_journal(kept: Callable[..., KeptInBucket]) -> None:
    one, two = kept("one"), kept("two")
    one.restore()
    two.restore()
    judged(one, 1)
    judged(two, 2)
    assert one.save_journal() == 1
    with pytest.raises(JobError, match="another run saves its journal there"):
        two.save_journal()


def test_a_journal_whose_answer_was_lost_is_not_taken_for_that_of_another_run(
    api: HfApi, kept: Callable[..., KeptInBucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = kept()
    run.restore()
    real, lost = type(api).batch_bucket_files, []

    def deaf(self: HfApi, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        if not lost:
            lost.append(1)
            raise ConnectionError("the answer was lost")

    monkeypatch.setattr(type(api), "batch_bucket_files", deaf)
    judged(run, 1)
    assert run.save_journal() == 1
    judged(run, 2)
    assert run.save_journal() == 2
    assert lost


@pytest.mark.parametrize(("failures", "kind", "asked"), [(1, None, 2), (9, ServiceAway, 5)])
def test_a_hub_that_cannot_be_reached_is_asked_again(
    failures: int,
    kind: type[JobError] | None,
    asked: int,
    api: HfApi,
    kept: Callable[..., KeptInBucket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = kept()
    run.restore()
    judged(run, 1)
    real, tried = type(api).batch_bucket_files, []

    def away(self: HfApi, *arguments: Any, **options: Any) -> None:
        tried.append(1)
        if len(tried) <= failures:
            raise ConnectionError("nobody answers")
        real(self, *arguments, **options)

    monkeypatch.setattr(type(api), "batch_bucket_files", away)
    if kind is None:
        assert run.save_journal() == 1
    else:
        with pytest.raises(kind, match="cannot be reached"):
            run.save_journal()
    assert len(tried) == asked


def is_dead(*_: Any, **__: Any) -> None:
    raise ConnectionError("the Hub died")


@pytest.mark.parametrize(
    ("kind", "sends", "asks"),
    [(KeptInBucket, "batch_bucket_files", "get_bucket_paths_info"), (Kept, "create_commit", "dataset_info")],
)
def test_what_arrived_and_was_never_answered_is_no_other_run_when_more_was_judged(
    kind: Any, sends: str, asks: str, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = kind(api, REPO, tmp_path, "journal.sqlite", [], wait=lambda seconds: None)
    run.restore()
    judged(run, 1)
    real = getattr(type(api), sends)
    with monkeypatch.context() as patch:

        def dies(self: HfApi, *arguments: Any, **options: Any) -> Any:
            real(self, *arguments, **options)
            for name in (sends, asks):
                patch.setattr(type(api), name, is_dead)
            is_dead()

        patch.setattr(type(api), sends, dies)
        with pytest.raises(ServiceAway):
            run.save_journal()
    judged(run, 2)
    assert run.save_journal() == 2
    other = kind(api, REPO, tmp_path / "other", "journal.sqlite", [])
    other.restore()
    assert answers_in(other.folder / "journal.sqlite") == [1, 2]


@pytest.mark.parametrize("status", [409, 412])
def test_a_bucket_that_somebody_else_writes_to_just_now_is_asked_again(
    status: int, kept: Callable[..., KeptInBucket], refusing: Refusing
) -> None:
    run = kept(outputs=["out"])
    run.restore()
    judged(run, 1)
    (run.folder / "out").write_text("told", encoding="utf-8")
    refusing.left["/batch"] = [status] * 2
    assert run.save_journal() == 1
    refusing.left["/batch"] = [status] * 2
    assert run.save_outputs() == ["out"]
    refusing.left["/batch"] = [status] * 5
    judged(run, 2)
    with pytest.raises(ServiceAway, match="5 times somebody else was first"):
        run.save_journal()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("hf_secretsecret of Xet")])
def test_a_save_that_fails_on_this_machine_stops_no_run(
    error: Exception, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    run = in_job._Run(api, RunSettings(REPO, "user", "journal.sqlite", keep_by="bucket", save_every=0), tmp_path)
    monkeypatch.setattr(KeptInBucket, "save_journal", fails)
    ran = tmp_path / "ran"
    child = f"import pathlib, time; time.sleep(.6); pathlib.Path({str(ran)!r}).touch()"
    monkeypatch.setattr(run, "_command", lambda parameters: [sys.executable, "-c", child])
    assert run._run_job({}) == 0
    assert ran.exists()
    assert run._save_all() == JobError.exit_code
    out = capsys.readouterr().out
    assert f"Warning: not saved this time. {type(error).__name__}: " in out
    assert "Error: the journal could not be saved." in out
    assert "secret" not in out


def test_a_refusal_is_told_at_once(kept: Callable[..., KeptInBucket], refusing: Refusing) -> None:
    run = kept()
    run.restore()
    judged(run, 1)
    refusing.left["/batch"] = [403] * 9
    with pytest.raises(JobError, match="the Hub answered 403"):
        run.save_journal()
    assert len(refusing.left["/batch"]) == 8


def test_outputs_take_the_place_of_those_before(api: HfApi, kept: Callable[..., KeptInBucket]) -> None:
    run = kept(outputs=["out", "told.json", "never"])
    run.restore()
    out = run.folder / "out"
    (out / "deep").mkdir(parents=True)
    for name in ("a.txt", "half.tmp", ".hidden", "deep/b.txt", "journal.sqlite-wal"):
        (out / name).write_text(name, encoding="utf-8")
    (run.folder / "told.json").write_text("{}", encoding="utf-8")
    assert run.save_outputs() == ["out", "told.json"]
    assert in_bucket(api) == ["work/out/a.txt", "work/out/deep/b.txt", "work/told.json"]
    (out / "a.txt").rename(out / "c.txt")
    run.save_outputs()
    assert in_bucket(api) == ["work/out/c.txt", "work/out/deep/b.txt", "work/told.json"]
    again = kept("two", outputs=["out", "told.json"])
    assert again.restore() == 3
    assert (again.folder / "out" / "deep" / "b.txt").read_text(encoding="utf-8") == "deep/b.txt"


def test_a_journal_in_commits_is_read_once_and_kept_in_the_bucket_from_then_on(
    api: HfApi, kept: Callable[..., KeptInBucket], tmp_path: Path
) -> None:
    (tmp_path / "before").mkdir()
    before = Kept(api, REPO, tmp_path / "before", "journal.sqlite", ["out"])
    before.restore()
    judged(before, 1, 2)
    (before.folder / "out").mkdir()
    (before.folder / "out" / "old.txt").write_text("old", encoding="utf-8")
    before.save_journal()
    before.save_outputs()

    first = kept(outputs=["out"])
    assert first.restore() == 2
    assert first.from_history
    assert answers_in(first.folder / "journal.sqlite") == [1, 2]
    assert first.save_journal() == 2, "as it was, and now in the bucket"
    (first.folder / "out" / "old.txt").rename(first.folder / "out" / "new.txt")
    first.save_outputs()

    second = kept("two", outputs=["out"])
    second.restore()
    assert not second.from_history
    assert sorted(path.name for path in (second.folder / "out").iterdir()) == ["new.txt"], "the old ones are left"


def test_what_is_carried_comes_from_the_data_set_each_time(api: HfApi, kept: Callable[..., KeptInBucket]) -> None:
    for content in (b"one", b"two"):
        api.upload_file(path_or_fileobj=content, path_in_repo="work/a/b.txt", repo_id=REPO, repo_type="dataset")
        run = kept(content.decode(), carried=("a/b.txt",))
        run.restore()
        assert (run.folder / "a" / "b.txt").read_bytes() == content
        judged(run, 1)
        run.save_journal()


def test_the_log_says_where_a_journal_of_before_came_from(
    api: HfApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "before").mkdir()
    before = Kept(api, REPO, tmp_path / "before", "journal.sqlite", [])
    judged(before, 1)
    before.save_journal()
    settings = RunSettings(REPO, "user", "journal.sqlite", keep_by="bucket")
    for told in (f"The journal is that of the commits of {REPO}", None):
        run = in_job._Run(api, RunSettings.from_json(settings.to_json()), tmp_path)
        run._restore()
        out = capsys.readouterr().out
        assert f"1 kept files were fetched from hf://buckets/{REPO}" in out
        assert (told or "") in out
        assert ("that of the commits" in out) == (told is not None)
        run._save_all()
        assert f"Journal and outputs are kept in hf://buckets/{REPO}." in capsys.readouterr().out


def test_settings_of_before_go_on_in_commits(api: HfApi, tmp_path: Path) -> None:
    text = '{"repo_id": "user/a", "namespace": "user", "journal": "j", "outputs": ["o"], "judge": null}'
    run = in_job._Run(api, RunSettings.from_json(text), tmp_path)
    assert isinstance(run.kept, Kept)
    assert run.kept.place == "user/a"


# Before a Job is paid for


def submission(**changes: Any) -> Submission:
    job = JobSpec("name", "image", (), "cpu-basic", "1h")
    return replace(Submission("user", REPO, {}, (), job, None, "bucket", "journal.sqlite"), **changes)


def test_the_bucket_is_made_private(api: HfApi) -> None:
    api.delete_bucket(REPO)
    ready_to_keep(api, submission())
    ready_to_keep(api, submission())
    assert api.bucket_info(REPO).private
    api.update_bucket_settings(REPO, private=False)
    with pytest.raises(JobError, match=f"hf://buckets/{REPO} is public"):
        ready_to_keep(api, submission())


@pytest.mark.parametrize(("status", "said"), [(404, "has no buckets"), (405, "has no buckets"), (403, "does not let")])
def test_a_hub_without_buckets_is_told_with_what_to_do(status: int, said: str, api: HfApi, refusing: Refusing) -> None:
    api.delete_bucket(REPO)
    refusing.left[f"/api/buckets/{REPO}"] = [status] * 2
    with pytest.raises(JobError, match=rf"{said}.*--keep-by commits"):
        ready_to_keep(api, submission())


def test_commits_do_not_pass_over_a_newer_journal_in_a_bucket(api: HfApi, kept: Callable[..., KeptInBucket]) -> None:
    by_commits = submission(keep_by="commits")
    ready_to_keep(api, by_commits)
    run = kept()
    judged(run, 1)
    run.save_journal()
    with pytest.raises(JobError, match="without --keep-by commits"):
        ready_to_keep(api, by_commits)
    api.delete_bucket(REPO)
    ready_to_keep(api, by_commits)
