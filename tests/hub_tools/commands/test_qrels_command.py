"""`qrels` as people meet it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.hub_tools.commands import run
from tests.trainers.qrels.tiny_set import MORE, tiny_set, truth_file, write_grades


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_set(tmp_path)
    stages = [{"judge": {"kind": "truth", "file": str(truth_file(tmp_path))}}]
    (tmp_path / "job.yaml").write_text(json.dumps({"source": "out/pool.jsonl", "stages": stages}))
    write_grades(tmp_path / "more.tsv", MORE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


GIVEN = ("qrels", "tiny", "--run", "first.trec", "--run", "bm25", "--out", "out")


def told(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*GIVEN, *options, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_judges_reports_and_writes(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*GIVEN, "--stages", "job.yaml", "--truth", "more.tsv"]) == 0
    shown = capsys.readouterr().out
    assert "New relevant documents: 3, 1 of them copies of a relevant one, for 3 queries." in " ".join(shown.split())
    assert "Precision 1.000 by more.tsv" in shown
    assert 'load_dataset("out", "qrels")' in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    again = told(capsys)
    assert (again["found"]["judged"], again["found"]["precision"]) == (2, None), "of the journal, without a judge"
    assert {each["name"] for each in again["systems"]} == {"first", "bm25"}


def test_the_pool_is_a_training_set_for_plan_judge_and_audit(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "--pool-only")["candidates"] == 6
    assert not (scene / "out" / "README.md").exists()
    assert run(["plan", "out/pool.jsonl", "--stages", "job.yaml"]) == 0
    assert run(["judge", "out/pool.jsonl", "--stages", "job.yaml"]) == 0
    assert run(["audit", "sample", "out/pool.jsonl", "--size", "8", "--out", "audit"]) == 0
    assert told(capsys)["found"]["judged"] == 2


def test_a_judge_that_is_not_named_is_asked_for(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(list(GIVEN)) == 5
    assert "journal.sqlite" in capsys.readouterr().err
    assert run([*GIVEN, "--better", "0.5"]) == 2
    assert "name it with --judge" in capsys.readouterr().err
    assert run([*GIVEN, "--stages", "job.yaml", "--truth", "more.tsv", "--audit", "audit.json"]) == 2
    assert "Give either --truth or --audit" in capsys.readouterr().err
    assert not (scene / "journal.sqlite").exists(), "said before anything is judged"
