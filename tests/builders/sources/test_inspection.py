"""What `inspect` says of data: what was found, which column was read as what, and what was not looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from hf_relabel.builders.sources import FORMATS, open_source
from hf_relabel.builders.sources.inspection import Inspection, inspect
from hf_relabel.hub_tools.commands import cli

ROW = {"query": "why is the sky blue?", "positive": "air scatters blue light", "negative": "the sea is blue"}


def inspected(*records: dict[str, Any]) -> Inspection:
    return inspect(open_source(list(records)))


def counts(found: Inspection) -> dict[str, int]:
    return {name: one.count for name, one in found.findings.items()}


def test_passages_that_are_none_are_found() -> None:
    found = inspected(
        ROW,
        ROW | {"query": "a", "negative": "n"},
        ROW | {"query": "b", "positive": "B!", "negative": "['no', 'never']"},
        ROW | {"query": "c d", "negative": "C, d?"},
    )
    assert counts(found) == {
        "positive-is-query": 1,
        "negative-is-query": 1,
        "one-character": 1,
        "list-as-text": 1,
    }
    assert found.findings["one-character"].examples[0].number == 1
    assert "No copies" not in found.to_text()


def test_ids_that_lost_digits_are_found(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    sure = [7, 2**53 - 1, 2**63, 12.0, "1e20", "12e45", "1.5", "9007199254740993"]
    lost = ["1.0000000000000001e+23", "1e+20", "9007199254740992.0", "1.2345678901234567e+19"]
    records = [
        {"query_id": query_id, "query": f"query {number}", "pos": ["yes"], "neg": ["no"]}
        for number, query_id in enumerate([*sure, *lost])
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    found = inspect(open_source(path))
    assert counts(found) == {"rounded-id": len(lost)}
    assert [example.number for example in found.findings["rounded-id"].examples] == [8, 9, 10]
    assert "row 9 (query" in found.to_text()  # People count from 1.
    passages = {"positive_passages": [{"text": "yes", "docid": "1e+20"}], "negative_passages": []}
    assert counts(inspected({"query": "q", **passages})) == {"rounded-id": 1}


def test_nothing_is_said_of_negatives_that_nobody_judged() -> None:
    text = inspected(ROW).to_text()
    assert "Nothing wrong" not in text
    assert "No copies of positives, no empty passages and no repeated ids." in text
    assert "The only negative was not judged" in text
    assert "`better` (relevant, at least as good as the" in text
    assert "mine` finds some" in inspected({"query": "q", "positive": "yes"}).to_text()


def test_columns_are_shown_and_guesses_are_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "q?", "response": "yes", "hard_1": "no", "hard_2": "never"}) + "\n")
    arguments = [str(path), "--column", "negative=hard_*"]
    shown = CliRunner().invoke(cli, ["inspect", *arguments])
    assert shown.exit_code == 0
    assert "query ← question" in shown.output
    assert "positive ← response (guessed: the only text column left)" in shown.output
    assert "negative ← hard_1, hard_2" in shown.output
    told = CliRunner().invoke(cli, ["inspect", *arguments, "--column", "positive=response", "--json"])
    report = json.loads(told.output)
    assert report["columns"] == ["query ← question", "positive ← response", "negative ← hard_1, hard_2"]
    assert report["source"]["columns"] == {"negative": ["hard_*"], "positive": ["response"]}
    assert report["total"] == {"rows": 1, "positives": 1, "negatives": 2}


def test_the_help_describes_every_format() -> None:
    text = CliRunner().invoke(cli, ["inspect", "--help"]).output
    assert [name for name in FORMATS if f"    {name} " not in text] == []
    assert "worse (relevant, but less so)" in " ".join(text.split())


def test_a_config_of_a_release_is_told_with_where_its_verdicts_are() -> None:
    release = Path(__file__).resolve().parents[2] / "earlier" / "release"
    for source in (release, release / "relabel"):
        shown = CliRunner().invoke(cli, ["inspect", str(source)]).output
        assert f"This is a config of the release {release}." in shown
        assert f'load_dataset("{release}", "verdicts")' in shown
        assert "judged: that takes a judge" not in shown
    told = CliRunner().invoke(cli, ["inspect", str(release), "--json"]).output
    assert json.loads(told)["release"] == str(release)


def test_a_manifest_of_another_program_makes_no_release(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW))
    (tmp_path / "manifest.json").write_text('{"name": "an app"}')
    shown = CliRunner().invoke(cli, ["inspect", str(tmp_path / "rows.jsonl")]).output
    assert "The only negative was not judged" in shown
