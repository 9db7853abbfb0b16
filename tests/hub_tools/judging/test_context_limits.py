"""A server's context, as it tells it, bounds what it is sent from the first request on."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.judging.plan import plan
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from tests.facade import Facade, LlamaBackend
from tests.facade.recorded import Asked, Recorded, Said, chat

CONTEXT = 4096


def source_of(path: Path, *lengths: int) -> Source:
    row = {"query_id": "q", "query": "a query", "subset": "nq"}
    row["positive_passages"] = [{"docid": "p", "title": "", "text": "the truth"}]  # type: ignore[assignment]
    row["negative_passages"] = [  # type: ignore[assignment]
        {"docid": f"d{number}", "title": "", "text": f"passage {number} " + "word " * (length // 5)}
        for number, length in enumerate(lengths)
    ]
    path.write_bytes(orjson.dumps(row))
    return open_source(path)


def vllm(asked: Asked) -> Said:
    """As vLLM does: it tells its length in /v1/models, and refuses what is longer together with the reply."""
    if asked.method == "GET":
        models = {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": CONTEXT}]}
        return (200, models) if asked.path == "/v1/models" else (404, {})
    if asked.path == "/tokenize":
        return 200, {"count": 100}
    prompt = sum(len(message["content"]) for message in asked.payload["messages"]) // 4
    if prompt + asked.payload["max_tokens"] > CONTEXT:
        words = f"This model's maximum context length is {CONTEXT} tokens. However, you requested {prompt} tokens"
        return 400, {"object": "error", "message": words, "type": "BadRequestError", "param": None, "code": 400}
    return 200, chat('{"thinking": "", "better": [], "worse": []}')


def test_what_is_too_long_for_a_server_is_split_and_nothing_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path / "rows.jsonl", *[1500] * 12)
    with Recorded(vllm) as server:
        endpoint = make_endpoint(server.url)
        (report,) = judge(source, Stage("only", ListwiseJudge(), endpoints=(endpoint,)), tmp_path / "journal.sqlite")
        planned = plan(source, Stage("only", ListwiseJudge(), endpoints=(make_endpoint(server.url),)), progress=None)
        asked = len(server.posted())
    assert not report.has_failures
    assert report.totals[next(iter(report.totals))] == 0
    assert sum(report.totals.values()) == 12
    assert report.requests == asked > 1
    assert planned.stages[0].requests == report.requests  # the plan counts them as they are sent
    (note,) = planned.fitted
    assert "only: its server takes 4,096 tokens" in note
    assert "1 of 1 sampled row are split" in note


@pytest.mark.soak
def test_a_real_llama_cpp_is_sent_no_more_than_it_takes(tmp_path: Path) -> None:
    source = source_of(tmp_path / "rows.jsonl", 4000)
    backend = LlamaBackend(context=640)
    with Facade(backend):
        endpoint = make_endpoint(backend.url)
        (report,) = judge(source, Stage("only", PointwiseJudge(), endpoints=(endpoint,)), tmp_path / "journal.sqlite")
    assert not any(label == "failed" and number for label, number in report.totals.items())
    assert report.cut == 1


@pytest.mark.parametrize("told", [None, "much", 0, -1])
def test_a_context_that_is_none_bounds_nothing(tmp_path: Path, told: object) -> None:
    def answer(asked: Asked) -> Said:
        if asked.method == "GET":
            return 200, {"data": [{"id": "m", "max_model_len": told}]}
        return 200, chat('{"thinking": "", "better": [], "worse": []}')

    source = source_of(tmp_path / "rows.jsonl", *[1500] * 12)
    with Recorded(answer) as server:
        stage = Stage("only", ListwiseJudge(), endpoints=(make_endpoint(server.url),))
        (report,) = judge(source, stage, tmp_path / "journal.sqlite", progress=None)
    assert report.requests == 1
