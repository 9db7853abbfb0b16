"""`report --examples`: what relabelling makes a positive, on lines that fit and that a terminal may show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.commands.examples import line_of

STEERS = "\x1b[31m red \u202e " + "long " * 40


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that name judged rows: of each of four, the first of two negatives is a false one."""
    folder = tmp_path_factory.mktemp("judged")

    def passage(docid: str) -> dict[str, str]:
        return {"docid": docid, "title": "", "text": f"text of {docid} {STEERS}"}

    rows = [
        {
            "query_id": f"q{number}",
            "query": f"query {number} {STEERS}",
            "positive_passages": [passage(f"p{number}")],
            "negative_passages": [passage(f"n{number}-{place}") for place in range(2)],
            "subset": "",
        }
        for number in range(4)
    ]
    truth = [{"query_id": f"q{number}", "false_negatives": [f"n{number}-0"]} for number in range(4)]
    for name, records in (("rows", rows), ("truth", truth)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    source = [str(folder / "rows.jsonl"), "--journal", str(folder / "journal.sqlite")]
    assert run(["judge", *source, "--judge", "truth", "--truth", str(folder / "truth.jsonl")]) == 0
    return ["report", *source]


def examples_in(text: str) -> list[str]:
    return text.partition("What relabelling makes a positive")[2].splitlines()[1:]


def test_a_report_shows_some_of_what_was_found(judged: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(judged) == 0
    lines = [line for line in examples_in(capsys.readouterr().out) if line]
    assert [line.split(": ")[0].strip() for line in lines] == [
        start for row in range(3) for start in (f"Query q{row}", "a positive", f"+ n{row}-0, score 1.000")
    ]
    assert all(len(line) <= 80 and line.endswith("…") for line in lines)
    assert not any("\x1b" in line or "\u202e" in line for line in lines)


def test_as_many_as_were_asked_for(judged: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*judged, "--examples", "0"]) == 0
    assert not examples_in(capsys.readouterr().out)
    assert run([*judged, "--examples", "9", "--json"]) == 0
    examples: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["examples"]
    assert [each["docid"] for each in examples] == [f"n{number}-0" for number in range(4)]
    assert examples[0]["positive"].startswith("text of p0")
    assert examples[0]["score"] == 1


def test_a_line_is_cut_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert line_of("a\nb " + "c" * 30, start="> ") == "> a b " + "c" * 13 + "…"
    assert line_of("short") == "short"
