"""Training sets in each format, read as rows."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.rows import Passage, Row, arrow_schema, text_docid
from hf_relabel.builders.sources import FORMATS, Source, open_source
from hf_relabel.builders.sources.files import subset_of
from hf_relabel.builders.sources.inspection import inspect
from tests.shared_data import SHARED, needs_shared_data

TEVATRON = {
    "query_id": "q1",
    "query": "why is the sky blue",
    "positive_passages": [{"docid": "d1", "title": "Sky", "text": "Rayleigh scattering"}],
    "negative_passages": [{"text": "The sea is blue", "docid": 7}],
    "subset": "nq",
}
SKY = Row(
    "q1",
    "why is the sky blue",
    (Passage("d1", "Sky", "Rayleigh scattering"),),
    (Passage("7", "", "The sea is blue"),),
    "nq",
)


def lines(records: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def write(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines(records))
    return path


def rows_of(source: Source) -> list[Row]:
    return [numbered.row for numbered in source.rows()]


def texts(passages: Iterable[Passage]) -> list[str]:
    return [passage.text for passage in passages]


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


# Formats


def test_tevatron_rows_in_any_field_order(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "rows.jsonl", TEVATRON, dict(reversed(TEVATRON.items()))))
    assert source.format == "tevatron"
    assert rows_of(source) == [SKY, SKY]
    assert [numbered.number for numbered in source.rows()] == [0, 1]


def test_the_bge_collection_one_file_per_subset(tmp_path: Path) -> None:
    row = {
        "query": "a query",
        "pos": ["yes"],
        "neg": ["no", "never"],
        "pos_scores": [1.0],
        "prompt": "Find it",
        "type": "x",
    }
    write(tmp_path / "fever.jsonl", row)
    write(tmp_path / "msmarco_passage.jsonl", row | {"pos": "yes", "neg": "no"})
    write(tmp_path / "nq" / "train-00000-of-00002.jsonl", row)
    write(tmp_path / "dataset_info.json", {"not": "data"})
    source = open_source(tmp_path)
    fever, msmarco, nq = rows_of(source)
    assert (fever.subset, msmarco.subset, nq.subset) == ("fever", "msmarco_passage", "nq")
    assert fever.query_id == hashlib.md5(b"a query").hexdigest()
    assert fever.positive_passages == (Passage(text_docid("", "yes"), "", "yes", 1.0),)
    assert texts(fever.negative_passages) == ["no", "never"]
    assert texts(msmarco.negative_passages) == ["no"]
    assert source.describe()["ignored_fields"] == ["prompt", "type"]


def test_triplets_of_one_query_are_one_row(tmp_path: Path) -> None:
    triplets = [
        ("q", "yes", "no"),
        ("q", "yes", "never"),
        ("q", "also", "no"),
        ("other", "yes", "no"),
        ("q", "yes", "late"),
    ]
    names = ("anchor", "positive", "negative")
    source = open_source(write(tmp_path / "t.jsonl", *(dict(zip(names, triplet, strict=True)) for triplet in triplets)))
    assert source.format == "triplet"
    assert [(row.query, texts(row.positive_passages), texts(row.negative_passages)) for row in rows_of(source)] == [
        ("q", ["yes"], ["no", "never"]),
        ("q", ["also"], ["no"]),
        ("other", ["yes"], ["no"]),
        ("q", ["yes"], ["late"]),
    ]


def test_n_tuples_keep_the_order_of_their_negatives(tmp_path: Path) -> None:
    record = {"question": "q", "reply": "yes", **{f"negative_{i}": f"no {i}" for i in (10, 2, 1)}, "score": [1.0]}
    source = open_source(write(tmp_path / "n.jsonl", record))
    [row] = rows_of(source)
    assert source.format == "n-tuple"
    assert (row.query, texts(row.positive_passages)) == ("q", ["yes"])
    assert texts(row.negative_passages) == ["no 1", "no 2", "no 10"]


@pytest.mark.parametrize(
    "names", [("query", "docs", "labels"), ("query", "documents", "labels"), ("ask", "hits", "label")]
)
def test_labelled_lists(tmp_path: Path, names: tuple[str, str, str]) -> None:
    record = dict(zip(names, ("q", ["yes", "no", "too"], [1, 0, 1.0]), strict=True))
    source = open_source(write(tmp_path / "l.jsonl", record))
    [row] = rows_of(source)
    assert source.format == "labeled-list"
    assert (texts(row.positive_passages), texts(row.negative_passages)) == (["yes", "too"], ["no"])


def test_saved_replies_come_with_their_rows(tmp_path: Path) -> None:
    saved = [("<better>[]</better>", "stop"), (["cut"], ["length"]), (None, None)]
    records = [TEVATRON | {"response": response, "finish_reason": reason} for response, reason in saved]
    source = open_source(write(tmp_path / "nq.stage_1.gpt-4o-mini.jsonl", *records))
    assert source.format == "rlhn-replies"
    assert rows_of(source) == [SKY] * 3
    assert [(numbered.number, response, reason) for numbered, response, reason in source.replies()] == [
        (0, "<better>[]</better>", "stop"),
        (1, "cut", "length"),
        (2, "", ""),
    ]
    with pytest.raises(SourceError, match="without saved replies"):
        next(open_source(write(tmp_path / "rows.jsonl", TEVATRON)).replies())


def beir_folder(folder: Path) -> Path:
    corpus = ["blue sky and blue light", "the sky at night", "blue sea", "green grass", "why the sky is blue"]
    write(folder / "corpus.jsonl", *({"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(corpus)))
    write(
        folder / "queries.jsonl",
        {"_id": "q1", "text": "blue sky"},
        {"_id": "q2", "text": "green"},
        {"_id": "d4", "text": "blue"},
    )
    (folder / "qrels").mkdir()
    header = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "test.tsv").write_text(
        f"{header}q1\td0\t2\nq2\td3\t1\nq1\td1\t0\nd4\td2\t1\n", encoding="utf-8"
    )
    (folder / "qrels" / "dev.tsv").write_text(f"{header}q2\td2\t1\n", encoding="utf-8")
    return folder


def test_beir_negatives_are_mined(tmp_path: Path) -> None:
    source = open_source(beir_folder(tmp_path / "skies"), split="test")
    first, second, third = rows_of(source)
    assert (source.format, source.split, first.subset) == ("beir", "test", "skies")
    assert [passage.docid for passage in first.positive_passages] == ["d0"]
    # A document judged irrelevant is as good a negative as any; one that is not similar at all is none.
    assert {passage.docid for passage in first.negative_passages} == {"d1", "d2", "d4"}
    assert second.negative_passages == ()
    # The query is a document of its own here, and no negative of itself.
    assert [passage.docid for passage in third.negative_passages] == ["d0"]
    assert rows_of(source) == [first, second, third]


def test_a_judgement_of_a_beir_folder_with_two_grades_is_refused_or_skipped(tmp_path: Path) -> None:
    folder = beir_folder(tmp_path / "skies")
    with (folder / "qrels" / "test.tsv").open("a", encoding="utf-8") as file:
        file.write("q1\td1\t1\n")
    with pytest.raises(
        BadRow, match=r"row 6.*: 1 for the document 'd1' of query 'q1', which has 0 in row 4\. Leave one"
    ):
        rows_of(open_source(folder, split="test"))
    source = open_source(folder, split="test", skip_bad_rows=True)
    assert [passage.docid for passage in rows_of(source)[0].positive_passages] == ["d0"]


def test_the_first_split_of_a_beir_folder_is_train_dev_or_test(tmp_path: Path) -> None:
    folder = beir_folder(tmp_path / "skies")
    assert open_source(folder).split == "dev"
    assert len(rows_of(open_source(folder, split="test", mined_negatives=1))[0].negative_passages) == 1
    with pytest.raises(SourceError, match="There are: dev, test"):
        open_source(folder, split="train")


def test_a_beir_judgement_without_its_document_is_a_bad_row(tmp_path: Path) -> None:
    folder = beir_folder(tmp_path / "skies")
    with (folder / "qrels" / "dev.tsv").open("a", encoding="utf-8") as file:
        file.write("q1\tmissing\t1\nq1 d1 1\nq3\td1\t1\nq2\td1\tmany\n")
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"_id": "d1", "text": "again"}\n{"_id": "d9"}\n')
    with pytest.raises(BadRow, match=r"dev\.tsv, row 4"):
        list(open_source(folder).rows())
    source = open_source(folder, skip_bad_rows=True)
    assert len(rows_of(source)) == 1
    assert source.skipped.count == 6


# Files


def test_compressed_files_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    records = [
        TEVATRON | {"query_id": str(number), "negative_passages": TEVATRON["negative_passages"] * 3}
        for number in range(600)
    ]
    plain = write(tmp_path / "a.jsonl", *records)
    expected = rows_of(open_source(plain))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    # Two frames in one file, as parallel compressors write them.
    middle = plain.read_bytes().index(b"\n") + 1
    (tmp_path / "a.jsonl.zst").write_bytes(zstd(plain.read_bytes()[:middle]) + zstd(plain.read_bytes()[middle:]))
    pq.write_table(pa.Table.from_pylist([row.to_dict() for row in expected], arrow_schema()), tmp_path / "a.parquet")
    assert len(expected) == 600
    for name in ("a.jsonl.gz", "a.jsonl.zst", "a.parquet"):
        assert rows_of(open_source(tmp_path / name)) == expected
    assert len(rows_of(open_source(tmp_path))) == 2400


@pytest.mark.parametrize("suffix", ["jsonl.gz", "jsonl.zst", "parquet"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_a_cut_off_file_is_said(tmp_path: Path, suffix: str, kept: float) -> None:
    expected = [
        TEVATRON | {"query_id": str(number), "subset": hashlib.md5(str(number).encode()).hexdigest()}
        for number in range(3000)
    ]
    file = tmp_path / f"cut.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist([SKY.to_dict()] * 3000, arrow_schema()), file)
    else:
        content = lines(expected)
        file.write_bytes(gzip.compress(content) if suffix.endswith("gz") else zstd(content))
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    with pytest.raises(SourceError, match=rf"cut\.{suffix}: cannot be read"):
        list(open_source(file).rows())


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "missing.jsonl")
    with pytest.raises(SourceError, match=r"no \.jsonl"):
        open_source(tmp_path)
    with pytest.raises(SourceError, match="no rows"):
        open_source(write(tmp_path / "empty.jsonl"))
    with pytest.raises(SourceError, match="no known format has these fields: a, b"):
        open_source(write(tmp_path / "other.jsonl", {"a": 1, "b": 2}))
    with pytest.raises(SourceError, match="There are: rlhn-replies, tevatron"):
        open_source(write(tmp_path / "rows.jsonl", TEVATRON), format="csv")


def test_blank_lines_and_a_byte_order_mark_are_no_matter(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + lines([TEVATRON]) + b"\n\r\n" + lines([TEVATRON]).strip())
    assert rows_of(open_source(file)) == [SKY, SKY]


def test_the_fingerprint_is_of_the_bytes(tmp_path: Path) -> None:
    one = open_source(write(tmp_path / "one.jsonl", TEVATRON)).fingerprint()
    assert one == open_source(write(tmp_path / "copy.jsonl", TEVATRON)).fingerprint()
    assert one != open_source(write(tmp_path / "other.jsonl", TEVATRON, TEVATRON)).fingerprint()


# Bad rows


@pytest.mark.parametrize(
    ("change", "field", "found"),
    [
        ({"query": None}, "query", "null where text is needed"),
        ({"query": " "}, "query", "no text"),
        ({"query": "a\ud800"}, "query", "surrogate"),
        ({"query_id": True}, "query_id", "the bool True"),
        ({"query_id": float("nan")}, "query_id", "nan"),
        ({"query_id": 10**5000}, "query_id", "a huge number"),
        ({"positive_passages": []}, "positive_passages", "no positive"),
        ({"positive_passages": [{"text": ""}]}, "positive_passages", "only empty positives"),
        ({"negative_passages": None}, "negative_passages", "null where a list is needed"),
        ({"negative_passages": [{"text": "a"}, None]}, "negative_passages[1]", "null where a passage is needed"),
        ({"negative_passages": [{"docid": "a"}]}, "negative_passages[0].text", "missing"),
        ({"negative_passages": [{"text": ["a"]}]}, "negative_passages[0].text", "a list where text is needed"),
        ({"subset": 5}, "subset", "the int 5"),
    ],
)
def test_a_bad_row_says_where_and_what(tmp_path: Path, change: dict[str, Any], field: str, found: str) -> None:
    from hf_relabel.builders.sources import Context

    with pytest.raises(BadRow) as caught:
        FORMATS["tevatron"].convert(TEVATRON | change, Context("rows.jsonl", 4))
    assert (caught.value.file, caught.value.number, caught.value.field) == ("rows.jsonl", 4, field)
    assert found in caught.value.found
    assert caught.value.remedy


def test_bad_lines_are_skipped_and_counted_only_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    bad = [
        b"{\n",
        b'{"query": NaN}\n',
        b"[1]\n",
        b'{"query": "\\ud800"}\n',
        b'{"query": "\xff"}\n',
        b"[" * 5000 + b"\n",
    ]
    file.write_bytes(lines([TEVATRON]) + b"".join(bad) * 5 + lines([TEVATRON]))
    with pytest.raises(BadRow, match=r"rows\.jsonl, row 2, field"):
        list(open_source(file).rows())
    source = open_source(file, skip_bad_rows=True)
    for _ in range(2):
        assert [numbered.number for numbered in source.rows()] == [0, 1]
        assert source.skipped.count == 30
        assert len(source.skipped.messages) == 20


def test_parquet_with_text_that_is_no_utf8(tmp_path: Path) -> None:
    broken = pa.array([b"fine", b"\xff\xfe", b"fine too"]).cast(pa.binary()).view(pa.string())
    table = pa.table({"anchor": ["a", "b", "c"], "positive": broken, "negative": ["x", "y", "z"]})
    pq.write_table(table, tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet", skip_bad_rows=True)
    assert [row.query for row in rows_of(source)] == ["a", "c"]
    assert "row 2, field 'positive'" in source.skipped.messages[0]


def test_a_subset_that_does_not_exist_is_said(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", TEVATRON, TEVATRON | {"subset": "fever"})
    assert [row.subset for row in rows_of(open_source(file, subset=["fever"]))] == ["fever"]
    assert len(rows_of(open_source(file, limit=1))) == 1
    with pytest.raises(SourceError, match=r"'fevre'\. There are: 'fever', 'nq'"):
        list(open_source(file, subset=["nq", "fevre"]).rows())


# Inspection


def test_an_inspection_says_what_is_in_a_source(tmp_path: Path) -> None:
    copied = TEVATRON | {
        "query_id": "q2",
        "subset": "fever",
        "prompt": "unused",
        "negative_passages": [
            {"docid": "n", "title": "Sky", "text": "Rayleigh  scattering"},
            {"text": " "},
            {"docid": "d1", "text": "no"},
        ],
    }
    file = write(
        tmp_path / "rows.jsonl", TEVATRON, copied, TEVATRON, TEVATRON | {"negative_passages": []}, {"query": 5}
    )
    read: list[int] = []
    found = inspect(open_source(file, skip_bad_rows=True), progress=read.append)
    summary = found.to_dict()
    json.dumps(summary)
    assert read == [1, 2, 3, 4]
    assert summary["total"] == {"rows": 4, "positives": 4, "negatives": 5}
    assert summary["subsets"]["fever"] == {"rows": 1, "positives": 1, "negatives": 3}
    assert {name: one["count"] for name, one in summary["findings"].items()} == {
        "same-text": 1,
        "empty": 1,
        "id-with-two-texts": 1,
        "repeated-row": 1,
        "repeated-query-id": 1,
    }
    assert summary["findings"]["same-text"]["examples"] == [{"number": 1, "query_id": "q2", "docid": "n"}]
    assert summary["source"]["skipped"]["count"] == 1
    assert "prompt" in summary["source"]["ignored_fields"]
    text = found.to_text()
    assert "rows that are equal to an earlier one" in text
    assert "1 bad row was skipped" in text


@needs_shared_data
def test_real_rows_and_a_real_beir_folder() -> None:
    found = inspect(open_source(SHARED / "classic" / "rows.jsonl"))
    assert (found.total.rows, found.total.negatives) == (284, 5680)
    mined = rows_of(open_source(SHARED / "classic" / "beir", limit=50))
    assert mined[0].subset == "classic"
    assert {len(row.negative_passages) for row in mined} == {20}


def test_a_record_for_publishing_names_no_local_folder_and_quotes_no_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"query": "q", "pos": ["p"], "neg": ["n"]}\n{"query": "secret", "pos": [], "neg": ["n"]}\n')
    source = open_source(path, skip_bad_rows=True)
    assert len(list(source.rows())) == 1
    record = source.record()
    assert (record["name"], record["files"], record["skipped"]) == ("rows.jsonl", ["rows.jsonl"], 1)
    assert str(tmp_path) not in str(record)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ("trec-2019.jsonl trec-2020.jsonl", ["trec-2019", "trec-2020"]),
        ("nq-00000.jsonl nq-00001.jsonl nq_0002.jsonl", ["nq", "nq", "nq"]),
        ("trec-2019-00000-of-00002.parquet trec-2020-0001-of-0002.parquet", ["trec-2019", "trec-2020"]),
        ("train-2019.jsonl data/2020.jsonl part-1234.jsonl", ["", "", ""]),
    ],
)
def test_a_year_is_part_of_a_name_and_the_number_of_a_shard_is_not(files: str, names: list[str]) -> None:
    assert [subset_of(file) for file in files.split()] == names
