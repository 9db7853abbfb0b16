"""Servers of typed decisions: what each is asked and answers, and what the pointwise judge makes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from hf_relabel.builders.endpoint import EndpointError, Reply
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.hub_tools.endpoints.dialects.decisions import DecisionsEndpoint
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.judging.run import judge

ROW = Row("q", "why is the sky blue", (Passage("p", "", "air"),), (Passage("n", "", "Air scatters blue light."),))
(ASK,) = PointwiseJudge().asks(ROW, [0], constrained=False)


def answered(path: str, body: Any) -> tuple[dict[str, Any], Reply]:
    """What a server that answers with this body is asked, and what is made of its answer."""
    seen: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path != path:
            return web.json_response({"detail": "Not Found"}, status=404)
        seen.append(await request.json())
        return web.json_response(body)

    async def work() -> Reply:
        runner = web.ServerRunner(web.Server(answer))  # type: ignore[arg-type]
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        endpoint = make_endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}{path}", model="gpt-6-luna")
        assert isinstance(endpoint, DecisionsEndpoint)
        try:
            return await endpoint.complete(ASK.request)
        finally:
            await endpoint.close()
            await runner.cleanup()

    reply = asyncio.run(work())
    return seen[0], reply


def decision(probability: float, kind: str = "predicate") -> dict[str, Any]:
    answer = {"type": kind, "name": "relevant"} | ({"probability": probability} if kind == "predicate" else {})
    return {"answers": [answer], "model": "gpt-6-luna", "usage": {"input_tokens": 80, "output_tokens": 1}}


def system_one(probability: float, mass: float) -> dict[str, Any]:
    answer = {"type": "noul", "noul": probability, "probabilities": {"yes": probability, "no": 1 - probability}}
    told = {"relevant": {"label_mass": mass, "argmax_is_label": True}}
    usage = {"input_tokens": 80, "output_tokens": 1}
    return {"object": "structured_decision", "answers": {"relevant": answer}, "usage": usage, "diagnostics": told}


@pytest.mark.parametrize("probability", [0.0, 0.25, 0.875, 1.0])
@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/systemone"])
def test_a_probability_is_the_score(path: str, probability: float) -> None:
    body = decision(probability) if path.endswith("decisions") else system_one(probability, 0.9)
    _, reply = answered(path, body)
    (said,) = PointwiseJudge().read(ASK, reply).values()
    assert said.score == pytest.approx(probability, abs=1e-6)
    assert (reply.prompt_tokens, reply.completion_tokens) == (80, 1)


def test_little_on_yes_and_no_is_no_answer() -> None:
    _, reply = answered("/v1/systemone", system_one(0.9, 0.01))
    (said,) = PointwiseJudge().read(ASK, reply).values()
    assert said.label is Label.UNPARSABLE


def test_what_is_asked_fits_the_published_types() -> None:
    asked, _ = answered("/v1/decisions", decision(0.5))
    assert asked.keys() == {"model", "input", "questions"}
    assert [message["role"] for message in asked["input"]] == ["system", "user"]
    ((question,), told) = asked["questions"], {"type", "name", "instructions"}
    assert question.keys() == told
    assert question["type"] == "predicate"
    asked, _ = answered("/v1/systemone", system_one(0.5, 1.0))
    assert asked.keys() == {"model", "state", "questions"}
    assert asked["questions"]["relevant"]["type"] == "noul"


@pytest.mark.parametrize(
    "body", [{"answers": []}, {"answers": [{"type": "predicate", "probability": 7}]}, [], {"a": 1}]
)
def test_what_is_no_decision_is_garbage(body: Any) -> None:
    with pytest.raises(EndpointError, match="no decision"):
        answered("/v1/decisions", body)


def test_a_refusal_fails_that_candidate_alone() -> None:
    with pytest.raises(EndpointError, match="declined") as caught:
        answered("/v1/decisions", decision(0.0, "refusal"))
    assert not caught.value.blame_server


def test_only_the_pointwise_judge_asks_so(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(orjson.dumps(ROW.to_dict()))
    with pytest.raises(ConfigError, match="only the pointwise judge asks so"):
        judge(str(tmp_path / "rows.jsonl"), "listwise", tmp_path / "j", endpoint="http://127.0.0.1:9/v1/decisions")
