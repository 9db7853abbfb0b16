"""The techniques by example, and the promises that hold for any row."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.judgements import Outcome, Verdict
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.techniques import Change, Dropped, RowDropped, Technique, account, account_all, apply


def passage(docid: str) -> Passage:
    return Passage(docid=docid, title="", text=f"text of {docid}")


def row_of(positives: str, negatives: str) -> Row:
    """A row whose passages are named by one letter each."""
    return Row("q1", "a query", tuple(map(passage, positives)), tuple(map(passage, negatives)), "nq")


def verdicts_on(row: Row, **outcomes: Outcome) -> list[Verdict]:
    """A verdict for each negative: the outcome given for its docid, otherwise `NEGATIVE`."""
    return [
        Verdict(position, negative.docid, outcomes.get(negative.docid, Outcome.NEGATIVE), "judged")
        for position, negative in enumerate(row.negative_passages)
    ]


def docids(passages: tuple[Passage, ...]) -> str:
    return "".join(passage.docid for passage in passages)


ROW = row_of("P", "abcdef")
VERDICTS = verdicts_on(
    ROW,
    a=Outcome.FALSE_NEGATIVE,
    b=Outcome.DOUBTFUL,
    c=Outcome.UNJUDGED,
    d=Outcome.EMPTY,
    e=Outcome.DUPLICATE,
)


@pytest.mark.parametrize(
    ("technique", "positives", "negatives"),
    [
        ("original", "P", "abcdef"),
        ("remove-hn", "P", "bcf"),
        ("relabel", "Pa", "bcf"),
        ("relabel-filter", "Pa", "cf"),
    ],
)
def test_each_technique_on_one_row(technique: str, positives: str, negatives: str) -> None:
    rewritten = apply(technique, ROW, VERDICTS)

    assert rewritten is not None
    assert docids(rewritten.positive_passages) == positives
    assert docids(rewritten.negative_passages) == negatives
    assert (rewritten.query_id, rewritten.query, rewritten.subset) == ("q1", "a query", "nq")


def test_a_row_that_the_filter_would_empty_keeps_its_doubtful_negatives_where_that_is_wanted() -> None:
    emptied = row_of("P", "abc")
    found = verdicts_on(emptied, a=Outcome.FALSE_NEGATIVE, b=Outcome.DOUBTFUL, c=Outcome.DOUBTFUL)
    kept = {least: account("relabel-filter", emptied, found, min_negatives=least).kept for least in (0, 1)}
    assert kept == {0: (), 1: (1, 2)}
    assert account("relabel-filter", emptied, found, min_negatives=1).moved == (0,)
    # Where others are left the filter goes on, and no other technique changes.
    assert account("relabel-filter", ROW, VERDICTS, min_negatives=2).kept == (2, 5)
    assert account("relabel-filter", ROW, VERDICTS, min_negatives=3).kept == (1, 2, 5)
    for technique in set(Technique) - {Technique.RELABEL_FILTER}:
        assert account(technique, ROW, VERDICTS, min_negatives=9) == account(technique, ROW, VERDICTS)


@pytest.mark.parametrize("outcome", [Outcome.FALSE_NEGATIVE, Outcome.DUPLICATE])
def test_remove_drops_the_row_for_any_false_negative(outcome: Outcome) -> None:
    row = row_of("P", "ab")

    assert apply("remove", row, verdicts_on(row, b=outcome)) is None


def test_remove_keeps_a_row_without_false_negatives_but_not_its_empty_passages() -> None:
    row = row_of("P", "abcd")
    verdicts = verdicts_on(row, a=Outcome.EMPTY, b=Outcome.DOUBTFUL, c=Outcome.UNJUDGED)

    assert apply("remove", row, verdicts) == row_of("P", "bcd")


def test_moved_passages_keep_the_order_they_had_among_the_negatives() -> None:
    row = row_of("PQ", "abcde")
    verdicts = verdicts_on(row, d=Outcome.FALSE_NEGATIVE, b=Outcome.FALSE_NEGATIVE)

    assert apply("relabel", row, list(reversed(verdicts))) == row_of("PQbd", "ace")


def test_more_false_negatives_than_the_limit_make_the_query_ambiguous() -> None:
    row = row_of("P", "abcdefgh")
    seven = verdicts_on(row, **dict.fromkeys("abcdefg", Outcome.FALSE_NEGATIVE))
    eight = verdicts_on(row, **dict.fromkeys("abcdefgh", Outcome.FALSE_NEGATIVE))

    assert apply("relabel", row, seven) == row_of("Pabcdefg", "h")
    for technique in ("remove-hn", "relabel", "relabel-filter"):
        assert apply(technique, row, eight) is None
        assert account(technique, row, eight).row_dropped is RowDropped.OVER_LIMIT
        assert apply(technique, row, eight, limit=8) is not None
    assert apply("original", row, eight) is row


def test_copies_do_not_count_towards_the_limit() -> None:
    row = row_of("P", "abcdefgh")
    one_copy_of_a_positive = dict.fromkeys("abcdefg", Outcome.FALSE_NEGATIVE) | {"h": Outcome.DUPLICATE}
    assert apply("relabel", row, verdicts_on(row, **one_copy_of_a_positive)) == row_of("Pabcdefg", "")

    twice = row_of("P", "abcdefgg")
    all_false = verdicts_on(twice, **dict.fromkeys("abcdefg", Outcome.FALSE_NEGATIVE))
    assert apply("relabel", twice, all_false) == row_of("Pabcdefg", "")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Passage("a", "", "one"), Passage("a", "", "another")),
        (Passage("a", "", "same"), Passage("b", "", "same")),
    ],
    ids=["same docid", "same text"],
)
def test_equal_false_negatives_move_once(first: Passage, second: Passage) -> None:
    row = Row("q1", "a query", (passage("P"),), (first, second))
    verdicts = [Verdict(0, first.docid, Outcome.FALSE_NEGATIVE, "judged")]
    verdicts.append(Verdict(1, second.docid, Outcome.FALSE_NEGATIVE, "judged"))

    assert account("relabel", row, verdicts) == Change(kept=(), moved=(0,), dropped={1: Dropped.REPEATED})


def test_a_false_negative_that_is_a_positive_already_gets_no_second_copy() -> None:
    row = row_of("P", "Pa")
    verdicts = verdicts_on(row, P=Outcome.FALSE_NEGATIVE)

    assert apply("relabel", row, verdicts) == row_of("P", "a")


def test_a_row_left_without_negatives_stays() -> None:
    row = row_of("P", "a")

    assert apply("remove-hn", row, verdicts_on(row, a=Outcome.FALSE_NEGATIVE)) == row_of("P", "")


def test_a_negative_without_a_verdict_is_unjudged_and_stays() -> None:
    assert apply("relabel-filter", ROW, []) is ROW


@pytest.mark.parametrize(
    "verdicts",
    [
        [Verdict(6, "a", Outcome.NEGATIVE, "judged")],
        [Verdict(-1, "f", Outcome.NEGATIVE, "judged")],
        [Verdict(0, "b", Outcome.NEGATIVE, "judged")],
        [Verdict(0, "a", Outcome.NEGATIVE, "judged"), Verdict(0, "a", Outcome.EMPTY, "empty")],
    ],
    ids=["past the end", "negative position", "another docid", "two verdicts"],
)
def test_verdicts_of_another_row_are_refused(verdicts: list[Verdict]) -> None:
    with pytest.raises(BuildError, match="does not fit row 'q1'"):
        apply("relabel", ROW, verdicts)


passages = st.builds(Passage, docid=st.sampled_from("abcdefgh"), title=st.just(""), text=st.sampled_from("stuvwxyz"))


@st.composite
def judged_rows(draw: st.DrawFn) -> tuple[Row, list[Verdict]]:
    """Rows with repeated docids and texts, and a verdict for most of their negatives, in any order."""
    positives = draw(st.lists(passages, max_size=3))
    negatives = draw(st.lists(passages, max_size=12))
    row = Row("q", "query", tuple(positives), tuple(negatives), draw(st.sampled_from(["", "nq"])))
    outcomes = draw(st.lists(st.none() | st.sampled_from(Outcome), min_size=len(negatives), max_size=len(negatives)))
    verdicts = [
        Verdict(position, negatives[position].docid, outcome, "judged")
        for position, outcome in enumerate(outcomes)
        if outcome is not None
    ]
    return row, draw(st.permutations(verdicts))


techniques = st.sampled_from(Technique)
limits = st.integers(min_value=0, max_value=9)


@given(judged_rows(), techniques, limits)
def test_every_passage_is_accounted_for_exactly_once(
    judged: tuple[Row, list[Verdict]], technique: Technique, limit: int
) -> None:
    row, verdicts = judged
    change = account(technique, row, verdicts, limit=limit)
    rewritten = apply(technique, row, verdicts, limit=limit)

    assert sorted([*change.kept, *change.moved, *change.dropped]) == list(range(len(row.negative_passages)))
    if rewritten is None:
        assert change.row_dropped is not None
        assert set(change.dropped.values()) <= {Dropped.ROW}
        return
    dropped = [row.negative_passages[position] for position in change.dropped]
    after = [*rewritten.positive_passages, *rewritten.negative_passages, *dropped]
    assert Counter(after) == Counter([*row.positive_passages, *row.negative_passages])
    assert rewritten.to_dict().keys() == row.to_dict().keys()


@given(judged_rows(), techniques, limits)
def test_order_is_stable(judged: tuple[Row, list[Verdict]], technique: Technique, limit: int) -> None:
    row, verdicts = judged
    change = account(technique, row, verdicts, limit=limit)
    rewritten = apply(technique, row, verdicts, limit=limit)

    assert list(change.kept) == sorted(change.kept)
    assert list(change.moved) == sorted(change.moved)
    if rewritten is not None:
        assert rewritten.positive_passages[: len(row.positive_passages)] == row.positive_passages


@given(judged_rows(), techniques, limits)
def test_applying_a_technique_again_changes_nothing(
    judged: tuple[Row, list[Verdict]], technique: Technique, limit: int
) -> None:
    row, verdicts = judged
    rewritten = apply(technique, row, verdicts, limit=limit)
    if rewritten is None:
        return
    new_position = {old: new for new, old in enumerate(account(technique, row, verdicts, limit=limit).kept)}
    remaining = [
        replace(verdict, position=new_position[verdict.position])
        for verdict in verdicts
        if verdict.position in new_position
    ]

    assert apply(technique, rewritten, remaining, limit=limit) == rewritten


@given(judged_rows(), limits)
def test_original_is_the_identity(judged: tuple[Row, list[Verdict]], limit: int) -> None:
    row, verdicts = judged

    assert apply(Technique.ORIGINAL, row, verdicts, limit=limit) is row


@given(judged_rows(), limits)
def test_all_techniques_at_once_say_the_same_as_one_by_one(judged: tuple[Row, list[Verdict]], limit: int) -> None:
    row, verdicts = judged
    together = account_all(Technique, row, verdicts, limit=limit)

    assert together == {technique: account(technique, row, verdicts, limit=limit) for technique in Technique}


@given(judged_rows(), limits)
def test_no_passage_that_a_technique_adds_is_added_twice(judged: tuple[Row, list[Verdict]], limit: int) -> None:
    row, verdicts = judged
    change = account(Technique.RELABEL, row, verdicts, limit=limit)
    moved = [row.negative_passages[position] for position in change.moved]

    assert len(change.moved) <= limit
    for key in ("docid", "text"):
        values = [getattr(passage, key) for passage in moved]
        assert len(values) == len(set(values))
        assert not {getattr(passage, key) for passage in row.positive_passages} & set(values)
