"""Figures of judges against known false negatives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, cohen_kappa_score, roc_auc_score

from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.cascade.verdicts import judged_rows
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from hf_relabel.trainers.students.judge_bench import (
    VERDICT,
    Answers,
    JudgeFigures,
    figures_table,
    judge_figures,
)
from tests.benchmarks.auc_gain import auc_gain

TRUTH = {"q0": frozenset({"0-0", "0-2"}), "q1": frozenset({"1-1"}), "q2": frozenset[str]()}
SCORES = {"q0": (0.9, 0.8, 0.3), "q1": (0.2, 0.6, 0.1), "q2": (0.7, 0.4, 0.0)}


class Scores:
    """A judge whose scores are given."""

    kind = "scores"
    exempt_subsets = ()
    batch_rows = 10

    def __init__(self, better: float = 0.65) -> None:
        self.better = better

    def settings(self) -> dict[str, float]:
        return {"better": self.better}

    def model(self) -> tuple[str, str | None]:
        return "given", None

    def judge(self, batch: object) -> list[dict[int, Judgement]]:
        return [
            {
                position: Judgement(
                    Label.BETTER if SCORES[row.query_id][position] >= self.better else Label.IRRELEVANT,
                    SCORES[row.query_id][position],
                )
                for position in positions
            }
            for row, positions in batch  # type: ignore[attr-defined]
        ]


def write_rows(path: Path) -> None:
    lines = [
        {
            "query_id": f"q{number}",
            "query": f"query {number}",
            "positive_passages": [{"docid": "p", "title": "", "text": f"truth {number}"}],
            "negative_passages": [
                {"docid": f"{number}-{place}", "title": "", "text": f"text {number} {place}"} for place in range(3)
            ],
            "subset": "",
        }
        for number in range(3)
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


def figures(folder: Path, *stages: Stage, truth: dict[str, frozenset[str]] = TRUTH) -> dict[str, JudgeFigures]:
    write_rows(folder / "rows.jsonl")
    source = open_source(folder / "rows.jsonl")
    with Journal(folder / "journal.sqlite") as journal:
        judge(source, stages, journal)
        ran = journal.last_run()
        found = judge_figures(judged_rows(source, journal, ran), stages_of_run(ran), truth, resamples=40)
    return {each.judge: each for each in found}


def test_the_figures_are_those_of_scikit_learn_and_of_the_paper(tmp_path: Path) -> None:
    found = figures(tmp_path, Stage("scores", Scores()))["scores"]

    scores = [score for row in SCORES.values() for score in row]
    truth = [f"{number}-{place}" in TRUTH[f"q{number}"] for number in range(3) for place in range(3)]
    values = {name: figure.value for name, figure in found.figures.items()}
    assert (found.rows, found.candidates, found.false_negatives, found.unanswered) == (3, 9, 3, 0)
    assert values["auc"] == pytest.approx(roc_auc_score(truth, scores))
    assert values["average precision"] == pytest.approx(average_precision_score(truth, scores))
    assert values["kappa"] == pytest.approx(cohen_kappa_score(truth, [score >= 0.65 for score in scores]))
    # q0 ranks its two at 1 and 3, q1 its one at 1; q2 has none and does not count.
    assert values["map@10"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert values["p@L(GT)"] == pytest.approx((1 / 2 + 1) / 2)
    assert values["recall at 0.9"] == pytest.approx(1 / 3)
    assert values["precision"] == pytest.approx(1 / 3)
    for figure in found.figures.values():
        if figure.low is not None and figure.high is not None and figure.value is not None:
            assert figure.low <= figure.value <= figure.high


@pytest.mark.soak
def test_a_cascade_is_measured_as_a_whole_too(tmp_path: Path) -> None:
    found = figures(tmp_path, Stage("cheap", Scores(0.35), Rule()), Stage("accurate", Scores(0.65)))

    assert list(found) == ["cheap", "accurate", VERDICT]
    assert found["accurate"].candidates < found["cheap"].candidates == found[VERDICT].candidates
    assert "map@10" in figures_table(list(found.values()))


def answers(scores: Sequence[float], truth: Sequence[bool], per_row: int = 10, skip: int = 0) -> Answers:
    """Answers for rows of so many candidates; the first `skip` candidates have none."""
    found = Answers()
    for number, (score, is_relevant) in enumerate(zip(scores, truth, strict=True)):
        if number >= skip:
            row, place = divmod(number, per_row)
            found.append(row, place, f"d{place}", score, score > 0.5, is_relevant)
    return found


def test_two_judges_are_compared_on_the_same_candidates() -> None:
    chance = np.random.default_rng(0)
    truth = chance.random(2000) < 0.2
    poor = np.clip(truth * 0.3 + chance.normal(0.3, 0.3, 2000), 0, 1)
    good = np.clip(truth * 0.5 + chance.normal(0.3, 0.3, 2000), 0, 1)
    first, second = answers(poor, truth), answers(good, truth, skip=500)

    gain = auc_gain(first, [second], resamples=40)
    draws = auc_gain(first, [second, first], resamples=40)

    expected = roc_auc_score(truth[500:], good[500:]) - roc_auc_score(truth[500:], poor[500:])
    assert gain.value == pytest.approx(expected)
    assert gain.low is not None
    assert gain.high is not None
    assert 0 < gain.low < expected < gain.high < 2 * expected
    assert draws.value == pytest.approx(expected / 2)
    assert draws.low == 0, "an interval over draws holds the poorer of them"
    assert auc_gain(first, [first], resamples=2).high == 0


def test_a_truth_of_other_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing in common"):
        figures(tmp_path, Stage("scores", Scores()), truth={"other": frozenset({"x"})})


def test_the_command_prints_a_table_json_and_a_figure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl")
    lines = [json.dumps({"query_id": name, "false_negatives": sorted(docids)}) for name, docids in TRUTH.items()]
    (tmp_path / "truth.jsonl").write_text("\n".join(lines), encoding="utf-8")
    job = {
        "source": {"location": "rows.jsonl"},
        "stages": [{"name": "oracle", "judge": {"kind": "truth", "file": str(tmp_path / "truth.jsonl")}}],
    }
    (tmp_path / "job.yaml").write_text(json.dumps(job), encoding="utf-8")
    arguments = ["judge-bench", str(tmp_path / "rows.jsonl"), "--truth", str(tmp_path / "truth.jsonl")]
    arguments += ["--stages", str(tmp_path / "job.yaml"), "--resamples", "20"]

    assert run([*arguments, "--figure", str(tmp_path / "kappa.png")]) == 0
    text = capfd.readouterr().out
    assert run([*arguments, "--json"]) == 0
    (values,) = json.loads(capfd.readouterr().out)

    assert "oracle" in text
    assert "auc: how often a false negative is scored above a true one" in text
    assert max(map(len, text.splitlines())) <= 80
    assert values["figures"]["auc"]["value"] == 1.0
    assert values["figures"]["kappa"]["value"] == 1.0
    assert (tmp_path / "kappa.png").read_bytes().startswith(b"\x89PNG")
