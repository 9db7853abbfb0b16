"""The score of a passage: read where a source has it, and written where the passage goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, List, Value

from hf_relabel.builders.configs.relabeled_builder import RelabeledBuilder
from hf_relabel.builders.configs.release import release_from_folder
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.errors import BadRow, BuildError
from hf_relabel.builders.judgements import Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.builders.sources.pieces import plain_source, write_rows
from hf_relabel.hub_tools.building.rebuild import rebuild_configs, settings_of
from hf_relabel.trainers.data.training_data import open_training_data

FLAG = {"query": "q", "pos": ["p"], "neg": ["a", "b", "c"], "pos_scores": [0.9], "neg_scores": [0.7, None, 0.1]}
TEVATRON = {
    "query_id": "1",
    "query": "q",
    "positive_passages": [{"docid": "p", "text": "p", "score": 0.9}],
    "negative_passages": [
        {"docid": "a", "text": "a", "score": 0.7},
        {"docid": "b", "text": "b"},
        {"docid": "c", "text": "c", "score": 0.1},
    ],
}


def source(folder: Path, *records: dict[str, Any]) -> Source:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return open_source(path)


def scores(passages: Any) -> list[float | None]:
    return [passage.score for passage in passages]


def judged(read: Source) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    """The first negative of each row is false."""
    for numbered in read.rows():
        docid = numbered.row.negative_passages[0].docid
        yield numbered, [Verdict(0, docid, Outcome.FALSE_NEGATIVE, "judged")]


def built(folder: Path, *records: dict[str, Any]) -> Path:
    read = source(folder, *records)
    write_configs(judged(read), folder / "out", stage_names=["one"], scores=read.scored)
    return folder / "out"


@pytest.mark.parametrize("record", [FLAG, TEVATRON], ids=["flagembedding", "tevatron"])
def test_scores_are_read(record: dict[str, Any], tmp_path: Path) -> None:
    read = source(tmp_path, record)
    row = next(read.rows()).row

    assert scores(row.positive_passages) == [0.9]
    assert scores(row.negative_passages) == [0.7, None, 0.1]
    assert read.scored
    assert not read.ignored_fields


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neg_scores": [0.1]}, "'neg_scores': 1 scores for 3 texts"),
        ({"pos_scores": ["high"]}, "'pos_scores[0]': text where a score is needed"),
    ],
)
def test_scores_that_do_not_fit_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadRow) as refused:
        list(source(tmp_path, FLAG | change).rows())

    assert message in str(refused.value)


@pytest.mark.parametrize("record", [FLAG, TEVATRON], ids=["flagembedding", "tevatron"])
def test_a_relabelled_passage_takes_its_score_along(record: dict[str, Any], tmp_path: Path) -> None:
    out = built(tmp_path, record)

    row = Dataset.from_parquet(str(out / "relabel/*.parquet"), cache_dir=str(tmp_path / "cache"))

    assert [passage["score"] for passage in row[0]["positive_passages"]] == [0.9, 0.7]
    assert [passage["score"] for passage in row[0]["negative_passages"]] == [None, 0.1]
    text = Value("string")
    passages = List({"docid": text, "title": text, "text": text, "score": Value("float64")})
    assert row.features["positive_passages"] == row.features["negative_passages"] == passages
    assert release_from_folder(out).manifest["settings"]["scores"] is True


def test_what_is_worked_out_from_a_build_has_the_scores_too(tmp_path: Path) -> None:
    out = built(tmp_path, TEVATRON, TEVATRON | {"query_id": "2"})
    release = release_from_folder(out)
    rebuild_configs(release, settings_of(release, str(tmp_path / "again")), progress=False)
    builder = RelabeledBuilder(config_name="relabel", configs_folder=out, cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()

    expected = pq.read_table(out / "relabel").to_pylist()
    assert pq.read_table(tmp_path / "again" / "relabel").to_pylist() == expected
    assert builder.as_dataset(split="train").to_list() == expected
    assert [scores(numbered.row.passages) for numbered in release.rows("relabel")] == [[0.9, 0.7, None, 0.1]] * 2


def test_a_source_without_scores_gives_the_columns_it_always_gave(tmp_path: Path) -> None:
    out = built(tmp_path, {"query": "q", "pos": ["p"], "neg": ["a", "b"]})

    table = pq.read_table(out / "relabel")
    assert [field.name for field in table.schema.field("positive_passages").type.value_type] == [
        "docid",
        "title",
        "text",
    ]
    assert "scores" not in release_from_folder(out).manifest["settings"]


def test_a_score_that_the_first_rows_did_not_announce_is_not_lost_silently(tmp_path: Path) -> None:
    plain = {"query": "q", "pos": ["p"], "neg": ["a", "b", "c"]}

    with pytest.raises(BuildError, match=r"Row 21 has a passage with a score.*\"score\": null"):
        built(tmp_path, *[plain] * 20, FLAG)

    announced = built(tmp_path, plain | {"neg_scores": None}, *[plain] * 19, FLAG)
    assert release_from_folder(announced).manifest["rows"]["count"] == 21


def test_rows_written_for_other_machines_keep_their_scores(tmp_path: Path) -> None:
    rows = [
        Row("1", "q", (Passage("p", "", "p", 0.5),), (Passage("n", "", "n"),)),
        Row("2", "q", (Passage("p", "", "p"),), ()),
    ]
    write_rows(rows, tmp_path / "rows.jsonl")

    assert [numbered.row for numbered in plain_source(tmp_path / "rows.jsonl").rows()] == rows


def test_a_source_with_scores_can_be_trained_on(tmp_path: Path) -> None:
    source(tmp_path, TEVATRON)

    rows = open_training_data(str(tmp_path / "train.jsonl")).rows

    assert [passage["score"] for passage in rows[0]["negative_passages"]] == [0.7, None, 0.1]


def test_records_come_whole_with_their_rows(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([FLAG | {"prompt": "Find it:"}]), tmp_path / "train.parquet")
    triplets = [{"anchor": "q", "positive": "p", "negative": text, "by": text.upper()} for text in "abc"]

    [(numbered, records)] = open_source(tmp_path / "train.parquet").records()
    [(grouped, three)] = source(tmp_path, *triplets).records()

    assert records == (FLAG | {"prompt": "Find it:"},)
    assert three == tuple(triplets)
    assert [len(row.row.negative_passages) for row in (numbered, grouped)] == [3, 3]
