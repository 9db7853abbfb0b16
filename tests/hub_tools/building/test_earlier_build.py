"""A folder that was built from something else is not replaced unless that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.hub_tools.building.run import build_configs
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.judging.run import judge as hub_judge


def row(number: int) -> dict[str, Any]:
    return {"query_id": f"q{number}", "query": f"question {number}", "subset": ""} | {
        side: [{"docid": f"{side}-{number}", "title": "", "text": f"{side} {number}"}]
        for side in ("positive_passages", "negative_passages")
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, first in (("one", 0), ("other", 100)):
        lines = [json.dumps(row(number)) + "\n" for number in range(first, first + 3)]
        Path(f"{name}.jsonl").write_text("".join(lines))
    for name in ("truth", "again"):
        known = [{"query_id": f"q{number}", "false_negatives": []} for number in (*range(4), *range(100, 103))]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in known))
    judge("one.jsonl")
    assert run(["build", "one.jsonl", "--out", "cleaned"]) == 0
    return tmp_path


def judge(source: str, truth: str = "truth.jsonl", journal: str = "journal.sqlite") -> None:
    assert run(["judge", source, "--judge", "truth", "--truth", truth, "--journal", journal]) == 0


def rows_of(folder: str) -> str:
    name: str = json.loads((Path(folder) / "manifest.json").read_text())["source"]["name"]
    return name


def test_another_source_does_not_take_the_place_of_the_first(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge("other.jsonl")
    assert run(["build", "other.jsonl", "--out", "cleaned"]) == 6
    assert capsys.readouterr().err.endswith(
        "cleaned holds a build of one.jsonl, and this is one of other.jsonl. Give another folder, or --overwrite to"
        " replace it.\n"
    )
    with pytest.raises(BuildError, match=r"or `overwrite=True` to replace it"):
        build_configs("other.jsonl", "journal.sqlite", "cleaned", progress=False)
    assert rows_of("cleaned") == "one.jsonl"
    assert run(["build", "other.jsonl", "--out", "cleaned", "--overwrite"]) == 0
    assert rows_of("cleaned") == "other.jsonl"
    build_configs("one.jsonl", "journal.sqlite", BuildSettings(out="cleaned", overwrite=True), progress=False)
    assert rows_of("cleaned") == "one.jsonl"
    build_configs("other.jsonl", "journal.sqlite", "cleaned", overwrite=True, progress=False)
    assert rows_of("cleaned") == "other.jsonl"


def test_judgements_of_another_journal_do_neither(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge("one.jsonl", "again.jsonl", "second.sqlite")
    assert run(["build", "one.jsonl", "--journal", "second.sqlite", "--out", "cleaned"]) == 6
    error = capsys.readouterr().err
    assert "cleaned holds a build from other judgements: those of truth truth.jsonl@" in error
    assert "and second.sqlite has no such run" in error


def test_the_same_source_is_built_again_with_more_rows_and_with_another_judge(place: Path) -> None:
    with Path("one.jsonl").open("a") as file:
        file.write(json.dumps(row(3)) + "\n")
    judge("one.jsonl", "again.jsonl")
    assert run(["build", "one.jsonl", "--out", "cleaned"]) == 0
    assert run(["build", "one.jsonl", "--limit", "2", "--out", "cleaned", "--technique", "remove-hn"]) == 0


def test_a_release_is_built_again_into_its_own_folder_only(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "--from", "cleaned", "--out", "stricter", "--max-false-negatives", "3"]) == 0
    assert run(["build", "--from", "cleaned", "--out", "stricter", "--max-false-negatives", "2"]) == 0
    judge("other.jsonl")
    assert run(["build", "other.jsonl", "--out", "another"]) == 0
    capsys.readouterr()
    assert run(["build", "--from", "another", "--out", "stricter"]) == 6
    assert "stricter holds a build of one.jsonl" in capsys.readouterr().err
    assert run(["build", "--from", "another", "--out", "stricter", "--overwrite"]) == 0


def test_another_part_of_the_same_file_does_not_take_the_place_of_the_first(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps(row(number) | {"subset": f"s{number % 2}"}) + "\n" for number in range(4)]
    Path("parts.jsonl").write_text("".join(lines))
    judge("parts.jsonl")
    assert run(["build", "parts.jsonl", "--subset", "s0", "--out", "parts"]) == 0
    assert run(["build", "parts.jsonl", "--subset", "s1", "--out", "parts"]) == 6
    assert "parts holds a build of parts.jsonl (s0), and this is one of parts.jsonl (s1)" in capsys.readouterr().err
    assert run(["build", "parts.jsonl", "--subset", "s0", "--limit", "1", "--out", "parts"]) == 0


def test_rows_in_memory_are_told_apart_by_what_they_hold(place: Path) -> None:
    folder = BuildSettings(out="memory")
    hub_judge([row(0), row(1), row(2)], TruthJudge("truth.jsonl"), "journal.sqlite", progress=False)
    build_configs([row(0), row(1)], "journal.sqlite", folder, progress=False)
    build_configs([row(0), row(1)], "journal.sqlite", folder, progress=False)
    with pytest.raises(BuildError, match="holds a build of list, and this is one of other rows"):
        build_configs([row(0), row(2)], "journal.sqlite", folder, progress=False)


def test_a_manifest_of_another_program_makes_no_folder_ours(place: Path) -> None:
    Path("app").mkdir()
    Path("app/manifest.json").write_text('{"files": {"x.txt": {}}}')
    Path("app/x.txt").write_text("theirs")
    assert run(["build", "one.jsonl", "--out", "app", "--overwrite"]) == 6
    assert Path("app/x.txt").read_text() == "theirs"


def test_a_folder_that_was_built_again_is_loaded_anew(place: Path) -> None:
    """`datasets` tells folders of one name apart by their README.md alone."""
    import datasets

    folder = BuildSettings(out="new", techniques=("remove-hn",), overwrite=True)
    loaded, readmes = [], []
    for rows in ([row(0), row(1)], [row(2)], [row(0), row(1)]):
        hub_judge(rows, TruthJudge("truth.jsonl"), "journal.sqlite", progress=False)
        build_configs(rows, "journal.sqlite", folder, progress=False)
        found = datasets.load_dataset("new", "remove-hn", split="train", cache_dir=str(place / "cache"))
        loaded.append(found["query_id"][:])
        readmes.append(Path("new/README.md").read_text())
    assert loaded == [[f"q{number}" for number in numbers] for numbers in ([0, 1], [2], [0, 1])]
    assert readmes[0] == readmes[2] != readmes[1]


def test_what_goes_with_an_earlier_build_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "one.jsonl", "--out", "cleaned", "--view", "lists", "--output-format", "same"]) == 0
    capsys.readouterr()
    some = ["techniques: [original, remove-hn]", "out: cleaned"]
    Path("job.yaml").write_text(
        "source: one.jsonl\nstages: [{judge: {kind: truth, file: truth.jsonl}}]\n" + f"build: {{{', '.join(some)}}}\n"
    )
    assert run(["run", "job.yaml"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("The build that was here"))
    assert line.startswith("The build that was here before had more: relabel-filter, relabel-lists, relabel, remove,")
    assert "formats/relabel" in line
    assert not list(Path("cleaned", "formats").rglob("*relabel*"))
    again = build_configs("one.jsonl", "journal.sqlite", BuildSettings(out="cleaned"), progress=False)
    assert [name for name in again.gone if "formats" in name] == []
    assert "more:" not in again.to_text()
    assert again.to_dict()["gone"] == []
