"""Rerankers behind servers: what each is asked and answers, by its public reference, and what the judge makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, Message, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.reranking import RerankJudge
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.endpoints.dialects.rerank import RerankEndpoint
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.judging.run import judge

Answer = Callable[[dict[str, Any]], Any]
DOCUMENTS = ("one", "two", "three")
REQUEST = Request((Message("user", "which"),), 1, documents=DOCUMENTS)

TEI_INFO = {
    "model_id": "BAAI/bge-reranker-v2-m3",
    "model_sha": "abc",
    "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
    "max_concurrent_requests": 512,
    "max_client_batch_size": 2,
    "version": "1.8.2",
}


def tei(asked: dict[str, Any]) -> Any:
    assert asked.keys() == {"query", "texts", "raw_scores", "return_text"}
    assert len(asked["texts"]) <= 2, "TEI refuses more with 413"
    scored = [{"index": place, "score": len(text) / 10} for place, text in enumerate(asked["texts"])]
    return sorted(scored, key=lambda each: -each["score"])


def _results(asked: dict[str, Any]) -> list[dict[str, Any]]:
    assert asked.keys() == {"model", "query", "documents", "top_n"}
    scored = [{"index": place, "relevance_score": len(text) / 10} for place, text in enumerate(asked["documents"])]
    return sorted(scored, key=lambda each: -each["relevance_score"])


def vllm(asked: dict[str, Any]) -> Any:
    results = [each | {"document": {"text": "x", "multi_modal": None}} for each in _results(asked)]
    usage = {"prompt_tokens": 30, "total_tokens": 30}
    return {"id": "rerank-1", "model": asked["model"], "usage": usage, "results": results}


def infinity(asked: dict[str, Any]) -> Any:
    results = [each | {"document": None} for each in _results(asked)]
    usage = {"prompt_tokens": 30, "total_tokens": 31}
    return {"object": "rerank", "results": results, "model": "m", "usage": usage, "id": "infinity-1", "created": 1}


def jina(asked: dict[str, Any]) -> Any:
    return {"model": "m", "object": "list", "usage": {"total_tokens": 30}, "results": _results(asked)}


def cohere(asked: dict[str, Any]) -> Any:
    return {"id": "1", "results": _results(asked), "meta": {"billed_units": {"search_units": 1}}}


def asked(url_path: str, routes: dict[str, Any], model: str | None, call: str = "complete") -> Any:
    """What an endpoint gives whose server has these routes: JSON to GET, or functions of what is posted."""

    async def answer(request: web.Request) -> web.Response:
        found = routes.get(request.path)
        if found is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        return web.json_response(found(await request.json()) if callable(found) else found)

    async def work() -> Any:
        runner = web.ServerRunner(web.Server(answer))  # type: ignore[arg-type]
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        endpoint = RerankEndpoint(f"http://127.0.0.1:{runner.addresses[0][1]}{url_path}", model=model)
        try:
            return await (endpoint.complete(REQUEST) if call == "complete" else endpoint.info())
        finally:
            await endpoint.close()
            await runner.cleanup()

    return asyncio.run(work())


LISTED = {"object": "list", "data": [{"id": "some/reranker", "object": "model"}]}


@pytest.mark.parametrize(
    ("path", "routes", "model", "tokens"),
    [
        ("", {"/info": TEI_INFO, "/rerank": tei}, None, None),
        ("/rerank", {"/info": TEI_INFO, "/rerank": tei}, None, None),
        ("", {"/v1/models": LISTED, "/rerank": vllm}, None, 30),
        ("/v1", {"/v1/models": LISTED, "/v1/rerank": vllm}, None, 30),
        ("", {"/models": LISTED, "/rerank": infinity}, None, 30),
        ("/v1/rerank", {"/v1/rerank": jina}, "jina-reranker-v3", 30),
        ("/v2", {"/v2/rerank": cohere}, "rerank-v4.0-pro", None),
    ],
)
def test_each_server_is_asked_in_its_way(path: str, routes: Any, model: str | None, tokens: int | None) -> None:
    reply = asked(path, routes, model)
    assert orjson.loads(reply.text) == [0.3, 0.3, 0.5]
    assert (reply.prompt_tokens, reply.completion_tokens) == (tokens, 0)


def test_a_server_says_who_it_is_or_is_told() -> None:
    info = asked("", {"/info": TEI_INFO}, None, "info")
    assert (info.model, info.revision, info.max_concurrent_requests) == ("BAAI/bge-reranker-v2-m3", "abc", 512)
    several = {"/v1/models": {"data": [{"id": "a"}, {"id": "b"}]}}
    with pytest.raises(EndpointError, match="serves a, b"):
        asked("", several, None, "info")
    assert make_endpoint("https://api.cohere.com", dialect="rerank", model="m")._prefix == "v2/"  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="no flavor"):
        make_endpoint("http://127.0.0.1:9", dialect="rerank", flavor="vllm")


@pytest.mark.parametrize(
    "body", [{"results": [{"index": 9, "relevance_score": 1.0}]}, {"error": "x"}, [{"index": 0}], [[1]], [3]]
)
def test_what_is_no_ranking_is_garbage(body: Any) -> None:
    with pytest.raises(EndpointError, match="no ranking") as caught:
        asked("", {"/v1/models": LISTED, "/rerank": lambda _: body}, None)
    assert caught.value.kind == "garbage"


# The judge

ROW = Row(
    "q",
    "why is the sky blue",
    (Passage("p", "", "air"),),
    tuple(Passage(f"n{number}", "", "x" * number) for number in range(1, 8)),
)


class Scores:
    """A reranker that gives what `score` says of each text."""

    constrains, reranks, name = False, True, "memory"

    def __init__(self, score: Callable[[str], float | None]) -> None:
        self.score, self.asked = score, 0

    async def info(self) -> EndpointInfo:
        return EndpointInfo("some/reranker")

    async def complete(self, request: Request) -> Reply:
        self.asked += 1
        return Reply(orjson.dumps([self.score(text) for text in request.documents]).decode(), prompt_tokens=70)

    async def queue_depth(self) -> float | None:
        return None

    async def close(self) -> None:
        return None


def judged(made: RerankJudge, score: Callable[[str], float | None]) -> list[tuple[Label, float | None]]:
    endpoint = Scores(score)
    found = {}
    for ask in made.asks(ROW, range(7), constrained=False):
        found |= made.read(ask, asyncio.run(endpoint.complete(ask.request)))
    return [(found[place].label, found[place].score) for place in range(7)]


def test_scores_become_labels_in_the_places_of_their_texts() -> None:
    said = judged(RerankJudge(candidates_per_request=3, better=0.6, worse=0.3), lambda text: len(text) / 10)
    assert [score for _, score in said] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert [label for label, _ in said] == [Label.IRRELEVANT] * 2 + [Label.WORSE] * 3 + [Label.BETTER] * 2
    relative = judged(RerankJudge(candidates_per_request=3, relative=True), lambda text: len(text) / 10)
    assert [score for _, score in relative] == [0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7]  # the ground truth has .3


def test_logits_are_told_and_never_guessed() -> None:
    guessed = judged(RerankJudge(), lambda text: len(text) - 4.0)
    assert [label for label, _ in guessed].count(Label.UNPARSABLE) == 5, "-3 and 2 are no probabilities"
    told = judged(RerankJudge(logits=True), lambda text: len(text) - 4.0)
    assert told[3] == (Label.BETTER, 0.5)
    assert judged(RerankJudge(), lambda text: None) == [(Label.UNPARSABLE, None)] * 7


def test_what_is_cut_says_so() -> None:
    (ask,) = RerankJudge(max_chars=5, candidates_per_request=32).asks(ROW, range(7), constrained=False)
    assert ask.cut == set(range(7)), "the query is longer"
    assert max(map(len, ask.request.documents)) == 5


def test_a_run_asks_once_and_only_servers_that_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(orjson.dumps(ROW.to_dict()))
    endpoint = Scores(lambda text: len(text) / 10)
    (report,) = judge(str(rows), RerankJudge(), tmp_path / "j.sqlite", endpoint=endpoint, progress=False)
    assert report.totals[Label.BETTER] == 3
    judge(str(rows), RerankJudge(), tmp_path / "j.sqlite", endpoint=endpoint, progress=False)
    assert endpoint.asked == 1
    with pytest.raises(ConfigError, match="is a reranker, which the pointwise judge cannot ask"):
        judge(str(rows), "pointwise", tmp_path / "k.sqlite", endpoint=endpoint, progress=False)
    given = ["judge", str(rows), "--judge", "rerank", "--endpoint", "http://127.0.0.1:9"]
    assert run([*given, "--dialect", "openai", "--journal", str(tmp_path / "k.sqlite")]) == 2
    assert "asks a reranker" in capsys.readouterr().err
    assert run([*given, "--better", "0.9", "--journal", str(tmp_path / "k.sqlite")]) == 3
    assert "nothing listens there" in capsys.readouterr().err
