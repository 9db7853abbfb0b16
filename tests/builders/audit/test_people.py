"""What people say together, and how far they agree."""

from __future__ import annotations

import random

import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.people import agreement, consensus
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Label
from tests.builders.audit.test_audit import B, I, W


def test_people_who_disagree() -> None:
    ids = [f"i{n}" for n in range(40)]
    chance = random.Random(0)
    said = {person: [chance.choice([B, B, W, I]) for _ in ids] for person in ("anna", "ben", "cleo")}
    said["ben"][:25] = said["anna"][:25]
    answers = [
        Answer(item, person, label) for person, labels in said.items() for item, label in zip(ids, labels, strict=True)
    ]
    answers.append(Answer("i99", "anna", None))

    found = agreement(answers)

    grade = {I: 0, W: 1, B: 2}
    pair = next(each for each in found["pairs"] if each["people"] == ["anna", "ben"])
    one, other = ([grade[label] for label in said[person]] for person in ("anna", "ben"))
    assert pair["graded"] == pytest.approx(cohen_kappa_score(one, other, weights="quadratic"))
    assert pair["binary"] == pytest.approx(cohen_kappa_score([v == 2 for v in one], [v == 2 for v in other]))
    table = [[[said[p][n] for p in said].count(label) for label in (I, W, B)] for n in range(40)]
    assert found["fleiss"]["graded"] == pytest.approx(fleiss_kappa(table))
    assert (found["answered_by_all"], found["cannot_tell"]) == (40, 1)
    assert found["disagreements"] == sum(len({said[p][n] for p in said}) > 1 for n in range(40))


@pytest.mark.parametrize(
    ("said", "together"),
    [
        ([B, B, I], B),
        ([B, B, W, I], None),  # two of four, though better has the most votes
        ([B, W, I], W),
        ([B, W, W, I, I], W),
        ([B, I, I], I),
        ([B, B, W, W, I], W),
        ([B, I], None),
    ],
)
def test_people_vote_on_better_or_not(said: list[Label], together: Label | None) -> None:
    labels, undecided = consensus([Answer("i", f"p{number}", label) for number, label in enumerate(said)])
    assert labels == ({} if together is None else {"i": together})
    assert bool(undecided) == (together is None)


def test_a_tie_goes_to_those_who_err_less_where_that_can_be_known() -> None:
    good = [Answer(f"i{n}", person, B if n % 2 else I) for n in range(30) for person in ("anna", "ben")]
    wild = [Answer(f"i{n}", "carl", random.Random(n).choice([B, I])) for n in range(30)]
    tie = [Answer("tie", "anna", B), Answer("tie", "carl", I)]

    labels, undecided = consensus([*good, *wild, *tie])

    assert all(labels[f"i{n}"] is (B if n % 2 else I) for n in range(30))
    assert labels["tie"] is B
    assert not undecided
    of_two = [each for each in (*good, *wild, *tie) if each.person != "ben"]
    assert "tie" in consensus(of_two)[1], "of two people who differ nothing tells who errs"


def test_one_name_that_answers_in_two_ways_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'anna' answers item i in two ways. If these are two people"):
        consensus([Answer("i", "anna", B), Answer("i", "anna", W)])
    with pytest.raises(ConfigError, match="in two ways"):
        agreement([Answer("i", "anna", B), Answer("i", "anna", None)])
