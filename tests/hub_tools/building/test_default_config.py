"""Which config loads when none is named, where some techniques are built only."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.reading import parse_job
from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.hub_tools.commands import build_command, run
from hf_relabel.hub_tools.releases.push import push


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    sides = {side: [{"docid": side, "title": "", "text": side}] for side in ("positive_passages", "negative_passages")}
    (folder / "train.jsonl").write_text(json.dumps({"query_id": "q", "query": "question", "subset": ""} | sides) + "\n")
    (folder / "truth.jsonl").write_text(json.dumps({"query_id": "q", "false_negatives": []}) + "\n")
    options = ["--judge", "truth", "--truth", f"{folder}/truth.jsonl", "--journal", f"{folder}/journal.sqlite"]
    assert run(["judge", f"{folder}/train.jsonl", *options]) == 0
    return folder


def default_of(folder: Path) -> str:
    name: str = json.loads((folder / "manifest.json").read_text())["settings"]["default_config"]
    return name


def test_the_example_of_the_build_page_runs(
    judged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(judged)
    example = next(line for line in build_command.EPILOG.splitlines() if "--technique relabel" in line)
    words = shlex.split(example.replace("user/repo", "train.jsonl").replace("nq.sqlite", "journal.sqlite"))[2:]
    assert run(words) == 0
    assert 'load_dataset("cleaned", "relabel")' in capsys.readouterr().out
    assert default_of(judged / "cleaned") == "relabel"


@pytest.mark.parametrize(
    ("techniques", "default"),
    [(("relabel",), "relabel"), (("original", "remove-hn"), "remove-hn"), (("remove", "relabel"), "remove")],
)
def test_without_a_name_it_is_remove_hn_or_the_first(techniques: tuple[str, ...], default: str) -> None:
    assert BuildSettings(out="x", techniques=techniques).default == default
    job = parse_job(
        f"source: a.jsonl\nstages: [{{judge: similarity}}]\nbuild: {{out: x, techniques: [{', '.join(techniques)}]}}"
    )
    assert job.build is not None
    assert job.build.default == default


def test_one_that_was_named_and_is_not_built_is_refused_with_what_to_give(
    judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(judged)
    some = ["--technique", "relabel", "--default", "remove-hn"]
    assert run(["build", "train.jsonl", *some, "--out", str(tmp_path / "no")]) == 2
    assert "'remove-hn' is not among those built: relabel. Name one that is, such as --default relabel." in (
        capsys.readouterr().err
    )
    assert run(["push", "train.jsonl", "user/x", *some, "--license", "unknown"]) == 2
    assert "such as --default relabel." in capsys.readouterr().err
    Path("job.yaml").write_text(
        "source: train.jsonl\nstages: [{judge: similarity}]\n"
        "build: {out: x, techniques: [relabel], default: remove-hn}\n"
    )
    assert run(["run", "job.yaml"]) == 2
    assert 'such as `default: "relabel"`.' in capsys.readouterr().err
    assert run(["build", "train.jsonl", "--technique", "relabel", "--out", str(tmp_path / "built")]) == 0
    with pytest.raises(ConfigError, match=r'such as `default="relabel"`\.'):
        push(tmp_path / "built", "user/x", default="remove-hn", license="unknown")
