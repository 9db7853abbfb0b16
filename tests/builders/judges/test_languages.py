"""Prompts in other languages, and replies and passages in every script."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.base import PromptedJudge
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.judges.prompted.prompt_files import languages, wordings
from hf_relabel.builders.judges.prompted.ranking import RankingJudge, read_order
from hf_relabel.builders.judges.prompted.reply_parsing import rationales_of
from hf_relabel.builders.judges.prompted.spans import SpanJudge, read_span
from hf_relabel.builders.judges.registry import make_judge
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


# What the readers of replies look for, and every language has to ask for: in JSON, and in free text.
ASKED_FOR = {
    "listwise": (['"better"', '"worse"', '"thinking"'], ["<better>", "</better>", "<worse>", "</worse>"]),
    "pointwise": (["Yes", "No"], ["Yes", "No"]),
    "ranking": (['"order"'], ["<order>[2] > [1] > [3]</order>"]),
    "span": (['"span"'], ["<span>", "</span>", "NO_ANSWER"]),
}


def prompted(kind: str, **settings: object) -> PromptedJudge:
    judge = make_judge(kind, **settings)
    assert isinstance(judge, PromptedJudge)
    return judge


def messages(judge: PromptedJudge, *, constrained: bool) -> tuple[str, str]:
    ask = judge.asks(row_in("zh"), range(4), constrained=constrained)[0]  # type: ignore[attr-defined]
    system, user = (message.content for message in ask.request.messages)
    return system, user


@pytest.mark.parametrize("kind", ASKED_FOR)
def test_every_language_there_is_asks_for_the_same_form_in_every_wording(kind: str) -> None:
    version = prompted(kind).prompt
    found = languages(version)
    assert {"en", "de", "es", "zh", "ar"} <= set(found)
    for language, wording, constrained in itertools.product(found, wordings(version), (True, False)):
        system, user = messages(prompted(kind, language=language, wording=wording), constrained=constrained)
        _, english = messages(prompted(kind, wording=wording), constrained=constrained)
        assert "{" not in system + user
        assert [word for word in ASKED_FOR[kind][not constrained] if word not in system] == []
        assert user.splitlines()[1:-1] == english.splitlines()[1:-1]  # fences and texts; around them the language
        if language != "en":
            assert user.splitlines()[0] != english.splitlines()[0]
            assert user.splitlines()[-1] != english.splitlines()[-1]


@pytest.mark.parametrize("kind", ASKED_FOR)
def test_another_language_is_another_setting_with_a_hash_of_its_own(kind: str) -> None:
    found = [prompted(kind, language=language).settings() for language in languages(prompted(kind).prompt)]

    assert len({settings["prompt_sha256"] for settings in found}) == len(found)
    assert prompted(kind).settings()["language"] == "en"
    assert all(sorted(settings) == sorted(found[0]) for settings in found)


@pytest.mark.parametrize("language", ["tlh", "../en", "", "v1", 5, None])
def test_a_language_that_is_not_there_is_named(language: object) -> None:
    with pytest.raises(ConfigError, match="language"):
        make_judge("span", language=language)


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
        "\u202b<better>\u2067[2]\u2069، \u200f[3]</better>\n<worse>[]\u200e</worse>\u202c",
        '{"better": ["【２】", "\u200f3"], "worse": []}',
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


@pytest.mark.parametrize(
    "ids",
    [
        "[٢]",  # digits of Arabic, of Persian, in Chinese
        "[۲]",
        "[二]",
        "[②]",
        "1\u200f2",  # 12, or 1 and 2?
        "1\u200f\u2067\u200f2",
        "\u202e[2]",  # an override turns numbers round
        "[2]。[3]",
    ],
)
def test_other_digits_are_no_ids(ids: str) -> None:
    judge = ListwiseJudge(reasoning=False)
    (ask,) = judge.asks(row_in("ar"), range(4), constrained=False)

    said = judge.read(ask, Reply(f"<better>{ids}</better><worse>[]</worse>"))

    assert {found.label for found in said.values()} == {Label.UNPARSABLE}


def test_reasons_are_found_behind_full_width_ids() -> None:
    reasons = rationales_of("【1】说出了首都\n（２）：不相关\n[3] باريس\n3】 nothing")

    assert reasons == {1: "说出了首都", 2: "不相关", 3: "باريس"}


@given(
    st.permutations([1, 2, 3, 4]), st.sampled_from(["[{}]", "【{}】", "［{}］", "{}"]), st.sampled_from(">＞、，،؛;,")
)
def test_an_order_is_read_in_any_brackets_and_with_any_separator(order: list[int], bracket: str, between: str) -> None:
    text = f" {between} ".join(bracket.format(number) for number in order)
    wide = text.translate(str.maketrans("1234", "１２３４"))

    assert read_order(Reply(f"<order>{text}</order>"), 4, constrained=False) == order
    assert read_order(Reply(f"<order>\u2067{wide}\u2069</order>"), 4, constrained=False) == order


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
