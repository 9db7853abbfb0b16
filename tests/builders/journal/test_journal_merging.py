"""Journals of parts become one: nothing lost, nothing doubled, whenever it is interrupted."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.errors import JournalError
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.merging import merge_journals, take_over
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.rows import Passage, Row
from tests.disk_watch import disk_watch
from tests.examples import drawn

FIRST, SECOND = (JudgeIdentity(kind, "model", None, {}) for kind in ("listwise", "pointwise"))


def row(number: int, negatives: int = 3) -> Row:
    passages = tuple(Passage(f"d{number}-{place}", "", f"text {number} {place}") for place in range(negatives))
    return Row(f"q{number}", f"query {number}", (Passage("p", "", "positive"),), passages)


def note(journal: Journal, judge: JudgeIdentity, number: int, *labels: Label, text: str = "reply") -> None:
    positions = range(len(labels))
    keys = dict(zip(positions, judge.keys()(row(number), positions), strict=True))
    said = {place: Judgement(label, 0.5, f"why {label}", 3.25, 1.5, place) for place, label in enumerate(labels)}
    reply = None if labels[0] is Label.FAILED else Reply(f"{text} {number}", "stop", 10, 5, "model", "server")
    journal.record(judge, row(number), keys, said, reply)


def content(path: Path) -> dict[str, list[Any]]:
    """Everything in a journal, without the numbers that only tie it together."""
    with sqlite3.connect(path) as database:
        said = "label, score, rationale, {0}.prompt_tokens, {0}.completion_tokens, place, cut, body"
        names = "JOIN judges ON judges.id = {0}.judge LEFT JOIN replies ON replies.id = {0}.reply ORDER BY key"
        found = {
            table: database.execute(
                f"SELECT key, identity, {said.format(table)} FROM {table} {names.format(table)}"
            ).fetchall()
            for table in ("answers", "failures")
        }
        replies = "SELECT identity, body, finish_reason, endpoint, prompt_tokens, completion_tokens FROM replies"
        found["replies"] = sorted(database.execute(f"{replies} JOIN judges ON judges.id = replies.judge").fetchall())
        found["places"] = database.execute("SELECT key, query_id, docid FROM failures ORDER BY key").fetchall()
    database.close()
    return found


def written(path: Path, notes: Iterator[tuple[JudgeIdentity, int, list[Label]]] | list[Any]) -> Path:
    with Journal(path) as journal:
        for judge, number, labels in notes:
            note(journal, judge, number, *labels)
    return path


YES, NO = [Label.BETTER, Label.IRRELEVANT, Label.WORSE], [Label.UNPARSABLE] * 3
NOTHING = [Label.FAILED] * 3


def test_parts_become_what_one_journal_would_have_been(tmp_path: Path) -> None:
    all_notes = [(FIRST, 0, YES), (FIRST, 1, NO), (SECOND, 0, NOTHING), (SECOND, 5, YES), (FIRST, 2, YES)]
    one = written(tmp_path / "one.sqlite", all_notes)
    parts = [written(tmp_path / f"part-{index}.sqlite", [one_note]) for index, one_note in enumerate(all_notes)]
    done: list[int] = []
    with Journal(tmp_path / "merged.sqlite") as merged:
        merge_journals(merged, [*parts, tmp_path / "never-written.sqlite"], progress=done.append)
        assert merged.usage() == (40, 20)
        assert list(merged.replies()) == ["reply 0", "reply 1", "reply 5", "reply 2"]
    assert content(tmp_path / "merged.sqlite") == content(one)
    assert done == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in tmp_path.glob("part-*")) == []


def test_what_is_known_stays_and_a_failure_gives_way_to_an_answer(tmp_path: Path) -> None:
    part = written(tmp_path / "part.sqlite", [(FIRST, 0, NO), (FIRST, 1, YES), (FIRST, 2, NO)])
    with Journal(tmp_path / "merged.sqlite") as merged:
        note(merged, FIRST, 0, *YES, text="first")
        note(merged, FIRST, 1, *NO, text="first")
        note(merged, FIRST, 2, *NOTHING)
        merge_journals(merged, [part])
        assert merged.counts() == {
            Label.BETTER: 2,
            Label.WORSE: 2,
            Label.IRRELEVANT: 2,
            Label.UNPARSABLE: 3,
            Label.FAILED: 0,
        }
        assert list(merged.replies()) == ["first 0", "first 1", "reply 1", "reply 2"]
        # A later answer still takes the place of a failure that came from a part.
        note(merged, FIRST, 2, *YES)
        assert merged.counts()[Label.UNPARSABLE] == 0


@pytest.mark.parametrize("labels", [YES, NO, NOTHING])
def test_taken_over_twice_is_taken_over_once(tmp_path: Path, labels: list[Label]) -> None:
    part = written(tmp_path / "part.sqlite", [(FIRST, 0, labels), (SECOND, 1, labels)])
    with Journal(tmp_path / "merged.sqlite") as merged:
        note(merged, FIRST, 0, *NOTHING)
        take_over(merged, part)
        once = content(tmp_path / "merged.sqlite")
        take_over(merged, part)
    assert content(tmp_path / "merged.sqlite") == once


def test_a_part_in_use_is_not_touched(tmp_path: Path) -> None:
    part = written(tmp_path / "part.sqlite", [(FIRST, 0, YES)])
    with Journal(tmp_path / "merged.sqlite") as merged, Journal(part):
        with pytest.raises(JournalError, match="another process is writing"):
            merge_journals(merged, [part])
        assert part.is_file()
        assert merged.counts()[Label.BETTER] == 0


def test_a_damaged_part_is_said_to_be_and_kept(tmp_path: Path) -> None:
    part = tmp_path / "part.sqlite"
    part.write_bytes(b"not a journal at all, but long enough to have a header" * 100)
    with Journal(tmp_path / "merged.sqlite") as merged, pytest.raises(JournalError, match=r"part\.sqlite.*damaged"):
        merge_journals(merged, [part])
    assert part.is_file()


def test_a_part_goes_only_when_the_disk_has_what_was_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not in the file itself, or in a synced file beside it, is gone after a power cut."""
    parts = [written(tmp_path / f"part-{number}.sqlite", [(FIRST, number, YES)]) for number in range(3)]
    merged_path, left = tmp_path / "merged.sqlite", tmp_path / "left.sqlite"
    seen: list[int] = []
    unlink = Path.unlink

    def lose_power(path: Path, missing_ok: bool = False) -> None:
        if path in parts:
            left.write_bytes(merged_path.read_bytes())
            seen.append(len(content(left)["answers"]))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", lose_power)
    with Journal(merged_path) as merged:
        merge_journals(merged, parts)
    assert seen == [3, 6, 9]


def test_for_a_reader_of_the_journal_as_it_was_what_is_written_ahead_is_put_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = written(tmp_path / "part.sqlite", [(FIRST, 1, YES)])
    path = written(tmp_path / "merged.sqlite", [(FIRST, 0, YES)])
    with Journal(path) as merged, sqlite3.connect(path, isolation_level=None) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT COUNT(*) FROM answers").fetchone() == (3,)
        calls = disk_watch(monkeypatch)
        merge_journals(merged, [part])
        assert calls.index(("synced", tmp_path / "merged.sqlite-wal")) < calls.index(("removed", part))
        merged._database.execute("PRAGMA busy_timeout=0")
        with pytest.raises(JournalError, match="another process reads it"):
            merged.checkpoint()
        reader.execute("COMMIT")
        merged.checkpoint()
    reader.close()


def test_killed_at_any_moment_it_is_finished_by_doing_it_again(tmp_path: Path) -> None:
    chance = random.Random(0)
    notes = [(FIRST if number % 3 else SECOND, number, YES if number % 4 else NO) for number in range(120)]
    one = written(tmp_path / "one.sqlite", notes)
    killed = between = 0
    for attempt in range(2):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        parts = [written(folder / f"{start}.sqlite", notes[start : start + 10]) for start in range(0, 120, 10)]
        while any(part.exists() for part in parts) and killed < 200:
            child = os.fork()
            if child == 0:
                try:
                    with Journal(folder / "merged.sqlite") as merged:
                        merge_journals(merged, parts)
                finally:
                    os._exit(0)
            left = chance.randrange(len(parts))
            while sum(part.exists() for part in parts) > left:
                if os.waitpid(child, os.WNOHANG)[0]:
                    break
            else:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            killed += 1
            between += 0 < sum(part.exists() for part in parts) < len(parts)
        with Journal(folder / "merged.sqlite") as merged:
            merge_journals(merged, parts)
        assert content(folder / "merged.sqlite") == content(one)
    assert between >= 3, "too few kills fell into the merging"


@drawn(10)
@given(
    parts=st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.sampled_from([YES, NO, NOTHING])), max_size=5), min_size=1, max_size=4
    )
)
def test_merged_in_order_is_recorded_in_order(
    parts: list[list[tuple[int, list[Label]]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As far as labels go: which of two equal failures' replies is kept does not matter, nor is a failure anything
    where there is an answer."""
    folder = tmp_path_factory.mktemp("parts")
    one = written(folder / "one.sqlite", [(FIRST, number, labels) for part in parts for number, labels in part])
    paths = [
        written(folder / f"{index}.sqlite", [(FIRST, number, labels) for number, labels in part])
        for index, part in enumerate(parts)
    ]
    with Journal(folder / "merged.sqlite") as merged:
        merge_journals(merged, paths)
    found, expected = content(folder / "merged.sqlite"), content(one)
    assert found["answers"] == expected["answers"]
    answered = {entry[0] for entry in expected["answers"]}
    failures = [[(entry[0], entry[2]) for entry in one["failures"]] for one in (found, expected)]
    assert failures[0] == [entry for entry in failures[1] if entry[0] not in answered]
