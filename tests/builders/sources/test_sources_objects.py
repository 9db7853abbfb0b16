"""Training sets that a program holds: `datasets` objects, data frames, Arrow tables and lists of dicts."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, IterableDataset

from hf_relabel import open_source
from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.inspection import inspect
from hf_relabel.builders.sources.pieces import cuttable

ROWS = [
    {
        "query_id": str(number),
        "query": f"query {number}",
        "positive_passages": [{"docid": "p", "title": "", "text": "yes"}],
        "negative_passages": [{"docid": "n", "title": "", "text": "no"}, {"docid": "m", "title": "", "text": "never"}],
        "subset": "nq",
        "note": number,
    }
    for number in range(600)
]
NEGATIVES = (Passage("n", "", "no"), Passage("m", "", "never"))
EXPECTED = [
    Row(
        str(number),
        f"query {number}",
        (Passage("p", "", "yes"),),
        (Passage("n", "", "no"), Passage("m", "", "never")),
        "nq",
    )
    for number in range(600)
]


def rows_of(source: Source) -> list[Row]:
    return [numbered.row for numbered in source.rows()]


class Capsule:
    """A frame of another library, which hands its content over as polars and others do."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "made",
    [
        list,
        Dataset.from_list,
        lambda rows: Dataset.from_list(rows).with_format("torch"),
        lambda rows: Dataset.from_list(rows[::-1]).select(range(599, -1, -1)),
        lambda rows: IterableDataset.from_generator(lambda: iter(rows)),
        lambda rows: Dataset.from_list(rows).to_iterable_dataset(num_shards=3),
        lambda rows: DatasetDict({"train": Dataset.from_list(rows)}),
        pd.DataFrame,
        pa.Table.from_pylist,
        lambda rows: pa.Table.from_pylist(rows).combine_chunks().to_batches()[0],
        lambda rows: Capsule(pa.Table.from_pylist(rows)),
        lambda rows: list(EXPECTED),
    ],
    ids=[
        "list",
        "dataset",
        "torch",
        "indices",
        "iterable",
        "shards",
        "dict",
        "pandas",
        "table",
        "batch",
        "capsule",
        "rows",
    ],
)
def test_every_object_gives_the_same_rows_again_and_again(made: Callable[[list[dict[str, Any]]], Any]) -> None:
    source = open_source(made(ROWS))
    assert rows_of(source) == EXPECTED
    assert rows_of(source) == EXPECTED
    assert source.format == "tevatron"
    assert rows_of(open_source(made(ROWS), limit=2, subset="nq")) == EXPECTED[:2]


def test_the_fingerprint_is_of_the_rows_whatever_holds_them() -> None:
    prints = {open_source(data).fingerprint() for data in (ROWS, Dataset.from_list(ROWS), pd.DataFrame(ROWS))}
    assert len(prints) == 1
    assert prints.pop().startswith("rows-sha256:")
    changed = [*ROWS[:-1], ROWS[-1] | {"query": "another"}]
    assert open_source(changed).fingerprint() != open_source(ROWS).fingerprint()


def test_values_that_json_does_not_have_are_no_matter_to_the_fingerprint() -> None:
    odd = {"query": "q", "pos": ["yes"], "neg": ["no"]}
    for value in (b"\xff", float("nan"), 10**40, "\ud800", {1, 2}, pd.Timestamp("2026-01-01"), np.float32(1)):
        same = [open_source([odd | {"note": value}]).fingerprint() for _ in range(2)]
        assert same[0] == same[1]


def test_what_a_manifest_says_of_an_object() -> None:
    source = open_source(Dataset.from_list(ROWS))
    told = source.record()
    assert (told["name"], told["files"], told["revision"]) == ("Dataset", [], None)
    assert told["ignored_fields"] == ["note"]
    assert open_source(ROWS, name="my rows").record()["name"] == "my rows"


def test_missing_values_of_pandas_are_missing() -> None:
    frame = pd.DataFrame(
        {
            "query_id": [7, None],
            "query": ["a", "b"],
            "pos": [np.array(["yes"]), np.array(["yes"])],
            "neg": [np.array(["no", "never"], dtype=object), ["no"]],
            "subset": ["nq", float("nan")],
            "score": [float("nan"), 0.5],
        }
    )
    first, second = rows_of(open_source(frame))
    assert (first.query_id, first.subset) == ("7", "nq")
    assert [passage.text for passage in first.negative_passages] == ["no", "never"]
    assert second.query_id == rows_of(open_source([{"query": "b", "pos": "yes", "neg": "no"}]))[0].query_id
    assert second.subset == ""


def test_rows_that_came_out_of_a_data_frame_keep_nothing_of_it() -> None:
    record = {"query_id": float("nan"), "query": "a", "pos": np.array(["yes"]), "neg": np.array(["no"], dtype=object)}
    assert [passage.text for passage in rows_of(open_source([record]))[0].positive_passages] == ["yes"]


def test_columns_of_pandas_with_values_of_several_types() -> None:
    frame = pd.DataFrame({"query_id": [1, "b"], "query": ["a", "b"], "pos": ["yes", ["yes"]], "neg": [["no"], "no"]})
    assert [row.query_id for row in rows_of(open_source(frame))] == ["1", "b"]


def test_a_dict_of_splits_needs_one() -> None:
    splits = DatasetDict({"train": Dataset.from_list(ROWS[:2]), "test": Dataset.from_list(ROWS[2:3])})
    source = open_source(splits, split="test")
    assert rows_of(source) == EXPECTED[2:3]
    assert (source.name, source.split) == ("DatasetDict", "test")
    with pytest.raises(SourceError, match=r"several splits, name one of them \(`split=`\)\. There are: train, test"):
        open_source(splits)
    with pytest.raises(SourceError, match=r"no split 'dev'\. There are: train, test"):
        open_source(splits, split="dev")


def test_a_split_of_another_name_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS[:1]), tmp_path / "rows.parquet")
    dataset = Dataset.from_parquet(str(tmp_path / "rows.parquet"), split="test", cache_dir=str(tmp_path))
    assert open_source(dataset).split == "test"
    with pytest.raises(SourceError, match="is the split 'test', not 'train'"):
        open_source(dataset, split="train")


def test_a_bad_row_of_an_object_says_where() -> None:
    with pytest.raises(BadRow, match=r"my rows, row 2, field 'query': null where text is needed"):
        rows_of(open_source([ROWS[0], ROWS[1] | {"query": None}], name="my rows"))
    with pytest.raises(BadRow, match=r"list, row 2, field '\(the whole row\)': a str"):
        rows_of(open_source([ROWS[0], "rows.jsonl"]))
    source = open_source([ROWS[0], None, ROWS[1]], skip_bad_rows=True)
    assert rows_of(source) == EXPECTED[:2]
    assert inspect(source).source["skipped"]["count"] == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (5, "int: cannot be read as rows. Give a path, a data set on the Hub"),
        (None, "NoneType: cannot be read as rows"),
        (b"rows.jsonl", "bytes: cannot be read as rows"),
        ((row for row in ROWS), "generator: cannot be read as rows. It can be read only once; give a list"),
        (pa.Table.from_pylist(ROWS).to_reader(), "can be read only once. Give a table: `reader.read_all\\(\\)`"),
        ({"query": ["a"], "pos": ["b"]}, r"dict: a dict is no data set.*Dataset.from_dict"),
        (ROWS[0], "dict: a dict is no data set"),
        ({}, "dict: has no rows"),
        ([], "list: there are no rows in it"),
        (Dataset.from_list([]), "Dataset: there are no rows in it"),
        (io.StringIO("{}"), "StringIO: cannot be read as rows"),
        (Source("a", (), "tevatron"), "Source: cannot be read as rows. It is an open source already"),
    ],
)
def test_what_holds_no_rows_is_refused_in_one_line(data: Any, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        open_source(data)
    assert "\n" not in str(caught.value)


def test_an_object_is_no_beir_folder() -> None:
    with pytest.raises(SourceError, match="a BEIR set is a folder"):
        open_source(ROWS, format="beir")


def test_an_object_is_written_out_to_be_read_on_other_machines(tmp_path: Path) -> None:
    copy = cuttable(open_source(ROWS[:3]), 2, tmp_path / "rows.jsonl")
    assert rows_of(copy) == EXPECTED[:3]
    assert len(copy.files) == 1


def test_a_source_is_shown_in_a_line_without_its_rows() -> None:
    source = open_source([{"query": "why", "positive": "because", "negative": "so what"}] * 3)
    assert repr(source) == "Source('list', format='triplet', records=3)"
