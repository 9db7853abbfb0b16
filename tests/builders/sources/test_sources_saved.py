"""Folders of `save_to_disk`: the split they are of, and what untrusted files in them may name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.sources import open_source

ROWS = {"query": ["why?"], "positive": ["because"], "negative": ["no"]}


@pytest.fixture(autouse=True)
def no_bars() -> None:
    datasets.disable_progress_bars()


def saved(folder: Path, split: str | None = None) -> Path:
    datasets.Dataset.from_dict(ROWS, split=split).save_to_disk(str(folder))
    return folder


def both(folder: Path) -> Path:
    splits = {name: datasets.Dataset.from_dict(ROWS) for name in ("train", "test")}
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return folder


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_one_split_of_a_saved_dict_is_no_other_though_its_state_names_none(tmp_path: Path) -> None:
    folder = both(tmp_path / "saved")
    with pytest.raises(SourceError, match=r"saved/test: is the split 'test', not 'train'"):
        open_source(folder / "test", split="train")
    assert open_source(folder / "test", split="test").split == "test"
    assert open_source(folder / "test").split == "test"
    assert open_source(folder / "train", split="train").split == "train"


def test_the_split_that_the_state_names_comes_first(tmp_path: Path) -> None:
    folder = saved(tmp_path / "train", split="test")
    with pytest.raises(SourceError, match=r"is the split 'test', not 'train'"):
        open_source(folder, split="train")
    sliced = saved(tmp_path / "some", split="train[:10%]")
    assert open_source(sliced, split="train").split == "train[:10%]"
    with pytest.raises(SourceError, match=r"not 'test'"):
        open_source(sliced, split="test")


def test_a_folder_that_says_nothing_is_for_training_and_no_other_split(tmp_path: Path) -> None:
    folder = saved(tmp_path / "rows")
    assert open_source(folder).split is None
    assert open_source(folder, split="train").split == "train"
    with pytest.raises(SourceError, match=r"nothing says that it is the split 'test'. Leave `split=` out"):
        open_source(folder, split="test")
    change(folder / "dataset_info.json", splits={"validation": {"name": "validation"}})
    with pytest.raises(SourceError, match=r"is the split 'validation', not 'train'"):
        open_source(folder, split="train")


@pytest.mark.parametrize("name", ["test", "dev"])
def test_the_name_of_a_folder_is_heard(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path / name)
    (tmp_path / "plain" / name).mkdir(parents=True)
    rows = tmp_path / "plain" / name / "rows.jsonl"
    rows.write_text(json.dumps({"query": "q", "pos": ["p"], "neg": ["n"]}))
    for path in (folder, rows, rows.parent):
        with pytest.raises(SourceError, match=r"split '(test|validation|dev)', not 'train'"):
            open_source(path, split="train")
        open_source(path)


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "a/b.arrow", "..\\secret.arrow", "C:x.arrow", ".."])
def test_names_in_a_folder_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    secret = saved(tmp_path / "other") / "data-00000-of-00001.arrow"
    (tmp_path / "secret.arrow").write_bytes(secret.read_bytes())
    folder = saved(tmp_path / "rows")
    change(folder / "state.json", _data_files=[{"filename": name}])
    with pytest.raises(SourceError, match=r"state\.json: names .* outside of its folder"):
        open_source(folder)
    folder = both(tmp_path / "both")
    change(folder / "dataset_dict.json", splits=[name])
    with pytest.raises(SourceError, match=r"dataset_dict\.json: names .* outside of its folder"):
        open_source(folder)


@pytest.mark.parametrize("splits", [5, None, "train", [1], {"train": 1}])
def test_an_odd_dataset_dict_is_named(tmp_path: Path, splits: Any) -> None:
    folder = both(tmp_path / "saved")
    change(folder / "dataset_dict.json", splits=splits)
    for path in (folder, folder / "train"):
        with pytest.raises(SourceError, match=r"dataset_dict\.json: is not as save_to_disk writes it: its `splits`"):
            open_source(path)


@pytest.mark.parametrize("text", ["[1]", "null", '"x"', "{", '{"splits": ["train"', "\udce4"])
def test_a_broken_file_beside_the_rows_is_named(tmp_path: Path, text: str) -> None:
    folder = both(tmp_path / "saved")
    (folder / "train" / "state.json").write_text(text, errors="surrogateescape")
    with pytest.raises(SourceError, match=r"train/state\.json: .*(cannot be read|save_to_disk)"):
        open_source(folder)
    (folder / "dataset_dict.json").write_text(text, errors="surrogateescape")
    with pytest.raises(SourceError, match=r"dataset_dict\.json: .*(cannot be read|save_to_disk)"):
        open_source(folder)


@pytest.mark.parametrize("files", [None, [], 3, ["x.arrow"], [{}], [{"filename": 7}], {"filename": "x"}])
def test_an_odd_list_of_files_is_named(tmp_path: Path, files: Any) -> None:
    folder = saved(tmp_path / "rows")
    change(folder / "state.json", _data_files=files)
    with pytest.raises(SourceError, match=r"state\.json: is not as save_to_disk writes it: its `_data_files`"):
        open_source(folder)


def test_an_odd_split_in_a_state_is_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "rows")
    change(folder / "state.json", _split=7)
    with pytest.raises(SourceError, match=r"state\.json: .*its `_split` is 7"):
        open_source(folder)


@pytest.mark.parametrize("path", ["x" * 5_000, "a\0b", "x" * 300 + "/y", "a/" * 3_000])
def test_what_can_be_no_path_is_refused(path: str) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        open_source(path)


@pytest.mark.parametrize(
    ("configs", "told"),
    [
        ("- config_name: 1\n  data_files: a.jsonl", "a config_name of 1"),
        ("- data_files: a.jsonl\n- x", "an entry without a config_name"),
        ("5", "an entry without a config_name"),
        ("- config_name: a\n  data_dir: 5", "config 'a': `data_dir` is 5"),
        ("- config_name: a\n  data_files: 5", "data_files"),
        ("- config_name: a\n  data_files: [5]", "(data_files|configs)"),
        ("- config_name: a\n  data_files: [{split: 1, path: a.jsonl}]", "(data_files|configs)"),
        ("- config_name: a\n  data_files: [{split: train, path: 5}]", "(data_files|configs)"),
        ("- config_name: a\n  data_files: {train: [[a.jsonl]]}", "(data_files|configs)"),
    ],
)
def test_odd_configs_of_a_readme_are_named(tmp_path: Path, configs: str, told: str) -> None:
    (tmp_path / "README.md").write_text(
        f"---\nconfigs:\n{configs}\n---\n" if configs[0] == "-" else f"---\nconfigs: {configs}\n---\n"
    )
    (tmp_path / "a.jsonl").write_text(json.dumps({"query": "q", "pos": ["p"], "neg": ["n"]}))
    with pytest.raises(SourceError, match=rf"README\.md.*{told}"):
        open_source(tmp_path)
