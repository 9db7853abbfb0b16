"""What is wrong with judgements, and what of the rankings of runs is to be judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_relabel.builders.errors import BadRow, ConfigError, SourceError
from hf_relabel.builders.qrels.collection import find, read_collection, read_grades
from hf_relabel.builders.qrels.merging import without_dangling
from hf_relabel.builders.qrels.pooling import pool_rows, pooled, texts_of
from tests.trainers.qrels.tiny_set import FIRST, GRADES, SECOND, tiny_set, write_grades

RUNS = {"first": FIRST, "second": SECOND}


def test_the_pool_has_what_is_unjudged_among_the_first_of_any_run_once_each(tmp_path: Path) -> None:
    pool = pooled(RUNS, read_collection(tiny_set(tmp_path)), depth=2)
    found = {query_id: [(each.docid, each.found) for each in candidates] for query_id, candidates in pool.items()}
    assert found == {
        "q1": [("x", (("first", 1),)), ("y", (("second", 2),))],
        "q2": [("b2", (("first", 1),)), ("y", (("second", 2),))],
        "q3": [("y", (("second", 1),)), ("x", (("first", 2),)), ("z", (("second", 2),))],
    }, "judged ones are left out, relevant or not, and q4 has no relevant document"
    assert pooled({"first": {"q1": ["q1", "z"]}}, read_collection(tmp_path / "tiny"), 10)["q1"][0].docid == "z"


def test_a_document_of_two_runs_has_both_ranks_and_counts_by_the_better(tmp_path: Path) -> None:
    pool = pooled(RUNS, read_collection(tiny_set(tmp_path)), depth=3)
    (x,) = [each for each in pool["q1"] if each.docid == "x"]
    assert (x.found, x.rank) == ((("first", 1), ("second", 3)), 1)


def test_rows_of_the_pool_are_rows_that_any_judge_reads(tmp_path: Path) -> None:
    collection = read_collection(tiny_set(tmp_path))
    pool = pooled(RUNS, collection, depth=1)
    rows = list(pool_rows(collection, pool, texts_of(collection, pool)))
    assert [row["query_id"] for row in rows] == ["q1", "q2", "q3"]
    assert rows[1] == {
        "query_id": "q2",
        "query": "what melts ice",
        "positive_passages": [{"docid": "b", "title": "", "text": "Salt melts ice."}],
        "negative_passages": [{"docid": "b2", "title": "", "text": "Text of b2."}],
        "subset": "tiny",
    }


def test_ids_that_name_nothing_same_queries_and_queries_without_relevant_documents_are_found(tmp_path: Path) -> None:
    grades = {**GRADES, "q1": {"a": 1, "gone": 1}, "q5": {"gone": 1}, "nobody": {"b": 1}}
    folder = tiny_set(tmp_path, grades)
    with (folder / "queries.jsonl").open("a") as file:
        file.writelines(
            json.dumps({"_id": f"q{n}", "text": text}) + "\n" for n, text in ((6, "Why is THE sky  blue"), (7, "?"))
        )
    grades["q6"] = {"a": 1}
    write_grades(folder / "qrels" / "test.tsv", grades)
    write_grades(folder / "qrels" / "dev.tsv", {"q7": {"a": 1}})
    collection = read_collection(folder)
    texts = texts_of(collection, {})
    found = find(collection, texts)
    assert found.dangling_queries == ("nobody",)
    assert found.dangling_documents == (("q1", "gone"), ("q5", "gone"))
    assert found.same_queries == (("q1", "q6"),)
    assert found.without_relevant == ("q4", "q5")
    assert found.never_judged == ()
    (folder / "qrels" / "dev.tsv").unlink()
    assert read_collection(folder).never_judged == ("q7",)
    kept = without_dangling(collection, texts)
    assert kept == {"q1": {"a": 1}, "q2": GRADES["q2"], "q3": GRADES["q3"], "q4": GRADES["q4"], "q6": {"a": 1}}


def test_a_run_of_another_set_is_refused_by_name(tmp_path: Path) -> None:
    collection = read_collection(tiny_set(tmp_path))
    pool = pooled({"foreign": {"q1": ["nowhere"]}}, collection, depth=10)
    with pytest.raises(
        ConfigError, match=r"'foreign' names documents that corpus\.jsonl does not have, such as 'nowhere'"
    ):
        texts_of(collection, pool)


def test_judgements_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "test.tsv"
    write_grades(path, {"q1": {"a": 0}})
    with pytest.raises(SourceError, match="no judgement above 0"):
        read_grades(path)
    path.write_text("q1\ta\t1\nq1\tb\t0.5\n")
    with pytest.raises(BadRow, match="Grades are whole numbers"):
        read_grades(path)
    path.write_text("q1\ta\t1\nq1 b 1\n")
    with pytest.raises(BadRow, match="row 2"):
        read_grades(path)
    for endless in ("inf", "-inf"):
        path.write_text(f"q1\ta\t1\nq1\tb\t{endless}\n")
        with pytest.raises(BadRow, match="Grades are whole numbers"):
            read_grades(path)
    path.write_text("q1\ta\t1\n")
    assert read_grades(path) == {"q1": {"a": 1}}


def test_a_judgement_with_two_grades_is_refused_with_both_lines(tmp_path: Path) -> None:
    """The last one was taken, without a word."""
    path = tmp_path / "test.tsv"
    path.write_text("query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t1\nq1\ta\t0\n")
    with pytest.raises(
        BadRow, match=r"test\.tsv, row 4.*: 0 for the document 'a' of query 'q1', which has 2 in row 2\."
    ):
        read_grades(path)
    path.write_text("q1\ta\t2\nq2\ta\t0\nq1\ta\t2.0\n")
    assert read_grades(path) == {"q1": {"a": 2}, "q2": {"a": 0}}


@pytest.mark.parametrize("docid", ["a\tb", "a\nq9\tb\t1", "a\rb"])
def test_an_id_that_would_become_another_judgement_is_refused(tmp_path: Path, docid: str) -> None:
    with pytest.raises(ConfigError, match="has a tab or a line break"):
        pooled({"run": {"q1": [docid]}}, read_collection(tiny_set(tmp_path)), depth=10)
