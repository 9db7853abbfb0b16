"""Pulling a release with the real client: checked against its manifest, resumed, complete or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_relabel.builders.configs.manifest import FileEntry, manifest_text, read_manifest
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.errors import ReleaseError
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.hub_tools.releases.pull import data_files
from tests import forked
from tests.hub_tools.read_only_hub import ReadOnlyHub
from tests.hub_tools.release_clients import COMMAND_LINE

# The endpoint is read when the libraries are imported, so each case runs in a process of its own.
CLIENT = """
import json, sys
from hf_relabel.builders.errors import RelabelError
from hf_relabel.hub_tools.releases.pull import pull
location, out, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
seen = []
try:
    report = pull(location, out, progress=lambda done, total: seen.append((done, total)), **options).to_dict()
    print(json.dumps({**report, "progress": seen}))
except RelabelError as error:
    print(json.dumps({"error": str(error), "code": error.exit_code}))
"""

Pull = Callable[..., dict[str, Any]]
Files = dict[str, bytes]

RELABEL = "relabel/train-00000-of-00001.parquet"
VERDICTS = "verdicts/train-00000-of-00001.parquet"


def built(folder: Path, rows: int = 3) -> Files:
    """The files of a release of a few rows, with a figure beside them."""
    judged = []
    for number in range(rows):
        row = Row(f"q{number}", "query", (Passage("p", "", "yes"),), (Passage("n", "", f"no {number}"),), "nq")
        verdict = Verdict(0, "n", Outcome.FALSE_NEGATIVE, "judged", (Judgement(Label.BETTER),))
        judged.append((NumberedRow(number, row), [verdict]))
    release = {"release": {"version": f"v1.{rows}.0", "previous": None}}
    write_configs(judged, folder, stage_names=["only"], stage_judges=["small"], manifest_extra=release)
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "false-negatives.png").write_bytes(b"a picture")
    return contents(folder)


def contents(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def listing(files: Files, **entries: dict[str, Any]) -> Files:
    """The files with other entries in the manifest."""
    manifest = json.loads(files["manifest.json"])
    manifest["files"] |= entries
    return {**files, "manifest.json": manifest_text(manifest)}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return built(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def hub(release: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadOnlyHub]:
    hub = ReadOnlyHub()
    hub.repository("user/release").commit({**release, "foreign/notes.txt": b"not ours"}, "v1.3.0")
    hub.repository("user/release").commit(built(tmp_path_factory.mktemp("four"), rows=4), "v1.4.0")
    hub.repository("user/private", private=True).commit(release)
    hub.repository("user/broken").commit({**release, VERDICTS: release[VERDICTS][:-1] + b"?"}, "other-content")
    hub.repository("user/broken").commit({**release, VERDICTS: release[VERDICTS][:-1]}, "other-size")
    missing = {name: data for name, data in release.items() if name != VERDICTS}
    hub.repository("user/broken").commit(missing, "missing")
    hub.repository("user/broken").commit(release, "repaired")
    entry = {"bytes": 1, "rows": 1, "sha256": "0" * 64}
    hub.repository("user/evil").commit(listing({**release, "../evil.parquet": b"x"}, **{"../evil.parquet": entry}))
    hub.repository("user/data").commit({"train.jsonl": b"{}"})
    with hub.serving():
        yield hub


@pytest.fixture
def pull(hub: ReadOnlyHub, tmp_path: Path) -> Pull:
    """Pull into `tmp_path/out` in a process of its own, with an empty cache."""

    def pull(location: str, token: str = "", out: str = "out", **options: Any) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        hub.requests.clear()
        environment |= {"HF_TOKEN": token} if token else {}
        done = forked.run(CLIENT, location, str(tmp_path / out), json.dumps(options), env=environment)
        assert done.returncode == 0, done.stderr
        assert hub.token not in done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return pull


def downloaded(hub: ReadOnlyHub) -> list[str]:
    return sorted(path.split("/resolve/")[1].split("/", 1)[1] for path in hub.downloads())


def test_a_release_is_pulled_as_it_was_built(hub: ReadOnlyHub, release: Files, pull: Pull, tmp_path: Path) -> None:
    report = pull("user/release@v1.3.0")

    assert contents(tmp_path / "out") == release
    size = sum(len(data) for name, data in release.items() if name.endswith(".parquet"))
    assert (report["files"], report["bytes"], report["downloaded"]) == (6, size, size)
    assert (report["version"], report["configs"]) == ("v1.3.0", sorted([*CONFIGS, "verdicts"]))
    assert report["default_config"] == "remove-hn"
    assert report["revision"] == hub.repositories["user/release"].refs["v1.3.0"]
    assert report["progress"][-1] == [size, size]
    assert report["progress"] == sorted(report["progress"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


CONFIGS = ["original", "relabel", "relabel-filter", "remove", "remove-hn"]


def test_the_folder_loads(pull: Pull, tmp_path: Path) -> None:
    pull("user/release@v1.3.0")
    datasets.disable_progress_bars()

    loaded = datasets.load_dataset(str(tmp_path / "out"), "relabel", split="train", cache_dir=str(tmp_path / "cache"))

    assert [len(row["positive_passages"]) for row in loaded] == [2, 2, 2]


def test_only_some_configs(hub: ReadOnlyHub, pull: Pull, tmp_path: Path) -> None:
    report = pull("user/release@v1.3.0", configs=["relabel", "original"])

    assert (report["configs"], report["default_config"]) == (["original", "relabel"], None)
    assert [name for name in downloaded(hub) if name.endswith(".parquet")] == [
        "original/train-00000-of-00001.parquet",
        RELABEL,
    ]
    assert sorted(read_manifest(tmp_path / "out")["files"]) == ["original/train-00000-of-00001.parquet", RELABEL]
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(str(tmp_path / "out"), "relabel", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 3
    said = pull("user/release@v1.3.0", configs=["nope"])
    assert said["code"] == 2
    assert "no config 'nope'. It has: original, relabel" in said["error"]


def test_what_was_downloaded_before_a_failure_is_not_downloaded_again(
    hub: ReadOnlyHub, release: Files, pull: Pull, tmp_path: Path
) -> None:
    assert "error" in pull("user/broken@other-content")
    assert not (tmp_path / "out").exists()
    assert RELABEL in downloaded(hub)

    report = pull("user/broken@repaired")

    assert [name for name in downloaded(hub) if name.endswith(".parquet")] == [VERDICTS]
    assert report["downloaded"] == len(release[VERDICTS])
    assert contents(tmp_path / "out") == release


def test_the_next_version_takes_over_what_it_has_in_common(
    hub: ReadOnlyHub, release: Files, pull: Pull, tmp_path: Path
) -> None:
    pull("user/release@v1.3.0")
    again = pull("user/release@v1.3.0")
    assert (again["downloaded"], contents(tmp_path / "out")) == (0, release)
    (tmp_path / "out" / "notes.txt").write_bytes(b"mine")

    report = pull("user/release")

    assert report["version"] == "v1.4.0"
    # `remove` has no rows in either.
    assert "remove/train-00000-of-00001.parquet" not in downloaded(hub)
    assert read_manifest(tmp_path / "out")["rows"]["count"] == 4
    assert (tmp_path / "out" / "notes.txt").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("other-content", "its sha256 is {found} where manifest.json says {due}"),
        ("other-size", "it has {less} bytes where manifest.json says {size}"),
        ("missing", "is missing on the Hub"),
    ],
)
def test_a_file_that_is_not_as_the_manifest_says(
    revision: str, said: str, hub: ReadOnlyHub, release: Files, pull: Pull, tmp_path: Path
) -> None:
    earlier = built(tmp_path / "out", rows=2)
    data = release[VERDICTS]
    found, due = (hashlib.sha256(content).hexdigest() for content in (data[:-1] + b"?", data))

    result = pull(f"user/broken@{revision}")

    assert result["code"] == 7
    assert said.format(found=found, due=due, size=len(data), less=len(data) - 1) in result["error"]
    assert VERDICTS in result["error"]
    assert contents(tmp_path / "out") == earlier


def test_a_file_damaged_on_the_way_is_downloaded_again(hub: ReadOnlyHub, pull: Pull, tmp_path: Path) -> None:
    pull("user/broken@other-content")
    (tmp_path / ".out.pulling" / RELABEL).write_bytes(b"half")

    pull("user/broken@repaired")

    assert [name for name in downloaded(hub) if name.endswith(".parquet")] == [RELABEL, VERDICTS]


def test_a_manifest_cannot_name_files_elsewhere(pull: Pull, hub: ReadOnlyHub, tmp_path: Path) -> None:
    result = pull("user/evil")

    assert (result["code"], "lists the file '../evil.parquet'" in result["error"]) == (7, True)
    assert downloaded(hub) == ["manifest.json"]
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/evil.parquet",
        "../evil.parquet",
        "relabel/../../evil.parquet",
        "relabel/..parquet",
        "relabel\\evil.parquet",
        "C:/evil.parquet",
        "relabel/e\x00vil.parquet",
        "relabel/evil.parquet\n",
        ".git/evil.parquet",
        "relabel/.evil.parquet",
        "relabel/evil.sh",
        "evil.parquet",
        "relabel/deeper/evil.parquet",
        "",
        "relabel/" + "e" * 250 + ".parquet",
    ],
)
def test_unsafe_names_are_refused(path: str) -> None:
    with pytest.raises(ReleaseError, match="lists the file"):
        data_files({"files": {path: {"bytes": 1, "rows": 1, "sha256": "0" * 64}}}, "user/repo")


@pytest.mark.parametrize(
    "files",
    [
        [],
        {},
        {RELABEL: None},
        {RELABEL: {"bytes": 1, "rows": 1}},
        {RELABEL: {"bytes": -1, "rows": 1, "sha256": "0" * 64}},
        {RELABEL: {"bytes": "1", "rows": 1, "sha256": "0" * 64}},
        {RELABEL: {"bytes": True, "rows": 1, "sha256": "0" * 64}},
        {RELABEL: {"bytes": 1, "rows": 1, "sha256": "0" * 63}},
    ],
)
def test_entries_that_cannot_be_checked_are_refused(files: Any) -> None:
    with pytest.raises(ReleaseError, match=r"user/repo.*manifest\.json"):
        data_files({"files": files}, "user/repo")


def test_names_we_write_are_taken() -> None:
    entry = {"bytes": 5, "rows": 1, "sha256": "0" * 64}
    assert data_files({"files": {RELABEL: entry}}, "user/repo") == [FileEntry(RELABEL, 5, 1, "0" * 64)]


@pytest.mark.parametrize(
    ("location", "code", "said"),
    [
        ("user/data", 7, "user/data has no manifest.json: hf-relabel did not release it"),
        ("user/nothing", 7, "user/nothing: there is no such"),
        ("user/release@v9.9.9", 7, "no such branch, tag or commit"),
        ("./nowhere", 2, "Give user/repo"),
        ("user/release:relabel", 2, "Give user/repo"),
    ],
)
def test_what_cannot_be_pulled_is_said(location: str, code: int, said: str, pull: Pull, tmp_path: Path) -> None:
    result = pull(location)

    assert (result["code"], said in result["error"]) == (code, True), result
    assert not (tmp_path / "out").exists()


def test_a_private_release_needs_the_token(hub: ReadOnlyHub, release: Files, pull: Pull, tmp_path: Path) -> None:
    assert "error" in pull("user/private")
    pull("user/private", token=hub.token)

    assert contents(tmp_path / "out") == release
    assert hub.token.encode() not in b"".join(contents(tmp_path).values())


def test_the_command_says_what_is_there_now(hub: ReadOnlyHub, release: Files, tmp_path: Path) -> None:
    size = sum(len(data) for name, data in release.items() if name.endswith(".parquet"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    command = (COMMAND_LINE, "pull", "user/release@v1.3.0", "--out", "here")

    first, again = (forked.run(*command, cwd=tmp_path, env=environment) for _ in range(2))

    assert f"(v1.3.0) is in here: 6 files of {size:,} bytes, all as its manifest says." in first.stdout
    assert f"{size:,} bytes were downloaded" in first.stdout
    assert "0 bytes were downloaded" in again.stdout
    assert 'load_dataset("here", "remove-hn")' in first.stdout, "the config that loads by default"
    assert first.stderr == ""


def test_a_folder_with_other_things_is_left_alone(hub: ReadOnlyHub, pull: Pull, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_bytes(b"years of work")

    result = pull("user/release")

    assert result["code"] == 6
    assert hub.requests == []
    assert contents(tmp_path / "out") == {"thesis.tex": b"years of work"}
