"""What version 0.1.0 wrote opens: a journal and a release as they were before the rooms were built (format_version 1).

Both were made of `rows.jsonl`: `judge` with a listwise judge behind a server, then `build_configs`. `verdicts.json` has
the outcomes that it concluded.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hf_relabel import Journal, build_configs, open_release, open_source, rebuild_configs, verdicts
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge

HERE = Path(__file__).parent
ROWS, RELEASE = HERE / "rows.jsonl", HERE / "release"
CONFIGS = ("original", "remove", "remove-hn", "relabel", "relabel-filter", "verdicts")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A copy: opening a journal to write may bring it up to date."""
    return Path(shutil.copy(HERE / "journal.sqlite", tmp_path))


def outcomes(path: Path) -> list[list[str]]:
    with Journal(path, write=False) as opened:
        return [[str(each.outcome) for each in said] for _, said in verdicts(open_source(ROWS), opened)]


def test_a_journal_gives_the_same_verdicts(journal: Path) -> None:
    expected = json.loads((HERE / "verdicts.json").read_text())
    assert outcomes(journal) == expected
    assert {"false_negative", "negative"} <= {outcome for row in expected for outcome in row}
    with Journal(journal) as opened:
        assert sum(opened.counts().values()) == 66
    assert outcomes(journal) == expected


def test_what_was_paid_for_is_not_asked_again(journal: Path, tmp_path: Path) -> None:
    """By the listwise judge of today, whose keys are others."""
    with Journal(journal) as opened:
        (stage,) = opened.last_run()["stages"]
        settings = stage["judge"]["settings"] | ListwiseJudge().settings()
        judge = replace(JudgeIdentity(**stage["judge"]), settings=settings)
        rows = [(numbered.row, range(len(numbered.row.negative_passages))) for numbered in open_source(ROWS).rows()]
        said = [judgement for _, of_row in opened.known(judge, rows) for judgement in of_row.values()]
        assert sum(judgement.label.is_answer for judgement in said) == 66
        # A file of a year named its rows without it.
        named = [(replace(row, subset=f"{row.subset}-2019"), places) for row, places in rows]
        assert sum(len(of_row) for _, of_row in opened.known(judge, named)) == len(said)


def test_what_failed_then_and_is_answered_now_is_no_failure_any_longer(journal: Path) -> None:
    row = next(iter(open_source(ROWS).rows())).row
    with Journal(journal) as opened:
        (stage,) = opened.last_run()["stages"]
        judge = JudgeIdentity(**stage["judge"])
        old = dict(enumerate(judge.old_keys()[0](row, [0])))
        opened._database.execute("DELETE FROM answers WHERE key = ?", (old[0],))
        before = sum(opened.counts().values())
        opened._database.execute(
            "INSERT INTO failures (key, judge, label, rationale, query_id, docid) VALUES (?, 1, 4, 'gone', 'q', 'd')",
            (old[0],),
        )
    with Journal(journal) as opened:
        ((keys, said),) = opened.known(judge, [(row, [0])])
        assert said[0].label is Label.FAILED
        opened.record(judge, row, keys, {0: Judgement(Label.BETTER)})
        assert list(opened.failures()) == []
        assert sum(opened.counts().values()) == before + 1


def test_what_is_built_of_it_is_what_was_built_then(journal: Path, tmp_path: Path) -> None:
    build_configs(ROWS, journal, tmp_path / "built", progress=False)
    for config in CONFIGS:
        assert table(tmp_path / "built", config).equals(table(RELEASE, config), check_metadata=True), config


def test_a_release_opens_and_is_built_anew(tmp_path: Path) -> None:
    release = open_release(RELEASE)
    judged = [[str(each.outcome) for each in said] for _, said in release.judged_rows()]
    assert judged == json.loads((HERE / "verdicts.json").read_text())
    rebuild_configs(release, tmp_path / "again", progress=False)
    for config in CONFIGS:
        assert table(tmp_path / "again", config).equals(table(RELEASE, config), check_metadata=True), config


def table(folder: Path, config: str):  # type: ignore[no-untyped-def]
    (file,) = (folder / config).glob("*.parquet")
    return pq.read_table(file)
