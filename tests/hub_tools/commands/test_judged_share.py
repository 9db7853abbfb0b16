"""Building from a journal in which little or nothing of the source was judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.cascade.judged_share import JudgedShare
from hf_relabel.builders.cascade.unanswered import first_failure
from hf_relabel.builders.configs.build_notes import build_notes
from hf_relabel.builders.configs.writing import BuildReport
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.building.run import build_configs
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.commands.build_command import command as build
from hf_relabel.hub_tools.commands.build_command import show_build
from hf_relabel.hub_tools.commands.spelling import respelt
from hf_relabel.hub_tools.releases.push import push_source


def row(number: int, negatives: list[str], subset: str = "") -> dict[str, Any]:
    def passage(name: str, text: str) -> dict[str, str]:
        return {"docid": f"{name}-{number}", "title": "", "text": text}

    return {
        "query_id": f"q{number}",
        "query": f"question {number}",
        "positive_passages": [passage("p", f"answer {number}")],
        "negative_passages": [passage(f"n{place}", text) for place, text in enumerate(negatives)],
        "subset": subset,
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, first, count in (("other", 100, 2), ("mined", 0, 10)):
        rows = [row(number, [f"answer {number}", f"text {number}"]) for number in range(first, first + count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    truth = [{"query_id": f"q{number}", "false_negatives": []} for number in (*range(10), 100, 101)]
    (tmp_path / "truth.jsonl").write_text("".join(json.dumps(each) + "\n" for each in truth))
    return tmp_path


def judge(source: str, *options: str) -> None:
    assert run(["judge", source, "--judge", "truth", "--truth", "truth.jsonl", *options]) == 0


NOTHING = "None of the 10 candidates of mined.jsonl was judged in journal.sqlite"
BY = "by run 1 (truth truth.jsonl on other.jsonl): run judge on it, or name another with --journal."


def test_a_journal_of_another_source_builds_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge("other.jsonl")
    assert run(["build", "mined.jsonl", "--out", "mm"]) == 5
    assert f"{NOTHING} {BY}" in capsys.readouterr().err
    assert not (place / "mm").exists()
    with pytest.raises(BuildError, match=NOTHING):
        build_configs("mined.jsonl", "journal.sqlite", "mm", progress=False)
    assert run(["build", "mined.jsonl", "--out", "mm", "--allow-unjudged"]) == 0
    assert "20 candidates, 10 need a judge; unjudged: 0 failed, 0 unparsable, 10 not reached." in (
        capsys.readouterr().out
    )


def test_nothing_is_sent_of_a_source_that_nobody_judged(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge("other.jsonl")
    monkeypatch.setattr("hf_relabel.hub_tools.releases.push._Pusher.prepare", lambda *_: pytest.fail("asked the Hub"))
    with pytest.raises(BuildError, match=NOTHING):
        push_source("mined.jsonl", "journal.sqlite", None, "user/mined", license="unknown", progress=False)


def test_a_part_of_a_source_is_refused_unless_it_was_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge("mined.jsonl", "--limit", "2")
    assert run(["build", "mined.jsonl", "--out", "mm"]) == 5
    assert "Only 2 of 10 candidates were judged by run 1 (truth truth.jsonl on mined.jsonl, limit 2): 0 failed" in (
        capsys.readouterr().err
    )
    assert run(["build", "mined.jsonl", "--out", "mm", "--min-judged", "0.2"]) == 0
    judge("mined.jsonl", "--limit", "9")
    assert run(["build", "mined.jsonl", "--out", "mm"]) == 5
    assert "9 of 10 candidates were judged by run 2 (truth truth.jsonl on mined.jsonl, limit 9): 0 failed" in (
        capsys.readouterr().err
    )
    assert run(["build", "mined.jsonl", "--out", "mm", "--json", "--min-judged", "0.9"]) == 0
    found = json.loads(capsys.readouterr().out)
    lacking = {"failed": 0, "unparsable": 0, "not-reached": 1}
    assert found["judged"] == {"needed": 10, "judged": 9, "unjudged": 1, "without_answer": lacking}
    assert found["run_number"] == 2
    assert run(["build", "mined.jsonl", "--out", "mm", "--min-judged", "0.7", "--allow-unjudged"]) == 2


def test_a_run_of_other_judges_names_those_whose_judges_answered(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge("mined.jsonl")
    (place / "few.jsonl").write_text('{"query_id": "q100", "false_negatives": []}\n')
    assert run(["judge", "other.jsonl", "--truth", "few.jsonl"]) == 4
    assert run(["build", "mined.jsonl", "--out", "mm", "--run", "2"]) == 5
    said = "The journal holds answers of the judges of run 1 (truth truth.jsonl on mined.jsonl): 100%."
    assert capsys.readouterr().err.endswith(f"{said}\n")
    assert run(["build", "mined.jsonl", "--out", "mm", "--run", "1"]) == 0
    told = "Of the judges of run 1 (truth truth.jsonl on mined.jsonl): the journal holds their answers for 100% of what"
    assert told in " ".join(capsys.readouterr().out.split())


def test_the_run_to_read_is_given_to_whoever_is_told_to_give_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge("mined.jsonl")
    (place / "other-truth.jsonl").write_text("".join((place / "truth.jsonl").read_text().splitlines(True)[:10]))
    assert run(["judge", "mined.jsonl", "--truth", "other-truth.jsonl", "--limit", "4"]) == 0
    capsys.readouterr()
    for number, missing in (("1", 0), ("2", 6)):
        assert run(["report", "mined.jsonl", "--json", "--run", number]) == 0
        assert json.loads(capsys.readouterr().out)["escalation"][0]["missing"] == missing
    for number, size in (("1", 10), ("2", 4)):
        folder = f"audit-{number}"
        assert run(["audit", "sample", "mined.jsonl", "--out", folder, "--size", "50", "--run", number, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["size"] == size
    assert run(["audit", "sample", "mined.jsonl", "--out", "none", "--run", "7"]) == 5


def test_what_needs_no_judge_does_not_count(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    judge("other.jsonl")
    rows = [row(0, ["answer 0"]), row(1, [])]
    report = build_configs(rows, "journal.sqlite", BuildSettings(out="free"), progress=False)
    assert (report.judged.candidates, report.judged.needed, report.judged.share) == (1, 0, 1.0)
    assert not caplog.text


def test_rows_that_a_truth_file_lacks_have_a_reason_of_their_own(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    lines = (place / "truth.jsonl").read_text().splitlines(keepends=True)
    (place / "truth.jsonl").write_text("".join(lines[:4]))
    judge("mined.jsonl", "--min-judged", "0.4")
    shown = capsys.readouterr().out
    assert "mined.jsonl" not in shown.partition("Judgements are in")[0]
    assert "the judge lacks these rows" in shown
    assert "truth.jsonl has no line for its query (the first is " in " ".join(shown.split())
    assert run(["build", "mined.jsonl", "--out", "half", "--min-judged", "0.5"]) == 5
    error = capsys.readouterr().err
    assert (
        "(truth truth.jsonl on mined.jsonl): 0 failed, 0 unparsable, 0 not reached, 6 in rows that the judge" in error
    )
    assert (
        "Give the judge what it lacks (a truth file needs a line for each row), or build with --min-judged 0" in error
    )
    assert run(["build", "mined.jsonl", "--out", "all", "--json", "--allow-unjudged"]) == 0
    assert json.loads(capsys.readouterr().out)["judged"]["without_answer"]["unknown"] == 6


def test_what_failed_first_is_of_the_run_that_is_built(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "few.jsonl").write_text('{"query_id": "q100", "false_negatives": []}\n')
    assert run(["judge", "other.jsonl", "--truth", "few.jsonl"]) == 4
    lines = (place / "truth.jsonl").read_text().splitlines(keepends=True)
    (place / "truth.jsonl").write_text("".join(lines[:2]))
    judge("mined.jsonl", "--min-judged", "0.2")
    with Journal("journal.sqlite") as journal:
        assert "few.jsonl has no line" in next(journal.failures()).message  # the first of the whole journal
        assert "truth.jsonl has no line" in str(first_failure(open_source("mined.jsonl"), journal, journal.last_run()))
    capsys.readouterr()
    assert run(["build", "mined.jsonl", "--out", "mm", "--run", "2"]) == 5
    error = capsys.readouterr().err
    assert "The first: The judge does not know this row: truth.jsonl has no line" in error
    assert "few.jsonl" not in error.partition("The journal holds")[0]


def test_of_what_failed_the_option_of_judge_is_named(place: Path) -> None:
    unjudged = JudgedShare(10, 0, 10, {"failed": 10, "unparsable": 0, "not-reached": 0})
    with Journal("journal.sqlite") as journal, pytest.raises(BuildError) as raised:
        unjudged.check("mined.jsonl", journal, None)
    assert "Judge again with `retry_failed=True` to ask about those that failed." in str(raised.value)
    assert "Judge again with --retry-failed to ask" in respelt(str(raised.value), build)


@pytest.mark.parametrize(("judged", "shown"), [(5, "0.5%"), (0, "0%"), (100, "10%"), (999, "99.9%"), (995, "99.5%")])
def test_a_share_is_not_rounded_to_none_or_all(judged: int, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    JudgedShare(1000, 0, 1000, {"not-reached": 1000 - judged}).tell("rows.jsonl")
    assert f"were judged ({shown})" in caplog.text


def test_rows_without_any_negative_are_counted(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = [{"query_id": f"q{number}", "false_negatives": ["n1-0"] * (number == 0)} for number in range(10)]
    (place / "truth.jsonl").write_text("".join(json.dumps(each) + "\n" for each in truth))
    judge("mined.jsonl")
    report = build_configs("mined.jsonl", "journal.sqlite", "mm", progress=False)
    text = report.to_text()
    assert "Without any negative: 1 row of remove-hn, 1 row of relabel, 1 row of relabel-filter." in text
    assert "min_negatives" not in text, "the filter emptied none"
    totals = {"relabel": {"total": {"rows_without_negatives": 2}}}
    totals["relabel-filter"] = {"total": {"rows_without_negatives": 7}}
    (note,) = build_notes({"settings": {"techniques": list(totals)}, "configs": totals}, ())
    assert "7 rows of relabel-filter" in note
    assert "--min-negatives 1 keeps what is doubtful in those that the filter emptied" in respelt(note, build)
    monkeypatch.setattr(BuildReport, "to_text", lambda _: note)
    with build.make_context("build", ["mined.jsonl", "--out", "mm"]):
        show_build(report, "mm", as_json=False)
    assert "--min-negatives 1 keeps" in capsys.readouterr().out
