"""The judge that reads a file of known false negatives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_relabel.builders.errors import BadRow, ConfigError
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.judges.registry import make_judge
from hf_relabel.builders.rows import Passage, Row

ROW = Row("q", "query", (Passage("p", "", "yes"),), (Passage("a", "", "one"), Passage("b", "", "two")))


def truth(folder: Path, *lines: object) -> str:
    path = folder / "truth.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_it_says_what_the_file_says(tmp_path: Path) -> None:
    file = truth(tmp_path, {"query_id": "q", "known_positive": "p", "false_negatives": ["b"]})
    judge = make_judge("truth", file=file)
    assert isinstance(judge, TruthJudge)
    (found,) = judge.judge([(ROW, [0, 1])])
    assert {position: judgement.label for position, judgement in found.items()} == {
        0: Label.IRRELEVANT,
        1: Label.BETTER,
    }
    assert judge.model()[0] == "truth.jsonl"


def test_rows_it_does_not_know_are_not_judged(tmp_path: Path) -> None:
    judge = TruthJudge(truth(tmp_path, {"query_id": "x", "false_negatives": []}))
    (found,) = judge.judge([(ROW, [0])])
    assert found[0].label is Label.FAILED  # never "irrelevant"
    assert found[0].is_unknown
    assert "truth.jsonl has no line for the query 'q'" in found[0].rationale


@pytest.mark.parametrize(
    "line", [{"false_negatives": []}, {"query_id": "q"}, {"query_id": "q", "false_negatives": [1]}, [1]]
)
def test_a_bad_line_is_named(tmp_path: Path, line: object) -> None:
    with pytest.raises(BadRow, match=r"truth.jsonl, row 1"):
        TruthJudge(truth(tmp_path, line)).judge([(ROW, [0])])


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no truth file"):
        TruthJudge(str(tmp_path / "nowhere")).judge([(ROW, [0])])
