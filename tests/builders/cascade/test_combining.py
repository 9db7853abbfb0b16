"""How several judges of a stage become one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.cascade.combining import COMBINE_RULES, Combine
from hf_relabel.builders.cascade.judge_weights import audited_weights
from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.cascade.run_stages import RunStage
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.judgements import Judgement, Label

B, W, I, U, F = Label.BETTER, Label.WORSE, Label.IRRELEVANT, Label.UNPARSABLE, Label.FAILED  # noqa: E741

GOOD = {
    "better": {"relevant": 90, "other": 5},
    "worse": {"relevant": 5, "other": 5},
    "irrelevant": {"relevant": 5, "other": 90},
}
POOR = {
    "better": {"relevant": 40, "other": 30},
    "worse": {"relevant": 20, "other": 20},
    "irrelevant": {"relevant": 40, "other": 50},
}


def word(combine: Combine, *labels: Label) -> Label:
    said = combine.combined([Judgement(label) for label in labels])
    assert said is not None
    return said.label


@pytest.mark.parametrize(
    ("rule", "labels", "expected"),
    [
        ("agreement", (B, B), B),
        ("agreement", (B, I), W),
        ("agreement", (W, I), W),
        ("agreement", (I, I), I),
        ("agreement", (B, U), U),
        ("majority", (B, B, I), B),
        ("majority", (B, W, I), W),
        ("majority", (B, I, I), I),
        ("majority", (B, B, F), B),
        ("majority", (B, I), I),
        ("majority", (B, F, U), F),
        # A span, and two orders that rank it above the ground truth, or disagree.
        ("arhn", (W, B, B), B),
        ("arhn", (I, B, B), B),
        ("arhn", (W, I, I), W),
        ("arhn", (I, B, I), W),
        ("arhn", (I, I, I), I),
        ("arhn", (U, B, B), U),
    ],
)
def test_rules(rule: str, labels: tuple[Label, ...], expected: Label) -> None:
    assert word(Combine(rule), *labels) is expected  # type: ignore[arg-type]


def test_an_audited_judge_that_errs_less_weighs_more() -> None:
    weighted = Combine.from_dict({"rule": "weighted", "weights": [GOOD, POOR], "prior": 0.15})

    assert word(weighted, B, I) is B
    assert word(weighted, I, B) is I
    said = weighted.combined([Judgement(B), Judgement(I)])
    assert said is not None
    # Bayes by hand: odds .15/.85, times 90.5/5.5 (smoothed by half a count of 101.5), times 40.5/50.5.
    odds = 0.15 / 0.85 * (90.5 / 5.5) * (40.5 / 50.5)
    assert said.score == pytest.approx(odds / (1 + odds), abs=1e-4)


def test_weights_go_with_the_names_of_judges_and_not_with_their_places(tmp_path: Path) -> None:
    judges = [{"name": f"s · {name}", "confusion": counts} for name, counts in (("poor", POOR), ("good", GOOD))]
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"judges": [*judges, {"name": "s", "confusion": GOOD}]}))
    weights, prior = audited_weights(report, "s")
    combine = Combine.from_dict({"rule": "weighted", "weights": weights, "prior": prior})

    for names, said in ((["good", "poor"], (B, I)), (["poor", "good"], (I, B))):
        assert word(combine.of_judges(names), *said) is B, names
    assert combine.of_judges(["good", "poor"]).to_dict()["weights"][0]["better"]["relevant"] > 0.8
    with pytest.raises(ConfigError, match=r"none of the judge 'other', only of 'poor', 'good'"):
        combine.of_judges(["good", "other"])


def test_a_candidate_that_one_judge_has_not_seen_has_no_word_yet() -> None:
    assert Combine("majority").combined([Judgement(B), Judgement(B), None]) is None


def test_tokens_add_up_and_a_cut_is_remembered() -> None:
    first = Judgement(B, prompt_tokens=10, completion_tokens=2, rationale="it says so")
    second = Judgement(B, prompt_tokens=5, completion_tokens=None, cut=True)

    said = Combine().combined([first, second])

    assert said is not None
    assert (said.prompt_tokens, said.completion_tokens, said.rationale, said.cut) == (15, 2, "it says so", True)


@given(st.lists(st.sampled_from(list(Label)), min_size=2, max_size=5), st.sampled_from(["agreement", "majority"]))
def test_no_answer_is_never_read_as_irrelevant(labels: list[Label], rule: str) -> None:
    said = word(Combine(rule), *labels)  # type: ignore[arg-type]

    answers = [label for label in labels if label.is_answer]
    if said is I:
        assert 2 * len(answers) > len(labels)
    if said is B:
        assert 2 * answers.count(B) > len(answers)
    if not answers:
        assert not said.is_answer


@given(st.permutations([B, W, I, U, F]), st.sampled_from(["agreement", "majority"]))
def test_the_order_of_equal_judges_does_not_matter(labels: list[Label], rule: str) -> None:
    found = word(Combine(rule), *labels[:3])  # type: ignore[arg-type]
    again = word(Combine(rule), *reversed(labels[:3]))  # type: ignore[arg-type]

    assert found is again or not (found.is_answer or again.is_answer)


def test_what_a_run_remembers_gives_the_same_rule() -> None:
    for rule in COMBINE_RULES:
        combine = Combine.from_dict({"rule": rule, **({"weights": [GOOD, POOR]} if rule == "weighted" else {})})
        again = Combine.from_dict(combine.to_dict())
        assert again == combine


def test_what_a_run_remembers_of_weights_moves_no_label() -> None:
    """By a share of .0014996 for relevant ones and .0015003 for others it is just below .5, rounded it is not."""
    shares = {
        "better": {"relevant": 0.5, "other": 0.1},
        "worse": {"relevant": 0.0014996, "other": 0.0015003},
        "irrelevant": {"relevant": 0.4985004, "other": 0.8984997},
    }
    combine = Combine.from_dict({"rule": "weighted", "weights": [shares], "prior": 0.5})
    again = Combine.from_dict(json.loads(json.dumps(combine.to_dict())))
    assert word(combine, W) is word(again, W) is W


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rule": "vote"}, "no rule 'vote'; there is agreement"),
        ({"rule": "weighted"}, "needs weights"),
        ({"rule": "majority", "weights": [GOOD]}, "no other rule has any"),
        ({"rule": "weighted", "weights": [{"better": {"relevant": -1}}]}, "expected counts"),
        ({"rule": "weighted", "weights": "all"}, "must be a list with"),
        ({"rule": "majority", "prior": 1.0}, "between 0 and 1"),
    ],
)
def test_bad_settings_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Combine.from_dict(values)


def test_a_rule_must_fit_the_number_of_judges() -> None:
    with pytest.raises(ConfigError, match="weights of 1 judges, the stage has 2"):
        Combine.from_dict({"rule": "weighted", "weights": [GOOD]}).check(2)
    with pytest.raises(ConfigError, match="judge of spans"):
        Combine("arhn").check(1)


def test_judges_of_one_name_are_numbered() -> None:
    names = ["a", "b", "a", "a", "c"]
    judges = tuple(JudgeIdentity("listwise", name, None, {"seed": number}) for number, name in enumerate(names))
    found = RunStage("all", Rule(), judges, Combine("majority")).judge_names()
    assert found == ["listwise a #1", "listwise b", "listwise a #2", "listwise a #3", "listwise c"]
