"""Training sets in files that are no JSON lines and no Parquet: JSON lists, CSV, TSV, UTF-16, archives."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_relabel import open_source
from hf_relabel.builders.errors import BadRow, SourceError
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources import files
from hf_relabel.builders.sources.pieces import can_be_cut, pieces_of, source_of_piece

RECORDS = [
    {"query": f"why {number}?", "pos": ["It “scatters”, 日本."], "neg": ["no\nnever", str(number)]}
    for number in range(300)
]
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)
LIST = json.dumps(RECORDS, indent=2, ensure_ascii=False)
TRIPLETS = [{"anchor": f'say "{n}", please', "positive": "yes,\nindeed", "negative": f"00{n}"} for n in range(300)]


def rows_of(path: Path, **options: Any) -> list[Row]:
    """The rows without the subset that their file is named after."""
    return [replace(numbered.row, subset="") for numbered in open_source(path, **options).rows()]


def queries(path: Path, **options: Any) -> list[str]:
    return [row.query for row in rows_of(path, **options)]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(rows: list[dict[str, str]], delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return rows_of(write(tmp_path_factory.mktemp("rows") / "rows.jsonl", LINES))


# JSON


@pytest.mark.parametrize(
    "text",
    [
        LIST,
        json.dumps(RECORDS),
        "\n\n  " + LIST,
        "\ufeff" + LIST,
        json.dumps({"version": "1.1", "data": RECORDS}, indent=1),
        "\n".join(json.dumps(record, indent=2) for record in RECORDS),
    ],
    ids=["pretty", "one line", "blank before", "mark of byte order", "a field of a document", "objects over lines"],
)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_json_that_is_not_one_object_per_line(tmp_path: Path, expected: list[Row], text: str, suffix: str) -> None:
    assert rows_of(write(tmp_path / f"train.{suffix}", text)) == expected


def test_a_list_is_read_as_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "rows.json", json.dumps(RECORDS * 60))
    read: list[int] = []

    class Counted(io.FileIO):
        def readinto(self, buffer: Any) -> int | None:
            size = super().readinto(buffer)
            read.append(size or 0)
            return size

    monkeypatch.setattr(files, "_open_local", lambda path: io.BufferedReader(Counted(path)))
    next(open_source(path).rows())
    assert sum(read) < path.stat().st_size / 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            LIST[: len(LIST) // 2],
            r"rows\.json: the JSON ends, or is broken, after \d+ rows \(parse error: prem",
        ),
        (LIST.replace('"why 7?"', "NaN"), r"rows\.json, row 8, field 'query': the float nan where text is needed"),
        (LIST.replace('"why 7?"', "-Infinity"), r"row 8, field 'query': the float -inf where text is needed"),
        (LIST.replace('"why 7?"', r'"a \ud83d b"'), r"row 8, field 'query': half of a surrogate pair at character 2"),
        ("[1, 2]", r"row 1, field '\(the whole row\)': a int, not a JSON object"),
        ("[]", "there are no rows in it"),
        ('{"query": "a", "pos": ["b"]', "the JSON ends, or is broken, after 0 rows"),
        ("query\tpos\nq\tp\n", r"text with tabs, not JSON. Name a file of tab-separated columns \.tsv"),
    ],
)
def test_json_that_cannot_be_read(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises((SourceError, BadRow), match=said) as caught:
        rows_of(write(tmp_path / "rows.json", text))
    assert "\n" not in str(caught.value)


def test_one_row_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_relabel.builders.sources import json_documents

    monkeypatch.setattr(json_documents, "LONGEST_LINE", 2**20)
    large = json.dumps({"rows of mine": [{"query": "q" * 1000}] * 3000}, indent=1)
    with pytest.raises(SourceError, match=r"one JSON value is larger than 1 MiB.*jq -c"):
        rows_of(write(tmp_path / "rows.json", large))


ODD = r"""{"query": "a NaN is \"NaN\", \\", "pos": ["\ud83d\ude00 \\ud83d"], "neg": ["c"],
 "n": [NaN, -Infinity, {"x": Infinity}], "\udc00": "\ud83d\ud83d \udfff"}"""


@pytest.mark.parametrize("size", [1, 7, 64, 2**16])
def test_what_python_writes_and_nobody_reads_refuses_nothing(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_relabel.builders.sources import json_documents

    whole = json_documents._Watched.read
    # Wherever a block ends, it ends inside no number and no escape.
    monkeypatch.setattr(json_documents._Watched, "read", lambda self, wanted=-1: whole(self, min(size, wanted)))
    listed = write(tmp_path / "rows.json", f"[\n{ODD},\n{ODD}\n]")
    lines = write(tmp_path / "rows.jsonl", "\n".join([ODD.replace("\n", "")] * 2))
    for path in (listed, lines):
        records = [records[0] for _, records in open_source(path).records()]
        assert repr(records) == repr([json.loads(ODD)] * 2)
        assert rows_of(path)[0].positive_passages[0].text == "😀 \\ud83d"


def test_half_a_surrogate_pair_where_it_is_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", r'{"query": "a", "pos": ["b"], "neg": ["c", "d \ud83d"]}')
    with pytest.raises(BadRow, match=r"row 1, field 'neg\[1\]': half of a surrogate pair at character 2"):
        rows_of(path)


def test_nan_matters_only_where_it_is_read(tmp_path: Path) -> None:
    lines = '{"query": "a", "pos": "b", "neg": "c", "time": NaN}\n{"query": "d", "pos": NaN, "neg": "c"}\n'
    source = open_source(write(tmp_path / "rows.jsonl", lines), skip_bad_rows=True)
    assert [numbered.row.query for numbered in source.rows()] == ["a"]
    assert "row 2, field 'pos'" in source.skipped.messages[0]


# CSV and TSV


@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t"), ("t.csv", "\t")])
def test_tables_are_text(tmp_path: Path, name: str, delimiter: str) -> None:
    rows = rows_of(write(tmp_path / name, table(TRIPLETS, delimiter)))
    assert [row.query for row in rows] == [triplet["anchor"] for triplet in TRIPLETS]
    assert [row.positive_passages[0].text for row in rows] == ["yes,\nindeed"] * 300
    assert [row.negative_passages[0].text for row in rows] == [triplet["negative"] for triplet in TRIPLETS]


def test_ids_keep_their_digits_and_lists_are_read_where_they_are_json(tmp_path: Path) -> None:
    text = 'query_id,query,pos,neg\n007,q,"[""yes""]","[""no"", ""never""]"\n1.10,q,yes,no\n'
    first, second = rows_of(write(tmp_path / "t.csv", text))
    assert (first.query_id, second.query_id) == ("007", "1.10")
    assert [passage.text for passage in first.negative_passages] == ["no", "never"]
    pd.DataFrame({"query": ["q"], "pos": [["yes"]], "neg": [["no"]]}).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(BadRow, match=r"row 1, field 'pos': a list that is written as text and is not JSON.*to_json"):
        rows_of(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("anchor,positive,negative\na,b,c\nd,e\n", r"row 2, field '\(the whole row\)': 2 fields where .* names 3"),
        ('anchor,positive,negative\na,"b,c\nd,e,f\n', "a quote that opens in the row of line 2 is never closed"),
        ('anchor,positive,negative\na,"b" said,c\n', "the quotes are broken at line 2"),
        ("anchor,anchor,negative\na,b,c\n", "the first line names 'anchor' twice"),
        ("anchor,positive,negative\n", "there are no rows"),
        ("anchor,positive,negative\na,caf\xe9,c\n".encode("latin-1"), r"not UTF-8 \(byte 0xe9\).*iconv"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises((SourceError, BadRow), match=said):
        rows_of(write(tmp_path / "t.csv", text))
    good = write(tmp_path / "good.csv", "anchor,positive,negative\na,b,c\nd,e\ng,h,i\n")
    assert queries(good, skip_bad_rows=True) == ["a", "g"]


def test_tables_beside_json_lines_are_something_else(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", LINES)
    write(tmp_path / "scores.csv", "system,score\na,1\n")
    source = open_source(tmp_path)
    assert ([file.name for file in source.files], source.left_out) == (["rows.jsonl"], ("scores.csv",))
    (tmp_path / "rows.jsonl").unlink()
    write(tmp_path / "train.csv", table(TRIPLETS, ","))
    write(tmp_path / "test.csv", table(TRIPLETS[:3], ","))
    (tmp_path / "scores.csv").unlink()
    assert len(rows_of(tmp_path, split="test")) == 3


# Compression and encodings


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_other_encodings(tmp_path: Path, expected: list[Row], encoding: str) -> None:
    assert rows_of(write(tmp_path / "a.jsonl", LINES.encode(encoding))) == expected
    assert rows_of(write(tmp_path / "b.json", LIST.encode(encoding))) == expected
    assert rows_of(write(tmp_path / "c.jsonl.gz", gzip.compress(LINES.encode(encoding)))) == expected
    assert len(rows_of(write(tmp_path / "d.tsv", table(TRIPLETS, "\t").encode(encoding)))) == 300


@pytest.mark.parametrize(("suffix", "compress"), [("xz", lzma.compress), ("bz2", bz2.compress)])
def test_xz_and_bzip2(tmp_path: Path, expected: list[Row], suffix: str, compress: Any) -> None:
    half = len(LINES.encode()) // 2
    content = compress(LINES.encode()[:half]) + compress(LINES.encode()[half:])
    assert rows_of(write(tmp_path / f"rows.jsonl.{suffix}", content)) == expected
    assert rows_of(write(tmp_path / "whatever", content)) == expected
    named = open_source(write(tmp_path / f"nq.json.{suffix}", compress(LIST.encode())))
    assert next(named.rows()).row.subset == "nq"
    with pytest.raises(SourceError, match="cannot be read"):
        rows_of(write(tmp_path / f"cut.jsonl.{suffix}", content[: len(content) - 40]))


def test_what_is_not_plain_lines_is_not_cut(tmp_path: Path, expected: list[Row]) -> None:
    plain = open_source(write(tmp_path / "a.jsonl", LINES))
    assert can_be_cut(plain, 4)
    contents = {"b.json": LIST.encode(), "c.jsonl": LINES.encode("utf-16"), "d.jsonl.xz": lzma.compress(LINES.encode())}
    for name, content in contents.items():
        assert not can_be_cut(open_source(write(tmp_path / name, content)), 4)
    pieces = pieces_of(plain, 4)
    assert sum(sum(1 for _ in source_of_piece(plain, piece).rows()) for piece in pieces) == 300


# Zip


def zipped(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def test_files_in_a_zip_file(tmp_path: Path, expected: list[Row]) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(RECORDS), sink)
    contents = {
        "data/a.jsonl": LINES.encode(),
        "b.parquet": sink.getvalue(),
        "notes.txt": b"x",
        "__MACOSX/._a.jsonl": b"x",
    }
    source = open_source(zipped(tmp_path / "set.zip", contents))
    rows = [numbered.row for numbered in source.rows()]
    assert [row.query for row in rows] == [row.query for row in expected] * 2
    assert {row.subset for row in rows} == {"a", "b"}
    assert source.fingerprint() == open_source(zipped(tmp_path / "copy.zip", contents)).fingerprint()
    assert [row.query for row in rows_of(tmp_path)] == [row.query for row in expected] * 4


def test_the_test_split_in_a_zip_file_does_not_leak(tmp_path: Path) -> None:
    contents = {"train.jsonl": LINES.encode(), "test.jsonl": LINES.splitlines()[0].encode()}
    path = zipped(tmp_path / "set.zip", contents)
    source = open_source(path)
    assert (sum(1 for _ in source.rows()), source.split) == (300, "train")
    assert source.left_out == (f"{path}/test.jsonl",)
    assert len(rows_of(path, split="test")) == 1


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"xl/workbook.xml": b"x"}, r"is an Excel workbook. Save the sheet as CSV"),
        ({"a.txt": b"x"}, r"no \.jsonl, .* file is in this zip file. It holds: a\.txt"),
        ({"s/corpus.jsonl": b"{}", "s/queries.jsonl": b"{}"}, "a BEIR set in a zip file. Unpack it"),
    ],
)
def test_zip_files_without_rows(tmp_path: Path, contents: dict[str, bytes], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        open_source(zipped(tmp_path / "set.zip", contents))


def test_a_zip_file_that_is_cut_off(tmp_path: Path) -> None:
    path = zipped(tmp_path / "set.zip", {"a.jsonl": LINES.encode()})
    with pytest.raises(SourceError, match="cannot be read: File is not a zip file"):
        open_source(write(path, path.read_bytes()[:-30]))


# Files of other kinds


def tar() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.parquet",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a pointer of Git LFS.*lfs pull",
        ),
        ("a.pkl", pickle.dumps([1]), "is a Python pickle. Save it as parquet"),
        ("a.tar", tar(), "is a tar archive. Unpack it with `tar xf`"),
        ("a.tar.gz", gzip.compress(tar()), "is a tar archive"),
        ("a.jsonl", b"<!DOCTYPE html><html>", "is a web page.*/resolve/"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Excel workbook"),
        ("a.json", b"%PDF-1.7\n", "is a PDF"),
    ],
    ids=["lfs", "pickle", "tar", "tar.gz", "web page", "xls", "pdf"],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        open_source(write(tmp_path / name, content))


def test_a_folder_without_data_says_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "rows.xlsx", b"")
    with pytest.raises(SourceError, match=r"no \.jsonl, .* file is in this folder. It holds: rows\.xlsx"):
        open_source(tmp_path)
