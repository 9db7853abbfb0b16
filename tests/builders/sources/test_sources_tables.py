"""What tables say by more than their values: names of classes, names of columns, empty cells, lists in cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_relabel import open_source
from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.rows import Row

LABELLED = {"query": ["q", "q"], "passage": ["a", "b"], "label": [0, 1]}
ROW = {"query": "who wrote it?", "positive": "Bob did", "negative": "Alice did"}


def rows(data: Any, **options: Any) -> list[Row]:
    return [numbered.row for numbered in open_source(data, **options).rows()]


def labelled(*names: str) -> Dataset:
    texts = {"query": Value("string"), "passage": Value("string")}
    return Dataset.from_dict(LABELLED, Features({**texts, "label": ClassLabel(names=list(names))}))


REVERSED = r"'label' has classes with names \(0 is 'relevant', 1 is 'irrelevant'\), and 1 is read as relevant"


@pytest.mark.parametrize("names", [("relevant", "irrelevant"), ("entailment", "not_entailment"), ("A", "B")])
def test_labels_whose_names_do_not_say_that_1_is_relevant_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(
        SourceError, match=rf"0 is '{names[0]}', 1 is '{names[1]}'.*Recode it.*int\(row\['label'\] == N"
    ):
        open_source(labelled(*names))


@pytest.mark.parametrize(
    "names", [("0", "1"), ("irrelevant", "relevant"), ("Not Relevant", "relevant"), ("not_entailment", "entailment")]
)
def test_labels_whose_names_say_that_1_is_relevant_are_read(names: tuple[str, ...]) -> None:
    [row] = rows(labelled(*names))
    assert [passage.text for passage in row.positive_passages] == ["b"]


def test_the_recoding_that_is_told_is_read() -> None:
    data = labelled("relevant", "irrelevant").cast_column("label", Value("int64"))
    [row] = rows(data.map(lambda row: {"label": int(row["label"] == 0)}))
    assert [passage.text for passage in row.positive_passages] == ["a"]


@pytest.mark.parametrize("form", ["stream", "table", "parquet", "saved", "second file"])
def test_names_of_classes_are_seen_wherever_they_stand(tmp_path: Path, form: str) -> None:
    data = labelled("relevant", "irrelevant")
    table = data.data.table
    if form == "stream":
        given: Any = data.to_iterable_dataset()
    elif form == "table":
        given = table
    elif form == "saved":
        data.save_to_disk(str(tmp_path / "saved"))
        given = tmp_path / "saved"
    else:
        given = tmp_path
        if form == "second file":
            pq.write_table(table.replace_schema_metadata(None), tmp_path / "a.parquet")
        pq.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(SourceError, match=REVERSED):
        rows(given)


def test_names_of_classes_in_lists_of_labels_are_seen() -> None:
    features = Features(
        {"query": Value("string"), "docs": List(Value("string")), "labels": List(ClassLabel(names=["yes", "no"]))}
    )
    data = Dataset.from_dict({"query": ["q"], "docs": [["a", "b"]], "labels": [[0, 1]]}, features)
    with pytest.raises(SourceError, match="'labels' has classes with names"):
        open_source(data)
    with pytest.raises(SourceError, match="'labels' has classes with names"):
        open_source(data.data.table)


def test_named_grades_are_read_where_the_least_relevant_one_is_said() -> None:
    names = ("bad", "fair", "perfect")
    with pytest.raises(SourceError, match="2 is 'perfect'"):
        open_source(labelled(*names))
    [row] = rows(labelled(*names), relevant_from=1)
    assert [passage.text for passage in row.positive_passages] == ["b"]
    with pytest.raises(SourceError, match=REVERSED):
        open_source(labelled("relevant", "irrelevant"), relevant_from=1)


def test_an_empty_cell_is_no_passage(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("query,positive,negative_1,negative_2\nq,yes,no,\nq2,yes,,no\n", encoding="utf-8")
    assert [[passage.text for passage in row.negative_passages] for row in rows(path)] == [["no"], ["no"]]
    path.write_text("query,positive,negative\nq,yes,no\nq2,yes,\n", encoding="utf-8")
    with pytest.raises(BadRow, match=r"row 2.*null where text is needed"):
        rows(path)


def test_a_row_of_a_table_is_told_by_its_number_whatever_lines_its_fields_hold(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('query,positive,negative\n"q\n1",yes,no\n\nq2,"y\ne\ns",no\nq3,yes,\n', encoding="utf-8")
    with pytest.raises(BadRow, match=r"rows\.csv, row 3, field") as found:
        rows(path)
    assert found.value.number == 3


@pytest.mark.parametrize("wrong", [["x", "Alice wrote the whole thing"], [{"text": "Alice wrote the whole thing"}]])
def test_lists_of_sentences_are_not_dropped_without_a_word(wrong: list[Any]) -> None:
    data = [{"query": "who?", "positive": "Bob", "distractors": wrong[:0]}]
    data += [{"query": f"who was {number}?", "positive": "Bob", "distractors": wrong} for number in range(3)]
    with pytest.raises(SourceError, match="distractors holds text that is not read"):
        open_source(data)
    assert len(rows(data, columns={"ignore": "distractors"})) == 4


@pytest.mark.parametrize("form", ["pandas", "table", "batch", "parquet"])
def test_columns_of_one_name_are_refused(tmp_path: Path, form: str) -> None:
    values, names = ["q", "p", "n", "m"], ["query", "positive", "negative", "negative"]
    table = pa.table([pa.array([value]) for value in values], names=names)
    if form == "pandas":
        given: Any = pd.DataFrame([values], columns=names)
    elif form == "parquet":
        given = tmp_path / "rows.parquet"
        pq.write_table(table, given)
    else:
        given = table if form == "table" else table.to_batches()[0]
    with pytest.raises(SourceError, match="has several columns 'negative'"):
        open_source(given)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (pd.DataFrame([["q", "p", "n"]]), r"names of columns have to be text, found 0, 1, 2"),
        (
            pd.DataFrame([["q", "p"]], columns=pd.MultiIndex.from_tuples([("a", "query"), ("a", "positive")])),
            r"names of columns have to be text, found \('a', 'query'\)",
        ),
        ([{1: "q", 2: "p"}], "1 where the name of a field is needed"),
        ([{1: "q", **ROW}], "1 where the name of a field is needed"),
    ],
)
def test_names_of_columns_that_are_no_text_are_refused(given: Any, found: str) -> None:
    with pytest.raises((SourceError, BadRow), match=found):
        open_source(given)
