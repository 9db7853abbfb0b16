"""What each stage passes on, and what the last word is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.cascade.rules import Rule, candidates_of_stage, conclude, first_candidates
from hf_relabel.builders.judgements import Judgement, Label, Outcome
from hf_relabel.builders.rows import Passage, Row

BETTER, WORSE, IRRELEVANT = (Judgement(label) for label in (Label.BETTER, Label.WORSE, Label.IRRELEVANT))
FAILED, UNPARSABLE = Judgement(Label.FAILED), Judgement(Label.UNPARSABLE)


def row_of(count: int) -> Row:
    negatives = tuple(Passage(f"d{number}", "", f"text {number}") for number in range(count))
    return Row("q", "query", (Passage("p", "", "positive"),), negatives)


def outcomes(row: Row, rules: list[Rule], answers: list[dict[int, Judgement]]) -> list[str]:
    return [f"{verdict.outcome}/{verdict.reason}" for verdict in conclude(row, {}, rules, answers)]


def test_one_stage_only_better_is_a_false_negative() -> None:
    answers = [{0: BETTER, 1: WORSE, 2: IRRELEVANT, 3: FAILED, 4: UNPARSABLE}]
    assert outcomes(row_of(6), [Rule()], answers) == [
        "false_negative/judged",
        "doubtful/judged",
        "negative/judged",
        "unjudged/failed",
        "unjudged/unparsable",
        "unjudged/not-reached",
    ]


def test_escalating_candidates_asks_stage_two_about_the_doubted_ones() -> None:
    row, first = row_of(4), {0: BETTER, 1: WORSE, 2: IRRELEVANT, 3: FAILED}
    assert candidates_of_stage(row, {}, [Rule()], [first]) == [0, 1]


def test_escalating_rows_asks_stage_two_about_all_of_a_doubted_row() -> None:
    rule = Rule(escalate="row")
    assert candidates_of_stage(row_of(3), {}, [rule], [{0: IRRELEVANT, 1: WORSE, 2: FAILED}]) == [0, 1, 2]
    assert candidates_of_stage(row_of(3), {}, [rule], [{0: IRRELEVANT, 1: IRRELEVANT, 2: FAILED}]) == []


def test_only_the_last_stage_makes_a_false_negative() -> None:
    first = {0: BETTER, 1: BETTER, 2: WORSE, 3: IRRELEVANT}
    second = {0: BETTER, 1: IRRELEVANT, 2: BETTER}
    assert outcomes(row_of(4), [Rule(), Rule()], [first, second]) == [
        "false_negative/judged",
        "doubtful/judged",
        "false_negative/judged",
        "negative/judged",
    ]


def test_with_row_escalation_stage_two_can_find_what_stage_one_missed() -> None:
    first = {0: BETTER, 1: IRRELEVANT, 2: FAILED}
    second = {0: IRRELEVANT, 1: BETTER, 2: BETTER}
    assert outcomes(row_of(3), [Rule(escalate="row"), Rule()], [first, second]) == [
        "doubtful/judged",
        "false_negative/judged",
        "false_negative/judged",
    ]


@pytest.mark.parametrize("escalate", ["row", "candidate"])
def test_what_a_stage_accepts_is_asked_of_no_other(escalate: str) -> None:
    rule = Rule(escalate, accepts=frozenset({Label.BETTER, Label.IRRELEVANT}))  # type: ignore[arg-type]
    first, row = {0: BETTER, 1: WORSE, 2: IRRELEVANT, 3: FAILED}, row_of(4)
    assert candidates_of_stage(row, {}, [rule], [first]) == ([1, 3] if escalate == "row" else [1])
    # The next stage's word on them, from another run, changes nothing.
    second = dict.fromkeys(range(3), IRRELEVANT) | {1: BETTER, 2: BETTER}
    assert outcomes(row, [rule, Rule()], [first, second])[:3] == [
        "false_negative/judged",
        "false_negative/judged",
        "negative/judged",
    ]


def test_a_stage_that_has_not_run_leaves_its_candidates_unjudged() -> None:
    assert outcomes(row_of(2), [Rule(), Rule()], [{0: BETTER, 1: IRRELEVANT}, {}]) == [
        "unjudged/not-reached",
        "negative/judged",
    ]


def test_three_stages_each_with_its_own_rule() -> None:
    rules = [Rule(escalate="row"), Rule(passes=frozenset({Label.BETTER})), Rule()]
    answers = [{0: WORSE, 1: IRRELEVANT, 2: IRRELEVANT}, {0: BETTER, 1: BETTER, 2: WORSE}, {0: BETTER, 1: WORSE}]
    assert outcomes(row_of(3), rules, answers) == ["false_negative/judged", "doubtful/judged", "doubtful/judged"]


def test_free_findings_and_exempt_rows_are_not_judged() -> None:
    row = row_of(2)
    findings = {0: (Outcome.DUPLICATE, "same-text")}
    assert first_candidates(row, findings) == [1]
    verdicts = conclude(row, findings, [Rule()], [{}], exempt=True)
    assert [(verdict.outcome, verdict.reason) for verdict in verdicts] == [
        (Outcome.DUPLICATE, "same-text"),
        (Outcome.UNJUDGED, "exempt"),
    ]


judgements = st.sampled_from([BETTER, WORSE, IRRELEVANT, FAILED, UNPARSABLE])
answer_maps = st.dictionaries(st.integers(0, 7), judgements, max_size=8)


@pytest.mark.parametrize("escalate", ["row", "candidate"])
@given(stages=st.lists(answer_maps, min_size=1, max_size=3))
def test_every_candidate_gets_one_verdict_and_no_answer_is_never_irrelevant(
    escalate: str, stages: list[dict[int, Judgement]]
) -> None:
    rules = [Rule(escalate=escalate) for _ in stages]  # type: ignore[arg-type]
    verdicts = conclude(row_of(8), {}, rules, stages)
    assert [verdict.position for verdict in verdicts] == list(range(8))
    for verdict in verdicts:
        said = [judgement for judgement in verdict.stages if judgement is not None]
        if verdict.is_false_negative:
            assert verdict.stages[-1] is BETTER
        if verdict.outcome in (Outcome.NEGATIVE, Outcome.DOUBTFUL):
            assert said
            assert said[-1].label.is_answer


@given(stages=st.lists(answer_maps, min_size=2, max_size=3))
def test_candidate_escalation_asks_no_more_than_row_escalation(stages: list[dict[int, Judgement]]) -> None:
    row = row_of(8)
    by_candidate = candidates_of_stage(row, {}, [Rule()] * len(stages), stages)
    by_row = candidates_of_stage(row, {}, [Rule(escalate="row")] * len(stages), stages)
    assert set(by_candidate) <= set(by_row)
