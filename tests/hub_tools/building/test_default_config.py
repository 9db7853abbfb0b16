"""Which config loads when none is named, where some techniques are built only."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from hf_relabel.builders.cascade.fitting import LabelledScore, fit
from hf_relabel.builders.configs.release import release_from_folder
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.reading import parse_job
from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.builders.techniques import Technique, apply, canonical
from hf_relabel.hub_tools.building.rebuild import settings_of
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


@pytest.fixture(scope="module")
def thresholds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("thresholds") / "calibration.json"
    fit([LabelledScore(number / 100, number > 50) for number in range(100)]).write(path)
    return path


@pytest.mark.parametrize(
    ("options", "default"),
    [
        ([], "relabel-filter"),
        (["--default", "relabel"], "relabel"),
        (["--technique", "relabel", "--technique", "remove-hn"], "remove-hn"),
        (["--technique", "zones", "--technique", "remove-hn", "--default", "zones"], "relabel-filter"),
    ],
)
def test_with_a_calibration_it_is_the_one_with_zones_unless_another_is_named(
    judged: Path, thresholds: Path, tmp_path: Path, options: list[str], default: str
) -> None:
    place = [f"{judged}/train.jsonl", "--journal", f"{judged}/journal.sqlite", "--out", f"{tmp_path}/built"]
    assert run(["build", *place, "--calibration", str(thresholds), *options]) == 0
    assert default_of(tmp_path / "built") == default
    release = release_from_folder(tmp_path / "built")
    assert settings_of(release, "again").default == default
    fewer = settings_of(release, "again", techniques=("remove-hn", "relabel-filter"))
    assert fewer.default == (default if default in fewer.techniques else "relabel-filter")


def test_the_audit_of_a_job_gives_thresholds_later_and_the_same_default() -> None:
    assert BuildSettings(out="x").calibrated_by("c.json").default == "relabel-filter"
    assert BuildSettings(out="x", default="original").calibrated_by("c.json").default == "original"
    assert BuildSettings(out="x", techniques=("remove",)).calibrated_by("c.json").default == "remove"


def test_zones_may_be_typed_for_relabel_filter(judged: Path, tmp_path: Path) -> None:
    job = parse_job(
        "source: a.jsonl\nstages: [{judge: similarity}]\n"
        "build: {out: x, techniques: [remove-hn, zones], default: zones, view_of: [zones], views: [tuples]}\n"
        "compare: {eval: [y], arms: [zones, zones+distillation, original]}\ntrain: {out: z, config: zones}\n"
    )
    assert job.build is not None
    assert job.compare is not None
    assert job.train is not None
    assert (job.build.techniques, job.build.default) == (("remove-hn", "relabel-filter"), "relabel-filter")
    assert (job.build.view_of, job.train.config) == (("relabel-filter",), "relabel-filter")
    assert job.compare.arms == ("relabel-filter", "relabel-filter+distillation", "original")
    assert Technique("zones") is Technique.RELABEL_FILTER
    assert canonical("relabel") == "relabel"

    place = [f"{judged}/train.jsonl", "--journal", f"{judged}/journal.sqlite", "--out", f"{tmp_path}/built"]
    assert run(["build", *place, "--technique", "zones", "--technique", "original"]) == 0
    assert default_of(tmp_path / "built") == "relabel-filter"
    release = release_from_folder(tmp_path / "built")
    assert release.files("zones") == release.files("relabel-filter") != []
    numbered, found = next(release.judged_rows())
    assert apply("zones", numbered.row, found) == apply("relabel-filter", numbered.row, found)
