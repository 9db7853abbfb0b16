"""The journal keeps answers for good, failures apart, and says clearly why it cannot be used."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.errors import ConfigError, JournalError
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.schema import MIGRATIONS
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.messages.spelling import as_options
from hf_relabel.builders.rows import Passage, Row

JUDGE = JudgeIdentity("listwise", "some/model", "abc", {"temperature": 0.1})


def row_of(*negatives: str, query: str = "what is a comet", positive: str = "A comet is ice and dust.") -> Row:
    passages = tuple(Passage(f"n{number}", "", text) for number, text in enumerate(negatives))
    return Row("q1", query, (Passage("p", "", positive),), passages, "astronomy")


def keys_of(row: Row, judge: JudgeIdentity = JUDGE) -> dict[int, bytes]:
    positions = range(len(row.negative_passages))
    return dict(zip(positions, judge.keys()(row, positions), strict=True))


def test_what_is_recorded_is_found_again_after_reopening(tmp_path: Path) -> None:
    row = row_of("Comets are icy.", "Stars are hot.")
    keys = keys_of(row)
    judgements = {0: Judgement(Label.BETTER, 0.9, "[1] says it", 120.0, 8.0), 1: Judgement(Label.IRRELEVANT)}
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.record(JUDGE, row, keys, judgements, Reply("raw reply", prompt_tokens=240, completion_tokens=16))
    with Journal(tmp_path / "journal.sqlite", write=False) as journal:
        assert journal.look_up(list(keys.values())) == {keys[0]: judgements[0], keys[1]: judgements[1]}
        assert list(journal.replies()) == ["raw reply"]
        assert journal.usage() == (240, 16)
        assert journal.counts()[Label.BETTER] == 1


def test_a_failure_is_listed_and_an_answer_replaces_it(tmp_path: Path) -> None:
    row = row_of("Comets are icy.")
    keys = keys_of(row)
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.record(JUDGE, row, keys, {0: Judgement(Label.FAILED, rationale="server gone")})
        assert [(failure.docid, failure.message) for failure in journal.failures()] == [("n0", "server gone")]
        journal.record(JUDGE, row, keys, {0: Judgement(Label.WORSE)})
        assert list(journal.failures()) == []
        assert journal.look_up([keys[0]])[keys[0]].label is Label.WORSE


def test_an_answer_is_never_replaced_by_a_later_one(tmp_path: Path) -> None:
    row = row_of("Comets are icy.")
    keys = keys_of(row)
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.record(JUDGE, row, keys, {0: Judgement(Label.BETTER)})
        journal.record(JUDGE, row, keys, {0: Judgement(Label.IRRELEVANT)})
        journal.record(JUDGE, row, keys, {0: Judgement(Label.UNPARSABLE)})
        assert journal.look_up([keys[0]])[keys[0]].label is Label.BETTER


def test_text_that_is_not_valid_unicode_is_kept(tmp_path: Path) -> None:
    row = row_of("lone surrogate \ud800")
    keys = keys_of(row)
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.record(JUDGE, row, keys, {0: Judgement(Label.BETTER, rationale="\ud800")}, Reply("\ud800"))
        assert journal.look_up([keys[0]])[keys[0]].rationale == "?"
        assert list(journal.replies()) == ["\ud800"]


def test_runs_are_remembered_newest_first(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:
        with pytest.raises(JournalError, match="hf-relabel judge"):
            journal.last_run()
        journal.record_run({"stages": ["a"]})
        journal.record_run({"stages": ["b"]})
        journal.record_run({"stages": ["a"]})
        assert journal.last_run() == {"stages": ["a"]}


def test_a_second_writing_process_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    script = "import sys; from hf_relabel.builders.journal.store import Journal; Journal(sys.argv[1])"
    with Journal(path):
        second = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
        assert "another process is writing" in second.stderr
        with Journal(path, write=False) as reader:
            assert reader.counts()[Label.BETTER] == 0
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, path], check=True)


def test_what_is_written_ahead_stays_bounded_while_somebody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_relabel.builders.journal.opening._CHECKPOINT_PAGES", 100)
    path, row = tmp_path / "journal.sqlite", row_of("Comets are icy.")
    with Journal(path) as journal, Journal(path, write=False) as reader:
        for text in ("first", "second", "third"):
            journal.record(JUDGE, row, {}, {}, Reply(text))
        reading = reader.replies()
        assert next(reading) == "first"
        most = 0
        for _ in range(60):
            journal.record(JUDGE, row, {}, {}, Reply(os.urandom(40_000).hex()))
            most = max(most, path.with_name("journal.sqlite-wal").stat().st_size)
        assert most < 1_000_000 < path.stat().st_size
        assert sum(1 for _ in reading) == 62


def test_a_missing_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"no journal at .*absent\.sqlite"):
        Journal(tmp_path / "absent.sqlite", write=False)


def test_folders_are_not_made_for_a_journal(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no folder .*mispelt for the journal\. Make it, or choose another"):
        Journal(tmp_path / "mispelt" / "journal.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"this is not SQLite, it is a text about comets" * 100)
    with pytest.raises(JournalError, match="not a journal"):
        Journal(path)
    assert path.read_bytes().startswith(b"this is not SQLite")


def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    database.close()
    with pytest.raises(JournalError, match="newer hf-relabel"):
        Journal(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_said_plainly(tmp_path: Path) -> None:
    row = row_of("Comets are icy.")
    keys = keys_of(row)
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.record(JUDGE, row, keys, {0: Judgement(Label.BETTER)})
        # SQLite reports a page limit as it reports a full disk (SQLITE_FULL).
        journal._database.execute("PRAGMA max_page_count=1")
        long_reply = Reply(os.urandom(200_000).hex())
        with pytest.raises(JournalError, match="disk is full"):
            journal.record(JUDGE, row, keys, {0: Judgement(Label.BETTER)}, long_reply)
        assert journal.look_up([keys[0]])[keys[0]].label is Label.BETTER


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="limits of file sizes are of Unix")
def test_a_limit_of_file_sizes_or_a_quota_is_said_plainly_and_what_was_kept_can_be_read(tmp_path: Path) -> None:
    import resource

    row = row_of("Comets are icy.")
    keys = keys_of(row)
    path = tmp_path / "journal.sqlite"
    before, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with Journal(path) as journal:
            journal.record(JUDGE, row, keys, {0: Judgement(Label.BETTER)})
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
            with pytest.raises(JournalError, match=r"SQLITE_IOERR_WRITE.* over a quota.* so far is kept\.$"):
                journal.record(JUDGE, row, keys, {0: Judgement(Label.WORSE)}, Reply(os.urandom(200_000).hex()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)
    with Journal(path, write=False) as journal:
        assert journal.look_up([keys[0]])[keys[0]].label is Label.BETTER


def test_a_journal_that_was_only_begun_is_told_as_empty(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").touch()
    with pytest.raises(JournalError, match=r"journal\.sqlite holds nothing yet\. Run `.* judge` first\.$"):
        Journal(tmp_path / "journal.sqlite", write=False)


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="needs a read-only place")
def test_a_folder_that_cannot_be_written_is_said_plainly() -> None:
    with pytest.raises(JournalError, match="cannot be written"):
        Journal("/proc/self/journal.sqlite")


def test_errors_name_the_argument_in_python_and_the_option_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path), pytest.raises(JournalError) as held:
        Journal(path)
    (tmp_path / "text").write_text("no journal at all, but long enough to be looked at " * 20)
    with pytest.raises(JournalError) as no_journal:
        Journal(tmp_path / "text", write=False)
    for message in (str(held.value), str(no_journal.value)):
        assert message.endswith("or choose another `journal=`.")
        assert as_options(message, {"journal": "--journal"}).endswith("or choose another --journal.")


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("making", ["CREATE TABLE songs (id INTEGER)", "PRAGMA application_id=252006674"])
def test_the_file_of_another_program_is_left_as_it_is(tmp_path: Path, making: str, write: bool) -> None:
    path = tmp_path / "music.sqlite"
    database = sqlite3.connect(path)
    database.execute(making)
    database.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"SQLite file of another program \(it holds (songs|the mark 0xf055112)\)"):
        Journal(path, write=write)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "no lock stays beside it"


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize(
    ("given", "said"), [("", "is empty"), (".", r"^\. is a folder"), ("/", "^/ is a folder"), ("..", "is a folder")]
)
def test_a_folder_is_no_place_for_a_journal(given: str, said: str, write: bool) -> None:
    with pytest.raises(ConfigError, match=said):
        Journal(given, write=write)


def test_a_journal_is_marked_as_one(tmp_path: Path) -> None:
    (tmp_path / "empty.sqlite").touch()
    for name in ("new.sqlite", "empty.sqlite"):
        Journal(tmp_path / name).close()
        Journal(tmp_path / name, write=False).close()
        (found,) = sqlite3.connect(tmp_path / name).execute("PRAGMA application_id")
        assert found == (0x4846524C,)
