"""Several judges in a stage, the bias of position, and what each escalation rule costs on the same replies."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError
from scipy.stats import chi2_contingency

from hf_relabel.builders.cascade.combining import Combine
from hf_relabel.builders.cascade.report import JudgingReport, judging_report
from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.cascade.verdicts import judged_rows, verdicts
from hf_relabel.builders.endpoint import EndpointInfo, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Label, Outcome
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.registry import expanded
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.hub_tools.commands import run as run_command
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.judging.assemble import stages_of
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Member, Stage
from tests.benchmarks.coverage_positions import JUDGES, share_called_biased
from tests.facade.prompt_format import read_prompt, write_reply

Says = Callable[[int, str], Label]
"""Of a candidate's place (from 1) and text, what a scripted judge calls it."""


class ScriptedEndpoint:
    """Answers listwise prompts candidate by candidate; its tokens are its characters."""

    constrains = True
    name = "scripted"

    def __init__(self, says: Says, model: str = "some/model") -> None:
        self.says, self.model, self.requests = says, model, 0

    async def info(self) -> EndpointInfo:
        return EndpointInfo(self.model, "abc")

    async def complete(self, request: Request) -> Reply:
        self.requests += 1
        whole = "\n".join(message.content for message in request.messages)
        prompt = read_prompt(whole)
        assert prompt is not None
        labels = {number: self.says(number, text) for number, text in prompt.candidates.items()}
        better = [number for number, label in labels.items() if label is Label.BETTER]
        worse = [number for number, label in labels.items() if label is Label.WORSE]
        reply = write_reply(prompt, better, worse, request.json_schema, "")
        return Reply(reply, prompt_tokens=len(whole), completion_tokens=len(reply), endpoint=self.name)

    async def queue_depth(self) -> float | None:
        return None

    async def close(self) -> None:
        return None


TEN = {10: 0.15}
FOUR_AND_SIXTEEN = {4: 0.7, 16: 0.1}


def honest(place: int, text: str) -> Label:
    """`relevant …` is better, wherever it stands."""
    return Label.BETTER if text.startswith("relevant") else Label.IRRELEVANT


def fond_of_the_first(place: int, text: str) -> Label:
    """Honest, but calls whatever stands first or second better."""
    return Label.BETTER if place <= 2 else honest(place, text)


def write_rows(path: Path, rows: int, *, sizes: Mapping[int, float] = TEN, seed: int = 0) -> Source:
    """Rows with so many negatives in turn; each size with the share of them that is relevant."""
    chance = random.Random(seed)
    lines = []
    for number, (negatives, relevant) in zip(range(rows), cycle(sizes.items()), strict=False):
        passages = [
            {
                "docid": f"{number}-{place}",
                "title": "",
                "text": f"{'relevant' if chance.random() < relevant else 'other'} passage {number}-{place}",
            }
            for place in range(negatives)
        ]
        lines.append(
            {
                "query_id": f"q{number}",
                "query": f"query {number}",
                "positive_passages": [{"docid": f"p{number}", "title": "", "text": f"the ground truth of {number}"}],
                "negative_passages": passages,
                "subset": "",
            }
        )
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return open_source(path)


def permuted(says: Says, orders: int) -> Stage:
    """One stage that asks the same judge in so many orders."""
    members = [Member(ListwiseJudge(permutation=order), (ScriptedEndpoint(says),), Limits()) for order in range(orders)]
    first, *others = members
    combine = Combine("agreement") if others else None
    return Stage("judge", first.judge, Rule(), first.endpoints, others=tuple(others), combine=combine)


def report_on(source: Source, stages: Iterable[Stage], folder: Path) -> tuple[JudgingReport, set[str]]:
    """Judge, report, and say which documents came out as false negatives."""
    with Journal(folder / "journal.sqlite") as journal:
        judge(source, list(stages), journal)
        run = journal.last_run()
        report = judging_report(judged_rows(source, journal, run), stages_of_run(run))
        found = {
            verdict.docid
            for _, row in verdicts(source, journal)
            for verdict in row
            if verdict.outcome is Outcome.FALSE_NEGATIVE
        }
    return report, found


def relevant_docids(source: Source) -> set[str]:
    return {
        passage.docid
        for numbered in source.rows()
        for passage in numbered.row.negative_passages
        if passage.text.startswith("relevant")
    }


def test_the_report_finds_a_judge_that_prefers_the_first_places(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 80)

    report, found = report_on(source, [permuted(fond_of_the_first, 1)], tmp_path)

    (bias,) = report.positions
    assert bias.is_biased
    assert bias.trend is not None
    assert bias.trend < -0.3
    assert bias.places[0].relevant == bias.places[0].answers == 80
    assert bias.places[-1].relevant / bias.places[-1].answers < 0.3
    assert len(found) > 2 * len(relevant_docids(source)) / 1.5
    shown = [line.split() for line in report.to_text().splitlines()]
    by_place = [line for line in shown if line[2:4] == ["of", "80"]]
    assert [line[0] for line in by_place] == [str(place) for place in range(1, 11)]
    assert by_place[0][1] == "1.000"
    assert float(by_place[0][4].strip("()")) == pytest.approx(bias.places[0].expected / 80, abs=0.001)


def test_two_permutations_take_the_bias_out(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 80)

    report, found = report_on(source, [permuted(fond_of_the_first, 2)], tmp_path)

    assert found == relevant_docids(source)
    assert [bias.is_biased for bias in report.positions] == [True, True]  # each order still shows it
    assert "2 orders (agreement)" in stages_description(tmp_path)


def stages_description(folder: Path) -> str:
    with Journal(folder / "journal.sqlite", write=False) as journal:
        return stages_of_run(journal.last_run())[0].describe()


def test_a_prompt_is_compared_with_itself(tmp_path: Path) -> None:
    """Short lists have more that is relevant, and no late places: that is no bias, and hides none."""
    source = write_rows(tmp_path / "rows.jsonl", 120, sizes=FOUR_AND_SIXTEEN)

    report, found = report_on(source, [permuted(honest, 1)], tmp_path)
    assert found == relevant_docids(source)
    (blind,) = report.positions
    pooled = [[place.relevant, place.answers - place.relevant] for place in blind.places]
    assert chi2_contingency(pooled).pvalue < 1e-6, "what a test over all prompts together would say"
    assert not blind.is_biased
    assert blind.p_value is not None
    assert blind.p_value > 0.05
    assert blind.trend == pytest.approx(0, abs=0.1)

    def fond_of_the_last(place: int, text: str) -> Label:
        return Label.BETTER if place >= 13 and text.endswith("1") else honest(place, text)

    (folder := tmp_path / "biased").mkdir()
    (biased,) = report_on(source, [permuted(fond_of_the_last, 1)], folder)[0].positions
    assert biased.is_biased
    assert biased.trend is not None
    assert biased.trend > 0.05


def test_a_blind_judge_is_called_biased_as_rarely_as_the_level_says() -> None:
    assert share_called_biased(JUDGES["blind to places"], rows=60, draws=60, most=8) <= 0.04


def test_permutations_in_a_job_file(tmp_path: Path) -> None:
    endpoint = {"url": "http://127.0.0.1:1", "chat_template": "plain"}
    judged = {"kind": "listwise", "permutations": 3}
    job = {"source": {"location": "x"}, "stages": [{"judge": judged, "endpoints": [endpoint], "combine": "majority"}]}

    (stage,) = stages_of(Job.model_validate(job))

    assert [member.judge.settings()["permutation"] for member in stage.members] == [0, 1, 2]  # type: ignore[union-attr]
    assert stage.combine == Combine("majority")
    with pytest.raises(ValidationError, match="a similarity judge shows no list"):
        Job.model_validate({**job, "stages": [{"judge": {"kind": "similarity", "permutations": 2}}]})


def test_samples_of_one_judge_in_a_job_file_are_put_to_the_vote() -> None:
    endpoint = {"url": "http://127.0.0.1:1", "chat_template": "plain"}
    judged = {"kind": "listwise", "samples": 3, "seed": 5}
    job = {"source": {"location": "x"}, "stages": [{"judge": judged, "endpoints": [endpoint]}]}

    (stage,) = stages_of(Job.model_validate(job))

    assert [member.judge.settings()["seed"] for member in stage.members] == [5, 6, 7]  # type: ignore[union-attr]
    assert stage.combine == Combine("majority")
    both = expanded({**judged, "permutations": 2})
    assert len({(each["seed"], each["permutation"]) for _, each in both}) == 6
    with pytest.raises(ValidationError, match="a pointwise judge says the same each time"):
        Job.model_validate({**job, "stages": [{"judge": {"kind": "pointwise", "samples": 2}, "endpoints": [endpoint]}]})


def test_the_majority_of_samples_is_right_where_one_of_them_is_not(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 20)
    asked: Counter[str] = Counter()

    def fickle(place: int, text: str) -> Label:
        """Errs the second time it is asked about a candidate."""
        asked[text] += 1
        return Label.IRRELEVANT if asked[text] == 2 else honest(place, text)

    endpoint = ScriptedEndpoint(fickle)
    first, *others = [Member(ListwiseJudge(seed=number), (endpoint,)) for number in range(3)]
    stage = Stage("one", first.judge, Rule(), (endpoint,), others=tuple(others), combine=Combine("majority"))
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, [stage], journal)
        found = [verdict.outcome for _, said in verdicts(source, journal) for verdict in said]
        assert stages_of_run(journal.last_run())[0].describe().endswith(", 3 times (majority)")
    is_relevant = [each.text.startswith("relevant") for row in source.rows() for each in row.row.negative_passages]
    assert [outcome is Outcome.FALSE_NEGATIVE for outcome in found] == is_relevant


def test_one_order_more_asks_only_for_that_order(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 20)
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, [permuted(honest, 1)], journal)
        first, second = judge(source, [permuted(honest, 2)], journal)
    assert (first.requests, first.known, second.requests) == (0, 200, 20)


def two_stages(rule: Rule) -> list[Stage]:
    """A cheap judge that doubts all that is relevant, calls one other in twenty better, and an honest one."""

    def wary(place: int, text: str) -> Label:
        if text.startswith("relevant"):
            return Label.WORSE
        return Label.BETTER if text.endswith(("2-7", "4-7", "6-7", "8-7", "0-7")) else Label.IRRELEVANT

    cheap, accurate = ScriptedEndpoint(wary, "some/cheap"), ScriptedEndpoint(honest, "some/accurate")
    return [
        Stage("cheap", ListwiseJudge(), rule, (cheap,)),
        Stage("accurate", ListwiseJudge(), Rule(), (accurate,)),
    ]


def test_candidate_escalation_judges_a_third_at_most_and_loses_nothing(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 100)

    report, found = report_on(source, two_stages(Rule("row")), tmp_path)

    ways = {way.name: way for way in report.escalation}
    row, candidate = ways["cheap > accurate, as it ran"], ways["cheap > accurate, by candidate"]
    assert row.judged[1] >= 3 * candidate.judged[1]
    assert (candidate.false_negatives, candidate.lost, candidate.missing) == (row.false_negatives, 0, 0)
    assert candidate.on_front
    assert not row.on_front
    assert candidate.tokens < row.tokens
    assert found == relevant_docids(source)
    assert ways["cheap > accurate, by candidate, better only"].lost == len(found)


def test_what_a_cheap_judge_calls_better_is_no_find_that_others_lose(tmp_path: Path) -> None:
    """Ways are compared only with those that leave the last word to the same stages."""
    report, found = report_on(write_rows(tmp_path / "rows.jsonl", 100), two_stages(Rule("row")), tmp_path)

    ways = {way.name: way for way in report.escalation}
    alone, row, candidate, better = ways.values()
    assert alone.false_negatives > 0, "false alarms"
    assert (alone.lost, alone.on_front, alone.decided_by) == (None, False, ("cheap",))
    assert (row.lost, candidate.lost, better.lost) == (0, 0, len(found))
    assert candidate.on_front
    assert "best value" not in next(line for line in report.to_text().splitlines() if line.startswith("cheap alone"))

    (folder := tmp_path / "accepting").mkdir()
    accepting = two_stages(Rule("candidate", frozenset({Label.WORSE}), frozenset({Label.BETTER})))
    sure, _ = report_on(write_rows(folder / "rows.jsonl", 100), accepting, folder)
    decided = {way.name: way.decided_by for way in sure.escalation}
    assert decided.pop("cheap alone") == ("cheap",)
    assert set(decided.values()) == {("cheap", "accurate")}


def test_what_was_never_asked_is_counted_as_missing_and_not_guessed(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 100)

    report, _ = report_on(source, two_stages(Rule("candidate")), tmp_path)

    by_row = next(way for way in report.escalation if way.name.endswith("by row"))
    assert by_row.missing > 0
    assert not by_row.on_front


def test_a_sure_cheap_judge_settles_what_it_is_sure_of(tmp_path: Path) -> None:
    def sure(place: int, text: str) -> Label:
        if text.startswith("relevant"):
            return Label.BETTER if text.endswith(("0", "2", "4", "6", "8")) else Label.WORSE
        return Label.IRRELEVANT

    source = write_rows(tmp_path / "rows.jsonl", 100)
    student, llm = ScriptedEndpoint(sure, "some/student"), ScriptedEndpoint(honest, "some/llm")
    rule = Rule("candidate", frozenset({Label.WORSE}), frozenset({Label.BETTER}))
    stages = [Stage("student", ListwiseJudge(), rule, (student,)), Stage("llm", ListwiseJudge(), Rule(), (llm,))]

    report, found = report_on(source, stages, tmp_path)

    assert found == relevant_docids(source)
    routed = next(way for way in report.escalation if way.name == "student > llm, as it ran")
    assert 0 < routed.judged[1] < 0.7 * len(found)


def test_judges_of_one_stage_and_of_two_are_compared(tmp_path: Path) -> None:
    def rash(place: int, text: str) -> Label:
        return Label.BETTER if text.startswith("relevant") or text.endswith("1") else Label.IRRELEVANT

    source = write_rows(tmp_path / "rows.jsonl", 100)
    judges = [
        Member(ListwiseJudge(), (ScriptedEndpoint(says, name),)) for says, name in ((honest, "a/a"), (rash, "b/b"))
    ]
    first, second = judges
    stage = Stage("panel", first.judge, Rule(), first.endpoints, others=(second,), combine=Combine("agreement"))

    report, found = report_on(source, [stage], tmp_path)

    pair = report.agreement[0]
    assert pair.both == 1000
    assert pair.kappa is not None
    assert 0 < pair.kappa < 1
    assert found == relevant_docids(source)


def test_the_same_judge_twice_is_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 2)
    member = Member(ListwiseJudge(), (ScriptedEndpoint(honest),))
    stage = Stage("panel", member.judge, Rule(), member.endpoints, others=(member,), combine=Combine("majority"))
    with Journal(tmp_path / "journal.sqlite") as journal, pytest.raises(ConfigError, match="the same judge twice"):
        judge(source, [stage], journal)


def test_the_command_reports_as_text_json_and_figure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 60)
    report_on(source, two_stages(Rule("row")), tmp_path)
    arguments = ["report", str(tmp_path / "rows.jsonl"), "--journal", str(tmp_path / "journal.sqlite")]

    assert run_command([*arguments, "--figure", str(tmp_path / "pareto.png")]) == 0
    text = capfd.readouterr().out
    assert run_command([*arguments, "--json"]) == 0
    values: dict[str, Any] = json.loads(capfd.readouterr().out)

    assert "by candidate" in text
    assert "kappa" in text
    assert values["candidates"] == 600
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_every_column_of_a_report_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    report, _ = report_on(write_rows(tmp_path / "rows.jsonl", 60), two_stages(Rule("candidate")), tmp_path)
    text = report.to_text()
    lines = text.splitlines()
    ruled = [number for number, line in enumerate(lines) if line.startswith("--")]
    assert len(ruled) == 4, text
    assert all(len(lines[number - 1].rstrip()) > lines[number].rindex(" ") for number in ruled), text
    assert "best value: no other of those finds as many for fewer tokens." in text
    assert all(meaning in text for meaning in ("\nspread: ", "\nkappa: ", "\njudged: ", " lost: how many "))
    assert (
        "best value"
        not in report_on(write_rows(tmp_path / "few.jsonl", 5), [permuted(honest, 1)], tmp_path)[0].to_text()
    )


def test_a_report_without_the_extra_has_the_counts_and_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 5)
    whole, _ = report_on(source, two_stages(Rule("row")), tmp_path)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    report, _ = report_on(source, two_stages(Rule("row")), tmp_path)

    assert (whole.lacking, report.escalation) == (None, whole.escalation)
    assert report.agreement[0].same_label == whole.agreement[0].same_label
    assert report.agreement[0].kappa is report.positions[0].p_value is None
    assert whole.agreement[0].kappa is not None
    said = " ".join(report.to_text().split())
    assert "Not worked out: Kappa and the test of positions needs scikit-learn, of the extra `audit`" in said


def test_one_way_alone_is_not_drawn(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 10)
    report_on(source, two_stages(Rule("row"))[:1], tmp_path)
    arguments = ["report", str(tmp_path / "rows.jsonl"), "--journal", str(tmp_path / "journal.sqlite")]
    assert run_command([*arguments, "--figure", str(tmp_path / "pareto.png")]) == 2
    said = capfd.readouterr()
    assert "was not drawn" in said.err
    assert said.out
    assert not (tmp_path / "pareto.png").exists()
