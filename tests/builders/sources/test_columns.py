"""Which column is which: said by the user, known by name, or guessed and said to be."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.job.job_file import SourceSettings
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.builders.sources.inspection import inspect
from hf_relabel.builders.sources.pieces import Piece, source_of_piece
from hf_relabel.hub_tools.judging.assemble import source_of

QUERY, YES, NO = "why is the sky blue?", "air scatters blue light", "the sea is blue as well"


def write(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def only_row(source: Source) -> Row:
    [numbered] = source.rows()
    return numbered.row


def texts(row: Row) -> tuple[str, list[str], list[str]]:
    return (
        row.query,
        [passage.text for passage in row.positive_passages],
        [passage.text for passage in row.negative_passages],
    )


@pytest.mark.parametrize("other", ["id", "title", "language", "source"])
def test_a_column_beside_the_positive_is_not_taken_for_it(tmp_path: Path, other: str) -> None:
    path = write(tmp_path, {other: "a word", "query": QUERY, "response": YES, "negative": NO})
    with pytest.raises(SourceError, match=rf"positive\. Left are: {other}, response.*columns=..positive. *: .response"):
        open_source(path)
    source = open_source(path, columns={"positive": "response"})
    assert texts(only_row(source)) == (QUERY, [YES], [NO])
    assert source.ignored_fields == {other}


@pytest.mark.parametrize("other", ["id", "title", "language", "source"])
def test_no_positive_is_guessed_out_of_what_is_none(tmp_path: Path, other: str) -> None:
    with pytest.raises(SourceError, match="which column is the positive"):
        open_source(write(tmp_path, {other: "a word", "query": QUERY, "negative": NO}))


def test_the_only_column_left_is_a_guess_and_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, {"id": 5, "question": QUERY, "response": YES, "negative": NO})
    with caplog.at_level(logging.WARNING):
        source = open_source(path)
    assert "positive ← response is a guess" in caplog.text
    assert texts(only_row(source)) == (QUERY, [YES], [NO])
    described = source.describe()
    assert (described["columns"], described["guessed"]) == ({"positive": ["response"]}, ["positive"])
    # What was guessed is said when the rows are read again, and then it is no guess.
    again = open_source(path, columns={role: tuple(names) for role, names in described["columns"].items()})
    assert only_row(again) == only_row(source)
    assert again.guesses == {}
    assert again.record() == source.record()
    plain = open_source(write(tmp_path, {"query": QUERY, "positive": YES, "negative": NO})).record()
    assert not {"columns", "guessed", "relevant_from"} & plain.keys()


def test_a_guess_holds_for_every_row(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"question": QUERY, "response": YES, "negative": NO},
        {"question": QUERY, "reply": YES, "negative": NO},
    )
    with pytest.raises(BadRow, match=r"row 2, field 'response': missing.*question, reply, negative"):
        list(open_source(path, skip_bad_rows=False, columns={"positive": "response"}).rows())


def test_several_columns_and_patterns_play_a_role(tmp_path: Path) -> None:
    record = {"query": QUERY, "positive": YES, "bad_10": "ten", "bad_2": "two", "worse": "three"}
    named = open_source(write(tmp_path, record), columns={"negative": ["worse", "bad_2", "bad_10"]})
    assert texts(only_row(named))[2] == ["three", "two", "ten"]
    found = open_source(write(tmp_path, record), columns={"negative": ("bad_*", "worse")})
    assert texts(only_row(found))[2] == ["two", "ten", "three"]
    two = open_source(
        write(tmp_path, {"q": QUERY, "good": YES, "also": "more", "bad": NO}),
        columns={"query": "q", "positive": ["good", "also"], "negative": "bad"},
    )
    assert texts(only_row(two)) == (QUERY, [YES, "more"], [NO])


@pytest.mark.parametrize("renamed", [["query", "positive", "negative"], ["positive", "negative"], ["positive"]])
@pytest.mark.parametrize(
    ("positive", "negative", "format"),
    [
        (YES, NO, "triplet"),
        ([YES], [NO], "flagembedding"),
        (YES, [NO], "flagembedding"),
        ([{"text": YES}], [{"text": NO}], "tevatron"),
    ],
)
def test_values_tell_the_format_of_columns_that_were_given(
    renamed: list[str], positive: Any, negative: Any, format: str, tmp_path: Path
) -> None:
    own = {"query": "query", "positive": "pos", "negative": "neg"}
    if format == "tevatron":
        own |= {"positive": "positive_passages", "negative": "negative_passages"}
    columns = {role: f"my_{role}" for role in renamed}
    name = {**own, **columns}
    source = open_source(
        write(tmp_path, {name["query"]: QUERY, name["positive"]: positive, name["negative"]: negative}), columns=columns
    )
    assert source.format == format
    assert texts(only_row(source)) == (QUERY, [YES], [NO])


def test_triplets_of_other_names_in_a_table_are_rows_of_several_negatives(tmp_path: Path) -> None:
    path = tmp_path / "qa.csv"
    path.write_text(f"question,answer,wrong\n{QUERY},{YES},{NO}\n{QUERY},{YES},grass is green\n")
    columns = {"query": "question", "positive": "answer", "negative": "wrong"}
    source = open_source(path, columns=columns)
    assert source.format == "triplet"
    assert texts(only_row(source)) == (QUERY, [YES], [NO, "grass is green"])
    assert only_row(open_source(path, columns=columns, format="triplet")) == only_row(source)


@pytest.mark.parametrize("negative", ["hard_*", ("hard_a", "hard_b")])
def test_several_columns_of_one_negative_each_are_n_tuples(negative: Any, tmp_path: Path) -> None:
    path = write(tmp_path, {"query": QUERY, "answer": YES, "hard_a": NO, "hard_b": "two"})
    source = open_source(path, columns={"query": "query", "positive": "answer", "negative": negative})
    assert source.format == "n-tuple"
    assert texts(only_row(source)) == (QUERY, [YES], [NO, "two"])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"positive": "respons"},
            r"no column 'respons' \(positive\)\. Did you mean 'response'\? There are: query, resp",
        ),
        ({"positiv": "response"}, "no role 'positiv'. Did you mean 'positive'"),
        ({"response": "positive"}, "Did you mean positive=response"),
        ({"negative": "hard_*"}, r"no column 'hard_\*'"),
    ],
)
def test_wrong_names_are_told_with_the_right_ones(tmp_path: Path, columns: dict[str, str], said: str) -> None:
    path = write(tmp_path, {"query": QUERY, "response": YES, "negative": NO})
    with pytest.raises(SourceError, match=said):
        open_source(path, columns=columns)


@pytest.mark.parametrize(
    ("more", "lost"),
    [
        ({"positive_2": "more"}, "positive_2 holds text that is not read beside positive"),
        ({"negative_1": "more"}, "negative_1 holds text that is not read beside negative"),
        ({"hard_negatives": ["more"]}, "holds text that is not read beside hard_negatives"),
        ({"answer": "Rayleigh"}, "positive, answer could each be the positive"),
        ({"anchor": "another query"}, "query, anchor could each be the query"),
        ({"context": "a whole sentence that nobody would read"}, "context holds text that is not read"),
    ],
)
def test_columns_with_text_are_not_dropped_without_a_word(tmp_path: Path, more: dict[str, Any], lost: str) -> None:
    record = {"query": QUERY, "positive": YES, "negative": NO}
    path = write(tmp_path, record | more)
    with pytest.raises(SourceError, match=lost):
        open_source(path)
    [name] = more
    source = open_source(path, columns={"ignore": name})
    assert texts(only_row(source)) == (QUERY, [YES], [NO])
    # Numbers, empty columns and what is known to be no passage are no loss.
    fine = {name: None, "pos_score": [1.0], "neg_id": "a", "url": "a b c d e", "margin": 2.0}
    assert open_source(write(tmp_path, record | fine)).format == "triplet"


def test_a_column_that_appears_later_is_not_dropped_either(tmp_path: Path) -> None:
    record = {"query": QUERY, "positive": YES, "negative": NO}
    path = write(tmp_path, *[record] * 30, record | {"negative_2": "more"})
    with pytest.raises(BadRow, match="row 31, field 'negative_2': negative_2 holds text"):
        list(open_source(path).rows())


def test_the_columns_go_with_the_pieces_of_a_source(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": QUERY, "b": YES, "c": NO, "d": "no more", "rel": 1})
    columns = {"query": "a", "positive": "b", "negative": ["c", "d"]}
    source = open_source(path, columns=columns)
    assert only_row(source_of_piece(source, Piece(0, 0))) == only_row(source)
    assert source.record()["columns"] == {"query": ["a"], "positive": ["b"], "negative": ["c", "d"]}


def test_formats_are_told_apart_from_the_one_that_was_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"query": QUERY, "pos": [YES], "neg": [NO]})
    with pytest.raises(SourceError, match=r"not in the format 'n-tuple', but in 'flagembedding'.*Leave `format=` out"):
        open_source(path, format="n-tuple")
    with pytest.raises(SourceError, match="Did you mean 'triplet'"):
        open_source(path, format="triplets")


def test_pairs_have_nothing_to_judge(tmp_path: Path) -> None:
    source = open_source(write(tmp_path, {"question": QUERY, "answer": YES}))
    assert (source.format, source.needs_mining) == ("pairs", True)
    assert texts(only_row(source)) == (QUERY, [YES], [])
    with pytest.raises(SourceError, match=r"no negatives to judge.*relabel mine"):
        source.check_negatives()
    assert inspect(source).rows_without_negatives == 1


def test_a_job_file_says_which_column_is_which(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": QUERY, "response": YES, "bad_1": NO, "bad_2": "no"})
    columns = {"query": "prompt", "positive": "response", "negative": "bad_*"}
    settings = SourceSettings.model_validate({"location": str(path), "columns": columns})
    assert texts(only_row(source_of(settings))) == (QUERY, [YES], [NO, "no"])
    with pytest.raises(ValidationError, match="Did you mean 'negative'"):
        SourceSettings.model_validate({"location": str(path), "columns": {"negatve": "bad_1"}})


def test_pairs_are_opened_only_where_that_is_said(tmp_path: Path) -> None:
    settings = SourceSettings(location=str(write(tmp_path, {"question": QUERY, "answer": YES})))
    assert source_of(settings, pairs=True).needs_mining
    with pytest.raises(SourceError, match="no negatives to judge"):
        source_of(settings)


def test_the_text_beside_a_pair_is_likely_a_negative(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"`columns=..negative.: .wrong.}`\), or leave it out \(`columns=..ignore.: "):
        open_source(write(tmp_path, {"question": QUERY, "answer": YES, "wrong": NO}))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"positive": "negative", "negative": "negative"}, "'negative' cannot be the positive and the negative"),
        ({"query": "query", "positive": ["answer", "query"]}, "'query' cannot be the query and the positive"),
        ({"positive": "answer", "negative": ["negative", "ans*"]}, "'answer' cannot be the positive and the negative"),
        ({"positive": "answer", "ignore": "answer"}, "'answer' cannot be the positive and the ignore"),
    ],
)
def test_one_column_has_one_role(tmp_path: Path, columns: dict[str, Any], told: str) -> None:
    path = write(tmp_path, {"query": QUERY, "answer": YES, "negative": NO})
    with pytest.raises(SourceError, match=told):
        open_source(path, columns=columns)


def test_what_is_left_may_be_ignored_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, {"query": QUERY, "answer": YES, "negative": NO, "negative_of_mine": NO})
    columns = {"positive": "answer", "negative": "negative", "ignore": "negative_*"}
    assert texts(only_row(open_source(path, columns=columns))) == (QUERY, [YES], [NO])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_label_is_at_least_what_is_no_number(tmp_path: Path, value: float) -> None:
    path = write(tmp_path, {"query": QUERY, "passage": YES, "label": 1})
    with pytest.raises(SourceError, match=rf"`relevant_from={value}` is no label"):
        open_source(path, relevant_from=value)


def test_a_job_file_gives_a_column_one_role() -> None:
    with pytest.raises(ValidationError, match="'a' cannot be the query and the positive"):
        SourceSettings(location="rows.jsonl", columns={"query": "a", "positive": ("b", "a")})


WRONG = {"question": QUERY, "answer": YES, "wrong_1": "because it mirrors the sea", "wrong_2": "it is painted that way"}


@pytest.mark.parametrize(
    ("record", "columns", "said"),
    [
        (WRONG, {}, r"wrong_1, wrong_2 hold .*`columns=..negative.: .wrong_\*.}`.*`columns=..ignore.: .wrong_\*.}`"),
        (WRONG, {"negative": "wrong_1"}, r"wrong_2 holds .* beside wrong_1.*`columns=..negative.: .wrong_\*.}`"),
        (
            {"query": QUERY, "positive": YES, "bad": "because it mirrors the sea", "worse": "it is painted that way"},
            {},
            r"bad, worse hold .*.ROLE.: \[.bad., .worse.\].* Roles are: query, positive, negative, ",
        ),
        (
            {"query": QUERY, "positive": YES, "negative": NO, "positive_2": "more", "negative_2": "other"},
            {},
            "positive_2, negative_2 hold text that is not read beside positive, negative",
        ),
    ],
)
def test_all_columns_that_would_be_lost_are_named_at_once(
    tmp_path: Path, record: dict[str, Any], columns: dict[str, str], said: str
) -> None:
    with pytest.raises(SourceError, match=said):
        open_source(write(tmp_path, record), columns=columns)
