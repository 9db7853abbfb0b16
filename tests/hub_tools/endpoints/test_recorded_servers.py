"""The dialects held against what real servers answered. `make real RECORD=1` records it; nothing here is made up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hf_relabel.builders.endpoint import Endpoint, EndpointError, Reply
from hf_relabel.builders.judgements import Label
from hf_relabel.hub_tools.endpoints.detecting import AutoEndpoint
from hf_relabel.hub_tools.endpoints.refusals import refused_parameters, with_words
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.server_errors import error_of_status, words_of
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from tests.facade.recordings import CHAT, FOLDER, Kind, Recording, Replay
from tests.real.recording import LISTWISE, POINTWISE, THINKING, asks, requests, rows_file

T = TypeVar("T")
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))
FINDS_MODEL = ("llama.cpp", "vllm")
"""Servers of one model, which they list. `transformers serve` lists what is in its cache, not what it was started with;
LiteLLM's proxy of the recording has two models."""
CONSTRAINS = ("litellm", "llama.cpp", "vllm")
CONTEXT = {"llama.cpp": 2048, "vllm": 2048}


@pytest.fixture(scope="module", params=NAMES)
def server(request: pytest.FixtureRequest) -> Iterator[Replay]:
    with Replay(request.param) as replay:
        yield replay


def name(server: Replay) -> str:
    return server.recording.server


def endpoint(server: Replay, **settings: Any) -> Endpoint:
    model = None if name(server) in FINDS_MODEL else server.model
    return make_endpoint(server.url, **{"token": server.key, "model": model, **settings})


def use(made: Endpoint, work: Callable[[Endpoint], Awaitable[T]]) -> T:
    async def once() -> T:
        try:
            return await work(made)
        finally:
            await made.close()

    return asyncio.run(once())


def ask(server: Replay, request: str, **settings: Any) -> Reply:
    return use(endpoint(server, **settings), lambda made: made.complete(requests()[request]))


def refused(server: Replay, request: str = "plain", **settings: Any) -> EndpointError:
    with pytest.raises(EndpointError) as caught:
        ask(server, request, **settings)
    return caught.value


def recorded(server: Replay, reply: str = "plain", **kind: Any) -> Any:
    """The body that the server answered."""
    return server.recording.find(Kind("POST", CHAT, reply=reply, **kind))[0].body


def words(body: Any) -> str:
    """How a server's message begins."""
    error = body.get("error", body) if isinstance(body, dict) else body
    said = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return str(said)[:40]


def test_all_four_servers_were_recorded() -> None:
    assert NAMES == ["litellm", "llama.cpp", "transformers", "vllm"]


def test_dialect_model_context_and_version_are_found_by_asking(server: Replay) -> None:
    made = endpoint(server)
    info = use(made, lambda one: one.info())
    assert isinstance(made, AutoEndpoint)
    assert info.model == server.model
    assert info.max_total_tokens == CONTEXT.get(name(server))
    assert (info.version is not None) == (name(server) in FINDS_MODEL)


def test_a_reply_has_its_words_and_what_it_cost(server: Replay) -> None:
    reply, body = ask(server, "plain"), recorded(server)
    choice = body["choices"][0]
    assert (reply.text, reply.finish_reason) == (choice["message"]["content"], choice["finish_reason"])
    assert reply.prompt_tokens == body["usage"]["prompt_tokens"]
    assert reply.completion_tokens == body["usage"]["completion_tokens"]


def labels_said(text: str) -> list[Label]:
    """What a constrained reply says of its three candidates: in both lists, it is no answer."""
    better, worse = (set(json.loads(text)[side]) for side in ("better", "worse"))
    by_sides = {(True, True): Label.UNPARSABLE, (True, False): Label.BETTER, (False, True): Label.WORSE}
    return [by_sides.get((number in better, number in worse), Label.IRRELEVANT) for number in (1, 2, 3)]


def test_a_constrained_reply_is_a_verdict(server: Replay) -> None:
    asked, reply = asks(LISTWISE)[0], ask(server, "schema")
    judged = LISTWISE.read(asked, reply)
    found = [judged[position].label for position in asked.positions]
    assert found == (labels_said(reply.text) if name(server) in CONSTRAINS else [Label.UNPARSABLE] * 3)


def test_a_reply_with_reasoning_is_a_verdict_or_was_cut_off(server: Replay) -> None:
    reply = ask(server, "thinking")
    labels = {judgement.label for judgement in THINKING.read(asks(THINKING)[0], reply).values()}
    assert (labels == {Label.UNPARSABLE}) == (reply.finish_reason == "length" or name(server) not in CONSTRAINS)


def test_the_first_token_gives_a_score_where_there_are_logprobs(server: Replay) -> None:
    reply = ask(server, "logprobs")
    judged = POINTWISE.read(asks(POINTWISE)[0], reply)[0]
    if name(server) == "transformers":  # it ignores logprobs
        assert (reply.logprobs, judged.score) == ((), None)
        return
    assert len(reply.logprobs[0].top) == 5
    assert judged.score is not None
    assert 0 < judged.score < 1


def test_a_prompt_over_the_context_is_that_request_s_fault(server: Replay) -> None:
    if name(server) == "transformers":
        pytest.skip("transformers serve has no bound below the model's own")
    error = refused(server, "long")
    assert (error.kind, error.retryable, error.blame_server) == ("too_long", False, False)
    assert words(recorded(server, long=True)) in str(error)


def test_a_wrong_key_is_refused_for_good_in_the_server_s_words(server: Replay) -> None:
    if not server.recording.keyed:
        pytest.skip("this server knows no keys")
    error = refused(server, token="wrong")
    assert (error.kind, error.retryable) == ("unauthorized", False)
    assert words(recorded(server, key="wrong")) in str(error)


def test_a_run_with_a_wrong_key_ends_before_anything_is_asked(server: Replay, tmp_path: Path) -> None:
    if not server.recording.keyed:
        pytest.skip("this server knows no keys")
    made, before = endpoint(server, token="wrong", model=server.model), len(server.asked)
    stage = Stage("named", POINTWISE, endpoints=(made,), model=server.model)
    with pytest.raises(EndpointError) as caught:
        judge(rows_file(tmp_path), stage, tmp_path / "journal.sqlite", progress=False)
    assert words(recorded(server, key="wrong")) in str(caught.value)
    assert {kind.path for kind, _ in server.asked[before:]} <= {"/info", "/v1/models"}


def test_a_model_that_is_not_there_is_told(server: Replay) -> None:
    if name(server) == "llama.cpp":  # it answers whatever it is asked for, and says who does
        assert recorded(server, model="unknown")["model"] == server.model
        assert ask(server, "plain", model="nobody/nothing").text
        return
    error = refused(server, model="nobody/nothing")
    assert not error.retryable
    assert words(recorded(server, model="unknown")) in str(error)


def test_prompts_are_counted_as_the_server_counts_them(server: Replay) -> None:
    counted = use(endpoint(server), lambda made: made.count_prompts([requests()["plain"]]))  # type: ignore[attr-defined]
    told = recorded(server)["usage"]["prompt_tokens"]
    assert counted == ([told] if name(server) in FINDS_MODEL else None)


def test_the_queue_is_read_where_there_is_one(server: Replay) -> None:
    async def depth(made: Endpoint) -> float | None:
        await made.info()
        return await made.queue_depth()

    assert use(endpoint(server), depth) == (0 if name(server) in FINDS_MODEL else None)


def test_over_a_rate_limit_less_is_asked() -> None:
    with Replay("litellm") as server:
        made = endpoint(server, model="limited")
        answers = server.recording.find(Kind("POST", CHAT, reply="plain", model="limited"))
        assert answers[-1].status == 429

        async def until_refused(one: Endpoint) -> EndpointError:
            for _ in answers[:-1]:
                await one.complete(requests()["plain"])
            with pytest.raises(EndpointError) as caught:
                await one.complete(requests()["plain"])
            return caught.value

        error = use(made, until_refused)
    assert (error.kind, error.overloaded, error.retryable) == ("overloaded", True, True)


def test_a_run_gets_to_its_end(server: Replay, tmp_path: Path) -> None:
    (report,) = judge(
        rows_file(tmp_path), LISTWISE, tmp_path / "journal.sqlite", endpoint=endpoint(server), progress=False
    )
    assert report.totals[Label.FAILED] == 0
    assert sum(report.totals.values()) == 3


def test_the_first_of_equal_constrained_replies_took_longest() -> None:
    for found in map(Recording.load, CONSTRAINS):
        first, *again = found.constrained_seconds()
        assert first > max(again), found.server


def test_a_recording_holds_nothing_of_the_machine_it_was_made_on() -> None:
    for file in FOLDER.glob("*.json"):
        text = file.read_text("utf-8")
        for mark in ("/home/", "/root", "/tmp", "/work", "site-packages", "sk-", str(Path.cwd())):
            assert mark not in text, (file.name, mark)


def test_what_was_never_recorded_is_no_answer(server: Replay) -> None:
    with pytest.raises(EndpointError, match=r"HTTP 599: .* was never asked"):
        use(endpoint(server, dialect="openai"), lambda made: made.transport.get("nothing"))  # type: ignore[attr-defined]


def test_a_refused_response_format_is_known_by_the_server_s_words(server: Replay) -> None:
    answer = server.recording.find(Kind("POST", CHAT, reply="schema", nonsense=True))[0]
    if name(server) == "transformers":  # it passes over what it does not know
        assert answer.status == 200
        return
    body = json.dumps(answer.body).encode()
    words, codes = words_of(body)
    error = with_words(error_of_status("server", answer.status, words, codes), body)
    assert refused_parameters(error, {"response_format", "max_tokens", "system", "temperature"}) == ("response_format",)


def test_of_two_listed_models_one_must_be_named() -> None:
    with Replay("litellm") as server:
        error = refused(server, model=None)
    assert not error.retryable
    assert "SmolLM2-135M-Instruct, limited" in str(error)


def test_a_server_that_breaks_at_its_list_of_models_is_usable_by_name() -> None:
    with Replay("transformers", state="no cache") as server:
        assert server.recording.find(Kind("GET", "/v1/models", state="no cache"))[0].status == 500
        assert ask(server, "plain").text == recorded(server)["choices"][0]["message"]["content"]
