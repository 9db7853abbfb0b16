"""Configs built again from a release alone: `original` and `verdicts` say enough for every technique."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.cascade.suspects import Opinion, Suspect
from hf_relabel.builders.configs.config_writer import Shard
from hf_relabel.builders.configs.release import release_from_folder
from hf_relabel.builders.configs.views import views_of
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.errors import BuildError, ConfigError, ReleaseError
from hf_relabel.builders.rows import NumberedRow, text_docid
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.building.rebuild import rebuild_configs, settings_of
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.releases.opening import open_release
from tests.examples import drawn
from tests.hub_tools.release_clients import Client, hub_and_client
from tests.hub_tools.releases_data import built, judged_rows


def parquet(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.parquet")}


@drawn(6)
@given(
    rows=st.integers(0, 60),
    seed=st.integers(0, 1000),
    limit=st.integers(0, 4),
    min_negatives=st.integers(0, 3),
    techniques=st.lists(st.sampled_from(list(Technique)), unique=True).map(
        lambda some: list(dict.fromkeys([Technique.ORIGINAL, Technique.REMOVE_HN, *some]))
    ),
    row_group_bytes=st.sampled_from([500, 5000, 32_000_000]),
)
def test_the_same_settings_give_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    seed: int,
    limit: int,
    min_negatives: int,
    techniques: list[Technique],
    row_group_bytes: int,
) -> None:
    folder = tmp_path_factory.mktemp("release")
    built(
        folder / "one",
        rows,
        seed,
        limit=limit,
        min_negatives=min_negatives,
        techniques=techniques,
        max_shard_bytes=20_000,
        row_group_bytes=row_group_bytes,
    )
    release = open_release(folder / "one", verify=True)
    read = [(numbered, verdicts) for numbered, verdicts in release.judged_rows()]
    assert read == [(numbered, verdicts) for numbered, verdicts in judged_rows(rows, seed)]
    rebuild_configs(release, settings_of(release, str(folder / "two")))
    assert parquet(folder / "two") == parquet(folder / "one")


def suspects_of(numbered: NumberedRow) -> list[Suspect]:
    """Two suspects in every third row."""
    row, opinions = (
        numbered.row,
        (Opinion("a judge", "worse", 0.25, 3, 4), Opinion("another", "irrelevant", None, 4, 4)),
    )
    suspect = Suspect(numbered.number, row.query_id, row.subset, 0, row.positive_passages[0].docid, "below", opinions)
    return [suspect, replace(suspect, reason="unanswering")] if numbered.number % 3 == 0 else []


@pytest.mark.parametrize("row_group_bytes", [500, 32_000_000])
def test_suspects_are_taken_over_row_by_row(tmp_path: Path, row_group_bytes: int) -> None:
    built(tmp_path / "one", 40, suspects=suspects_of, row_group_bytes=row_group_bytes)
    release = release_from_folder(tmp_path / "one")
    rebuild_configs(release, settings_of(release, str(tmp_path / "two")))
    assert parquet(tmp_path / "two") == parquet(tmp_path / "one")
    assert pq.read_table(tmp_path / "two" / "suspects").num_rows == 28


def test_other_settings_give_what_the_rows_and_verdicts_would_have_given(tmp_path: Path) -> None:
    built(tmp_path / "one", 50, techniques=["original", "remove-hn"])
    release = release_from_folder(tmp_path / "one")
    rebuild_configs(release, settings_of(release, str(tmp_path / "two"), techniques=tuple(Technique), limit=1))
    built(tmp_path / "three", 50, limit=1)
    assert parquet(tmp_path / "two") == parquet(tmp_path / "three")


def test_shards_can_be_taken_away_as_they_are_written(tmp_path: Path) -> None:
    built(tmp_path / "whole", 200, max_shard_bytes=20_000)
    taken: dict[str, list[bytes]] = {}
    most_on_disk = 0

    def take(shard: Shard) -> None:
        nonlocal most_on_disk
        most_on_disk = max(most_on_disk, len(list((tmp_path).glob(".scratch*/**/*.parquet"))))
        assert shard.index == len(taken.setdefault(shard.config, []))
        taken[shard.config].append(shard.path.read_bytes())

    report = write_configs(
        judged_rows(200),
        tmp_path / "scratch",
        stage_names=["cheap", "accurate"],
        stage_judges=["listwise small", "listwise large"],
        max_shard_bytes=20_000,
        on_shard=take,
    )
    whole = parquet(tmp_path / "whole")
    assert len(whole) > 20
    assert most_on_disk <= 6  # one per config
    files = dict.fromkeys(report.manifest["files"])
    by_name = {
        name: content
        for config, contents in taken.items()
        for name, content in zip([name for name in files if name.startswith(f"{config}/")], contents, strict=True)
    }
    assert by_name == whole
    assert report.manifest == release_from_folder(tmp_path / "whole").manifest
    assert parquet(tmp_path / "scratch") == {}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with hub_and_client(tmp_path / "hub", xet=False) as (_, client):
        yield client


def test_a_release_on_the_hub_is_enough(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", 40)
    client.command_json("push", str(tmp_path / "one"), "user/set", "--license", "cc0-1.0")
    built(tmp_path / "later", 50)
    client.command_json("push", str(tmp_path / "later"), "user/set")
    report = client.command_json("build", "--from", "user/set@v1.0.0", "--out", str(tmp_path / "again"))
    assert report["built_from"]["name"] == "user/set@v1.0.0"
    assert len(report["built_from"]["revision"]) == 40
    assert parquet(tmp_path / "again") == parquet(tmp_path / "one")
    done = client.command("build", "--from", "user/set@v9.9.9", "--out", str(tmp_path / "never"))
    assert done.returncode == 7
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "never").exists()


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    built(tmp_path / "one", 10)
    file = tmp_path / "one" / "original" / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(BuildError, match=r"original/train-00000-of-00001\.parquet"):
        open_release(tmp_path / "one", verify=True)


def test_verdicts_of_another_build_are_refused(tmp_path: Path) -> None:
    built(tmp_path / "one", 10)
    built(tmp_path / "two", 12)
    name = "verdicts/train-00000-of-00001.parquet"
    shutil.copy(tmp_path / "two" / name, tmp_path / "one" / name)
    with pytest.raises(BuildError, match="row 10"):
        list(release_from_folder(tmp_path / "one").judged_rows())
    table = pq.read_table(tmp_path / "two" / name)
    pq.write_table(table.slice(1), tmp_path / "one" / name)
    with pytest.raises(BuildError, match="row 0"):
        list(release_from_folder(tmp_path / "one").judged_rows())


def test_what_is_no_release_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match=r"manifest\.json"):
        open_release(tmp_path / "empty")
    with pytest.raises(ReleaseError, match="neither"):
        open_release("no such thing")
    built(tmp_path / "part", 5, techniques=["remove-hn"])
    release = release_from_folder(tmp_path / "part")
    with pytest.raises(BuildError, match="no config 'original'"):
        rebuild_configs(release, settings_of(release, str(tmp_path / "out")))
    with pytest.raises(ConfigError, match="technique"):
        rebuild_configs(release, settings_of(release, str(tmp_path / "out"), techniques=("relable",)))


def test_a_release_takes_the_place_of_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(tmp_path / "one", 10)
    assert run(["build", "rows.jsonl", "--from", str(tmp_path / "one"), "--out", str(tmp_path / "two")]) == 2
    assert run(["build", "--out", str(tmp_path / "two")]) == 2
    assert run(["build", "--from", str(tmp_path / "one"), "--out", str(tmp_path / "two")]) == 0
    assert capsys.readouterr().err.count("Error:") == 2


def test_the_views_of_a_release_are_built_again_and_can_be_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = views_of(["tuples", "lists"], techniques=list(Technique), default="remove-hn", negatives=2)
    built(tmp_path / "one", 20, views=views)
    one, two, three = (str(tmp_path / name) for name in ("one", "two", "three"))

    assert run(["build", "--from", one, "--out", two]) == 0
    printed = capsys.readouterr().out
    assert run(["build", "--from", one, "--out", three, "--view", "triplets", "--view-of", "original"]) == 0

    assert parquet(tmp_path / "two") == parquet(tmp_path / "one")
    assert f'load_dataset("{two}", "remove-hn"),\n  load_dataset("{two}", "relabel-tuples")' in printed
    assert "relabel-tuples: " in printed
    assert {path.parent.name for path in (tmp_path / "three").rglob("*-*/*.parquet")} == {
        "remove-hn",
        "relabel-filter",
        "original-triplets",
    }


def test_views_of_what_is_not_built_are_refused_and_a_built_folder_has_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built(tmp_path / "one", 10)
    one, two = str(tmp_path / "one"), str(tmp_path / "two")

    assert run(["build", "--from", one, "--out", two, "--view", "tuples", "--view-of", "best"]) == 2
    assert run(["push", one, "user/set", "--view", "tuples"]) == 2

    assert capsys.readouterr().err.splitlines() == [
        "Error: A view of 'best' needs that config, but only original, remove, remove-hn, relabel, relabel-filter are"
        " built.",
        f"Error: {one} is built already. Views are added by build: build it again with --view.",
    ]


def test_the_format_of_the_source_comes_out_beside_the_configs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"query_id": "1", "query": "q", "pos": ["p"], "neg": ["a", "b"], "prompt": "Find it:", "neg_scores": [2, 1]}
    truth = {"query_id": "1", "false_negatives": [text_docid("", "a")]}
    Path("train.jsonl").write_text(json.dumps(row))
    Path("truth.jsonl").write_text(json.dumps(truth))
    Path("job.yaml").write_text("source: {location: train.jsonl}\nstages: [{judge: {kind: truth, file: truth.jsonl}}]")

    assert run(["judge", "train.jsonl", "--stages", "job.yaml"]) == 0
    assert run(["build", "train.jsonl", "--out", "built", "--output-format", "same"]) == 0
    assert "formats/relabel.jsonl: 1 record (same) of 1 row." in capsys.readouterr().out
    [relabelled] = map(json.loads, Path("built/formats/relabel.jsonl").read_text().splitlines())
    assert relabelled == {**row, "pos": ["p", "a"], "neg": ["b"], "neg_scores": [1]}

    # A release has the rows, but not the records that came in.
    assert run(["build", "--from", "built", "--out", "again", "--output-format", "same"]) == 2
    assert "build from the source itself, or with another --output-format" in capsys.readouterr().err
    assert run(["build", "--from", "built", "--out", "again", "--output-format", "triplet"]) == 0
    assert len(Path("again/formats/relabel.jsonl").read_text().splitlines()) == 2
