"""Data of others that wants to break what reads it: one clear error each, and never a guess."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_relabel.builders.errors import BadRow, ConfigError, SourceError
from hf_relabel.builders.mining.mining import mine_source
from hf_relabel.builders.mining.settings import MiningSettings
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.commands.spelling import printable
from hf_relabel.hub_tools.hub.source import open_source as open_anywhere

ROW = {"query": "q", "pos": ["p"], "neg": ["n"]}


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def mixed(path: Path, column: str, texts: list[str]) -> Path:
    """A parquet file with a column of the type that `datasets` writes mixed values in."""
    values = pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(texts, pa.string()))
    count = len(texts)
    table = pa.table({"query": ["q"] * count, "pos": [["p"]] * count, "neg": [["n"]] * count} | {column: values})
    pq.write_table(table, path)
    return path


def test_json_in_a_table_that_is_none_is_named_where_it_is_read(tmp_path: Path) -> None:
    path = mixed(tmp_path / "rows.parquet", "neg", ['["n"]', "{no"])
    with pytest.raises(BadRow, match=r"rows\.parquet, row 2, field 'neg': not JSON"):
        list(open_source(path).rows())
    path = mixed(tmp_path / "rows.parquet", "meta", ['{"a": NaN}', "{no", "[" * 100_000 + "NaN"])
    assert len(list(open_source(path, skip_bad_rows=True).rows())) == 3


@pytest.mark.parametrize("byte", [6, 7])
def test_a_zip_file_of_another_age_is_named(tmp_path: Path, byte: int) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("rows.jsonl", json.dumps(ROW))
    changed = bytearray(content.getvalue())
    changed[changed.find(b"PK\x01\x02") + byte] = 99
    (tmp_path / "rows.zip").write_bytes(changed)
    with pytest.raises(SourceError, match=r"rows\.zip") if byte == 6 else pytest.MonkeyPatch.context():
        open_source(tmp_path / "rows.zip")


def test_names_that_no_report_could_show_are_spelt_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "rows.jsonl", ROW | {"\udc00": "x", "\x1b[2J": "y"})
    source = open_source(path)
    assert len(list(source.rows())) == 1
    assert source.ignored_fields == {"\\udc00", "\x1b[2J"}
    assert run(["inspect", str(path)]) == 0
    assert "\\x1b[2J, \\udc00" in capsys.readouterr().out
    assert run(["inspect", str(write(tmp_path / "odd.jsonl", {"\x1b[2Ja": "x", "b\x9b": 1}))]) == 2
    shown = capsys.readouterr().err
    assert "\\x1b[2Ja" in shown
    assert "\x1b" not in shown
    assert printable("ü\t日本\n\u202e") == "ü\t日本\n\\u202e"


def test_a_column_whose_name_is_no_text_is_refused_where_it_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "rows.jsonl", {"query": "q", "answ\udc00er": "a word", "negative": "n"})
    with pytest.raises(BadRow, match=r"the name of a field.*surrogate"):
        list(open_source(path).rows())
    assert "answ\\udc00er" in caplog.text
    caplog.text.encode()  # can be written to a file


def test_one_column_is_not_guessed_to_be_two_things(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {"body": "a text", "more": ["a", "list"]})
    with pytest.raises(SourceError, match="no known format"):
        open_source(path)


def test_rows_that_hold_themselves_are_refused() -> None:
    row: dict[str, Any] = dict(ROW)
    row["more"] = row
    with pytest.raises(SourceError, match="holds itself"):
        open_source([row])


def test_metadata_that_is_nested_without_end_says_nothing(tmp_path: Path) -> None:
    metadata = {b"huggingface": b'{"info":{"features":{"label":' + b"[" * 100_000}
    table = pa.table({"query": ["q"], "passage": ["p"], "label": [1]})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "rows.parquet")
    [numbered] = open_source(tmp_path / "rows.parquet").rows()
    assert numbered.row.query == "q"


@pytest.mark.parametrize("pattern", ["**a", "a**b/**", "../*", "/etc/*", "[", "\0", "hf://datasets/a/b/c.jsonl"])
def test_patterns_of_a_readme_that_find_nothing_here_are_named(tmp_path: Path, pattern: str) -> None:
    write(tmp_path / "a.jsonl", ROW)
    configs = json.dumps([{"config_name": "a", "data_files": pattern}])
    (tmp_path / "README.md").write_text(f"---\nconfigs: {configs}\n---\n")
    with pytest.raises(SourceError, match="config 'a'"):
        open_source(tmp_path)


def test_a_folder_may_have_brackets_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "rows [1]"
    folder.mkdir()
    write(folder / "a.jsonl", ROW)
    (folder / "README.md").write_text("---\nconfigs:\n- config_name: a\n  data_files: '*.jsonl'\n---\n")
    assert [file.name for file in open_source(folder).files] == ["a.jsonl"]


@pytest.mark.parametrize("name", ["x" * 300 + ".jsonl", "y" * 300 + "/rows.jsonl"])
def test_rows_are_mined_to_no_impossible_place(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="can be no file"):
        mine_source(open_source([{"query": "q", "positive": "p"}]), tmp_path / name, MiningSettings())


def test_a_corpus_is_no_dict(tmp_path: Path) -> None:
    source = open_source([{"query": "q", "positive": "p"}])
    with pytest.raises(SourceError, match="the corpus: "):
        mine_source(source, tmp_path / "rows.jsonl", MiningSettings(), corpus={"a name": "a text"})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"limit": True}, "the limit cannot be True"),
        ({"mined_negatives": True}, "not True"),
        ({"subset": []}, r"`subset=\[\]` keeps no row"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(SourceError, match=told):
        open_source([ROW], **options)


def test_a_label_may_be_as_large_as_it_likes() -> None:
    assert open_source([ROW], relevant_from=10**400).options.relevant_from == 10**400


def test_a_column_alone_is_no_table() -> None:
    with pytest.raises(SourceError, match="Series: is no table"):
        open_source(pd.Series([1, 2]))


def test_numbers_of_thousands_of_digits_have_no_fingerprint() -> None:
    with pytest.raises(SourceError, match="no file could hold"):
        open_source([ROW | {"n": 10**5_000}]).fingerprint()


def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.jsonl", ROW)

    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", lambda path: refused(path) if path.name == "a.jsonl" else False)
    with pytest.raises(SourceError, match=r"a\.jsonl: Permission denied"):
        open_source(tmp_path)


def test_an_empty_text_is_not_this_folder() -> None:
    with pytest.raises(SourceError, match="an empty text"):
        open_anywhere("")


def test_messages_do_not_quote_texts_that_stand_where_names_should() -> None:
    text = "a passage of many words " * 100
    for row in ({text: "x", "b": "y"}, {"query": "q", text: "x", "id": "y"}, {"query": "q", text + "2": "x y z ä"}):
        with pytest.raises(SourceError) as found:
            list(open_source([row], columns={"negative": "none"}).rows())
        assert len(str(found.value)) < 700
