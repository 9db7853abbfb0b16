"""The pointwise judge and models that think before they answer: their first token is no label."""

from __future__ import annotations

from typing import Any

import pytest

from hf_relabel.builders.endpoint import Reply, TokenLogprob
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.judges.prompted.ranking import RankingJudge
from hf_relabel.builders.judges.prompted.spans import SpanJudge
from tests.builders.judges.test_prompt_judges import ROW, token


def pointed(texts: list[TokenLogprob], text: str | None = None, **settings: Any) -> Any:
    judge = PointwiseJudge(**settings)
    (ask,) = judge.asks(ROW, [0], constrained=True)
    said = "".join(part.text for part in texts) if text is None else text
    return judge.read(ask, Reply(said, logprobs=tuple(texts)))[0]


def test_pointwise_asks_for_the_answer_at_once_unless_it_has_room_for_thoughts() -> None:
    for judge, thinking in ((PointwiseJudge(), False), (PointwiseJudge(max_tokens=900), None)):
        (ask,) = judge.asks(ROW, [0], constrained=True)
        assert (ask.request.thinking, ask.request.max_tokens) == (thinking, judge.max_tokens)
    assert "max_tokens" not in PointwiseJudge().settings(), "judges of before are found again"
    for other in (ListwiseJudge(), RankingJudge(), SpanJudge()):
        assert other.asks(ROW, [0], constrained=True)[0].request.thinking is None


@pytest.mark.parametrize(
    "begun", [["<think>", "No"], ["<think>", "Yes"], ["<think>", "\n"], ["<", "think>"], ["[THINK]", "Yes"]]
)
def test_pointwise_reads_no_label_in_unfinished_thoughts(begun: list[str]) -> None:
    found = pointed([token(text, 0.9) for text in begun])
    assert found.label is Label.UNPARSABLE
    assert "still thinking" in found.rationale
    assert "enable_thinking: false" in found.rationale
    assert pointed([], "".join(begun)).rationale == found.rationale


@pytest.mark.parametrize("closing", [["</think>", "\n\n"], ["</", "think", ">\n\n"], ["</think>\n\n"]])
@pytest.mark.parametrize("opening", [["<think>", "\n"], []])
def test_pointwise_reads_the_label_after_the_thoughts(opening: list[str], closing: list[str]) -> None:
    thoughts = [token(text, 0.9) for text in (*opening, "Yes", ", ", "or not", *closing)]
    found = pointed([*thoughts, token("No", 0.9, Yes=0.075)])
    assert (found.label, round(found.score, 2)) == (Label.IRRELEVANT, 0.08)
    assert pointed([], "<think>Yes</think>\nNo").label is Label.IRRELEVANT


def test_pointwise_says_what_a_reply_began_with_instead() -> None:
    assert "it began 'Okay'" in pointed([token("Okay", 0.9), token(",", 0.9)]).rationale
