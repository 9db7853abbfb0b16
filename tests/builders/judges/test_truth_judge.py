"""The judge that reads a file of known false negatives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.errors import BadRow, ConfigError
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.judges.registry import make_judge
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.commands.student_command import known_examples
from hf_relabel.hub_tools.judging.run import judge

ROW = Row("q", "query", (Passage("p", "", "yes"),), (Passage("a", "", "one"), Passage("b", "", "two")))


def truth(folder: Path, *lines: object) -> str:
    path = folder / "truth.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_it_says_what_the_file_says(tmp_path: Path) -> None:
    file = truth(tmp_path, {"query_id": "q", "known_positive": "p", "false_negatives": ["b"]})
    knowing = make_judge("truth", file=file)
    assert isinstance(knowing, TruthJudge)
    (found,) = knowing.judge([(ROW, [0, 1])])
    assert {position: judgement.label for position, judgement in found.items()} == {
        0: Label.IRRELEVANT,
        1: Label.BETTER,
    }
    assert knowing.model()[0] == "truth.jsonl"


def test_rows_that_share_a_query_have_a_line_each(tmp_path: Path) -> None:
    lines = ({"query_id": "q", "false_negatives": docids} for docids in (["a"], ["b"], []))
    (found,) = TruthJudge(truth(tmp_path, *lines)).judge([(ROW, [0, 1])])
    assert {judgement.label for judgement in found.values()} == {Label.BETTER}


def test_a_student_learns_from_texts_as_from_ids(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW.to_dict()))
    source = open_source(tmp_path / "rows.jsonl")
    for line in ({"query_id": "q", "false_negatives": ["b"]}, {"query_id": "query", "false_negatives": ["two"]}):
        examples = known_examples(source, truth(tmp_path, line))
        assert [(each.position, each.relevant) for each in examples] == [(0, False), (1, True)]


def test_rows_it_does_not_know_are_not_judged(tmp_path: Path) -> None:
    knowing = TruthJudge(truth(tmp_path, {"query_id": "x", "false_negatives": []}))
    (found,) = knowing.judge([(ROW, [0])])
    assert found[0].label is Label.FAILED  # never "irrelevant"
    assert found[0].is_unknown
    assert "truth.jsonl has no line for its query" in found[0].rationale
    known = replace(ROW, query_id="x", query="another question")
    outcomes = judged(tmp_path, [ROW, known], {"query_id": "x", "false_negatives": []})
    assert outcomes == [["unjudged"] * len(ROW.negative_passages), ["negative"] * len(ROW.negative_passages)]


def test_an_id_that_no_negative_of_its_query_has_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    judged(tmp_path, [ROW], {"query_id": "q", "false_negatives": ["a", "nosuch"]})
    assert "names 1 false negative that no negative of the query has" in caplog.text
    assert 'The first is "nosuch", of the query "q".' in caplog.text


def test_an_id_in_another_row_of_its_query_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [ROW, replace(ROW, negative_passages=(Passage("c", "", "three"),))]
    judged(tmp_path, rows, {"query_id": "q", "false_negatives": ["two", "c"]})
    assert not caplog.text


@pytest.mark.parametrize(
    "line", [{"false_negatives": []}, {"query_id": "q"}, {"query_id": "q", "false_negatives": [1]}, [1]]
)
def test_a_bad_line_is_named(tmp_path: Path, line: object) -> None:
    with pytest.raises(BadRow, match=r"truth.jsonl, row 1"):
        TruthJudge(truth(tmp_path, line)).judge([(ROW, [0])])


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no truth file"):
        TruthJudge(str(tmp_path / "nowhere")).judge([(ROW, [0])])


def judged(folder: Path, rows: list[Row], *lines: object) -> list[list[str]]:
    """The outcomes of all candidates by a truth file, through a journal."""
    records = [row.to_dict() for row in rows]
    with Journal(folder / "journal.sqlite") as journal:
        judge(records, TruthJudge(truth(folder, *lines)), journal, progress=False)
        return [[str(verdict.outcome) for verdict in said] for _, said in verdicts(open_source(records), journal)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_same_text_under_two_docids_has_an_answer_for_each(tmp_path: Path, order: tuple[int, int]) -> None:
    both = (Passage("a", "", "one"), Passage("b", "", "one"))
    row = Row("q", "query", ROW.positive_passages, tuple(both[place] for place in order))
    (found,) = judged(tmp_path, [row], {"query_id": "q", "false_negatives": ["b"]})
    assert [found[order.index(place)] for place in (0, 1)] == ["negative", "false_negative"]


def test_the_same_query_under_two_ids_has_an_answer_for_each(tmp_path: Path) -> None:
    passages = tuple(Passage(f"n{number}", "", f"text {number}") for number in range(2))
    rows = [Row(name, "query", ROW.positive_passages, passages) for name in ("lacking", "q")]
    lines = [{"query_id": "q", "false_negatives": ["n1"]}]
    assert judged(tmp_path, rows, *lines) == [["unjudged"] * 2, ["negative", "false_negative"]]


def test_a_journal_of_before_is_read_as_it_was_written() -> None:
    today = JudgeIdentity("truth", "truth.jsonl", "0", TruthJudge("truth.jsonl").settings())
    before = JudgeIdentity("truth", "truth.jsonl", "0", {})
    twin = Row("other", "query", ROW.positive_passages, (Passage("other", "", "one"),))
    assert before.keys()(ROW, [0]) == before.keys()(twin, [0])
    assert today.keys()(ROW, [0]) != today.keys()(twin, [0])


@pytest.mark.parametrize("kind", ["truth", "student"])
def test_what_a_judge_lacks_is_named_as_python_has_it(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"judge needs `(file|model)=`, ") as raised:
        make_judge(kind)
    assert "--" not in str(raised.value)


def test_what_has_no_ids_is_named_by_its_text(tmp_path: Path) -> None:
    rows = [{"query": "query", "positive": "yes", "negative_1": "one", "negative_2": "two"}]
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(rows, TruthJudge(truth(tmp_path, {"query_id": "query", "false_negatives": ["two"]})), journal)
        [(_, said)] = verdicts(open_source(rows), journal)
    assert [str(verdict.outcome) for verdict in said] == ["negative", "false_negative"]


def test_an_id_comes_before_a_text(tmp_path: Path) -> None:
    row = Row("q", "query", ROW.positive_passages, (Passage("a", "", "b"), Passage("b", "", "two")))
    (found,) = TruthJudge(truth(tmp_path, {"query_id": "q", "false_negatives": ["b"]})).judge([(row, [0, 1])])
    assert [found[place].label for place in (0, 1)] == [Label.IRRELEVANT, Label.BETTER]


def test_a_complaint_shows_the_start_of_a_query_and_is_one_for_all_rows(tmp_path: Path) -> None:
    knowing = TruthJudge(truth(tmp_path, {"query_id": "x", "false_negatives": []}))
    queries = [f"{name} why \x1b[31m is\nit " + "so " * 60 for name in "ab"]
    rows = [Row(query[0], query, ROW.positive_passages, ROW.negative_passages) for query in queries]
    found = [judgements[0].rationale for judgements in knowing.judge([(row, [0]) for row in rows])]
    assert found[0] == found[1]
    assert '(the first is "a why \\u001b[31m is it so so' in found[0]
    assert "\x1b" not in found[0]
    assert len(found[0]) < 200
