"""The judges that ask, against a real llama.cpp behind TGI's protocol. SmolLM2-135M is too weak to judge: this shows
that logprobs, grammars and free text come through, not that what it says is right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.judges.prompted.ranking import RankingJudge
from hf_relabel.builders.judges.prompted.spans import SpanJudge
from hf_relabel.builders.judges.protocols import Ask, PromptJudge
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.hub_tools.endpoints.dialects.tgi import TgiEndpoint
from tests.facade import Facade, LlamaBackend

ROW = Row(
    "q1",
    "what is the capital of France",
    (Passage("p1", "", "Paris is the capital of France."),),
    (Passage("n1", "", "France has its capital in Paris."), Passage("n2", "", "Bananas are yellow.")),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Facade]:
    with Facade(LlamaBackend(context=2048)) as facade:
        yield facade


def asked(server: Facade, judge: PromptJudge) -> tuple[list[Reply], dict[int, Judgement]]:
    """What the model replies, and what the judge makes of it."""

    async def ask(asks: Sequence[Ask]) -> list[Reply]:
        endpoint = TgiEndpoint(server.url, chat_template="chatml")
        try:
            return [await endpoint.complete(each.request) for each in asks]
        finally:
            await endpoint.close()

    asks = judge.asks(ROW, range(2), constrained=True)
    replies = asyncio.run(ask(asks))
    said: dict[int, Judgement] = {}
    for each, reply in zip(asks, replies, strict=True):
        said |= judge.read(each, reply)
    return replies, said


@pytest.mark.soak
def test_a_score_comes_from_the_logprobs_of_a_real_model(server: Facade) -> None:
    replies, said = asked(server, PointwiseJudge())
    assert all(1 <= len(reply.logprobs) <= 2 and len(reply.logprobs[0].top) == 5 for reply in replies)
    assert [position for position, judgement in said.items() if judgement.score is None] == []
    assert said[0].score != said[1].score
    assert all(0 < (judgement.score or 0) < 1 for judgement in said.values())


@pytest.mark.soak
def test_a_quotation_and_an_order_follow_their_grammar(server: Facade) -> None:
    _, spans = asked(server, SpanJudge(max_tokens=60, max_span_chars=60))
    unread = {judgement.rationale for judgement in spans.values() if judgement.label is Label.UNPARSABLE}
    assert unread <= {"quotes what the passage does not say"}  # it followed the grammar, and may have made things up
    replies, orders = asked(server, RankingJudge(max_tokens=40))
    assert replies[0].text.startswith('{"order":')
    assert set(orders) == {0, 1}
