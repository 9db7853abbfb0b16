"""Judging and building on a real Ray cluster of several processes, against the same on one machine.

Ray runs in processes of its own: the command line is started as users start it. How workers share one scheduler is
simulated in test_distributed_sharing.py, where time does what it is told.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from hf_relabel.builders.cascade.run_stages import run_settings
from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.builders.errors import BadRow, ConfigError, JournalError, JudgingStopped, RelabelError
from hf_relabel.builders.job.reading import load_job
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.quickstart import rows_path, truth_path
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.judging.assemble import stages_of
from hf_relabel.hub_tools.judging.identities import identify
from hf_relabel.hub_tools.judging.on_ray_actor import SchedulerActor, StagesElsewhere, judge_name
from hf_relabel.hub_tools.judging.run import judge_of_stage
from hf_relabel.hub_tools.ray_cluster.cluster import SharedFolder, carried, restored
from hf_relabel.hub_tools.ray_cluster.remote_scheduler import Answers, Questions, RemoteScheduler
from tests.facade import Facade, Faults, ScriptedBackend

CLI = [sys.executable, "-m", "hf_relabel.hub_tools.commands"]
ROWS, TRUTH = rows_path(), truth_path()
COUNT = 60
"""Rows of the set."""

RAY = {
    # Otherwise Ray takes 127.0.0.1 for the machine's address in its network.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


class Head:
    """A Ray cluster of one node on 127.0.0.1, in processes of its own."""

    def __init__(self, cpus: int = 4) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        options = f"--head --block --node-ip-address=127.0.0.1 --port={port} --num-cpus={cpus} --disable-usage-stats"
        command = [str(Path(sys.executable).with_name("ray")), "start", *options.split()]
        command += ["--include-dashboard=false", f"--object-store-memory={200 * 2**20}"]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **RAY},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.2)
        raise AssertionError("Ray did not start")

    def processes(self) -> list[psutil.Process]:
        return [self.process_of_head(), *self.process_of_head().children(recursive=True)]

    def process_of_head(self) -> psutil.Process:
        return psutil.Process(self.process.pid)

    def kill(self) -> None:
        """Kill everything at once: the head and all workers. Done again, it does nothing."""
        if self.process.poll() is None:
            for process in self.processes():
                kill(process)
            self.process.wait()


def kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    started = Head()
    yield started
    started.kill()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of the set, with one of them again at the end, and one that shares some of its candidates."""
    lines = ROWS.read_text(encoding="utf-8").splitlines()
    assert len(lines) == COUNT
    first = json.loads(lines[0])
    shares = {**first, "query_id": "shares", "negative_passages": first["negative_passages"][:5]}
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("\n".join([*lines, lines[0], json.dumps(shares)]) + "\n", encoding="utf-8")
    return path


def backend() -> ScriptedBackend:
    return ScriptedBackend(ROWS, TRUTH, recall=0.7, precision=0.8, worse=0.5)


def job_file(folder: Path, rows: Path, url: str, name: str, **more: Any) -> Path:
    """Two stages, and a build in many small files unless `build` is None."""
    endpoints = [{"url": url, "dialect": "tgi", "chat_template": "plain"}]
    limits = {"concurrency": 12, **more.pop("limits", {})}
    job = {
        "source": {"location": str(rows)},
        "journal": str(folder / f"{name}.sqlite"),
        "stages": [
            {"name": "cheap", "judge": {"kind": "listwise"}, "endpoints": endpoints, "limits": limits},
            {
                "name": "accurate",
                "judge": {"kind": "listwise", "candidates_per_prompt": 4},
                "endpoints": endpoints,
                "limits": limits,
            },
        ],
        "build": {
            "out": str(folder / name),
            "max_shard_bytes": 20_000,
            "views": ["tuples"],
            "view_negatives": 3,
            "output_format": "same",
        },
        **more,
    }
    job = {name: value for name, value in job.items() if value is not None}
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(job))
    return path


def started(arguments: list[str], address: str | None) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | RAY
    if address is not None:
        environment["RAY_ADDRESS"] = address
    return subprocess.Popen(
        [*CLI, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def on_ray(path: Path, address: str | None, *more: str, code: int = 0, workers: int = 2) -> Any:
    process = started(["run", str(path), "--engine", "ray", "--workers", str(workers), "--json", *more], address)
    return result_of(process, code)


def result_of(process: subprocess.Popen[str], code: int = 0) -> Any:
    out, errors = process.communicate(timeout=600)
    assert process.returncode == code, errors
    if code == 0:
        said = [line for line in errors.splitlines() if not re.search(r", \d\d:\d\d so far", line)]
        assert said == [], "Ray has nothing to say to the user"
        return json.loads(out)
    return errors


def on_one_machine(path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    assert run(["run", str(path), "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_equal(one: Path, other: Path) -> None:
    """The same files with the same bytes."""
    expected, found = files_of(one), files_of(other)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def check_builds_equal(rows: Path, one: Path, other: Path) -> None:
    """The same files from either journal, built on one machine."""
    for journal_path in (one, other):
        out = str(journal_path.with_suffix(".built"))
        assert run(["build", str(rows), "--journal", str(journal_path), "--out", out, "--json"]) == 0
    check_equal(one.with_suffix(".built"), other.with_suffix(".built"))


def said(rows: Path, journal_path: Path) -> list[Any]:
    """Verdicts on every candidate, with the labels of all stages."""
    with Journal(journal_path, write=False) as journal:
        return [
            (numbered.number, verdict.position, verdict.outcome, [stage and stage.label for stage in verdict.stages])
            for numbered, found in verdicts(open_source(rows), journal)
            for verdict in found
        ]


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith((".shards", ".building-new")))


def wait_until(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.1)


@pytest.mark.soak
def test_what_comes_out_is_byte_for_byte_that_of_one_machine(
    head: Head, tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    suspects = {"suspects": {"several": 1, "stages": [{"judge": {"kind": "truth", "file": str(TRUTH)}}]}}
    with Facade(backend(), keep_log=10**6) as facade:
        one = on_one_machine(job_file(tmp_path, rows, facade.url, "one", **suspects), capfd)
        alone = payloads(facade)
    with Facade(backend(), latency=0.02, keep_log=10**6) as facade:
        path = job_file(tmp_path, rows, facade.url, "many", **suspects)
        many = on_ray(path, head.address)
        # Nothing lost, nothing doubled, and never more in flight than one machine may have.
        assert payloads(facade) == alone
        assert facade.peak <= 12
    check_equal(tmp_path / "one", tmp_path / "many")
    assert len(files_of(tmp_path / "many")) > 20
    assert said(rows, tmp_path / "many.sqlite") == said(rows, tmp_path / "one.sqlite")
    for name in ("rows", "asked", "known", "requests", "labels", "prompt_tokens", "completion_tokens"):
        assert [stage[name] for stage in many["stages"]] == [stage[name] for stage in one["stages"]], name
    assert many["journal"] == one["journal"]
    assert left_behind(tmp_path) == []


@pytest.mark.soak
def test_in_other_shards_there_is_nothing_left_to_ask(
    head: Head, tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Facade(backend(), keep_log=10**6) as facade:
        path = job_file(tmp_path, rows, facade.url, "one", build=None)
        one = on_one_machine(path, capfd)
        alone = len(facade.log)
        arguments = ["judge", str(rows), "--stages", str(path), "--journal", str(tmp_path / "one.sqlite"), "--json"]
        again = result_of(started([*arguments, "--engine", "ray", "--workers", "2", "--shards", "7"], head.address))
        assert [stage["asked"] for stage in again["stages"]] == [0, 0]
        assert len(facade.log) == alone
    assert one["journal"] == again["journal"]


def payloads(facade: Facade) -> list[str]:
    """What was asked, in any order."""
    return sorted(json.dumps(entry.payload, sort_keys=True) for entry in facade.log)


@pytest.mark.soak
def test_storms_and_killed_workers_lose_and_double_nothing(
    head: Head, tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Facade(backend()) as facade:
        on_one_machine(job_file(tmp_path, rows, facade.url, "one", build=None), capfd)
        alone = facade.requests
    faults = Faults({"overload": 0.1, "error500": 0.05, "reset": 0.02}, schedule=["overload"] * 14, retry_after=0.2)
    kills = 3
    with Facade(backend(), latency=0.1, faults=faults) as facade:
        path = job_file(tmp_path, rows, facade.url, "many", build=None, limits={"max_attempts": 20})
        process = started(["run", str(path), "--engine", "ray", "--workers", "2", "--json"], head.address)
        for number in range(kills):
            wait_until(lambda number=number: facade.generated > (number + 1) * alone // (kills + 2), process)
            # One of those that judge, then what sends the requests, then one of those again.
            name = "ray::SchedulerActor" if number == 1 else "ray::MapWorker"
            victims = [one for one in head.processes() if cmdline(one)[:1] and cmdline(one)[0].startswith(name)]
            kill(victims[-1])
        result = result_of(process)
        refused = sum(facade.faults.drawn.values())
        # What a killed worker had in flight is asked again, and no more.
        assert alone <= facade.requests - refused <= alone + kills * 12
        assert facade.peak <= 12
    check_builds_equal(rows, tmp_path / "one.sqlite", tmp_path / "many.sqlite")
    assert result["journal"]["failed"] == result["journal"]["unparsable"] == 0
    assert left_behind(tmp_path) == []


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@pytest.mark.soak
def test_judges_that_ask_nobody_work_in_shards_too(head: Head, tmp_path: Path, rows: Path) -> None:
    replies = tmp_path / "replies.jsonl"
    some = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()[:25]]
    reply = "<preference>Doc (1) answers it.</preference><better>[Doc (1)]</better><worse>[Doc (2)]</worse>"
    lines = [json.dumps({**row, "response": reply, "finish_reason": ["stop"]}) for row in some]
    replies.write_text("\n".join(lines), encoding="utf-8")
    stages = [
        {"judge": {"kind": "saved-replies", "file": str(replies)}},
        {"judge": {"kind": "truth", "file": str(TRUTH)}},
    ]
    (tmp_path / "job.yaml").write_text(json.dumps({"source": {"location": str(rows)}, "stages": stages}))
    arguments = ["judge", str(rows), "--stages", str(tmp_path / "job.yaml"), "--json"]
    assert run([*arguments, "--journal", str(tmp_path / "one.sqlite")]) == 0
    engine = ["--engine", "ray", "--workers", "2", "--shards", "4"]
    many = result_of(started([*arguments, *engine, "--journal", str(tmp_path / "many.sqlite")], head.address))
    assert said(rows, tmp_path / "many.sqlite") == said(rows, tmp_path / "one.sqlite")
    assert [stage["asked"] > 0 for stage in many["stages"]] == [True, True]


@pytest.mark.parametrize(
    "error",
    [
        BadRow("file", 3, "query", "nothing", "Give one."),
        EndpointError("busy", kind="overloaded", status=429, retry_after=2.5),
        JournalError("full"),
        JudgingStopped("stopped"),
    ],
)
def test_errors_come_back_from_the_workers_as_they_were(error: RelabelError) -> None:
    back = restored(pickle.loads(pickle.dumps(carried(error))))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.exit_code == error.exit_code
    assert vars(back) == vars(error)


class InThisProcess:
    """The actor without Ray, as a worker reaches it."""

    def __init__(self, actor: SchedulerActor) -> None:
        self.actor, self.has_begun, self.handed, self.open = actor, False, 0, 0

    async def exchange(self, questions: Questions) -> Answers:
        if not self.has_begun:
            assert await self.actor.begin() is None
            self.has_begun = True
        self.open += len(questions.requests)
        self.handed += len(questions.requests)
        back: Answers = pickle.loads(pickle.dumps(await self.actor.exchange(pickle.loads(pickle.dumps(questions)))))
        self.open -= len(back.results)
        if questions.is_last and not self.open:  # Ray would end the process
            for endpoints, _ in self.actor._schedulers._settings.values():
                await endpoints[0].close()
        return back

    def leave(self, questions: Questions) -> None:
        return


def test_a_judge_asked_through_the_actor_says_and_reports_the_same(tmp_path: Path, rows: Path) -> None:
    with Facade(backend()) as facade:
        job = load_job(job_file(tmp_path, rows, facade.url, "one", build=None))
        stage, source = stages_of(job)[0], open_source(rows)
        desk = InThisProcess(SchedulerActor(pickle.dumps(StagesElsewhere.of(job)), 0.0, 0.0))
        remote = RemoteScheduler(desk, judge=judge_name(0, 0), shard="shard")
        reports = []
        for name, schedule in (("one", None), ("many", lambda endpoints, limits: remote)):
            with Journal(tmp_path / f"{name}.sqlite") as journal:
                run_stages = [identify(stage, journal)]
                journal.record_run(run_settings(source, run_stages, frozenset()))
                reports.append(judge_of_stage(source, [stage], run_stages, 0, journal, schedule=schedule).to_dict())
    assert said(rows, tmp_path / "many.sqlite") == said(rows, tmp_path / "one.sqlite")
    one, many = ({**report, "seconds": 0.0} for report in reports)
    assert many == one
    assert desk.handed == one["requests"] > COUNT // 2


def test_an_actor_that_cannot_begin_says_why(tmp_path: Path, rows: Path) -> None:
    elsewhere = StagesElsewhere.of(load_job(job_file(tmp_path, rows, "http://127.0.0.1:1", "one", build=None)))
    actor = SchedulerActor(pickle.dumps(replace(elsewhere, version="0.0.0")), 0.0, 0.0)
    failed = asyncio.run(actor.begin())
    assert failed is not None
    with pytest.raises(ConfigError, match=r"the command has 0\.0\.0"):
        raise restored(failed)


@pytest.mark.soak
def test_a_killed_cluster_is_gone_on_from(tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Facade(backend()) as facade:
        on_one_machine(job_file(tmp_path, rows, facade.url, "one", build=None), capfd)
        alone = facade.requests
    dying = Head()
    with Facade(backend(), latency=0.1) as facade:
        try:
            path = job_file(tmp_path, rows, facade.url, "many", build=None)
            process = started(["run", str(path), "--engine", "ray", "--workers", "2", "--json"], dying.address)
            wait_until(lambda: facade.generated > alone // 2, process)
            dying.kill()
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        finally:
            dying.kill()
        assert left_behind(tmp_path) == ["many.sqlite.shards"]
        # Without a cluster at hand, on one that is started here for the run.
        result = on_ray(path, None, workers=2)
        assert facade.requests <= alone + 12
        assert sum(stage["known"] for stage in result["stages"]) > 0
    check_builds_equal(rows, tmp_path / "one.sqlite", tmp_path / "many.sqlite")
    assert left_behind(tmp_path) == []


SLOW, SHARDS = 30, 6


@pytest.mark.soak
def test_a_slow_shard_holds_nobody_up_and_ctrl_c_keeps_what_is_done(
    head: Head, tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    queries = [json.loads(line)["query"] for line in rows.read_text(encoding="utf-8").splitlines()[:COUNT]]
    # Rows that cannot be in the shard of the slow one.
    elsewhere = {number for number in range(COUNT) if abs(number - SLOW) > 2 * COUNT // SHARDS}

    def of_others(facade: Facade) -> set[str]:
        """What was answered about them."""
        answered = [json.dumps(entry.payload) for entry in list(facade.log) if entry.status == 200]
        texts = [json.dumps(queries[number])[1:-1] for number in elsewhere]
        return {payload for payload in answered if any(text in payload for text in texts)}

    with Facade(backend(), keep_log=10**6) as facade:
        on_one_machine(job_file(tmp_path, rows, facade.url, "one", build=None), capfd)
        expected = of_others(facade)
    slow = queries[SLOW].encode()
    with Facade(backend(), latency=lambda body: 3000.0 if slow in body else 0.02, keep_log=10**6) as facade:
        path = job_file(tmp_path, rows, facade.url, "many")
        engine = ["--engine", "ray", "--workers", "2", "--shards", str(SHARDS)]
        process = started(["run", str(path), *engine], head.address)
        wait_until(lambda: facade.in_flight and expected <= of_others(facade), process)
        os.killpg(process.pid, signal.SIGINT)
        errors = result_of(process, code=130)
        assert "interrupted" in errors
    found = said(rows, tmp_path / "many.sqlite")
    rows_left = {number for number, _, outcome, _ in found if outcome == "unjudged"}
    assert SLOW in rows_left
    assert len(rows_left & elsewhere) <= 1, "at most the answer that was just sent is lost"


def test_a_folder_that_workers_do_not_see_is_said_to_be(tmp_path: Path) -> None:
    folder = SharedFolder.mark(tmp_path)
    folder.check()
    (tmp_path / "seen-by-all").write_text("of another machine")
    with pytest.raises(ConfigError, match="does not see"):
        folder.check()


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")
def test_without_ray_or_with_an_address_nobody_is_at_there_is_a_line_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["judge", str(rows_path()), "--endpoint", "http://127.0.0.1:1", "--journal", str(tmp_path / "j.sqlite")]
    assert run([*arguments, "--workers", "2"]) == 2
    assert "--workers and --shards are for --engine ray" in capsys.readouterr().err
    monkeypatch.setenv("RAY_ADDRESS", "ray://there:10001")
    assert run([*arguments, "--engine", "ray"]) == 2
    assert "ray job submit" in one_line(capsys)
    command = [*CLI, *arguments, "--engine", "ray"]
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    failed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert failed.returncode == 2
    assert "no Ray cluster at 127.0.0.1:1" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run([*arguments, "--engine", "ray"]) == 2
    assert 'pip install "hf-relabel[ray]"' in capsys.readouterr().err


@pytest.mark.soak
def test_a_bad_row_is_told_as_on_one_machine_before_anything_is_asked(
    head: Head, tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = rows.read_text(encoding="utf-8").splitlines()
    lines[40] = lines[40].replace('"positive_passages"', '"positives"')
    (tmp_path / "bad.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with Facade(backend()) as facade:
        path = job_file(tmp_path, tmp_path / "bad.jsonl", facade.url, "many")
        errors = on_ray(path, head.address, code=2)
        assert facade.requests == 0
        assert run(["run", str(path)]) == 2
    assert errors == capfd.readouterr().err
    assert "row 41" in errors
