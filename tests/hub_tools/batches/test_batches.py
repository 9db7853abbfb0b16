"""Batch files from end to end, through a service with faults: the verdicts are those of a server that is asked."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from hf_relabel.builders.journal.store import Journal
from hf_relabel.hub_tools.batches import service
from hf_relabel.hub_tools.commands import run
from tests.batch_service import MODEL, BatchServiceStub
from tests.facade import Facade
from tests.facade.scripted import ScriptedBackend

NEGATIVES = 4
SETS = 125
"""Rows of the normal suite: 500 requests; 5,000 rows and 20,000 requests in `make soak`."""


def records(rows: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    def passage(docid: str) -> dict[str, str]:
        return {"docid": docid, "title": "", "text": f"text of {docid}"}

    found = [
        {
            "query_id": f"q{number}",
            "query": f"query {number}",
            "positive_passages": [passage(f"p{number}")],
            "negative_passages": [passage(f"n{number}-{place}") for place in range(NEGATIVES)],
            "subset": "nq",
        }
        for number in range(rows)
    ]
    truth = [
        {"query_id": f"q{number}", "false_negatives": [f"n{number}-{number % NEGATIVES}"]} for number in range(rows)
    ]
    return found, truth


class Bench:
    """A folder with rows and a job file, and the servers it is judged by."""

    def __init__(self, folder: Path, stub: BatchServiceStub, backend: ScriptedBackend, rows: int, stages: int) -> None:
        self.folder, self.stub, self.backend = folder, stub, backend
        self.rows = rows
        found, _ = records(rows)
        self.source = folder / "rows.jsonl"
        self.source.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in found))
        self.stages = stages

    def job(self, url: str, name: str) -> str:
        judge = {"kind": "listwise", "candidates_per_prompt": 1}
        stages = [
            {"judge": judge | {"seed": number}, "endpoints": [{"url": url, "model": MODEL}]}
            for number in range(self.stages)
        ]
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps({"source": str(self.source), "stages": stages}))
        return str(path)

    def export(self, *options: str, journal: str = "batch.sqlite", folder: str = "batches") -> int:
        given = ["--journal", str(self.folder / journal), "--folder", str(self.folder / folder)]
        return run(
            ["batch", "export", str(self.source), "--stages", self.job(self.stub.url, "batch"), *given, *options]
        )

    def do(self, what: str, *arguments: str, folder: str = "batches") -> int:
        return run(["batch", what, str(self.folder / folder), *arguments])

    def judge(self, *options: str, journal: str = "server.sqlite") -> int:
        with Facade(self.backend, openai_style=True, model_id=MODEL) as facade:
            given = ["--stages", self.job(facade.url, "server"), "--journal", str(self.folder / journal)]
            return run(["judge", str(self.source), *given, *options])

    def answers(self, journal: str) -> list[tuple[Any, ...]]:
        """What a journal holds, less what hangs on who asked: its own numbers and names."""
        with sqlite3.connect(self.folder / journal) as database:
            columns = "key, label, score, rationale, place, cut"
            return database.execute(f"SELECT {columns} FROM answers ORDER BY key").fetchall()

    def file(self, name: str) -> Path:
        return self.folder / "batches" / name


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FIRST_WAIT_SECONDS", 0.0)


@pytest.fixture
def bench(tmp_path: Path, patient: None) -> Iterator[Bench]:
    backend = ScriptedBackend(*records(10))
    with BatchServiceStub(backend) as stub:
        yield Bench(tmp_path, stub, backend, 10, 1)


@pytest.mark.parametrize("rows", [SETS, pytest.param(5_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_a_faulty_service_ends_with_the_verdicts_of_a_server(rows: int, tmp_path: Path, patient: None) -> None:
    backend = ScriptedBackend(*records(rows))
    with BatchServiceStub(backend) as stub:
        bench = Bench(tmp_path, stub, backend, rows, 2)
        assert bench.judge() == 0
        stub.uploads = ["half", "error", "fine", "half"]
        stub.creations = ["lost", "error", "fine"]
        stub.fates = ["expired", "no_credit", "errors", "cancelled", "completed", "no_credit"]
        stub.statuses = [200, 500, 200, 429, 200, 503, 502]
        stub.cut_downloads = 2
        assert bench.export("--max-requests", str(rows)) == 0
        sends = 0
        while _waiting(bench.folder / "batches"):
            sends += 1
            assert sends < 40
            code = bench.do("submit")
            assert code in (0, 3)  # a service that fails is asked again, by the same command
            assert bench.do("collect") == 0
    assert bench.answers("batch.sqlite") == bench.answers("server.sqlite")
    requests = len(bench.answers("server.sqlite"))
    assert requests == rows * NEGATIVES + rows  # the second stage is asked about what the first one flagged
    assert stub.answered == requests, "nothing was paid for twice"
    if rows == SETS:
        return  # verdicts are worked out of answers; for all of it see the large run
    outs = [str(tmp_path / name) for name in ("batch", "server")]
    for journal, out in zip(("batch.sqlite", "server.sqlite"), outs, strict=True):
        assert run(["build", str(bench.source), "--journal", str(tmp_path / journal), "--out", out]) == 0
    verdicts = [next(Path(out, "verdicts").glob("*.parquet")).read_bytes() for out in outs]
    assert verdicts[0] == verdicts[1]


def _waiting(folder: Path) -> int:
    with sqlite3.connect(folder / "ledger.sqlite") as database:
        found: tuple[int] = database.execute("SELECT COUNT(*) FROM asks WHERE open").fetchone()
    return found[0]


def _collected(bench: Bench, *results: Path) -> dict[str, Any]:
    capsys = bench.capsys  # type: ignore[attr-defined]
    capsys.readouterr()
    assert bench.do("collect", *map(str, results), "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def done(bench: Bench, capsys: pytest.CaptureFixture[str]) -> Bench:
    """A batch of 40 requests that the service has answered, none of it collected: its results in `results.jsonl`."""
    assert bench.export() == 0
    assert bench.do("submit") == 0
    assert bench.do("status") == 0
    assert bench.do("status") == 0
    (batch,) = bench.stub.batches.values()
    assert batch.output_file_id is not None
    (bench.folder / "results.jsonl").write_bytes(bench.stub.files[batch.output_file_id])
    bench.capsys = capsys  # type: ignore[attr-defined]
    return bench


@pytest.mark.parametrize("brand", ["azure", "together"])
def test_other_services_are_spoken_to_in_their_way(
    brand: Any, tmp_path: Path, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if brand == "together":
        monkeypatch.setattr(service, "_TOGETHER", ("127.0.0.1",))
    monkeypatch.setenv("KEY", "secret")
    backend = ScriptedBackend(*records(3))
    with BatchServiceStub(backend, brand) as stub:
        bench = Bench(tmp_path, stub, backend, 3, 1)
        stub.creations, stub.fates = ["lost"], ["expired"]
        endpoint = {"url": stub.url, "model": MODEL, "token_env": "KEY"} | (
            {"flavor": "azure"} if brand == "azure" else {}
        )
        stage = {"judge": {"kind": "listwise", "candidates_per_prompt": 1}, "endpoints": [endpoint]}
        (tmp_path / "job.yaml").write_text(json.dumps({"source": str(bench.source), "stages": [stage]}))
        given = ["--journal", str(tmp_path / "batch.sqlite"), "--folder", str(tmp_path / "batches")]
        assert run(["batch", "export", str(bench.source), "--stages", str(tmp_path / "job.yaml"), *given]) == 0
        for _ in range(2):
            assert bench.do("submit") == bench.do("status") == bench.do("collect") == 0
        assert len(stub.batches) == 2
    assert len(bench.answers("batch.sqlite")) == stub.answered == 3 * NEGATIVES


def test_results_collected_half_twice_and_out_of_order_lose_and_invent_nothing(done: Bench) -> None:
    whole = done.folder / "results.jsonl"
    lines = whole.read_bytes().splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    half = done.folder / "half.jsonl"
    half.write_bytes(b"".join(lines[:20]) + lines[20][:50])
    done.stub.statuses = [404]  # the service cannot be asked: only what is given by hand comes
    assert done.do("collect", str(half)) == 3
    assert len(done.answers("batch.sqlite")) == 20
    found = _collected(done, half, half)["collected"]
    assert (found["answered"], found["known"], found["broken"]) == (20, 60, 2)  # the other half from the service
    assert len(done.answers("batch.sqlite")) == 40
    found = _collected(done, whole)["collected"]
    assert (found["answered"], found["known"], found["foreign"]) == (0, 40, 0)
    with Journal(done.folder / "batch.sqlite", write=False) as journal:
        assert len(list(journal.replies())) == 40, "a reply that comes twice is kept once"
    assert done.judge() == 0
    assert done.answers("batch.sqlite") == done.answers("server.sqlite")


def test_results_of_another_run_are_counted_and_left_alone(done: Bench) -> None:
    foreign = done.folder / "foreign.jsonl"
    answer = orjson.loads((done.folder / "results.jsonl").read_bytes().splitlines()[0])
    foreign.write_bytes(orjson.dumps(answer | {"custom_id": "request-1"}) + b"\nnot json\n[]\n{}\n")
    files, done.stub.files = done.stub.files, dict.fromkeys(done.stub.files, b"")
    assert done.do("collect", str(foreign)) == 2, "nothing was collected, and that is no success"
    done.stub.files = files
    found = _collected(done, foreign)["collected"]
    assert (found["answered"], found["foreign"], found["broken"]) == (40, 1, 3)


def test_an_answer_that_is_none_has_failed_and_says_why(done: Bench) -> None:
    first, *others = (done.folder / "results.jsonl").read_bytes().splitlines(keepends=True)
    answer = orjson.loads(first)
    answer["response"]["body"] = {"choices": []}
    (done.folder / "odd.jsonl").write_bytes(orjson.dumps(answer) + b"\n" + b"".join(others))
    done.stub.files.update(dict.fromkeys(done.stub.files, b""))  # nothing more comes from the service
    found = _collected(done, done.folder / "odd.jsonl")
    assert (found["collected"]["answered"], found["collected"]["failed"]) == (39, 1)
    assert len(found["collected"]["reasons"]) == 1
    assert found["next"]["complete"]
    assert found["next"]["waiting"] == 0
    with Journal(done.folder / "batch.sqlite", write=False) as journal:
        assert len(list(journal.failures())) == 1


def test_an_answer_that_tells_of_too_many_requests_is_asked_again_once(done: Bench) -> None:
    lines = (done.folder / "results.jsonl").read_bytes().splitlines(keepends=True)
    answer = orjson.loads(lines[0])
    answer["response"]["body"] = {"error": {"message": "slow down", "code": 429}}
    (done.folder / "busy.jsonl").write_bytes(orjson.dumps(answer) + b"\n")
    done.stub.files.update(dict.fromkeys(done.stub.files, b""))  # nothing more comes from the service
    for again in (1, 0):  # the second time it is known, and what was written anew for it is waited for
        found = _collected(done, done.folder / "busy.jsonl")
        assert (found["collected"]["again"], found["collected"]["failed"]) == (again, 0)
        assert not found["next"]["complete"]


def test_an_error_that_is_collected_again_does_not_ask_again(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.capsys = capsys  # type: ignore[attr-defined]
    bench.stub.fates = ["expired"]
    assert bench.export() == bench.do("submit") == bench.do("status") == bench.do("status") == 0
    found = _collected(bench)
    assert (found["collected"]["answered"], found["collected"]["again"]) == (20, 20)
    assert found["next"]["waiting"] == 20
    assert bench.do("submit") == 0
    again = _collected(bench, bench.file("stage-1-001.errors.jsonl"))
    assert again["collected"]["known"] == 20
    assert again["next"]["written"] == [], "what the second batch has is not written a third time"
    assert again["next"]["waiting"] == 20


def test_what_a_server_has_answered_is_not_exported_and_the_other_way_round(bench: Bench) -> None:
    assert bench.judge("--limit", "4", journal="batch.sqlite") == 0
    assert bench.export() == 0
    lines = bench.file("stage-1-001.jsonl").read_bytes().splitlines()
    assert len(lines) == 6 * NEGATIVES
    assert bench.do("submit") == bench.do("status") == bench.do("status") == bench.do("collect") == 0
    with Facade(bench.backend, openai_style=True, model_id=MODEL) as facade:
        given = ["--stages", bench.job(facade.url, "server"), "--journal", str(bench.folder / "batch.sqlite")]
        assert run(["judge", str(bench.source), *given]) == 0
        assert facade.requests == 0
    names = {orjson.loads(line)["custom_id"] for line in lines}
    keys = {key.hex() for key, *_ in bench.answers("batch.sqlite")}
    assert names < keys, "a request about one candidate is called by its journal key"


def test_what_a_sent_batch_holds_is_not_asked_of_a_server_unless_told(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.export() == 0
    assert bench.judge("--limit", "1", journal="batch.sqlite") == 0, "nobody has the files yet"
    assert bench.do("submit") == 0
    assert bench.judge(journal="batch.sqlite") == 2
    said = capsys.readouterr().err
    assert f"hold 40 requests of this judge for {bench.folder / 'batch.sqlite'}" in said
    assert "--also-pending" in said
    assert bench.judge(journal="another.sqlite") == 0
    assert bench.judge("--limit", "2", "--also-pending", journal="batch.sqlite") == 0
    assert bench.do("status") == bench.do("status") == bench.do("collect") == 0
    assert bench.judge(journal="batch.sqlite") == 0


def test_files_are_split_and_a_second_export_writes_nothing_twice(bench: Bench) -> None:
    assert bench.export("--max-requests", "15") == 0
    counts = [path.read_bytes().count(b"\n") for path in sorted((bench.folder / "batches").glob("stage-1-*.jsonl"))]
    assert counts == [15, 15, 10]
    assert bench.export("--max-requests", "15") == 0
    assert run(["batch", "export", "--folder", str(bench.folder / "batches")]) == 0
    assert len(list((bench.folder / "batches").glob("stage-1-*.jsonl"))) == 3
    size = max(path.stat().st_size for path in (bench.folder / "batches").glob("stage-1-*.jsonl"))
    assert bench.export("--max-mb", str(size / 2 / 10**6), folder="smaller") == 0
    sizes = [path.stat().st_size for path in (bench.folder / "smaller").glob("stage-1-*.jsonl")]
    assert len(sizes) > 3
    assert max(sizes) <= size / 2


def test_a_job_that_was_refused_owns_no_folder(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was written but the job: mended, it was another one, and refused."""
    endpoint = ["--endpoint", bench.stub.url, "--model", MODEL, "--folder", str(bench.folder / "batches")]
    assert run(["batch", "export", str(bench.source), *endpoint, "--judge", "rerank"]) == 2
    said = capsys.readouterr().err
    assert "its judge asks a reranker" in said
    assert "dialect rerank" not in said, "that would not help"
    assert bench.export() == 0


def test_a_folder_takes_no_other_job_and_a_stranger_is_none(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.export() == 0
    endpoint = ["--endpoint", bench.stub.url, "--model", MODEL]
    assert run(["batch", "export", str(bench.source), *endpoint, "--folder", str(bench.folder / "batches")]) == 2
    assert "another job" in capsys.readouterr().err
    assert run(["batch", "submit", str(bench.folder)]) == 2
    assert "no folder of batch files" in capsys.readouterr().err
    assert bench.do("run") == 0, "nothing in it is for this machine"


def test_a_refused_batch_is_told_in_the_services_words_and_sent_again(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.stub.creations, bench.stub.fates = ["no_credit"], ["no_credit"]
    assert bench.export() == 0
    assert bench.do("submit") == 3
    assert "Billing hard limit" in capsys.readouterr().err
    assert bench.do("submit") == bench.do("status") == bench.do("status") == 0
    assert "token_limit_exceeded: Enqueued token limit reached" in capsys.readouterr().out
    assert bench.do("submit") == bench.do("status") == bench.do("status") == bench.do("collect") == 0
    assert "Nothing left to ask" in capsys.readouterr().out
    assert bench.stub.answered == 40


def test_a_process_that_died_while_it_wrote_leaves_nothing_behind(bench: Bench) -> None:
    (bench.folder / "batches").mkdir()
    bench.file("stage-1-001.jsonl").write_bytes(b'{"custom_id": "half a li')
    assert bench.export() == 0
    assert len([orjson.loads(line) for line in bench.file("stage-1-001.jsonl").read_bytes().splitlines()]) == 40


def test_ctrl_c_keeps_the_files_that_are_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_relabel.hub_tools.batches.writing import BatchWriter

    plain = BatchWriter._write

    async def interrupted(self: BatchWriter, request: Any) -> None:
        await plain(self, request)
        if len(self.written) == 2:
            self.stop("interrupted")

    with monkeypatch.context() as patched:
        patched.setattr(BatchWriter, "_write", interrupted)
        assert bench.export("--max-requests", "15") in (4, 130)
    assert bench.export("--max-requests", "15") == 0
    files = sorted((bench.folder / "batches").glob("stage-1-*.jsonl"))
    names = [orjson.loads(line)["custom_id"] for path in files for line in path.read_bytes().splitlines()]
    assert len(names) == len(set(names)) == 40


@pytest.mark.soak
def test_the_stub_is_what_openais_own_client_takes(bench: Bench) -> None:
    from openai import OpenAI

    assert bench.export() == 0
    client = OpenAI(api_key="none", base_url=f"{bench.stub.url}/v1", max_retries=0)
    bench.stub.fates = ["expired", "no_credit"]
    with bench.file("stage-1-001.jsonl").open("rb") as file:
        uploaded = client.files.create(file=file, purpose="batch")
    made = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert made.status == "validating"
    states = [client.batches.retrieve(made.id) for _ in range(2)]
    assert [state.status for state in states] == ["in_progress", "expired"]
    counts = states[1].request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (40, 20, 20)
    assert states[1].output_file_id
    assert len(client.files.content(states[1].output_file_id).text.splitlines()) == 20
    second = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
    client.batches.retrieve(second.id)
    failed = client.batches.retrieve(second.id)
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert failed.errors.data[0].code == "token_limit_exceeded"
    assert [batch.id for batch in client.batches.list(limit=1)] == [second.id, made.id]
