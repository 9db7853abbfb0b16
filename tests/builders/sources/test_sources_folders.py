"""Which files of a local folder are read: one config and one split, never rows of two as one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Features, Json, List, Value, disable_progress_bars

from hf_relabel import open_source
from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources.inspection import inspect
from hf_relabel.builders.sources.splits import split_of

CONFIGS = """---
license: mit
configs:
- config_name: original
  data_files:
  - {split: train, path: original/train-*}
  - {split: test, path: original/test-*}
- config_name: relabel
  default: true
  data_files:
  - {split: train, path: relabel/train-*}
---
# Rows
"""


def record(query: str) -> dict[str, object]:
    return {"query": query, "pos": ["yes"], "neg": ["no"]}


def folder(place: Path, *names: str, readme: str = "") -> Path:
    """A folder with a file of one row for each name; its query is that name."""
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist([record(name)]), place / name)
        else:
            (place / name).write_text(json.dumps(record(name)) + "\n", encoding="utf-8")
    if readme:
        (place / "README.md").write_text(readme, encoding="utf-8")
    return place


def queries(place: Path, **options: str) -> list[str]:
    return [numbered.row.query for numbered in open_source(place, **options).rows()]


# Splits


def test_the_test_split_of_a_folder_does_not_leak_into_training(tmp_path: Path) -> None:
    place = folder(tmp_path, "train.jsonl", "test.jsonl", "dev.jsonl")
    assert queries(place, split="train") == ["train.jsonl"]
    assert queries(place) == ["train.jsonl"]
    assert queries(place, split="test") == ["test.jsonl"]
    assert queries(place, split="dev") == queries(place, split="validation") == ["dev.jsonl"]
    source = open_source(place)
    assert (source.split, source.describe()["left_out"]) == ("train", ["dev.jsonl", "test.jsonl"])
    assert "left out, of other splits or configs: dev.jsonl, test.jsonl" in inspect(source).to_text()
    assert "left_out" not in source.record()


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("nq-dev-00000-of-00002.parquet", "validation"),
        ("data/train-00000-of-00001.parquet", "train"),
        ("test/nq.jsonl", "test"),
        ("Test2.jsonl", "test"),
        ("train/test.jsonl", "test"),
        ("contest.jsonl", None),
        ("pretrained/latest.jsonl", None),
    ],
)
def test_the_split_a_file_is_named_after(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_files_that_name_no_split_are_for_training(tmp_path: Path) -> None:
    place = folder(tmp_path, "fever.jsonl", "nq.jsonl", "hotpot_test.jsonl", "extra/nq.jsonl")
    assert queries(place, split="train") == ["extra/nq.jsonl", "fever.jsonl", "nq.jsonl"]
    assert queries(place) == queries(place, split="train")


def test_folders_that_are_named_after_splits(tmp_path: Path) -> None:
    place = folder(tmp_path, "train/nq.jsonl", "test/nq.jsonl", "train/fever.jsonl")
    assert queries(place, split="train") == ["train/fever.jsonl", "train/nq.jsonl"]
    assert queries(place, split="test") == ["test/nq.jsonl"]


def test_a_split_of_another_name(tmp_path: Path) -> None:
    place = folder(tmp_path, "data/hard-00000-of-00001.parquet", "data/easy-00000-of-00001.parquet")
    assert queries(place, split="hard") == ["data/hard-00000-of-00001.parquet"]
    assert len(queries(place)) == 2


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no file is of the split 'train'. There are: test \(`split=`"):
        open_source(folder(tmp_path / "a", "test.jsonl"))
    with pytest.raises(SourceError, match=r"no file is of the split 'test'. No file is named .* There are: nq.jsonl"):
        open_source(folder(tmp_path / "b", "nq.jsonl"), split="test")


def test_a_file_is_read_whatever_its_name_unless_another_split_is_asked_for(tmp_path: Path) -> None:
    place = folder(tmp_path, "test.jsonl", "rows.jsonl")
    assert queries(place / "test.jsonl") == ["test.jsonl"]
    assert queries(place / "rows.jsonl", split="train") == ["rows.jsonl"]
    with pytest.raises(SourceError, match="is named after the split 'test', not 'train'"):
        open_source(place / "test.jsonl", split="train")
    with pytest.raises(SourceError, match="is a file, which has no config 'relabel'"):
        open_source(place / "rows.jsonl", config="relabel")
    with pytest.raises(SourceError, match="no data set on the Hub, so it has no `revision="):
        open_source(place / "rows.jsonl", revision="v1")


# Configs

BUILT = (
    "original/train-00000-of-00001.parquet",
    "original/test-00000-of-00001.parquet",
    "relabel/train-00000-of-00001.parquet",
)


def test_a_folder_with_configs_opens_as_its_default_one(tmp_path: Path) -> None:
    place = folder(tmp_path, *BUILT, readme=CONFIGS)
    assert queries(place) == ["relabel/train-00000-of-00001.parquet"]
    assert queries(place, config="original") == ["original/train-00000-of-00001.parquet"]
    assert queries(place, config="original", split="test") == ["original/test-00000-of-00001.parquet"]
    source = open_source(place)
    assert (source.config, source.split) == ("relabel", "train")
    assert len(source.left_out) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"config": "nope"}, "there is no config 'nope'. There are: original, relabel"),
        ({"split": "test"}, "config 'relabel': there is no split 'test'. There are: train"),
    ],
)
def test_a_config_or_its_split_that_is_not_there(tmp_path: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        open_source(folder(tmp_path, *BUILT, readme=CONFIGS), **options)


def test_one_of_several_configs_without_a_default_has_to_be_named(tmp_path: Path) -> None:
    readme = CONFIGS.replace("  default: true\n", "")
    with pytest.raises(SourceError, match=r"several configs, name one of them \(`config=`\): original, relabel"):
        open_source(folder(tmp_path / "a", *BUILT, readme=readme))
    with pytest.raises(SourceError, match=r"holds the configs original, relabel and no README\.md"):
        open_source(folder(tmp_path / "b", *BUILT))
    assert queries(tmp_path / "b", config="original") == ["original/train-00000-of-00001.parquet"]


def test_other_ways_to_declare_configs(tmp_path: Path) -> None:
    whole = "---\nconfigs:\n- {config_name: all, data_files: 'parts/*.jsonl'}\n---\n"
    assert queries(folder(tmp_path / "a", "parts/b.jsonl", "other.jsonl", readme=whole)) == ["parts/b.jsonl"]
    by_folder = "---\nconfigs:\n- {config_name: all, data_dir: parts}\n---\n"
    names = ("parts/train.jsonl", "parts/test.jsonl", "other.jsonl")
    assert queries(folder(tmp_path / "b", *names, readme=by_folder)) == ["parts/train.jsonl"]
    none = "---\nlicense: mit\n---\n"
    assert queries(folder(tmp_path / "c", "rows.jsonl", readme=none)) == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("readme", "said"),
    [
        ("---\nconfigs: [\n---\n", "not valid YAML"),
        ("---\nconfigs:\n- {data_files: a.jsonl}\n---\n", "an entry without a config_name"),
        ("---\nconfigs:\n- {config_name: a, data_files: gone.jsonl}\n---\n", "no file is 'gone.jsonl'"),
        ("---\nconfigs:\n- {config_name: a, data_files: ../rows.jsonl}\n---\n", "outside of this folder"),
        (
            "---\nconfigs:\n- {config_name: a, data_files: 'http://127.0.0.1:9/a.jsonl'}\n---\n",
            "outside of this folder",
        ),
    ],
)
def test_a_readme_that_declares_nothing_usable_is_said(tmp_path: Path, readme: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        open_source(folder(tmp_path, "rows.jsonl", readme=readme))
    assert "\n" not in str(caught.value)


# What save_to_disk writes


def test_a_saved_dataset_and_a_saved_dict(tmp_path: Path) -> None:
    disable_progress_bars()
    one, two = Dataset.from_list([record("a"), record("b")]), Dataset.from_list([record("c")])
    one.save_to_disk(tmp_path / "one", num_shards=2)
    assert queries(tmp_path / "one") == ["a", "b"]
    DatasetDict({"train": one, "test": two}).save_to_disk(tmp_path / "both")
    assert queries(tmp_path / "both") == ["a", "b"]
    assert queries(tmp_path / "both", split="test") == ["c"]
    source = open_source(tmp_path / "both")
    assert (source.split, source.left_out) == ("train", ("test/",))
    assert {row.subset for row in rows_of(tmp_path / "both")} == {""}
    with pytest.raises(SourceError, match=r"no split 'dev'\. There are: train, test"):
        open_source(tmp_path / "both", split="dev")
    DatasetDict({"dev": two}).save_to_disk(tmp_path / "dev")
    assert queries(tmp_path / "dev") == ["c"]


def rows_of(place: Path) -> list[Row]:
    return [numbered.row for numbered in open_source(place).rows()]


def test_a_saved_dataset_that_was_copied_in_part(tmp_path: Path) -> None:
    disable_progress_bars()
    Dataset.from_list([record("a")]).save_to_disk(tmp_path / "rows")
    next((tmp_path / "rows").glob("*.arrow")).unlink()
    with pytest.raises(SourceError, match=r"data-00000-of-00001\.arrow: cannot be read"):
        open_source(tmp_path / "rows")


def test_passages_of_mixed_values_that_datasets_keeps_as_json(tmp_path: Path) -> None:
    disable_progress_bars()
    passages = [{"docid": "1", "text": "yes"}, {"docid": 2, "text": "also", "extra": {"a": 1}}]
    rows = [{"query": "a", "positive_passages": passages, "negative_passages": [{"text": "no", "docid": None}]}]
    features = Features(
        {"query": Value("string"), "positive_passages": List(Json()), "negative_passages": List(Json())}
    )
    dataset = Dataset.from_list(rows, features=features)
    dataset.save_to_disk(tmp_path / "saved")
    dataset.to_parquet(tmp_path / "rows.parquet")
    for data in (tmp_path / "saved", tmp_path / "rows.parquet", dataset, dataset.data.table):
        (row,) = (numbered.row for numbered in open_source(data).rows())
        assert [(passage.docid, passage.text) for passage in row.positive_passages] == [("1", "yes"), ("2", "also")]


def test_an_arrow_file(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([record(str(number)) for number in range(200)])
    with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=150)
    assert queries(tmp_path) == [str(number) for number in range(200)]
