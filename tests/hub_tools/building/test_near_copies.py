"""Nearly the text of a positive is a candidate like any other: asked about, never added unasked, and audited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.hub_tools.building.run import build_configs
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.looking import draw_audit

ANSWER = (
    "In the trial of 2019 the new drug did lower the blood pressure of adults who were treated in Vienna for twelve"
    " weeks, and where depth > limit the study was ended early by those who ran it."
)


@pytest.mark.parametrize(
    "near", [ANSWER.replace("did lower", "did not lower"), ANSWER.replace("Vienna", "Geneva"), ANSWER.replace(">", "<")]
)
def test_a_near_copy_of_a_positive_is_asked_about_and_audited(tmp_path: Path, near: str) -> None:
    copies = (
        Passage("copy", "", ANSWER.replace(" ", "  ")),
        Passage("near", "", near),
        Passage("other", "", "something else"),
    )
    rows = [Row("q", "does it lower it", (Passage("p", "", ANSWER),), copies).to_dict()]
    truth, journal = tmp_path / "truth.jsonl", tmp_path / "journal.sqlite"
    truth.write_text(json.dumps({"query_id": "q", "false_negatives": []}))
    (report,) = judge(rows, TruthJudge(str(truth)), journal, progress=False)
    assert (report.asked, report.aside["free"]) == (2, 1)
    settings = BuildSettings(out=str(tmp_path / "built"), techniques=("relabel",))
    counts = build_configs(rows, journal, settings, progress=False).manifest["configs"]["relabel"]["total"]
    assert (counts["moved"], counts["dropped"]["duplicate"], sum(counts["dropped"].values())) == (0, 1, 1)
    assert {item.docid for item in draw_audit(rows, journal, progress=False).items} == {"near", "other"}
