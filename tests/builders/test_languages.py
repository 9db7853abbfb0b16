"""Prompts in other languages, and replies and passages in every script."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.listwise import ListwiseJudge
from hf_relabel.builders.judges.pointwise import PointwiseJudge
from hf_relabel.builders.judges.prompting import languages, wordings
from hf_relabel.builders.judges.ranking import RankingJudge, read_order
from hf_relabel.builders.judges.spans import SpanJudge, read_span
from hf_relabel.builders.rows import Passage, Row

TEXTS = {
    "zh": ("法国的首都是哪里？", "巴黎是法国的首都。"),
    "ja": ("フランスの首都はどこですか", "パリはフランスの首都です。"),
    "ko": ("프랑스의 수도는 어디입니까", "파리는 프랑스의 수도이다."),
    "ar": ("ما هي عاصمة فرنسا؟", "باريس هي عاصمة فرنسا."),
    "he": ("מהי בירת צרפת?", "פריז היא בירת צרפת."),
    "mixed": ("capital של \u202bصرنسا\u202c 法国", "The \u2067فرنسا\u2069 首都 is Paris"),
}


def row_in(script: str) -> Row:
    query, text = TEXTS[script]
    negatives = tuple(Passage(f"n{number}", "", f"{text} ({number})") for number in range(4))
    return Row("q", query, (Passage("p", "", text),), negatives)


@pytest.mark.parametrize("judge", [ListwiseJudge, PointwiseJudge])
def test_every_language_there_is_renders_in_every_wording(judge: type[ListwiseJudge] | type[PointwiseJudge]) -> None:
    plain = judge()
    found = languages(plain.prompt)
    assert {"en", "de", "es", "zh", "ar"} <= set(found)
    hashes = set()
    for language in found:
        for wording in wordings(plain.prompt):
            for constrained in (True, False):
                made = judge(language=language, wording=wording)
                ask = made.asks(row_in("zh"), range(4), constrained=constrained)[0]
                system, user = (message.content for message in ask.request.messages)
                assert "{{" not in system + user
                assert TEXTS["zh"][0] in user
                if judge is ListwiseJudge:
                    # What the parser reads stays the same in all languages.
                    for word in ('"better"', '"worse"') if constrained else ("<better>", "<worse>"):
                        assert word in system
                else:
                    assert "Yes" in system
                    assert "No" in system
        hashes.add(judge(language=language).settings()["prompt_sha256"])
    assert len(hashes) == len(found)


@pytest.mark.parametrize("script", TEXTS)
def test_every_script_goes_through_every_judge(script: str) -> None:
    row = row_in(script)
    listwise, pointwise, span, ranking = ListwiseJudge(), PointwiseJudge(), SpanJudge(), RankingJudge()
    (ask,) = listwise.asks(row, range(4), constrained=True)
    thinking = "\n".join(f"[{number}] {TEXTS[script][1]}" for number in range(1, 5))
    said = listwise.read(ask, Reply(json.dumps({"thinking": thinking, "better": [2], "worse": []}, ensure_ascii=False)))
    assert said[ask.positions[1]].label is Label.BETTER
    assert said[ask.positions[1]].rationale == TEXTS[script][1]

    free = f"<thinking>\n{thinking}\n</thinking>\n<better>[2]</better>\n<worse>[]</worse>"
    (ask,) = listwise.asks(row, range(4), constrained=False)
    assert listwise.read(ask, Reply(free))[ask.positions[1]].label is Label.BETTER

    (ask, *_) = pointwise.asks(row, range(4), constrained=True)
    assert pointwise.read(ask, Reply("Yes"))[0].label is Label.BETTER

    (ask, *_) = span.asks(row, range(4), constrained=True)
    quoted = TEXTS[script][1][:8]
    found = span.read(ask, Reply(json.dumps({"span": quoted})))[0]
    assert (found.label, found.rationale) == (Label.WORSE, quoted.strip())

    (ask,) = ranking.asks(row, range(4), constrained=True)
    assert ranking.read(ask, Reply(json.dumps({"order": [5, 4, 3, 2, 1]})))[ask.positions[0]].label.is_answer


@pytest.mark.parametrize(
    "verdict",
    [
        "<better>【2】、【3】</better><worse>无</worse>",
        "<better>［２］，［３］</better><worse>［］</worse>",
        "<better>[2]، [3]</better><worse>[]</worse>",
        "<better>[2؛ 3]</better><worse>[]</worse>",
    ],
)
def test_lists_as_models_write_them_in_other_scripts(verdict: str) -> None:
    judge = ListwiseJudge(reasoning=False)
    (ask,) = judge.asks(row_in("zh"), range(4), constrained=False)

    labels = {number: judge.read(ask, Reply(verdict))[ask.positions[number - 1]].label for number in range(1, 5)}

    if "无" in verdict:  # a word that is no list of ids in our format: nothing is guessed
        assert set(labels.values()) == {Label.UNPARSABLE}
    else:
        assert [number for number, label in labels.items() if label is Label.BETTER] == [2, 3]


def test_other_digits_are_no_ids() -> None:
    judge = ListwiseJudge(reasoning=False)
    (ask,) = judge.asks(row_in("ar"), range(4), constrained=False)

    said = judge.read(ask, Reply("<better>[٢]</better><worse>[]</worse>"))

    assert {found.label for found in said.values()} == {Label.UNPARSABLE}


SCRIPTS = st.text(
    st.one_of(
        st.sampled_from("[]()<>/,123【】［］（）、，؛،０１２３\u202e\u2067\u2069 \n"),
        st.characters(min_codepoint=0x590, max_codepoint=0x6FF),
        st.characters(min_codepoint=0x4E00, max_codepoint=0x4FFF),
    ),
    max_size=40,
)
PIECES = st.lists(
    st.one_of(
        SCRIPTS,
        st.sampled_from(
            [
                "<better>",
                "</better>",
                "<worse>",
                "</worse>",
                "<order>",
                "</order>",
                "<span>",
                "</span>",
                "【2】",
                "２",
                "[1]",
            ]
        ),
    ),
    max_size=12,
).map("".join)


@given(PIECES)
def test_no_mixture_of_scripts_makes_a_parser_fail_or_invent(text: str) -> None:
    row = row_in("mixed")
    for judge in (ListwiseJudge(), PointwiseJudge(), SpanJudge(), RankingJudge()):
        for constrained in (True, False):
            for ask in judge.asks(row, range(4), constrained=constrained):
                assert set(judge.read(ask, Reply(text))) == set(ask.positions)
    order = read_order(Reply(text), 3, constrained=False)
    assert order is None or sorted(order) == [1, 2, 3]
    label, span = read_span(Reply(text), row.negative_passages[0].text, constrained=False)
    if label is Label.WORSE:
        assert " ".join(span.split()) in " ".join(row.negative_passages[0].text.split())
