"""Files that hold several splits, and files that must not fill the memory or swallow rows."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hf_relabel import open_source
from hf_relabel.builders.errors import SourceError


def row(query: str) -> dict[str, Any]:
    return {"query": query, "positive": "it scatters", "negative": "it is grey"}


def queries(path: Path, **options: Any) -> list[str]:
    return [numbered.row.query for numbered in open_source(path, **options).rows()]


def write(path: Path, content: str) -> Path:
    path.write_text(content, "utf-8")
    return path


def test_json_that_is_nested_deeper_than_any_row_is_refused(tmp_path: Path) -> None:
    deep = json.dumps([row("why")])[:-2] + ', "x": ' + "[" * 300 + "]" * 300 + "}]"
    with pytest.raises(SourceError, match="more than 100 deep"):
        open_source(write(tmp_path / "deep.json", deep))


def test_brackets_in_long_strings_are_no_nesting(tmp_path: Path) -> None:
    # Strings and escapes that go on from one block that is read to the next.
    texts = ["[" * 70_000 + "\\" * half + '"[' * 200 for half in range(3)]
    assert queries(write(tmp_path / "rows.json", json.dumps([row(text) for text in texts]))) == texts


@pytest.mark.parametrize("indent", [None, 1])
def test_of_a_json_document_with_splits_one_is_read(tmp_path: Path, indent: int | None) -> None:
    document = {"test": [row("held out")], "train": [row("why"), row("how")]}
    path = write(tmp_path / "rows.json", json.dumps(document, indent=indent))
    assert queries(path) == queries(path, split="train") == ["why", "how"]
    assert queries(path, split="test") == ["held out"]
    assert open_source(path).left_out == (f"{path}:test",)
    with pytest.raises(SourceError, match=r"no field is of the split 'dev'\. There are: test, train"):
        open_source(path, split="dev")


def test_an_object_with_query_and_passages_is_a_row_whatever_lists_it_has(tmp_path: Path) -> None:
    path = write(tmp_path / "row.json", json.dumps(row("why") | {"items": [{"x": 1}]}, indent=1))
    assert queries(path) == ["why"]


@pytest.mark.parametrize("name", ["rows.ZIP", "rows", "rows.jsonl"])
def test_the_split_of_a_zip_file_of_any_name_is_honoured(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("train.jsonl", json.dumps(row("why")))
        archive.writestr("test.jsonl", json.dumps(row("held out")))
    assert queries(tmp_path / name, split="test") == ["held out"]


def test_a_zip_file_with_two_files_of_one_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("a.jsonl", json.dumps(row("why")))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.jsonl", json.dumps(row("how")))
    with pytest.raises(SourceError, match=r"holds 'a\.jsonl' several times"):
        open_source(tmp_path / "rows.zip")


def test_beside_a_file_named_train_those_that_name_no_split_are_left_out(tmp_path: Path) -> None:
    others = ("devset", "heldout", "mytests", "testset")
    for name in ("train", *others):
        write(tmp_path / f"{name}.jsonl", json.dumps(row(name)))
    assert queries(tmp_path) == ["train"]
    assert open_source(tmp_path).left_out == tuple(f"{name}.jsonl" for name in others)
