"""What people give by mistake: named and refused at once, never read as something else or as nothing."""

from __future__ import annotations

import io
import json
import os
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import IterableDataset

from hf_relabel import mine, open_source
from hf_relabel.builders.errors import BadRow, SourceError

ROWS = [{"query": f"q {number}", "pos": [f"yes {number}"], "neg": [f"no {number}"]} for number in range(30)]
TWO = {"query": "why is it", "positive": "it is so", "negative": "so it is not", "negative_1": "not at all"}


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


class Once:
    """A table that hands itself over once, as a stream."""

    def __init__(self) -> None:
        self._batches: Iterator[pa.RecordBatch] = iter(pa.Table.from_pylist(ROWS).to_batches(10))

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        schema = pa.Table.from_pylist(ROWS).schema
        return pa.RecordBatchReader.from_batches(schema, self._batches).__arrow_c_stream__(requested_schema)


def iterable(rows: list[dict[str, Any]]) -> IterableDataset:
    left = iter(rows)

    def generate() -> Iterator[dict[str, Any]]:
        yield from left

    return IterableDataset.from_generator(generate)


@pytest.mark.parametrize(
    ("made", "begins"),
    [
        (lambda: iterable(ROWS * 10), "another row"),
        (lambda: iterable(ROWS[:5]), "no row"),
        (Once, "another row"),
    ],
)
def test_what_can_be_read_only_once_is_refused(made: Any, begins: str) -> None:
    source = open_source(made())
    with pytest.raises(SourceError, match=f"begins with {begins}: it can be read only once"):
        list(source.rows())


def test_what_was_read_before_it_was_given_is_refused() -> None:
    data = iterable(ROWS)
    assert len(list(data)) == len(ROWS)
    with pytest.raises(SourceError, match="no rows in it, or they were read before and can be read only once"):
        open_source(data)


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", *ROWS)
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "gone" / "b.jsonl")
    for path in (tmp_path, tmp_path / "b.jsonl"):
        with pytest.raises(SourceError, match=r"b\.jsonl: is a link to .*gone.b\.jsonl, and nothing is there"):
            open_source(path)


def test_a_linked_folder_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere" / "a.jsonl", ROWS[0])
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "rows")
    assert [file.name for file in open_source(tmp_path / "rows").files] == ["linked/a.jsonl"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of Unix")
def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # The path of a socket has to be short.
    os.mkfifo("pipe.jsonl")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.jsonl")
        for path in ("pipe.jsonl", "socket.jsonl", "/dev/null", "."):
            with pytest.raises(SourceError, match="is a pipe, a socket or a device, no file"):
                open_source(path)
        with pytest.raises(SourceError, match=r"pipe\.jsonl: is a pipe"):
            mine([{"query": "q", "positive": "yes"}], "rows.jsonl", corpus="pipe.jsonl")


def test_ids_that_lost_digits_in_a_data_frame_are_refused() -> None:
    ids = [2**53 + 1, None, 12]
    frame = pd.DataFrame([{**ROWS[number], "query_id": query_id} for number, query_id in enumerate(ids)])
    with pytest.raises(BadRow, match=r"row 1, field 'query_id': the float 9007199254740992\.0, which has lost digits"):
        list(open_source(frame).rows())
    kept = open_source(frame[1:])
    assert [numbered.row.query_id for numbered in kept.rows()][1] == "12"
    whole = frame.assign(query_id=pd.array(ids, dtype="Int64"))
    assert next(open_source(whole).rows()).row.query_id == str(2**53 + 1)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "zip"])
@pytest.mark.parametrize("split", ["test", "heldout"])
def test_a_file_that_names_no_split_has_only_train(kind: str, split: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        write(path, *ROWS)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("rows.jsonl", json.dumps(ROWS[0]))
    with pytest.raises(SourceError, match=f"nothing says that its rows are of the split '{split}'"):
        open_source(path, split=split)
    assert open_source(path, split="train").split == "train"
    named = path.rename(tmp_path / f"nq-{split}.{kind}")
    assert open_source(named, split=split).split == split


@pytest.mark.parametrize("records", [(ROWS[0], {"query": "x", "pos": ["y"]}), ({"query": "x", "pos": ["y"]}, ROWS[0])])
def test_of_two_rows_the_one_that_lacks_a_field_is_named(records: Any, tmp_path: Path) -> None:
    number = 1 + [("neg" in record) for record in records].index(False)
    with pytest.raises(BadRow, match=f"row {number}, field 'neg': missing"):
        list(open_source(write(tmp_path / "rows.jsonl", *records)).rows())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.tsv", "why is the sky blue\tair scatters blue light\tthe sea is blue\n" * 2),
        ("rows.csv", "why is the sky blue,air scatters blue light,the sea is blue\n" * 2),
        ("queries.tsv", "1048585\twhat is it\n1048586\twhat was it\n"),
    ],
)
def test_a_table_without_a_header_line_is_told_so(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(SourceError, match=rf"{name}: seems to have no header line: .* Put a line of names before it"):
        open_source(tmp_path / name)


def test_names_of_columns_are_no_rows_however_long(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("the question that was asked,answer,negative\nwhy,so,not\n", encoding="utf-8")
    with pytest.raises(SourceError, match="no known name says which column is the query"):
        open_source(path, columns={"positive": "answer", "negative": "negative", "ignore": "the*"})
    assert len(list(open_source(path).rows())) == 1


def test_a_misspelt_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", *ROWS)
    (tmp_path / "corpora").mkdir()
    for wrong, right in (("trian.jsonl", "train.jsonl"), ("corpra", "corpora")):
        with pytest.raises(SourceError, match=f"Did you mean '{right}'"):
            open_source(tmp_path / wrong)
        with pytest.raises(SourceError, match=f"no such file or folder. Did you mean '{right}'"):
            mine([{"query": "q", "positive": "yes"}], tmp_path / "out.jsonl", corpus=tmp_path / wrong)


def test_a_misspelt_file_that_could_be_on_the_hub_is_answered_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any) -> Any:
        raise SourceError("There is no data set of that name on the Hub.")

    monkeypatch.setattr("hf_relabel.hub_tools.hub.source._pinned_files", asked)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train.jsonl", *ROWS)
    with pytest.raises(SourceError, match=r"on the Hub\. Did you mean 'train\.jsonl'\? It is in data here\."):
        open_source("data/train.jsnl")
    with pytest.raises(SourceError, match=r"on the Hub\.$"):
        open_source("data/something-else")


def test_a_table_in_a_zip_file_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_relabel.builders.sources.archives.LONGEST_LINE", 2**16)
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), table)
    path = tmp_path / "rows.zip"
    for content, is_refused in ((table.getvalue(), False), (b"PAR1" + bytes(2**20), True)):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("rows.parquet", content)
        if is_refused:
            with pytest.raises(SourceError, match=r"rows\.parquet: cannot be read: .* would become 1,048,580"):
                open_source(path)
        else:
            assert len(list(open_source(path).rows())) == len(ROWS)


@pytest.mark.parametrize(
    "address",
    [
        "https://ann:SECRET@example.org/rows.jsonl",
        "https://SECRET@example.org/rows.jsonl?download=1",
        "https://example.org/rows.jsonl?token=SECRET",
        "hf://datasets/a/b/c?token=SECRET",
    ],
)
def test_no_secret_of_an_address_is_repeated(address: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as told:
        open_source(address)
    assert "SECRET" not in str(told.value)
    assert "rows.jsonl" in str(told.value) or "a/b/c" in str(told.value)
    with pytest.raises(SourceError) as told:
        mine([{"query": "q", "positive": "yes"}], tmp_path / "out.jsonl", corpus=address)
    assert "SECRET" not in str(told.value)


@pytest.mark.parametrize(("given", "lost"), [({}, "negative_1"), ({"negative": "negative_1"}, "negative")])
def test_both_columns_of_a_side_are_offered_where_one_would_be_lost(given: Any, lost: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", TWO)
    both = ["negative_1" if lost == "negative" else "negative", lost]
    said = f"Read it too (`columns={json.dumps({'negative': both})}`), or leave it out"
    with pytest.raises(SourceError) as told:
        open_source(path, columns=given)
    assert said in str(told.value)
    [read] = open_source(path, columns={"negative": both}).rows()
    assert [passage.text for passage in read.row.negative_passages] == [TWO[name] for name in both]
