"""Shapes that training data come in besides triplets and tuples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.rows import Passage, Row, text_docid
from hf_relabel.builders.sources import Source, open_source

PASSAGE = {"query": "q", "passage": "yes", "label": 1}


def opened(*records: dict[str, Any], **options: Any) -> Source:
    return open_source(list(records), **options)


def rows_of(source: Source) -> list[Row]:
    return [numbered.row for numbered in source.rows()]


def sides(row: Row) -> tuple[list[str], list[str]]:
    return ([passage.text for passage in row.positive_passages], [passage.text for passage in row.negative_passages])


def test_labelled_pairs_of_a_query_that_follow_each_other_are_one_row() -> None:
    source = opened(
        PASSAGE | {"passage": "no", "label": 0},
        PASSAGE,
        PASSAGE | {"passage": "also", "label": "1"},
        PASSAGE | {"query": "other", "label": 1.0},
        PASSAGE | {"passage": "late", "label": True},
    )
    assert source.format == "labeled-pairs"
    assert [(row.query, sides(row)) for row in rows_of(source)] == [
        ("q", (["yes", "also"], ["no"])),
        ("other", (["yes"], [])),
        ("q", (["late"], [])),
    ]
    # What each row was made of is kept together too.
    assert [len(records) for _, records in source.records()] == [3, 1, 1]


def test_labelled_pairs_that_lie_apart_are_refused_with_the_remedy_or_counted() -> None:
    records = [PASSAGE, PASSAGE | {"query": "other", "label": 0}, PASSAGE | {"query": "other", "label": 0}, PASSAGE]
    with pytest.raises(BadRow, match=r"row 2, field 'label': .*none .* Sort the file by query"):
        list(opened(*records).rows())
    source = opened(*records, skip_bad_rows=True)
    assert [row.query for row in rows_of(source)] == ["q", "q"]
    assert source.skipped.count == 1


def test_a_labelled_passage_may_have_its_title_and_docid_in_columns_of_their_own() -> None:
    record = PASSAGE | {"title": "Yes", "pid": 7}
    [row] = rows_of(opened(record, columns={"title": "title", "docid": "pid"}))
    assert row.positive_passages == (Passage("7", "Yes", "yes"),)
    # Whose title it is, nobody but the user knows.
    [row] = rows_of(opened(record))
    assert row.positive_passages == (Passage(text_docid("", "yes"), "", "yes"),)


def test_grades_and_scores_are_labels_once_it_is_said_from_which_on() -> None:
    graded = [PASSAGE | {"passage": f"grade {grade}", "label": grade} for grade in (0, 1, 2, 3)]
    with pytest.raises(BadRow, match=r"row 3, field 'label': the int 2.*`relevant_from=…`"):
        list(opened(*graded).rows())
    source = opened(*graded, relevant_from=2)
    [row] = rows_of(source)
    assert sides(row) == (["grade 2", "grade 3"], ["grade 0", "grade 1"])
    assert source.describe()["relevant_from"] == 2
    listed = {"query": "q", "docs": ["yes", "no", "never"], "labels": [0.9, 0.4, -1]}
    with pytest.raises(BadRow, match=r"labels\[0\]"):
        list(opened(listed).rows())
    [row] = rows_of(opened(listed, relevant_from=0.5))
    assert sides(row) == (["yes"], ["no", "never"])


def test_pairs_with_a_score_are_not_taken_for_positives() -> None:
    with pytest.raises(BadRow, match="`relevant_from=…`"):
        list(opened({"sentence1": "q", "sentence2": "unlike", "score": 0.1}).rows())


@pytest.mark.parametrize("label", [float("nan"), "high", None, [1]])
def test_what_is_no_label_is_refused(label: Any) -> None:
    source = opened(PASSAGE, PASSAGE, PASSAGE | {"label": label}, relevant_from=0)
    # An object's NaN is a missing field.
    with pytest.raises(BadRow, match=r"row 3, field 'label'"):
        list(source.rows())


@pytest.mark.parametrize(
    "record",
    [
        {"query": "q", "positive": "yes", "negatives": ["no", "never"]},
        {"anchor": "q", "positive": ["yes"], "negative": ["no", "never"]},
        {"question": "q", "answer": "yes", "hard_negatives": [{"text": "no"}, "never"]},
    ],
)
def test_negatives_as_a_list(record: dict[str, Any]) -> None:
    source = opened(record)
    assert source.format == "negative-list"
    assert [sides(row) for row in rows_of(source)] == [(["yes"], ["no", "never"])]


def test_a_table_pads_tuples_with_nulls() -> None:
    record = {"query": "q", "positive": "yes", "negative_1": "no", "negative_2": "never"}
    source = opened(record, record | {"negative_2": None})
    assert [sides(row)[1] for row in rows_of(source)] == [["no", "never"], ["no"]]


def test_dpr_rows() -> None:
    record = {
        "dataset": "nq_train",
        "question": "q",
        "answers": ["yes"],
        "positive_ctxs": [{"title": "Yes", "text": "yes", "score": 1000, "title_score": 1, "passage_id": "11"}],
        "negative_ctxs": [{"title": "", "text": "easy", "psg_id": 13}],
        "hard_negative_ctxs": [{"title": "No", "text": "hard", "score": 12.5}],
    }
    source = opened(record)
    assert source.format == "dpr"
    [row] = rows_of(source)
    assert row.positive_passages == (Passage("11", "Yes", "yes"),)
    assert row.negative_passages == (Passage(text_docid("No", "hard"), "No", "hard"), Passage("13", "", "easy"))
    [only_hard] = rows_of(opened(record, columns={"negative": "hard_negative_ctxs"}))
    assert sides(only_hard) == (["yes"], ["hard"])


def test_ms_marco_rows_as_the_hub_and_as_files_have_them() -> None:
    columns = {"is_selected": [0, 1], "passage_text": ["no", "yes"], "url": ["u", "v"]}
    objects = [{"is_selected": 0, "passage_text": "no"}, {"is_selected": 1, "passage_text": "yes"}]
    record = {"query": "q", "query_id": 19699, "query_type": "numeric", "answers": ["a"]}
    for passages in (columns, objects):
        source = opened(record | {"passages": passages})
        assert source.format == "msmarco"
        [row] = rows_of(source)
        assert (row.query_id, sides(row)) == ("19699", (["yes"], ["no"]))
    none = record | {"passages": columns | {"is_selected": [0, 0]}}
    with pytest.raises(BadRow, match=r"no passage is selected.*`skip_bad_rows=True`"):
        list(opened(none).rows())


def test_a_nan_where_nobody_reads_refuses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"query": "q", "pos": ["yes"], "neg": ["no"]}
    lines = [row | {"margin": float("nan")}, row | {"margin": float("-inf")}, row | {"neg": float("nan")}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(BadRow, match=r"row 3, field 'neg': the float nan"):
        list(open_source(path).rows())
    source = open_source(path, skip_bad_rows=True)
    assert [sides(row) for row in rows_of(source)] == [(["yes"], ["no"])] * 2


@pytest.mark.parametrize(
    ("record", "remedy"),
    [
        ({"_id": "d", "title": "", "text": "a document"}, r"part of a BEIR set: give its folder"),
        ({"query_id": "1", "positive_id": "2", "negative_id": "3"}, "ids, not texts: join them with the corpus"),
        ({"messages": [{"role": "user"}]}, "These are chats"),
        ({"query": "q", "position": 1, "outcome": "kept", "reason": ""}, "verdicts of a release"),
        (
            {"prompt": "q", "chosen": "yes", "rejected": "no"},
            r"`columns=..query.: .NAME., .positive.: .NAME., .negative.: .NAME.}`",
        ),
        (
            {"query": "q", "positive": "yes", "negatives": "['no']"},
            r"Say what it is \(`columns=..negative.: .negatives.}`\)",
        ),
    ],
)
def test_what_holds_no_rows_is_told_what_it_is(record: dict[str, Any], remedy: str) -> None:
    with pytest.raises(SourceError, match=remedy):
        opened(record)
