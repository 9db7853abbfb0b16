"""Nothing that comes from the data can become more than text in a card."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hf_relabel.builders.readme.front_matter import Readme
from hf_relabel.builders.readme.markdown import Markdown, as_code, as_text, one_line, table
from hf_relabel.builders.readme.markers import BEGIN, END, find_block
from hf_relabel.cards.data_card import render_card
from tests.cards.card_data import HOSTILE, LINKED_AFTERWARDS, Page, facts
from tests.examples import drawn

pieces = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=20), st.text("<>&`*_[]()!|\\$@:#.-+~={}'\" \n1aw", max_size=12)
)
hostile_text = st.lists(pieces, min_size=1, max_size=4).map("".join)


def wrapped(text: str) -> Callable[[str], str]:
    """Names with the text in them, each still different from the others."""
    return lambda name: f"{text}{name}{text}"


@functools.cache
def honest() -> Page:
    return Page.of(render_card(facts(), None))


def page_with_text_only(text: str) -> Page:
    """The page of a release that has the text everywhere: its tags are those of an honest one."""
    page = Page.of(render_card(facts(wrapped(text), license="apache-2.0"), None))
    assert page.tags == honest().tags
    assert page.comments == honest().comments
    assert not any(LINKED_AFTERWARDS.search(part) for part in page.texts)
    return page


@pytest.mark.parametrize("text", HOSTILE)
def test_names_and_passages_show_as_they_are_and_nothing_else_does(text: str) -> None:
    page = page_with_text_only(text)
    for name in ("nq", "cheap", "some/model", "A title", "It answers."):
        assert one_line(wrapped(text)(name)) in page.text
    assert one_line(wrapped(text)("fever")) in " ".join(page.alts[0].split())


@drawn(10)
@given(hostile_text)
def test_no_text_makes_a_tag_a_link_or_a_comment(text: str) -> None:
    page_with_text_only(text)


@drawn(10)
@given(hostile_text)
def test_no_text_forges_a_marker_or_front_matter(text: str) -> None:
    card = render_card(facts(wrapped(text)), None)
    readme = Readme.parse(card)

    assert set(readme.metadata()) == set(Readme.parse(render_card(facts(source_datasets=["a/b"]), None)).metadata()) - (
        set() if "source_datasets" in readme.metadata() else {"source_datasets"}
    )
    assert readme.metadata()["license"] == "apache-2.0"
    assert find_block(readme.body) == (readme.body.index(BEGIN), readme.body.rindex(END) + len(END))
    assert render_card(facts(wrapped(text)), card) == card


@drawn(20)
@given(hostile_text)
@example("a" * 50)
def test_text_shows_as_itself_wherever_it_stands(text: str) -> None:
    shown = one_line(text)
    for page in (
        Page.of(as_text(text)),
        Page.of(f"> {as_text(text)}"),
        Page.of(f"- {as_text(text)}"),
        Page.of(table(["a", "b"], [[text, 1], [as_code(text), 2]])),
    ):
        assert page.text == shown or shown in page.text
        assert {name for name, _ in page.tags} <= {
            *("p", "blockquote", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code"),
            *("/p", "/blockquote", "/ul", "/li", "/table", "/thead", "/tbody", "/tr", "/th", "/td", "/code"),
        }
        assert not any(LINKED_AFTERWARDS.search(part) for part in page.texts)


def test_a_table_keeps_its_shape() -> None:
    page = Page.of(table(["a", "b"], [["x | y \\| z", 1], ["`|`", 2]]))

    assert [name for name, _ in page.tags].count("td") == 4


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n\n b\tc", "a b c"),
        ("\u202etxt.exe", "�txt.exe"),
        ("a\u2066b\u2069", "a�b�"),
        ("\x00\x1b[31m", "��[31m"),
        ("\ud800", "�"),
        ("می‌خواهم", "می‌خواهم"),
        ("👩‍🔬", "👩‍🔬"),
        ("", ""),
    ],
)
def test_what_hides_or_reorders_text_is_made_visible(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_markdown_of_ours_is_left_alone() -> None:
    assert table(["a"], [[Markdown("**x**")]]).endswith("| **x** |")
    assert as_text("plain, words - and 1.5 numbers.") == "plain, words - and 1.5 numbers."
