"""The worked example of a card."""

from __future__ import annotations

from collections.abc import Iterator

from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.cards.example import MOST_ROWS, ExampleFinder, example_of

JudgedRow = tuple[NumberedRow, list[Verdict]]


def judged(number: int, *outcomes: Outcome, reason: str = "") -> JudgedRow:
    negatives = tuple(Passage(f"{number}-{index}", "", f"negative {number} {index}") for index in range(len(outcomes)))
    row = Row(f"q{number}", "query", (Passage(f"p{number}", "", f"positive {number}"),), negatives)
    judgement = Judgement(Label.BETTER, rationale=reason)
    verdicts = [
        Verdict(index, negative.docid, outcome, "judged", (judgement,))
        for index, (negative, outcome) in enumerate(zip(negatives, outcomes, strict=True))
    ]
    return NumberedRow(number, row), verdicts


FALSE, TRUE, COPY = Outcome.FALSE_NEGATIVE, Outcome.NEGATIVE, Outcome.DUPLICATE


def test_the_first_relabelled_negative_is_taken() -> None:
    found = example_of([judged(0, TRUE), judged(1, COPY), judged(2, TRUE, FALSE), judged(3, FALSE)])

    assert found is not None
    assert (found.row.query_id, found.candidate.docid) == ("q2", "2-1")
    assert found.stages[0] == Judgement(Label.BETTER)


def test_one_with_a_reason_is_preferred() -> None:
    found = example_of([judged(0, FALSE), judged(1, FALSE, reason="it answers"), judged(2, FALSE, reason="too")])

    assert found is not None
    assert found.candidate.docid == "1-0"


def test_rows_over_the_limit_are_not_relabelled() -> None:
    assert example_of([judged(0, FALSE, FALSE, FALSE)], limit=2) is None


def test_nothing_relabelled_gives_no_example() -> None:
    assert example_of([]) is None
    assert example_of([judged(0, TRUE, COPY)]) is None


def test_no_more_rows_are_read_than_needed() -> None:
    def rows() -> Iterator[JudgedRow]:
        yield judged(0, FALSE, reason="it answers")
        raise AssertionError("read on")

    assert example_of(rows()) is not None


def test_only_so_many_rows_are_looked_at() -> None:
    finder = ExampleFinder()
    for number in range(MOST_ROWS):
        finder.add(*judged(number, TRUE))
    finder.add(*judged(MOST_ROWS, FALSE))

    assert finder.is_done
    assert finder.example is None
