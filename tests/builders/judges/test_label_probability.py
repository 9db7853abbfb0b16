"""The probability of a label never exceeds that of the tokens that can only mean it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.endpoint import TokenLogprob
from hf_relabel.builders.judges.prompted.label_probability import first_token, label_begun, label_masses, label_named

LABELS = {"yes": ("Yes",), "no": ("No",)}
TOKENS = st.one_of(
    st.sampled_from(
        ["Yes", " yes", "YES", "▁Yes", "Y", "No", "no", " N", "Not", "\n", "", "<s>", "はい", "نعم", "Ｙｅｓ"]
    ),
    st.text(max_size=6),
)
LOGPROBS = st.floats(max_value=0, allow_nan=False)


def token(text: str, probability: float = 0.5, *others: tuple[str, float]) -> TokenLogprob:
    return TokenLogprob(text, math.log(probability), tuple((other, math.log(share)) for other, share in others))


def test_the_chosen_token_counts_once_though_it_is_among_its_alternatives() -> None:
    said = token("Yes", 0.5, ("Yes", 0.5), (" yes", 0.25), ("No", 0.125))
    assert label_masses(said, LABELS) == pytest.approx({"yes": 0.75, "no": 0.125})


def test_the_chosen_token_counts_though_it_is_not_among_the_best() -> None:
    """As when it was sampled, or the server reports fewer alternatives than asked for."""
    assert label_masses(token("No", 0.25, ("Yes", 0.5)), LABELS) == pytest.approx({"yes": 0.5, "no": 0.25})


def test_a_token_that_the_grammar_ruled_out_adds_nothing() -> None:
    said = TokenLogprob("Yes", 0.0, (("No", float("-inf")),))
    assert label_masses(said, LABELS) == {"yes": 1.0, "no": 0.0}


@given(TOKENS, LOGPROBS, st.lists(st.tuples(TOKENS, LOGPROBS), max_size=5))
def test_masses_are_at_most_one_and_made_of_label_tokens_alone(
    text: str, logprob: float, top: list[tuple[str, float]]
) -> None:
    masses = label_masses(TokenLogprob(text, logprob, tuple(top)), LABELS)
    assert set(masses) == set(LABELS)
    # Of equal texts the first counts.
    shares = {other: math.exp(value) for other, value in [*reversed(top), (text, logprob)]}
    for label, mass in masses.items():
        mine = sum(share for other, share in shares.items() if label_begun(other, LABELS) == label)
        assert mass == pytest.approx(min(1.0, mine))


@given(st.text(max_size=12))
def test_a_text_names_a_label_only_if_it_says_it(text: str) -> None:
    label = label_named(text, LABELS)
    assert label is None or label in text.casefold()
    begun = label_begun(text, LABELS)
    assert begun is None or text.strip("▁Ġ \t\r\n\"'*`([").casefold()[:1] == begun[0]


def test_white_space_and_marks_of_a_turn_are_passed_over() -> None:
    assert first_token([token("\n"), token("<|assistant|>"), token("▁"), token("Yes")]) == token("Yes")
    assert first_token([token(" "), token("<think>")]) is None
    assert first_token([]) is None
