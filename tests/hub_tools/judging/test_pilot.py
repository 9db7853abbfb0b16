"""From a pilot to a cascade with a precision, and to the job file that judges by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.errors import ConfigError, JournalError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.job.reading import load_job
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.protocols import Ask
from hf_relabel.builders.planning.choosing import Wanted
from hf_relabel.builders.planning.pilot import pilot_run, read_pilot, truth_labels
from hf_relabel.builders.planning.policy import measured
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources import Source
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.judging.pilot import _judges_of, judge_pilot, plan_cascade
from hf_relabel.hub_tools.judging.stages import Stage
from tests.hub_tools.judging.test_judging import MemoryEndpoint, WordJudge, write_rows

CASCADE = """
source: rows.jsonl
stages:
  - {name: near, judge: {kind: similarity}}
  - name: words
    judge: listwise
    endpoints: ["http://127.0.0.1:9"]
    limits: {price_prompt: 1000}
"""


class ScoreJudge:
    """Takes the first word of a candidate for its score."""

    kind, revision, exempt_subsets, batch_rows = "similarity", None, (), 64

    def __init__(self, better: float = 0.9, worse: float = 0.6) -> None:
        self.better, self.worse = better, worse

    def settings(self) -> dict[str, Any]:
        return {"better": self.better, "worse": self.worse}

    def model(self) -> tuple[str, str | None]:
        return "score", None

    def judge(self, batch: Sequence[tuple[Row, Sequence[int]]]) -> list[dict[int, Judgement]]:
        return [{place: self._of(row.negative_passages[place].text) for place in places} for row, places in batch]

    def _of(self, text: str) -> Judgement:
        score = float(text.split()[0])
        return Judgement(
            Label.BETTER if score >= self.better else Label.WORSE if score >= self.worse else Label.IRRELEVANT, score
        )


class ToldJudge(WordJudge):
    """The same as a judge of words, and what a reply took."""

    def read(self, ask: Ask, reply: Reply) -> dict[int, Judgement]:
        said = super().read(ask, reply)
        return {place: replace(judgement, prompt_tokens=reply.prompt_tokens) for place, judgement in said.items()}


def stages_of(job: Job) -> list[Stage]:
    """The stages of a job, with judges that answer by what a candidate's text says."""
    made = []
    for given in job.stages:
        rule = Rule(given.escalate, frozenset(map(Label, given.passes)), frozenset(map(Label, given.accepts)))
        limits = Limits(**given.limits.model_dump())
        if given.judge["kind"] == "similarity":
            thresholds = {name: given.judge[name] for name in ("better", "worse") if name in given.judge}
            made.append(Stage(given.name, ScoreJudge(**thresholds), rule))
        else:
            endpoint = MemoryEndpoint(lambda text: text.split()[1])
            made.append(Stage(given.name, ToldJudge(), rule, (endpoint,), limits))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, truth, and a journal in which both stages judged 250 of 300 rows."""
    folder = tmp_path_factory.mktemp("pilot")
    drawn = np.random.default_rng(0)
    texts, lines = [], []
    for number in range(300):
        truth = drawn.random(4) < 0.3
        scores = np.clip(0.3 + 0.35 * truth + drawn.normal(0, 0.12, 4), 0, 1).round(3)
        said = np.where(drawn.random(4) < np.where(truth, 0.9, 0.004), "better", "irrelevant")
        texts.append([f"{score} {word} {number} {place}" for place, (score, word) in enumerate(zip(scores, said))])  # noqa: B905
        named = [f"{number}-{place}" for place in np.flatnonzero(truth)]
        lines.append(json.dumps({"query_id": f"q{number}", "false_negatives": named}))
    write_rows(folder / "rows.jsonl", texts)
    (folder / "truth.jsonl").write_text("\n".join(lines))
    (folder / "cascade.yaml").write_text(CASCADE)
    with Journal(folder / "pilot.sqlite") as journal:
        source = source_in(folder)
        judge_pilot(source, cascade(folder), journal, 250, progress=None)
    return folder


def source_in(folder: Path) -> Source:
    from hf_relabel.builders.sources import open_source

    return open_source(folder / "rows.jsonl")


def cascade(folder: Path) -> list[Stage]:
    return stages_of(load_job(folder / "cascade.yaml"))


def test_every_stage_judges_every_candidate_of_the_rows_drawn(folder: Path) -> None:
    stages = cascade(folder)
    with Journal(folder / "pilot.sqlite", write=False) as journal:
        settings = pilot_run(journal, ["near", "words"])
        of = read_pilot(
            source_in(folder), journal, settings, _judges_of(stages), truth_labels(str(folder / "truth.jsonl"))
        )
    assert (of.pilot.rows, of.rows, of.candidates) == (250, 300, 1200)
    assert of.pilot.levels.shape == (1000, 2)
    assert not np.isnan(of.pilot.levels).any()
    assert [stage.scored for stage in of.pilot.stages] == [True, False]
    # 4 prompts of WordJudge a row, 10 tokens each; the offline judge costs nothing
    assert of.pilot.candidate_cost[:, 1] == pytest.approx(10 * 1000 / 1e6)
    assert of.pilot.request_cost.sum() == of.pilot.candidate_cost[:, 0].sum() == 0


def test_the_job_that_is_written_relabels_what_the_plan_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hf_relabel.hub_tools.judging.assemble.stages_of", stages_of)
    monkeypatch.chdir(folder)
    job_file = tmp_path / "job.yaml"
    asked = ["plan", "rows.jsonl", "--stages", "cascade.yaml", "--precision", "0.95", "--pilot", "pilot.sqlite"]
    labelled = [*asked, "--truth", "truth.jsonl", "--journal", str(tmp_path / "new.sqlite")]
    assert run([*labelled, "--budget", "20", "--write", str(job_file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["option"]["recall"] > 0.7
    assert told["option"]["cost"] <= 20
    job = load_job(job_file)
    assert [stage.name for stage in job.stages] == [stage["name"] for stage in told["option"]["stages"]]
    assert job.stages[-1].limits.max_cost == 20
    assert "Precision of what is relabelled: 0.95" in job_file.read_text()

    with Journal(folder / "pilot.sqlite", write=False) as journal:
        plan = plan_cascade(
            source_in(folder), cascade(folder), journal, Wanted(budget=20), truth=str(folder / "truth.jsonl")
        )
    assert run(["run", str(job_file), "--json"]) == 0
    with Journal(tmp_path / "new.sqlite", write=False) as journal:
        said = [verdict.is_false_negative for _, found in verdicts(source_in(folder), journal) for verdict in found]
    option = plan.chosen.option
    assert option is not None
    called = sum(said)
    expected = measured(option.policy, plan.of.pilot, 7)
    assert called * 250 / 300 == pytest.approx(expected.relabelled.sum(), rel=0.15)
    assert run(labelled) == 0
    shown = capsys.readouterr().out
    assert "USD for each" in shown
    assert "0.95 or more, with 95 % confidence" in shown


def test_where_nothing_is_backed_that_is_said_and_nothing_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hf_relabel.hub_tools.judging.assemble.stages_of", stages_of)
    monkeypatch.chdir(folder)
    asked = ["plan", "rows.jsonl", "--stages", "cascade.yaml", "--pilot", "pilot.sqlite", "--truth", "truth.jsonl"]
    assert run([*asked, "--precision", "0.999"]) == 0
    assert "Nothing is backed at a precision of 0.999" in capsys.readouterr().out
    assert run([*asked, "--precision", "0.95", "--budget", "0.01", "--write", str(tmp_path / "job.yaml")]) == 2
    shown = capsys.readouterr()
    assert "The cheapest takes up to" in shown.out
    assert "is not written" in shown.err
    assert not (tmp_path / "job.yaml").exists()


def test_people_label_a_sample_of_the_pilot(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hf_relabel.hub_tools.judging.assemble.stages_of", stages_of)
    monkeypatch.chdir(folder)
    audit = tmp_path / "audit"
    drawn = ["audit", "sample", "rows.jsonl", "--journal", "pilot.sqlite", "--size", "200", "--out", str(audit)]
    assert run(drawn) == 0
    known = Path("truth.jsonl").read_text().splitlines()
    truth = {docid for line in known for docid in json.loads(line)["false_negatives"]}
    sample = [json.loads(line) for line in (audit / "sample.jsonl").read_text().splitlines()]
    lines = [f"{item['id']},{'better' if item['docid'] in truth else 'irrelevant'}" for item in sample]
    (audit / "anna.csv").write_text("\n".join(["id,answer", *lines]))
    capsys.readouterr()
    asked = ["plan", "rows.jsonl", "--stages", "cascade.yaml", "--pilot", "pilot.sqlite", "--precision", "0.9"]
    assert run([*asked, "--audit", str(audit), "--answers", str(audit / "anna.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pilot"]["labels"] == len(sample)
    assert told["option"]["precision"] > 0.9
    assert run([*asked, "--audit", str(audit), "--answers", str(audit / "anna.csv")]) == 0
    found, of = told["option"]["found"], told["candidates"]
    assert f"  found          about {found:,.0f} of {of:,} candidates (estimated)\n" in capsys.readouterr().out
    assert run(asked) == 2
    assert "A precision needs labels" in capsys.readouterr().err
    for answers in ([], ["--answers", "anna.csv"]):  # without them the folder was not looked for
        assert run([*asked, "--audit", "nosuch", *answers]) == 2
        assert "There is no folder nosuch. An audit is the folder that" in capsys.readouterr().err


def test_a_journal_without_a_pilot_and_a_pilot_of_other_stages_are_told(folder: Path, tmp_path: Path) -> None:
    with Journal(tmp_path / "empty.sqlite") as journal, pytest.raises(JournalError, match="--every-stage"):
        pilot_run(journal, ["near", "words"])
    with Journal(folder / "pilot.sqlite", write=False) as journal, pytest.raises(ConfigError, match="near, words"):
        pilot_run(journal, ["words"])


def test_a_pilot_is_made_at_the_command_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hf_relabel.hub_tools.judging.assemble.stages_of", stages_of)
    monkeypatch.chdir(folder)
    asked = ["plan", "rows.jsonl", "--stages", "cascade.yaml", "--journal", str(tmp_path / "p.sqlite"), "--every-stage"]
    assert run([*asked, "--probe", "40"]) == 0
    assert "40 rows judged by every stage" in capsys.readouterr().out
    with Journal(tmp_path / "p.sqlite", write=False) as journal:
        assert pilot_run(journal, ["near", "words"])["source"]["sample"]["total"] == 40
    assert run(asked) == 2
    assert run([*asked[:-1], "--budget", "3"]) == 2
    assert run([*asked, "--probe", "40", "--within", "0.1"]) == 2
    assert "--within has no part in a plan with --every-stage" in capsys.readouterr().err


def test_stages_of_a_plan_as_a_job_file_has_them() -> None:
    from math import inf

    from hf_relabel.builders.job.reading import parse_job
    from hf_relabel.builders.planning.planned_job import planned_stages
    from hf_relabel.builders.planning.policy import PilotStage, Policy, Step

    given = parse_job(CASCADE).stages
    known = (PilotStage("near", True), PilotStage("words", False))

    def made(*steps: Step) -> list[Any]:
        return planned_stages(given, known, Policy(steps), worse=[0.6, None])

    first, second = made(Step(0, 0.4, 0.8), Step(1, 1.0, 1.0))
    assert (first.judge["worse"], first.judge["better"], first.accepts) == (0.4, 0.8, ("better",))
    assert (second.passes, second.accepts, second.endpoints[0].url) == (("better", "worse"), (), "http://127.0.0.1:9")
    (first, _) = made(Step(0, 0.4, inf), Step(1, 1.0, 1.0))
    assert (first.judge["better"], first.passes, first.accepts) == (1.0, ("better", "worse"), ())
    (only,) = made(Step(0, 0.7, 0.7))
    assert (only.judge["worse"], only.judge["better"]) == (0.6, 0.7)
    first, second = made(Step(1, 0.5, 1.0), Step(0, 0.7, 0.7))
    assert (first.passes, first.accepts) == (("worse",), ("better",))
    assert yaml.safe_load(CASCADE)["stages"][0]["name"] == "near"
