"""`hf relabel diff` between folders and releases: as text, as JSON, and as a data set."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from click.testing import CliRunner

from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.differences.counts import Difference
from hf_relabel.builders.differences.folder import ROW_GROUP_ROWS, changes_folder
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.hub_tools.commands import cli, run
from hf_relabel.hub_tools.releases.diff import diff
from tests import forked
from tests.hub_tools.read_only_hub import ReadOnlyHub
from tests.hub_tools.release_clients import COMMAND_LINE

JudgedRow = tuple[NumberedRow, list[Verdict]]

FALSE_NEGATIVE = (Outcome.FALSE_NEGATIVE, (Judgement(Label.WORSE), Judgement(Label.BETTER)))
DOUBTFUL = (Outcome.DOUBTFUL, (Judgement(Label.WORSE), Judgement(Label.IRRELEVANT)))
NEGATIVE = (Outcome.NEGATIVE, (Judgement(Label.IRRELEVANT), None))
STAGES = ["cheap", "accurate"]


def judged(query_id: str, *endings: Any, subset: str = "nq") -> tuple[Row, list[Verdict]]:
    negatives = tuple(Passage(f"{query_id}-{place}", "", f"text {place}") for place in range(len(endings)))
    row = Row(query_id, f"query {query_id}", (Passage("p", "", "positive"),), negatives, subset)
    return row, [
        Verdict(place, negative.docid, outcome, "judged", stages)
        for place, (negative, (outcome, stages)) in enumerate(zip(negatives, endings, strict=True))
    ]


def built(folder: Path, rows: Sequence[tuple[Row, list[Verdict]]], **settings: Any) -> Path:
    numbered = [(NumberedRow(number, row), verdicts) for number, (row, verdicts) in enumerate(rows)]
    told = {"stage_names": STAGES, "stage_judges": ["listwise small", "listwise large"], **settings}
    write_configs(numbered, folder, **told)
    return folder


BEFORE = [judged("q1", NEGATIVE, DOUBTFUL), judged("q2", FALSE_NEGATIVE), judged("q3", NEGATIVE, subset="fever")]


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    """q1 has one verdict more, q2 is gone, q3 has another query, q4 is new."""
    after = [judged("q1", NEGATIVE, FALSE_NEGATIVE), judged("q3", NEGATIVE, subset="fever"), judged("q4")]
    after[1] = (replace(after[1][0], query="another"), after[1][1])
    judges = ["listwise small", "listwise huge"]
    return built(tmp_path / "before", BEFORE), built(tmp_path / "after", after, stage_judges=judges)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


def test_a_report_counts_rows_verdicts_judges_and_configs(sides: tuple[Path, Path]) -> None:
    report = diff(*sides)
    found = report.to_dict()

    assert report.differ
    assert found["rows"]["total"] == {"before": 3, "after": 3, "added": 1, "dropped": 1, "changed": 1}
    assert found["rows"]["subsets"]["fever"] == {"before": 1, "after": 1, "added": 0, "dropped": 0, "changed": 1}
    assert found["fields"] == {"query": 1, "positive_passages": 0, "negative_passages": 0}
    assert found["transitions"] == {"doubtful": {"false_negative": 1}}
    assert found["by"] == [
        {
            "stage": "accurate",
            "judge_before": "listwise large",
            "judge_after": "listwise huge",
            "label_before": "irrelevant",
            "label_after": "better",
            "candidates": 1,
        }
    ]
    assert found["configs"]["relabel"] == {"before": 3, "after": 3, "added": 1, "dropped": 1, "changed": 2}
    # q1 had no false negative, so `remove` kept it; q2 was never in there.
    assert found["configs"]["remove"] == {"before": 2, "after": 2, "added": 1, "dropped": 1, "changed": 1}
    assert (found["before"], found["after"]["revision"]) == ({"name": str(sides[0]), "revision": None}, None)


def test_every_change_is_a_line_of_a_data_set(sides: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "changes"
    report = diff(*sides, out=out)

    lines = datasets.load_dataset(str(out), "diff", split="train", cache_dir=str(tmp_path / "cache")).to_list()

    assert [(line["kind"], line["query_id"], line["row_before"], line["row_after"]) for line in lines] == [
        ("verdict_changed", "q1", 0, 0),
        ("row_dropped", "q2", 1, None),
        ("row_changed", "q3", 2, 1),
        ("row_added", "q4", None, 2),
    ]
    verdict, _, changed, _ = lines
    assert (verdict["docid"], verdict["outcome_before"], verdict["outcome_after"]) == (
        "q1-1",
        "doubtful",
        "false_negative",
    )
    assert verdict["by"][0]["judge_after"] == "listwise huge"
    assert (changed["fields"], changed["docid"], changed["by"]) == (["query"], None, [])
    assert json.loads((out / "diff.json").read_text()) == report.to_dict()


def test_equal_releases_give_an_empty_data_set(sides: tuple[Path, Path], tmp_path: Path) -> None:
    report = diff(sides[0], sides[0], out=tmp_path / "changes")

    assert not report.differ
    assert report.to_text().endswith("No differences: 3 rows, 4 candidates.")
    streamed = datasets.load_dataset(str(tmp_path / "changes"), "diff", split="train", streaming=True)
    assert list(streamed) == []
    assert set(streamed.features) >= {"kind", "row_before", "by"}


def test_the_same_changes_give_the_same_bytes_and_replace_the_earlier_ones(
    sides: tuple[Path, Path], tmp_path: Path
) -> None:
    for name in ("one", "two", "two"):
        diff(*sides, out=tmp_path / name)
    (tmp_path / "one" / "notes.txt").write_text("mine")
    diff(*sides, out=tmp_path / "one")

    one, two = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert one.pop(Path("notes.txt")) == b"mine"
    assert one == two
    assert len(one) == 3


def test_changes_do_not_replace_anything_else(sides: tuple[Path, Path]) -> None:
    with pytest.raises(BuildError, match="holds no changes"):
        diff(*sides, out=sides[0])


def test_many_changes_are_written_in_groups(tmp_path: Path) -> None:
    number = ROW_GROUP_ROWS + 1
    changes = (Difference("row_added", "", f"q{row}", row_after=row) for row in range(number))
    counts = {
        "before": {"name": "<script>`a`"},
        "after": {"name": "b"},
        "rows": {"total": {"added": number, "dropped": 0, "changed": 0}},
        "candidates": {"total": {"verdict_changed": 0}},
    }

    changes_folder(tmp_path / "changes", changes, lambda: counts)

    assert "# Changes from `_script__a_` to `b`\n" in (tmp_path / "changes" / "README.md").read_text()
    loaded = datasets.load_dataset(str(tmp_path / "changes"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded[number - 1]["row_after"] == number - 1


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Any:
        yield Difference("row_added", "", "q")
        raise BuildError("the verdicts do not fit")

    with pytest.raises(BuildError, match="do not fit"):
        changes_folder(tmp_path / "changes", broken(), dict)
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_tables_and_examples(sides: tuple[Path, Path]) -> None:
    result = CliRunner().invoke(cli, ["diff", *map(str, sides), "--examples", "2"])

    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "total 3 1 1 1 4 → 3 1 1" in lines
    assert "doubtful 1" in lines
    assert "accurate listwise large → listwise huge irrelevant → better 1" in lines
    assert lines[-2:] == [
        "row 0, q1 (nq), q1-1: doubtful → false_negative (accurate: irrelevant → better)",
        "row 1, q2 (nq): dropped",
    ]


def test_the_command_prints_json(sides: tuple[Path, Path]) -> None:
    result = CliRunner().invoke(cli, ["diff", *map(str, sides), "--json"])

    assert json.loads(result.output) == diff(*sides).to_dict()


def test_exit_codes_are_those_of_git_diff(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before, after = map(str, sides)

    assert run(["diff", before, after, "--exit-code"]) == 1
    assert run(["diff", before, before, "--exit-code"]) == 0
    assert run(["diff", before, after]) == 0
    assert run(["diff", before, str(sides[0].parent / "absent")]) > 1
    assert "Error:" in capsys.readouterr().err


def test_names_from_the_data_cannot_steer_the_terminal(tmp_path: Path) -> None:
    evil = judged("q\x1b[31m\nfake: line", NEGATIVE, subset="\x1b]0;title\x07")
    before, after = built(tmp_path / "before", []), built(tmp_path / "after", [evil])

    text = diff(before, after).to_text()

    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.splitlines()[-1].endswith("row 0, q?[31m fake: line (?]0;title?): added")


def test_releases_on_the_hub_differ_as_the_folders_they_came_from(sides: tuple[Path, Path], tmp_path: Path) -> None:
    third = built(tmp_path / "third", [*BEFORE[:2], BEFORE[0]], limit=0)
    folders = {"v1.0.0": sides[0], "v1.1.0": sides[1], "v2.0.0": third}
    hub = ReadOnlyHub()
    for tag, folder in folders.items():
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        hub.repository("user/release").commit(files, tag)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    with hub.serving():
        environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}

        def compared(*arguments: str) -> dict[str, Any]:
            done = forked.run(COMMAND_LINE, "diff", *arguments, "--json", env=environment)
            assert done.returncode == 0, done.stderr
            return dict(json.loads(done.stdout))

        for before, after in itertools.combinations(folders, 2):
            found = compared(f"user/release@{before}", f"user/release@{after}")
            expected = diff(folders[before], folders[after]).to_dict()
            revisions = hub.repositories["user/release"].refs
            assert found.pop("before") == {"name": f"user/release@{before}", "revision": revisions[before]}
            assert found.pop("after") == {"name": f"user/release@{after}", "revision": revisions[after]}
            assert found == {name: value for name, value in expected.items() if name not in ("before", "after")}
            assert found["differ"]
        assert not compared("user/release", str(third))["differ"]


def test_a_manifest_that_says_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format_version": 1, "files": {}}')

    with pytest.raises(BuildError, match="does not say how it was built"):
        diff(tmp_path, tmp_path)
