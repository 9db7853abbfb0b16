"""What is said of negatives before any model is asked."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.judgements import Outcome
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.sources.findings import free_findings, ids_with_two_texts, normalised
from tests.shared_data import SHARED, needs_shared_data

LONG = (
    "The Golden Gate Bridge, a suspension bridge that spans the strait between San Francisco Bay and the Pacific "
    "Ocean, was opened in 1937 after four years of work and had cost 35 million dollars by then."
)


def row(positive: Passage | str, *negatives: Passage | str) -> Row:
    return Row(
        "q", "a query", (passage(positive, "p"),), tuple(passage(text, f"n{i}") for i, text in enumerate(negatives))
    )


def passage(content: Passage | str, docid: str) -> Passage:
    return content if isinstance(content, Passage) else Passage(docid, "", content)


def reason(positive: Passage | str, negative: Passage | str) -> str | None:
    finding = free_findings(row(positive, negative)).get(0)
    return None if finding is None else finding[1]


def test_each_finding_has_its_outcome() -> None:
    found = free_findings(row(LONG, "something else", LONG.replace(" ", "\n "), Passage("p", "", LONG), " \n"))
    assert found == {
        1: (Outcome.DUPLICATE, "same-text"),
        2: (Outcome.DUPLICATE, "same-docid"),
        3: (Outcome.EMPTY, "empty"),
    }


@pytest.mark.parametrize(
    ("positive", "negative"),
    [
        ("Paris is the capital.", " Paris is\u00a0 the\n\tcapital. "),
        ("Köln ist schön", "Ko\u0308ln ist scho\u0308n"),
        (Passage("p", "Paris", "The capital of France."), Passage("n", "", "Paris\nThe capital of France.")),
        (LONG, LONG.replace(" ", "  ")),
        (("x" * 200) + "é", ("x" * 200) + "e\u0301"),
        (("x" * 95) + "é", ("x" * 95) + "e\u0301"),
    ],
)
def test_the_same_text_however_it_is_written(positive: Passage | str, negative: Passage | str) -> None:
    assert reason(positive, negative) == "same-text"


@pytest.mark.parametrize(
    ("positive", "negative"),
    [
        ("5 of it", "5% of it"),
        ("paid by us", "paid by US"),
        ("return true", "return True"),
        ("about 10² of them", "about 102 of them"),
        ("Let's eat, grandma", "Let's eat grandma"),
        ("He is ill?", "He is ill."),
        ("می\u200cخواهم", "میخواهم"),
        (Passage("p", "Myths", "It never rains."), Passage("n", "", "It never rains.")),
        ("It rose by 1.5 percent", "It rose by 15 percent"),
        ("It was -5 degrees", "It was 5 degrees"),
        ("a < b", "a > b"),
        ("They are now here.", "They are nowhere."),
        ("It was re-signed", "It was resigned"),
        (Passage("p", "The", "rapist"), Passage("n", "", "Therapist")),
        ("!!!", "???"),
        ("कि", "का"),
        (Passage("p", "Paris", "A city."), Passage("n", "Rome", "A city.")),
        (LONG, LONG.replace("1937", "1938")),
        (LONG, LONG.replace("was opened", "was not opened")),
        (LONG, LONG.replace("Pacific", "Atlantic")),
        (f"if depth > 3: {LONG}", f"if depth < 3: {LONG}"),
        (LONG, LONG[: len(LONG) // 2]),
        ("How do I get a refund?", "How do I get a refund now?"),
        (Passage("p", "One", LONG), Passage("n", "Other", LONG)),
    ],
)
def test_texts_that_say_something_else_are_left_to_the_judges(positive: Passage | str, negative: Passage | str) -> None:
    assert reason(positive, negative) is None


def test_one_id_for_two_texts_is_reported_but_settles_nothing() -> None:
    twice = row(Passage("p", "", "one text"), Passage("p", "", "another text"), Passage("p", "", " one  text"))
    assert ids_with_two_texts(twice) == [0]
    assert free_findings(twice) == {1: (Outcome.DUPLICATE, "same-docid")}


def test_an_empty_positive_has_no_copies() -> None:
    empty = Row("q", "a query", (Passage("p", "", " "), Passage("x", "", "text")), (Passage("p", "", "news"),))
    assert free_findings(empty) == {}


@given(st.text(min_size=1), st.text())
def test_any_texts_can_be_compared(positive: str, negative: str) -> None:
    both = row(positive, negative, positive)
    found = free_findings(both)
    assert found[1][0] is (Outcome.DUPLICATE if positive.strip() else Outcome.EMPTY)
    assert {outcome for outcome, _ in found.values()} <= {Outcome.DUPLICATE, Outcome.EMPTY}  # never added unasked


@needs_shared_data
@pytest.mark.parametrize("name", ["banking77", "classic"])
def test_what_is_found_in_real_sets_is_a_known_false_negative(name: str) -> None:
    truth = {}
    for line in (SHARED / name / "truth.jsonl").read_text(encoding="utf-8").splitlines():
        known = json.loads(line)
        truth[known["query_id"]] = set(known["false_negatives"])
    from hf_relabel.builders.sources import open_source

    for numbered in open_source(SHARED / name / "rows.jsonl").rows():
        negatives = numbered.row.negative_passages
        for position, (outcome, _) in free_findings(numbered.row).items():
            assert outcome is Outcome.EMPTY or negatives[position].docid in truth[numbered.row.query_id]


@given(st.text(st.characters(codec="ascii")))
def test_ascii_texts_are_normalised_like_all_others(text: str) -> None:
    # The dotted circle is a symbol and stays, and keeps the text from being ASCII.
    assert normalised(f"{text}\u25cc") == f"{normalised(text)}\u25cc"


WORDS = st.lists(
    st.sampled_from(["now", "Now", "here", "nowhere", "no", "no,", "%", "é", "e\u0301", "ﬁ", "fi", "<", "７", "7"]),
    min_size=1,
    max_size=3,
)
BETWEEN = st.lists(st.sampled_from([" ", "\n", "\u3000", "  "]), min_size=4, max_size=4)


@given(WORDS, WORDS, BETWEEN, BETWEEN)
def test_a_copy_has_the_same_words_in_the_same_order(
    one: list[str], other: list[str], between: list[str], otherwise: list[str]
) -> None:
    positive = "".join(f"{word}{mark}" for mark, word in zip(between, one, strict=False))
    negative = "".join(f"{mark}{word}" for mark, word in zip(otherwise, other, strict=False))
    same = [word.replace("e\u0301", "é") for word in one] == [word.replace("e\u0301", "é") for word in other]
    assert (reason(positive, negative) == "same-text") == same
