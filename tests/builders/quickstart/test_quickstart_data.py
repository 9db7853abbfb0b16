"""The small training set that ships with the package keeps its promises."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.quickstart import rows_path, truth_path

Record = dict[str, Any]


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def rows() -> list[Record]:
    return read(rows_path())


@pytest.fixture(scope="module")
def truth() -> dict[str, Record]:
    records = read(truth_path())
    by_id = {record["query_id"]: record for record in records}
    assert len(by_id) == len(records)
    return by_id


def passages_of(row: Record) -> list[Record]:
    return [*row["positive_passages"], *row["negative_passages"]]


def is_japanese(text: str) -> bool:
    return any("\u3040" <= character <= "\u30ff" for character in text)


def test_rows_follow_the_schema(rows: list[Record]) -> None:
    for row in rows:
        assert list(row) == ["query_id", "query", "positive_passages", "negative_passages", "subset"]
        assert all(row[name].strip() for name in ("query_id", "query", "subset"))
        assert len(row["positive_passages"]) == 1
        assert 8 <= len(row["negative_passages"]) <= 12
        for passage in passages_of(row):
            assert list(passage) == ["docid", "title", "text"]
            assert all(isinstance(value, str) for value in passage.values())


def test_texts_are_not_empty_and_of_passage_length(rows: list[Record]) -> None:
    for passage in (passage for row in rows for passage in passages_of(row)):
        assert passage["text"] == passage["text"].strip()
        # Japanese says in 60 characters what takes English 150.
        shortest = 60 if is_japanese(passage["text"]) else 150
        assert shortest <= len(passage["text"]) <= 500, passage["docid"]


def test_ids_are_unique(rows: list[Record]) -> None:
    assert len({row["query_id"] for row in rows}) == len(rows)
    assert len({row["query"] for row in rows}) == len(rows)
    for row in rows:
        docids = [passage["docid"] for passage in passages_of(row)]
        assert len(set(docids)) == len(docids), row["query_id"]


def test_a_docid_is_always_the_same_passage(rows: list[Record]) -> None:
    seen: dict[str, Record] = {}
    for passage in (passage for row in rows for passage in passages_of(row)):
        assert seen.setdefault(passage["docid"], passage) == passage


def test_passages_belong_to_one_subset(rows: list[Record]) -> None:
    subsets: dict[str, str] = {}
    for row in rows:
        for passage in passages_of(row):
            assert subsets.setdefault(passage["docid"], row["subset"]) == row["subset"]


def test_counts(rows: list[Record]) -> None:
    docids = {passage["docid"] for row in rows for passage in passages_of(row)}
    assert len(rows) >= 55
    assert len(docids) >= 280
    assert len({row["subset"] for row in rows}) >= 6
    assert rows_path().stat().st_size < 400_000


def test_truth_speaks_of_these_rows(rows: list[Record], truth: dict[str, Record]) -> None:
    assert set(truth) == {row["query_id"] for row in rows}
    for row in rows:
        record = truth[row["query_id"]]
        assert list(record) == ["query_id", "known_positive", "false_negatives", "n_relevant"]
        assert [record["known_positive"]] == [passage["docid"] for passage in row["positive_passages"]]
        negatives = {passage["docid"] for passage in row["negative_passages"]}
        false_negatives = record["false_negatives"]
        assert len(set(false_negatives)) == len(false_negatives)
        assert set(false_negatives) < negatives, "every row keeps at least one true negative"
        assert record["n_relevant"] == 1 + len(false_negatives)


def test_share_of_rows_with_false_negatives(truth: dict[str, Record]) -> None:
    counts = Counter(len(record["false_negatives"]) for record in truth.values())
    affected = len(truth) - counts[0]
    assert 0.50 <= affected / len(truth) <= 0.65
    assert 0.50 <= counts[1] / affected <= 0.65
    assert counts[2] > counts[3] > 0


def test_a_passage_that_answers_one_row_is_no_silent_answer_to_another(
    rows: list[Record], truth: dict[str, Record]
) -> None:
    """The passages that answer a query are written for that query only."""
    owner: dict[str, str] = {}
    for query_id, record in truth.items():
        for docid in (record["known_positive"], *record["false_negatives"]):
            assert owner.setdefault(docid, query_id) == query_id


def test_one_exact_copy_of_a_positive_is_a_known_false_negative(rows: list[Record], truth: dict[str, Record]) -> None:
    copies = [
        (row["query_id"], negative["docid"])
        for row in rows
        for negative in row["negative_passages"]
        if negative["text"] == row["positive_passages"][0]["text"]
    ]
    assert len(copies) == 1
    query_id, docid = copies[0]
    assert docid in truth[query_id]["false_negatives"]


def test_there_is_text_that_is_not_english(rows: list[Record]) -> None:
    queries = [row["query"] for row in rows]
    assert any("¿" in query for query in queries)
    assert any(is_japanese(query) for query in queries)
