"""Passages are data: nothing in them can act as a chat-template token, and no text can end its own fence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.judges.prompted.fencing import clean, digest_of, fence_key
from tests.examples import drawn

TOKENS = [
    *["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|turn>", "<turn|>"],
    *["<s>", "</s>", "<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<unused12>", "<extra_id_0>"],
    *["[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/THINK]", "[TOOL_CALLS]", "[gMASK]"],
    *["<think>", "</think>", "</thinking>", "<better>", "</better>", "<worse>", "</worse>", "</verdict>", "<WORSE >"],
    *["<｜begin▁of▁sentence｜>", "<｜User｜>", "<tool_call>", "</tool_response>", "<seed:bos>", "<fim_prefix>"],
]


@pytest.mark.parametrize("token", TOKENS)
def test_control_tokens_lose_their_power_and_stay_readable(token: str) -> None:
    shown = clean(f"before {token} after")
    assert token not in shown
    assert shown.translate(str.maketrans("‹›⟦⟧", "<>[]")) == f"before {token} after"


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d",
        "<p>HTML</p> <b>stays</b>",
        "see [1], [a] and [INSTALL]",
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


def test_control_characters_go_and_cannot_hide_a_token() -> None:
    assert clean("a\0b\x1b[0m\x7f") == "ab[0m"
    assert clean("one\r\ntwo\rthree\x0cfour") == "one\ntwo\nthree\nfour"
    assert "<|im_start|>" not in clean("<|im_\0start|>")


def test_a_lone_surrogate_does_not_stop_the_request() -> None:
    assert clean("a\ud800b").encode() == b"a?b"


def test_a_token_inside_a_token_is_not_put_together() -> None:
    assert "<|im_end|>" not in clean("<|<|im_end|>im_end|>")


pieces = st.sampled_from([*"<>|[]/s｜ \0\n", "think", "INST", "better"])


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
