"""What is drawn from a row, which rows can be trained on, and tables for other losses."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.rows import arrow_schema, joined_text
from hf_relabel.trainers.data.rows import (
    RowDraw,
    check_columns,
    listwise_rows,
    tuple_prompts,
    tuple_rows,
    usable_rows,
)
from tests.trainers.training_rows import passage, row

LONG = row(1, ["p one", "p two", "p three"], [f"n {number}" for number in range(20)])
FEATURES = Features.from_arrow_schema(arrow_schema())


def table(rows: list[dict[str, Any]]) -> Dataset:
    """As `load_dataset` gives a config."""
    return Dataset.from_list(rows, features=FEATURES)


def texts(passages: Any) -> list[str]:
    return [each.text for each in passages]


def test_a_title_stands_on_a_line_of_its_own() -> None:
    assert joined_text("Title", "Text.") == "Title\nText."
    assert joined_text("", "Text.") == joined_text(None, "Text.") == "Text."


def test_negatives_and_positives_are_drawn_anew_each_epoch() -> None:
    draw = RowDraw(negatives=5, positives=1, seed=7)
    epochs = [draw(LONG, epoch) for epoch in range(30)]
    assert [draw(LONG, epoch) for epoch in range(30)] == epochs
    assert {len(each.negatives) for each in epochs} == {5}
    assert len({tuple(texts(each.negatives)) for each in epochs}) == 30
    assert {text for each in epochs for text in texts(each.positives)} == {"p one", "p two", "p three"}
    assert {text for each in epochs for text in texts(each.negatives)} == set(
        texts(RowDraw(negatives=None)(LONG).negatives)
    )
    assert RowDraw(negatives=5, positives=1, seed=8)(LONG) != epochs[0]


def test_all_positives_are_known_whatever_is_drawn() -> None:
    drawn = RowDraw(positives=1)(LONG)
    assert len(drawn.positives) == 1
    assert set(texts(drawn.known)) == {"p one", "p two", "p three"}


@given(st.lists(st.sampled_from("abcdef")), st.lists(st.sampled_from("abcdef")), st.integers(0, 4))
def test_a_positive_is_never_drawn_as_a_negative(positives: list[str], negatives: list[str], count: int) -> None:
    made = row(1, ["the one", *positives], negatives)
    drawn = RowDraw(negatives=count)(made)
    left = set(negatives) - set(positives)
    assert sorted(texts(drawn.positives)) == sorted({"the one", *positives})
    assert len(drawn.negatives) == min(count, len(left)) == len(set(texts(drawn.negatives)) & left)


def test_docid_or_text_makes_a_positive() -> None:
    made = row(1, [passage("d1", "one")], [passage("d1", "one, revised"), passage("d2", "one"), passage("d3", "three")])
    assert texts(RowDraw()(made).negatives) == ["three"]


def test_passages_without_a_docid_are_not_one_another() -> None:
    made = row(1, [passage("", "one")], [passage("", "two")])
    assert texts(RowDraw()(made).negatives) == ["two"]


def test_blank_passages_are_never_drawn() -> None:
    drawn = RowDraw()(row(1, [passage("d1", " \n"), "good"], ["", "bad"]))
    assert (texts(drawn.known), texts(drawn.negatives)) == (["good"], ["bad"])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"positive_passages": []}, "'q1' has no positive passage.*usable_rows"),
        ({"positive_passages": [passage("d", " ")]}, "no positive passage"),
        ({"query": " "}, "has no query"),
        ({"negative_passages": None}, "no list of passages in 'negative_passages'"),
        ({"negative_passages": ["text"]}, "is not {docid, title, text}"),
        ({"positive_passages": [{"docid": "d"}]}, "is not {docid, title, text}"),
    ],
)
def test_a_row_that_cannot_be_trained_on_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        RowDraw()({**row(1, ["good"], ["bad"]), **changes})


@pytest.mark.parametrize("settings", [{"negatives": -1}, {"positives": 0}])
def test_draws_that_make_no_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="or more"):
        RowDraw(**settings)


MIXED = [
    row(0, ["p"], ["n"]),
    row(1, [], ["n"]),
    {**row(2, ["p"], ["n"]), "query": ""},
    row(3, ["p"], ["p"]),  # its negative is its positive
    row(4, ["p", "p b"], ["n", "n b"]),
]


@pytest.mark.parametrize("streaming", [False, True])
def test_unusable_rows_are_left_out_and_counted(streaming: bool) -> None:
    dataset = table(MIXED)
    kept, counts = usable_rows(dataset.to_iterable_dataset() if streaming else dataset, skip=True, negatives=1)
    assert [each["query_id"] for each in kept] == ["q0", "q4"]
    assert (counts.kept, counts.without_positives, counts.without_query, counts.with_too_few_negatives) == (2, 1, 1, 1)
    assert counts.skipped == 3
    assert kept.column_names == dataset.column_names


def test_negatives_need_not_be_there_unless_asked_for() -> None:
    kept, counts = usable_rows(table([MIXED[0], MIXED[3]]))
    assert (len(kept), counts.kept, counts.skipped) == (2, 2, 0)


def test_what_another_row_of_the_query_has_for_a_positive_is_no_hard_negative() -> None:
    asks = {"query": "How far?"}
    rows = [
        {**row(0, ["a", "b"], ["n", "c", "d"]), **asks},
        row(1, ["p"], ["a"]),  # another query
        {**row(2, ["c"], ["b", "a revised"]), "query": " how  FAR?"},
        {**row(3, ["e"], ["x"]), "query_id": "q1"},  # the id of row 1 in other words
        {**row(4, ["x"], ["p"]), "query_id": "q1"},
        {**row(5, ["a"], ["p"]), "query": ""},
        {**row(6, ["p"], ["a"]), "query": ""},
    ]
    rows[2]["negative_passages"][1]["docid"] = "d-a"  # a positive of row 0 by its docid
    kept, counts = usable_rows(table(rows), skip=True)
    assert [each["query_id"] for each in kept] == ["q0", "q1", "q2", "q1", "q1"]
    negatives = [[each["text"] for each in record["negative_passages"]] for record in kept]
    assert negatives == [["n", "d"], ["a"], [], [], []]
    assert (counts.kept, counts.known_negatives) == (5, 5)
    gc.collect()
    assert all(Path(file["filename"]).exists() for file in kept.cache_files)
    kept, counts = usable_rows(table(rows), skip=True, negatives=1)
    assert (counts.kept, counts.with_too_few_negatives) == (2, 3)


@pytest.mark.parametrize("streaming", [False, True])
def test_an_unusable_row_is_an_error_unless_it_may_be_skipped(streaming: bool) -> None:
    dataset = table(MIXED)
    with pytest.raises(ConfigError, match="'q1' has no positive"):
        list(usable_rows(dataset.to_iterable_dataset() if streaming else dataset)[0])


@pytest.mark.parametrize("names", [["anchor", "positive"], ["query", "positive_passages"], None])
def test_other_columns_are_refused(names: list[str] | None) -> None:
    with pytest.raises(ConfigError, match=r"not .*negative_passages"):
        check_columns(names)


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_as_lists(streaming: bool) -> None:
    dataset = table([MIXED[0], MIXED[4]])
    lists = list(listwise_rows(dataset.to_iterable_dataset() if streaming else dataset))
    assert lists[0] == {"query": MIXED[0]["query"], "docs": ["p", "n"], "labels": [1.0, 0.0]}
    assert sorted(lists[1]["docs"][:2]) == ["p", "p b"]
    assert lists[1]["labels"] == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_as_tuples(streaming: bool) -> None:
    dataset = table([MIXED[0], MIXED[4]])
    tuples = list(tuple_rows(dataset.to_iterable_dataset() if streaming else dataset))
    assert tuples[0] == {"query": MIXED[0]["query"], "positive": "p", "negative_1": "n"}
    assert [each["query"] for each in tuples[1:]] == [MIXED[4]["query"]] * 2
    assert sorted(each["positive"] for each in tuples[1:]) == ["p", "p b"]
    assert list(tuples[0]) == list(tuple_prompts("", "", 1))


def test_rows_that_are_too_short_are_no_tuples_and_no_lists() -> None:
    with pytest.raises(ConfigError, match=r"1 usable negatives, not 2.*negatives=2"):
        list(tuple_rows(table([MIXED[0]]), RowDraw(negatives=2)))
    with pytest.raises(ConfigError, match="no negative to rank"):
        list(listwise_rows(table([MIXED[3]])))
    with pytest.raises(ConfigError, match="need a number of negatives"):
        tuple_rows(table([MIXED[0]]), RowDraw(negatives=None))
