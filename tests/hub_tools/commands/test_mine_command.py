"""`hf relabel mine`: pairs in, rows out that the next command reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_relabel.hub_tools.commands import run

PAIRS = {"why is the sky blue": "air scatters blue light", "why is the sea blue": "water of the sea absorbs red light"}


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    rows = [{"query": query, "positive": text} for query, text in PAIRS.items()]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def test_rows_are_mined_and_read_again(pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "rows.jsonl")
    assert run(["mine", pairs, "--out", out, "--negatives", "1"]) == 0
    said = capsys.readouterr().out
    assert "2 rows" in said
    assert "Rows without negatives: 1 (50.0%)." in said
    assert run(["inspect", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows_without_negatives"] == 1


def test_json_tells_how_it_was_done(pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "d", "text": "the sky and the sea"}', encoding="utf-8")
    out = tmp_path / "rows.parquet"
    assert run(["mine", pairs, "--corpus", str(corpus), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(out)
    assert (told["method"], told["rows_without_negatives"], told["passages"]) == ("bm25", 0, 3)


def test_what_cannot_be_done_is_one_line(pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "rows.jsonl")
    assert run(["mine", pairs, "--out", out, "--max-score", "0.5"]) == 2
    assert capsys.readouterr().err.startswith("Error: BM25 has no max score")
    assert run(["mine", pairs, "--out", out, "--model", "package:no_such_package"]) == 2
    assert "no_such_package" in capsys.readouterr().err
    assert not Path(out).exists()


def test_ctrl_c_leaves_no_file_and_says_so(
    pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(file: object, row: object, scores: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_relabel.builders.mining.writing._write_line", stopped)
    out = tmp_path / "rows.jsonl"
    assert run(["mine", pairs, "--out", str(out)]) == 130
    assert f"Nothing was written to {out}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]
