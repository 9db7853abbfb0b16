"""Arms whose sure zone begins at another calibrated probability, and what becomes of a release where one wins."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hf_relabel.builders.cascade.calibration import Calibration
from hf_relabel.builders.cascade.fitting import LabelledScore, fit
from hf_relabel.builders.cascade.zones import signal, zoned
from hf_relabel.builders.configs.evidence import write_evidence
from hf_relabel.builders.configs.manifest import read_manifest
from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.readme.evidence_tables import compare_section
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.hub_tools.commands import adopting, run
from hf_relabel.hub_tools.commands.adopting import adopt_in_folder, adopt_on_hub
from hf_relabel.trainers.comparing.arms import arms_of
from hf_relabel.trainers.comparing.choosing import choose, differences_to
from hf_relabel.trainers.comparing.compare import CompareReport, compare, report_on
from hf_relabel.trainers.comparing.zone_arms import LEAST_PRECISION, ZoneArms, config_of, zones_at
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.recipes.recipe import load_recipe
from tests.trainers.comparing.test_compare import measurements
from tests.trainers.runs import beir_folder
from tests.trainers.tiny_models import tiny_bert


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    chance = random.Random(0)
    scores = [chance.random() for _ in range(400)]
    return fit([LabelledScore(score, chance.random() < score**2) for score in scores], precision=0.8)


def judged(calibration: Calibration) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    chance = random.Random(1)
    for number in range(30):
        passages = [Passage(f"d{number}-{place}", "", f"text {number} {place}") for place in range(6)]
        row = Row(f"q{number}", f"query {number}", (passages[0],), tuple(passages[1:]), "")
        said = [Judgement(Label.WORSE, round(chance.random(), 4)) for _ in range(5)]
        found = [
            Verdict(place, f"d{number}-{place + 1}", Outcome.NEGATIVE, "judged", (each,))
            for place, each in enumerate(said)
        ]
        yield NumberedRow(number, row), zoned(found, calibration.zones.zone)


@pytest.fixture
def release(tmp_path: Path, calibration: Calibration) -> Release:
    extra = {"evidence": {"zones": calibration.to_dict()}}
    write_configs(
        judged(calibration),
        tmp_path / "cleaned",
        stage_names=["one"],
        manifest_extra=extra,
        default_config="relabel-filter",
    )
    return release_from_folder(tmp_path / "cleaned")


@pytest.fixture
def data(tmp_path: Path) -> RetrievalSet:
    return read_beir(beir_folder(tmp_path))


def moved_by_hand(calibration: Calibration, at: float) -> tuple[int, int]:
    """How many candidates an arm relabels and drops, from the definition."""
    unsure = calibration.zones.unsure or 0
    values = [signal(verdict) or 0.0 for _, said in judged(calibration) for verdict in said]
    relabelled = [value for value in values if calibration.probability(value) >= at]
    return len(relabelled), len([value for value in values if value >= unsure]) - len(relabelled)


@pytest.mark.parametrize("at", [0.5, 0.7, 0.95])
def test_an_arm_relabels_from_its_probability_on_drops_what_is_doubtful_and_asks_nobody(
    release: Release, calibration: Calibration, tmp_path: Path, at: float
) -> None:
    before = sorted(path.name for path in Path(release.name).rglob("*"))
    rows = ZoneArms(release, tmp_path / "scratch").opened(f"zones@{at}").rows
    relabelled, dropped = moved_by_hand(calibration, at)
    assert relabelled + dropped > 0
    assert sum(len(row["positive_passages"]) - 1 for row in rows) == relabelled
    assert sum(len(row["negative_passages"]) for row in rows) == 150 - relabelled - dropped
    assert sorted(path.name for path in Path(release.name).rglob("*")) == before


def test_arms_that_labels_back_are_compared_by_default(
    release: Release, calibration: Calibration, tmp_path: Path, data: RetrievalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed = [level for level in calibration.levels if level.precision and level.precision.low >= LEAST_PRECISION]
    arms = ZoneArms(release, tmp_path / "scratch")
    assert arms.backed() == [f"zones@{level.probability:g}" for level in backed] != []
    assert len(backed) < len(calibration.levels), "some level is not backed, and is not compared unless it is named"
    weak = replace(
        release,
        manifest={**release.manifest, "evidence": {"zones": {**calibration.to_dict(), "levels": []}}},
    )
    assert ZoneArms(weak, tmp_path / "weak").backed() == []

    seen: list[str] = []

    def measured(made: list[object], *_: object) -> object:
        seen.extend(arm.name for arm in made)  # type: ignore[attr-defined]
        return measurements(data, dict.fromkeys(seen, 0.5))

    monkeypatch.setattr("hf_relabel.trainers.comparing.compare.measure", measured)
    report = compare(release, [data], recipe=load_recipe("static"), progress=False)
    assert seen == [*release.manifest["settings"]["techniques"], *arms.backed()]
    assert set(report.differences) == set(seen) - {"original"}  # Holm's correction is over all of them
    seen.clear()
    compare(release, [data], recipe=load_recipe("static"), arms=["relabel-filter@0.90", "zones"], progress=False)
    assert seen == ["original", "remove-hn", "zones@0.9", "relabel-filter"]


def rows_touched(calibration: Calibration, at: float) -> int:
    """How many rows an arm changes, from the definition: by what it relabels and what it drops."""
    least = min(calibration.zones.unsure or 1, at)
    values = [[signal(verdict) or 0.0 for verdict in said] for _, said in judged(calibration)]
    return sum(any(value >= least or calibration.probability(value) >= at for value in row) for row in values)


def test_what_each_arm_relabels_and_drops_and_in_how_many_rows_is_told_before_anything_is_trained(
    release: Release, calibration: Calibration, data: RetrievalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def measured(made: list[object], *_: object) -> object:
        assert len(told) == 1
        return measurements(data, {arm.name: 0.5 for arm in made})  # type: ignore[attr-defined]

    monkeypatch.setattr("hf_relabel.trainers.comparing.compare.measure", measured)
    arms = ["zones@0.7", "relabel", "relabel+gce"]
    report = compare(release, [data], recipe=load_recipe("static"), arms=arms, progress=False, before=told.append)
    relabelled, dropped = moved_by_hand(calibration, 0.7)
    touched = rows_touched(calibration, 0.7)
    assert 0 < relabelled < dropped
    assert 0 < touched <= 30
    known = {"rows": 30, "rows_changed": touched, "rows_dropped": 0, "relabelled": relabelled, "left_out": dropped}
    assert report.changes["zones@0.7"] == known
    assert report.changes["relabel+gce"] == report.changes["relabel"]
    lines = [line.split() for line in told[0].splitlines()]
    assert lines[1] == ["config", "rows", "rows", "changed", "rows", "dropped", "relabelled", "left", "out"]
    assert ["zones@0.7", *map(str, known.values())] in lines
    assert [line[0] for line in lines[3:]] == ["original", "remove-hn", "zones@0.7", "relabel"]  # each config once
    by_name = {arm["name"]: arm for arm in report.evidence()["arms"]}
    assert by_name["zones@0.7"]["changes"] == known
    card = compare_section(report.evidence())
    assert "| config | rows | rows changed | relabelled | left out |" in card
    assert f" | 10 | {touched} | {relabelled} | {dropped} |" in card
    assert compare_section(report_on(measurements(data, {"original": 0.5})).evidence())  # which does not tell


@pytest.mark.soak
def test_zones_at_several_probabilities_train_and_are_measured(
    release: Release, data: RetrievalSet, tmp_path: Path
) -> None:
    student = load_recipe(
        "static", model=tiny_bert(tmp_path / "student"), dimensions=8, batch_size=4, loss={"negatives": 2}, max_steps=1
    )
    arms = ["relabel-filter", "zones@0.5", "zones@0.9", "zones@0.7+gce"]
    report = compare(
        release, [data], recipe=student, arms=arms, seeds=(0,), device="cpu", keep_models=False, progress=False
    )
    assert {*arms} <= set(report.means)
    assert report.measurements.rows["zones@0.5"] == 30


def test_names_of_arms(release: Release, tmp_path: Path) -> None:
    assert (zones_at("zones@0.7"), zones_at("relabel-filter@.7+gce"), zones_at("relabel")) == (0.7, 0.7, None)
    assert (config_of("zones@.70"), config_of("zones"), config_of("remove")) == (
        "zones@0.7",
        "relabel-filter",
        "remove",
    )
    arms = ZoneArms(release, tmp_path)
    [arm] = arms_of(arms, ["relabel-filter@0.7+gce"], load_recipe("static"))
    assert arm.name == "zones@0.7+gce"
    for wrong in ("zones@1", "zones@", "zones@much"):
        with pytest.raises(ConfigError, match="expected a calibrated probability between 0 and 1"):
            arms.check(wrong)
    plain = replace(release, manifest={**release.manifest, "evidence": {}})
    with pytest.raises(ConfigError, match="was not built by a calibration"):
        ZoneArms(plain, tmp_path).check("zones@0.7")
    part = {name: entry for name, entry in release.manifest["files"].items() if not name.startswith("verdicts/")}
    with pytest.raises(BuildError, match="has no config 'verdicts'"):
        ZoneArms(replace(release, manifest={**release.manifest, "files": part}), tmp_path).check("zones@0.7")


def won(data: RetrievalSet) -> CompareReport:
    means = {"original": 0.5, "remove-hn": 0.51, "relabel-filter": 0.52, "zones@0.7": 0.56}
    return report_on(measurements(data, means), calibrated=True)


def test_a_folder_is_built_anew_with_the_zones_that_won(
    release: Release, calibration: Calibration, data: RetrievalSet
) -> None:
    folder = Path(release.name)
    write_evidence(folder, "audit", {**AUDIT, "calibrated": False})
    report = won(data)
    assert (report.chosen, report.config, report.zones_at) == ("zones@0.7", "relabel-filter", 0.7)
    adopted = adopt_in_folder(folder, report)
    assert "relabels from a calibrated probability of 0.7 on" in adopted.to_text(report.config)

    manifest = read_manifest(folder)
    again = release_from_folder(folder, verify=True)
    zones = manifest["evidence"]["zones"]["zones"]
    assert zones["at"] == 0.7
    assert zones["wanted"] == next(each.precision.low for each in calibration.levels if each.probability == 0.7)  # type: ignore[union-attr]
    assert manifest["settings"]["default_config"] == "relabel-filter"
    assert manifest["evidence"]["compare"]["chosen"] == "relabel-filter"
    assert manifest["evidence"]["audit"]["calibrated"] is False
    relabelled, dropped = moved_by_hand(calibration, 0.7)
    total = manifest["configs"]["relabel-filter"]["total"]
    assert (total["moved"], total["dropped"]["doubtful"]) == (relabelled, dropped)
    assert manifest["verdicts"]["total"]["outcomes"]["false_negative"]["calibrated"] == relabelled
    card = (folder / "README.md").read_text()
    assert "That is of `zones@0.7`, as which it is built now" in card
    assert "which stands for a calibrated probability of 0.7" in card
    assert "zones@0.7" not in ZoneArms(again, folder.parent / "scratch").backed(), "that is relabel-filter by now"


def test_nothing_shown_is_not_said_to_be_backed_by_labels(data: RetrievalSet) -> None:
    means = {"original": 0.5, "remove-hn": 0.5, "relabel-filter": 0.55}
    report = report_on(measurements(data, means, noisy="relabel-filter"), calibrated=True)
    assert report.chosen == "relabel-filter"
    assert report.reason.endswith("; relabel-filter, made by the thresholds of an audit, is not lower")


AUDIT = {
    "people": {"people": ["truth"], "fleiss": None},
    "drawn": 1,
    "judges": [],
    "verdict": {
        "name": "verdict",
        "candidates": 1,
        "answers": 1,
        **{name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in ("precision", "recall", "f1", "kappa")},
    },
}


def test_what_cannot_be_moved_is_told_with_the_command_that_does_it(
    release: Release, data: RetrievalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(release.name)
    manifest = {**read_manifest(folder), "formats": {"format": "same", "files": {}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    adopted = adopt_in_folder(folder, won(data))
    assert adopted.place is None
    assert "--zones-at 0.7 --output-format same` builds it so" in adopted.note
    assert read_manifest(folder) == manifest

    adopted = adopt_on_hub(release, "user/set@v1.0.0", won(data), push_it=False)
    assert (adopted.place, "the same command with --push" in adopted.note) == (None, True)
    sent: list[Path] = []

    class Pushed:
        repo_id, version = "user/set", "v1.1.0"

    def pushes(folder: Path, repo: str) -> type[Pushed]:
        assert repo == "user/set"
        assert read_manifest(folder)["evidence"]["zones"]["zones"]["at"] == 0.7
        sent.append(folder)
        return Pushed

    monkeypatch.setattr("hf_relabel.hub_tools.releases.push.push", pushes)
    plain = replace(release, manifest={name: each for name, each in release.manifest.items() if name != "formats"})
    assert adopt_on_hub(plain, "user/set@v1.0.0", won(data), push_it=True).place == "user/set@v1.1.0"
    assert len(sent) == 1
    assert adopting.ZONES == "relabel-filter"


def test_what_shows_nothing_leaves_a_release_by_thresholds_its_zones(data: RetrievalSet) -> None:
    def chosen(zones: float, removed: float, *, calibrated: bool = True) -> str:
        means = {"original": 0.5, "remove-hn": removed, "relabel-filter": zones}
        found = measurements(data, means, noisy="relabel-filter")
        return choose(differences_to("original", found), calibrated=calibrated)[0]

    assert chosen(0.56, 0.4) == "relabel-filter"
    assert chosen(0.56, 0.501, calibrated=False) == "remove-hn"
    assert chosen(0.3, 0.501) == "remove-hn"
    assert chosen(0.3, 0.4) == "original"


def test_a_release_is_built_again_at_another_probability(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "moved")
    assert run(["build", "--from", release.name, "--out", out, "--zones-at", "0.5"]) == 0
    assert read_manifest(Path(out))["evidence"]["zones"]["zones"]["at"] == 0.5
    (Path(release.name) / "manifest.json").write_text(json.dumps({**release.manifest, "evidence": {}}))
    capsys.readouterr()
    assert run(["build", "--from", release.name, "--out", out, "--zones-at", "0.5"]) == 2
    assert "was not built by a calibration, so it has no zones" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["zones@0.7000001", "zones@0.9999999"])
def test_an_arm_is_called_by_the_probability_that_it_takes(name: str) -> None:
    assert config_of(name) == name
    assert zones_at(config_of(name)) == zones_at(name)
