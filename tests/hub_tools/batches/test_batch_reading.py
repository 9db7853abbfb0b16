"""Replies from batch files are read as the server's are: for every judge that asks, and in every shape they come in."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest

from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.prompted.base import PromptedJudge
from hf_relabel.builders.judges.registry import make_judge
from hf_relabel.builders.planning.estimating import BATCH_PRICE
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.batches.collecting import Collector
from hf_relabel.hub_tools.batches.exporting import export_batches
from hf_relabel.hub_tools.batches.ledger import Ledger
from hf_relabel.hub_tools.batches.results import read_result
from hf_relabel.hub_tools.endpoints.reading_chat import read_chat_reply
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.judging.stages import Stage

ROW = Row(
    "q",
    "why is the sky blue",
    (Passage("p1", "", "Air scatters blue light."), Passage("p2", "", "Rayleigh scattering.")),
    tuple(Passage(f"n{number}", "", f"Passage {number}: the sky is blue by day.") for number in range(5)),
    "nq",
)


def answered(content: str, logprobs: Any = None) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}
    return {"id": "1", "object": "chat.completion", "choices": [choice | {"logprobs": logprobs}], "usage": usage}


YES = [{"token": "Yes", "logprob": -0.1, "bytes": None, "top_logprobs": [{"token": "Yes", "logprob": -0.1}]}]


@pytest.mark.parametrize(
    ("kind", "settings", "body"),
    [
        ("listwise", {"candidates_per_prompt": 3}, answered('{"thinking": "", "better": [1], "worse": [2]}')),
        ("pointwise", {}, answered("Yes", {"content": YES})),
        ("ranking", {"candidates_per_prompt": 3}, answered('{"thinking": "", "order": [2, 1, 3, 4, 5]}')),
        ("ranking", {}, answered('{"thinking": "", "ranking": [2, 1, 3]}')),
        ("span", {}, answered('{"span": "the sky is blue by day", "answer": "the sky is blue by day"}')),
        ("span", {}, answered("nonsense")),
    ],
)
def test_a_reply_says_the_same_as_at_a_server(
    kind: str, settings: dict[str, Any], body: dict[str, Any], tmp_path: Path
) -> None:
    judge = make_judge(kind, **settings)
    assert isinstance(judge, PromptedJudge)
    (tmp_path / "rows.jsonl").write_bytes(orjson.dumps(ROW.to_dict()))
    stage = Stage("stage-1", judge, endpoints=(make_endpoint("vllm:some/model"),))
    with Journal(tmp_path / "journal.sqlite") as journal:
        source = open_source(str(tmp_path / "rows.jsonl"))
        made = export_batches(source, stage, journal, tmp_path / "batches", progress=False)
        lines = (tmp_path / "batches" / made.written[0].name).read_bytes().splitlines()
        results = [
            {"id": "r", "custom_id": orjson.loads(line)["custom_id"], "response": {"status_code": 200, "body": body}}
            for line in lines
        ]
        (tmp_path / "results.jsonl").write_bytes(b"\n".join(map(orjson.dumps, results)))
        with Ledger(tmp_path / "batches") as ledger:
            collector = Collector(ledger, journal, [stage])
            assert collector.take(tmp_path / "results.jsonl") == len(lines)
        expected = {}
        for ask in judge.asks(ROW, range(5), constrained=True):  # type: ignore[attr-defined]
            reply = read_chat_reply(body, ask.request.top_logprobs, "some/model", "a server")
            expected |= judge.read(ask, reply)  # type: ignore[attr-defined]
        (identity,) = journal.judges()
        ((_, kept),) = journal.known(identity, [(ROW, range(5))])
    assert {place: (said.label, said.score, said.cut, said.place) for place, said in kept.items()} == {
        place: (said.label, said.score, said.cut, said.place) for place, said in expected.items()
    }


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -5, "completion_tokens": "12"}])
def test_tokens_that_results_do_not_tell_are_counted_at_an_estimate(usage: Any, tmp_path: Path) -> None:
    """As at a server. They cost nothing, by what `collect` said."""
    (tmp_path / "rows.jsonl").write_bytes(orjson.dumps(ROW.to_dict()))
    limits = Limits(price_prompt=1.0, price_completion=1.0)
    stage = Stage("stage-1", make_judge("listwise"), endpoints=(make_endpoint("vllm:some/model"),), limits=limits)
    content = '{"thinking": "", "better": [1], "worse": [2]}'
    with Journal(tmp_path / "journal.sqlite") as journal:
        source = open_source(str(tmp_path / "rows.jsonl"))
        made = export_batches(source, stage, journal, tmp_path / "batches", progress=False)
        asked = orjson.loads((tmp_path / "batches" / made.written[0].name).read_bytes())
        response = {"status_code": 200, "body": answered(content) | {"usage": usage}}
        result = orjson.dumps({"id": "r", "custom_id": asked["custom_id"], "response": response})
        (tmp_path / "results.jsonl").write_bytes(result)
        with Ledger(tmp_path / "batches") as ledger:
            collector = Collector(ledger, journal, [stage])
            collector.take(tmp_path / "results.jsonl")
    characters = sum(len(message["content"]) for message in asked["body"]["messages"])
    expected = BATCH_PRICE * (characters * 0.4 + round(len(content) * 0.4)) / 1e6
    assert collector.found.cost == pytest.approx(expected)


@pytest.mark.parametrize(
    ("line", "status", "again"),
    [
        # OpenAI: what was not reached in time, and an error of the server
        ({"response": None, "error": {"code": "batch_expired", "message": "too late"}}, None, True),
        ({"response": {"status_code": 500, "body": {"error": {"message": "an error"}}}, "error": None}, 500, True),
        ({"response": {"status_code": 429, "body": {"error": {"message": "rate limit"}}}, "error": None}, 429, True),
        (
            {"response": {"status_code": 400, "body": {"error": {"message": "no such model"}}}, "error": None},
            400,
            False,
        ),
        # vLLM 0.32: the error beside the status, as a text or as its own answer
        ({"response": {"status_code": 400, "request_id": "r", "body": None}, "error": "URL /x was used."}, 400, False),
        (
            {
                "response": {"status_code": 400, "request_id": "r", "body": None},
                "error": {"error": {"message": "maximum context length is 64", "type": "BadRequest", "code": 400}},
            },
            400,
            False,
        ),
        # a credit that is used up is nothing about the request
        (
            {
                "response": {
                    "status_code": 400,
                    "body": {"error": {"message": "Billing", "code": "billing_hard_limit_reached"}},
                }
            },
            400,
            True,
        ),
        # OpenRouter, LiteLLM: a status of success, and another inside
        ({"response": {"status_code": 200, "body": {"error": {"message": "slow down", "code": 429}}}}, 429, True),
        (
            {"response": {"status_code": 200, "body": {"choices": [{"error": {"message": "down", "code": 502}}]}}},
            502,
            True,
        ),
        ({"response": {"status_code": 200, "body": {"error": {"message": "bad seed", "code": "400"}}}}, 400, False),
        (
            {"response": {"status_code": 200, "body": {"error": {"message": "pay", "code": "insufficient_quota"}}}},
            None,
            True,
        ),
        # Together: no status at all
        ({"error": {"message": "internal"}}, None, True),
        ({"response": {"status_code": 200, "body": None}}, None, True),
    ],
)
def test_errors_of_each_service_are_told_apart(line: dict[str, Any], status: int | None, again: bool) -> None:
    result = read_result(orjson.dumps({"custom_id": "a", **line}), "results.jsonl")
    assert result is not None
    error = result.error
    assert isinstance(error, EndpointError)
    assert error.status == status
    assert (error.retryable or error.blame_server) is again


def test_a_vllm_on_files_answers_no_server_call() -> None:
    endpoint = make_endpoint("vllm:Qwen/Qwen3-32B")
    assert asyncio.run(endpoint.info()).model == "Qwen/Qwen3-32B"
    with pytest.raises(EndpointError, match="answers batch files only"):
        asyncio.run(endpoint.complete(None))  # type: ignore[arg-type]


RUNNER = """#!/bin/sh
# Stands for a Python with vLLM: -m MODULE -i IN -o OUT --model MODEL …
while [ "$1" != -i ]; do shift; done
case "$*" in *--fail*) echo "CUDA out of memory" >&2; exit 1;; esac
sed 's/.*"custom_id":"\\([0-9a-f]*\\)".*/\\1/' "$2" | while read id; do
  printf '{"custom_id":"%s","response":{"status_code":200,"body":%s},"error":null}\\n' "$id" "$(cat body.json)"
done > "$4"
"""


def test_run_answers_stage_after_stage_and_says_why_it_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_relabel.hub_tools.commands import run

    monkeypatch.chdir(tmp_path)
    Path("body.json").write_bytes(orjson.dumps(answered('{"thinking": "", "better": [1], "worse": []}')))
    Path("python").write_text(RUNNER)
    Path("python").chmod(0o700 | stat.S_IXUSR)
    Path("rows.jsonl").write_bytes(orjson.dumps(ROW.to_dict()))
    judges = [{"judge": {"kind": "listwise", "seed": seed}, "endpoints": ["vllm:some/model"]} for seed in (0, 1)]
    Path("job.yaml").write_bytes(orjson.dumps({"source": "rows.jsonl", "stages": judges}))
    assert run(["batch", "export", "rows.jsonl", "--stages", "job.yaml"]) == 0
    assert run(["batch", "submit", "batches"]) == 2
    assert "use `batch run`" in capsys.readouterr().err
    python = str(tmp_path / "python")
    assert run(["batch", "run", "batches", "--python", "./absent"]) == 2
    assert run(["batch", "run", "batches", "--python", python, "--", "--fail"]) == 2
    assert "exit code 1 and no results for stage-1-001.jsonl" in capsys.readouterr().err
    assert run(["batch", "run", "batches", "--python", python, "--", "-i", "x"]) == 2
    assert run(["batch", "run", "batches", "--python", python]) == 0
    assert "Nothing left to ask" in capsys.readouterr().out
    with Journal("journal.sqlite", write=False) as journal:
        assert sum(journal.counts().values()) == 5 + 1
