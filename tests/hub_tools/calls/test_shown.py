"""Reports as `print` and notebooks show them: what people read, on one screen."""

from __future__ import annotations

import json
from pathlib import Path

from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.messages.shown import MOST_LINES, Shown
from hf_relabel.hub_tools.building.run import build_configs
from hf_relabel.hub_tools.judging.plan import plan_job
from hf_relabel.hub_tools.judging.run import judge
from tests.hub_tools.commands.test_judged_share import row


class Lines(Shown):
    def __init__(self, number: int) -> None:
        self.number = number

    def to_text(self) -> str:
        return "\n".join(map(str, range(self.number)))


def test_what_is_longer_than_a_screen_is_cut_and_says_so() -> None:
    assert str(Lines(MOST_LINES)) == repr(Lines(MOST_LINES)) == Lines(MOST_LINES).to_text()
    *shown, last = repr(Lines(1000)).splitlines()
    assert shown == list(map(str, range(MOST_LINES)))
    assert last == f"… {1000 - MOST_LINES} lines more: print(….to_text()) shows all."


def test_reports_show_what_people_read(tmp_path: Path) -> None:
    rows = [row(number, ["one", "two"]) for number in range(2)]
    truth = tmp_path / "truth.jsonl"
    truth.write_text("".join(json.dumps({"query_id": f"q{number}", "false_negatives": []}) + "\n" for number in (0, 1)))
    journal, knowing = tmp_path / "journal.sqlite", TruthJudge(str(truth))
    (judged,) = judge(rows, knowing, journal, progress=False)
    assert repr(judged).endswith("2 rows, 4 candidates: 4 in the table; irrelevant 4.")
    built = build_configs(rows, journal, str(tmp_path / "built"), progress=False)
    assert str(built) == built.to_text()
    assert "sha256" not in repr([built])
    assert repr(plan_job(rows, knowing, progress=False)).splitlines() == [
        "2 rows: 0 prompt and 0 completion tokens.",
        "truth, truth: 2 rows, 4 candidates, 0 requests.",
    ]
