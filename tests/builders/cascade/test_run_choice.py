"""Which run of a journal speaks of a source."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.cascade import run_choice
from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.cascade.run_choice import run_of, told
from hf_relabel.builders.cascade.run_stages import RunStage, run_settings
from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.errors import BuildError, JournalError, NotJudged
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.sources import Source, open_source

ROWS = 40


def rows(name: str, count: int = ROWS, first: int = 0) -> list[dict[str, Any]]:
    def passage(docid: str) -> dict[str, str]:
        return {"docid": docid, "title": "", "text": f"text of {docid}"}

    return [
        {
            "query_id": f"{name}{number}",
            "query": f"query {name} {number}",
            "positive_passages": [passage(f"p{name}{number}")],
            "negative_passages": [passage(f"n{name}{number}")],
            "subset": "",
        }
        for number in range(first, first + count)
    ]


def judge(name: str) -> JudgeIdentity:
    return JudgeIdentity("word", name, None, {})


def judged(journal: Journal, source: Source, *judges: str, complete: bool = True) -> None:
    """A run in which the judges, each a stage, call all candidates better."""
    identities = [judge(name) for name in judges]
    for identity in identities:
        for numbered in source.rows():
            keys = dict(enumerate(identity.keys()(numbered.row, [0])))
            journal.record(identity, numbered.row, keys, {0: Judgement(Label.BETTER)})
    stages = [RunStage(identity.model, Rule(), (identity,)) for identity in identities]
    journal.record_run(run_settings(source, stages, frozenset()), complete=complete)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


def used(source: Source, journal: Journal, **options: Any) -> str:
    return "+".join(stage["judge"]["model"] for stage in run_of(source, journal, **options).settings["stages"])


def test_the_run_of_this_source_is_taken_not_the_last_one(journal: Journal) -> None:
    one, other = open_source(rows("a")), open_source(rows("b"))
    judged(journal, one, "good")
    judged(journal, other, "another")
    assert (used(one, journal), used(other, journal)) == ("good", "another")
    assert all(said[0].is_false_negative for _, said in verdicts(one, journal))  # all were not-reached


def test_a_short_trial_does_not_take_the_place_of_a_good_run(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    source = open_source(rows("a"))
    judged(journal, source, "good")
    judged(journal, open_source(rows("a", 5)), "trial")
    assert used(source, journal) == "good"
    judged(journal, open_source(rows("a", 38)), "nearly")
    with caplog.at_level(logging.WARNING):
        assert used(source, journal) == "nearly"
    assert "run 3 (word nearly on list) is read: the journal holds its judges' answers for 95% of what" in caplog.text
    assert "those of the judges of run 1 (word good on list): 100%. Take that" in caplog.text
    assert "`run=1`" in caplog.text
    assert used(source, journal, number=1) == "good"


def test_the_last_of_two_that_judged_all_is_taken_whatever_the_source_was_called(journal: Journal) -> None:
    source = open_source(rows("a"))
    judged(journal, source, "first")
    judged(journal, open_source(rows("a") + rows("b")), "wider")
    assert used(source, journal) == "wider"


def test_a_run_that_was_not_finished_comes_after_those_that_were(journal: Journal) -> None:
    source = open_source(rows("a"))
    judged(journal, source, "good")
    judged(journal, source, "stopped", complete=False)
    assert used(source, journal) == "good"
    assert journal.newest_run().settings["stages"][0]["judge"]["model"] == "stopped"
    judged(journal, source, "stopped")
    judged(journal, source, "stopped", complete=False)  # begun again: as complete as before
    assert used(source, journal) == "stopped"
    assert [run.complete for run in journal.runs()] == [True, True]


def test_where_none_judged_enough_all_are_listed(journal: Journal) -> None:
    source = open_source(rows("a"))
    judged(journal, open_source(rows("a", 8)), "few")
    judged(journal, open_source(rows("a", 16, 8)), "more")
    with pytest.raises(NotJudged) as raised:
        run_of(source, journal, least=0.5)
    assert isinstance(raised.value, BuildError)
    assert raised.value.exit_code == 5
    assert "the answers of those of run 2 (word more on list): 40%; run 1 (word few on list): 20%." in str(raised.value)
    assert used(source, journal, least=0.3) == "more"
    with pytest.raises(JournalError, match=r"has no run 7. It has: run 2 .*; run 1 "):
        run_of(source, journal, 7)


def test_a_run_that_is_to_be_used_is(journal: Journal) -> None:
    source = open_source(rows("a"))
    judged(journal, open_source(rows("a", 4)), "wanted")
    judged(journal, source, "good")
    journal.used_run = 1
    assert used(source, journal) == "wanted"


def test_large_sources_are_looked_at_in_part(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_choice, "LOOKED_AT", 10)
    source = open_source(rows("a"))
    judged(journal, source, "good", "second")
    judged(journal, open_source(rows("a", 12)), "trial")
    assert used(source, journal) == "good+second"
    assert told(run_of(source, journal)) == "run 1 (word good, then word second on list)"
