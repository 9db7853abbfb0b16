"""Prompts that are too long for a server are split, then cut, and those that have room stay as they are."""

from __future__ import annotations

from hf_relabel.builders.endpoint import EndpointInfo
from hf_relabel.builders.judges.prompted.fitting_context import Fitted, Room, fitted, smallest, tokens
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.rows import Passage, Row


def row_of(*lengths: int) -> Row:
    texts = [f"passage {number} " + "word " * (length // 5) for number, length in enumerate(lengths)]
    negatives = tuple(Passage(str(number), "", text) for number, text in enumerate(texts))
    return Row("q", "a query", (Passage("p", "", "the truth"),), negatives, "nq")


def test_a_prompt_that_has_room_is_left_alone() -> None:
    judge, row = ListwiseJudge(), row_of(*[400] * 8)
    made = fitted(judge, Room(context=8192))
    assert made.asks(row, range(8), constrained=True) == judge.asks(row, range(8), constrained=True)
    assert fitted(judge, Room()) is judge
    assert made.settings() == judge.settings()
    assert made.kind == judge.kind


def test_a_long_prompt_is_asked_in_several_that_cover_each_candidate_once() -> None:
    judge, row = ListwiseJudge(), row_of(*[3000] * 16)
    made = fitted(judge, Room(context=8192))
    assert isinstance(made, Fitted)
    asks = made.asks(row, range(16), constrained=True)
    assert len(asks) > 1
    assert sorted(position for ask in asks for position in ask.positions) == list(range(16))
    assert all(tokens(ask.request) + ask.request.max_tokens <= 8192 for ask in asks)
    assert not any(ask.cut for ask in asks)  # splitting was enough
    assert made.is_changed(row, range(16), constrained=True)


def test_one_candidate_that_is_too_long_is_cut_and_says_so() -> None:
    row = row_of(7000, 60)
    for judge in (ListwiseJudge(), PointwiseJudge()):
        asks = fitted(judge, Room(context=2048)).asks(row, [0, 1], constrained=True)
        by_position = {position: ask for ask in asks for position in ask.positions}
        assert by_position[0].cut == {0}
        assert all(tokens(ask.request) + ask.request.max_tokens <= 2048 for ask in asks)


def test_the_reply_gets_what_the_prompt_leaves_and_a_quarter_at_least() -> None:
    judge, row = ListwiseJudge(max_tokens=2048), row_of(60)
    (ask,) = fitted(judge, Room(context=2048)).asks(row, [0], constrained=True)
    assert 512 <= ask.request.max_tokens < 2048
    assert tokens(ask.request) + ask.request.max_tokens <= 2048


def test_the_bound_of_the_prompt_alone_counts_too() -> None:
    assert Room(context=8192, prompt=1000).for_prompt(256) == 1000
    assert Room(context=1024).for_prompt(2048) == 768
    assert Room.of(EndpointInfo("m", max_total_tokens=4096, max_input_tokens=0)) == Room(4096)
    assert smallest([Room(4096), Room(8192, 100), Room()]) == Room(4096, 100)
