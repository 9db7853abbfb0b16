"""Data sets on the Hub, read by the real huggingface_hub and datasets clients over HTTP."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.rows import Passage, Row, arrow_schema
from hf_relabel.hub_tools.hub.source import HubLocation, open_source
from tests import forked
from tests.hub_tools.read_only_hub import ReadOnlyHub

# The endpoint is read when the libraries are imported, so each case runs in a process of its own.
CLIENT = """
import json, sys
from hf_relabel.builders.errors import RelabelError
from hf_relabel.hub_tools.hub.source import open_source
location, options = sys.argv[1], json.loads(sys.argv[2])
try:
    source = open_source(location, **options)
    rows = [numbered.row.to_dict() for numbered in source.rows()]
    again = sum(1 for _ in source.rows())
    print(json.dumps({"rows": rows, "again": again, "fingerprint": source.fingerprint(), **source.describe()}))
except RelabelError as error:
    print(json.dumps({"error": str(error)}))
"""

Read = Callable[..., dict[str, Any]]

CARD = b"""---
configs:
- config_name: original
  default: true
  data_files:
  - {split: train, path: original/train-*}
  - {split: test, path: original/test-*}
- config_name: relabel
  data_files:
  - {split: train, path: relabel/train-*}
---
"""


def row(query: str) -> Row:
    return Row(f"id of {query}", query, (Passage("p", "", "yes"),), (Passage("n", "", "no"),), "fever")


def parquet(*queries: str) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([row(query).to_dict() for query in queries], arrow_schema()), sink)
    return sink.getvalue().to_pybytes()


def jsonl(*queries: str) -> bytes:
    return b"".join(json.dumps({"query": query, "pos": ["yes"], "neg": ["no"]}).encode() + b"\n" for query in queries)


@pytest.fixture(scope="module")
def hub() -> Iterator[ReadOnlyHub]:
    hub = ReadOnlyHub()
    configs = {"README.md": CARD, "relabel/train-00000-of-00001.parquet": parquet("relabelled")}
    configs |= {f"original/train-{shard:05}-of-00002.parquet": parquet(f"train {shard}") for shard in range(2)}
    configs |= {"original/test-00000-of-00001.parquet": parquet("test")}
    hub.repository("user/configs").commit({**configs, "relabel/train-00000-of-00001.parquet": parquet("old")}, "v1")
    hub.repository("user/configs").commit(configs)
    hub.repository("user/raw").commit({"fever.jsonl": jsonl("f"), "nq.jsonl": jsonl("n"), ".gitattributes": b""})
    hub.repository("user/gated", gated=True).commit({"train.jsonl": jsonl("g")})
    hub.repository("user/private", private=True).commit({"train.jsonl": jsonl("secret")})
    no_default = CARD.replace(b"  default: true\n", b"")
    hub.repository("user/no-default").commit({**configs, "README.md": no_default})
    hub.repository("user/nothing").commit({"notes.txt": b"nothing"})
    beir = {
        "corpus.jsonl": b'{"_id": "a", "text": "blue sky"}\n{"_id": "b", "text": "sky at night"}\n',
        "queries.jsonl": b'{"_id": "q", "text": "why is the sky blue"}\n',
        "qrels/test.tsv": b"query-id\tcorpus-id\tscore\nq\ta\t1\n",
    }
    hub.repository("user/beir").commit(beir)
    with hub.serving():
        yield hub


@pytest.fixture
def read(hub: ReadOnlyHub, tmp_path: Path) -> Read:
    """Open and read a data set in a process of its own with an empty cache."""

    def read(location: str, token: str = "", **options: Any) -> dict[str, Any]:
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= settings | ({"HF_TOKEN": token} if token else {})
        done = forked.run(CLIENT, location, json.dumps(options), env=environment)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return read


def queries(result: dict[str, Any]) -> list[str]:
    assert "error" not in result, result
    return [row["query"] for row in result["rows"]]


def test_the_default_config_is_read_and_pinned_to_the_commit(hub: ReadOnlyHub, read: Read) -> None:
    result = read("user/configs")
    assert queries(result) == ["train 0", "train 1"]
    assert result["rows"][0] == row("train 0").to_dict()
    sha = hub.repositories["user/configs"].refs["main"]
    assert result["revision"] == sha
    assert result["fingerprint"].startswith(f"{sha}:")
    assert result["files"] == ["original/train-00000-of-00002.parquet", "original/train-00001-of-00002.parquet"]


def test_a_config_at_a_tag(hub: ReadOnlyHub, read: Read) -> None:
    result = read("hf://datasets/user/configs:relabel@v1")
    assert queries(result) == ["old"]
    assert result["revision"] == hub.repositories["user/configs"].refs["v1"]


def test_files_are_downloaded_once_however_often_they_are_read(hub: ReadOnlyHub, read: Read) -> None:
    hub.requests.clear()
    assert read("user/configs", split="test")["again"] == 1
    assert len([path for path in hub.downloads() if path.endswith(".parquet")]) == 1


def test_files_can_be_streamed_instead(read: Read, tmp_path: Path) -> None:
    assert queries(read("user/configs", split="test", cache=False)) == ["test"]
    assert not list(tmp_path.rglob("*.parquet"))


def test_raw_files_name_their_subsets(read: Read) -> None:
    result = read("user/raw")
    assert [row["subset"] for row in result["rows"]] == ["fever", "nq"]
    assert queries(read("user/raw", subset="nq")) == ["n"]


def test_a_beir_folder(read: Read) -> None:
    result = read("user/beir", format="beir")
    assert [passage["docid"] for passage in result["rows"][0]["negative_passages"]] == ["b"]
    assert result["split"] == "test"


def test_a_private_data_set_needs_the_token(hub: ReadOnlyHub, read: Read) -> None:
    assert queries(read("user/private", token=hub.token)) == ["secret"]
    assert "no token was sent" in read("user/private")["error"]
    refused = read("user/private", token="hf_a_wrong_token")["error"]
    assert "a token was sent" in refused
    assert "hf_a_wrong_token" not in refused


@pytest.mark.parametrize(
    ("location", "options", "said"),
    [
        ("user/missing", {}, "there is no such data set"),
        ("user/configs@v9", {}, "no such branch, tag or commit"),
        ("user/configs:nope", {}, "there is no config 'nope'. There are: original, relabel"),
        ("user/configs", {"split": "dev"}, "there is no split 'dev'. There are: test, train"),
        ("user/no-default", {}, "name one of original, relabel"),
        ("user/nothing", {}, "no .jsonl, .json, .parquet, .arrow, .csv, .tsv or .zip file"),
        ("user/gated", {}, "has to be asked for"),
        ("user/configs", {"format": "beir"}, "corpus.jsonl"),
    ],
)
def test_what_cannot_be_opened_is_said(read: Read, location: str, options: dict[str, Any], said: str) -> None:
    assert said in read(location, **options)["error"]


def test_an_unreachable_hub_is_said(read: Read, hub: ReadOnlyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "url", "http://127.0.0.1:9")
    assert "the Hub cannot be reached" in read("user/configs")["error"]


def test_how_data_sets_are_named() -> None:
    assert HubLocation.parse("user/repo") == HubLocation("user/repo")
    assert HubLocation.parse("user/repo@v1.2") == HubLocation("user/repo", revision="v1.2")
    assert HubLocation.parse("user/repo:relabel@refs/pr/1") == HubLocation("user/repo", "relabel", "refs/pr/1")
    assert HubLocation.parse("hf://datasets/user/repo") == HubLocation("user/repo")
    assert HubLocation.parse("./user/repo") is None
    assert HubLocation.parse("rows.jsonl") is None


def test_existing_files_come_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "repo").write_bytes(jsonl("local"))
    assert [numbered.row.query for numbered in open_source("user/repo", split="train").rows()] == ["local"]


def test_neither_a_file_nor_a_data_set() -> None:
    for location in ("./user/repo", "data/rows.jsonl", "no/such/folder"):
        with pytest.raises(SourceError, match="neither an existing file"):
            open_source(location)


def test_rows_that_have_no_revision_are_not_shown() -> None:
    rows = [{"query": "a secret", "positive": "text"}] * 3
    with pytest.raises(SourceError, match=r'^a list of 3: is no data set on the Hub, so it has no `revision="x"`\.$'):
        open_source(rows, revision="x")


@pytest.mark.parametrize("path", ["x" * 5_000, "a\0b", "a/" * 3_000 + "rows.jsonl"])
def test_what_can_be_no_path_is_neither_here_nor_on_the_hub(path: str) -> None:
    with pytest.raises(SourceError, match="neither an existing file") as found:
        open_source(path)
    assert len(str(found.value)) < 600
