"""How long texts are cut for a prompt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.prompted.passage_cutting import best_window, check_cut_rule, shown_passage, shown_text
from hf_relabel.builders.rows import Passage


def test_a_long_text_is_cut_with_a_mark() -> None:
    assert shown_text("short", max_chars=5) == ("short", False)
    assert shown_text("x" * 100_000, max_chars=8000) == ("x" * 8000 + " […92000 more characters left out…]", True)


def test_head_keeps_the_beginning_and_window_the_part_that_answers() -> None:
    text = "Filler words come first. " * 40 + "The capital of France is Paris. " + "More filler follows here. " * 40
    query = "What is the capital of France?"

    head, head_cut = shown_passage(Passage("d", "", text), query, max_chars=200, rule="head")
    window, window_cut = shown_passage(Passage("d", "", text), query, max_chars=200, rule="window")

    assert head_cut
    assert window_cut
    assert head.text.startswith("Filler")
    assert "Paris" not in head.text
    assert "The capital of France is Paris." in window.text
    assert window.text.startswith("[…")
    assert window.text.endswith("left out…]")


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("法国的首都是哪里", "法国的首都是巴黎。"),
        ("フランスの首都はどこですか", "フランスの首都はパリです。"),
        ("ما هي عاصمة فرنسا", "عاصمة فرنسا هي باريس."),
        ("מהי בירת צרפת", "בירת צרפת היא פריז."),
    ],
)
def test_the_best_window_is_found_in_every_script(query: str, answer: str) -> None:
    text = "Lorem ipsum dolor sit amet. " * 30 + answer + " Consectetur adipiscing elit." * 30

    shown, was_cut = shown_passage(Passage("d", "", text), query, max_chars=120, rule="window")

    assert was_cut
    assert answer in shown.text


@given(st.text(max_size=300), st.text(max_size=40), st.integers(min_value=1, max_value=80))
def test_a_window_lies_within_the_text(text: str, query: str, length: int) -> None:
    start = best_window(text, query, length)

    assert 0 <= start <= max(0, len(text) - length)


@given(st.text(max_size=300), st.sampled_from(["head", "window"]), st.integers(min_value=1, max_value=80))
def test_what_is_shown_is_cut_exactly_when_it_says_so(text: str, rule: str, length: int) -> None:
    shown, was_cut = shown_passage(Passage("d", "", text), "a query", max_chars=length, rule=rule)  # type: ignore[arg-type]

    assert was_cut == (len(text) > length)
    assert ("more characters left out…]" in shown.text) or not was_cut


def test_a_rule_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected head or window"):
        check_cut_rule("tail")
